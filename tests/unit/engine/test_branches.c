/* Derived gradients of graphs that move and scale channels, and of recurrent ones,
 * against central differences in double. */
#include "fixture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 3, MAX_BATCH = 5 };

/* As in test_gradients.c. */
#define H 1e-5
#define BOUND 1e-8

struct setup {
    struct kernels kernels;
    cygnet_model *model;
    real *x;
    size_t n_x;
    int64_t y[BATCH];
};

/* symbols: the input is so many different ones; 0: it is numbers. */
static void begin(struct setup *s, struct graph *graph, uint32_t symbols)
{
    struct program *p;

    assert_true(kernels_class(&s->kernels, 0));
    s->model = make_graph_model(graph, MAX_BATCH, &s->kernels);
    p = &s->model->program;
    s->n_x = BATCH * tensor_elements(s->model, (size_t)s->model->graph.input);
    s->x = malloc(s->n_x * sizeof(*s->x));
    assert_non_null(s->x);
    hash_fill(s->x, FIXTURE_SEED, "x", s->n_x, 1.0);
    for (size_t i = 0; symbols > 0 && i < s->n_x; i++)
        s->x[i] = (real)hash_label(FIXTURE_SEED, i, symbols);
    hash_fill_labels(s->y, FIXTURE_SEED, BATCH, s->model->n_classes);
    p->buffers[p->of[s->model->graph.input].value].data = s->x;
    p->buffers[p->of[s->model->graph.labels].value].data = s->y;
}

static void run(const struct setup *s, const struct call_list *list)
{
    struct step step = {.program = &s->model->program,
                        .kernels = &s->model->kernels,
                        .n = BATCH,
                        .total = BATCH};

    assert_int_equal(program_run(&step, list, s->model->executor, NULL, NULL), CYGNET_OK);
}

static double loss_of(const struct setup *s)
{
    const real *loss;
    double sum = 0;

    run(s, &s->model->program.forward);
    loss = model_value(s->model, (size_t)s->model->graph.loss);
    for (size_t i = 0; i < BATCH; i++)
        sum += (double)loss[i];
    return sum / BATCH;
}

static real *allocate(size_t n)
{
    real *values = malloc(n * sizeof(*values));

    assert_non_null(values);
    return values;
}

static double slope_of(struct setup *s, size_t tensor, real *values, size_t i)
{
    double losses[2];
    real was = values[i];

    for (int side = 0; side < 2; side++) {
        values[i] = was + (side == 0 ? (real)H : -(real)H);
        model_write_state(s->model, tensor, values);
        losses[side] = loss_of(s);
    }
    values[i] = was;
    model_write_state(s->model, tensor, values);
    return (losses[0] - losses[1]) / (2 * H);
}

static void check_parameter(struct setup *s, size_t tensor)
{
    size_t n = tensor_elements(s->model, tensor);
    real *derived = allocate(n), *values = allocate(n);

    model_read_gradient(derived, s->model, tensor);
    model_read_state(values, s->model, tensor);
    for (size_t i = 0; i < n; i++) {
        double slope = slope_of(s, tensor, values, i);

        if (!(fabs(slope - (double)derived[i]) <= BOUND))
            fail_msg("%s[%zu]: derived %.12g, difference %.12g",
                     s->model->graph.tensors[tensor].name, i, (double)derived[i], slope);
    }
    free(derived);
    free(values);
}

/* Every element of every parameter. Consumes the graph. */
static void check_symbols(struct graph *graph, uint32_t symbols)
{
    struct setup s;

    begin(&s, graph, symbols);
    assert_true(model_bind_gradients(s.model));
    run(&s, &s.model->program.forward);
    run(&s, &s.model->program.backward);
    for (size_t t = 0; t < s.model->graph.n_tensors; t++) {
        if (s.model->graph.tensors[t].kind == TENSOR_PARAMETER)
            check_parameter(&s, t);
    }
    free(s.x);
    cygnet_model_destroy(s.model);
}

/* The model ends here: classes from the mean of each channel. */
static void check_image(struct graph *graph, int t)
{
    t = graph_flatten(graph, "flatten", graph_avg_pool2d(graph, "pool", t, 1, 1));
    assert_true(graph_cross_entropy(graph, graph_linear(graph, "fc", t, 3)) >= 0);
    check_symbols(graph, 0);
}

static int conv(struct graph *graph, const char *name, int in, size_t n, size_t kernel)
{
    const struct conv2d_shape shape = {.c_out = n,
                                       .k_h = kernel,
                                       .k_w = kernel,
                                       .stride_h = 1,
                                       .stride_w = 1,
                                       .pad_h = kernel / 2,
                                       .pad_w = kernel / 2,
                                       .dilation_h = 1,
                                       .dilation_w = 1,
                                       .groups = 1};

    return graph_conv2d(graph, name, in, &shape);
}

