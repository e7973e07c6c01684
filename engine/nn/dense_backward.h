/* The parts of a dense layer's backward pass. */
#ifndef ENGINE_NN_DENSE_BACKWARD_H
#define ENGINE_NN_DENSE_BACKWARD_H

#include "engine/nn/dense.h"

/* dx from dz, which is in the buffer of that index. */
void dense_lower_input(struct lowering *l, const struct node *node, const struct dense *d,
                       int dz);

/* dw, and with it the update. */
void dense_lower_weight(struct lowering *l, const struct node *node,
                        const struct dense *d, int dz);

#endif
