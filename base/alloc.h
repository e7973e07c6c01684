/* All memory of Cygnet's own passes through these. NULL allocator: malloc. */
#ifndef BASE_ALLOC_H
#define BASE_ALLOC_H

#include <cygnet/alloc.h>
#include <stddef.h>

/* NULL when the allocator refuses, when size is 0, or when n * size overflows.
 * mem_calloc returns zeroed memory. */
void *mem_alloc(const cygnet_allocator *alloc, size_t size);
void *mem_calloc(const cygnet_allocator *alloc, size_t n, size_t size);
void *mem_resize(const cygnet_allocator *alloc, void *ptr, size_t size);

/* Accepts NULL. */
void mem_free(const cygnet_allocator *alloc, void *ptr);

/* A copy of the string; NULL on refusal. */
char *mem_strdup(const cygnet_allocator *alloc, const char *text);

/* As mem_alloc, aligned to `alignment` (a power of two, at most 4096). Free with
 * mem_free_aligned only. */
void *mem_alloc_aligned(const cygnet_allocator *alloc, size_t size, size_t alignment);
void mem_free_aligned(const cygnet_allocator *alloc, void *ptr);

#endif
