/* Dropout: what a training step drops, and that nothing else drops anything. */
#include "fixture.h"

#include "engine/pool/pool.h"

#include <math.h>
#include <string.h>

enum { MAX_N = 40, FEATURES = 500, CLASSES = 4 };

static float x[MAX_N * FEATURES];
static int64_t labels[MAX_N];

static const cygnet_sgd rule = {sizeof(cygnet_sgd), 0.05f, 0.9f, 0};

static int set_up(void **state)
{
    (void)state;
    hash_fill_f32(x, FIXTURE_SEED, "x", MAX_N * FEATURES, 1.0);
    hash_fill_labels(labels, FIXTURE_SEED, MAX_N, CLASSES);
    return 0;
}

static cygnet_model *make_model(double rate, uint32_t max_batch, uint64_t seed,
                                struct nn_executor *executor)
{
    cygnet_model_options options;
    struct kernels kernels;
    struct graph graph;
    cygnet_model *model;
    int t;

    graph_init(&graph, NULL);
    t = graph_input(&graph, &(struct shape){1, {FEATURES}});
    t = graph_dropout(&graph, "dropout", t, rate);
    assert_true(graph_cross_entropy(&graph, graph_linear(&graph, "fc", t, CLASSES)) >= 0);
    cygnet_model_options_init(&options);
    options.max_batch = max_batch;
    options.seed = seed;
    kernels_choose(&kernels);
    assert_int_equal(model_assemble(&model, &graph, &kernels, executor, &options, NULL),
                     CYGNET_OK);
    hash_weights(model, FIXTURE_SEED);
    return model;
}

static void train(cygnet_model *model, uint32_t n)
{
    assert_int_equal(cygnet_model_train_step(model, NULL, x, labels, n, &rule, NULL),
                     CYGNET_OK);
}

/* Output of the layer for n examples, whose value nothing overwrites, after a step. */
static const real *dropped(const cygnet_model *model, size_t n)
{
    static real y[MAX_N * FEATURES];
    size_t out = (size_t)model->graph.nodes[0].out;

    model_read_rows(y, model, out, model_value(model, out), n);
    return y;
}

/* Of 20000 draws the share kept has deviation sqrt(p (1 - p) / 20000): five are
 * allowed. */
static void test_a_step_drops_the_rate_and_scales_the_rest(void **state)
{
    enum { N = MAX_N * FEATURES };
    cygnet_model *model = make_model(0.25, MAX_N, 1, &nn_serial_executor);
    const real *y;
    size_t kept = 0;

    (void)state;
    train(model, MAX_N);
    y = dropped(model, MAX_N);
    for (size_t i = 0; i < N; i++) {
        kept += y[i] != 0;
        assert_true(y[i] == 0 || y[i] == (real)(1 / 0.75) * x[i]);
    }
    assert_true(fabs((double)kept / N - 0.75) < 5 * sqrt(0.25 * 0.75 / N));
    cygnet_model_destroy(model);
}

static void test_each_step_row_and_seed_drops_something_else(void **state)
{
    real first[2 * FEATURES], second[FEATURES];
    cygnet_model *model = make_model(0.5, MAX_N, 1, &nn_serial_executor);
    cygnet_model *other = make_model(0.5, MAX_N, 2, &nn_serial_executor);
    size_t same_step = 0, same_row = 0, same_seed = 0;

    (void)state;
    train(model, 2);
    train(other, 2);
    memcpy(first, dropped(model, 2), sizeof(first));
    train(model, 2);
    memcpy(second, dropped(model, 2), sizeof(second));
    for (size_t i = 0; i < FEATURES; i++) {
        same_step += (first[i] == 0) == (second[i] == 0);
        same_row += (first[i] == 0) == (first[FEATURES + i] == 0);
        same_seed += (first[i] == 0) == (dropped(other, 1)[i] == 0);
    }
    /* 250 of 500 agree by chance, deviation 11 */
    assert_in_range(same_step, 195, 305);
    assert_in_range(same_row, 195, 305);
    assert_in_range(same_seed, 195, 305);
    cygnet_model_destroy(model);
    cygnet_model_destroy(other);
}

