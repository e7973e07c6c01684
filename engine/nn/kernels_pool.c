/* Pooling, PANEL channels at a time. Loops over the channels of a panel are plain:
 * compilers make vectors of them. */
#include "engine/nn/activation.h"
#include "engine/nn/kernels_class.h"

#include <math.h>
#include <string.h>

/* The part of a window that lies in the image, on one axis: inputs [first, last),
 * the window's own tap `tap` being the first of them. */
struct range {
    size_t first, last, tap;
};

static struct range range_of(size_t out, size_t stride, size_t pad, size_t kernel,
                             size_t n_in)
{
    size_t begin = out * stride;
    struct range r = {begin > pad ? begin - pad : 0, begin + kernel - pad, 0};

    r.tap = begin < pad ? pad - begin : 0;
    if (begin + kernel < pad)
        r.last = 0;
    if (r.last > n_in)
        r.last = n_in;
    return r;
}

static void read_panel(real *y, const real *x, const struct reading *reading, size_t c)
{
    struct reading here = {NULL, NULL, reading->act};

    if (reading->scale)
        here.scale = reading->scale + c, here.shift = reading->shift + c;
    for (size_t l = 0; l < PANEL; l += LANES) {
        vec v = vec_load(x + l);

        if (here.scale)
            v = vec_fma(v, vec_load(here.scale + l), vec_load(here.shift + l));
        vec_store(y + l, act_value(v, here.act));
    }
}

/* The winners of one window, vector by vector; places are kept as numbers. `nan` is 0
 * until there is one. */
struct winners {
    vec best[PANEL_VECS];
    vec at[PANEL_VECS];
    vec nan[PANEL_VECS];
};

ALWAYS_INLINE void challenge(struct winners *w, const real *v, real tap)
{
#pragma GCC unroll 16
    for (size_t i = 0; i < PANEL_VECS; i++) {
        vec value = vec_load(v + i * LANES), place = vec_splat(tap);
        vec finite = vec_min(vec_splat(REAL_MAX), vec_max(vec_splat(-REAL_MAX), value));

        w->at[i] = vec_if_less(w->best[i], value, place - w->at[i]) + w->at[i];
        w->best[i] = vec_max(value, w->best[i]);
        w->nan[i] = vec_fma(finite, vec_zero(), w->nan[i]);
    }
}

/* PANEL channels of one output. A NaN wins over all; its place does not matter. */
static void max_window(real *y, uint8_t *at, const real *x, size_t x_pitch, size_t w_in,
                       size_t k_w, struct range rows, struct range columns)
{
    struct winners w;
    real place[PANEL];

    for (size_t i = 0; i < PANEL_VECS; i++) {
        w.best[i] = vec_splat((real)-INFINITY);
        w.nan[i] = vec_zero();
        w.at[i] = vec_splat((real)(rows.tap * k_w + columns.tap));
    }
    for (size_t i = rows.first; i < rows.last; i++) {
        for (size_t j = columns.first; j < columns.last; j++)
            challenge(&w, x + (i * w_in + j) * x_pitch,
                      (real)((rows.tap + i - rows.first) * k_w + columns.tap + j -
                             columns.first));
    }
    for (size_t i = 0; i < PANEL_VECS; i++) {
        vec_store(y + i * LANES, w.best[i] + w.nan[i]);
        vec_store(place + i * LANES, w.at[i]);
    }
    for (size_t l = 0; l < PANEL; l++)
        at[l] = (uint8_t)place[l];
}

/* One panel of channels of the image is read into scratch first: windows overlap. */
static void max_pool2d_forward(real *y, uint8_t *at, const real *x,
                               const struct reading *reading, size_t x_pitch,
                               real *scratch, const struct pool2d_shape *s)
{
    size_t channels = padded(s->channels), n_in = s->h_in * s->w_in;

    for (size_t c = 0; c < channels; c += PANEL) {
        for (size_t i = 0; i < n_in; i++)
            read_panel(scratch + i * PANEL, x + i * x_pitch + c, reading, c);
        for (size_t o = 0; o < s->h_out * s->w_out; o++) {
            struct range rows =
                range_of(o / s->w_out, s->stride_h, s->pad_h, s->k_h, s->h_in);
            struct range columns =
                range_of(o % s->w_out, s->stride_w, s->pad_w, s->k_w, s->w_in);

            max_window(y + o * channels + c, at + o * channels + c, scratch, PANEL,
                       s->w_in, s->k_w, rows, columns);
        }
    }
}

