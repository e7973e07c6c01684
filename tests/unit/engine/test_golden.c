/* Kernels and whole steps against what PyTorch computes in float64
 * (tests/golden/nn, written by tools/make_golden.py). Run for each class of kernels in
 * float, and for the reference in double. */
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

/* One op under test. */
struct trial {
    struct golden *golden;
    cygnet_model *model;
    const struct node *node;
    struct step step;
    real *x, *found;
    int64_t *y;
    size_t n_in, n_out;
};

static void *allocate(size_t n, size_t size)
{
    void *p = calloc(n, size);

    assert_non_null(p);
    return p;
}

static void run(const struct trial *t, size_t begin, size_t end)
{
    const struct call_list list = {begin, end};

    assert_int_equal(program_run(&t->step, &list, t->model->executor, NULL, NULL),
                     CYGNET_OK);
}

static void check_state(const struct trial *t, const char *name, int tensor)
{
    size_t n = tensor_elements(t->model, (size_t)tensor);
    real *values = allocate(n, sizeof(*values));

    model_read_state(values, t->model, (size_t)tensor);
    golden_check(t->golden, name, values, n, op_tolerance);
    free(values);
}

static void check_output(const struct trial *t, const char *name)
{
    if (t->node->kind == OP_CROSS_ENTROPY)
        memcpy(t->found, model_value(t->model, (size_t)t->node->out),
               t->n_out * sizeof(*t->found));
    else
        read_activation(t->found, t->model, &t->step, (size_t)t->node->out);
    golden_check(t->golden, name, t->found, t->n_out, op_tolerance);
}

/* The update list after a step, and what evaluation makes of it. */
static void check_running_statistics(struct trial *t)
{
    const struct program *p = &t->model->program;

    run(t, p->update.begin, p->update.end);
    check_state(t, "running_mean", t->node->in[3]);
    check_state(t, "running_var", t->node->in[4]);
    assert_int_equal(*model_counter(t->model, (size_t)t->node->in[5]), 1);
    t->step.mode = STEP_EVALUATE;
    run(t, p->forward.begin, p->forward.end);
    check_output(t, "eval");
}

/* Inputs are in [-1, 1), unless that would leave a part of the op untried. */
static double input_scale(const struct node *node, const struct golden_case *c)
{
    if (node->kind == OP_ACTIVATION && node->params.activation.kind == ACT_RELU6)
        return 8;
    return node->kind == OP_CROSS_ENTROPY ? (double)c->params[2] : 1;
}

static void begin_trial(struct trial *t, struct golden *g, const struct golden_case *c)
{
    struct graph graph;
    struct program *p;

    build_op_graph(&graph, c->kind, c->params + 1);
    t->golden = g;
    t->model = make_graph_model(&graph, (uint32_t)c->params[0] + 2, &g->kernels);
    t->node = &t->model->graph.nodes[0];
    p = &t->model->program;
    t->step = (struct step){.program = p,
                            .kernels = &g->kernels,
                            .n = c->params[0],
                            .total = c->params[0]};
    t->n_in = tensor_elements(t->model, (size_t)t->model->graph.input) * t->step.n;
    t->n_out = tensor_elements(t->model, (size_t)t->node->out) * t->step.n;
    t->x = allocate(t->n_in, sizeof(*t->x));
    t->y = allocate(t->step.n, sizeof(*t->y));
    t->found = allocate(t->n_in + t->n_out, sizeof(*t->found));
    hash_fill(t->x, FIXTURE_SEED, "x", t->n_in, input_scale(t->node, c));
    hash_fill_labels(t->y, FIXTURE_SEED, t->step.n, t->model->n_classes);
    p->buffers[p->of[t->model->graph.input].value].data = t->x;
    p->buffers[p->of[t->model->graph.labels].value].data = t->y;
    assert_true(model_bind_gradients(t->model));
}

static void end_trial(struct trial *t)
{
    free(t->x);
    free(t->y);
    free(t->found);
    cygnet_model_destroy(t->model);
}

/* The loss's own call, behind others that read the logits again. */
static size_t find_loss(const struct trial *t)
{
    const struct program *p = &t->model->program;
    size_t at = p->backward.begin;

    while (p->calls[at].plan)
        at++;
    assert_int_equal(p->calls[at].node->kind, OP_CROSS_ENTROPY);
    return at;
}

