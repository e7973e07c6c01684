/* Pools, losses, updates and checks of each class of kernels against the reference:
 * bit by bit where classes have no choice, which is where no multiply-add is fused and
 * no sum is grouped. */
#include "numbers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double u = (double)REAL_EPSILON / 2;

/* ---- Pools --------------------------------------------------------------- */

static size_t pick(size_t *i, size_t n)
{
    return (size_t)hash_label(78, (*i)++, (uint32_t)n);
}

/* Two panels of an image on the grid. */
struct image {
    struct pool2d_shape shape;
    size_t n_x, n_y;
    real *x, *shift, scale[2 * PANEL];
    struct reading reading;
};

static void open_image(struct image *m, const struct pool2d_shape *shape,
                       enum activation act, bool scaled)
{
    *m = (struct image){.shape = *shape};
    m->n_x = shape->h_in * shape->w_in * 2 * PANEL;
    m->n_y = shape->h_out * shape->w_out * 2 * PANEL;
    m->x = grid(m->n_x, "x"), m->shift = grid(2 * PANEL, "shift");
    for (size_t c = 0; c < 2 * PANEL; c++)
        m->scale[c] = c % 2 ? (real)0.5 : 2;
    m->reading =
        (struct reading){scaled ? m->scale : NULL, scaled ? m->shift : NULL, act};
}

static void close_image(struct image *m)
{
    free(m->x);
    free(m->shift);
}

/* Values on the grid are compared exactly, so that all classes see the same ties. */
static void check_max_pool(const struct kernels *kernels, const struct image *m)
{
    const struct kernels *reference = kernels_reference();
    const struct pool2d_shape *s = &m->shape;
    real *want = guarded(m->n_y), *found = guarded(m->n_y), *dy = grid(m->n_y, "dy");
    real *want_dx = guarded(m->n_x), *found_dx = guarded(m->n_x);
    uint8_t *want_at = allocate(m->n_y, 1), *found_at = allocate(m->n_y + 1, 1);

    found_at[m->n_y] = 99;
    reference->max_pool2d_forward(want, want_at, m->x, &m->reading, 2 * PANEL, s);
    kernels->max_pool2d_forward(found, found_at, m->x, &m->reading, 2 * PANEL, s);
    assert_memory_equal(found, want, (m->n_y + PANEL) * sizeof(*found));
    assert_memory_equal(found_at, want_at, m->n_y);
    assert_int_equal(found_at[m->n_y], 99);
    reference->max_pool2d_backward(want_dx, dy, want_at, s);
    kernels->max_pool2d_backward(found_dx, dy, found_at, s);
    assert_memory_equal(found_dx, want_dx, (m->n_x + PANEL) * sizeof(*found_dx));
    free(want), free(found), free(dy);
    free(want_dx), free(found_dx);
    free(want_at), free(found_at);
}

/* Against the definition: the first largest of the window's part of the image. */
static void check_winners(const struct kernels *kernels, const struct image *m)
{
    const struct pool2d_shape *s = &m->shape;
    const struct rows rows = {s->h_in * s->w_in, 2 * PANEL, 2 * PANEL};
    real *read = guarded(m->n_x), *y = guarded(m->n_y);
    uint8_t *at = allocate(m->n_y, 1);

    kernels_reference()->read(read, 2 * PANEL, m->x, &m->reading, &rows);
    kernels->max_pool2d_forward(y, at, m->x, &m->reading, 2 * PANEL, s);
    for (size_t i = 0; i < m->n_y; i++) {
        size_t out = i / (2 * PANEL), c = i % (2 * PANEL), best = SIZE_MAX;
        real largest = (real)-INFINITY;

        for (size_t tap = 0; tap < s->k_h * s->k_w; tap++) {
            size_t h = out / s->w_out * s->stride_h + tap / s->k_w;
            size_t w = out % s->w_out * s->stride_w + tap % s->k_w;
            real v;

            if (h < s->pad_h || h - s->pad_h >= s->h_in || w < s->pad_w ||
                w - s->pad_w >= s->w_in)
                continue;
            v = read[((h - s->pad_h) * s->w_in + w - s->pad_w) * 2 * PANEL + c];
            if (v > largest)
                largest = v, best = tap;
        }
        assert_true(y[i] == largest);
        assert_int_equal(at[i], best);
    }
    free(read), free(y), free(at);
}

