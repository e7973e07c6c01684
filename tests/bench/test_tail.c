/* Quantiles and the bootstrap over pairs, on values made by hand. */
#include "tests/bench/tail.h"

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
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
