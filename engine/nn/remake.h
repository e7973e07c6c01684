/* Plans that fit a limit: activations that are not kept for the backward pass but made
 * again there. Costs time; results are the same, bit by bit. */
#ifndef ENGINE_NN_REMAKE_H
#define ENGINE_NN_REMAKE_H

#include "engine/nn/program.h"

/* As lower_graph, with as little made again as brings program_bytes down to max_bytes.
 * If nothing does, *out is the most frugal plan: the caller compares.
 * Errors: ENOMEM (the allocator). On failure *out is cleared. */
cygnet_status remake_lower(struct program *out, const struct graph *graph,
                           const struct kernels *kernels, size_t max_batch,
                           size_t n_workers, uint64_t max_bytes, cygnet_error *err);

#endif
