/* A batch in pieces: without batch norms the same bits as at once; with them the
 * gradients of pieces, added up. */
#include "fixture.h"

#include "engine/nn/zoo.h"
#include "engine/pool/pool.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_N = 27, MAX_ELEMENTS = 3 * 64 * 64, CLASSES = 10, N_STEPS = 3, SYMBOLS = 19 };

static float images[MAX_N * MAX_ELEMENTS];
static float symbols[MAX_N * MAX_ELEMENTS];
static int64_t labels[MAX_N];

static int set_up(void **state)
{
    uint64_t start = hash_start(FIXTURE_SEED, "symbols");

    (void)state;
    hash_fill_f32(images, FIXTURE_SEED, "x", MAX_N * MAX_ELEMENTS, 1.0);
    hash_fill_labels(labels, FIXTURE_SEED, MAX_N, CLASSES);
    for (size_t i = 0; i < MAX_N * MAX_ELEMENTS; i++)
        symbols[i] = (float)(hash_bits(start, i) % SYMBOLS);
    return 0;
}

/* NULL: the graph of build_mixed. */
static const struct {
    const char *spec;
    struct shape input;
} models[] = {
    {"logistic", {3, {1, 28, 28}}},
    {"mlp", {3, {1, 28, 28}}},
    {"lenet5", {3, {1, 28, 28}}},
    {"mcmahan_cnn", {3, {1, 28, 28}}},
    {"squeezenet1_1", {3, {3, 64, 64}}},
    {"char_lstm:symbols=19,hidden=24", {1, {11}}},
    {"char_lstm:symbols=19,hidden=20,layers=1", {1, {70}}},
    {"gru:symbols=19,hidden=24,layers=2", {1, {3}}},
    {NULL, {3, {3, 11, 10}}},
};

enum { N_MODELS = sizeof(models) / sizeof(models[0]) };

static const float *data_of(size_t which)
{
    return models[which].input.n_dims == 1 ? symbols : images;
}

static struct conv2d_shape square(size_t c_out, size_t kernel, size_t stride, size_t pad,
                                  size_t groups)
{
    return (struct conv2d_shape){.c_out = c_out,
                                 .k_h = kernel,
                                 .k_w = kernel,
                                 .stride_h = stride,
                                 .stride_w = stride,
                                 .pad_h = pad,
                                 .pad_w = pad,
                                 .dilation_h = 1,
                                 .dilation_w = 1,
                                 .groups = groups};
}

/* Every kind of layer that sums over examples, with biases. */
static void build_mixed(struct graph *graph, const struct shape *input)
{
    const struct conv2d_shape convs[] = {
        square(24, 3, 1, 1, 1),                          /* reads PyTorch's image */
        square(24, 3, 1, 1, 24),                         /* depthwise */
        square(40, 1, 1, 0, 1),                          /* pointwise, many rows */
        square(10, 3, 1, 1, 1),  square(20, 3, 1, 1, 1), /* windows on few channels */
        square(20, 3, 1, 1, 4),  square(20, 3, 2, 1, 1), /* strided */
        square(36, 1, 1, 0, 1),                          /* pointwise, few rows */
        square(20, 3, 2, 1, 1),  square(20, 3, 1, 1, 1), /* by position */
    };
    int t = graph_input(graph, input);

    for (size_t i = 0; i < sizeof(convs) / sizeof(convs[0]); i++) {
        char name[16];

        (void)snprintf(name, sizeof(name), "conv%zu", i);
        t = graph_conv2d(graph, name, t, &convs[i]);
        (void)snprintf(name, sizeof(name), "relu%zu", i);
        if (i % 2 == 0)
            t = graph_relu(graph, name, t);
    }
    t = graph_flatten(graph, "flatten", graph_dropout(graph, "dropout", t, 0.25));
    assert_true(graph_cross_entropy(graph, graph_linear(graph, "fc", t, CLASSES)) >= 0);
}

/* NULL: the kernels that the CPU is best at. */
static const struct kernels *kernels_to_use;

