/* A list of blocks, filled from the front, freed together. */
#include "base/arena.h"

#include "base/alloc.h"

#include <stdalign.h>
#include <stdint.h>
#include <string.h>

#define BLOCK_BYTES 16384

struct block {
    struct block *next;
    size_t size;
    size_t used;
    alignas(max_align_t) unsigned char data[];
};

struct arena {
    const cygnet_allocator *alloc;
    struct block *blocks;
    size_t max_bytes;
    size_t used;
};

struct arena *arena_create(size_t max_bytes, const cygnet_allocator *alloc)
{
    struct arena *arena = mem_calloc(alloc, 1, sizeof(*arena));

    if (!arena)
        return NULL;
    arena->alloc = alloc;
    arena->max_bytes = max_bytes;
    return arena;
}

static struct block *add_block(struct arena *arena, size_t size)
{
    size_t room = size > BLOCK_BYTES ? size : BLOCK_BYTES;
    struct block *block = mem_alloc(arena->alloc, sizeof(*block) + room);

    if (!block)
        return NULL;
    block->next = arena->blocks;
    block->size = room;
    block->used = 0;
    arena->blocks = block;
    return block;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    const size_t align = alignof(max_align_t);
    struct block *block = arena->blocks;
    size_t rounded;
    void *ptr;

    if (size == 0 || size > SIZE_MAX / 2)
        return NULL;
    rounded = (size + align - 1) / align * align;
    if (rounded > arena->max_bytes - arena->used)
        return NULL;
    if (!block || block->size - block->used < rounded)
        block = add_block(arena, rounded);
    if (!block)
        return NULL;
    ptr = block->data + block->used;
    block->used += rounded;
    arena->used += rounded;
    memset(ptr, 0, rounded);
    return ptr;
}

void *arena_alloc_array(struct arena *arena, size_t n, size_t size)
{
    if (size != 0 && n > SIZE_MAX / size)
        return NULL;
    return arena_alloc(arena, n * size);
}

char *arena_strdup(struct arena *arena, const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = arena_alloc(arena, size);

    if (copy)
        memcpy(copy, text, size);
    return copy;
}

size_t arena_used(const struct arena *arena)
{
    return arena ? arena->used : 0;
}

size_t arena_held(const struct arena *arena)
{
    size_t bytes = arena ? sizeof(*arena) : 0;

    for (const struct block *b = arena ? arena->blocks : NULL; b; b = b->next)
        bytes += sizeof(*b) + b->size;
    return bytes;
}

void arena_destroy(struct arena *arena)
{
    struct block *block;

    if (!arena)
        return;
    block = arena->blocks;
    while (block) {
        struct block *next = block->next;

        mem_free(arena->alloc, block);
        block = next;
    }
    mem_free(arena->alloc, arena);
}
