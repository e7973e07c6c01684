/* The reference kernels: plain loops in index order, the specification that
 * every other kernel is tested against. */
#include "engine/nn/kernels_shared.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static void enter(void)
{
}

static void linear_forward(real *y, const real *x, const real *w, const real *b,
                           const struct linear_block *k)
{
    for (size_t r = 0; r < k->rows; r++) {
        for (size_t o = 0; o < k->n_out; o++) {
            real sum = b ? b[o] : 0;

            for (size_t i = 0; i < k->n_in; i++)
                sum += x[r * k->ld_in + i] * w[o * k->ld_in + i];
            y[r * k->ld_out + o] = sum;
        }
    }
}

static void linear_backward_input(real *dx, const real *dy, const real *w,
                                  const struct linear_block *k)
{
    for (size_t r = 0; r < k->rows; r++) {
        real *dx_r = dx + r * k->ld_in;

        for (size_t i = 0; i < k->n_in; i++)
            dx_r[i] = 0;
        for (size_t o = 0; o < k->n_out; o++) {
            for (size_t i = 0; i < k->n_in; i++)
                dx_r[i] += dy[r * k->ld_out + o] * w[o * k->ld_in + i];
        }
    }
}

static void linear_backward_weight(real *dw, const real *dy, const real *x,
                                   const struct linear_block *k)
{
    for (size_t o = 0; o < k->n_out; o++) {
        real *dw_o = dw + o * k->ld_in;

        for (size_t i = 0; i < k->n_in; i++)
            dw_o[i] = 0;
        for (size_t r = 0; r < k->rows; r++) {
            for (size_t i = 0; i < k->n_in; i++)
                dw_o[i] += dy[r * k->ld_out + o] * x[r * k->ld_in + i];
        }
    }
}

static void column_sums(real *out, const real *m, size_t n_rows, size_t n_columns)
{
    for (size_t c = 0; c < n_columns; c++)
        out[c] = 0;
    for (size_t r = 0; r < n_rows; r++) {
        for (size_t c = 0; c < n_columns; c++)
            out[c] += m[r * n_columns + c];
    }
}

static size_t conv2d_scratch(const struct conv2d_shape *s)
{
    (void)s;
    return 0;
}

/* The outputs [first, end) of one axis whose input at kernel offset `k` lies
 * inside the image and not in the padding. */
static void valid_outputs(size_t *first, size_t *end, size_t offset, size_t pad,
                          size_t stride, size_t n_in, size_t n_out)
{
    *first = offset >= pad ? 0 : (pad - offset + stride - 1) / stride;
    *end = n_in + pad > offset ? (n_in + pad - offset - 1) / stride + 1 : 0;
    if (*end > n_out)
        *end = n_out;
    if (*first > *end)
        *first = *end;
}

/* One (output channel, input channel, kernel row, kernel column) of a
 * convolution: which outputs meet which inputs, and where the weight is. */
struct tap {
    size_t y0, y1;          /* output rows */
    size_t x0, x1;          /* output columns */
    size_t out, in;         /* offsets of the two planes */
    size_t row_0, column_0; /* input position of output (0, 0), plus the padding */
};

static struct tap tap_of(const struct conv2d_shape *s, size_t o, size_t i, size_t kh,
                         size_t kw)
{
    size_t group = o / (s->c_out / s->groups);
    size_t channel = group * (s->c_in / s->groups) + i;
    struct tap t;

    t.row_0 = kh * s->dilation_h;
    t.column_0 = kw * s->dilation_w;
    valid_outputs(&t.y0, &t.y1, t.row_0, s->pad_h, s->stride_h, s->h_in, s->h_out);
    valid_outputs(&t.x0, &t.x1, t.column_0, s->pad_w, s->stride_w, s->w_in, s->w_out);
    t.out = o * s->h_out * s->w_out;
    t.in = channel * s->h_in * s->w_in;
    return t;
}

/* Offset of the input that output (y, x) meets under the tap. */
static size_t tap_input(const struct tap *t, const struct conv2d_shape *s, size_t y,
                        size_t x)
{
    size_t row = y * s->stride_h + t->row_0 - s->pad_h;
    size_t column = x * s->stride_w + t->column_0 - s->pad_w;

    return t->in + row * s->w_in + column;
}

