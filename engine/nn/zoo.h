/* The model zoo: architectures by name (docs/models.md). */
#ifndef ENGINE_NN_ZOO_H
#define ENGINE_NN_ZOO_H

#include "engine/nn/graph.h"

#define ZOO_MAX_SPEC 128        /* bytes of "name:key=value,..." */
#define ZOO_MAX_CLASSES 1048576 /* 2^20 */

/* Builds "name:key=value,..." into an initialised graph.
 * input  shape of one example; n_dims 0: the architecture's own
 * Errors: ENOTFOUND (unknown name), EINVAL (arguments, n_classes), ESHAPE (the
 * input does not suit it), ENOMEM. */
cygnet_status zoo_build(struct graph *graph, const char *spec, const struct shape *input,
                        uint32_t n_classes, cygnet_error *err);

/* NULL past the end. */
const char *zoo_name(uint32_t index);

#endif