/* dx += dy where the window's winner is this tap. */
static void add_where(real *dx, const real *dy, const uint8_t *at, size_t tap, size_t n)
{
    vec half = vec_splat((real)0.5), minus_half = vec_splat((real)-0.5);

    for (size_t c = 0; c < n; c += PANEL) {
        real off[PANEL];

        for (size_t l = 0; l < PANEL; l++)
            off[l] = (real)at[c + l] - (real)tap;
        for (size_t l = 0; l < PANEL; l += LANES) {
            vec d = vec_load(off + l);
            vec g = vec_if_less(minus_half, d, vec_load(dy + c + l));

            vec_store(dx + c + l, vec_load(dx + c + l) + vec_if_less(d, half, g));
        }
    }
}

static void max_pool2d_backward(real *dx, const real *dy, const uint8_t *at,
                                const struct pool2d_shape *s)
{
    size_t channels = padded(s->channels);

    memset(dx, 0, s->h_in * s->w_in * channels * sizeof(*dx));
    for (size_t o = 0; o < s->h_out * s->w_out; o++, dy += channels, at += channels) {
        struct range rows =
            range_of(o / s->w_out, s->stride_h, s->pad_h, s->k_h, s->h_in);
        struct range columns =
            range_of(o % s->w_out, s->stride_w, s->pad_w, s->k_w, s->w_in);

        for (size_t i = rows.first; i < rows.last; i++) {
            for (size_t j = columns.first; j < columns.last; j++)
                add_where(dx + (i * s->w_in + j) * channels, dy, at,
                          (rows.tap + i - rows.first) * s->k_w + columns.tap + j -
                              columns.first,
                          channels);
        }
    }
}

/* The window of one output of the adaptive mean; windows may overlap. */
struct window {
    size_t y0, y1;
    size_t x0, x1;
    double area;
};

static struct window window_of(const struct pool2d_shape *s, size_t at)
{
    size_t r = at / s->w_out, c = at % s->w_out;
    struct window w;

    w.y0 = r * s->h_in / s->h_out;
    w.y1 = ((r + 1) * s->h_in + s->h_out - 1) / s->h_out;
    w.x0 = c * s->w_in / s->w_out;
    w.x1 = ((c + 1) * s->w_in + s->w_out - 1) / s->w_out;
    w.area = (double)((w.y1 - w.y0) * (w.x1 - w.x0));
    return w;
}

static void avg_pool2d_forward(real *y, const real *x, const struct reading *reading,
                               size_t x_pitch, const struct pool2d_shape *s)
{
    size_t channels = padded(s->channels);

    for (size_t o = 0; o < s->h_out * s->w_out; o++) {
        struct window w = window_of(s, o);

        for (size_t c = 0; c < channels; c += PANEL) {
            double total[PANEL] = {0};
            real v[PANEL];

            for (size_t i = w.y0; i < w.y1; i++) {
                for (size_t j = w.x0; j < w.x1; j++) {
                    read_panel(v, x + (i * s->w_in + j) * x_pitch + c, reading, c);
                    for (size_t l = 0; l < PANEL; l++)
                        total[l] += (double)v[l];
                }
            }
            for (size_t l = 0; l < PANEL; l++)
                y[o * channels + c + l] = (real)(total[l] / w.area);
        }
    }
}

static void avg_pool2d_backward(real *dx, const real *dy, const struct pool2d_shape *s)
{
    size_t channels = padded(s->channels);

    memset(dx, 0, s->h_in * s->w_in * channels * sizeof(*dx));
    for (size_t o = 0; o < s->h_out * s->w_out; o++, dy += channels) {
        struct window w = window_of(s, o);
        real share = (real)(1 / w.area);

        for (size_t i = w.y0; i < w.y1; i++) {
            for (size_t j = w.x0; j < w.x1; j++) {
                real *to = dx + (i * s->w_in + j) * channels;

                for (size_t c = 0; c < channels; c++)
                    to[c] += share * dy[c];
            }
        }
    }
}

void FILL(pool)(struct kernels *out)
{
    out->max_pool2d_forward = max_pool2d_forward;
    out->max_pool2d_backward = max_pool2d_backward;
    out->avg_pool2d_forward = avg_pool2d_forward;
    out->avg_pool2d_backward = avg_pool2d_backward;
}
