/* The kernels: arithmetic on one block each, nothing else. They are written once,
 * over vectors (vec.h), and compiled per class of CPU; one lane is the reference.
 * kernels_choose picks the class at run time. No kernel allocates, fails or keeps
 * state; scratch is an argument. docs/numerics.md derives the gradients.
 *
 * Layout: layout.h. Numbers of channels are multiples of PANEL; a `pitch` is the
 * number of elements from one row to the next. Outputs first, then inputs, scratch
 * and sizes. Outputs do not overlap inputs unless the kernel says so. Kernels
 * *write* their outputs unless the comment says that they add. */
#ifndef ENGINE_NN_KERNELS_H
#define ENGINE_NN_KERNELS_H

#include "engine/nn/layout.h"
#include "engine/nn/real.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* c = a b, or c += a b:
 *   c[i, j] = sum_k a[i, k] b[k, j]
 * for m rows, n_panels panels of PANEL columns, and k inputs. Element (i, k) of a
 * lies at i a_row + k a_k, one of which is 1; row k of panel p of b at
 * p b_panel + k b_k; row i of panel p of c at p c_panel + i c_row. Sums run in
 * the order of k.
 *
 * a_run     not 0: after each a_run inputs, which divide k, a goes on a_skip further
 * add       c += a b: the sum of this product is added to what is there
 * goes_on   the same, but the sum begins with what is there: products of parts of k
 *           are that of all of it, bit by bit
 * ahead     n_ahead lines of PANEL from each of these will be wanted soon: a hint to
 *           fetch them while the product is computed
 * c_is_far  a hint that c is not in a near cache */
enum { PRODUCT_STREAMS = 4 };

struct product {
    real *c;
    size_t c_row, c_panel;
    const real *a;
    size_t a_row, a_k;
    size_t a_run, a_skip;
    const real *b;
    size_t b_k, b_panel;
    size_t m, k, n_panels;
    bool add;
    bool goes_on;
    const real *ahead[PRODUCT_STREAMS];
    size_t n_ahead;
    bool c_is_far;
};

/* Elementwise functions; v is the input, and the derivative is given in v. */
enum activation {
    ACT_NONE,
    ACT_RELU,        /* max(v, 0), NaN stays NaN; 0 at 0 */
    ACT_RELU6,       /* min(max(v, 0), 6) */
    ACT_HARDSWISH,   /* v min(max(v + 3, 0), 6) / 6 */
    ACT_HARDSIGMOID, /* min(max(v + 3, 0), 6) / 6 */
    ACT_SILU,        /* v sigmoid(v) */
    ACT_SIGMOID,
    ACT_TANH,
    ACT_GELU, /* v Phi(v), exact */
    ACT_N_KINDS
};

/* How a value is read from what is stored: y = act(scale[c] z + shift[c]).
 * scale NULL: scale 1, shift 0. */
struct reading {
    const real *scale;
    const real *shift;
    enum activation act;
};

/* Some rows of some channels. */
struct rows {
    size_t n;
    size_t channels;
    size_t pitch;
};

/* Batch norm backward, per channel:
 *   dz = factor[c] (g - mean_g[c] - (z - mean[c]) slope[c])
 * factor NULL: dz = g. */
