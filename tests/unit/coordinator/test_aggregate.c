/* Order-free FedAvg: exact sums, any order, stated bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "examples/common/random.h"
#include "examples/coordinator/aggregate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define N_WEIGHTS 7
#define N_UPDATES 40

static cygnet_tensors *make(const float *values)
{
    const uint64_t shapes[2][1] = {{N_WEIGHTS - 2}, {2}};
    const char *names[] = {"weight", "bias"};
    cygnet_tensors *list = NULL;

    assert_int_equal(cygnet_tensors_create(&list, 4096, NULL, NULL), CYGNET_OK);
    for (int i = 0; i < 2; i++) {
        cygnet_tensor *t = NULL;
        assert_int_equal(cygnet_tensors_add(&t, list, names[i], CYGNET_F32, shapes[i], 1,
                                            NULL),
                         CYGNET_OK);
        memcpy(t->data, values, (size_t)t->size_bytes);
        values += shapes[i][0];
    }
    return list;
}

static cygnet_tensors *make_uniform(float value)
{
    float values[N_WEIGHTS];

    for (int i = 0; i < N_WEIGHTS; i++)
        values[i] = value;
    return make(values);
}

static float first_of(const cygnet_tensors *list)
{
    return *(const float *)cygnet_tensors_at(list, 0)->data;
}

static void add(struct aggregate *a, float value, uint64_t examples)
{
    cygnet_tensors *deltas = make_uniform(value);

    assert_int_equal(aggregate_add(a, deltas, examples, NULL), CYGNET_OK);
    cygnet_tensors_destroy(deltas);
}

/* The first weight after averaging onto `global`, with server_lr 1. */
static float apply_first(const struct aggregate *a, const cygnet_tensors *global)
{
    cygnet_tensors *out = NULL;
    float value;

    assert_int_equal(aggregate_apply(&out, a, global, 1.0, NULL), CYGNET_OK);
    value = first_of(out);
    cygnet_tensors_destroy(out);
    return value;
}

static void test_the_mean_is_weighted_by_examples(void **state)
{
    cygnet_tensors *global = make_uniform(1.0f);
    struct aggregate *a = NULL;

    (void)state;
    assert_int_equal(aggregate_create(&a, global, NULL), CYGNET_OK);
    add(a, 1.0f, 30);
    add(a, -1.0f, 10);
    assert_int_equal(aggregate_count(a), 2);
    assert_int_equal(aggregate_examples(a), 40);
    assert_true(apply_first(a, global) == 1.5f);
    aggregate_destroy(a);
    cygnet_tensors_destroy(global);
}

static void test_the_server_learning_rate_scales_the_mean(void **state)
{
    cygnet_tensors *global = make_uniform(1.0f);
    cygnet_tensors *out = NULL;
    struct aggregate *a = NULL;

    (void)state;
    assert_int_equal(aggregate_create(&a, global, NULL), CYGNET_OK);
    add(a, 0.5f, 3);
    assert_int_equal(aggregate_apply(&out, a, global, 0.5, NULL), CYGNET_OK);
    assert_true(first_of(out) == 1.25f);
    assert_string_equal(cygnet_tensors_at(out, 1)->name, "bias");
    cygnet_tensors_destroy(out);
    aggregate_destroy(a);
    cygnet_tensors_destroy(global);
}

/* A sum that float and double both lose: 4096 - 4096 + 2^-50. */
static void test_large_deltas_cancel_without_losing_small_ones(void **state)
{
    cygnet_tensors *global = make_uniform(0.0f);
    struct aggregate *a = NULL;
    float tiny = ldexpf(1.0f, -AGGREGATE_SCALE_BITS);

    (void)state;
    assert_int_equal(aggregate_create(&a, global, NULL), CYGNET_OK);
    add(a, 4096.0f, 1);
    add(a, tiny, 1);
    add(a, -4096.0f, 1);
    add(a, 0.0f, 1);
    assert_true(apply_first(a, global) == tiny / 4);
    aggregate_destroy(a);
    cygnet_tensors_destroy(global);
}

static void test_the_largest_updates_do_not_overflow(void **state)
{
    cygnet_tensors *global = make_uniform(0.0f);
    struct aggregate *a = NULL;

    (void)state;
    assert_int_equal(aggregate_create(&a, global, NULL), CYGNET_OK);
    for (int i = 0; i < 1000; i++)
        add(a, -(float)AGGREGATE_MAX_DELTA, AGGREGATE_MAX_EXAMPLES);
    assert_true(apply_first(a, global) == -(float)AGGREGATE_MAX_DELTA);
    for (int i = 0; i < 1000; i++)
        add(a, (float)AGGREGATE_MAX_DELTA, AGGREGATE_MAX_EXAMPLES);
    assert_true(apply_first(a, global) == 0.0f);
    aggregate_destroy(a);
    cygnet_tensors_destroy(global);
}

static float random_delta(struct random *random)
{
    float value = ((float)random_unit(random) - 0.5f) * 2.0f;

    return ldexpf(value, (int)random_below(random, 52) - 40);
}

