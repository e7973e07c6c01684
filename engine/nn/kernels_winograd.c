/* Winograd's convolutions F(m x m, 3x3): transforms of one axis, applied to columns and
 * then to rows of a tile, a vector of channels at a time. kernels.h has what they are
 * for, docs/numerics.md the matrices. Everything is linear: what goes back is the
 * transposed matrix. m is a constant wherever it matters. */
#include "engine/nn/kernels_class.h"

enum { REACH = WINOGRAD_REACH, MAX_M = 4, MAX_N = MAX_M + REACH };

/* The points of F(4x4, 3x3) are 0, +-P, +-Q and infinity. */
#define P ((real)0.75)
#define Q ((real)1.5)
#define P2 (P * P)
#define Q2 (Q * Q)

/* ---- One axis ------------------------------------------------------------ */

/* out = B^T d: of m + 2 values. */
ALWAYS_INLINE void take_window(vec out[MAX_N], const vec d[MAX_N], size_t m)
{
    if (m == 2) {
        out[0] = d[0] - d[2];
        out[1] = d[1] + d[2];
        out[2] = d[2] - d[1];
        out[3] = d[1] - d[3];
    } else {
        vec even_p = vec_fma(d[2], vec_splat(-Q2), d[4]);
        vec even_q = vec_fma(d[2], vec_splat(-P2), d[4]);
        vec odd_p = vec_fma(d[1], vec_splat(-P * Q2), d[3] * vec_splat(P));
        vec odd_q = vec_fma(d[1], vec_splat(-Q * P2), d[3] * vec_splat(Q));

        out[0] =
            vec_fma(d[0], vec_splat(P2 * Q2), vec_fma(d[2], vec_splat(-P2 - Q2), d[4]));
        out[1] = even_p + odd_p;
        out[2] = even_p - odd_p;
        out[3] = even_q + odd_q;
        out[4] = even_q - odd_q;
        out[5] =
            vec_fma(d[1], vec_splat(P2 * Q2), vec_fma(d[3], vec_splat(-P2 - Q2), d[5]));
    }
}

/* out = G g: of 3 values. */
ALWAYS_INLINE void take_taps(vec out[MAX_N], const vec g[WINOGRAD_TAPS], size_t m)
{
    if (m == 2) {
        vec half = vec_splat((real)0.5), even = (g[0] + g[2]) * half, odd = g[1] * half;

        out[0] = g[0];
        out[1] = even + odd;
        out[2] = even - odd;
        out[3] = g[2];
    } else {
        vec of_p = vec_splat(1 / (2 * P2 * (P2 - Q2)));
        vec of_q = vec_splat(1 / (2 * Q2 * (Q2 - P2)));
        vec even_p = vec_fma(g[2], vec_splat(P2), g[0]) * of_p;
        vec even_q = vec_fma(g[2], vec_splat(Q2), g[0]) * of_q;
        vec odd_p = g[1] * (vec_splat(P) * of_p), odd_q = g[1] * (vec_splat(Q) * of_q);

        out[0] = g[0] * vec_splat(1 / (P2 * Q2));
        out[1] = even_p + odd_p;
        out[2] = even_p - odd_p;
        out[3] = even_q + odd_q;
        out[4] = even_q - odd_q;
        out[5] = g[2];
    }
}

/* out = A^T v: m values. */
ALWAYS_INLINE void make_outputs(vec out[MAX_M], const vec v[MAX_N], size_t m)
{
    if (m == 2) {
        out[0] = v[0] + v[1] + v[2];
        out[1] = v[1] - v[2] - v[3];
    } else {
        vec even_p = v[1] + v[2], odd_p = v[1] - v[2];
        vec even_q = v[3] + v[4], odd_q = v[3] - v[4];

        out[0] = v[0] + even_p + even_q;
        out[1] = vec_fma(odd_p, vec_splat(P), odd_q * vec_splat(Q));
        out[2] = vec_fma(even_p, vec_splat(P2), even_q * vec_splat(Q2));
        out[3] = vec_fma(odd_p, vec_splat(P2 * P), odd_q * vec_splat(Q2 * Q)) + v[5];
    }
}

/* out = A dy: of m values. */
ALWAYS_INLINE void take_outputs(vec out[MAX_N], const vec dy[MAX_N], size_t m)
{
    if (m == 2) {
        out[0] = dy[0];
        out[1] = dy[0] + dy[1];
        out[2] = dy[0] - dy[1];
        out[3] = -dy[1];
    } else {
        vec even_p = vec_fma(dy[2], vec_splat(P2), dy[0]);
        vec even_q = vec_fma(dy[2], vec_splat(Q2), dy[0]);
        vec odd_p = vec_fma(dy[3], vec_splat(P2 * P), dy[1] * vec_splat(P));
        vec odd_q = vec_fma(dy[3], vec_splat(Q2 * Q), dy[1] * vec_splat(Q));

        out[0] = dy[0];
        out[1] = even_p + odd_p;
        out[2] = even_p - odd_p;
        out[3] = even_q + odd_q;
        out[4] = even_q - odd_q;
        out[5] = dy[3];
    }
}