static void tap_forward(real *y, const real *x, real w, const struct tap *t,
                        const struct conv2d_shape *s)
{
    for (size_t r = t->y0; r < t->y1; r++) {
        for (size_t c = t->x0; c < t->x1; c++)
            y[t->out + r * s->w_out + c] += w * x[tap_input(t, s, r, c)];
    }
}

static void tap_backward_input(real *dx, const real *dy, real w, const struct tap *t,
                               const struct conv2d_shape *s)
{
    for (size_t r = t->y0; r < t->y1; r++) {
        for (size_t c = t->x0; c < t->x1; c++)
            dx[tap_input(t, s, r, c)] += w * dy[t->out + r * s->w_out + c];
    }
}

static real tap_backward_weight(const real *dy, const real *x, const struct tap *t,
                                const struct conv2d_shape *s)
{
    real sum = 0;

    for (size_t r = t->y0; r < t->y1; r++) {
        for (size_t c = t->x0; c < t->x1; c++)
            sum += dy[t->out + r * s->w_out + c] * x[tap_input(t, s, r, c)];
    }
    return sum;
}

/* Number of weights, in the order (o, i, kh, kw), and what number `at` is. */
static size_t n_taps(const struct conv2d_shape *s)
{
    return s->c_out * (s->c_in / s->groups) * s->k_h * s->k_w;
}

static struct tap tap_at(const struct conv2d_shape *s, size_t at)
{
    size_t kw = at % s->k_w;
    size_t kh = at / s->k_w % s->k_h;
    size_t i = at / (s->k_w * s->k_h) % (s->c_in / s->groups);
    size_t o = at / (s->k_w * s->k_h) / (s->c_in / s->groups);

    return tap_of(s, o, i, kh, kw);
}

static void conv2d_forward(real *y, const real *x, const real *w, const real *b,
                           real *scratch, const struct conv2d_shape *s)
{
    size_t plane = s->h_out * s->w_out;

    (void)scratch;
    for (size_t at = 0; at < s->c_out * plane; at++)
        y[at] = b ? b[at / plane] : 0;
    for (size_t at = 0; at < n_taps(s); at++) {
        struct tap t = tap_at(s, at);

        tap_forward(y, x, w[at], &t, s);
    }
}

static void conv2d_backward_input(real *dx, const real *dy, const real *w, real *scratch,
                                  const struct conv2d_shape *s)
{
    (void)scratch;
    for (size_t at = 0; at < s->c_in * s->h_in * s->w_in; at++)
        dx[at] = 0;
    for (size_t at = 0; at < n_taps(s); at++) {
        struct tap t = tap_at(s, at);

        tap_backward_input(dx, dy, w[at], &t, s);
    }
}

static void conv2d_backward_weight(real *dw, real *db, const real *dy, const real *x,
                                   real *scratch, const struct conv2d_shape *s)
{
    size_t plane = s->h_out * s->w_out;

    (void)scratch;
    for (size_t at = 0; at < n_taps(s); at++) {
        struct tap t = tap_at(s, at);

        dw[at] += tap_backward_weight(dy, x, &t, s);
    }
    for (size_t o = 0; db && o < s->c_out; o++) {
        real sum = 0;

        for (size_t e = 0; e < plane; e++)
            sum += dy[o * plane + e];
        db[o] += sum;
    }
}

static void relu_forward(real *y, const real *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] < 0 ? 0 : x[i]; /* NaN is not below 0 */
}

static void relu_backward(real *dx, const real *dy, const real *y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        real d = dy[i]; /* loaded always, so that it vectorises */

        dx[i] = y[i] > 0 ? d : 0;
    }
}

static void relu6_forward(real *y, const real *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        real v = x[i] < 0 ? 0 : x[i];

        y[i] = v > 6 ? 6 : v;
    }
}

static void relu6_backward(real *dx, const real *dy, const real *y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        real d = dy[i];

        dx[i] = ((y[i] > 0) & (y[i] < 6)) ? d : 0;
    }
}

struct range {
    size_t first;
    size_t end;
};