struct norm_gradient {
    const real *factor;
    const real *mean_g;
    const real *mean;
    const real *slope;
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

/* One image of a pooling. ceil_mode has gone into h_out and w_out. */
struct pool2d_shape {
    size_t channels;
    size_t h_in, w_in;
    size_t h_out, w_out;
    size_t k_h, k_w;
    size_t stride_h, stride_w;
    size_t pad_h, pad_w;
    bool ceil_mode;
};

/* What a pass over a gradient does on its way:
 *   g = (dy + more) act'(scale z + shift)
 * and, per channel, adds sum g to sums[c], and sum g (z - mean[c]) to
 * sums[sums_pitch + c].
 *
 * g, more  pitch of dy and of more are the rows' own; g may be dy or more; more NULL: 0
 * z        NULL when neither act nor mean is there
 * mean     NULL: second sums are not taken
 * finish   false: this is not the last share of the gradient, act' is left out
 * sums     NULL: none are taken */
struct gradient_pass {
    real *g;
    const real *dy;
    size_t dy_pitch;
    const real *more;
    size_t more_pitch;
    const real *z;
    size_t z_pitch;
    struct reading reading;
    bool finish;
    const real *mean;
    double *sums;
    size_t sums_pitch; /* from the first sums to the second */
};

/* Hints of a depthwise convolution: with input i (of x, and of the gradient that is
 * written) the line `in` + i pitch elements after the first is fetched, with output o (of
 * z, and of its gradient) that at `out` + o pitch. */
struct depthwise_ahead {
    size_t in, out, pitch;
};

/* Depthwise convolution of PANEL channels of some images, groups = c_in = c_out:
 *   z[o, c] = sum_tap y[i(o, tap), c] w[tap, c],  y = reading of x
 * w is (k_h k_w, PANEL). Images lie one after the other.
 * first_row, n_rows  of outputs; n_rows 0: all */
struct depthwise_forward {
    size_t n_images;
    real *z;
    size_t z_pitch;
    const real *x;
    size_t x_pitch;
    struct reading reading; /* of these channels */
    const real *w;
    const real *bias; /* NULL: 0 */
    real *scratch;    /* depthwise_scratch elements */
    const struct conv2d_shape *shape;
    size_t first_row, n_rows;
    struct depthwise_ahead ahead;
};

/* Backward: dz from g and z; dw[tap, c] += sum_o dz[o, c] y[i(o, tap), c]; and the
 * gradient of y, which goes through `pass` as it would through gradient_pass, with
 * pass.z being x. Its dy is ours: it is ignored. pass.g NULL: not wanted.
 * first_row, n_rows  of inputs; n_rows 0: all */
struct depthwise_backward {
    size_t n_images;
    const real *g;
    size_t g_pitch;
    const real *z;
    size_t z_pitch;
    struct norm_gradient norm; /* of these channels */
    const real *x;
    size_t x_pitch;
    struct reading reading;
    const real *w;
    double *dw; /* (taps, PANEL), added to */
    struct gradient_pass pass;
    size_t pass_pitch; /* of pass.g */
    real *scratch;
    const struct conv2d_shape *shape;
    size_t first_row, n_rows;
    struct depthwise_ahead ahead;
};

/* The window of a convolution on an image that lies packed: of n_planes planes n_rows
 * stretches of n_k elements, which is their order in the weights, too. Stretch s, the
 * one of row s % n_rows of plane s / n_rows, begins
 *   stretch(s) = s / n_rows plane + s % n_rows row
 * elements after the window's place. Up to `pitch` of its elements are read.
 *
 * pitch  a multiple of WINDOW_STEP */
enum { WINDOW_STEP = 8 };

struct conv_window {
    size_t n_planes, plane;
    size_t n_rows, row;
    size_t n_k;
    size_t pitch;
};

/* z[i, j] = bias[j] + sum_(s, k) x[i x_row + stretch(s) + k] w[s n_k + k, j] for n
 * places; w is n_panels panels of PANEL outputs.
 *
 * bias  NULL: 0
 * few   of the only panel no more than the first half is wanted, nor written */
struct window_forward {
    const struct conv_window *window;
    real *z;
    size_t z_row;
    const real *x;
    size_t x_row;
    const real *w;
    size_t w_panel;
    const real *bias;
    size_t n, n_panels;
    bool few;
};

/* dw[s, k, j] += sum of x[place + stretch(s) + k] dz[place, j] over n_lines lines of n
 * places, x_row and x_line elements apart on the image, one after the other in dz; dw
 * is n_panels panels of PANEL outputs. */
struct window_weight {
    const struct conv_window *window;
    real *dw;
    size_t w_panel;
    const real *x;
    size_t x_row, x_line;
    const real *dz;
    size_t z_row;
    size_t n, n_lines, n_panels;
};

/* Backward, where gradients come through a max pool: window o of the pool hands
 * g[o, c] to place[o] + tap[at[o, c]] of output c. One of
 *   dw[c, s, k] += sum_o g[o, c] x[place + stretch(s) + k]
 *   dx[place + stretch(s) + k] += sum_c g[o, c] w[c, s, k]
 * dw and w are (n_outputs, n_planes n_rows, pitch), w 0 where k >= n_k;
 * outputs are w_output elements apart.
 *
 * dx       NULL: dw is wanted
 * winners  scratch, of n g_pitch / PANEL n_taps; not for dw */
struct window_backward {
    const struct conv_window *window;
    real *dw, *dx;
    const real *x, *w;
    size_t w_output;
    const real *g;
    const uint8_t *at;
    size_t g_pitch;
    size_t n, n_outputs, n_taps;
    const uint32_t *place, *tap;
    uint16_t *winners;
};

/* Some tiles side by side, for Winograd's convolutions F(m x m, 3x3), m 2 or 4: each
 * covers m by m outputs, made of a window of m + 2 by m + 2 inputs that begins in the
 * same place but for the padding. Transformed, a tile is (m + 2)^2 rows of channels: row
 * xi of tile i is at xi xi_pitch + i tile_pitch.
 *   windows V = B^T x B, weights U = G w G^T, outputs y = A^T (sum over inputs U V) A
 * Source: Lavin and Gray, "Fast algorithms for convolutional neural networks", 2016;
 * docs/numerics.md#winograd has the matrices.
 *
 * line, pitch  of the image: elements from one row to the next, and from one position
 * h, w         rows and columns of the image from tile 0 on: what is to be written
 * channels     a multiple of PANEL */
enum { WINOGRAD_REACH = 2, WINOGRAD_TAPS = 3 };

struct winograd_tiles {
    size_t m, n;
    size_t line, pitch;
    size_t h, w;
    size_t xi_pitch, tile_pitch;
    size_t channels;
};

/* A panel of rows that lanes are taken from.
 *
 * lane  [PANEL] of the result: which lane of this panel it is; -1: none */
struct moved {
    const real *from;
    size_t pitch;
    const int8_t *lane;
};

/* One step of an LSTM or a GRU for n rows, of which parts are `width` wide:
 *   LSTM  gates i, f, g, o;  c = f c' + i g;          h = o tanh(c)
 *   GRU   gates r, z, n;     n = tanh(n_x + r n_h);   h = (1 - z) n + z h'
 * with c' and h' of the step before. Forward, gates are sums and become values.
 * Backward, they are values and become the gradients of the sums; so does n_h.
 *
 * inner   LSTM: c; GRU: n_h
 * before  LSTM: c'; GRU: h'; NULL: 0
 * dy      gradient of h from the layer's output
 * dh      (n, width) the same from the next step; GRU: becomes that of h' as far as it
 *         does not come through the gates
 * dc      (n, width) LSTM: gradient of c from the next step, becomes that of c' */
struct recurrent_step {
    real *gates;
    size_t gates_pitch;
    real *inner;
    const real *before;
    size_t inner_pitch, before_pitch;
    real *h;
    const real *dy;
    size_t pitch; /* of h and dy */
    real *dh, *dc;
    size_t width, n;
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

