/* Layers in a graph: what they compute, whatever stands around them. */
#include "numbers.h"

#include <stdlib.h>

enum { BATCH = 3 };

/* ---- What a vector lies as --------------------------------------------------- */

enum order { ACT_FIRST, FLATTEN_FIRST, FLATTEN_TWICE, DROPOUT_BETWEEN, N_ORDERS };

static void build_order(struct graph *graph, enum order order)
{
    const struct pool2d_shape pool = {.k_h = 2, .k_w = 2, .stride_h = 2, .stride_w = 2};
    int t;

    graph_init(graph, NULL);
    t = graph_input(graph, &(struct shape){3, {3, 6, 8}});
    t = graph_max_pool2d(graph, "pool", t, &pool);
    if (order == ACT_FIRST)
        t = graph_relu(graph, "relu", t);
    t = graph_flatten(graph, "flatten", t);
    if (order == FLATTEN_TWICE)
        t = graph_flatten(graph, "again", t);
    if (order == DROPOUT_BETWEEN)
        t = graph_dropout(graph, "dropout", t, 0.5);
    if (order != ACT_FIRST)
        t = graph_relu(graph, "relu", t);
    assert_true(graph_cross_entropy(graph, graph_linear(graph, "fc", t, 4)) >= 0);
}

/* Logits of an evaluation. */
static real *logits_of(enum order order, const struct kernels *kernels)
{
    struct graph graph;
    cygnet_model *model;
    struct step step = {.mode = STEP_EVALUATE, .n = BATCH, .total = BATCH};
    struct program *p;
    real *x = noise(BATCH * 3 * 6 * 8, "x"), *out = guarded(BATCH * 4);
    int64_t labels[BATCH] = {0};

    build_order(&graph, order);
    model = make_graph_model(&graph, BATCH, kernels);
    step.kernels = &model->kernels;
    step.program = p = &model->program;
    p->buffers[p->of[model->graph.input].value].data = x;
    p->buffers[p->of[model->graph.labels].value].data = labels;
    assert_int_equal(program_run(&step, &p->forward, model->executor, NULL, NULL),
                     CYGNET_OK);
    read_activation(out, model, &step, (size_t)model->graph.logits);
    cygnet_model_destroy(model);
    free(x);
    return out;
}

static void test_a_flattened_image_may_be_gone_through_before_a_linear_layer(void **state)
{
    real *want = logits_of(ACT_FIRST, *state);

    for (enum order order = FLATTEN_FIRST; order < N_ORDERS; order++) {
        real *found = logits_of(order, *state);

        for (size_t i = 0; i < (size_t)BATCH * 4; i++)
            assert_true(found[i] == want[i]);
        free(found);
    }
    free(want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            test_a_flattened_image_may_be_gone_through_before_a_linear_layer),
    };

    return run_tests_per_class(tests, sizeof(tests) / sizeof(tests[0]));
}
