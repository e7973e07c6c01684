/* Models with state that no gradient reaches: when it changes, when it must not, and
 * how it goes in and out. */
#include "fixture.h"

#include "engine/pool/pool.h"

#include <math.h>
#include <string.h>

enum { MAX_N = 13, SIDE = 7, IMAGE = 3 * SIDE * SIDE, CLASSES = 5, CHANNELS = 18 };

static float images[MAX_N * IMAGE];
static int64_t labels[MAX_N];

static const cygnet_sgd momentum_rule = {sizeof(cygnet_sgd), 0.05f, 0.9f, 5e-4f};

static int set_up(void **state)
{
    (void)state;
    hash_fill_f32(images, FIXTURE_SEED, "x", MAX_N * IMAGE, 1.0);
    hash_fill_labels(labels, FIXTURE_SEED, MAX_N, CLASSES);
    return 0;
}

/* conv - norm - relu - fc. A kernel as large as the image leaves one value a
 * channel. */
static cygnet_model *make_model_with(size_t kernel, uint32_t max_batch,
                                     struct nn_executor *executor, double eps,
                                     double momentum)
{
    const struct conv2d_shape conv = {.c_out = CHANNELS,
                                      .k_h = kernel,
                                      .k_w = kernel,
                                      .stride_h = 1,
                                      .stride_w = 1,
                                      .dilation_h = 1,
                                      .dilation_w = 1,
                                      .groups = 1};
    cygnet_model_options options;
    struct kernels kernels;
    struct graph graph;
    cygnet_model *model;
    int t;

    graph_init(&graph, NULL);
    t = graph_input(&graph, &(struct shape){3, {3, SIDE, SIDE}});
    t = graph_conv2d(&graph, "conv", t, &conv);
    t = graph_batch_norm2d_with(&graph, "norm", t, eps, momentum);
    t = graph_flatten(&graph, "flatten", graph_relu(&graph, "relu", t));
    assert_true(graph_cross_entropy(&graph, graph_linear(&graph, "fc", t, CLASSES)) >= 0);
    cygnet_model_options_init(&options);
    options.max_batch = max_batch;
    kernels_choose(&kernels);
    assert_int_equal(model_assemble(&model, &graph, &kernels, executor, &options, NULL),
                     CYGNET_OK);
    return model;
}

static cygnet_model *make_model(size_t kernel, uint32_t max_batch,
                                struct nn_executor *executor)
{
    return make_model_with(kernel, max_batch, executor, 1e-5, 0.1);
}

static void train(cygnet_model *model, uint32_t n)
{
    assert_int_equal(cygnet_model_train_step(model, NULL, images, labels, n,
                                             &momentum_rule, NULL),
                     CYGNET_OK);
}

static void check_same_run(cygnet_model *a, cygnet_model *b)
{
    static const uint32_t batches[] = {13, 2, 8, 1, 13};

    for (size_t i = 0; i < sizeof(batches) / sizeof(batches[0]); i++) {
        train(a, batches[i]);
        train(b, batches[i]);
        assert_true(same_state(a, b));
    }
    cygnet_model_destroy(a);
    cygnet_model_destroy(b);
}

static void test_threads_do_not_change_a_bit_of_the_statistics(void **state)
{
    (void)state;
    for (uint32_t n_threads = 2; n_threads <= 4; n_threads++) {
        struct pool *pool;

        assert_int_equal(pool_create(&pool, n_threads, NULL, NULL), CYGNET_OK);
        check_same_run(make_model(3, MAX_N, &nn_serial_executor),
                       make_model(3, MAX_N, pool_executor(pool)));
        pool_destroy(pool);
    }
}

static void test_max_batch_does_not_change_a_bit_of_the_statistics(void **state)
{
    (void)state;
    check_same_run(make_model(3, MAX_N, &nn_serial_executor),
                   make_model(3, 50, &nn_serial_executor));
}

