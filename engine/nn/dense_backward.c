/* Dense layers, backward: the order of its parts. */
#include "engine/nn/dense_backward.h"

#include "engine/nn/dense_winograd.h"
#include "engine/nn/op.h"
#include "engine/nn/packed.h"
#include "engine/nn/sums.h"

void dense_lower_backward(struct lowering *l, const struct node *node,
                          const struct conv2d_shape *shape)
{
    struct dense *d = dense_create(l, node, shape);
    struct output_gradient g = lower_output_gradient(l, node);
    int dz;

    if (!d)
        return;
    if (d->bias >= 0)
        lower_bias_gradient(l, d->bias, &g);
    if (dense_is_pointwise(d)) {
        dense_lower_pointwise(l, node, d);
        return;
    }
    dz = lower_plain_gradient(l, node);
    if (d->winograd) {
        winograd_lower_input(l, node, d, dz);
        winograd_lower_weight(l, d, dz);
        return;
    }
    if (dense_has_few_rows(l, d)) {
        dense_lower_few(l, node, d, dz);
        return;
    }
    dense_lower_input(l, node, d, dz);
    if (packed_rows(d) > 0)
        dense_lower_windows(l, d, dz);
    else
        dense_lower_weight(l, d, dz);
}
