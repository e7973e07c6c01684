/* A model as its users see it: repeatable, and safe on bad input. */
#include "fixture.h"

#include "engine/pool/pool.h"

#include <math.h>
#include <string.h>

enum { MAX_N = 40, IMAGE = 28 * 28 };

static float images[MAX_N * IMAGE];
static int64_t labels[MAX_N];

static const cygnet_sgd momentum_rule = {sizeof(cygnet_sgd), 0.05f, 0.9f, 5e-4f};

static int set_up(void **state)
{
    (void)state;
    hash_fill_f32(images, FIXTURE_SEED, "x", MAX_N * IMAGE, 1.0);
    hash_fill_labels(labels, FIXTURE_SEED, MAX_N, 10);
    return 0;
}

/* side  of a square image; 0: the architecture's own input */
static cygnet_model *make_sized_model(const char *architecture, uint32_t side,
                                      uint32_t max_batch, uint32_t n_threads)
{
    cygnet_model_options options;
    cygnet_model *model;
    cygnet_error err;

    cygnet_model_options_init(&options);
    options.architecture = architecture;
    options.max_batch = max_batch;
    options.n_threads = n_threads;
    options.seed = 7;
    options.n_input_dims = side > 0 ? 3 : 0;
    options.input[0] = 1;
    options.input[1] = options.input[2] = side;
    if (cygnet_model_create(&model, &options, &err) != CYGNET_OK)
        fail_msg("%s", err.message);
    return model;
}

static cygnet_model *make_model(const char *architecture, uint32_t max_batch,
                                uint32_t n_threads)
{
    return make_sized_model(architecture, 0, max_batch, n_threads);
}

static void train(cygnet_model *model, uint32_t n)
{
    assert_int_equal(cygnet_model_train_step(model, NULL, images, labels, n,
                                             &momentum_rule, NULL),
                     CYGNET_OK);
}

/* Steps of uneven batches, then a comparison bit by bit. */
static void check_same_run(cygnet_model *a, cygnet_model *b)
{
    static const uint32_t batches[] = {13, 1, 7, 8, 13, 2};

    for (size_t i = 0; i < sizeof(batches) / sizeof(batches[0]); i++) {
        train(a, batches[i]);
        train(b, batches[i]);
        assert_true(same_state(a, b));
    }
    cygnet_model_destroy(a);
    cygnet_model_destroy(b);
}

/* The whole zoo; the largest on small images, to save time. */
static const struct {
    const char *name;
    uint32_t side;
} repeated[] = {
    {"logistic", 0}, {"mlp", 0}, {"lenet5", 0}, {"lenet5", 21}, {"mcmahan_cnn", 12}};

enum { N_REPEATED = sizeof(repeated) / sizeof(repeated[0]) };

static void test_threads_do_not_change_a_bit(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_REPEATED * 3; i += is_emulated() ? 4 : 1) {
        const char *name = repeated[i / 3].name;
        uint32_t side = repeated[i / 3].side;

        check_same_run(make_sized_model(name, side, 13, 1),
                       make_sized_model(name, side, 13, 2 + (uint32_t)i % 3));
    }
}

static void test_max_batch_does_not_change_a_bit(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_REPEATED; i++)
        check_same_run(make_sized_model(repeated[i].name, repeated[i].side, 13, 1),
                       make_sized_model(repeated[i].name, repeated[i].side, 100, 1));
}

static void test_reference_kernels_repeat_bit_for_bit(void **state)
{
    struct pool *pool;
    cygnet_model *a, *b;

    (void)state;
    assert_int_equal(pool_create(&pool, 3, NULL, NULL), CYGNET_OK);
    a = make_zoo_model("lenet5", &(struct shape){0}, 10, 13, kernels_reference(),
                       &nn_serial_executor);
    b = make_zoo_model("lenet5", &(struct shape){0}, 10, 13, kernels_reference(),
                       pool_executor(pool));
    check_same_run(a, b);
    pool_destroy(pool);
}

/* Images with a bright bar whose place is the label: linearly separable, so that
 * every model must learn the 40 of them. Guessing costs ln 10 = 2.3; 0.1 means that
 * the right class gets 90 %. */
