/* A list that grows while a graph is built or lowered; never during a step. */
#ifndef ENGINE_NN_ARRAY_H
#define ENGINE_NN_ARRAY_H

#include <cygnet/alloc.h>
#include <stdbool.h>
#include <stddef.h>

/* Makes room for one more of `n` items and zeroes it. False: out of memory, the
 * list is as before.
 * items  address of the list's pointer; cap its capacity, both updated */
bool array_grow(void *items, size_t *cap, size_t n, size_t item_size,
                const cygnet_allocator *alloc);

#endif