static cygnet_model *make(size_t which, uint32_t max_batch, uint32_t micro_batch,
                          struct nn_executor *executor)
{
    cygnet_model_options options;
    struct kernels kernels;
    struct graph graph;
    cygnet_model *model;

    cygnet_model_options_init(&options);
    options.max_batch = max_batch;
    options.micro_batch = micro_batch;
    options.clip_gradients = 1;
    options.seed = 3;
    kernels_choose(&kernels);
    if (kernels_to_use)
        kernels = *kernels_to_use;
    graph_init(&graph, NULL);
    if (models[which].spec)
        assert_int_equal(zoo_build(&graph, models[which].spec, &models[which].input,
                                   CLASSES, NULL),
                         CYGNET_OK);
    else
        build_mixed(&graph, &models[which].input);
    assert_int_equal(model_assemble(&model, &graph, &kernels, executor, &options, NULL),
                     CYGNET_OK);
    return model;
}

static cygnet_metrics step(cygnet_model *model, const float *x, uint32_t n,
                           double max_norm)
{
    cygnet_metrics metrics = {.struct_size = sizeof(metrics)};
    cygnet_optimizer rule;
    cygnet_error err;

    cygnet_optimizer_init(&rule, CYGNET_OPTIMIZER_SGD);
    rule.lr = 0.05, rule.momentum = 0.9, rule.weight_decay = 5e-4;
    rule.max_grad_norm = max_norm;
    if (cygnet_model_step(model, &metrics, x, labels, n, &rule, &err) != CYGNET_OK)
        fail_msg("%s", err.message);
    return metrics;
}

static void assert_same_metrics(const cygnet_metrics *a, const cygnet_metrics *b)
{
    assert_true(a->loss == b->loss);
    assert_true(a->grad_norm == b->grad_norm);
    assert_int_equal(a->correct, b->correct);
    assert_int_equal(a->n, b->n);
}

static void assert_same_tensors(const cygnet_tensors *a, const cygnet_tensors *b)
{
    assert_int_equal(cygnet_tensors_count(a), cygnet_tensors_count(b));
    for (size_t i = 0; i < cygnet_tensors_count(a); i++) {
        const cygnet_tensor *of_a = cygnet_tensors_at(a, i);

        assert_memory_equal(of_a->data, cygnet_tensors_at(b, i)->data, of_a->size_bytes);
    }
}

/* What changes no weight. */
static void check_same_passes(cygnet_model *a, cygnet_model *b, const float *x,
                              uint32_t n)
{
    cygnet_metrics of_a = {.struct_size = sizeof(of_a)}, of_b = of_a;
    float logits_a[MAX_N * CLASSES], logits_b[MAX_N * CLASSES];
    cygnet_tensors *grad_a, *grad_b;

    assert_int_equal(cygnet_model_gradients(&grad_a, &of_a, a, x, labels, n, NULL),
                     CYGNET_OK);
    assert_int_equal(cygnet_model_gradients(&grad_b, &of_b, b, x, labels, n, NULL),
                     CYGNET_OK);
    assert_same_tensors(grad_a, grad_b);
    assert_same_metrics(&of_a, &of_b);
    cygnet_tensors_destroy(grad_a);
    cygnet_tensors_destroy(grad_b);
    assert_memory_equal(model_example_losses(a), model_example_losses(b),
                        n * sizeof(float));
    assert_int_equal(cygnet_model_evaluate(a, &of_a, x, labels, n, NULL), CYGNET_OK);
    assert_int_equal(cygnet_model_evaluate(b, &of_b, x, labels, n, NULL), CYGNET_OK);
    assert_same_metrics(&of_a, &of_b);
    assert_memory_equal(model_example_losses(a), model_example_losses(b),
                        n * sizeof(float));
    assert_int_equal(cygnet_model_logits(a, logits_a, x, n, NULL), CYGNET_OK);
    assert_int_equal(cygnet_model_logits(b, logits_b, x, n, NULL), CYGNET_OK);
    assert_memory_equal(logits_a, logits_b, n * CLASSES * sizeof(float));
}