static void check_learns(const char *architecture, int n_steps)
{
    static float x[MAX_N * IMAGE];
    cygnet_model *model = make_model(architecture, MAX_N, 1);
    cygnet_metrics first = {.struct_size = sizeof(first)}, last = first;

    for (size_t i = 0; i < MAX_N * IMAGE; i++)
        x[i] = 0.25f * images[i] +
               ((int64_t)(i % IMAGE / 56) == labels[i / IMAGE] ? 1.0f : 0.0f);
    assert_int_equal(cygnet_model_evaluate(model, &first, x, labels, MAX_N, NULL),
                     CYGNET_OK);
    for (int i = 0; i < n_steps; i++)
        assert_int_equal(cygnet_model_train_step(model, NULL, x, labels, MAX_N,
                                                 &momentum_rule, NULL),
                         CYGNET_OK);
    assert_int_equal(cygnet_model_evaluate(model, &last, x, labels, MAX_N, NULL),
                     CYGNET_OK);
    assert_true(fabs(first.loss - log(10)) < 0.5);
    assert_true(last.loss < 0.1);
    assert_int_equal(last.correct, MAX_N);
    cygnet_model_destroy(model);
}

static void test_models_learn_a_separable_task(void **state)
{
    (void)state;
    check_learns("logistic", 60);
    check_learns("mlp:hidden=32", 60);
    if (!is_emulated())
        check_learns("lenet5", 150);
}

static void test_evaluate_goes_over_max_batch(void **state)
{
    cygnet_model *small = make_model("mlp", 8, 1);
    cygnet_model *large = make_model("mlp", 23, 1);
    cygnet_metrics a = {.struct_size = sizeof(a)}, b = a;

    (void)state;
    assert_int_equal(cygnet_model_evaluate(small, &a, images, labels, 23, NULL),
                     CYGNET_OK);
    assert_int_equal(cygnet_model_evaluate(large, &b, images, labels, 23, NULL),
                     CYGNET_OK);
    assert_int_equal(a.n, 23);
    assert_int_equal(a.correct, b.correct);
    /* 784-term sums in two orders, each within n eps of exact */
    assert_true(fabs(a.loss - b.loss) <= 784 * (double)FLT_EPSILON * b.loss);
    cygnet_model_destroy(small);
    cygnet_model_destroy(large);
}

static void test_an_evaluation_says_in_which_part_it_failed(void **state)
{
    static float x[MAX_N * IMAGE];
    const cygnet_sgd steep = {sizeof(steep), 1e4f, 0, 0}; /* for large weights */
    cygnet_model *model = make_model("logistic", 8, 1);
    cygnet_error err = {0};

    (void)state;
    memset(x, 0, sizeof(x));
    for (size_t i = 0; i < IMAGE; i++)
        x[20 * IMAGE + i] = FLT_MAX;
    assert_int_equal(cygnet_model_train_step(model, NULL, images, labels, 8, &steep,
                                             NULL),
                     CYGNET_OK);
    assert_int_equal(cygnet_model_evaluate(model, NULL, x, labels, 23, &err),
                     CYGNET_ENUMERIC);
    assert_non_null(strstr(err.message, "from example 16 on: layer"));
    assert_non_null(strstr(err.message, "example 4 of the batch"));
    cygnet_model_destroy(model);
}

static void test_example_losses_are_those_of_the_last_part(void **state)
{
    cygnet_model *model = make_model("mlp", 8, 1);
    float parts[7];

    (void)state;
    assert_int_equal(cygnet_model_evaluate(model, NULL, images, labels, 23, NULL),
                     CYGNET_OK);
    memcpy(parts, model_example_losses(model), sizeof(parts));
    assert_int_equal(cygnet_model_evaluate(model, NULL, images + 16 * IMAGE, labels + 16,
                                           7, NULL),
                     CYGNET_OK);
    assert_memory_equal(parts, model_example_losses(model), sizeof(parts));
    cygnet_model_destroy(model);
}