/* out = G^T du: 3 values. */
ALWAYS_INLINE void make_taps(vec out[WINOGRAD_TAPS], const vec du[MAX_N], size_t m)
{
    if (m == 2) {
        vec half = vec_splat((real)0.5), even = (du[1] + du[2]) * half;

        out[0] = du[0] + even;
        out[1] = (du[1] - du[2]) * half;
        out[2] = even + du[3];
    } else {
        vec of_p = vec_splat(1 / (2 * P2 * (P2 - Q2)));
        vec of_q = vec_splat(1 / (2 * Q2 * (Q2 - P2)));
        vec even_p = (du[1] + du[2]) * of_p, even_q = (du[3] + du[4]) * of_q;
        vec odd_p = (du[1] - du[2]) * of_p, odd_q = (du[3] - du[4]) * of_q;

        out[0] = vec_fma(du[0], vec_splat(1 / (P2 * Q2)), even_p + even_q);
        out[1] = vec_fma(odd_p, vec_splat(P), odd_q * vec_splat(Q));
        out[2] = vec_fma(even_p, vec_splat(P2), even_q * vec_splat(Q2)) + du[5];
    }
}

/* ---- Tiles --------------------------------------------------------------- */

/* A vector of channels of the window at x: out[b] is column b. */
ALWAYS_INLINE void read_window(real *v, const real *x, const struct winograd_tiles *t,
                               size_t m)
{
    size_t n = m + REACH;
    vec columns[MAX_N][MAX_N];

#pragma GCC unroll 6
    for (size_t b = 0; b < n; b++) {
        vec d[MAX_N];

#pragma GCC unroll 6
        for (size_t a = 0; a < n; a++)
            d[a] = vec_load(x + a * t->line + b * t->pitch);
        take_window(columns[b], d, m);
    }
#pragma GCC unroll 6
    for (size_t a = 0; a < n; a++) {
        vec d[MAX_N], out[MAX_N];

#pragma GCC unroll 6
        for (size_t b = 0; b < n; b++)
            d[b] = columns[b][a];
        take_window(out, d, m);
#pragma GCC unroll 6
        for (size_t b = 0; b < n; b++)
            vec_store(v + (a * n + b) * t->xi_pitch, out[b]);
    }
}

/* The same of m by m outputs. */
ALWAYS_INLINE void read_outputs(real *v, const real *dz, const struct winograd_tiles *t,
                                size_t m)
{
    size_t n = m + REACH;
    vec columns[MAX_M][MAX_N];

#pragma GCC unroll 4
    for (size_t b = 0; b < m; b++) {
        vec d[MAX_N];

#pragma GCC unroll 4
        for (size_t a = 0; a < m; a++)
            d[a] = vec_load(dz + a * t->line + b * t->pitch);
        take_outputs(columns[b], d, m);
    }
#pragma GCC unroll 6
    for (size_t a = 0; a < n; a++) {
        vec d[MAX_N], out[MAX_N];

#pragma GCC unroll 4
        for (size_t b = 0; b < m; b++)
            d[b] = columns[b][a];
        take_outputs(out, d, m);
#pragma GCC unroll 6
        for (size_t b = 0; b < n; b++)
            vec_store(v + (a * n + b) * t->xi_pitch, out[b]);
    }
}

typedef void (*read_fn)(real *v, const real *x, const struct winograd_tiles *t, size_t m);

ALWAYS_INLINE void read_tiles(real *v, const real *x, const struct winograd_tiles *t,
                              size_t m, read_fn read)
{
    for (size_t i = 0; i < t->n; i++, v += t->tile_pitch, x += m * t->pitch) {
        for (size_t c = 0; c < t->channels; c += LANES)
            read(v + c, x + c, t, m);
    }
}

static void winograd_read(real *v, const real *x, const struct winograd_tiles *t)
{
    if (t->m == 2)
        read_tiles(v, x, t, 2, read_window);
    else
        read_tiles(v, x, t, 4, read_window);
}

static void winograd_read_gradient(real *v, const real *dz,
                                   const struct winograd_tiles *t)
{
    if (t->m == 2)
        read_tiles(v, dz, t, 2, read_outputs);
    else
        read_tiles(v, dz, t, 4, read_outputs);
}

