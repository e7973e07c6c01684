/* Ops as a graph sees them: the shapes they infer, the parameters they make, what
 * they refuse and what they say it costs. */
#include "fixture.h"

#include <stdio.h>
#include <string.h>

static struct graph graph;

static int set_up(void **state)
{
    (void)state;
    graph_init(&graph, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    graph_clear(&graph);
    return 0;
}

#define WITH_GRAPH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

static int image(size_t channels, size_t height, size_t width)
{
    return graph_tensor(&graph, TENSOR_ACTIVATION, "x",
                        &(struct shape){3, {channels, height, width}});
}

static int sequence(size_t steps, size_t width)
{
    return graph_tensor(&graph, TENSOR_ACTIVATION, "x",
                        &(struct shape){2, {steps, width}});
}

static void check_shape(int tensor, uint32_t n_dims, size_t a, size_t b, size_t c)
{
    if (tensor == NO_TENSOR)
        fail_msg("%s", graph.error.message);
    assert_true(
        shape_equal(&graph.tensors[tensor].shape, &(struct shape){n_dims, {a, b, c}}));
}

/* Refused with a message that has both parts; the graph starts anew. */
static void check_refused(int tensor, const char *who, const char *why)
{
    assert_int_equal(tensor, NO_TENSOR);
    assert_int_equal(graph.status, CYGNET_ESHAPE);
    if (!strstr(graph.error.message, who) || !strstr(graph.error.message, why))
        fail_msg("\"%s\" has no \"%s\" or no \"%s\"", graph.error.message, who, why);
    graph_clear(&graph);
}

static struct op_cost cost_of(int tensor)
{
    struct op_cost cost = {0};
    const struct node *node = &graph.nodes[graph.tensors[tensor].producer];

    op_of(node)->cost(&cost, &graph, node);
    return cost;
}

static const struct tensor *input_of(int tensor, size_t i)
{
    return &graph.tensors[graph.nodes[graph.tensors[tensor].producer].in[i]];
}

static void check_parameter(const struct tensor *t, const char *name, size_t a, size_t b)
{
    assert_string_equal(t->name, name);
    assert_int_equal(t->kind, TENSOR_PARAMETER);
    assert_true(shape_equal(&t->shape, &(struct shape){b > 0 ? 2 : 1, {a, b}}));
}

/* ---- Activations --------------------------------------------------------- */

static void test_activations_keep_the_shape_and_their_kind(void **state)
{
    int x = image(3, 4, 5);

    (void)state;
    assert_int_equal(graph_activate(&graph, "none", x, ACT_NONE), x);
    assert_int_equal(graph.n_nodes, 0);
    for (int kind = ACT_RELU; kind < ACT_N_KINDS; kind++) {
        int y = graph_activate(&graph, "act", x, (enum activation)kind);
        const struct node *node = &graph.nodes[graph.tensors[y].producer];

        check_shape(y, 3, 3, 4, 5);
        assert_int_equal(node->kind, OP_ACTIVATION);
        assert_int_equal(node->params.activation.kind, kind);
        assert_true(cost_of(y).forward_flops >= 60);
        assert_true(cost_of(y).forward_bytes == 2 * 60 * sizeof(real));
    }
}

/* Two images of as many values would not meet value by value. */
static void test_add_refuses_flattened_images(void **state)
{
    int flat = graph_flatten(&graph, "flatten", image(3, 4, 5));
    int one = graph_linear(&graph, "fc", flat, 60);

    (void)state;
    check_shape(graph_add(&graph, "sum", one, one), 1, 60, 0, 0);
    check_refused(graph_add(&graph, "sum", one, graph_relu(&graph, "relu", flat)), "sum",
                  "before");
}

/* ---- Channels ------------------------------------------------------------ */

static void test_concat_adds_channels_up(void **state)
{
    int in[3] = {image(3, 4, 5), image(1, 4, 5), image(8, 4, 5)};
    int y = graph_concat(&graph, "cat", in, 3);

    (void)state;
    check_shape(y, 3, 12, 4, 5);
    assert_true(cost_of(y).forward_flops == 0);
    assert_true(cost_of(y).forward_bytes == 2 * 12 * 20 * sizeof(real));
    check_refused(graph_concat(&graph, "cat", (const int[]){in[0], image(3, 5, 4)}, 2),
                  "cat", "input 2 is 5x4, the first is 4x5");
    check_refused(graph_concat(&graph, "cat",
                               (const int[]){image(3, 5, 4), sequence(2, 3)}, 2),
                  "cat", "wants an image");
}

static void test_slice_takes_channels_that_are_there(void **state)
{
    int x = image(7, 4, 5);
    int y = graph_slice(&graph, "half", x, 3, 4);

    (void)state;
    check_shape(y, 3, 4, 4, 5);
    assert_true(cost_of(y).backward_bytes == (4 + 7) * 20 * sizeof(real));
    check_refused(graph_slice(&graph, "half", x, 4, 4), "half",
                  "4 channels from channel 4 on are not in the input's 7");
    check_refused(graph_slice(&graph, "half", image(7, 4, 5), 8, 1), "half", "7");
    check_refused(graph_slice(&graph, "half", image(7, 4, 5), 2, 0), "half",
                  "0 channels");
    check_refused(graph_slice(&graph, "half", image(7, 4, 5), 1, SIZE_MAX), "half", "7");
    check_refused(graph_slice(&graph, "half", sequence(7, 4), 0, 1), "half",
                  "wants an image");
}

static void test_channel_shuffle_wants_whole_groups(void **state)
{
    int y = graph_channel_shuffle(&graph, "shuffle", image(6, 4, 5), 2);

    (void)state;
    check_shape(y, 3, 6, 4, 5);
    check_refused(graph_channel_shuffle(&graph, "shuffle", image(7, 4, 5), 2), "shuffle",
                  "2 groups do not divide 7 channels");
    check_refused(graph_channel_shuffle(&graph, "shuffle", image(7, 4, 5), 0), "shuffle",
                  "0 groups");
}

static void test_scale_wants_one_factor_a_channel(void **state)
{
    int y = graph_scale(&graph, "scale", image(6, 4, 5), image(6, 1, 1));

    (void)state;
    check_shape(y, 3, 6, 4, 5);
    assert_true(cost_of(y).forward_flops == 120);
    check_refused(graph_scale(&graph, "scale", image(6, 4, 5), image(5, 1, 1)), "scale",
                  "(6, 1, 1)");
    check_refused(graph_scale(&graph, "scale", image(6, 4, 5), image(6, 4, 5)), "scale",
                  "(6, 1, 1)");
}

/* ---- Pooling ------------------------------------------------------------- */

/* As torch.nn.MaxPool2d(kernel, stride, padding, ceil_mode=True) has it. */
static void test_ceil_mode_adds_the_window_that_is_cut(void **state)
{
    static const size_t cases[][5] = {/* n_in, kernel, stride, pad, n_out */
                                      {15, 3, 2, 0, 7}, {16, 3, 2, 0, 8},
                                      {4, 3, 2, 0, 2},  {3, 3, 2, 0, 1},
                                      {2, 3, 2, 0, 1},  {5, 2, 2, 0, 3},
                                      {5, 2, 3, 1, 2},  {6, 2, 3, 1, 3},
                                      {4, 2, 4, 1, 2},  {3, 2, 4, 1, 1},
                                      {7, 1, 3, 0, 3},  {6, 1, 3, 0, 2}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const size_t *c = cases[i];
        const struct pool2d_shape pool = {.k_h = c[1],
                                          .k_w = c[1],
                                          .stride_h = c[2],
                                          .stride_w = c[2],
                                          .pad_h = c[3],
                                          .pad_w = c[3]};

        check_shape(graph_max_pool2d_ceil(&graph, "pool", image(2, c[0], c[0]), &pool), 3,
                    2, c[4], c[4]);
    }
}

/* Numbers 0 to 15 in a square, in every channel. Places are those in the window. */
static void test_a_cut_window_has_the_largest_of_what_is_left(void **state)
{
    static const uint8_t places[4] = {8, 7, 5, 4};
    static const real largest[4] = {10, 11, 14, 15};
    const struct pool2d_shape pool = {.k_h = 3, .k_w = 3, .stride_h = 2, .stride_w = 2};
    const struct reading as_it_is = {NULL, NULL, ACT_NONE};
    int y = graph_max_pool2d_ceil(&graph, "pool", image(PANEL, 4, 4), &pool);
    real x[16 * PANEL], out[4 * PANEL];
    uint8_t at[4 * PANEL];

    (void)state;
    check_shape(y, 3, PANEL, 2, 2);
    for (size_t i = 0; i < 16 * PANEL; i++)
        x[i] = (real)(i / PANEL);
    for (size_t k = 0; k < kernels_count(); k++) {
        kernels_at(k)->max_pool2d_forward(out, at, x, &as_it_is, PANEL,
                                          &graph.nodes[0].params.pool2d);
        for (size_t i = 0; i < 4 * PANEL; i++) {
            assert_int_equal(at[i], places[i / PANEL]);
            assert_true(out[i] == largest[i / PANEL]);
        }
    }
    check_refused(graph_max_pool2d_ceil(&graph, "pool", image(1, 1, 4), &pool), "pool",
                  "3x3 window does not fit a 1x4 input");
}

/* The place of a winner is one byte. */
static void test_windows_have_at_most_256_values(void **state)
{
    const struct pool2d_shape fits = {.k_h = 16, .k_w = 16, .stride_h = 1, .stride_w = 1};
    const struct pool2d_shape large = {.k_h = 1,
                                       .k_w = 257,
                                       .stride_h = 1,
                                       .stride_w = 1};

    (void)state;
    check_shape(graph_max_pool2d(&graph, "pool", image(2, 16, 17), &fits), 3, 2, 1, 2);
    check_refused(graph_max_pool2d(&graph, "pool", image(1, 1, 300), &large), "pool",
                  "1x257 window: want at most 256");
}

/* ---- Sequences ----------------------------------------------------------- */

static void test_embedding_makes_a_sequence_of_rows(void **state)
{
    int x = graph_input(&graph, &(struct shape){1, {7}});
    int y = graph_embedding(&graph, "emb", x, 50, 8);

    (void)state;
    check_shape(y, 2, 7, 8, 0);
    check_parameter(input_of(y, 1), "emb.weight", 50, 8);
    assert_int_equal(input_of(y, 1)->init.kind, INIT_NORMAL);
    assert_true(input_of(y, 1)->init.value == 1);
    assert_true(graph.tensors[y].needs_grad);
    assert_true(cost_of(y).weight_bytes == 50 * 8 * sizeof(real));
    check_refused(graph_embedding(&graph, "emb", image(1, 2, 3), 50, 8), "emb",
                  "wants a row of indices");
    check_refused(graph_embedding(&graph, "emb",
                                  graph_input(&graph, &(struct shape){1, {7}}), 0, 8),
                  "emb.weight", "0");
}

static void check_recurrent(int y, const char *name, size_t gates)
{
    char parameter[64];
    static const char *const suffixes[] = {"weight_ih_l1", "weight_hh_l1", "bias_ih_l1",
                                           "bias_hh_l1"};
    const size_t columns[] = {5, 16, 0, 0};

    check_shape(y, 2, 7, 16, 0);
    for (size_t i = 0; i < 4; i++) {
        const struct tensor *t = input_of(y, 1 + i);

        (void)snprintf(parameter, sizeof(parameter), "%s.%s", name, suffixes[i]);
        check_parameter(t, parameter, gates * 16, columns[i]);
        assert_int_equal(t->init.kind, INIT_UNIFORM);
        assert_true(t->init.value == 0.25);
    }
}

static void test_recurrent_layers_have_pytorchs_parameters(void **state)
{
    int x = sequence(7, 5);
    int lstm = graph_lstm(&graph, "lstm", x, 16, 1);
    int gru = graph_gru(&graph, "gru", x, 16, 1);

    (void)state;
    check_recurrent(lstm, "lstm", 4);
    check_recurrent(gru, "gru", 3);
    /* The products alone: 7 steps of 4 or 3 times 16 rows of 5 + 16. */
    assert_true(cost_of(lstm).forward_flops == 7 * 16 * (2 * 4 * 21 + 27));
    assert_true(cost_of(gru).forward_flops == 7 * 16 * (2 * 3 * 21 + 20));
    assert_true(cost_of(gru).weight_bytes == 3 * 16 * (5 + 16 + 2) * sizeof(real));
    check_refused(graph_lstm(&graph, "lstm", image(1, 2, 3), 16, 0), "lstm",
                  "wants a sequence");
    check_refused(graph_gru(&graph, "gru", sequence(7, 5), 0, 0), "gru", "0 hidden");
}

static void test_last_takes_the_last_step(void **state)
{
    int y = graph_last(&graph, "last", sequence(7, 5));

    (void)state;
    check_shape(y, 1, 5, 0, 0);
    assert_true(cost_of(y).backward_bytes == (5 + 35) * sizeof(real));
    check_refused(graph_last(&graph, "last", image(1, 2, 3)), "last", "wants a sequence");
}

/* After a failure every builder is quiet, and the first reason stays. */
static void test_builders_are_quiet_after_a_failure(void **state)
{
    int bad = graph_slice(&graph, "first", image(2, 3, 3), 2, 1);
    const struct pool2d_shape pool = {.k_h = 1, .k_w = 1, .stride_h = 1, .stride_w = 1};
    const int in[2] = {bad, bad};

    (void)state;
    assert_int_equal(graph_activate(&graph, "a", bad, ACT_SILU), NO_TENSOR);
    assert_int_equal(graph_concat(&graph, "a", in, 2), NO_TENSOR);
    assert_int_equal(graph_slice(&graph, "a", bad, 0, 1), NO_TENSOR);
    assert_int_equal(graph_channel_shuffle(&graph, "a", bad, 1), NO_TENSOR);
    assert_int_equal(graph_scale(&graph, "a", bad, bad), NO_TENSOR);
    assert_int_equal(graph_max_pool2d_ceil(&graph, "a", bad, &pool), NO_TENSOR);
    assert_int_equal(graph_embedding(&graph, "a", bad, 2, 2), NO_TENSOR);
    assert_int_equal(graph_lstm(&graph, "a", bad, 2, 0), NO_TENSOR);
    assert_int_equal(graph_gru(&graph, "a", bad, 2, 0), NO_TENSOR);
    assert_int_equal(graph_last(&graph, "a", bad), NO_TENSOR);
    check_refused(bad, "first", "channel 2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_GRAPH(test_activations_keep_the_shape_and_their_kind),
        WITH_GRAPH(test_add_refuses_flattened_images),
        WITH_GRAPH(test_concat_adds_channels_up),
        WITH_GRAPH(test_slice_takes_channels_that_are_there),
        WITH_GRAPH(test_channel_shuffle_wants_whole_groups),
        WITH_GRAPH(test_scale_wants_one_factor_a_channel),
        WITH_GRAPH(test_ceil_mode_adds_the_window_that_is_cut),
        WITH_GRAPH(test_a_cut_window_has_the_largest_of_what_is_left),
        WITH_GRAPH(test_windows_have_at_most_256_values),
        WITH_GRAPH(test_embedding_makes_a_sequence_of_rows),
        WITH_GRAPH(test_recurrent_layers_have_pytorchs_parameters),
        WITH_GRAPH(test_last_takes_the_last_step),
        WITH_GRAPH(test_builders_are_quiet_after_a_failure),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