static void test_logits_and_example_losses_explain_the_metrics(void **state)
{
    cygnet_model *model = make_model("logistic", 9, 1);
    float logits[9 * 10];
    cygnet_metrics metrics = {.struct_size = sizeof(metrics)};
    double sum = 0;

    (void)state;
    assert_int_equal(cygnet_model_logits(model, logits, images, 9, NULL), CYGNET_OK);
    assert_int_equal(cygnet_model_evaluate(model, &metrics, images, labels, 9, NULL),
                     CYGNET_OK);
    for (size_t r = 0; r < 9; r++) {
        double exps = 0;

        for (size_t c = 0; c < 10; c++)
            exps += exp((double)logits[r * 10 + c]);
        sum += log(exps) - (double)logits[r * 10 + (size_t)labels[r]];
        assert_true(fabs((double)model_example_losses(model)[r] - log(exps) +
                         (double)logits[r * 10 + (size_t)labels[r]]) < 1e-5);
    }
    assert_true(fabs(sum / 9 - metrics.loss) < 1e-6 * metrics.loss);
    cygnet_model_destroy(model);
}

/* Without momentum and decay a step is w - lr g, so that g can be read off. */
static void test_gradients_are_what_a_step_uses(void **state)
{
    static const cygnet_sgd plain = {sizeof(cygnet_sgd), 0.5f, 0, 0};
    static real was[10 * IMAGE], is[10 * IMAGE];
    cygnet_model *model = make_model("logistic", 9, 1);
    cygnet_model *before = make_model("logistic", 9, 1);
    cygnet_tensors *grads;
    const float *g;
    size_t w = find_tensor(model, "linear.weight");

    (void)state;
    assert_int_equal(cygnet_model_gradients(&grads, NULL, model, images, labels, 9, NULL),
                     CYGNET_OK);
    assert_true(same_state(model, before));
    assert_int_equal(cygnet_model_train_step(model, NULL, images, labels, 9, &plain,
                                             NULL),
                     CYGNET_OK);
    g = cygnet_tensors_find(grads, "linear.weight")->data;
    model_read_state(was, before, w);
    model_read_state(is, model, w);
    for (size_t i = 0; i < 10 * IMAGE; i++)
        assert_true(is[i] == was[i] - 0.5f * g[i]);
    cygnet_tensors_destroy(grads);
    cygnet_model_destroy(model);
    cygnet_model_destroy(before);
}

/* A failing step and what it must leave alone. */
static void check_refused(cygnet_model *model, uint32_t n, cygnet_status want,
                          const char *message)
{
    cygnet_model *twin = make_model("logistic", 9, 1);
    cygnet_error err = {0};

    assert_int_equal(cygnet_model_train_step(model, NULL, images, labels, n,
                                             &momentum_rule, &err),
                     want);
    assert_non_null(strstr(err.message, message));
    assert_true(same_state(model, twin));
    cygnet_model_destroy(twin);
}

static void test_nan_in_the_input_is_refused(void **state)
{
    cygnet_model *model = make_model("logistic", 9, 1);

    (void)state;
    images[4 * IMAGE + 3] = NAN;
    check_refused(model, 9, CYGNET_ENUMERIC, "example 4");
    images[4 * IMAGE + 3] = -INFINITY;
    check_refused(model, 9, CYGNET_ENUMERIC, "example 4");
    (void)set_up(NULL);
    cygnet_model_destroy(model);
}

static void test_a_label_out_of_range_is_refused(void **state)
{
    cygnet_model *model = make_model("logistic", 9, 1);

    (void)state;
    labels[5] = 10;
    check_refused(model, 9, CYGNET_EDATA, "example 5 is 10");
    labels[5] = -1;
    check_refused(model, 9, CYGNET_EDATA, "example 5 is -1");
    (void)set_up(NULL);
    check_refused(model, 0, CYGNET_EINVAL, "0 examples");
    check_refused(model, 10, CYGNET_EINVAL, "10 examples");
    cygnet_model_destroy(model);
}