/* h by w of the outputs, at most m by m. */
ALWAYS_INLINE void write_outputs(real *z, const real *v, vec bias,
                                 const struct winograd_tiles *t, size_t h, size_t w,
                                 size_t m)
{
    size_t n = m + REACH;
    vec columns[MAX_N][MAX_M];

#pragma GCC unroll 6
    for (size_t b = 0; b < n; b++) {
        vec d[MAX_N];

#pragma GCC unroll 6
        for (size_t a = 0; a < n; a++)
            d[a] = vec_load(v + (a * n + b) * t->xi_pitch);
        make_outputs(columns[b], d, m);
    }
#pragma GCC unroll 4
    for (size_t a = 0; a < m; a++) {
        vec d[MAX_N], out[MAX_M];

        if (a >= h)
            break;
#pragma GCC unroll 6
        for (size_t b = 0; b < n; b++)
            d[b] = columns[b][a];
        make_outputs(out, d, m);
#pragma GCC unroll 4
        for (size_t b = 0; b < m; b++) {
            if (b < w)
                vec_store(z + a * t->line + b * t->pitch, out[b] + bias);
        }
    }
}

ALWAYS_INLINE void write_tiles(real *z, const real *v, const real *bias,
                               const struct winograd_tiles *t, size_t m)
{
    for (size_t i = 0; i < t->n; i++, v += t->tile_pitch, z += m * t->pitch) {
        for (size_t c = 0; c < t->channels; c += LANES)
            write_outputs(z + c, v + c, bias ? vec_load(bias + c) : vec_zero(), t, t->h,
                          t->w - i * m, m);
    }
}

static void winograd_write(real *z, const real *v, const real *bias,
                           const struct winograd_tiles *t)
{
    if (t->m == 2)
        write_tiles(z, v, bias, t, 2);
    else
        write_tiles(z, v, bias, t, 4);
}

/* ---- Weights ------------------------------------------------------------- */

ALWAYS_INLINE void weights_of(real *u, size_t u_xi, const real *w, size_t w_tap,
                              size_t count, size_t m, bool is_turned)
{
    enum { LAST = WINOGRAD_TAPS * WINOGRAD_TAPS - 1 };
    size_t n = m + REACH;

    for (size_t i = 0; i < count; i += LANES) {
        vec columns[WINOGRAD_TAPS][MAX_N];

#pragma GCC unroll 3
        for (size_t b = 0; b < WINOGRAD_TAPS; b++) {
            vec g[WINOGRAD_TAPS];

#pragma GCC unroll 3
            for (size_t a = 0; a < WINOGRAD_TAPS; a++) {
                size_t tap = a * WINOGRAD_TAPS + b;

                g[a] = vec_load(w + i + (is_turned ? LAST - tap : tap) * w_tap);
            }
            take_taps(columns[b], g, m);
        }
#pragma GCC unroll 6
        for (size_t a = 0; a < n; a++) {
            vec g[WINOGRAD_TAPS], out[MAX_N];

#pragma GCC unroll 3
            for (size_t b = 0; b < WINOGRAD_TAPS; b++)
                g[b] = columns[b][a];
            take_taps(out, g, m);
#pragma GCC unroll 6
            for (size_t b = 0; b < n; b++)
                vec_store(u + i + (a * n + b) * u_xi, out[b]);
        }
    }
}

static void winograd_weights(real *u, size_t u_xi, const real *w, size_t w_tap,
                             bool is_turned, size_t m, size_t n)
{
    if (m == 2)
        weights_of(u, u_xi, w, w_tap, n, 2, is_turned);
    else
        weights_of(u, u_xi, w, w_tap, n, 4, is_turned);
}

ALWAYS_INLINE void weights_back(real *dw, size_t dw_tap, const real *du, size_t du_xi,
                                size_t count, size_t m)
{
    size_t n = m + REACH;

    for (size_t i = 0; i < count; i += LANES) {
        vec columns[MAX_N][WINOGRAD_TAPS];

#pragma GCC unroll 6
        for (size_t b = 0; b < n; b++) {
            vec d[MAX_N];

#pragma GCC unroll 6
            for (size_t a = 0; a < n; a++)
                d[a] = vec_load(du + i + (a * n + b) * du_xi);
            make_taps(columns[b], d, m);
        }
#pragma GCC unroll 3
        for (size_t a = 0; a < WINOGRAD_TAPS; a++) {
            vec d[MAX_N], out[WINOGRAD_TAPS];

#pragma GCC unroll 6
            for (size_t b = 0; b < n; b++)
                d[b] = columns[b][a];
            make_taps(out, d, m);
#pragma GCC unroll 3
            for (size_t b = 0; b < WINOGRAD_TAPS; b++)
                vec_store(dw + i + (a * WINOGRAD_TAPS + b) * dw_tap, out[b]);
        }
    }
}

static void winograd_weights_back(real *dw, size_t dw_tap, const real *du, size_t du_xi,
                                  size_t m, size_t n)
{
    if (m == 2)
        weights_back(dw, dw_tap, du, du_xi, n, 2);
    else
        weights_back(dw, dw_tap, du, du_xi, n, 4);
}

void FILL(winograd)(struct kernels *out)
{
    out->winograd_read = winograd_read;
    out->winograd_read_gradient = winograd_read_gradient;
    out->winograd_write = winograd_write;
    out->winograd_weights = winograd_weights;
    out->winograd_weights_back = winograd_weights_back;
}
