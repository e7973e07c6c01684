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

/* The image and how it is read. */
struct pooled {
    const real *x;
    size_t pitch;
    const struct reading *reading;
    const struct pool2d_shape *shape;
};

ALWAYS_INLINE vec read_vec(const struct pooled *p, const real *x, size_t c,
                           enum activation act)
{
    vec v = vec_load(x + c);

    if (p->reading->scale)
        v = vec_fma(v, vec_load(p->reading->scale + c), vec_load(p->reading->shift + c));
    return act_value(v, act);
}

/* The winners of one window, and their taps. */
struct winners {
    vec best[PANEL_VECS];
    vec tap[PANEL_VECS];
};

/* Where there is a NaN the last one wins, which is rare: lane by lane. */
static void challenge_slowly(vec *best, vec *tap, vec v, size_t k)
{
    real lanes[3][LANES];

    vec_store(lanes[0], *best);
    vec_store(lanes[1], *tap);
    vec_store(lanes[2], v);
    for (size_t l = 0; l < LANES; l++) {
        if (lanes[2][l] > lanes[0][l] || lanes[2][l] != lanes[2][l])
            lanes[0][l] = lanes[2][l], lanes[1][l] = (real)k;
    }
    *best = vec_load(lanes[0]);
    *tap = vec_load(lanes[1]);
}

/* One channel's vectors over a window. sum: of all that was read; NaN says that it may
 * have held one. */
ALWAYS_INLINE void max_of_window(struct winners *w, vec sum[PANEL_VECS],
                                 const struct pooled *p, size_t c, struct range rows,
                                 struct range columns, enum activation act, bool slowly)
{
    const struct pool2d_shape *s = p->shape;

    for (size_t j = 0; j < PANEL_VECS; j++) {
        w->best[j] = vec_splat((real)-INFINITY);
        w->tap[j] = vec_splat((real)(rows.tap * s->k_w + columns.tap));
        sum[j] = vec_zero();
    }
    for (size_t i = rows.first; i < rows.last; i++) {
        size_t tap = (rows.tap + i - rows.first) * s->k_w + columns.tap;
        const real *x = p->x + (i * s->w_in + columns.first) * p->pitch;

        for (size_t k = columns.first; k < columns.last; k++, tap++, x += p->pitch) {
            for (size_t j = 0; j < PANEL_VECS; j++) {
                vec v = read_vec(p, x, c + j * LANES, act);

                if (slowly) {
                    challenge_slowly(&w->best[j], &w->tap[j], v, tap);
                    continue;
                }
                sum[j] += v;
                w->tap[j] += vec_if_less(w->best[j], v, vec_splat((real)tap) - w->tap[j]);
                w->best[j] = vec_max(w->best[j], v);
            }
        }
    }
}

ALWAYS_INLINE bool has_nan(vec v)
{
#if LANES == 16
    return _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q) != 0;
#elif LANES == 8
    return _mm256_movemask_ps(_mm256_cmp_ps(v, v, _CMP_UNORD_Q)) != 0;
#elif LANES == 4 && defined(__SSE2__)
    return _mm_movemask_ps(_mm_cmpunord_ps(v, v)) != 0;
#elif LANES == 4
    return vminvq_u32(vceqq_f32(v, v)) == 0;
#else
    return v != v;
#endif
}

ALWAYS_INLINE bool may_have_nan(const vec sum[PANEL_VECS])
{
    vec all = sum[0];

    for (size_t j = 1; j < PANEL_VECS; j++)
        all += sum[j];
    return has_nan(all);
}

ALWAYS_INLINE void put_winners(real *y, uint8_t *at, const struct winners *w)
{
#if LANES == 16
    vec_store(y, w->best[0]);
    _mm_storeu_si128((__m128i *)at, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(w->tap[0])));
#else
    real tap[PANEL];

    for (size_t j = 0; j < PANEL_VECS; j++) {
        vec_store(y + j * LANES, w->best[j]);
        vec_store(tap + j * LANES, w->tap[j]);
    }
    for (size_t l = 0; l < PANEL; l++)
        at[l] = (uint8_t)(int32_t)tap[l];
#endif
}

/* One window, all channels. */
ALWAYS_INLINE void pool_window(real *y, uint8_t *at, const struct pooled *p,
                               struct range rows, struct range columns,
                               enum activation act)
{
    for (size_t c = 0; c < padded(p->shape->channels); c += PANEL) {
        struct winners w;
        vec sum[PANEL_VECS];

        max_of_window(&w, sum, p, c, rows, columns, act, false);
        if (may_have_nan(sum))
            max_of_window(&w, sum, p, c, rows, columns, act, true);
        put_winners(y + c, at + c, &w);
    }
}

