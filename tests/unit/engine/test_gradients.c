/* Derived gradients against central differences, in double. The loss is a whole
 * graph's, so lowering, memory plan and in-place choices are under test too. */
#include "fixture.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 5 };

/* Step of the differences. Truncation is of order H^2 = 1e-10 times the third
 * derivative, rounding of order DBL_EPSILON * loss / H = 5e-11; both are far below
 * the bound for losses and gradients of order 1. */
#define H 1e-5
#define BOUND 1e-8

struct setup {
    cygnet_model *model;
    real *x;
    int64_t y[BATCH];
    size_t n_x;
};

static void begin(struct setup *s, struct graph *graph)
{
    struct program *p;

    s->model = make_graph_model(graph, BATCH, kernels_reference());
    p = &s->model->program;
    s->n_x = BATCH * tensor_elements(s->model, (size_t)s->model->graph.input);
    s->x = malloc(s->n_x * sizeof(*s->x));
    assert_non_null(s->x);
    hash_fill(s->x, FIXTURE_SEED, "x", s->n_x, 1.0);
    hash_fill_labels(s->y, FIXTURE_SEED, BATCH, s->model->n_classes);
    p->buffers[p->of[s->model->graph.input].value].data = s->x;
    p->buffers[p->of[s->model->graph.labels].value].data = s->y;
}

static void end(struct setup *s)
{
    free(s->x);
    cygnet_model_destroy(s->model);
}

static struct step step_of(const struct setup *s)
{
    return (struct step){.program = &s->model->program,
                         .kernels = &s->model->kernels,
                         .n = BATCH,
                         .total = BATCH};
}

static void run(const struct setup *s, size_t begin, size_t end)
{
    struct step step = step_of(s);
    const struct call_list list = {begin, end};

    assert_int_equal(program_run(&step, &list, s->model->executor, NULL, NULL),
                     CYGNET_OK);
}

static void run_list(const struct setup *s, const struct call_list *list)
{
    run(s, list->begin, list->end);
}

static double loss_of(struct setup *s)
{
    const real *loss;
    double sum = 0;

    run_list(s, &s->model->program.forward);
    loss = model_value(s->model, (size_t)s->model->graph.loss);
    for (size_t i = 0; i < BATCH; i++)
        sum += (double)loss[i];
    return sum / BATCH;
}

static double slope_at(struct setup *s, real *value)
{
    real was = *value;
    double above, below;

    *value = was + (real)H;
    above = loss_of(s);
    *value = was - (real)H;
    below = loss_of(s);
    *value = was;
    return (above - below) / (2 * H);
}

static void check_slope(double slope, double derived, const char *name)
{
    if (!(fabs(slope - derived) <= BOUND))
        fail_msg("%s: derived %.12g, difference %.12g", name, derived, slope);
}

static real *allocate(size_t n)
{
    real *values = malloc(n * sizeof(*values));

    assert_non_null(values);
    return values;
}

static void check_parameter(struct setup *s, size_t tensor)
{
    size_t n = tensor_elements(s->model, tensor);
    real *derived = allocate(n), *values = allocate(n), *moved = allocate(n);

    model_read_gradient(derived, s->model, tensor);
    model_read_state(values, s->model, tensor);
    for (size_t i = 0; i < n; i++) {
        double losses[2];

        for (int side = 0; side < 2; side++) {
            memcpy(moved, values, n * sizeof(*moved));
            moved[i] += side == 0 ? (real)H : -(real)H;
            model_write_state(s->model, tensor, moved);
            losses[side] = loss_of(s);
        }
        check_slope((losses[0] - losses[1]) / (2 * H), (double)derived[i],
                    s->model->graph.tensors[tensor].name);
    }
    model_write_state(s->model, tensor, values);
    free(derived);
    free(values);
    free(moved);
}

static bool has_norm(const struct graph *g)
{
    for (size_t i = 0; i < g->n_nodes; i++) {
        if (g->nodes[i].kind == OP_BATCH_NORM2D)
            return true;
    }
    return false;
}

/* The input's gradient, which is there after its last call; a norm's goes through what
 * is found at the end. Then the rest of the list. */
static void run_backward(struct setup *s, real *dx)
{
    const struct program *p = &s->model->program;
    size_t input = (size_t)s->model->graph.input;
    size_t end = p->buffers[p->of[input].grad].last + 1;
    struct step step = step_of(s);

    if (has_norm(&s->model->graph))
        end = p->backward.end;
    run(s, p->backward.begin, end);
    read_activation_gradient(dx, s->model, &step, input);
    run(s, end, p->backward.end);
}

/* Every element of the input, if it has a gradient, and of every parameter. */
static void check_all(struct setup *s)
{
    const struct graph *g = &s->model->graph;
    bool has_dx = g->tensors[g->input].needs_grad;
    real *dx = allocate(s->n_x);

    assert_true(model_bind_gradients(s->model));
    run_list(s, &s->model->program.forward);
    if (has_dx)
        run_backward(s, dx);
    else
        run_list(s, &s->model->program.backward);
    for (size_t t = 0; t < g->n_tensors; t++) {
        if (g->tensors[t].kind == TENSOR_PARAMETER)
            check_parameter(s, t);
    }
    for (size_t i = 0; has_dx && i < s->n_x; i++)
        check_slope(slope_at(s, &s->x[i]), (double)dx[i], "x");
    free(dx);
}

static void check_op(const char *kind, const size_t *params)
{
    struct graph graph;
    struct setup s;

    build_op_graph(&graph, kind, params);
    begin(&s, &graph);
    check_all(&s);
    end(&s);
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
    struct setup s;
    int t;

    (void)state;
    graph_init(&graph, NULL);
    t = graph_input(&graph, &(struct shape){3, {1, 6, 6}});
    graph.tensors[t].needs_grad = true;
    t = graph_relu(&graph, "relu", graph_conv2d(&graph, "conv", t, &conv));
    t = graph_flatten(&graph, "flatten", graph_max_pool2d(&graph, "pool", t, &pool));
    t = graph_linear(&graph, "fc", graph_relu(&graph, "again", t), 4);
    assert_true(graph_cross_entropy(&graph, t) >= 0);
    begin(&s, &graph);
    check_all(&s);
    end(&s);
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
    struct setup s;
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
    begin(&s, &graph);
    check_all(&s);
    end(&s);
}

static void test_convolution_under_a_pool_gradient_is_the_slope(void **state)
{
    const struct pooled_case cases[] = {
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
         .conv =
             {.c_out = 9, .k_h = 3, .k_w = 3, .stride_h = 2, .stride_w = 1, .pad_w = 2},
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
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        check_pooled(&cases[i]);
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
    struct setup s;
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
    begin(&s, &graph);
    check_all(&s);
    end(&s);
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
    struct setup s;
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
    begin(&s, &graph);
    check_all(&s);
    end(&s);
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
        cmocka_unit_test(test_residual_gradient_is_the_slope),
        cmocka_unit_test(test_shared_weights_gradient_is_the_slope),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