static void test_overflow_names_layer_and_example(void **state)
{
    cygnet_model *model = make_model("mlp", 9, 1);
    cygnet_model *twin = make_model("mlp", 9, 1);
    cygnet_error err;

    (void)state;
    images[6 * IMAGE] = FLT_MAX;
    assert_int_equal(cygnet_model_train_step(model, NULL, images, labels, 9,
                                             &momentum_rule, &err),
                     CYGNET_OK);
    cygnet_model_destroy(model);
    model = make_model("mlp", 9, 1);
    for (size_t i = 0; i < IMAGE; i++)
        images[6 * IMAGE + i] = FLT_MAX;
    assert_int_equal(cygnet_model_train_step(model, NULL, images, labels, 9,
                                             &momentum_rule, &err),
                     CYGNET_ENUMERIC);
    assert_non_null(strstr(err.message, "example 6"));
    assert_true(same_state(model, twin));
    (void)set_up(NULL);
    cygnet_model_destroy(model);
    cygnet_model_destroy(twin);
}

static void test_a_silly_rule_is_refused(void **state)
{
    cygnet_model *model = make_model("logistic", 9, 1);
    cygnet_sgd rule = momentum_rule;

    (void)state;
    rule.lr = NAN;
    assert_int_equal(cygnet_model_train_step(model, NULL, images, labels, 9, &rule, NULL),
                     CYGNET_EINVAL);
    rule = momentum_rule;
    rule.momentum = -1;
    assert_int_equal(cygnet_model_train_step(model, NULL, images, labels, 9, &rule, NULL),
                     CYGNET_EINVAL);
    rule = (cygnet_sgd){0};
    assert_int_equal(cygnet_model_train_step(model, NULL, images, labels, 9, &rule, NULL),
                     CYGNET_EINVAL);
    cygnet_model_destroy(model);
}

/* ---- Cost, weights and options ----------------------------------------- */

/* logistic on n examples: two flops per weight forward and backward (the input
 * wants no gradient), and the loss: 3 and 4 per class. */
static void test_cost_of_a_step_counts_flops_and_bytes(void **state)
{
    cygnet_model *model = make_model("logistic", 9, 1);
    struct model_cost cost = model_cost_of_step(model, 4);
    double weights = 784 * 10, bytes = sizeof(float);

    (void)state;
    assert_true(cost.forward_flops == 4 * (2 * weights + 3 * 10));
    assert_true(cost.backward_flops == 4 * (2 * weights + 4 * 10));
    assert_true(cost.forward_bytes == bytes * (4 * (784 + 10 + 10) + weights + 10));
    cygnet_model_destroy(model);
}

static cygnet_tensors *list_with(const char *name, uint64_t rows, uint64_t columns)
{
    cygnet_tensors *list;

    assert_int_equal(cygnet_tensors_create(&list, 1 << 20, NULL, NULL), CYGNET_OK);
    assert_int_equal(cygnet_tensors_add(NULL, list, name, CYGNET_F32,
                                        (const uint64_t[]){rows, columns}, 2, NULL),
                     CYGNET_OK);
    return list;
}

static cygnet_tensor *add_bias(cygnet_tensors *list, const char *name)
{
    cygnet_tensor *bias;

    assert_int_equal(cygnet_tensors_add(&bias, list, name, CYGNET_F32,
                                        (const uint64_t[]){10}, 1, NULL),
                     CYGNET_OK);
    return bias;
}

static void check_weights_refused(cygnet_tensors *list, cygnet_status want,
                                  const char *message)
{
    cygnet_model *model = make_model("logistic", 9, 1);
    cygnet_model *twin = make_model("logistic", 9, 1);
    cygnet_error err;

    assert_int_equal(cygnet_model_set_weights(model, list, &err), want);
    assert_non_null(strstr(err.message, message));
    assert_true(same_state(model, twin));
    cygnet_tensors_destroy(list);
    cygnet_model_destroy(model);
    cygnet_model_destroy(twin);
}

static void test_weights_that_do_not_fit_are_refused_by_name(void **state)
{
    cygnet_tensors *list = list_with("linear.weight", 10, 784);
    cygnet_tensor *bias;

    (void)state;
    check_weights_refused(list, CYGNET_ENOTFOUND, "linear.bias");
    list = list_with("linear.weight", 784, 10);
    (void)add_bias(list, "linear.bias");
    check_weights_refused(list, CYGNET_ESHAPE,
                          "linear.weight: expected F32 (10, 784), found F32 (784, 10)");
    list = list_with("linear.weight", 10, 784);
    (void)add_bias(list, "linear.bias");
    (void)add_bias(list, "other.bias");
    check_weights_refused(list, CYGNET_EINVAL, "other.bias");
    list = list_with("linear.weight", 10, 784);
    bias = add_bias(list, "linear.bias");
    ((float *)bias->data)[3] = NAN;
    check_weights_refused(list, CYGNET_ENUMERIC, "linear.bias");
}

