/* The kernels: arithmetic on one block each, nothing else. kernels_ref.c is the
 * specification in plain loops; other files have the same signatures and are
 * chosen by kernels_choose. No kernel allocates, fails or keeps state; scratch
 * is an argument. docs/numerics.md derives the gradients.
 *
 * Layout: row-major, images as C, H, W. Outputs first, then inputs, scratch and
 * sizes. Outputs do not overlap inputs unless the kernel says so. Backward
 * kernels *write* their outputs unless the comment says that they add. */
#ifndef ENGINE_NN_KERNELS_H
#define ENGINE_NN_KERNELS_H

#include "engine/nn/real.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A block of a dense layer: `rows` examples, some columns of a matrix whose
 * rows are `ld` apart.
 *
 * n_in, n_out  the part of the layer that this block reads and writes
 * ld_in        row pitch of x, dx and of w and dw (their rows are inputs)
 * ld_out       row pitch of y and dy */
struct linear_block {
    size_t rows;
    size_t n_in;
    size_t n_out;
    size_t ld_in;
    size_t ld_out;
};

/* One image of a convolution. h_out and w_out follow from the rest:
 * (in + 2 pad - dilation (kernel - 1) - 1) / stride + 1. */
struct conv2d_shape {
    size_t c_in, h_in, w_in;
    size_t c_out, h_out, w_out;
    size_t k_h, k_w;
    size_t stride_h, stride_w;
    size_t pad_h, pad_w;
    size_t dilation_h, dilation_w;
    size_t groups;
};

/* One image of a pooling. */
struct pool2d_shape {
    size_t channels;
    size_t h_in, w_in;
    size_t h_out, w_out;
    size_t k_h, k_w;
    size_t stride_h, stride_w;
    size_t pad_h, pad_w;
};

/* Some channels of a batch of images, for kernels that work channel by channel
 * over the whole batch. Pointers point at the first of them in the first example.
 *
 * n_rows      examples, `pitch` elements apart
 * n_channels  channels, `plane` elements each */
struct channel_block {
    size_t n_rows;
    size_t n_channels;
    size_t plane;
    size_t pitch;
};

enum update_kind { UPDATE_SGD, UPDATE_MOMENTUM, UPDATE_NESTEROV, UPDATE_ADAM };

/* One update of one tensor, its scalars worked out (update_rule_of). With g the
 * gradient of the loss, each element does, in this order:
 *   h = clip (g + prox_mu (w - reference))
 *   w = shrink w
 *   h = h + decay w
 * SGD       w -= lr h
 * MOMENTUM  v = momentum v + h;  w -= lr v
 * NESTEROV  v = momentum v + h;  w -= lr (h + momentum v)
 * ADAM      m += (1 - beta1) (h - m);  s = beta2 s + (1 - beta2) h h
 *           w -= lr m / (sqrt(s) / root + eps)
 *
 * shrink is 1 but for AdamW, decay 0 for AdamW. lr and root hold Adam's bias
 * corrections: lr / (1 - beta1^t) and sqrt(1 - beta2^t). */
struct update_rule {
    enum update_kind kind;
    real lr;
    real decay;
    real shrink;
    real clip; /* 1: none */
    real prox_mu;
    real momentum;
    real beta1, one_minus_beta1;
    real beta2, one_minus_beta2;
    real root;
    real eps;
};

struct kernels {
    const char *name;

    /* Called on the caller's thread before each step. */
    void (*enter)(void);

    /* y[r,o] = b[o] + sum_i x[r,i] w[o,i];  b may be NULL. */
    void (*linear_forward)(real *y, const real *x, const real *w, const real *b,
                           const struct linear_block *block);
    /* dx[r,i] = sum_o dy[r,o] w[o,i] */
    void (*linear_backward_input)(real *dx, const real *dy, const real *w,
                                  const struct linear_block *block);
    /* dw[o,i] = sum_r dy[r,o] x[r,i] */
    void (*linear_backward_weight)(real *dw, const real *dy, const real *x,
                                   const struct linear_block *block);
    /* out[c] = sum_r m[r,c], rows `n_columns` apart. */
    void (*column_sums)(real *out, const real *m, size_t n_rows, size_t n_columns);