static void test_buffers_stand_in_state_dict_order(void **state)
{
    static const char *const names[] = {"conv.weight",
                                        "conv.bias",
                                        "norm.weight",
                                        "norm.bias",
                                        "norm.running_mean",
                                        "norm.running_var",
                                        "norm.num_batches_tracked",
                                        "fc.weight",
                                        "fc.bias"};
    cygnet_model *model = make_model(3, MAX_N, &nn_serial_executor);
    const cygnet_tensor *t;
    cygnet_tensors *weights, *gradients;

    (void)state;
    assert_int_equal(cygnet_model_get_weights(&weights, model, NULL), CYGNET_OK);
    assert_int_equal(cygnet_tensors_count(weights), 9);
    for (size_t i = 0; i < 9; i++)
        assert_string_equal(cygnet_tensors_at(weights, i)->name, names[i]);
    t = cygnet_tensors_at(weights, 6);
    assert_int_equal(t->dtype, CYGNET_I64);
    assert_int_equal(t->n_dims, 0);
    assert_int_equal(*(const int64_t *)t->data, 0);
    assert_true(((const float *)cygnet_tensors_at(weights, 2)->data)[CHANNELS - 1] == 1);
    assert_true(((const float *)cygnet_tensors_at(weights, 5)->data)[CHANNELS - 1] == 1);
    assert_int_equal(cygnet_model_gradients(&gradients, NULL, model, images, labels, 9,
                                            NULL),
                     CYGNET_OK);
    assert_int_equal(cygnet_tensors_count(gradients), 6);
    assert_null(cygnet_tensors_find(gradients, "norm.running_mean"));
    assert_int_equal(cygnet_model_n_parameters(model),
                     CHANNELS * (27 + 1) + 2 * CHANNELS + CLASSES * (CHANNELS * 25 + 1));
    cygnet_tensors_destroy(weights);
    cygnet_tensors_destroy(gradients);
    cygnet_model_destroy(model);
}

static void test_only_a_training_step_moves_the_buffers(void **state)
{
    cygnet_model *model = make_model(3, MAX_N, &nn_serial_executor);
    cygnet_model *twin = make_model(3, MAX_N, &nn_serial_executor);
    size_t count = find_tensor(model, "norm.num_batches_tracked");
    size_t mean = find_tensor(model, "norm.running_mean");
    float logits[MAX_N * CLASSES];
    cygnet_tensors *out;

    (void)state;
    assert_int_equal(cygnet_model_evaluate(model, NULL, images, labels, 9, NULL),
                     CYGNET_OK);
    assert_int_equal(cygnet_model_logits(model, logits, images, 9, NULL), CYGNET_OK);
    assert_int_equal(cygnet_model_gradients(&out, NULL, model, images, labels, 9, NULL),
                     CYGNET_OK);
    cygnet_tensors_destroy(out);
    assert_true(same_state(model, twin));
    train(model, 9);
    assert_int_equal(*model_counter(model, count), 1);
    assert_true(model_value(model, mean)[0] != 0);
    train(model, 4);
    assert_int_equal(*model_counter(model, count), 2);
    cygnet_model_destroy(model);
    cygnet_model_destroy(twin);
}

static double loss_of(cygnet_model *model)
{
    cygnet_metrics metrics = {.struct_size = sizeof(metrics)};

    assert_int_equal(cygnet_model_evaluate(model, &metrics, images, labels, 9, NULL),
                     CYGNET_OK);
    return metrics.loss;
}

/* A fresh model evaluates with variance 1: eps 3 divides by 2, which a weight of 2
 * undoes. */
static void test_eps_is_the_one_asked_for(void **state)
{
    cygnet_model *small = make_model_with(3, MAX_N, &nn_serial_executor, 1e-12, 0.1);
    cygnet_model *large = make_model_with(3, MAX_N, &nn_serial_executor, 3, 0.1);
    double want = loss_of(small);

    (void)state;
    assert_true(fabs(loss_of(large) - want) > 1e-3 * want);
    for (size_t c = 0; c < CHANNELS; c++)
        model_value(large, find_tensor(large, "norm.weight"))[c] = 2;
    assert_true(fabs(loss_of(large) - want) <= 1e-6 * want);
    cygnet_model_destroy(small);
    cygnet_model_destroy(large);
}