static void test_max_pools_of_any_shape(void **state)
{
    size_t i = 0, n_tried = 0;

    while (n_tried < 300) {
        struct pool2d_shape s = {.channels = 2 * PANEL - pick(&i, PANEL)};
        struct image m;

        s.h_in = 1 + pick(&i, 9), s.w_in = 1 + pick(&i, 9);
        s.k_h = 1 + pick(&i, 4), s.k_w = 1 + pick(&i, 4);
        s.stride_h = 1 + pick(&i, 3), s.stride_w = 1 + pick(&i, 3);
        s.pad_h = pick(&i, s.k_h / 2 + 1), s.pad_w = pick(&i, s.k_w / 2 + 1);
        if (s.h_in + 2 * s.pad_h < s.k_h || s.w_in + 2 * s.pad_w < s.k_w)
            continue;
        s.h_out = (s.h_in + 2 * s.pad_h - s.k_h) / s.stride_h + 1;
        s.w_out = (s.w_in + 2 * s.pad_w - s.k_w) / s.stride_w + 1;
        open_image(&m, &s, (enum activation)(n_tried % (ACT_RELU6 + 1)), n_tried & 8);
        check_max_pool(*state, &m);
        check_winners(*state, &m);
        close_image(&m);
        n_tried++;
    }
}

/* Sums are in double, in one order; an activation has four roundings. */
static void check_avg_pool(const struct kernels *kernels, const struct image *m)
{
    const struct kernels *reference = kernels_reference();
    const struct pool2d_shape *s = &m->shape;
    real *want = guarded(m->n_y), *found = guarded(m->n_y), *dy = noise(m->n_y, "dy");
    real *want_dx = guarded(m->n_x), *found_dx = guarded(m->n_x);

    reference->avg_pool2d_forward(want, m->x, &m->reading, 2 * PANEL, s);
    kernels->avg_pool2d_forward(found, m->x, &m->reading, 2 * PANEL, s);
    check_guard(found, m->n_y);
    for (size_t i = 0; i < m->n_y; i++) /* values up to 2 8 + 8 */
        check_near("mean", (double)found[i], (double)want[i], 5 * u * 24);
    reference->avg_pool2d_backward(want_dx, dy, s);
    kernels->avg_pool2d_backward(found_dx, dy, s);
    assert_memory_equal(found_dx, want_dx, (m->n_x + PANEL) * sizeof(*found_dx));
    free(want), free(found), free(dy);
    free(want_dx), free(found_dx);
}

static void test_average_pools_of_any_shape(void **state)
{
    size_t i = 0;

    for (size_t way = 0; way < 200; way++) {
        struct pool2d_shape s = {.channels = PANEL + 1 + pick(&i, PANEL)};
        struct image m;

        s.h_in = 1 + pick(&i, 9), s.w_in = 1 + pick(&i, 9);
        s.h_out = 1 + pick(&i, 5), s.w_out = 1 + pick(&i, 5);
        open_image(&m, &s, (enum activation)(way % ACT_N_KINDS), way & 1);
        check_avg_pool(*state, &m);
        close_image(&m);
    }
}

/* ---- Updates ------------------------------------------------------------- */