static int begin_image(struct graph *graph, size_t channels, size_t height, size_t width)
{
    graph_init(graph, NULL);
    return graph_input(graph, &(struct shape){3, {channels, height, width}});
}

/* A convolution, its norm and a smooth function: read, not stored. */
static int layer(struct graph *graph, const char *name, int in, size_t n)
{
    char norm[16];

    (void)snprintf(norm, sizeof(norm), "%s_norm", name);
    in = graph_batch_norm2d(graph, norm, conv(graph, name, in, n, 1));
    (void)snprintf(norm, sizeof(norm), "%s_act", name);
    return graph_activate(graph, norm, in, ACT_SILU);
}

/* ---- Moves of channels --------------------------------------------------- */

static void test_a_concat_with_two_readers(void **state)
{
    struct graph g;
    int in = begin_image(&g, 2, 3, 4), t, sides[3];

    (void)state;
    sides[0] = layer(&g, "a", in, 5);
    sides[1] = conv(&g, "b", in, 3, 3);
    sides[2] = in;
    t = graph_concat(&g, "concat", sides, 3);
    sides[0] = conv(&g, "c", t, 4, 1);
    sides[1] = conv(&g, "d", t, 4, 3);
    check_image(&g, graph_add(&g, "add", sides[0], sides[1]));
}

static void test_a_source_that_a_layer_reads_too(void **state)
{
    struct graph g;
    int in = begin_image(&g, 2, 3, 4), t, sides[2];

    (void)state;
    t = layer(&g, "a", in, 17);
    sides[0] = t;
    sides[1] = conv(&g, "b", t, 3, 1);
    t = graph_concat(&g, "concat", sides, 2);
    check_image(&g, conv(&g, "c", t, 4, 3));
}

static void test_slices_of_shuffled_slices(void **state)
{
    struct graph g;
    int in = begin_image(&g, 2, 2, 3), t, sides[2];

    (void)state;
    t = layer(&g, "a", in, 36);
    t = graph_slice(&g, "upper", t, 2, 33);
    t = graph_channel_shuffle(&g, "shuffle", t, 3);
    sides[0] = graph_slice(&g, "left", t, 0, 20);
    sides[1] = conv(&g, "b", graph_slice(&g, "right", t, 19, 14), 6, 1);
    t = graph_channel_shuffle(&g, "again", graph_concat(&g, "concat", sides, 2), 2);
    sides[0] = conv(&g, "c", graph_slice(&g, "even", t, 0, 13), 4, 1);
    sides[1] = conv(&g, "d", graph_slice(&g, "odd", t, 9, 17), 4, 3);
    check_image(&g, graph_add(&g, "add", sides[0], sides[1]));
}

/* Channels that nobody reads get a gradient of 0. */
static void test_channels_that_are_left_out(void **state)
{
    struct graph g;
    int in = begin_image(&g, 2, 3, 3), t;

    (void)state;
    t = layer(&g, "a", in, 40);
    check_image(&g, conv(&g, "b", graph_slice(&g, "slice", t, 3, 4), 3, 1));
}

static void test_a_channel_twice_in_one_concat(void **state)
{
    struct graph g;
    int in = begin_image(&g, 2, 3, 3), t, sides[3];

    (void)state;
    t = layer(&g, "a", in, 7);
    sides[0] = sides[1] = t;
    sides[2] = graph_slice(&g, "slice", t, 2, 3);
    check_image(&g, conv(&g, "b", graph_concat(&g, "concat", sides, 3), 3, 1));
}

/* One of them would fill the padding. */
static void test_sources_that_are_read_differently(void **state)
{
    struct graph g;
    int in = begin_image(&g, 2, 3, 3), sides[3];

    (void)state;
    sides[0] = layer(&g, "a", in, 4);
    sides[1] = graph_activate(&g, "sigmoid", conv(&g, "b", in, 3, 1), ACT_SIGMOID);
    sides[2] = conv(&g, "c", in, 2, 1);
    check_image(&g, conv(&g, "d", graph_concat(&g, "concat", sides, 3), 3, 3));
}

static void test_moved_channels_are_normalised_and_summed(void **state)
{
    struct graph g;
    int in = begin_image(&g, 2, 3, 3), t, sides[2];

    (void)state;
    t = layer(&g, "a", in, 10);
    sides[0] = graph_slice(&g, "left", t, 0, 5);
    sides[1] = graph_slice(&g, "right", t, 5, 5);
    t = graph_batch_norm2d(&g, "norm", graph_add(&g, "add", sides[0], sides[1]));
    sides[0] = graph_activate(&g, "tanh", t, ACT_TANH);
    sides[1] = graph_batch_norm2d(&g, "other", graph_concat(&g, "concat", sides, 2));
    check_image(&g, graph_activate(&g, "gelu", sides[1], ACT_GELU));
}

