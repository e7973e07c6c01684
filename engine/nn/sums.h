/* Sums over rows, from their slots. */
#ifndef ENGINE_NN_SUMS_H
#define ENGINE_NN_SUMS_H

#include "engine/nn/lower.h"

/* The calls that make a bias' gradient of the sums of the output's. */
void lower_bias_gradient(struct lowering *l, int bias, const struct output_gradient *g);

/* Shares of a parameter's gradient, of a chunk of examples each, side by side: to be
 * added in their order.
 *
 * examples  of a chunk
 * size      elements of a share */
struct gradient_shares {
    struct parameter_share to;
    size_t examples, size;
};

/* Examples of a chunk whose share is so large, where nothing else decides. */
size_t lower_share_examples(const struct lowering *l, size_t size);

/* Memory for the shares of a batch. */
int lower_shares(struct lowering *l, const struct gradient_shares *shares);

/* The call that adds those that lie as the parameter does. `shares` is a plan. */
void lower_sum_shares(struct lowering *l, const struct gradient_shares *shares,
                      int buffer);

#endif