/* From 0 and 1, a step moves the statistics by momentum times something. */
static void test_momentum_is_the_one_asked_for(void **state)
{
    cygnet_model *slow = make_model_with(3, MAX_N, &nn_serial_executor, 1e-5, 0.01);
    cygnet_model *fast = make_model_with(3, MAX_N, &nn_serial_executor, 1e-5, 0.1);
    size_t mean = find_tensor(slow, "norm.running_mean");
    size_t variance = find_tensor(slow, "norm.running_var");

    (void)state;
    train(slow, 9);
    train(fast, 9);
    for (size_t c = 0; c < CHANNELS; c++) {
        double to_mean = (double)model_value(fast, mean)[c];
        double to_variance = (double)model_value(fast, variance)[c] - 1;

        assert_true(to_mean != 0 && to_variance != 0);
        assert_true(fabs((double)model_value(slow, mean)[c] - 0.1 * to_mean) <=
                    1e-6 * fabs(to_mean));
        assert_true(fabs((double)model_value(slow, variance)[c] - 1 -
                         0.1 * to_variance) <= 4 * (double)FLT_EPSILON);
    }
    cygnet_model_destroy(slow);
    cygnet_model_destroy(fast);
}

/* A batch's own statistics would make the first example's output depend on the
 * others. */
static void test_evaluation_does_not_mix_examples(void **state)
{
    cygnet_model *model = make_model(3, MAX_N, &nn_serial_executor);
    cygnet_metrics nine = {.struct_size = sizeof(nine)};
    cygnet_metrics one = {.struct_size = sizeof(one)};
    float first;

    (void)state;
    train(model, 9);
    assert_int_equal(cygnet_model_evaluate(model, &nine, images, labels, 9, NULL),
                     CYGNET_OK);
    first = model_example_losses(model)[0];
    assert_int_equal(cygnet_model_evaluate(model, &one, images, labels, 1, NULL),
                     CYGNET_OK);
    assert_true(fabs(one.loss - (double)first) <= 1e-6 * one.loss);
    assert_true(nine.loss != one.loss);
    cygnet_model_destroy(model);
}

static void test_one_value_a_channel_is_refused_in_training_only(void **state)
{
    cygnet_model *model = make_model(SIDE, MAX_N, &nn_serial_executor);
    cygnet_model *twin = make_model(SIDE, MAX_N, &nn_serial_executor);
    cygnet_tensors *out;
    cygnet_error err;

    (void)state;
    assert_int_equal(cygnet_model_train_step(model, NULL, images, labels, 1,
                                             &momentum_rule, &err),
                     CYGNET_EINVAL);
    assert_non_null(strstr(err.message, "layer norm needs 2"));
    assert_int_equal(cygnet_model_gradients(&out, NULL, model, images, labels, 1, NULL),
                     CYGNET_EINVAL);
    assert_true(same_state(model, twin));
    assert_int_equal(cygnet_model_evaluate(model, NULL, images, labels, 1, NULL),
                     CYGNET_OK);
    train(model, 2);
    cygnet_model_destroy(model);
    cygnet_model_destroy(twin);
}

static void test_a_failed_step_leaves_the_buffers(void **state)
{
    cygnet_model *model = make_model(3, MAX_N, &nn_serial_executor);
    cygnet_model *twin = make_model(3, MAX_N, &nn_serial_executor);
    cygnet_error err;

    (void)state;
    model_value(model, find_tensor(model, "fc.bias"))[2] = FLT_MAX;
    model_value(twin, find_tensor(twin, "fc.bias"))[2] = FLT_MAX;
    model_value(model, find_tensor(model, "fc.weight"))[0] = FLT_MAX;
    model_value(twin, find_tensor(twin, "fc.weight"))[0] = FLT_MAX;
    for (size_t e = 0; e < CHANNELS; e++) {
        model_value(model, find_tensor(model, "norm.weight"))[e] = FLT_MAX;
        model_value(twin, find_tensor(twin, "norm.weight"))[e] = FLT_MAX;
    }
    assert_int_equal(cygnet_model_train_step(model, NULL, images, labels, 9,
                                             &momentum_rule, &err),
                     CYGNET_ENUMERIC);
    assert_non_null(strstr(err.message, "layer norm"));
    assert_true(same_state(model, twin));
    cygnet_model_destroy(model);
    cygnet_model_destroy(twin);
}

