/* Derived gradients against central differences, in double. The loss is a whole
 * graph's, so lowering, memory plan and in-place choices are under test too. */
#include "slopes.h"

enum { BATCH = 5 };

static void check_op(const char *kind, const size_t *params)
{
    struct graph graph;

    build_op_graph(&graph, kind, params);
    check_slopes(&graph, BATCH);
}

static void test_linear_gradient_is_the_slope(void **state)
{
    (void)state;
    check_op("linear", (const size_t[]){7, 4});
}

static void test_convolution_gradient_is_the_slope(void **state)
{
    (void)state;
    check_op("conv2d", (const size_t[]){2, 6, 5, 3, 3, 3, 1, 1, 1, 1, 1, 1, 1});
    check_op("conv2d", (const size_t[]){4, 7, 8, 6, 3, 2, 2, 3, 1, 2, 1, 2, 2});
    check_op("conv2d", (const size_t[]){3, 4, 4, 3, 3, 3, 1, 1, 1, 1, 1, 1, 3});
}

static void test_relu6_gradient_is_the_slope(void **state)
{
    (void)state;
    check_op("relu6", (const size_t[]){53});
}

static void test_average_pool_gradient_is_the_slope(void **state)
{
    (void)state;
    check_op("avg_pool2d", (const size_t[]){2, 5, 4, 1, 1});
    check_op("avg_pool2d", (const size_t[]){2, 5, 7, 3, 4});
}

static void test_batch_norm_gradient_is_the_slope(void **state)
{
    (void)state;
    check_op("batch_norm2d", (const size_t[]){3, 2, 3});
    check_op("batch_norm2d", (const size_t[]){18, 1, 1});
    check_op("batch_norm2d", (const size_t[]){2, 5, 4});
}

static void test_relu_gradient_is_the_slope(void **state)
{
    (void)state;
    check_op("relu", (const size_t[]){19});
}

static void test_max_pool_gradient_is_the_slope(void **state)
{
    (void)state;
    check_op("max_pool2d", (const size_t[]){2, 6, 6, 2, 2, 2, 2, 0, 0});
    check_op("max_pool2d", (const size_t[]){1, 5, 7, 3, 3, 1, 2, 1, 1});
}

static void test_cross_entropy_gradient_is_the_slope(void **state)
{
    (void)state;
    check_op("cross_entropy", (const size_t[]){6, 1});
}

/* conv - relu (in place) - pool - flatten - relu (through a view) - linear. */
static void test_in_place_chain_gradient_is_the_slope(void **state)
{
    const struct conv2d_shape conv = {.c_out = 3,
                                      .k_h = 3,
                                      .k_w = 3,
                                      .stride_h = 1,
                                      .stride_w = 1,
                                      .pad_h = 1,
                                      .pad_w = 1,
                                      .dilation_h = 1,
                                      .dilation_w = 1,
                                      .groups = 1};
    const struct pool2d_shape pool = {.k_h = 2, .k_w = 2, .stride_h = 2, .stride_w = 2};
    struct graph graph;
    int t;

    (void)state;
    graph_init(&graph, NULL);
    t = graph_input(&graph, &(struct shape){3, {1, 6, 6}});
    graph.tensors[t].needs_grad = true;
    t = graph_relu(&graph, "relu", graph_conv2d(&graph, "conv", t, &conv));
    t = graph_flatten(&graph, "flatten", graph_max_pool2d(&graph, "pool", t, &pool));
    t = graph_linear(&graph, "fc", graph_relu(&graph, "again", t), 4);
    assert_true(graph_cross_entropy(&graph, t) >= 0);
    check_slopes(&graph, BATCH);
}

/* A convolution under a max pool.
 *
 * act     ACT_N_KINDS: none at all
 * normed  a batch norm follows
 * is_read the input is read as it is, and has no gradient */
struct pooled_case {
    struct shape image;
    struct conv2d_shape conv;
    struct pool2d_shape pool;
    enum activation act;
    bool ceil, normed, is_read;
};

