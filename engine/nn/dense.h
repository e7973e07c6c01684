/* Dense layers: convolutions over all channels, and linear layers, which are 1x1
 * convolutions of 1x1 images. All of them are products of patches of the input (rows:
 * output positions, columns: inputs of a tap, tap by tap) with the weights' panels.
 *
 * Source: docs/numerics.md#dense-layers. */
#ifndef ENGINE_NN_DENSE_H
#define ENGINE_NN_DENSE_H

#include "engine/nn/lower.h"

/* A tap of a window: where it reads, seen from the position that is computed, and
 * its number in the weights. */
struct tap {
    ptrdiff_t dy, dx;
    size_t w;
};

/* How rows of patches are made of a source image: position (y, x) of the h_dst by
 * w_dst grid reads (y step_h + dy, x step_w + dx) for each tap, 0 outside. */
struct patches {
    size_t h_src, w_src, channels;
    size_t per_tap; /* inputs of a tap: channels, or fewer without their padding */
    size_t h_dst, w_dst;
    size_t step_h, step_w;
    size_t n_taps;
    size_t taps_in_row; /* of the window: for PyTorch's images only */
    const struct tap *taps;
};

/* Everything about one layer; from dense_create, shared by its calls.
 *
 * x         the input; channels 0: PyTorch's image or vector, read as it is
 * k         inputs of a weight panel, of which n_k are no padding at the end; c_in and
 *           c_out are padded
 * bias, w   tensors; bias -1: none
 * direct    rows of x can be multiplied where they are
 * winograd  3x3 by dense_winograd.h */
struct dense {
    struct conv2d_shape shape;
    struct operand x, out;
    struct patches patches;
    int w, bias;
    size_t k, n_k, c_in, c_out;
    bool planar;
    bool tight;
    bool pointwise;
    bool by_position;
    bool direct;
    bool winograd;
    struct row_sums moments;
};

/* True for windows on few channels: their padding would be most of the work. */
bool dense_is_tight(const struct conv2d_shape *shape);

/* NULL: out of memory. */
struct dense *dense_create(struct lowering *l, const struct node *node,
                           const struct conv2d_shape *shape);

/* What patches are gathered from.
 *
 * src      of all examples: rows, or PyTorch's images
 * reading  of the rows; of images: as they are */
struct source {
    const struct kernels *kernels;
    const struct patches *patches;
    const real *src;
    struct reading reading;
};

/* Rows of patches, `pitch` apart: inputs k of `rows`, multiples of PANEL, or whole taps.
 * Writes up to PANEL - 1 elements more. */
void dense_gather(real *to, size_t pitch, const struct source *source, struct span rows,
                  struct span k);

/* The same from PyTorch's image, all inputs: channel by channel, tap by tap. */
void dense_gather_planar(real *to, size_t pitch, const struct source *source,
                         struct span rows);

/* Rows of a block such that so many elements a row fit a core's cache. */
size_t dense_rows(size_t per_row);

/* An odd number of cache lines at least so long: rows of products then do not fight
 * for the same sets of a cache. */
size_t dense_pitch(size_t n);

/* Where a tap of a position reads; false: in the padding. */
bool dense_source(const struct patches *p, size_t position, const struct tap *tap,
                  size_t *source);

void dense_lower_forward(struct lowering *l, const struct node *node,
                         const struct conv2d_shape *shape);
void dense_lower_backward(struct lowering *l, const struct node *node,
                          const struct conv2d_shape *shape);

#endif
