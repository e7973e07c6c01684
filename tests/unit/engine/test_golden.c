/* Kernels and whole steps against what PyTorch computes in float64
 * (tests/golden/nn, written by tools/make_golden.py). Run for the reference and
 * the OpenBLAS kernels in float, and for the reference kernels in double. */
#include "golden.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* docs/numerics.md: the bound on ||error|| / ||exact|| of an op, and of three
 * steps of a model. */
#ifdef NN_DOUBLE
static const double op_tolerance = 1e-12;
static const double model_tolerance = 1e-9;
static const double loss_tolerance = 1e-12;
#else
static const double op_tolerance = 1e-5;
static const double model_tolerance = 1e-5;
static const double loss_tolerance = 1e-6;
#endif

/* Runs the calls of one node in a list. */
static void run_node(const cygnet_model *model, const struct step *step,
                     const struct call_list *list, const struct node *node)
{
    for (size_t i = list->begin; i < list->end; i++) {
        struct call_list one = {i, i + 1};

        if (model->program.calls[i].node == node)
            assert_int_equal(program_run(step, &one, model->executor, NULL, NULL),
                             CYGNET_OK);
    }
}

/* The update list after a step, and what evaluation makes of it. */
static void check_running_statistics(struct golden *g, const cygnet_model *model,
                                     struct step *step, const struct node *node)
{
    size_t channels = node->params.batch_norm.channels;
    size_t n_out = tensor_elements(model, (size_t)node->out) * step->n;

    run_node(model, step, &model->program.update, node);
    golden_check(g, "running_mean", model_value(model, (size_t)node->in[3]), channels,
                 op_tolerance);
    golden_check(g, "running_var", model_value(model, (size_t)node->in[4]), channels,
                 op_tolerance);
    assert_int_equal(*model_counter(model, (size_t)node->in[5]), 1);
    step->mode = STEP_EVALUATE;
    run_node(model, step, &model->program.forward, node);
    golden_check(g, "eval", model_value(model, (size_t)node->out), n_out, op_tolerance);
}

/* Inputs are in [-1, 1), unless that would leave a part of the op untried. */
static double input_scale(const struct node *node, const struct golden_case *c)
{
    if (node->kind == OP_ACTIVATION && node->params.activation.kind == ACT_RELU6)
        return 8;
    return node->kind == OP_CROSS_ENTROPY ? (double)c->params[2] : 1;
}

/* One op alone: its output, and its gradients for the output gradient "dy". */
static void check_op(struct golden *g, const struct golden_case *c)
{
    size_t n = c->params[0];
    struct graph graph;
    size_t at = build_op_graph(&graph, c->kind, c->params + 1);
    cygnet_model *model = make_graph_model(&graph, (uint32_t)n + 2, &g->kernels);
    const struct node *node = &model->graph.nodes[at];
    size_t n_in = tensor_elements(model, (size_t)model->graph.input) * n;
    size_t n_out = tensor_elements(model, (size_t)node->out) * n;
    struct step step = {.program = &model->program, .kernels = &g->kernels, .n = n};
    bool is_loss = node->kind == OP_CROSS_ENTROPY;
    real *x = malloc(n_in * sizeof(*x));
    int64_t *y = malloc(n * sizeof(*y));
    struct program *p = &model->program;

    assert_true(x && y);
    hash_fill(x, FIXTURE_SEED, "x", n_in, input_scale(node, c));
    hash_fill_labels(y, FIXTURE_SEED, n, model->n_classes);
    p->buffers[p->of[model->graph.input].value].data = x;
    p->buffers[p->of[model->graph.labels].value].data = y;
    run_node(model, &step, &p->forward, node);
    golden_check(g, "y", model_value(model, (size_t)node->out), n_out, op_tolerance);
    if (!is_loss)
        hash_fill(model_grad(model, (size_t)node->out), FIXTURE_SEED, "dy", n_out, 1.0);
    run_node(model, &step, &p->backward, node);
    golden_check(g, "dx", model_grad(model, (size_t)model->graph.input), n_in,
                 op_tolerance);
    for (uint32_t i = 1; i < node->n_in && !is_loss; i++) {
        if (!model->graph.tensors[node->in[i]].needs_grad)
            continue;
        golden_check(g, i == 1 ? "dw" : "db", model_grad(model, (size_t)node->in[i]),
                     tensor_elements(model, (size_t)node->in[i]), op_tolerance);
    }
    if (node->kind == OP_BATCH_NORM2D)
        check_running_statistics(g, model, &step, node);
    free(x);
    free(y);
    cygnet_model_destroy(model);
}

