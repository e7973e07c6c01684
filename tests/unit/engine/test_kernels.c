/* Each class of kernels against the reference, or against sums in double, on odd
 * shapes. Bounds are worked out from the terms: a sum of k terms errs by at most
 * (k + 1) u sum |terms| (Higham, section 3.1), u = 2^-24. What involves no sum is on a
 * grid of eighths, so that scale and shift are exact and no class can land on the
 * other side of a kink. */
#include "numbers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double u = (double)REAL_EPSILON / 2;
/* ---- Products ------------------------------------------------------------ */

/* a is m x k or k x m; b and c are panels or rows of panels. */
struct layouts {
    bool a_is_turned, b_is_rows, c_is_rows;
};

static struct product make_product(size_t m, size_t k, size_t n_panels, bool add,
                                   struct layouts l)
{
    size_t columns = n_panels * PANEL;

    return (struct product){.c_row = l.c_is_rows ? columns : PANEL,
                            .c_panel = l.c_is_rows ? PANEL : m * PANEL,
                            .a_row = l.a_is_turned ? 1 : k,
                            .a_k = l.a_is_turned ? m : 1,
                            .b_k = l.b_is_rows ? columns : PANEL,
                            .b_panel = l.b_is_rows ? PANEL : k * PANEL,
                            .m = m,
                            .k = k,
                            .n_panels = n_panels,
                            .add = add};
}

static void check_element(const struct product *p, const real *before, size_t i, size_t j)
{
    size_t at = i * p->c_row + j / PANEL * p->c_panel + j % PANEL;
    double sum = p->add ? (double)before[at] : 0, size = fabs(sum);

    for (size_t k = 0; k < p->k; k++) {
        double term = (double)p->a[i * p->a_row + k * p->a_k] *
                      (double)p->b[j / PANEL * p->b_panel + k * p->b_k + j % PANEL];

        sum += term;
        size += fabs(term);
    }
    check_near("product", (double)p->c[at], sum, (double)(p->k + 2) * u * size);
}

static void check_product(const struct kernels *kernels, struct product p)
{
    size_t columns = p.n_panels * PANEL, n_c = p.m * columns;
    real *a = noise(p.m * p.k, "a"), *b = noise(p.k * columns, "b");
    real *c = noise(n_c, "c"), *before = noise(n_c, "c");

    p.a = a, p.b = b, p.c = c;
    kernels->product(&p);
    check_guard(c, n_c);
    for (size_t i = 0; i < p.m; i++) {
        for (size_t j = 0; j < columns; j++)
            check_element(&p, before, i, j);
    }
    free(a);
    free(b);
    free(c);
    free(before);
}

static void test_products_of_any_shape(void **state)
{
    static const size_t inputs[] = {1, 2, 3, 5, 17, 64};
    static const size_t panels[] = {1, 2, 3, 5};

    for (size_t i = 0; i < 40 * 6 * 4; i++) {
        size_t m = 1 + i % 40, k = inputs[i / 40 % 6], n = panels[i / 240];

        for (size_t way = 0; way < 4; way++) {
            struct layouts l = {way & 1, (way + i) % 3 == 0, (way + i) % 5 < 2};

            check_product(*state, make_product(m, k, n, way & 2, l));
        }
    }
}

static void test_long_products(void **state)
{
    for (size_t way = 0; way < 4; way++)
        check_product(*state, make_product(29, 1153, 3, way & 2,
                                           (struct layouts){way & 1, false, true}));
}

/* Inputs of a in runs with gaps between them: the same bits as side by side. */
static void test_products_in_runs(void **state)
{
    const struct kernels *kernels = *state;

    for (size_t m = 1; m <= 40; m += 3) {
        size_t run = 1 + m % 5, k = 4 * run, pitch = 9 * k, n_c = m * 3 * PANEL;
        struct layouts rows = {false, false, true};
        struct product p = make_product(m, k, 3, false, rows), in_runs = p;
        real *a = noise(m * pitch, "a"), *side_by_side = guarded(m * k);
        real *b = noise(k * 3 * PANEL, "b"), *c = guarded(n_c), *want = guarded(n_c);

        in_runs.a_row = pitch, in_runs.a_run = run, in_runs.a_skip = run + 1;
        for (size_t i = 0; i < m * k; i++)
            side_by_side[i] =
                a[i / k * pitch + i % k / run * (2 * run + 1) + i % k % run];
        in_runs.a = a, p.a = side_by_side, in_runs.b = p.b = b;
        in_runs.c = c, p.c = want;
        kernels->product(&p);
        kernels->product(&in_runs);
        check_guard(c, n_c);
        assert_memory_equal(c, want, n_c * sizeof(*c));
        free(a);
        free(side_by_side);
        free(b);
        free(c);
        free(want);
    }
}