static struct update_rule rule_of(enum update_kind kind, size_t way)
{
    struct update_rule rule = {.kind = kind,
                               .lr = (real)0.0625,
                               .decay = way & 1 ? (real)0.01 : 0,
                               .shrink = way & 1 ? 1 : (real)0.99,
                               .clip = way & 2 ? (real)0.7 : 1,
                               .prox_mu = way & 4 ? (real)0.3 : 0,
                               .momentum = (real)0.9,
                               .beta1 = (real)0.9,
                               .one_minus_beta1 = (real)0.1,
                               .beta2 = (real)0.999,
                               .one_minus_beta2 = (real)0.001,
                               .root = (real)0.4,
                               .eps = (real)1e-8};

    if (kind != UPDATE_ADAM)
        rule.shrink = 1;
    return rule;
}

/* w, the optimiser's two states, gradient and reference. */
struct weights {
    real *v[5];
};

static void open_weights(struct weights *w, size_t n)
{
    static const char *const names[] = {"w", "state0", "state1", "g", "reference"};

    for (size_t i = 0; i < 5; i++)
        w->v[i] = noise(n, names[i]);
    for (size_t i = 0; i < n; i++)
        w->v[2][i] = (real)fabs((double)w->v[2][i]); /* a second moment */
}

static void close_weights(struct weights *w)
{
    for (size_t i = 0; i < 5; i++)
        free(w->v[i]);
}

static void run_update(const struct kernels *kernels, struct weights *w,
                       const struct update_rule *rule, size_t n)
{
    kernels->update(w->v[0], rule->kind == UPDATE_SGD ? NULL : w->v[1],
                    rule->kind == UPDATE_ADAM ? w->v[2] : NULL, w->v[3],
                    rule->prox_mu != 0 ? w->v[4] : NULL, rule, n);
}

static void test_updates_are_the_references_bit_by_bit(void **state)
{
    static const size_t lengths[] = {1, 7, 15, 16, 17, 511, 512, 513, 1025};

    for (size_t i = 0; i < 9 * 4 * 8; i++) {
        size_t n = lengths[i / 32];
        struct update_rule rule = rule_of((enum update_kind)(i % 4), i / 4 % 8);
        struct weights want, found;

        open_weights(&want, n);
        open_weights(&found, n);
        for (int step = 0; step < 2; step++) {
            run_update(kernels_reference(), &want, &rule, n);
            run_update(*state, &found, &rule, n);
        }
        for (size_t k = 0; k < 5; k++)
            assert_memory_equal(found.v[k], want.v[k], (n + PANEL) * sizeof(real));
        close_weights(&want);
        close_weights(&found);
    }
}

static void test_square_sums_are_the_references_bit_by_bit(void **state)
{
    const struct kernels *kernels = *state;

    for (size_t n = 1; n < 1100; n += n < 40 ? 1 : 53) {
        for (int mu = 0; mu < 2; mu++) {
            struct weights w;
            double want, sum = 0;

            open_weights(&w, n);
            want = kernels_reference()->square_sum(w.v[3], w.v[0], w.v[4], (real)mu, n);
            assert_true(want == kernels->square_sum(w.v[3], w.v[0], w.v[4], (real)mu, n));
            for (size_t i = 0; i < n; i++)
                sum +=
                    pow((double)w.v[3][i] + mu * ((double)w.v[0][i] - (double)w.v[4][i]),
                        2);
            /* terms of up to 3 are rounded to real before they are squared */
            check_near("square sum", want, sum, 8 * u * 9 * (double)n);
            close_weights(&w);
        }
    }
}

/* ---- Sums, checks, losses ------------------------------------------------ */

static void test_additions_are_exact(void **state)
{
    const struct kernels *kernels = *state;

    for (size_t n = 0; n < 70; n++) {
        real *y = noise(n, "y"), *was = noise(n, "y"), *x = noise(n, "x");

        kernels->add(y, x, n);
        check_guard(y, n);
        for (size_t i = 0; i < n; i++)
            assert_true(y[i] == was[i] + x[i]);
        free(y), free(was), free(x);
    }
}