static void check_parameters(struct golden *g, const cygnet_model *model,
                             const char *prefix,
                             real *(*source)(const cygnet_model *, size_t))
{
    char name[128];

    for (size_t i = 0; i < model->graph.n_tensors; i++) {
        if (model->graph.tensors[i].kind != TENSOR_PARAMETER)
            continue;
        (void)snprintf(name, sizeof(name), "%s:%s", prefix, model->graph.tensors[i].name);
        golden_check(g, name, source(model, i), tensor_elements(model, i),
                     model_tolerance);
    }
}

/* Three steps of SGD with momentum and weight decay. */
static void check_model(struct golden *g, const struct golden_case *c)
{
    size_t n = c->params[0], elements;
    struct shape input = {.n_dims = (uint32_t)c->n_params - 2};
    cygnet_sgd sgd = {sizeof(sgd), 0.0625f, 0.875f, 0.0009765625f};
    cygnet_metrics metrics = {.struct_size = sizeof(metrics)};
    cygnet_model *model;
    real losses[3];
    float *x;
    int64_t *y;

    memcpy(input.dim, c->params + 2, input.n_dims * sizeof(input.dim[0]));
    model = make_zoo_model(c->spec, &input, (uint32_t)c->params[1], (uint32_t)n,
                           &g->kernels, &nn_serial_executor);
    elements = n * shape_elements(&input);
    x = malloc(elements * sizeof(*x));
    y = malloc(n * sizeof(*y));
    assert_true(x && y);
    hash_fill_f32(x, FIXTURE_SEED, "x", elements, 1.0);
    hash_fill_labels(y, FIXTURE_SEED, n, model->n_classes);
    assert_int_equal(model_backward(model, &metrics, x, y, (uint32_t)n, NULL), CYGNET_OK);
    check_parameters(g, model, "grad", model_grad);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(cygnet_model_train_step(model, &metrics, x, y, (uint32_t)n, &sgd,
                                                 NULL),
                         CYGNET_OK);
        losses[i] = (real)metrics.loss;
    }
    check_parameters(g, model, "weight", model_value);
    golden_check(g, "losses", losses, 3, loss_tolerance);
    free(x);
    free(y);
    cygnet_model_destroy(model);
}

enum { N_OPS = 33, N_MODELS = 8 };

static void test_reference_ops_match_pytorch(void **state)
{
    (void)state;
    golden_check_file("ops.golden", &kernels_ref, N_OPS, check_op);
}

static void test_reference_models_match_pytorch(void **state)
{
    (void)state;
    golden_check_file("models.golden", &kernels_ref, N_MODELS, check_model);
}

static void test_chosen_ops_match_pytorch(void **state)
{
    struct kernels kernels;

    (void)state;
    kernels_choose(&kernels);
    golden_check_file("ops.golden", &kernels, N_OPS, check_op);
}

static void test_chosen_models_match_pytorch(void **state)
{
    struct kernels kernels;

    (void)state;
    kernels_choose(&kernels);
    golden_check_file("models.golden", &kernels, N_MODELS, check_model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference_ops_match_pytorch),
        cmocka_unit_test(test_reference_models_match_pytorch),
        cmocka_unit_test(test_chosen_ops_match_pytorch),
        cmocka_unit_test(test_chosen_models_match_pytorch),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
