/* The parts of a dense layer's backward pass. */
#ifndef ENGINE_NN_DENSE_BACKWARD_H
#define ENGINE_NN_DENSE_BACKWARD_H

#include "engine/nn/dense.h"

/* dx from dz, which is in the buffer of that index. */
void dense_lower_input(struct lowering *l, const struct node *node, const struct dense *d,
                       int dz);

/* The same for tight weights: from the products of dz with the weights, all taps at
 * once, each added to where it came from. */
void dense_lower_scatter(struct lowering *l, const struct node *node,
                         const struct dense *d, int dz);

/* dw, and with it the update. */
void dense_lower_weight(struct lowering *l, const struct dense *d, int dz);

/* The same for windows that are read where they lie (packed_rows): chunks of examples,
 * whose shares are added in their order. */
void dense_lower_windows(struct lowering *l, const struct dense *d, int dz);

/* Both at once, for pointwise layers with many rows and few weights. */
bool dense_is_pointwise(const struct dense *d);
void dense_lower_pointwise(struct lowering *l, const struct node *node,
                           const struct dense *d);

/* Both at once, for pointwise layers with few rows. */
bool dense_has_few_rows(const struct lowering *l, const struct dense *d);
void dense_lower_few(struct lowering *l, const struct node *node, const struct dense *d,
                     int dz);

/* A transposed copy of the weights: panels of inputs, tap by tap (c_out, PANEL). */
int dense_transposed_weights(struct lowering *l, const struct dense *d);

#endif
