/* Many small allocations with one life: an arena per task or per parse. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <cygnet/alloc.h>
#include <stddef.h>

struct arena;

/* An arena that refuses to grow beyond max_bytes in all. NULL: out of memory. */
struct arena *arena_create(size_t max_bytes, const cygnet_allocator *alloc);

/* Zeroed memory, aligned for any type, valid until the arena is destroyed.
 * NULL when max_bytes or the allocator says no. */
void *arena_alloc(struct arena *arena, size_t size);
void *arena_alloc_array(struct arena *arena, size_t n, size_t size);
char *arena_strdup(struct arena *arena, const char *text);

/* Bytes handed out so far, and bytes asked of the allocator for them. NULL: 0. */
size_t arena_used(const struct arena *arena);
size_t arena_held(const struct arena *arena);

/* Accepts NULL. */
void arena_destroy(struct arena *arena);

#endif
