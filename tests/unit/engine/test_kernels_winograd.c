/* The transforms of Winograd's convolutions, of each class of kernels, against their
 * matrices in double, and what they are for: convolutions and their gradients against
 * direct sums. A transform of both axes is two sums of at most 6 terms with constants of
 * 2 roundings; bounds are worked out as in test_kernels.c. */
#include "numbers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_N = 6, TAPS = 3, TILES = 3, CHANNELS = 2 * PANEL, PITCH = 3 * PANEL };

static const double u = (double)REAL_EPSILON / 2;
static const double roundings = 20;

/* rows x columns, used as m says. */
struct matrix {
    size_t rows, columns;
    double at[MAX_N][MAX_N];
};

/* docs/numerics.md: of F(m x m, 3x3), for windows (B^T), weights (G) and outputs (A^T).
 */
struct matrices {
    size_t m, n;
    struct matrix window, weight, output;
};

static const struct matrices small = {
    2,
    4,
    {4, 4, {{1, 0, -1, 0}, {0, 1, 1, 0}, {0, -1, 1, 0}, {0, 1, 0, -1}}},
    {4, 3, {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}}},
    {2, 4, {{1, 1, 1, 0}, {0, 1, -1, -1}}}};

/* From its points 0, +-p, +-q and infinity. Sources: Lavin and Gray 2016; Toom and Cook's
 * polynomials: a row of B^T is the product of x - all other points. */
static struct matrices large(void)
{
    const double p = 0.75, q = 1.5, pp = p * p, qq = q * q;
    const double of_p = 1 / (2 * pp * (pp - qq)), of_q = 1 / (2 * qq * (qq - pp));

    return (struct matrices){4,
                             6,
                             {6,
                              6,
                              {{pp * qq, 0, -pp - qq, 0, 1, 0},
                               {0, -p * qq, -qq, p, 1, 0},
                               {0, p * qq, -qq, -p, 1, 0},
                               {0, -q * pp, -pp, q, 1, 0},
                               {0, q * pp, -pp, -q, 1, 0},
                               {0, pp * qq, 0, -pp - qq, 0, 1}}},
                             {6,
                              3,
                              {{1 / (pp * qq), 0, 0},
                               {of_p, p * of_p, pp * of_p},
                               {of_p, -p * of_p, pp * of_p},
                               {of_q, q * of_q, qq * of_q},
                               {of_q, -q * of_q, qq * of_q},
                               {0, 0, 1}}},
                             {4,
                              6,
                              {{1, 1, 1, 1, 1, 0},
                               {0, p, -p, q, -q, 0},
                               {0, pp, pp, qq, qq, 0},
                               {0, p * pp, -p * pp, q * qq, -q * qq, 1}}}};
}

static struct matrix turned(const struct matrix *t)
{
    struct matrix out = {t->columns, t->rows, {{0}}};

    for (size_t i = 0; i < t->rows; i++) {
        for (size_t j = 0; j < t->columns; j++)
            out.at[j][i] = t->at[i][j];
    }
    return out;
}

/* found = T x T^T with x of columns x columns, one channel; `size` of its terms. */
static void check_both_axes(const char *what, const struct matrix *t, const double *x,
                            const double *found)
{
    for (size_t i = 0; i < t->rows; i++) {
        for (size_t j = 0; j < t->rows; j++) {
            double sum = 0, size = 0;

            for (size_t k = 0; k < t->columns * t->columns; k++) {
                double term = t->at[i][k / t->columns] * x[k] * t->at[j][k % t->columns];

                sum += term;
                size += fabs(term);
            }
            check_near(what, found[i * t->rows + j], sum, roundings * u * size);
        }
    }
}

/* ---- Each transform ------------------------------------------------------ */

static struct winograd_tiles tiles_of(const struct matrices *w, size_t columns)
{
    return (struct winograd_tiles){.m = w->m,
                                   .n = TILES,
                                   .line = columns * PITCH,
                                   .pitch = PITCH,
                                   .h = w->m,
                                   .w = TILES * w->m,
                                   .xi_pitch = TILES * PITCH + PANEL,
                                   .tile_pitch = PITCH,
                                   .channels = CHANNELS};
}

typedef void (*read_fn)(real *v, const real *x, const struct winograd_tiles *t);

