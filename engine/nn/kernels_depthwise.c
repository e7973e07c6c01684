/* Depthwise convolution, one channel plane at a time, rows in the innermost loop.
 * Planes are worked on in scratch with their padding around them, so that no tap
 * has to look where the image ends. */
#include "engine/nn/kernels_shared.h"

#include <string.h>

enum { LANES = 16 };

/* A plane with its padding. */
static size_t padded_width(const struct conv2d_shape *s)
{
    return s->w_in + 2 * s->pad_w;
}

static size_t padded_elements(const struct conv2d_shape *s)
{
    return (s->h_in + 2 * s->pad_h) * padded_width(s);
}

size_t depthwise_scratch(const struct conv2d_shape *s)
{
    return padded_elements(s);
}

/* Copies the plane into the middle; the padding is 0 already. */
static void pad_plane(real *restrict padded, const real *restrict x,
                      const struct conv2d_shape *s)
{
    padded += s->pad_h * padded_width(s) + s->pad_w;
    for (size_t r = 0; r < s->h_in; r++)
        memcpy(padded + r * padded_width(s), x + r * s->w_in, s->w_in * sizeof(*x));
}

static void unpad_plane(real *restrict x, const real *restrict padded,
                        const struct conv2d_shape *s)
{
    padded += s->pad_h * padded_width(s) + s->pad_w;
    for (size_t r = 0; r < s->h_in; r++)
        memcpy(x + r * s->w_in, padded + r * padded_width(s), s->w_in * sizeof(*x));
}

/* Offset in the padded plane of what output (row, 0) meets under tap `t`. */
static size_t tap_offset(const struct conv2d_shape *s, size_t row, size_t t)
{
    size_t kh = t / s->k_w, kw = t % s->k_w;

    return (row * s->stride_h + kh * s->dilation_h) * padded_width(s) +
           kw * s->dilation_w;
}

static void gather_add(real *restrict y, const real *restrict x, real w, size_t stride,
                       size_t n)
{
    if (stride == 1) {
        for (size_t i = 0; i < n; i++)
            y[i] += w * x[i];
    } else {
        for (size_t i = 0; i < n; i++)
            y[i] += w * x[i * stride];
    }
}

static void scatter_add(real *restrict x, const real *restrict y, real w, size_t stride,
                        size_t n)
{
    if (stride == 1) {
        for (size_t i = 0; i < n; i++)
            x[i] += w * y[i];
    } else {
        for (size_t i = 0; i < n; i++)
            x[i * stride] += w * y[i];
    }
}

/* Adds products to lane i mod LANES. */
static void dot_add(real lane[LANES], const real *restrict y, const real *restrict x,
                    size_t stride, size_t n)
{
    size_t i = 0;

    for (; stride == 1 && i + LANES <= n; i += LANES) {
        for (size_t l = 0; l < LANES; l++)
            lane[l] += y[i + l] * x[i + l];
    }
    for (; i < n; i++)
        lane[i % LANES] += y[i] * x[i * stride];
}

static real lane_total(const real lane[LANES])
{
    real sum = 0;

    for (size_t l = 0; l < LANES; l++)
        sum += lane[l];
    return sum;
}

void depthwise_forward(real *y, const real *x, const real *w, const real *b, real *padded,
                       const struct conv2d_shape *s)
{
    size_t n_taps = s->k_h * s->k_w;

    memset(padded, 0, padded_elements(s) * sizeof(*padded));
    for (size_t c = 0; c < s->c_in; c++, x += s->h_in * s->w_in, w += n_taps) {
        pad_plane(padded, x, s);
        for (size_t r = 0; r < s->h_out; r++, y += s->w_out) {
            for (size_t i = 0; i < s->w_out; i++)
                y[i] = b ? b[c] : 0;
            for (size_t t = 0; t < n_taps; t++)
                gather_add(y, padded + tap_offset(s, r, t), w[t], s->stride_w, s->w_out);
        }
    }
}

void depthwise_backward_input(real *dx, const real *dy, const real *w, real *padded,
                              const struct conv2d_shape *s)
{
    size_t n_taps = s->k_h * s->k_w;

    for (size_t c = 0; c < s->c_in; c++, dx += s->h_in * s->w_in, w += n_taps) {
        memset(padded, 0, padded_elements(s) * sizeof(*padded));
        for (size_t r = 0; r < s->h_out; r++, dy += s->w_out) {
            for (size_t t = 0; t < n_taps; t++)
                scatter_add(padded + tap_offset(s, r, t), dy, w[t], s->stride_w,
                            s->w_out);
        }
        unpad_plane(dx, padded, s);
    }
}

void depthwise_backward_weight(real *dw, real *db, const real *dy, const real *x,
                               real *padded, const struct conv2d_shape *s)
{
    size_t n_taps = s->k_h * s->k_w, plane = s->h_out * s->w_out;

    memset(padded, 0, padded_elements(s) * sizeof(*padded));
    for (size_t c = 0; c < s->c_in; c++, x += s->h_in * s->w_in, dy += plane) {
        pad_plane(padded, x, s);
        for (size_t t = 0; t < n_taps; t++) {
            real lane[LANES] = {0};

            for (size_t r = 0; r < s->h_out; r++)
                dot_add(lane, dy + r * s->w_out, padded + tap_offset(s, r, t),
                        s->stride_w, s->w_out);
            dw[c * n_taps + t] += lane_total(lane);
        }
        for (size_t i = 0; db && i < plane; i++)
            db[c] += dy[i];
    }
}