/* Steps of a whole batch, of one with a short last piece, and of one that is clipped. */
static void check_same_bits(size_t which, uint32_t micro_batch, uint32_t other_max_batch,
                            struct nn_executor *executor)
{
    static const uint32_t n[N_STEPS] = {MAX_N - 3, MAX_N, MAX_N - 6};
    static const double max_norm[N_STEPS] = {0, 0, 0.125};
    cygnet_model *whole = make(which, MAX_N, 0, &nn_serial_executor);
    cygnet_model *other = make(which, other_max_batch, micro_batch, executor);

    for (int i = 0; i < N_STEPS; i++) {
        cygnet_metrics a = step(whole, data_of(which), n[i], max_norm[i]);
        cygnet_metrics b = step(other, data_of(which), n[i], max_norm[i]);

        assert_same_metrics(&a, &b);
        assert_memory_equal(model_example_losses(whole), model_example_losses(other),
                            n[i] * sizeof(float));
        if (!same_state(whole, other))
            fail_msg("%s: step %d in pieces of %u gives other bits",
                     models[which].spec ? models[which].spec : "the mixed graph", i,
                     micro_batch);
    }
    check_same_passes(whole, other, data_of(which), MAX_N);
    cygnet_model_destroy(whole);
    cygnet_model_destroy(other);
}

static void test_pieces_give_the_bits_of_the_batch(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_MODELS; i++) {
        for (uint32_t micro = 8; micro <= (is_emulated() ? 8 : 24); micro += 8)
            check_same_bits(i, micro, MAX_N, &nn_serial_executor);
    }
}

static void test_threads_do_not_change_a_bit_of_pieces(void **state)
{
    struct pool *pool;

    (void)state;
    assert_int_equal(pool_create(&pool, 2, NULL, NULL), CYGNET_OK);
    for (size_t i = 0; i < N_MODELS; i++)
        check_same_bits(i, 8, MAX_N, pool_executor(pool));
    pool_destroy(pool);
}

static void test_the_largest_batch_does_not_change_a_bit(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_MODELS; i++) {
        check_same_bits(i, 0, 4 * MAX_N, &nn_serial_executor);
        check_same_bits(i, 16, 4 * MAX_N, &nn_serial_executor);
    }
}

static void test_every_class_of_kernels_can_be_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < kernels_count(); i++) {
        kernels_to_use = kernels_at(i);
        for (size_t m = 5; m < N_MODELS; m++)
            check_same_bits(m, 8, MAX_N, &nn_serial_executor);
    }
    kernels_to_use = NULL;
}

static void test_memory_is_planned_for_a_piece(void **state)
{
    cygnet_model_options options;
    uint64_t bytes[4];

    (void)state;
    cygnet_model_options_init(&options);
    options.architecture = "squeezenet1_1";
    options.n_input_dims = 3;
    options.input[0] = 3, options.input[1] = options.input[2] = 64;
    options.max_batch = 64;
    for (uint32_t i = 0; i < 4; i++) {
        cygnet_model *model;

        options.micro_batch = 64 >> i; /* 64, which is as good as none, to 8 */
        assert_int_equal(model_create(&model, &options, &nn_serial_executor, NULL),
                         CYGNET_OK);
        bytes[i] = cygnet_model_planned_bytes(model);
        cygnet_model_destroy(model);
    }
    assert_true(bytes[1] < bytes[0] && bytes[2] < bytes[1] && bytes[3] < bytes[2]);
    assert_true(bytes[3] < bytes[0] / 2);
}

static void test_pieces_must_be_whole_units(void **state)
{
    static const uint32_t bad[] = {1, 7, 12, 20};
    cygnet_model_options options;
    cygnet_model *model;

    (void)state;
    cygnet_model_options_init(&options);
    options.architecture = "lenet5";
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cygnet_error err = {0};

        options.micro_batch = bad[i];
        assert_int_equal(model_create(&model, &options, &nn_serial_executor, &err),
                         CYGNET_EINVAL);
        assert_non_null(strstr(err.message, "want a multiple of 8"));
    }
}

