/* How a model is to be trained: options onto its graph. */
#ifndef ENGINE_NN_TRAINING_H
#define ENGINE_NN_TRAINING_H

#include "engine/nn/graph.h"

#include <cygnet/nn.h>

/* Applies optimizer, proximal, clip_gradients, label_smoothing, frozen and
 * lr_multipliers of checked options to a finished graph.
 * Errors: EINVAL (a value; a name that no parameter has). */
cygnet_status training_apply(struct graph *graph, const cygnet_model_options *options,
                             cygnet_error *err);

#endif