/* ---- Scaled channels ----------------------------------------------------- */

static void test_squeeze_and_excitation(void **state)
{
    struct graph g;
    int in = begin_image(&g, 2, 3, 4), t, s;

    (void)state;
    t = layer(&g, "a", in, 19);
    s = graph_avg_pool2d(&g, "squeeze", t, 1, 1);
    s = graph_activate(&g, "silu", conv(&g, "fc1", s, 3, 1), ACT_SILU);
    s = graph_activate(&g, "sigmoid", conv(&g, "fc2", s, 19, 1), ACT_SIGMOID);
    t = graph_scale(&g, "scale", t, s);
    check_image(&g, layer(&g, "b", t, 4));
}

static void test_scaled_channels_are_moved(void **state)
{
    struct graph g;
    int in = begin_image(&g, 2, 3, 4), t, sides[2];

    (void)state;
    t = conv(&g, "a", in, 5, 1);
    t = graph_scale(&g, "scale", t, graph_avg_pool2d(&g, "squeeze", t, 1, 1));
    sides[0] = graph_slice(&g, "slice", t, 1, 3);
    sides[1] = t;
    check_image(&g, conv(&g, "b", graph_concat(&g, "concat", sides, 2), 4, 3));
}

/* ---- Sequences ----------------------------------------------------------- */

typedef int (*layer_fn)(struct graph *graph, const char *name, int in, size_t hidden,
                        unsigned layer_index);

/* Two layers over numbers, the second of 5 hidden values. */
static void check_recurrent(layer_fn recurrent, size_t steps, size_t width, size_t hidden)
{
    struct graph g;
    int t;

    graph_init(&g, NULL);
    t = graph_input(&g, &(struct shape){2, {steps, width}});
    t = recurrent(&g, "r", recurrent(&g, "r", t, hidden, 0), 5, 1);
    t = graph_linear(&g, "fc", graph_last(&g, "last", t), 3);
    assert_true(graph_cross_entropy(&g, t) >= 0);
    check_symbols(&g, 0);
}

static void test_lstm(void **state)
{
    (void)state;
    check_recurrent(graph_lstm, 4, 3, 17);
    check_recurrent(graph_lstm, 1, 18, 2);
}

static void test_gru(void **state)
{
    (void)state;
    check_recurrent(graph_gru, 4, 3, 17);
    check_recurrent(graph_gru, 1, 18, 2);
}

/* Of 7 symbols, some of them twice in an example. */
static void test_embedding(void **state)
{
    struct graph g;
    int t;

    (void)state;
    graph_init(&g, NULL);
    t = graph_embedding(&g, "embedding", graph_input(&g, &(struct shape){1, {5}}), 7, 3);
    t = graph_linear(&g, "fc", graph_flatten(&g, "flatten", t), 4);
    assert_true(graph_cross_entropy(&g, t) >= 0);
    check_symbols(&g, 7);
}

/* The whole sequence is read, and its last step too. */
static void test_last_beside_another_reader(void **state)
{
    struct graph g;
    int t, whole, last;

    (void)state;
    graph_init(&g, NULL);
    t = graph_input(&g, &(struct shape){2, {3, 4}});
    t = graph_activate(&g, "silu", graph_gru(&g, "r", t, 5, 0), ACT_SILU);
    whole = graph_linear(&g, "fc1", graph_flatten(&g, "flatten", t), 3);
    last = graph_linear(&g, "fc2", graph_last(&g, "last", t), 3);
    assert_true(graph_cross_entropy(&g, graph_add(&g, "add", whole, last)) >= 0);
    check_symbols(&g, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_concat_with_two_readers),
        cmocka_unit_test(test_a_source_that_a_layer_reads_too),
        cmocka_unit_test(test_slices_of_shuffled_slices),
        cmocka_unit_test(test_channels_that_are_left_out),
        cmocka_unit_test(test_a_channel_twice_in_one_concat),
        cmocka_unit_test(test_sources_that_are_read_differently),
        cmocka_unit_test(test_moved_channels_are_normalised_and_summed),
        cmocka_unit_test(test_squeeze_and_excitation),
        cmocka_unit_test(test_scaled_channels_are_moved),
        cmocka_unit_test(test_lstm),
        cmocka_unit_test(test_gru),
        cmocka_unit_test(test_embedding),
        cmocka_unit_test(test_last_beside_another_reader),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