/* Which ones are dropped is the same for all classes: a third of them here. */
static void test_drops_are_the_references(void **state)
{
    enum { N = 3001 };
    static const uint32_t key[2] = {12345, 67890};
    const struct kernels *kernels = *state, *reference = kernels_reference();
    real *y = noise(N, "y"), *want = noise(N, "y");
    size_t n_dropped = 0;

    kernels->drop(y, key, UINT32_MAX / 3, (real)1.5, N);
    reference->drop(want, key, UINT32_MAX / 3, (real)1.5, N);
    check_guard(y, N);
    assert_memory_equal(y, want, N * sizeof(*y));
    for (size_t i = 0; i < N; i++)
        n_dropped += y[i] == 0 ? 1 : 0;
    assert_in_range(n_dropped, N / 3 - 100, N / 3 + 100);
    free(y);
    free(want);
}

static void test_one_bad_value_is_found_anywhere(void **state)
{
    static const real bad[] = {(real)NAN, (real)INFINITY, (real)-INFINITY};
    const struct kernels *kernels = *state;

    for (size_t n = 0; n < 70; n++) {
        real *x = noise(n, "x");

        x[n] = (real)NAN; /* not one of them */
        assert_true(kernels->all_finite(x, n));
        for (size_t i = 0; i < n; i++) {
            real was = x[i];

            x[i] = bad[i % 3];
            assert_false(kernels->all_finite(x, n));
            x[i] = i % 2 ? REAL_MAX : -REAL_MAX;
            assert_true(kernels->all_finite(x, n));
            x[i] = was;
        }
        free(x);
    }
}

/* In double, class by class the same code. */
static void check_loss(const struct kernels *kernels, size_t n_classes, double smoothing)
{
    enum { ROWS = 5 };
    const struct kernels *reference = kernels_reference();
    size_t pitch = padded(n_classes), n = ROWS * pitch;
    real *z = grid(n, "z"), *want = guarded(ROWS), *found = guarded(ROWS);
    real *want_dz = guarded(n), *found_dz = guarded(n);
    int64_t label[ROWS];

    for (size_t i = 0; i < n; i++)
        z[i] = i % pitch < n_classes ? z[i] : 0;
    hash_fill_labels(label, FIXTURE_SEED, ROWS, (uint32_t)n_classes);
    reference->cross_entropy_forward(want, z, label, smoothing, ROWS, n_classes);
    kernels->cross_entropy_forward(found, z, label, smoothing, ROWS, n_classes);
    reference->cross_entropy_backward(want_dz, z, label, smoothing, 0.2, ROWS, n_classes);
    kernels->cross_entropy_backward(found_dz, z, label, smoothing, 0.2, ROWS, n_classes);
    check_guard(found, ROWS);
    check_guard(found_dz, n);
    for (size_t i = 0; i < ROWS; i++)
        check_near("loss", (double)found[i], (double)want[i],
                   2 * u * fabs((double)want[i]));
    for (size_t i = 0; i < n; i++) {
        check_near("dz", (double)found_dz[i], (double)want_dz[i], 2 * u * 0.2);
        assert_true(i % pitch < n_classes || found_dz[i] == 0);
    }
    free(z), free(want), free(found);
    free(want_dz), free(found_dz);
}

static void test_losses_are_the_references(void **state)
{
    for (size_t n_classes = 1; n_classes < 40; n_classes++) {
        check_loss(*state, n_classes, 0);
        check_loss(*state, n_classes, 0.1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_max_pools_of_any_shape),
        cmocka_unit_test(test_average_pools_of_any_shape),
        cmocka_unit_test(test_updates_are_the_references_bit_by_bit),
        cmocka_unit_test(test_square_sums_are_the_references_bit_by_bit),
        cmocka_unit_test(test_additions_are_exact),
        cmocka_unit_test(test_drops_are_the_references),
        cmocka_unit_test(test_one_bad_value_is_found_anywhere),
        cmocka_unit_test(test_losses_are_the_references),
    };

    return run_tests_per_class(tests, sizeof(tests) / sizeof(tests[0]));
}