static void test_weights_go_out_and_in_and_reset_the_momentum(void **state)
{
    cygnet_model *model = make_model("lenet5", 9, 1);
    cygnet_model *fresh = make_model("lenet5", 9, 1);
    cygnet_tensors *weights;

    (void)state;
    assert_int_equal(cygnet_model_get_weights(&weights, fresh, NULL), CYGNET_OK);
    assert_int_equal(cygnet_tensors_count(weights), 10);
    assert_string_equal(cygnet_tensors_at(weights, 0)->name, "conv1.weight");
    assert_string_equal(cygnet_tensors_at(weights, 9)->name, "fc3.bias");
    train(model, 9);
    assert_false(same_state(model, fresh));
    assert_int_equal(cygnet_model_set_weights(model, weights, NULL), CYGNET_OK);
    assert_true(same_state(model, fresh));
    train(model, 9);
    train(fresh, 9);
    assert_true(same_state(model, fresh));
    cygnet_tensors_destroy(weights);
    cygnet_model_destroy(model);
    cygnet_model_destroy(fresh);
}

/* Uniform on [-b, b] with b = 1/sqrt(784): variance b^2/3. Of 7840 draws the mean
 * has deviation b/sqrt(3 n) and the mean square b^2 sqrt(4/45/n): five are allowed. */
static void test_initial_weights_have_pytorchs_distribution(void **state)
{
    cygnet_model *model = make_model("logistic", 1, 1);
    size_t w = find_tensor(model, "linear.weight");
    size_t n = tensor_elements(model, w);
    double bound = 1.0 / 28, sum = 0, squares = 0;
    static real drawn[10 * IMAGE];

    (void)state;
    model_read_state(drawn, model, w);
    for (size_t i = 0; i < n; i++) {
        double v = (double)drawn[i];

        assert_true(fabs(v) <= bound * (1 + (double)FLT_EPSILON));
        sum += v;
        squares += v * v;
    }
    assert_true(fabs(sum / (double)n) < 5 * bound / sqrt(3.0 * (double)n));
    assert_true(fabs(squares / (double)n - bound * bound / 3) <
                5 * bound * bound * sqrt(4.0 / 45 / (double)n));
    cygnet_model_destroy(model);
}

static void check_create(const char *architecture, const uint32_t *input,
                         uint32_t n_input_dims, cygnet_status want, const char *message)
{
    cygnet_model_options options;
    cygnet_model *model;
    cygnet_error err = {0};

    cygnet_model_options_init(&options);
    options.architecture = architecture;
    options.n_input_dims = n_input_dims;
    memcpy(options.input, input, n_input_dims * sizeof(*input));
    assert_int_equal(cygnet_model_create(&model, &options, &err), want);
    assert_null(model);
    assert_non_null(strstr(err.message, message));
}

static void test_unknown_and_unfit_architectures_are_explained(void **state)
{
    const uint32_t small[] = {1, 4, 4};
    const uint32_t vector[] = {784};
    const uint32_t huge[] = {65535, 65535, 65535};
    const uint32_t none[] = {1, 0, 4};

    (void)state;
    check_create("resnet1", small, 0, CYGNET_ENOTFOUND, "logistic, mlp, lenet5");
    check_create("lenet5", small, 3, CYGNET_ESHAPE, "conv2");
    check_create("lenet5", vector, 1, CYGNET_ESHAPE, "conv1: wants an image");
    check_create("logistic", huge, 3, CYGNET_ESHAPE, "elements");
    check_create("logistic", none, 3, CYGNET_ESHAPE, "0");
    check_create("mlp:hidden", small, 0, CYGNET_EINVAL, "key=value");
    check_create("mlp:hidden=0", small, 0, CYGNET_EINVAL, "hidden");
    check_create("mlp:hidden=4x", small, 0, CYGNET_EINVAL, "hidden");
    check_create("mlp:width=4", small, 0, CYGNET_EINVAL, "width");
    check_create("lenet5:a=1", small, 0, CYGNET_EINVAL, "\"a\"");
    check_create(NULL, small, 0, CYGNET_EINVAL, "architecture");
}