static void test_turns_are_exact(void **state)
{
    const struct kernels *kernels = *state;

    for (size_t m = 1; m <= PANEL; m++) {
        size_t n = (1 + m % 3) * PANEL, in_row = n + 3, out_row = PANEL + m % 2 * 5;
        real *in = noise(m * in_row, "in"), *out = guarded((n - 1) * out_row + PANEL);

        kernels->turn(out, out_row, in, in_row, m, n);
        check_guard(out, (n - 1) * out_row + PANEL);
        for (size_t at = 0; at < n * PANEL; at++) {
            size_t i = at % PANEL, j = at / PANEL;

            assert_true(out[j * out_row + i] == (i < m ? in[i * in_row + j] : 0));
        }
        free(in);
        free(out);
    }
}

static void test_transposes_are_exact(void **state)
{
    const struct kernels *kernels = *state;

    for (size_t i = 1; i <= 3; i++) {
        for (size_t o = 1; o <= 4; o++) {
            size_t n_in = i * PANEL, n_out = o * PANEL;
            size_t in_panel = (n_in + PANEL) * PANEL, out_panel = n_out * PANEL;
            real *in = noise(o * in_panel, "in"), *out = guarded(i * out_panel);

            kernels->transpose(out, out_panel, in, in_panel, n_in, n_out);
            check_guard(out, i * out_panel);
            for (size_t at = 0; at < n_in * n_out; at++) {
                size_t x = at / n_out, y = at % n_out;

                assert_true(out[x / PANEL * out_panel + y * PANEL + x % PANEL] ==
                            in[y / PANEL * in_panel + x * PANEL + y % PANEL]);
            }
            free(in);
            free(out);
        }
    }
}

/* ---- Rows of channels ---------------------------------------------------- */

/* Rows, and how they are read: scale 1/2, 1 or 2, shift on the grid. */
struct activations {
    struct rows rows;
    size_t n;
    real *z, *shift, scale[8 * PANEL];
    struct reading reading;
};

static void make_rows(struct activations *a, size_t n, size_t channels, size_t pitch)
{
    static const real scales[] = {0.5, 1, 2};

    a->rows = (struct rows){n, channels, pitch};
    a->n = n * pitch;
    a->z = grid(a->n, "z");
    a->shift = grid(channels, "shift");
    for (size_t c = 0; c < channels; c++)
        a->scale[c] = scales[c % 3];
    a->reading = (struct reading){NULL, NULL, ACT_NONE};
}

static void read_so(struct activations *a, enum activation act, bool scaled)
{
    a->reading.act = act;
    a->reading.scale = scaled ? a->scale : NULL;
    a->reading.shift = scaled ? a->shift : NULL;
}

static void clear_rows(struct activations *a)
{
    free(a->z);
    free(a->shift);
}

static const size_t row_counts[] = {1, 2, 5, 19, 257, 700};
enum { N_ROW_COUNTS = sizeof(row_counts) / sizeof(row_counts[0]) };

/* Calls `check` for every activation, with and without a scale, on rows of 1 to 3
 * panels in wider rows. */
static void for_all_rows(const struct kernels *kernels,
                         void (*check)(const struct kernels *, struct activations *))
{
    for (size_t i = 0; i < N_ROW_COUNTS; i++) {
        size_t channels = (1 + i % 3) * PANEL;
        struct activations a;

        make_rows(&a, row_counts[i], channels, channels + i % 2 * PANEL);
        for (int act = ACT_NONE; act < ACT_N_KINDS; act++) {
            read_so(&a, (enum activation)act, false);
            check(kernels, &a);
            read_so(&a, (enum activation)act, true);
            check(kernels, &a);
        }
        clear_rows(&a);
    }
}

/* Four roundings of a value, whichever way its factors are taken. */
static void check_same_rows(const char *what, const real *found, const real *want,
                            const struct rows *rows, double factor)
{
    for (size_t r = 0; r < rows->n; r++) {
        for (size_t c = 0; c < rows->channels; c++) {
            size_t at = r * rows->pitch + c;

            check_near(what, (double)found[at], (double)want[at],
                       4 * u * factor * fabs((double)want[at]));
        }
    }
}

static void check_read(const struct kernels *kernels, struct activations *a)
{
    real *want = guarded(a->n), *found = guarded(a->n);

    kernels_reference()->read(want, a->rows.pitch, a->z, &a->reading, &a->rows);
    kernels->read(found, a->rows.pitch, a->z, &a->reading, &a->rows);
    check_guard(found, a->n);
    check_same_rows("read", found, want, &a->rows, 1);
    memcpy(found, a->z, a->n * sizeof(*found)); /* in place */
    kernels->read(found, a->rows.pitch, found, &a->reading, &a->rows);
    check_same_rows("read in place", found, want, &a->rows, 1);
    free(want);
    free(found);
}