static cygnet_tensors *sum_in_order(cygnet_tensors *const *updates,
                                    const uint64_t *examples, const uint32_t *order,
                                    const cygnet_tensors *global)
{
    struct aggregate *a = NULL;
    cygnet_tensors *out = NULL;

    assert_int_equal(aggregate_create(&a, global, NULL), CYGNET_OK);
    for (int i = 0; i < N_UPDATES; i++)
        assert_int_equal(aggregate_add(a, updates[order[i]], examples[order[i]], NULL),
                         CYGNET_OK);
    assert_int_equal(aggregate_apply(&out, a, global, 0.7, NULL), CYGNET_OK);
    aggregate_destroy(a);
    return out;
}

static void assert_same(const cygnet_tensors *a, const cygnet_tensors *b)
{
    for (size_t i = 0; i < cygnet_tensors_count(a); i++) {
        const cygnet_tensor *t = cygnet_tensors_at(a, i);
        assert_memory_equal(t->data, cygnet_tensors_at(b, i)->data,
                            (size_t)t->size_bytes);
    }
}

static void test_any_order_of_arrival_gives_the_same_bits(void **state)
{
    const char *text = getenv("CYGNET_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 10) : 20240501;
    cygnet_tensors *updates[N_UPDATES];
    uint64_t examples[N_UPDATES];
    uint32_t order[N_UPDATES];
    cygnet_tensors *global = make_uniform(0.125f);
    cygnet_tensors *first;
    struct random random;

    (void)state;
    print_message("# CYGNET_SEED=%llu\n", (unsigned long long)seed);
    random_init(&random, seed, 0);
    for (uint32_t i = 0; i < N_UPDATES; i++) {
        float values[N_WEIGHTS];
        for (int k = 0; k < N_WEIGHTS; k++)
            values[k] = random_delta(&random);
        updates[i] = make(values);
        examples[i] = 1 + random_below(&random, 1u << 31);
        order[i] = i;
    }
    first = sum_in_order(updates, examples, order, global);
    for (int trial = 0; trial < 50; trial++) {
        cygnet_tensors *other;
        random_shuffle(&random, order, N_UPDATES);
        other = sum_in_order(updates, examples, order, global);
        assert_same(first, other);
        cygnet_tensors_destroy(other);
    }
    cygnet_tensors_destroy(first);
    cygnet_tensors_destroy(global);
    for (int i = 0; i < N_UPDATES; i++)
        cygnet_tensors_destroy(updates[i]);
}

static void expect_refused(float value, uint64_t examples, cygnet_status status)
{
    cygnet_tensors *global = make_uniform(0.0f);
    cygnet_tensors *deltas = make_uniform(value);
    cygnet_error err = {0};

    assert_int_equal(aggregate_check(deltas, global, examples, &err), status);
    if (status != CYGNET_OK)
        assert_true(err.message[0] != '\0');
    cygnet_tensors_destroy(deltas);
    cygnet_tensors_destroy(global);
}

static void test_updates_beyond_the_bounds_are_refused(void **state)
{
    (void)state;
    expect_refused((float)AGGREGATE_MAX_DELTA, AGGREGATE_MAX_EXAMPLES, CYGNET_OK);
    expect_refused(nextafterf((float)AGGREGATE_MAX_DELTA, INFINITY), 1, CYGNET_ELIMIT);
    expect_refused(-5000.0f, 1, CYGNET_ELIMIT);
    expect_refused(NAN, 1, CYGNET_ENUMERIC);
    expect_refused(INFINITY, 1, CYGNET_ENUMERIC);
    expect_refused(0.0f, 0, CYGNET_ELIMIT);
    expect_refused(0.0f, AGGREGATE_MAX_EXAMPLES + 1, CYGNET_ELIMIT);
}

/* ---- Batch norms ----------------------------------------------------------- */

static cygnet_tensors *make_norm(float variance, int64_t count)
{
    cygnet_tensor *t;
    cygnet_tensors *list;

    assert_int_equal(cygnet_tensors_create(&list, 4096, NULL, NULL), CYGNET_OK);
    assert_int_equal(cygnet_tensors_add(&t, list, "bn.running_var", CYGNET_F32, NULL, 0,
                                        NULL),
                     CYGNET_OK);
    memcpy(t->data, &variance, sizeof(variance));
    assert_int_equal(cygnet_tensors_add(&t, list, "bn.num_batches_tracked", CYGNET_I64,
                                        NULL, 0, NULL),
                     CYGNET_OK);
    memcpy(t->data, &count, sizeof(count));
    return list;
}

struct norm {
    float variance;
    int64_t count;
    uint64_t examples;
};

/* What {0.5, 40} becomes with two updates. */
static struct norm average(struct norm a, struct norm b, double server_lr)
{
    cygnet_tensors *global = make_norm(0.5f, 40);
    cygnet_tensors *out = NULL;
    struct aggregate *sum = NULL;
    struct norm result = {0};

    assert_int_equal(aggregate_create(&sum, global, NULL), CYGNET_OK);
    for (int i = 0; i < 2; i++) {
        const struct norm *n = i ? &b : &a;
        cygnet_tensors *deltas = make_norm(n->variance, n->count);

        assert_int_equal(aggregate_check(deltas, global, n->examples, NULL), CYGNET_OK);
        assert_int_equal(aggregate_add(sum, deltas, n->examples, NULL), CYGNET_OK);
        cygnet_tensors_destroy(deltas);
    }
    assert_int_equal(aggregate_apply(&out, sum, global, server_lr, NULL), CYGNET_OK);
    assert_int_equal(cygnet_tensors_at(out, 1)->dtype, CYGNET_I64);
    memcpy(&result.variance, cygnet_tensors_at(out, 0)->data, sizeof(float));
    memcpy(&result.count, cygnet_tensors_at(out, 1)->data, sizeof(int64_t));
    cygnet_tensors_destroy(out);
    aggregate_destroy(sum);
    cygnet_tensors_destroy(global);
    return result;
}

static void test_counts_move_by_their_mean_rounded_to_the_nearest(void **state)
{
    (void)state;
    assert_int_equal(average((struct norm){0, 3, 1}, (struct norm){0, 5, 3}, 1.0).count,
                     44); /* 4.5 */
    assert_int_equal(average((struct norm){0, 3, 1}, (struct norm){0, 4, 1}, 1.0).count,
                     44); /* 3.5 */
    assert_int_equal(average((struct norm){0, 4, 1}, (struct norm){0, 3, 1}, 1.0).count,
                     44);
    assert_int_equal(average((struct norm){0, 3, 1}, (struct norm){0, 4, 3}, 1.0).count,
                     44); /* 3.75 */
    assert_int_equal(average((struct norm){0, 8, 1}, (struct norm){0, 8, 3}, 0.5).count,
                     44);
    assert_true(average((struct norm){0, AGGREGATE_MAX_COUNT, AGGREGATE_MAX_EXAMPLES},
                        (struct norm){0, AGGREGATE_MAX_COUNT, AGGREGATE_MAX_EXAMPLES},
                        1.0)
                    .count == AGGREGATE_MAX_COUNT + 40);
}

static void test_counts_and_variances_do_not_fall_below_zero(void **state)
{
    struct norm low =
        average((struct norm){-0.75f, -50, 1}, (struct norm){-0.75f, -50, 1}, 1.0);
    struct norm high =
        average((struct norm){-0.25f, -30, 1}, (struct norm){-0.25f, -30, 1}, 1.0);

    (void)state;
    assert_true(low.variance == 0.0f && low.count == 0);
    assert_true(high.variance == 0.25f && high.count == 10);
}

static void test_a_count_out_of_bounds_or_of_another_type_is_refused(void **state)
{
    cygnet_tensors *global = make_norm(0.5f, 40);
    cygnet_tensors *far = make_norm(0.0f, AGGREGATE_MAX_COUNT + 1);
    cygnet_tensors *other;
    cygnet_error err;

    (void)state;
    assert_int_equal(aggregate_check(far, global, 1, &err), CYGNET_ELIMIT);
    assert_non_null(strstr(err.message, "bn.num_batches_tracked"));
    assert_int_equal(cygnet_tensors_create(&other, 4096, NULL, NULL), CYGNET_OK);
    for (int i = 0; i < 2; i++)
        assert_int_equal(cygnet_tensors_add(NULL, other,
                                            cygnet_tensors_at(global, (size_t)i)->name,
                                            CYGNET_F32, NULL, 0, NULL),
                         CYGNET_OK);
    assert_int_equal(aggregate_check(other, global, 1, &err), CYGNET_ESHAPE);
    cygnet_tensors_destroy(other);
    cygnet_tensors_destroy(far);
    cygnet_tensors_destroy(global);
}

static void test_nothing_cannot_be_averaged(void **state)
{
    cygnet_tensors *global = make_uniform(0.0f);
    cygnet_tensors *out = global;
    struct aggregate *a = NULL;

    (void)state;
    assert_int_equal(aggregate_create(&a, global, NULL), CYGNET_OK);
    assert_int_equal(aggregate_apply(&out, a, global, 1.0, NULL), CYGNET_ESTATE);
    assert_null(out);
    aggregate_destroy(a);
    cygnet_tensors_destroy(global);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_mean_is_weighted_by_examples),
        cmocka_unit_test(test_the_server_learning_rate_scales_the_mean),
        cmocka_unit_test(test_large_deltas_cancel_without_losing_small_ones),
        cmocka_unit_test(test_the_largest_updates_do_not_overflow),
        cmocka_unit_test(test_any_order_of_arrival_gives_the_same_bits),
        cmocka_unit_test(test_updates_beyond_the_bounds_are_refused),
        cmocka_unit_test(test_counts_move_by_their_mean_rounded_to_the_nearest),
        cmocka_unit_test(test_counts_and_variances_do_not_fall_below_zero),
        cmocka_unit_test(test_a_count_out_of_bounds_or_of_another_type_is_refused),
        cmocka_unit_test(test_nothing_cannot_be_averaged),
    };
    return cmocka_run_group_tests_name("coordinator aggregate", tests, NULL, NULL);
}