/* ---- In and out ---------------------------------------------------------- */

static void test_buffers_go_out_and_in(void **state)
{
    cygnet_model *from = make_model(3, MAX_N, &nn_serial_executor);
    cygnet_model *to = make_model(3, MAX_N, &nn_serial_executor);
    cygnet_tensors *weights;

    (void)state;
    train(from, 9);
    assert_int_equal(cygnet_model_get_weights(&weights, from, NULL), CYGNET_OK);
    assert_int_equal(cygnet_model_set_weights(to, weights, NULL), CYGNET_OK);
    assert_true(same_state(from, to));
    assert_int_equal(cygnet_model_set_weights(from, weights, NULL), CYGNET_OK);
    train(from, 9);
    train(to, 9);
    assert_true(same_state(from, to));
    cygnet_tensors_destroy(weights);
    cygnet_model_destroy(from);
    cygnet_model_destroy(to);
}

/* The weights of `from` with one tensor as I32 instead, or with a value changed. */
static void check_refused(const char *name, bool as_i32, cygnet_status want,
                          const char *message)
{
    cygnet_model *model = make_model(3, MAX_N, &nn_serial_executor);
    cygnet_model *twin = make_model(3, MAX_N, &nn_serial_executor);
    cygnet_tensors *weights, *changed;
    cygnet_error err;

    assert_int_equal(cygnet_model_get_weights(&weights, model, NULL), CYGNET_OK);
    assert_int_equal(cygnet_tensors_create(&changed, 1 << 20, NULL, NULL), CYGNET_OK);
    for (size_t i = 0; i < cygnet_tensors_count(weights); i++) {
        const cygnet_tensor *t = cygnet_tensors_at(weights, i);
        bool is_named = strcmp(t->name, name) == 0;
        cygnet_tensor *copy;

        assert_int_equal(cygnet_tensors_add(&copy, changed, t->name,
                                            is_named && as_i32 ? CYGNET_I32 : t->dtype,
                                            t->shape, t->n_dims, NULL),
                         CYGNET_OK);
        if (is_named && !as_i32)
            memset(copy->data, 0x81, (size_t)copy->size_bytes); /* negative */
        else if (!is_named)
            memcpy(copy->data, t->data, (size_t)copy->size_bytes);
    }
    assert_int_equal(cygnet_model_set_weights(model, changed, &err), want);
    assert_non_null(strstr(err.message, message));
    assert_true(same_state(model, twin));
    cygnet_tensors_destroy(weights);
    cygnet_tensors_destroy(changed);
    cygnet_model_destroy(model);
    cygnet_model_destroy(twin);
}

static void test_buffers_that_do_not_fit_are_refused_by_name(void **state)
{
    (void)state;
    check_refused("norm.num_batches_tracked", true, CYGNET_ESHAPE,
                  "norm.num_batches_tracked: expected I64 (), found I32 ()");
    check_refused("norm.running_var", true, CYGNET_ESHAPE,
                  "norm.running_var: expected F32 (18), found I32 (18)");
    check_refused("norm.num_batches_tracked", false, CYGNET_ENUMERIC,
                  "norm.num_batches_tracked: expected 0 or more");
    check_refused("norm.running_var", false, CYGNET_ENUMERIC,
                  "norm.running_var: expected 0 or more");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads_do_not_change_a_bit_of_the_statistics),
        cmocka_unit_test(test_max_batch_does_not_change_a_bit_of_the_statistics),
        cmocka_unit_test(test_buffers_stand_in_state_dict_order),
        cmocka_unit_test(test_only_a_training_step_moves_the_buffers),
        cmocka_unit_test(test_eps_is_the_one_asked_for),
        cmocka_unit_test(test_momentum_is_the_one_asked_for),
        cmocka_unit_test(test_evaluation_does_not_mix_examples),
        cmocka_unit_test(test_one_value_a_channel_is_refused_in_training_only),
        cmocka_unit_test(test_a_failed_step_leaves_the_buffers),
        cmocka_unit_test(test_buffers_go_out_and_in),
        cmocka_unit_test(test_buffers_that_do_not_fit_are_refused_by_name),
    };

    return cmocka_run_group_tests(tests, set_up, NULL);
}