static void test_reads_are_the_references(void **state)
{
    for_all_rows(*state, check_read);
}

static void check_sum(const struct kernels *kernels, struct activations *a)
{
    const struct reading plain = {NULL, NULL, ACT_NONE};
    real *other = grid(a->n, "other"), *read = guarded(a->n), *found = guarded(a->n);

    kernels_reference()->read(read, a->rows.pitch, a->z, &a->reading, &a->rows);
    kernels->sum(found, a->z, a->rows.pitch, &a->reading, other, a->rows.pitch, &plain,
                 &a->rows);
    check_guard(found, a->n);
    for (size_t r = 0; r < a->rows.n; r++) {
        for (size_t c = 0; c < a->rows.channels; c++) {
            size_t at = r * a->rows.pitch + c;
            double x = (double)read[at], y = (double)other[at];

            check_near("sum", (double)found[at], x + y, 5 * u * (fabs(x) + fabs(y)));
        }
    }
    kernels->sum(read, other, a->rows.pitch, &plain, a->z, a->rows.pitch, &a->reading,
                 &a->rows);
    for (size_t r = 0; r < a->rows.n; r++)
        assert_memory_equal(read + r * a->rows.pitch, found + r * a->rows.pitch,
                            a->rows.channels * sizeof(*read));
    free(other);
    free(read);
    free(found);
}

static void test_sums_of_two_readings(void **state)
{
    for_all_rows(*state, check_sum);
}

/* Around a mean far from 0, where one pass would lose everything. Sums are of up to
 * 256 numbers before they go to doubles, in two halves. */
static void test_moments_are_close(void **state)
{
    const struct kernels *kernels = *state;

    for (size_t i = 0; i < N_ROW_COUNTS; i++) {
        const struct rows rows = {row_counts[i], 2 * PANEL, 3 * PANEL};
        size_t n = rows.n * rows.pitch;
        double mean[2 * PANEL], m2[2 * PANEL];
        real *z = noise(n, "z");

        for (size_t at = 0; at < n; at++)
            z[at] += 100;
        kernels->moments(mean, m2, z, &rows);
        for (size_t c = 0; c < rows.channels; c++) {
            double sum = 0, squares = 0;

            for (size_t r = 0; r < rows.n; r++)
                sum += (double)z[r * rows.pitch + c] / (double)rows.n;
            for (size_t r = 0; r < rows.n; r++)
                squares += pow((double)z[r * rows.pitch + c] - sum, 2);
            /* deviations from the first row are below 2 */
            check_near("mean", mean[c], sum, 130 * u * 2);
            /* the mean is rounded to real, and taken back */
            check_near("m2", m2[c], squares,
                       134 * u * (squares + (double)rows.n * pow(100 * 2 * u, 2)) +
                           2 * u * 100 * sqrt((double)rows.n * squares) * 130 * u);
        }
        free(z);
    }
}

/* ---- Gradients on their way ---------------------------------------------- */

static void test_norm_gradients_are_the_formula(void **state)
{
    const struct kernels *kernels = *state;
    struct activations a;
    real *g, *dz, *v[4];

    make_rows(&a, 19, 3 * PANEL, 4 * PANEL);
    g = noise(a.n, "g"), dz = guarded(a.n);
    v[0] = noise(3 * PANEL, "factor"), v[1] = noise(3 * PANEL, "mean_g");
    v[2] = noise(3 * PANEL, "mean"), v[3] = noise(3 * PANEL, "slope");
    for (int in_place = 0; in_place < 2; in_place++) {
        const struct norm_gradient norm = {v[0], v[1], v[2], v[3]};
        real *from = in_place ? dz : g;

        if (in_place)
            memcpy(dz, g, a.n * sizeof(*dz));
        kernels->norm_gradient(dz, a.rows.pitch, from, a.rows.pitch, a.z, &norm, &a.rows);
        check_guard(dz, a.n);
        for (size_t i = 0; i < a.rows.n * a.rows.channels; i++) {
            size_t c = i % a.rows.channels;
            size_t at = i / a.rows.channels * a.rows.pitch + c;
            double through = ((double)a.z[at] - (double)v[2][c]) * (double)v[3][c];
            double size = fabs((double)g[at]) + fabs((double)v[1][c]) + fabs(through);

            check_near("dz", (double)dz[at],
                       (double)v[0][c] * ((double)g[at] - (double)v[1][c] - through),
                       5 * u * size * fabs((double)v[0][c]));
        }
    }
    for (int i = 0; i < 4; i++)
        free(v[i]);
    free(g);
    free(dz);
    clear_rows(&a);
}

