/* Dense 3x3 layers of stride 1 by Winograd's F(m x m, 3x3): outputs are made in tiles of
 * m by m, each from (m + 2)^2 products per pair of channels instead of 9 m^2.
 *
 * Source: Lavin and Gray, "Fast algorithms for convolutional neural networks", 2016;
 * docs/numerics.md#winograd. */
#ifndef ENGINE_NN_DENSE_WINOGRAD_H
#define ENGINE_NN_DENSE_WINOGRAD_H

#include "engine/nn/dense.h"

/* The m for a layer; 0: Winograd is not for it. The layer alone decides, so that neither
 * the batch nor the number of threads changes a bit. */
size_t winograd_of(const struct conv2d_shape *shape);

/* An image cut into tiles: strips of `across` tiles. Windows begin `pad` further up and
 * left than their tiles. */
struct winograd_grid {
    size_t m, n_xi;
    size_t h, w;
    size_t down, across;
    size_t h_from, w_from;
    size_t pad;
};

/* Of the outputs (windows: inputs), or of the inputs (windows: outputs). */
struct winograd_grid winograd_grid_of(const struct dense *d, bool is_backward);

/* Tiles [first, first + n) of the batch, transformed: windows of x with channels
 * [channels.first, ...) of `pitch`, or gradients of tiles of dz. Row xi of tile i goes to
 * v + xi xi_pitch + (i - first) tile_pitch. */
struct winograd_source {
    const struct kernels *kernels;
    struct winograd_grid grid;
    const real *x;
    size_t pitch;
    struct span channels;
    struct reading reading; /* of all channels */
    size_t xi_pitch, tile_pitch;
};
void winograd_read_tiles(real *v, const struct winograd_source *source,
                         struct span tiles);
void winograd_read_tile_gradients(real *v, const struct winograd_source *source,
                                  struct span tiles);

void winograd_lower_forward(struct lowering *l, const struct node *node, struct dense *d);
void winograd_lower_input(struct lowering *l, const struct node *node,
                          const struct dense *d, int dz);
void winograd_lower_weight(struct lowering *l, const struct dense *d, int dz);

#endif