static void check_pooled(const struct pooled_case *c)
{
    struct conv2d_shape conv = c->conv;
    struct graph graph;
    int t;

    conv.dilation_h = conv.dilation_w = conv.groups = 1;
    graph_init(&graph, NULL);
    t = graph_input(&graph, &c->image);
    graph.tensors[t].needs_grad = !c->is_read;
    t = graph_conv2d(&graph, "conv", t, &conv);
    if (c->act < ACT_N_KINDS)
        t = graph_activate(&graph, "act", t, c->act);
    t = (c->ceil ? graph_max_pool2d_ceil : graph_max_pool2d)(&graph, "pool", t, &c->pool);
    if (c->normed)
        t = graph_relu(&graph, "relu", graph_batch_norm2d(&graph, "norm", t));
    t = graph_linear(&graph, "fc", graph_flatten(&graph, "flatten", t), 3);
    assert_true(graph_cross_entropy(&graph, t) >= 0);
    check_slopes(&graph, BATCH);
}

static const struct pooled_case pooled_cases[] = {
    {.image = {3, {2, 9, 8}},
     .conv = {.c_out = 3,
              .k_h = 3,
              .k_w = 2,
              .stride_h = 1,
              .stride_w = 1,
              .pad_h = 1,
              .pad_w = 1},
     .pool = {.k_h = 2, .k_w = 2, .stride_h = 2, .stride_w = 2},
     .act = ACT_RELU,
     .ceil = true},
    {.image = {3, {3, 12, 9}},
     .conv = {.c_out = 9, .k_h = 3, .k_w = 3, .stride_h = 2, .stride_w = 1, .pad_w = 2},
     .pool = {.k_h = 1, .k_w = 3, .stride_h = 2, .stride_w = 4},
     .act = ACT_RELU6},
    {.image = {3, {17, 5, 6}},
     .conv = {.c_out = 18, .k_h = 1, .k_w = 2, .stride_h = 1, .stride_w = 1},
     .pool = {.k_h = 2, .k_w = 2, .stride_h = 2, .stride_w = 3},
     .act = ACT_N_KINDS},
    {.image = {3, {3, 7, 8}},
     .conv = {.c_out = 4,
              .k_h = 3,
              .k_w = 3,
              .stride_h = 1,
              .stride_w = 2,
              .pad_h = 1,
              .pad_w = 1},
     .pool = {.k_h = 3, .k_w = 2, .stride_h = 3, .stride_w = 2},
     .act = ACT_RELU,
     .is_read = true},
    {.image = {3, {2, 6, 6}},
     .conv = {.c_out = 4,
              .k_h = 3,
              .k_w = 3,
              .stride_h = 1,
              .stride_w = 1,
              .pad_h = 1,
              .pad_w = 1},
     .pool = {.k_h = 2, .k_w = 2, .stride_h = 2, .stride_w = 2},
     .act = ACT_RELU,
     .normed = true},
    {.image = {3, {2, 20, 1}}, /* windows of padding, which ends behind them */
     .conv = {.c_out = 3,
              .k_h = 3,
              .k_w = 1,
              .stride_h = 1,
              .stride_w = 6,
              .pad_h = 1,
              .pad_w = 2},
     .pool = {.k_h = 2, .k_w = 1, .stride_h = 2, .stride_w = 1},
     .act = ACT_N_KINDS},
};

static void test_convolution_under_a_pool_gradient_is_the_slope(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(pooled_cases) / sizeof(pooled_cases[0]); i++)
        check_pooled(&pooled_cases[i]);
}

/* Branches that meet again: a block with its shortcut, and one sum of a tensor with
 * itself. */