    void (*product)(const struct product *p);
    /* Panels of `in` (n_in inputs by n_out outputs) to panels of its transpose:
     * out[i panel][o][i'] = in[o panel][i][o'], for inputs [first, first + n), both
     * multiples of PANEL. in_panel, out_panel: elements between panels. */
    void (*transpose)(real *out, size_t out_panel, const real *in, size_t in_panel,
                      size_t n, size_t n_out);

    /* out[j][i] = in[i][j] for m <= PANEL rows of n columns, a multiple of PANEL;
     * columns [m, PANEL) of out are 0. out_row, in_row: elements between rows. */
    void (*turn)(real *out, size_t out_row, const real *in, size_t in_row, size_t m,
                 size_t n);

    /* Windows of x, which begins with that of tile 0. */
    void (*winograd_read)(real *v, const real *x, const struct winograd_tiles *tiles);
    /* A dz A^T of m by m outputs: what winograd_write goes back by. */
    void (*winograd_read_gradient)(real *v, const real *dz,
                                   const struct winograd_tiles *tiles);
    /* z = A^T v A + bias; bias NULL: 0. */
    void (*winograd_write)(real *z, const real *v, const real *bias,
                           const struct winograd_tiles *tiles);
    /* n numbers of each of the 9 taps, w_tap apart (is_turned: the last tap first), to
     * n of each of the (m + 2)^2 transformed ones, u_xi apart; n a multiple of PANEL. */
    void (*winograd_weights)(real *u, size_t u_xi, const real *w, size_t w_tap,
                             bool is_turned, size_t m, size_t n);
    /* G^T du G: what winograd_weights goes back by. */
    void (*winograd_weights_back)(real *dw, size_t dw_tap, const real *du, size_t du_xi,
                                  size_t m, size_t n);