/* The slope of an activation at the grid's points, from the reference: a gradient of 1
 * goes through exactly. */
static void find_slopes(real *slope, const struct activations *a)
{
    struct gradient_pass pass = {.g = slope,
                                 .dy = slope,
                                 .dy_pitch = a->rows.pitch,
                                 .z = a->z,
                                 .z_pitch = a->rows.pitch,
                                 .reading = a->reading,
                                 .finish = true};

    for (size_t i = 0; i < a->n; i++)
        slope[i] = 1;
    kernels_reference()->gradient_pass(&pass, &a->rows);
}

/* Sums of at most 256 numbers go to doubles; terms have their own errors. */
static void check_sums(const struct gradient_pass *pass, const struct rows *rows)
{
    for (size_t c = 0; c < rows->channels; c++) {
        double sum = 1, around = 2, size = 0, size_around = 0;

        for (size_t r = 0; r < rows->n; r++) {
            double g = (double)pass->g[r * rows->pitch + c];
            double d = pass->mean ? (double)pass->z[r * pass->z_pitch + c] -
                                        (double)pass->mean[c]
                                  : 0;

            sum += g, size += fabs(g);
            around += g * d, size_around += fabs(g * d);
        }
        check_near("sum", pass->sums[c], sum, 258 * u * size);
        check_near("sum around the mean", pass->sums[pass->sums_pitch + c], around,
                   pass->mean ? 260 * u * size_around : 0);
    }
}

static double value_at(const struct activations *a, size_t at)
{
    size_t c = at % a->rows.pitch;
    double z = (double)a->z[at];

    return a->reading.scale
               ? z * (double)a->reading.scale[c] + (double)a->reading.shift[c]
               : z;
}

static void check_pass_with(const struct kernels *kernels, struct activations *a,
                            bool finish, bool with_more, bool with_mean)
{
    double sums[8 * PANEL];
    real *dy = noise(a->n, "dy"), *more = noise(a->n, "more"), *g = guarded(a->n);
    real *slope = guarded(a->n), *mean = noise(a->rows.channels, "mean");
    struct gradient_pass pass = {.g = g,
                                 .dy = dy,
                                 .dy_pitch = a->rows.pitch,
                                 .more = with_more ? more : NULL,
                                 .more_pitch = a->rows.pitch,
                                 .z = a->z,
                                 .z_pitch = a->rows.pitch,
                                 .reading = a->reading,
                                 .finish = finish,
                                 .mean = with_mean ? mean : NULL,
                                 .sums = sums,
                                 .sums_pitch = 4 * PANEL};

    for (size_t i = 0; i < 8 * PANEL; i++)
        sums[i] = i < 4 * PANEL ? 1 : 2; /* it adds */
    find_slopes(slope, a);
    kernels->gradient_pass(&pass, &a->rows);
    check_guard(g, a->n);
    for (size_t i = 0; i < a->rows.n * a->rows.channels; i++) {
        size_t at = i / a->rows.channels * a->rows.pitch + i % a->rows.channels;
        double y = (double)dy[at] + (with_more ? (double)more[at] : 0);
        double by = finish ? (double)slope[at] : 1;
        double v = value_at(a, at);
        double cancelled = finish ? slope_terms(a->reading.act, v) : 0;

        /* one rounding of the sum, four of the slope and the product */
        check_near("g", (double)g[at], y * by,
                   5 * u * fabs(y) * (fabs(by) + cancelled) + 4 * (double)FLT_TRUE_MIN);
    }
    check_sums(&pass, &a->rows);
    free(dy);
    free(more);
    free(g);
    free(slope);
    free(mean);
}

static void check_pass(const struct kernels *kernels, struct activations *a)
{
    for (int way = 0; way < 8; way++)
        check_pass_with(kernels, a, way & 1, way & 2, way & 4);
}

static void test_gradient_passes(void **state)
{
    for_all_rows(*state, check_pass);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products_of_any_shape),
        cmocka_unit_test(test_long_products),
        cmocka_unit_test(test_products_in_runs),
        cmocka_unit_test(test_turns_are_exact),
        cmocka_unit_test(test_transposes_are_exact),
        cmocka_unit_test(test_reads_are_the_references),
        cmocka_unit_test(test_sums_of_two_readings),
        cmocka_unit_test(test_moments_are_close),
        cmocka_unit_test(test_norm_gradients_are_the_formula),
        cmocka_unit_test(test_gradient_passes),
    };

    return run_tests_per_class(tests, sizeof(tests) / sizeof(tests[0]));
}
