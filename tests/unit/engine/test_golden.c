/* Kernels and whole steps against what PyTorch computes in float64
 * (tests/golden/nn, written by tools/make_golden.py). Run for the reference and
 * the OpenBLAS kernels in float, and for the reference kernels in double. */
#include "fixture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_PROJECTIONS = 16, N_VALUES = 8, MAX_PARAMS = 16 };

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

struct golden {
    FILE *file;
    char word[160];
    struct kernels kernels;
};

struct golden_case {
    char kind[32];
    char spec[64];
    size_t params[MAX_PARAMS];
    size_t n_params;
};

static void open_golden(struct golden *g, const char *name, const struct kernels *kernels)
{
    char path[512];
    unsigned version;
    unsigned long long seed;

    (void)snprintf(path, sizeof(path), "%s/%s", getenv("CYGNET_GOLDEN_DIR"), name);
    g->kernels = *kernels;
    g->file = fopen(path, "r");
    assert_non_null(g->file);
    assert_int_equal(fscanf(g->file, "%150s %u %llu", g->word, &version, &seed), 3);
    assert_string_equal(g->word, "cygnet-golden");
    assert_int_equal(version, 1);
    assert_true(seed == FIXTURE_SEED);
    assert_int_equal(fscanf(g->file, "%150s", g->word), 1);
}

/* False at the end of the file, which has to be marked. */
static bool next_case(struct golden *g, struct golden_case *c)
{
    if (strcmp(g->word, "end") == 0)
        return false;
    assert_string_equal(g->word, "case");
    assert_int_equal(fscanf(g->file, "%31s %63s %zu", c->kind, c->spec, &c->n_params), 3);
    assert_true(c->n_params <= MAX_PARAMS);
    for (size_t i = 0; i < c->n_params; i++)
        assert_int_equal(fscanf(g->file, "%zu", &c->params[i]), 1);
    assert_int_equal(fscanf(g->file, "%150s", g->word), 1);
    return true;
}

static double read_number(struct golden *g)
{
    assert_int_equal(fscanf(g->file, "%150s", g->word), 1);
    return strtod(g->word, NULL);
}

static double projection(const real *v, size_t n, int p)
{
    char name[32];
    double sum = 0;
    uint64_t start;

    (void)snprintf(name, sizeof(name), "projection %d", p);
    start = hash_start(FIXTURE_SEED, name);
    for (size_t i = 0; i < n; i++)
        sum += (double)v[i] * hash_value(start, i);
    return sum;
}

static void check_number(const char *what, double got, double want, double bound)
{
    if (!(fabs(got - want) <= bound))
        fail_msg("%s: got %.17g, want %.17g within %g", what, got, want, bound);
}

/* If ||error|| <= tolerance ||exact||, then the norm and any one value are off by
 * at most that. A projection on a direction d that does not know the error is off
 * by ||error|| |d| / sqrt(n) = 0.58 ||error|| on average; 4 of those are allowed. */
static void check_tensor(struct golden *g, const char *want_name, const real *v, size_t n,
                         double tolerance)
{
    double norm = 0, exact;
    size_t elements;
    char name[160];

    assert_string_equal(g->word, "tensor");
    assert_int_equal(fscanf(g->file, "%150s %zu", name, &elements), 2);
    assert_string_equal(name, want_name);
    assert_int_equal(elements, n);
    exact = read_number(g);
    for (size_t i = 0; i < n; i++)
        norm += (double)v[i] * (double)v[i];
    check_number(name, sqrt(norm), exact, tolerance * exact);
    for (int p = 0; p < N_PROJECTIONS; p++)
        check_number(name, projection(v, n, p), read_number(g),
                     4 * 0.58 * tolerance * exact);
    for (size_t i = 0; i < N_VALUES; i++)
        check_number(name, (double)v[i * n / N_VALUES], read_number(g),
                     tolerance * exact);
    assert_int_equal(fscanf(g->file, "%150s", g->word), 1);
}

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
    check_tensor(g, "running_mean", model_value(model, (size_t)node->in[3]), channels,
                 op_tolerance);
    check_tensor(g, "running_var", model_value(model, (size_t)node->in[4]), channels,
                 op_tolerance);
    assert_int_equal(*model_counter(model, (size_t)node->in[5]), 1);
    step->mode = STEP_EVALUATE;
    run_node(model, step, &model->program.forward, node);
    check_tensor(g, "eval", model_value(model, (size_t)node->out), n_out, op_tolerance);
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
    check_tensor(g, "y", model_value(model, (size_t)node->out), n_out, op_tolerance);
    if (!is_loss)
        hash_fill(model_grad(model, (size_t)node->out), FIXTURE_SEED, "dy", n_out, 1.0);
    run_node(model, &step, &p->backward, node);
    check_tensor(g, "dx", model_grad(model, (size_t)model->graph.input), n_in,
                 op_tolerance);
    for (uint32_t i = 1; i < node->n_in && !is_loss; i++) {
        if (!model->graph.tensors[node->in[i]].needs_grad)
            continue;
        check_tensor(g, i == 1 ? "dw" : "db", model_grad(model, (size_t)node->in[i]),
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
        check_tensor(g, name, source(model, i), tensor_elements(model, i),
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
    check_tensor(g, "losses", losses, 3, loss_tolerance);
    free(x);
    free(y);
    cygnet_model_destroy(model);
}

static void check_file(const char *name, const struct kernels *kernels, size_t n_cases,
                       void (*check)(struct golden *, const struct golden_case *))
{
    struct golden g;
    struct golden_case c;
    size_t n = 0;

    for (open_golden(&g, name, kernels); next_case(&g, &c); n++)
        check(&g, &c);
    assert_int_equal(n, n_cases);
    (void)fclose(g.file);
}

enum { N_OPS = 33, N_MODELS = 8 };

static void test_reference_ops_match_pytorch(void **state)
{
    (void)state;
    check_file("ops.golden", &kernels_ref, N_OPS, check_op);
}

static void test_reference_models_match_pytorch(void **state)
{
    (void)state;
    check_file("models.golden", &kernels_ref, N_MODELS, check_model);
}

static void test_chosen_ops_match_pytorch(void **state)
{
    struct kernels kernels;

    (void)state;
    kernels_choose(&kernels);
    check_file("ops.golden", &kernels, N_OPS, check_op);
}

static void test_chosen_models_match_pytorch(void **state)
{
    struct kernels kernels;

    (void)state;
    kernels_choose(&kernels);
    check_file("models.golden", &kernels, N_MODELS, check_model);
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