    /* y = reading of z; y may be z if the pitches are one. */
    void (*read)(real *y, size_t y_pitch, const real *z, const struct reading *reading,
                 const struct rows *rows);
    /* dz; dz may be g. rows->pitch is z's. */
    void (*norm_gradient)(real *dz, size_t dz_pitch, const real *g, size_t g_pitch,
                          const real *z, const struct norm_gradient *norm,
                          const struct rows *rows);
    /* mean[c] and m2[c] = sum (z - mean)^2 of the rows. */
    void (*moments)(double *mean, double *m2, const real *z, const struct rows *rows);
    /* rows: of g. */
    void (*gradient_pass)(const struct gradient_pass *pass, const struct rows *rows);

    /* A panel of each row: y[lane] = reading of what `from` says, and of 0 where none of
     * the n does. The reading is y's, of one panel. */
    void (*move)(real *y, size_t y_pitch, const struct moved *from, size_t n,
                 const struct reading *reading, size_t n_rows);

    size_t (*depthwise_scratch)(const struct conv2d_shape *shape);
    void (*depthwise_forward)(const struct depthwise_forward *d);
    void (*depthwise_backward)(const struct depthwise_backward *d);

    void (*window_forward)(const struct window_forward *p);
    void (*window_weight)(const struct window_weight *p);
    void (*window_backward)(const struct window_backward *p);

    /* One image. `at` receives, for each output, the place in its window (row
     * major) of the largest value: ties, the first; NaN wins. */
    void (*max_pool2d_forward)(real *y, uint8_t *at, const real *x,
                               const struct reading *reading, size_t x_pitch,
                               const struct pool2d_shape *shape);
    void (*max_pool2d_backward)(real *dx, const real *dy, const uint8_t *at,
                                const struct pool2d_shape *shape);
    /* y[..] = mean of window [floor(i in / out), ceil((i + 1) in / out)) of each
     * axis; k, stride and pad of the shape are not looked at. */
    void (*avg_pool2d_forward)(real *y, const real *x, const struct reading *reading,
                               size_t x_pitch, const struct pool2d_shape *shape);
    void (*avg_pool2d_backward)(real *dx, const real *dy,
                                const struct pool2d_shape *shape);

    /* loss[r] = log(sum_c exp(z[r,c])) - sum_c t[r,c] z[r,c] with the targets
     * t[r,c] = (1 - smoothing) [c is label[r]] + smoothing / n_classes; rows of z are
     * padded(n_classes) apart */
    void (*cross_entropy_forward)(real *loss, const real *z, const int64_t *label,
                                  double smoothing, size_t n_rows, size_t n_classes);
    /* dz[r,c] = scale (softmax(z[r])[c] - t[r,c]), 0 in the padding */
    void (*cross_entropy_backward)(real *dz, const real *z, const int64_t *label,
                                   double smoothing, double scale, size_t n_rows,
                                   size_t n_classes);

    /* y = reading a + reading b, rows of y; a and b have pitches of their own. */
    void (*sum)(real *y, const real *a, size_t a_pitch, const struct reading *read_a,
                const real *b, size_t b_pitch, const struct reading *read_b,
                const struct rows *rows);
    /* y[r, c] = s[c] (reading of x)[r, c]; rows->pitch is y's. */
    void (*scale)(real *y, const real *x, size_t x_pitch, const struct reading *reading,
                  const real *s, const struct rows *rows);
    /* dx[r, c] = s[c] dy[r, c], ds[c] = sum_r (reading of x)[r, c] dy[r, c]; either may
     * be NULL. rows->pitch is that of all. */
    void (*scale_backward)(real *dx, real *ds, const real *dy, const real *x,
                           const struct reading *reading, const real *s,
                           const struct rows *rows);
    void (*lstm_forward)(const struct recurrent_step *s);
    void (*lstm_backward)(const struct recurrent_step *s);
    void (*gru_forward)(const struct recurrent_step *s);
    void (*gru_backward)(const struct recurrent_step *s);
    /* y[i] = 0 if its number is below the threshold, else scale y[i]. The number is made
     * of two keys and i: a counter, not a state, so that it can be drawn in any order
     * and many at a time. */
    void (*drop)(real *y, const uint32_t key[2], uint32_t threshold, real scale,
                 size_t n);
    /* y += x */
    void (*add)(real *y, const real *x, size_t n);
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

/* The classes that this build has and this CPU can run, by index, slowest first; 0 is
 * the reference. False past the end, and nothing written. */
bool kernels_class(struct kernels *out, size_t index);

/* The fastest of this build for this CPU. */
void kernels_choose(struct kernels *out);

#endif