static void test_residual_gradient_is_the_slope(void **state)
{
    const struct conv2d_shape conv = {.c_out = 4,
                                      .k_h = 3,
                                      .k_w = 3,
                                      .stride_h = 1,
                                      .stride_w = 1,
                                      .pad_h = 1,
                                      .pad_w = 1,
                                      .dilation_h = 1,
                                      .dilation_w = 1,
                                      .groups = 4};
    struct graph graph;
    int t, side;

    (void)state;
    graph_init(&graph, NULL);
    t = graph_input(&graph, &(struct shape){3, {4, 5, 5}});
    graph.tensors[t].needs_grad = true;
    t = graph_relu(&graph, "first", t);
    side =
        graph_batch_norm2d(&graph, "norm1", graph_conv2d_no_bias(&graph, "a", t, &conv));
    side = graph_relu6(&graph, "relu6", side);
    side = graph_batch_norm2d(&graph, "norm2",
                              graph_conv2d_no_bias(&graph, "b", side, &conv));
    t = graph_relu(&graph, "meet", graph_add(&graph, "add", side, t));
    t = graph_add(&graph, "twice", t, t);
    side =
        graph_batch_norm2d(&graph, "norm3", graph_conv2d_no_bias(&graph, "c", t, &conv));
    t = graph_batch_norm2d(&graph, "norm4", graph_conv2d_no_bias(&graph, "d", t, &conv));
    t = graph_add(&graph, "sum", side, t);
    t = graph_dropout(&graph, "dropout", t, 0.5);
    t = graph_flatten(&graph, "flatten", graph_avg_pool2d(&graph, "pool", t, 2, 3));
    assert_true(graph_cross_entropy(&graph, graph_linear(&graph, "fc", t, 3)) >= 0);
    check_slopes(&graph, BATCH);
}

/* The same weights in two layers: their gradient is a sum. */
static void test_shared_weights_gradient_is_the_slope(void **state)
{
    const struct layout layout = {.kind = LAYOUT_PANELS,
                                  .n_out = 6,
                                  .n_in = 6,
                                  .n_taps = 1};
    union op_params params = {.linear = {6, 6}};
    struct graph graph;
    int t, w, b;

    (void)state;
    graph_init(&graph, NULL);
    t = graph_input(&graph, &(struct shape){1, {6}});
    graph.tensors[t].needs_grad = true;
    w = graph_parameter(&graph, "shared", "weight", &(struct shape){2, {6, 6}}, 6);
    graph_set_layout(&graph, w, &layout);
    b = graph_parameter(&graph, "shared", "bias", &(struct shape){1, {6}}, 6);
    t = graph_node(&graph, OP_LINEAR, "one", &params, (const int[]){t, w, b}, 3);
    t = graph_relu(&graph, "relu", t);
    t = graph_node(&graph, OP_LINEAR, "two", &params, (const int[]){t, w, b}, 3);
    assert_true(graph_cross_entropy(&graph, t) >= 0);
    check_slopes(&graph, BATCH);
}

/* What stands behind a function of which 0 is not 0, and is read from a copy. */
enum behind { BEHIND_LINEAR, BEHIND_POINTWISE, BEHIND_FEW, BEHIND_POOLED, N_BEHIND };

static struct conv2d_shape square(size_t c_out, size_t kernel)
{
    return (struct conv2d_shape){.c_out = c_out,
                                 .k_h = kernel,
                                 .k_w = kernel,
                                 .stride_h = 1,
                                 .stride_w = 1,
                                 .pad_h = kernel / 2,
                                 .pad_w = kernel / 2,
                                 .dilation_h = 1,
                                 .dilation_w = 1,
                                 .groups = 1};
}

static int add_behind(struct graph *graph, int t, enum behind behind)
{
    const struct pool2d_shape pool = {.k_h = 2, .k_w = 2, .stride_h = 2, .stride_w = 2};
    struct conv2d_shape pointwise = square(5, 1), window = square(4, 3);

    if (behind == BEHIND_POINTWISE || behind == BEHIND_FEW)
        return graph_conv2d(graph, "behind", t, &pointwise);
    if (behind == BEHIND_POOLED)
        return graph_max_pool2d(graph, "pool", graph_conv2d(graph, "behind", t, &window),
                                &pool);
    return t;
}

