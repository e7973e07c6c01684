/* Quantiles and the bootstrap over pairs, on values made by hand. */
#include "tests/bench/tail.h"

#include "base/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { FRAMES = 200 };

/* Pair p has FRAMES values: scale, but `slow` of them are ten times that. */
static void add_run(struct tail_side *side, uint32_t pair, double scale, int slow)
{
    for (int i = 0; i < FRAMES; i++)
        assert_true(tail_add(side, i < slow ? 10 * scale : scale, pair));
}

static struct tail_ratio compare(struct tail *tail)
{
    struct tail_ratio out;

    assert_int_equal(tail_compare(&out, tail, 0.99, NULL), CYGNET_OK);
    tail_clear(tail);
    return out;
}

static void test_quantiles_lie_between_values(void **state)
{
    double values[] = {4, 1, 3, 2, 5};

    (void)state;
    assert_true(tail_quantile(values, 5, 0) == 1);
    assert_true(tail_quantile(values, 5, 0.5) == 3);
    assert_true(tail_quantile(values, 5, 0.375) == 2.5);
    assert_true(tail_quantile(values, 5, 1) == 5);
    assert_true(isnan(tail_quantile(values, 0, 0.5)));
}

static void test_the_same_on_both_sides_is_one(void **state)
{
    struct tail tail = {.n_pairs = 4};
    struct tail_ratio r;

    (void)state;
    for (uint32_t p = 0; p < 4; p++) {
        add_run(&tail.alone, p, 1 + p, 5);
        add_run(&tail.beside, p, 1 + p, 5);
    }
    r = compare(&tail);
    assert_true(r.ratio == 1 && r.low == 1 && r.high == 1);
}

static void test_only_the_tail_counts(void **state)
{
    struct tail tail = {.n_pairs = 3};
    struct tail_ratio r;

    (void)state;
    for (uint32_t p = 0; p < 3; p++) {
        add_run(&tail.alone, p, 1, 1); /* one in 200 is beyond the 99th percentile */
        add_run(&tail.beside, p, 1, 3);
    }
    r = compare(&tail);
    assert_true(r.ratio == 10 && r.low == 10 && r.high == 10);
}

static void test_pairs_that_differ_make_the_interval_wide(void **state)
{
    struct tail tail = {.n_pairs = 10};
    struct tail_ratio r;

    (void)state;
    for (uint32_t p = 0; p < 10; p++) {
        add_run(&tail.alone, p, 1, 0);
        add_run(&tail.beside, p, 1, p == 0 ? 40 : 0); /* 2 % of all */
    }
    r = compare(&tail);
    assert_true(r.ratio == 10);
    assert_true(r.low == 1); /* every third draw is without pair 0 */
    assert_true(r.high == 10);
}

static void test_one_pair_has_no_interval(void **state)
{
    struct tail tail = {.n_pairs = 1};
    struct tail_ratio r;

    (void)state;
    add_run(&tail.alone, 0, 2, 0);
    add_run(&tail.beside, 0, 3, 0);
    r = compare(&tail);
    assert_true(r.ratio == 1.5 && isnan(r.low) && isnan(r.high));
}

static void test_a_pair_without_values_does_not_spoil_the_interval(void **state)
{
    struct tail tail = {.n_pairs = 4};
    struct tail_ratio r;

    (void)state;
    for (uint32_t p = 0; p < 4; p++)
        add_run(&tail.alone, p, 1, 0);
    add_run(&tail.beside, 3, 4, 0);
    r = compare(&tail);
    assert_true(r.ratio == 4);
    assert_true(r.low == 4 && r.high == 4); /* every third draw has no values at all */
}

static void test_without_values_nothing_is_known(void **state)
{
    struct tail tail = {.n_pairs = 3};
    struct tail_ratio r;

    (void)state;
    add_run(&tail.alone, 0, 1, 0);
    r = compare(&tail);
    assert_true(isnan(r.ratio) && isnan(r.low) && isnan(r.high));
}

/* ---- Sums --------------------------------------------------------------------- */

static void test_sums_are_compared_in_pairs(void **state)
{
    double a[20], b[20];
    struct tail_ratio r;

    (void)state;
    for (int i = 0; i < 20; i++) { /* fast and slow times, the same for both */
        b[i] = i % 2 ? 100 : 10;
        a[i] = 0.9 * b[i];
    }
    assert_int_equal(tail_sums(&r, a, b, 20, NULL), CYGNET_OK);
    assert_true(fabs(r.ratio - 0.9) < 1e-12);
    assert_true(fabs(r.low - 0.9) < 1e-12 && fabs(r.high - 0.9) < 1e-12);
    a[1] = 190; /* one pair that was otherwise makes it wide */
    assert_int_equal(tail_sums(&r, a, b, 20, NULL), CYGNET_OK);
    assert_true(r.low < 0.91 && r.high > 1.05 && r.ratio > r.low && r.ratio < r.high);
    assert_int_equal(tail_sums(&r, a, b, 1, NULL), CYGNET_OK);
    assert_true(r.ratio == 0.9 && isnan(r.low) && isnan(r.high));
}

/* ---- Medians ----------------------------------------------------------------- */

static struct tail_middle median_of(const double *values, size_t n)
{
    struct tail_middle out;

    assert_int_equal(tail_median(&out, values, n, NULL), CYGNET_OK);
    return out;
}

static void test_a_median_of_nothing_is_not_known_and_of_one_has_no_interval(void **state)
{
    const double one = 3;
    struct tail_middle m = median_of(NULL, 0);

    (void)state;
    assert_true(isnan(m.median) && isnan(m.low) && isnan(m.high));
    m = median_of(&one, 1);
    assert_true(m.median == 3 && isnan(m.low) && isnan(m.high));
}

static void test_wild_values_move_no_median(void **state)
{
    double values[200];
    struct tail_middle m;

    (void)state;
    for (int i = 0; i < 200; i++)
        values[i] = i < 40 ? 1e6 : 2;
    m = median_of(values, 200);
    assert_true(m.median == 2 && m.low == 2 && m.high == 2);
}

/* Of 100 samples of 50 values, about 95 intervals hold the true median. */
static void test_intervals_of_medians_hold_the_true_one(void **state)
{
    int held = 0;
    struct rng rng;

    (void)state;
    rng_init(&rng, 7, "coverage", 0);
    for (int sample = 0; sample < 100; sample++) {
        double values[50];
        struct tail_middle m;

        for (int i = 0; i < 50; i++)
            values[i] = rng_normal(&rng) + (rng_uniform(&rng) < 0.1 ? 30 : 0);
        m = median_of(values, 50);
        assert_true(m.low <= m.median && m.median <= m.high);
        held += m.low <= 0.14 && m.high >= 0.14; /* Phi(0.14) is 0.5 / 0.9 */
    }
    assert_in_range(held, 88, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantiles_lie_between_values),
        cmocka_unit_test(test_the_same_on_both_sides_is_one),
        cmocka_unit_test(test_only_the_tail_counts),
        cmocka_unit_test(test_pairs_that_differ_make_the_interval_wide),
        cmocka_unit_test(test_one_pair_has_no_interval),
        cmocka_unit_test(test_a_pair_without_values_does_not_spoil_the_interval),
        cmocka_unit_test(test_without_values_nothing_is_known),
        cmocka_unit_test(test_sums_are_compared_in_pairs),
        cmocka_unit_test(
            test_a_median_of_nothing_is_not_known_and_of_one_has_no_interval),
        cmocka_unit_test(test_wild_values_move_no_median),
        cmocka_unit_test(test_intervals_of_medians_hold_the_true_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