/* T of the squares of an image that begin m positions apart. */
static void check_reading(const struct matrices *w, const struct matrix *t, read_fn read)
{
    size_t side = t->columns, columns = (TILES - 1) * w->m + side, n_xi = w->n * w->n;
    struct winograd_tiles tiles = tiles_of(w, columns);
    real *x = noise(side * columns * PITCH, "x"), *v = guarded(n_xi * tiles.xi_pitch);

    read(v, x, &tiles);
    check_guard(v, n_xi * tiles.xi_pitch);
    for (size_t i = 0; i < TILES * CHANNELS; i++) {
        size_t tile = i / CHANNELS, c = i % CHANNELS;
        double square[MAX_N * MAX_N], found[MAX_N * MAX_N];

        for (size_t k = 0; k < side * side; k++)
            square[k] =
                (double)x[k / side * tiles.line + (tile * w->m + k % side) * PITCH + c];
        for (size_t xi = 0; xi < n_xi; xi++)
            found[xi] = (double)v[xi * tiles.xi_pitch + tile * PITCH + c];
        check_both_axes("tile", t, square, found);
    }
    for (size_t i = 0; i < n_xi * tiles.xi_pitch; i++)
        assert_true(i % tiles.xi_pitch % PITCH < CHANNELS || v[i] == 0);
    free(x);
    free(v);
}

static void test_tiles_are_read(void **state)
{
    const struct kernels *kernels = *state;
    struct matrices both[] = {small, large()};

    for (size_t i = 0; i < 2; i++) {
        struct matrix outputs = turned(&both[i].output);

        check_reading(&both[i], &both[i].window, kernels->winograd_read);
        check_reading(&both[i], &outputs, kernels->winograd_read_gradient);
    }
}

/* An image of which h rows and w columns are left; what lies behind stays. */
static void check_writing(const struct kernels *kernels, const struct matrices *w,
                          size_t h, size_t width, bool has_bias)
{
    struct winograd_tiles t = tiles_of(w, TILES * w->m);
    size_t n_xi = w->n * w->n, n_z = w->m * t.line;
    real *v = noise(n_xi * t.xi_pitch, "v"), *z = guarded(n_z);
    real *bias = noise(CHANNELS, "bias");

    t.h = h, t.w = width;
    kernels->winograd_write(z, v, has_bias ? bias : NULL, &t);
    check_guard(z, n_z);
    for (size_t i = 0; i < n_z; i++) {
        size_t y = i / t.line, x = i % t.line / PITCH, c = i % PITCH;
        double sum = has_bias ? (double)bias[c % CHANNELS] : 0, size = fabs(sum);

        if (y >= h || x >= width || c >= CHANNELS) {
            assert_true(z[i] == 0);
            continue;
        }
        for (size_t xi = 0; xi < n_xi; xi++) {
            double term = w->output.at[y % w->m][xi / w->n] *
                          (double)v[xi * t.xi_pitch + x / w->m * PITCH + c] *
                          w->output.at[x % w->m][xi % w->n];

            sum += term;
            size += fabs(term);
        }
        check_near("output", (double)z[i], sum, roundings * u * size);
    }
    free(v);
    free(z);
    free(bias);
}

static void test_tiles_are_written_as_far_as_they_are_inside(void **state)
{
    struct matrices both[] = {small, large()};

    for (size_t i = 0; i < 2; i++) {
        size_t m = both[i].m;

        for (size_t h = 1; h <= m; h++) {
            for (size_t width = (TILES - 1) * m + 1; width <= TILES * m; width++)
                check_writing(*state, &both[i], h, width, (h + width) % 2 == 0);
        }
    }
}

/* Both ways: 9 taps to n^2 elements, n^2 elements to 9 taps. */
static void check_weights(const struct kernels *kernels, const struct matrices *w,
                          const struct matrix *t, bool is_turned)
{
    size_t ins = t->columns * t->columns, outs = t->rows * t->rows;
    size_t in_pitch = CHANNELS + PANEL, out_pitch = CHANNELS + 2 * PANEL;
    real *in = noise(ins * in_pitch, "in"), *out = guarded(outs * out_pitch);

    if (t->columns == TAPS)
        kernels->winograd_weights(out, out_pitch, in, in_pitch, is_turned, w->m,
                                  CHANNELS);
    else
        kernels->winograd_weights_back(out, out_pitch, in, in_pitch, w->m, CHANNELS);
    check_guard(out, outs * out_pitch);
    for (size_t c = 0; c < CHANNELS; c++) {
        double square[MAX_N * MAX_N], found[MAX_N * MAX_N];

        for (size_t k = 0; k < ins; k++)
            square[k] = (double)in[(is_turned ? ins - 1 - k : k) * in_pitch + c];
        for (size_t k = 0; k < outs; k++)
            found[k] = (double)out[k * out_pitch + c];
        check_both_axes("weights", t, square, found);
    }
    for (size_t i = 0; i < outs * out_pitch; i++)
        assert_true(i % out_pitch < CHANNELS || out[i] == 0);
    free(in);
    free(out);
}