static void test_nan_survives_relu_and_max_pool(void **state)
{
    const struct pool2d_shape shape = {.channels = PANEL,
                                       .h_in = 1,
                                       .w_in = 3,
                                       .h_out = 1,
                                       .w_out = 1,
                                       .k_h = 1,
                                       .k_w = 3,
                                       .stride_h = 1,
                                       .stride_w = 1};
    const struct rows rows = {3, PANEL, PANEL};
    real x[3 * PANEL], y[3 * PANEL];
    uint8_t at[PANEL];

    (void)state;
    for (size_t i = 0; i < 3 * PANEL; i++)
        x[i] = i / PANEL == 1 ? (real)NAN : (real)(1 + i / PANEL);
    for (size_t k = 0; k < kernels_count(); k++) {
        for (int act = ACT_NONE; act <= ACT_RELU; act++) {
            const struct reading reading = {NULL, NULL, (enum activation)act};

            kernels_at(k)->read(y, PANEL, x, &reading, &rows);
            for (size_t i = 0; i < 3 * PANEL; i++)
                assert_int_equal(isnan(y[i]), i / PANEL == 1);
            kernels_at(k)->max_pool2d_forward(y, at, x, &reading, PANEL, &shape);
            for (size_t i = 0; i < PANEL; i++)
                assert_true(isnan(y[i]) && at[i] == 1);
        }
    }
}

/* torch.optim.SGD leaves its buffer alone in a step without momentum. */
static void test_a_step_without_momentum_keeps_the_buffer(void **state)
{
    const struct update_rule with = {
        .kind = UPDATE_MOMENTUM, .lr = 0.5f, .shrink = 1, .clip = 1, .momentum = 0.5f};
    const struct update_rule without = {.lr = 0.5f, .shrink = 1, .clip = 1};

    (void)state;
    for (size_t k = 0; k < kernels_count(); k++) {
        const struct kernels *kernels = kernels_at(k);
        real w = 1, v = 0, g = 2;

        kernels->update(&w, &v, NULL, &g, NULL, &with, 1);
        assert_true(w == 0 && v == 2);
        kernels->update(&w, &v, NULL, &g, NULL, &without, 1);
        assert_true(w == -1 && v == 2);
        kernels->update(&w, &v, NULL, &g, NULL, &with, 1);
        assert_true(w == -2.5f && v == 3);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads_do_not_change_a_bit),
        cmocka_unit_test(test_max_batch_does_not_change_a_bit),
        cmocka_unit_test(test_reference_kernels_repeat_bit_for_bit),
        cmocka_unit_test(test_models_learn_a_separable_task),
        cmocka_unit_test(test_evaluate_goes_over_max_batch),
        cmocka_unit_test(test_example_losses_are_those_of_the_last_part),
        cmocka_unit_test(test_an_evaluation_says_in_which_part_it_failed),
        cmocka_unit_test(test_logits_and_example_losses_explain_the_metrics),
        cmocka_unit_test(test_gradients_are_what_a_step_uses),
        cmocka_unit_test(test_nan_in_the_input_is_refused),
        cmocka_unit_test(test_a_label_out_of_range_is_refused),
        cmocka_unit_test(test_overflow_names_layer_and_example),
        cmocka_unit_test(test_a_silly_rule_is_refused),
        cmocka_unit_test(test_cost_of_a_step_counts_flops_and_bytes),
        cmocka_unit_test(test_weights_that_do_not_fit_are_refused_by_name),
        cmocka_unit_test(test_weights_go_out_and_in_and_reset_the_momentum),
        cmocka_unit_test(test_initial_weights_have_pytorchs_distribution),
        cmocka_unit_test(test_unknown_and_unfit_architectures_are_explained),
        cmocka_unit_test(test_nan_survives_relu_and_max_pool),
        cmocka_unit_test(test_a_step_without_momentum_keeps_the_buffer),
    };

    return cmocka_run_group_tests(tests, set_up, NULL);
}
