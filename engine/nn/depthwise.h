/* Depthwise convolutions: groups = c_in = c_out. */
#ifndef ENGINE_NN_DEPTHWISE_H
#define ENGINE_NN_DEPTHWISE_H

#include "engine/nn/lower.h"

void depthwise_lower_forward(struct lowering *l, const struct node *node,
                             const struct conv2d_shape *shape);
void depthwise_lower_backward(struct lowering *l, const struct node *node,
                              const struct conv2d_shape *shape);

/* Other numbers of groups: plain loops, for completeness. */
void grouped_lower_forward(struct lowering *l, const struct node *node,
                           const struct conv2d_shape *shape);
void grouped_lower_backward(struct lowering *l, const struct node *node,
                            const struct conv2d_shape *shape);

#endif