/* ---- Batch norms --------------------------------------------------------- */

enum { SIDE = 7, IMAGE = 3 * SIDE * SIDE, CHANNELS = 18 };

/* conv - norm - relu - fc. A kernel as large as the image leaves one value a channel. */
static cygnet_model *make_norm(size_t kernel, uint32_t max_batch, uint32_t micro_batch)
{
    const struct conv2d_shape conv = square(CHANNELS, kernel, 1, 0, 1);
    cygnet_model_options options;
    struct kernels kernels;
    struct graph graph;
    cygnet_model *model;
    int t;

    graph_init(&graph, NULL);
    t = graph_input(&graph, &(struct shape){3, {3, SIDE, SIDE}});
    t = graph_conv2d(&graph, "conv", t, &conv);
    t = graph_relu(&graph, "relu", graph_batch_norm2d(&graph, "norm", t));
    t = graph_linear(&graph, "fc", graph_flatten(&graph, "flatten", t), CLASSES);
    assert_true(graph_cross_entropy(&graph, t) >= 0);
    cygnet_model_options_init(&options);
    options.max_batch = max_batch;
    options.micro_batch = micro_batch;
    kernels_choose(&kernels);
    assert_int_equal(model_assemble(&model, &graph, &kernels, &nn_serial_executor,
                                    &options, NULL),
                     CYGNET_OK);
    return model;
}

/* Adds weight times the gradients of some examples to sums of all tensors. */
static void add_gradients(double *sums, cygnet_model *model, uint32_t first, uint32_t n,
                          double weight)
{
    cygnet_tensors *g;

    assert_int_equal(cygnet_model_gradients(&g, NULL, model, images + first * IMAGE,
                                            labels + first, n, NULL),
                     CYGNET_OK);
    for (size_t i = 0; i < cygnet_tensors_count(g); i++) {
        const cygnet_tensor *t = cygnet_tensors_at(g, i);
        const real *values = t->data;

        for (size_t e = 0; e < t->size_bytes / sizeof(*values); e++)
            *sums++ += weight * (double)values[e];
    }
    cygnet_tensors_destroy(g);
}

static void test_gradients_of_normed_pieces_are_averaged(void **state)
{
    enum { N = 11, PIECE = 4 };
    cygnet_model *whole = make_norm(3, N, 0), *pieces = make_norm(3, N, PIECE);
    size_t n = (size_t)cygnet_model_n_parameters(whole);
    double *want = calloc(n, sizeof(*want)), *found = calloc(n, sizeof(*found));
    double largest = 0;

    (void)state;
    assert_non_null(want);
    assert_non_null(found);
    for (uint32_t first = 0; first < N; first += PIECE) {
        uint32_t of_piece = N - first < PIECE ? N - first : PIECE;

        add_gradients(want, whole, first, of_piece, (double)of_piece / N);
    }
    add_gradients(found, pieces, 0, N, 1);
    for (size_t i = 0; i < n; i++)
        largest = fmax(largest, fabs(want[i]));
    assert_true(largest > 1e-3);
    for (size_t i = 0; i < n; i++)
        assert_true(fabs(found[i] - want[i]) <= 1e-6 * largest);
    free(want);
    free(found);
    cygnet_model_destroy(whole);
    cygnet_model_destroy(pieces);
}

/* A learning rate of 0: only they change. */
static void test_running_statistics_follow_each_piece(void **state)
{
    static const cygnet_sgd rest = {sizeof(cygnet_sgd), 0, 0, 0};
    enum { N = 11, PIECE = 4 };
    cygnet_model *whole = make_norm(3, N, 0), *pieces = make_norm(3, N, PIECE);

    (void)state;
    for (int i = 0; i < 2; i++) {
        for (uint32_t first = 0; first < N; first += PIECE)
            assert_int_equal(cygnet_model_train_step(
                                 whole, NULL, images + first * IMAGE, labels + first,
                                 N - first < PIECE ? N - first : PIECE, &rest, NULL),
                             CYGNET_OK);
        assert_int_equal(cygnet_model_train_step(pieces, NULL, images, labels, N, &rest,
                                                 NULL),
                         CYGNET_OK);
        assert_true(same_state(whole, pieces));
    }
    assert_int_equal(*model_counter(pieces,
                                    find_tensor(pieces, "norm.num_batches_tracked")),
                     6);
    cygnet_model_destroy(whole);
    cygnet_model_destroy(pieces);
}