/* The same with all of the window inside, of 2 by 2. */
ALWAYS_INLINE void pool_four(real *y, uint8_t *at, const struct pooled *p, size_t row,
                             size_t column, enum activation act)
{
    struct range rows = {row, row + 2, 0}, columns = {column, column + 2, 0};
    const real *top = p->x + (row * p->shape->w_in + column) * p->pitch;
    const real *bottom = top + p->shape->w_in * p->pitch;

    for (size_t c = 0; c < padded(p->shape->channels); c += PANEL) {
        struct winners w;
        vec sum[PANEL_VECS];

        for (size_t j = 0; j < PANEL_VECS; j++) {
            size_t at_j = c + j * LANES;
            vec a = read_vec(p, top + 0, at_j, act), b, first, second, tap_a, tap_b;

            b = read_vec(p, top + p->pitch, at_j, act);
            first = vec_max(a, b);
            tap_a = vec_if_less(a, b, vec_splat(1));
            sum[j] = a + b;
            a = read_vec(p, bottom, at_j, act);
            b = read_vec(p, bottom + p->pitch, at_j, act);
            second = vec_max(a, b);
            tap_b = vec_splat(2) + vec_if_less(a, b, vec_splat(1));
            sum[j] += a + b;
            w.best[j] = vec_max(first, second);
            w.tap[j] = tap_a + vec_if_less(first, second, tap_b - tap_a);
        }
        if (may_have_nan(sum))
            max_of_window(&w, sum, p, c, rows, columns, act, true);
        put_winners(y + c, at + c, &w);
    }
}

ALWAYS_INLINE void max_of_image(real *y, uint8_t *at, const struct pooled *p,
                                enum activation act)
{
    const struct pool2d_shape *s = p->shape;
    size_t channels = padded(s->channels);

    for (size_t r = 0; r < s->h_out; r++) {
        struct range rows = range_of(r, s->stride_h, s->pad_h, s->k_h, s->h_in);

        for (size_t o = 0; o < s->w_out; o++, y += channels, at += channels) {
            struct range columns = range_of(o, s->stride_w, s->pad_w, s->k_w, s->w_in);

            if (s->k_h == 2 && s->k_w == 2 && rows.last == rows.first + 2 &&
                columns.last == columns.first + 2)
                pool_four(y, at, p, rows.first, columns.first, act);
            else
                pool_window(y, at, p, rows, columns, act);
        }
    }
}

static void max_pool2d_forward(real *y, uint8_t *at, const real *x,
                               const struct reading *reading, size_t x_pitch,
                               const struct pool2d_shape *s)
{
    const struct pooled p = {x, x_pitch, reading, s};

    ACT_SWITCH(reading->act, max_of_image, y, at, &p)
}

/* g where the winner is this tap, else 0. */
ALWAYS_INLINE vec where_tap(vec g, const uint8_t *at, size_t tap)
{
#if LANES == 16
    __m128i same =
        _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)at), _mm_set1_epi8((char)tap));

    return _mm512_maskz_mov_ps((__mmask16)_mm_movemask_epi8(same), g);
#elif LANES == 8
    __m256i taps = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)at));
    __m256i same = _mm256_cmpeq_epi32(taps, _mm256_set1_epi32((int)tap));

    return _mm256_and_ps(_mm256_castsi256_ps(same), g);
#else
    real off[LANES];
    vec d;

    for (size_t l = 0; l < LANES; l++)
        off[l] = (real)at[l] - (real)tap;
    d = vec_load(off);
    g = vec_if_less(vec_splat((real)-0.5), d, g);
    return vec_if_less(d, vec_splat((real)0.5), g);
#endif
}

/* dx += dy where the winner of one window is: some channels of it. dx is at the first
 * input of the window that there is. */
ALWAYS_INLINE void add_to_winner(real *dx, vec g, const uint8_t *at,
                                 const struct pool2d_shape *s, struct range rows,
                                 struct range columns)
{
    size_t channels = padded(s->channels), of_row = s->w_in * channels;

    for (size_t i = 0; i < rows.last - rows.first; i++, dx += of_row) {
        size_t tap = (rows.tap + i) * s->k_w + columns.tap;
        real *to = dx;

        for (size_t j = columns.first; j < columns.last; j++, tap++, to += channels)
            vec_store(to, vec_load(to) + where_tap(g, at, tap));
    }
}

static void max_pool2d_backward(real *dx, const real *dy, const uint8_t *at,
                                const struct pool2d_shape *s)
{
    size_t channels = padded(s->channels);

    memset(dx, 0, s->h_in * s->w_in * channels * sizeof(*dx));
    for (size_t r = 0; r < s->h_out; r++) {
        struct range rows = range_of(r, s->stride_h, s->pad_h, s->k_h, s->h_in);

        for (size_t o = 0; o < s->w_out; o++, dy += channels, at += channels) {
            struct range columns = range_of(o, s->stride_w, s->pad_w, s->k_w, s->w_in);
            real *first = dx + (rows.first * s->w_in + columns.first) * channels;

            if (rows.last <= rows.first || columns.last <= columns.first)
                continue;
            for (size_t c = 0; c < channels; c += LANES)
                add_to_winner(first + c, vec_load(dy + c), at + c, s, rows, columns);
        }
    }
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
