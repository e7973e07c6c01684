/* The only file that calls malloc and free. */
#include "base/alloc.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

void *mem_resize(const cygnet_allocator *alloc, void *ptr, size_t size)
{
    if (size == 0)
        return NULL;
    return alloc ? alloc->resize(ptr, size, alloc->user) : realloc(ptr, size);
}

void *mem_alloc(const cygnet_allocator *alloc, size_t size)
{
    return mem_resize(alloc, NULL, size);
}

void *mem_calloc(const cygnet_allocator *alloc, size_t n, size_t size)
{
    void *ptr;

    if (size != 0 && n > SIZE_MAX / size)
        return NULL;
    ptr = mem_alloc(alloc, n * size);
    if (ptr)
        memset(ptr, 0, n * size);
    return ptr;
}

void mem_free(const cygnet_allocator *alloc, void *ptr)
{
    if (!ptr)
        return;
    if (alloc)
        alloc->release(ptr, alloc->user);
    else
        free(ptr);
}

char *mem_strdup(const cygnet_allocator *alloc, const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = mem_alloc(alloc, size);

    if (copy)
        memcpy(copy, text, size);
    return copy;
}

/* The block's true start is kept in the pointer just below the aligned address. */
void *mem_alloc_aligned(const cygnet_allocator *alloc, size_t size, size_t alignment)
{
    size_t extra = alignment + sizeof(void *);
    char *start;
    char *aligned;

    assert(alignment > 0 && (alignment & (alignment - 1)) == 0);
    if (size == 0 || size > SIZE_MAX - extra)
        return NULL;
    start = mem_alloc(alloc, size + extra);
    if (!start)
        return NULL;
    aligned = start + sizeof(void *);
    aligned += (alignment - (uintptr_t)aligned % alignment) % alignment;
    memcpy(aligned - sizeof(void *), &start, sizeof(void *));
    return aligned;
}

void mem_free_aligned(const cygnet_allocator *alloc, void *ptr)
{
    char *start;

    if (!ptr)
        return;
    memcpy(&start, (char *)ptr - sizeof(void *), sizeof(void *));
    mem_free(alloc, start);
}