    /* Elements of scratch that the three convolution kernels want. */
    size_t (*conv2d_scratch)(const struct conv2d_shape *shape);
    /* y (c_out,h_out,w_out), x (c_in,h_in,w_in), w (c_out,c_in/groups,k_h,k_w),
     * b (c_out) or NULL */
    void (*conv2d_forward)(real *y, const real *x, const real *w, const real *b,
                           real *scratch, const struct conv2d_shape *shape);
    void (*conv2d_backward_input)(real *dx, const real *dy, const real *w, real *scratch,
                                  const struct conv2d_shape *shape);
    /* Adds this image's share to dw and db (db may be NULL). */
    void (*conv2d_backward_weight)(real *dw, real *db, const real *dy, const real *x,
                                   real *scratch, const struct conv2d_shape *shape);

    /* y = max(x, 0), NaN stays NaN; y may be x. */
    void (*relu_forward)(real *y, const real *x, size_t n);
    /* dx = y > 0 ? dy : 0; dx may be dy. */
    void (*relu_backward)(real *dx, const real *dy, const real *y, size_t n);

    /* The same with y = min(max(x, 0), 6): dx = 0 < y < 6 ? dy : 0. */
    void (*relu6_forward)(real *y, const real *x, size_t n);
    void (*relu6_backward)(real *dx, const real *dy, const real *y, size_t n);

    /* y[..] = mean of window [floor(i in / out), ceil((i + 1) in / out)) of each
     * axis; k, stride and pad of the shape are not looked at. */
    void (*avg_pool2d_forward)(real *y, const real *x, const struct pool2d_shape *shape);
    void (*avg_pool2d_backward)(real *dx, const real *dy,
                                const struct pool2d_shape *shape);

    /* y[..] = largest of the window, padding excluded; `at` receives its index
     * within the channel plane. Ties: the first in row order; NaN wins. */
    void (*max_pool2d_forward)(real *y, int32_t *at, const real *x,
                               const struct pool2d_shape *shape);
    void (*max_pool2d_backward)(real *dx, const real *dy, const int32_t *at,
                                const struct pool2d_shape *shape);

    /* mean[c] and variance[c] (divided by the number of values) of each channel.
     * Sums are in double, around the mean, and depend on the sizes only. */
    void (*channel_moments)(double *mean, double *variance, const real *x,
                            const struct channel_block *block);
    /* y = (x - mean[c]) inv_std[c] w[c] + b[c] */
    void (*batch_norm_forward)(real *y, const real *x, const double *mean,
                               const double *inv_std, const real *w, const real *b,
                               const struct channel_block *block);
    /* With mean and inv_std those of x: dw[c] = sum dy xhat, db[c] = sum dy and
     * dx = w[c] inv_std[c] (dy - db[c]/m - xhat dw[c]/m), m values a channel. dx may
     * be dy, or NULL: not wanted. */
    void (*batch_norm_backward)(real *dx, real *dw, real *db, const real *dy,
                                const real *x, const double *mean, const double *inv_std,
                                const real *w, const struct channel_block *block);

    /* loss[r] = log(sum_c exp(z[r,c])) - sum_c t[r,c] z[r,c] with the targets
     * t[r,c] = (1 - smoothing) [c is label[r]] + smoothing / n_classes */
    void (*cross_entropy_forward)(real *loss, const real *z, const int64_t *label,
                                  double smoothing, size_t n_rows, size_t n_classes);
    /* dz[r,c] = scale (softmax(z[r])[c] - t[r,c]) */
    void (*cross_entropy_backward)(real *dz, const real *z, const int64_t *label,
                                   double smoothing, double scale, size_t n_rows,
                                   size_t n_classes);

    /* y = a + b; y may be a. */
    void (*sum)(real *y, const real *a, const real *b, size_t n);
    /* y += x */
    void (*add)(real *y, const real *x, size_t n);
    /* y[e] = sum_p parts[p,e] in the order of p, rows `pitch` apart. */
    void (*sum_parts)(real *y, const real *parts, size_t n_parts, size_t pitch, size_t n);
    /* False if any value is NaN or infinite. */
    bool (*all_finite)(const real *x, size_t n);
    /* What the rule says; state[] are v, or m and s, and are neither read nor
     * written by rules that have none. reference is not read when prox_mu is 0. */
    void (*update)(real *w, real *state0, real *state1, const real *g,
                   const real *reference, const struct update_rule *rule, size_t n);
    /* sum (g + prox_mu (w - reference))^2 in double, in an order that n alone
     * decides. w and reference are not read when prox_mu is 0. */
    double (*square_sum)(const real *g, const real *w, const real *reference,
                         real prox_mu, size_t n);
};

extern const struct kernels kernels_ref;

/* False, and nothing written, in a build without OpenBLAS or in double. */
bool kernels_blas(struct kernels *out);

/* The fastest of this build. */
void kernels_choose(struct kernels *out);

#endif