/* The sums reach where a hard function is flat. */
static int add_first(struct graph *graph, enum behind behind)
{
    size_t side = behind == BEHIND_FEW ? 2 : 8;
    struct conv2d_shape shape = square(3, 1);
    int t;

    if (behind == BEHIND_LINEAR) {
        t = graph_input(graph, &(struct shape){1, {6}});
        graph->tensors[t].needs_grad = true;
        t = graph_linear(graph, "first", t, 5);
    } else {
        t = graph_input(graph, &(struct shape){3, {2, side, side}});
        graph->tensors[t].needs_grad = true;
        t = graph_conv2d(graph, "first", t, &shape);
    }
    t = graph_add(graph, "twice", t, t);
    return graph_add(graph, "four times", t, t);
}

static void check_behind(enum activation act, enum behind behind, bool normed)
{
    struct graph graph;
    int t;

    graph_init(&graph, NULL);
    t = add_first(&graph, behind);
    if (normed && behind != BEHIND_LINEAR)
        t = graph_batch_norm2d(&graph, "norm", t);
    t = add_behind(&graph, graph_activate(&graph, "act", t, act), behind);
    if (behind != BEHIND_LINEAR)
        t = graph_flatten(&graph, "flatten", t);
    assert_true(graph_cross_entropy(&graph, graph_linear(&graph, "fc", t, 3)) >= 0);
    check_slopes(&graph, BATCH);
}

static void test_behind_a_function_of_another_zero_gradient_is_the_slope(void **state)
{
    static const enum activation acts[] = {ACT_SIGMOID, ACT_HARDSIGMOID};

    (void)state;
    for (size_t i = 0; i < (size_t)2 * N_BEHIND * 2; i++)
        check_behind(acts[i / 2 / N_BEHIND], i / 2 % N_BEHIND, i % 2 == 1);
}

/* Tiles of few rows, of which the last ones lie in the padding with all that they see. */
static void check_tiles(size_t kernel, size_t stride, size_t pad)
{
    const struct conv2d_shape conv = {.c_out = 512,
                                      .k_h = kernel,
                                      .k_w = kernel,
                                      .stride_h = stride,
                                      .stride_w = stride,
                                      .pad_h = pad,
                                      .pad_w = 1,
                                      .dilation_h = 1,
                                      .dilation_w = 1,
                                      .groups = 512};
    struct graph graph;
    int t;

    graph_init(&graph, NULL);
    t = graph_input(&graph, &(struct shape){3, {512, 15, 18}});
    graph.tensors[t].needs_grad = true;
    t = graph_conv2d(&graph, "conv", t, &conv);
    t = graph_flatten(&graph, "flatten", graph_avg_pool2d(&graph, "pool", t, 2, 1));
    assert_true(graph_cross_entropy(&graph, graph_linear(&graph, "fc", t, 3)) >= 0);
    check_slopes_along(&graph, 2);
}

static void test_depthwise_gradient_beyond_the_image_is_the_slope(void **state)
{
    (void)state;
    check_tiles(3, 1, 1);
    check_tiles(3, 1, 2);
    check_tiles(3, 1, 5);
    check_tiles(3, 2, 6);
    check_tiles(1, 3, 7);
    check_tiles(4, 3, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear_gradient_is_the_slope),
        cmocka_unit_test(test_convolution_gradient_is_the_slope),
        cmocka_unit_test(test_relu6_gradient_is_the_slope),
        cmocka_unit_test(test_average_pool_gradient_is_the_slope),
        cmocka_unit_test(test_batch_norm_gradient_is_the_slope),
        cmocka_unit_test(test_relu_gradient_is_the_slope),
        cmocka_unit_test(test_max_pool_gradient_is_the_slope),
        cmocka_unit_test(test_cross_entropy_gradient_is_the_slope),
        cmocka_unit_test(test_in_place_chain_gradient_is_the_slope),
        cmocka_unit_test(test_convolution_under_a_pool_gradient_is_the_slope),
        cmocka_unit_test(test_behind_a_function_of_another_zero_gradient_is_the_slope),
        cmocka_unit_test(test_depthwise_gradient_beyond_the_image_is_the_slope),
        cmocka_unit_test(test_residual_gradient_is_the_slope),
        cmocka_unit_test(test_shared_weights_gradient_is_the_slope),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