/* Runs up to the loss's call, and does in its place: the output gradient is "dy". */
static size_t give_output_gradient(const struct trial *t)
{
    const struct program *p = &t->model->program;
    size_t loss = find_loss(t);
    real *dy = allocate(t->n_out, sizeof(*dy));

    run(t, p->backward.begin, loss);
    hash_fill(dy, FIXTURE_SEED, "dy", t->n_out, 1.0);
    write_rows(p->buffers[p->calls[loss].buffer[0]].data, t->model, (size_t)t->node->out,
               dy, t->step.n);
    free(dy);
    return loss + 1;
}

/* "dx" is read when its last call is done: after that its memory may serve others. A
 * norm's goes through what is found at the end. */
static void check_backward(const struct trial *t)
{
    const struct program *p = &t->model->program;
    size_t input = (size_t)t->model->graph.input, at = p->backward.begin;
    size_t last = p->buffers[p->of[input].grad].last;

    if (t->node->kind == OP_BATCH_NORM2D)
        last = p->backward.end - 1;
    if (t->node->kind != OP_CROSS_ENTROPY)
        at = give_output_gradient(t);
    assert_in_range(last + 1, at, p->backward.end);
    run(t, at, last + 1);
    read_activation_gradient(t->found, t->model, &t->step, input);
    golden_check(t->golden, "dx", t->found, t->n_in, op_tolerance);
    run(t, last + 1, p->backward.end);
}

static void check_parameter_gradients(const struct trial *t)
{
    for (uint32_t i = 1; i < t->node->n_in; i++) {
        size_t tensor = (size_t)t->node->in[i], n = tensor_elements(t->model, tensor);
        real *dw;

        if (!t->model->graph.tensors[tensor].needs_grad)
            continue;
        dw = allocate(n, sizeof(*dw));
        model_read_gradient(dw, t->model, tensor);
        golden_check(t->golden, i == 1 ? "dw" : "db", dw, n, op_tolerance);
        free(dw);
    }
}

/* One op alone: its output, and its gradients for the output gradient "dy". */
static void check_op(struct golden *g, const struct golden_case *c)
{
    const struct program *p;
    struct trial t;

    begin_trial(&t, g, c);
    p = &t.model->program;
    run(&t, p->forward.begin, p->forward.end);
    check_output(&t, "y");
    check_backward(&t);
    check_parameter_gradients(&t);
    if (t.node->kind == OP_BATCH_NORM2D)
        check_running_statistics(&t);
    end_trial(&t);
}

static void check_parameters(struct golden *g, const cygnet_model *model,
                             const char *prefix,
                             void (*read)(real *, const cygnet_model *, size_t))
{
    char name[128];

    for (size_t i = 0; i < model->graph.n_tensors; i++) {
        size_t n = tensor_elements(model, i);
        real *values;

        if (model->graph.tensors[i].kind != TENSOR_PARAMETER)
            continue;
        values = allocate(n, sizeof(*values));
        read(values, model, i);
        (void)snprintf(name, sizeof(name), "%s:%s", prefix, model->graph.tensors[i].name);
        golden_check(g, name, values, n, model_tolerance);
        free(values);
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
    check_parameters(g, model, "grad", model_read_gradient);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(cygnet_model_train_step(model, &metrics, x, y, (uint32_t)n, &sgd,
                                                 NULL),
                         CYGNET_OK);
        losses[i] = (real)metrics.loss;
    }
    check_parameters(g, model, "weight", model_read_state);
    golden_check(g, "losses", losses, 3, loss_tolerance);
    free(x);
    free(y);
    cygnet_model_destroy(model);
}

enum { N_OPS = 42, N_MODELS = 8 };

static void test_ops_match_pytorch(void **state)
{
    golden_check_file("ops.golden", *state, N_OPS, check_op);
}

static void test_models_match_pytorch(void **state)
{
    golden_check_file("models.golden", *state, N_MODELS, check_model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ops_match_pytorch),
        cmocka_unit_test(test_models_match_pytorch),
    };

    return run_tests_per_class(tests, sizeof(tests) / sizeof(tests[0]));
}
