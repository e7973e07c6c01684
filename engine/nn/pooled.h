/* Convolutions whose output goes through a max pool and nowhere else, at most an
 * activation in between that never turns an order around. Only the pool's output is
 * stored, before the activation: the largest value is the same on either side of it,
 * and where it makes ties its derivative is 0. Backward, one place of each window has a
 * gradient, and no other is looked at.
 *
 * Source: docs/numerics.md#formulas. */
#ifndef ENGINE_NN_POOLED_H
#define ENGINE_NN_POOLED_H

#include "engine/nn/packed.h"

/* Everything about one layer, shared by its calls.
 *
 * d         the convolution; its `out` is the pool's output
 * packed    its input
 * place     of each window of the pool, on the packed image
 * tap       of each position in such a window
 * winners   buffer of the winners: a byte for each element of the output */
struct pooled {
    const struct dense *d;
    struct pool2d_shape pool;
    struct packed packed;
    const uint32_t *place, *tap;
    size_t n_places, n_taps;
    int winners;
};

/* The pool that the convolution's output goes through; NULL: it is stored as it is. */
const struct node *pooled_by(const struct lowering *l, const struct node *conv);

/* True if the pool is a convolution's own. */
bool pooled_is_done(const struct lowering *l, const struct node *pool);

/* NULL: out of memory. `out` of the layer is not set. */
struct pooled *pooled_create(struct lowering *l, const struct node *conv,
                             const struct node *pool);

void pooled_lower_forward(struct lowering *l, const struct node *conv,
                          const struct node *pool);
void pooled_lower_backward(struct lowering *l, const struct node *conv,
                           const struct node *pool);

#endif