static void test_weights_there_and_back(void **state)
{
    struct matrices both[] = {small, large()};

    for (size_t i = 0; i < 2; i++) {
        struct matrix back = turned(&both[i].weight);

        check_weights(*state, &both[i], &both[i].weight, false);
        check_weights(*state, &both[i], &both[i].weight, true);
        check_weights(*state, &both[i], &back, false);
    }
}

/* ---- What they are for --------------------------------------------------- */

/* One tile of PANEL channels, all multiplied lane by lane. */
struct tile {
    size_t m, n;
    struct winograd_tiles t;
    real *x, *w, *dy;  /* (n n, PANEL), (9, PANEL), (m m, PANEL) */
    real *v, *u, *mul; /* (n n, PANEL) */
    real *y, *dw;
};

static void open_tile(struct tile *t, size_t m)
{
    size_t n = m + WINOGRAD_REACH;

    *t = (struct tile){.m = m, .n = n};
    t->t = (struct winograd_tiles){.m = m,
                                   .n = 1,
                                   .pitch = PANEL,
                                   .h = m,
                                   .w = m,
                                   .xi_pitch = PANEL,
                                   .tile_pitch = PANEL,
                                   .channels = PANEL};
    t->x = noise(n * n * PANEL, "x"), t->w = noise(TAPS * TAPS * PANEL, "w");
    t->dy = noise(m * m * PANEL, "dy"), t->v = guarded(n * n * PANEL);
    t->u = guarded(n * n * PANEL), t->mul = guarded(n * n * PANEL);
    t->y = guarded(m * m * PANEL), t->dw = guarded(TAPS * TAPS * PANEL);
}

static void close_tile(struct tile *t)
{
    real *all[] = {t->x, t->w, t->dy, t->v, t->u, t->mul, t->y, t->dw};

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        free(all[i]);
}

/* The error is one of the transformed values, which are larger than what they make: by
 * 2 (m 2) to 16 (m 4) here, a product of norms of the matrices. */
static double bound_of(const struct tile *t)
{
    return (t->m == 2 ? 2 : 16) * roundings * u;
}

static size_t input_at(const struct tile *t, size_t out, size_t tap)
{
    return (out / t->m + tap / TAPS) * t->n + out % t->m + tap % TAPS;
}

static void check_tile(const struct kernels *kernels, size_t m)
{
    struct tile t;
    size_t n_tile;

    open_tile(&t, m);
    n_tile = t.n * t.n * PANEL;
    t.t.line = t.n * PANEL;
    kernels->winograd_read(t.v, t.x, &t.t);
    kernels->winograd_weights(t.u, PANEL, t.w, PANEL, false, m, PANEL);
    for (size_t i = 0; i < n_tile; i++)
        t.mul[i] = t.u[i] * t.v[i];
    t.t.line = m * PANEL;
    kernels->winograd_write(t.y, t.mul, NULL, &t.t);
    kernels->winograd_read_gradient(t.mul, t.dy, &t.t);
    for (size_t i = 0; i < n_tile; i++)
        t.mul[i] *= t.v[i];
    kernels->winograd_weights_back(t.dw, PANEL, t.mul, PANEL, m, PANEL);
    for (size_t c = 0; c < PANEL; c++) {
        double dw[TAPS * TAPS] = {0};

        for (size_t o = 0; o < m * m; o++) {
            double y = 0;

            for (size_t k = 0; k < TAPS * TAPS; k++) {
                double x = (double)t.x[input_at(&t, o, k) * PANEL + c];

                y += x * (double)t.w[k * PANEL + c];
                dw[k] += x * (double)t.dy[o * PANEL + c];
            }
            check_near("y", (double)t.y[o * PANEL + c], y, bound_of(&t) * TAPS);
        }
        for (size_t k = 0; k < TAPS * TAPS; k++)
            check_near("dw", (double)t.dw[k * PANEL + c], dw[k],
                       bound_of(&t) * (double)m);
    }
    close_tile(&t);
}

static void test_a_tile_is_convolved(void **state)
{
    check_tile(*state, 2);
    check_tile(*state, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tiles_are_read),
        cmocka_unit_test(test_tiles_are_written_as_far_as_they_are_inside),
        cmocka_unit_test(test_weights_there_and_back),
        cmocka_unit_test(test_a_tile_is_convolved),
    };

    return run_tests_per_class(tests, sizeof(tests) / sizeof(tests[0]));
}
