/* Dense 3x3 layers of stride 1 by Winograd's F(m x m, 3x3): outputs are made in tiles of
 * m by m, each from (m + 2)^2 products per pair of channels instead of 9 m^2.
 *
 * Source: Lavin and Gray, "Fast algorithms for convolutional neural networks", 2016;
 * docs/numerics.md#winograd. */
#ifndef ENGINE_NN_DENSE_WINOGRAD_H
#define ENGINE_NN_DENSE_WINOGRAD_H

#include "engine/nn/dense.h"

/* True for layers that take less time so. The layer alone decides, as of m: neither the
 * batch nor the number of threads changes a bit. */
bool winograd_is_for(const struct conv2d_shape *shape);

enum winograd_pass { WINOGRAD_FORWARD, WINOGRAD_INPUT, WINOGRAD_WEIGHT };

/* An image cut into tiles: strips of `across` tiles. Windows begin `pad` further up and
 * left than their tiles. */
struct winograd_grid {
    size_t m, n_xi;
    size_t h, w;
    size_t down, across;
    size_t h_from, w_from;
    size_t pad;
};

/* Of the outputs, with windows of inputs; for the gradient of the input the other way
 * round. */
struct winograd_grid winograd_grid_of(const struct dense *d, enum winograd_pass pass);

/* What strips are read from: windows of x, or gradients of tiles of dz, which are read
 * as they are.
 *
 * pitch     channels of the image
 * channels  that are wanted, multiples of PANEL
 * reading   of all channels */
struct winograd_source {
    const struct kernels *kernels;
    struct winograd_grid grid;
    const real *x;
    size_t pitch;
    struct span channels;
    struct reading reading;
    bool is_gradient;
};

/* Elements of a strip of so many channels. */
size_t winograd_strip_elements(const struct winograd_grid *grid, size_t channels);

/* Transforms strips [first, first + n) of the batch, all tiles: xi_pitch and tile_pitch
 * of v. memory: of a strip. */
void winograd_read_strips(real *v, size_t xi_pitch, size_t tile_pitch, real *memory,
                          const struct winograd_source *source, struct span strips);

void winograd_lower_forward(struct lowering *l, const struct node *node, struct dense *d);
void winograd_lower_input(struct lowering *l, const struct node *node,
                          const struct dense *d, int dz);
void winograd_lower_weight(struct lowering *l, const struct dense *d, int dz);

#endif