static void test_a_step_that_fails_in_its_last_piece_changes_nothing(void **state)
{
    static const cygnet_sgd rule = {sizeof(cygnet_sgd), 0.1f, 0.9f, 0};
    enum { N = 11, PIECE = 4, BAD = 9 };
    static float x[N * IMAGE];
    cygnet_model *model = make_norm(3, N, PIECE), *twin = make_norm(3, N, PIECE);
    cygnet_error err = {0};

    (void)state;
    memcpy(x, images, sizeof(x));
    for (size_t i = 0; i < IMAGE; i++)
        x[BAD * IMAGE + i] = FLT_MAX * (i % 2 ? 1 : 0.75f);
    assert_int_equal(cygnet_model_train_step(model, NULL, x, labels, N, &rule, &err),
                     CYGNET_ENUMERIC);
    assert_true(same_state(model, twin));
    assert_int_equal(cygnet_model_train_step(model, NULL, images, labels, N, &rule, NULL),
                     CYGNET_OK);
    assert_int_equal(cygnet_model_train_step(twin, NULL, images, labels, N, &rule, NULL),
                     CYGNET_OK);
    assert_true(same_state(model, twin));
    cygnet_model_destroy(model);
    cygnet_model_destroy(twin);
}

static void test_errors_count_examples_of_the_batch(void **state)
{
    static float x[MAX_N * 28 * 28];
    cygnet_model *model = make(1, MAX_N, 8, &nn_serial_executor);
    cygnet_metrics metrics = {.struct_size = sizeof(metrics)};
    cygnet_error err = {0};

    (void)state;
    for (size_t i = 0; i < 28 * 28; i++)
        x[20 * 28 * 28 + i] = FLT_MAX;
    assert_int_equal(cygnet_model_evaluate(model, &metrics, x, labels, MAX_N, &err),
                     CYGNET_ENUMERIC);
    assert_non_null(strstr(err.message, "example 20 of the batch"));
    cygnet_model_destroy(model);
}

static void test_a_last_piece_too_small_for_a_norm_is_refused(void **state)
{
    static const cygnet_sgd rule = {sizeof(cygnet_sgd), 0.1f, 0, 0};
    cygnet_model *model = make_norm(SIDE, 12, 4);
    cygnet_error err = {0};

    (void)state;
    assert_int_equal(cygnet_model_train_step(model, NULL, images, labels, 9, &rule, &err),
                     CYGNET_EINVAL);
    assert_string_equal(err.message, "a batch of 9 examples in pieces of 4: the last has "
                                     "1, layer norm needs 2 to be trained");
    assert_int_equal(cygnet_model_train_step(model, NULL, images, labels, 10, &rule,
                                             NULL),
                     CYGNET_OK);
    cygnet_model_destroy(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces_give_the_bits_of_the_batch),
        cmocka_unit_test(test_threads_do_not_change_a_bit_of_pieces),
        cmocka_unit_test(test_the_largest_batch_does_not_change_a_bit),
        cmocka_unit_test(test_every_class_of_kernels_can_be_cut),
        cmocka_unit_test(test_memory_is_planned_for_a_piece),
        cmocka_unit_test(test_pieces_must_be_whole_units),
        cmocka_unit_test(test_gradients_of_normed_pieces_are_averaged),
        cmocka_unit_test(test_running_statistics_follow_each_piece),
        cmocka_unit_test(test_a_step_that_fails_in_its_last_piece_changes_nothing),
        cmocka_unit_test(test_errors_count_examples_of_the_batch),
        cmocka_unit_test(test_a_last_piece_too_small_for_a_norm_is_refused),
    };

    return cmocka_run_group_tests(tests, set_up, NULL);
}