/* The window of output position `at` on one axis, clipped to the image. */
static struct range window(size_t at, size_t stride, size_t pad, size_t kernel,
                           size_t n_in)
{
    size_t start = at * stride;
    struct range range = {start > pad ? start - pad : 0, start + kernel - pad};

    if (start + kernel > n_in + pad)
        range.end = n_in;
    return range;
}

/* Index of the window's winner. Without branches on the data: they would be
 * mispredicted half of the time. */
static int32_t window_max(const real *plane, size_t w_in, struct range y, struct range x)
{
    size_t best = y.first * w_in + x.first;
    real top = plane[best];

    for (size_t row = y.first; row < y.end; row++) {
        for (size_t at = row * w_in + x.first; at < row * w_in + x.end; at++) {
            real v = plane[at];
            bool wins = (v > top) | (v != v);

            best = wins ? at : best;
            top = wins ? v : top;
        }
    }
    return (int32_t)best;
}

static void max_pool2d_plane(real *y, int32_t *at, const real *x,
                             const struct pool2d_shape *s)
{
    for (size_t r = 0; r < s->h_out; r++) {
        struct range rows = window(r, s->stride_h, s->pad_h, s->k_h, s->h_in);

        for (size_t c = 0; c < s->w_out; c++) {
            struct range columns = window(c, s->stride_w, s->pad_w, s->k_w, s->w_in);
            int32_t winner = window_max(x, s->w_in, rows, columns);

            at[r * s->w_out + c] = winner;
            y[r * s->w_out + c] = x[winner];
        }
    }
}

static void max_pool2d_forward(real *y, int32_t *at, const real *x,
                               const struct pool2d_shape *s)
{
    size_t out = s->h_out * s->w_out;

    for (size_t c = 0; c < s->channels; c++)
        max_pool2d_plane(y + c * out, at + c * out, x + c * s->h_in * s->w_in, s);
}

static void max_pool2d_backward(real *dx, const real *dy, const int32_t *at,
                                const struct pool2d_shape *s)
{
    size_t out = s->h_out * s->w_out;
    size_t in = s->h_in * s->w_in;

    memset(dx, 0, s->channels * in * sizeof(*dx));
    for (size_t c = 0; c < s->channels; c++) {
        for (size_t e = 0; e < out; e++)
            dx[c * in + (size_t)at[c * out + e]] += dy[c * out + e];
    }
}

static void sum(real *y, const real *a, const real *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = a[i] + b[i];
}

static void add(real *y, const real *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] += x[i];
}

static void sum_parts(real *y, const real *parts, size_t n_parts, size_t pitch, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = parts[i];
    for (size_t p = 1; p < n_parts; p++)
        add(y, parts + p * pitch, n);
}

static bool all_finite(const real *x, size_t n)
{
    int bad = 0; /* no early exit, so that it vectorises */

    for (size_t i = 0; i < n; i++)
        bad |= !(x[i] >= -REAL_MAX && x[i] <= REAL_MAX);
    return !bad;
}

const struct kernels kernels_ref = {
    .name = "reference",
    .enter = enter,
    .linear_forward = linear_forward,
    .linear_backward_input = linear_backward_input,
    .linear_backward_weight = linear_backward_weight,
    .column_sums = column_sums,
    .conv2d_scratch = conv2d_scratch,
    .conv2d_forward = conv2d_forward,
    .conv2d_backward_input = conv2d_backward_input,
    .conv2d_backward_weight = conv2d_backward_weight,
    .relu_forward = relu_forward,
    .relu_backward = relu_backward,
    .relu6_forward = relu6_forward,
    .relu6_backward = relu6_backward,
    .avg_pool2d_forward = avg_pool2d_forward,
    .avg_pool2d_backward = avg_pool2d_backward,
    .max_pool2d_forward = max_pool2d_forward,
    .max_pool2d_backward = max_pool2d_backward,
    .channel_moments = channel_moments,
    .batch_norm_forward = batch_norm_forward,
    .batch_norm_backward = batch_norm_backward,
    .cross_entropy_forward = cross_entropy_forward,
    .cross_entropy_backward = cross_entropy_backward,
    .sum = sum,
    .add = add,
    .sum_parts = sum_parts,
    .all_finite = all_finite,
    .update = update_weights,
    .square_sum = square_sum,
};