static void test_evaluation_and_gradients_drop_nothing(void **state)
{
    cygnet_model *with = make_model(0.5, MAX_N, 1, &nn_serial_executor);
    cygnet_model *without = make_model(0, MAX_N, 1, &nn_serial_executor);
    cygnet_metrics a = {.struct_size = sizeof(a)}, b = {.struct_size = sizeof(b)};
    cygnet_tensors *of_a, *of_b;
    const cygnet_tensor *w;

    (void)state;
    assert_int_equal(cygnet_model_evaluate(with, &a, x, labels, 9, NULL), CYGNET_OK);
    assert_int_equal(cygnet_model_evaluate(without, &b, x, labels, 9, NULL), CYGNET_OK);
    assert_true(a.loss == b.loss);
    assert_int_equal(cygnet_model_gradients(&of_a, &a, with, x, labels, 9, NULL),
                     CYGNET_OK);
    assert_int_equal(cygnet_model_gradients(&of_b, &b, without, x, labels, 9, NULL),
                     CYGNET_OK);
    w = cygnet_tensors_find(of_a, "fc.weight");
    assert_memory_equal(w->data, cygnet_tensors_find(of_b, "fc.weight")->data,
                        (size_t)w->size_bytes);
    cygnet_tensors_destroy(of_a);
    cygnet_tensors_destroy(of_b);
    cygnet_model_destroy(with);
    cygnet_model_destroy(without);
}

/* With x -> dropout -> fc the gradient of a weight is dz^T y: 0 for a feature that
 * the only example lost. */
static void test_a_dropped_feature_does_not_learn(void **state)
{
    cygnet_model *model = make_model(0.5, MAX_N, 1, &nn_serial_executor);
    size_t w = find_tensor(model, "fc.weight");
    real before[CLASSES * FEATURES], after[CLASSES * FEATURES];

    (void)state;
    model_read_state(before, model, w);
    train(model, 1);
    model_read_state(after, model, w);
    for (size_t i = 0; i < CLASSES * FEATURES; i++)
        assert_int_equal(dropped(model, 1)[i % FEATURES] == 0, after[i] == before[i]);
    cygnet_model_destroy(model);
}

static void check_same_run(cygnet_model *a, cygnet_model *b)
{
    static const uint32_t batches[] = {13, 2, 40, 1};

    for (size_t i = 0; i < sizeof(batches) / sizeof(batches[0]); i++) {
        train(a, batches[i]);
        train(b, batches[i]);
        assert_true(same_state(a, b));
    }
    cygnet_model_destroy(a);
    cygnet_model_destroy(b);
}

static void test_threads_and_max_batch_do_not_change_what_is_dropped(void **state)
{
    struct pool *pool;

    (void)state;
    assert_int_equal(pool_create(&pool, 3, NULL, NULL), CYGNET_OK);
    check_same_run(make_model(0.5, MAX_N, 1, &nn_serial_executor),
                   make_model(0.5, MAX_N, 1, pool_executor(pool)));
    check_same_run(make_model(0.5, MAX_N, 1, &nn_serial_executor),
                   make_model(0.5, 100, 1, &nn_serial_executor));
    pool_destroy(pool);
}

static void test_setting_weights_begins_the_stream_again(void **state)
{
    cygnet_model *model = make_model(0.5, MAX_N, 1, &nn_serial_executor);
    cygnet_model *fresh = make_model(0.5, MAX_N, 1, &nn_serial_executor);
    cygnet_tensors *weights;

    (void)state;
    assert_int_equal(cygnet_model_get_weights(&weights, fresh, NULL), CYGNET_OK);
    train(model, 9);
    assert_int_equal(cygnet_model_set_weights(model, weights, NULL), CYGNET_OK);
    train(model, 9);
    train(fresh, 9);
    assert_true(same_state(model, fresh));
    cygnet_tensors_destroy(weights);
    cygnet_model_destroy(model);
    cygnet_model_destroy(fresh);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_step_drops_the_rate_and_scales_the_rest),
        cmocka_unit_test(test_each_step_row_and_seed_drops_something_else),
        cmocka_unit_test(test_evaluation_and_gradients_drop_nothing),
        cmocka_unit_test(test_a_dropped_feature_does_not_learn),
        cmocka_unit_test(test_threads_and_max_batch_do_not_change_what_is_dropped),
        cmocka_unit_test(test_setting_weights_begins_the_stream_again),
    };

    return cmocka_run_group_tests(tests, set_up, NULL);
}
