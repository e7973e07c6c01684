/* The memory plan: gives every buffer its place in one arena. */
#ifndef ENGINE_NN_PLACE_H
#define ENGINE_NN_PLACE_H

#include "engine/nn/program.h"

/* Sets the offset of each used buffer so that two that are live at the same time
 * do not overlap. Largest first, each at the lowest offset that is free.
 * Returns the arena's size. */
uint64_t place_buffers(struct buffer *buffers, size_t n);

#endif
