/* The zoo's graphs against tests/golden/nn/zoo.golden (tools/make_zoo_golden.py), what
 * it refuses, and what it draws. */
#include "fixture.h"

#include "engine/nn/zoo.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_LINE = 256, N_CASES = 34 };

/* ---- Against PyTorch ----------------------------------------------------- */

/* The open file and the graph of the case that is being read.
 *
 * at  index of the next tensor of the graph that no line has named */
struct golden {
    FILE *file;
    char line[MAX_LINE];
    struct graph graph;
    size_t at;
};

static void next_line(struct golden *g)
{
    assert_non_null(fgets(g->line, sizeof(g->line), g->file));
    g->line[strcspn(g->line, "\n")] = '\0';
}

static void open_golden(struct golden *g)
{
    char path[4096];

    (void)snprintf(path, sizeof(path), "%s/zoo.golden", getenv("CYGNET_GOLDEN_DIR"));
    g->file = fopen(path, "r");
    if (!g->file)
        fail_msg("cannot read %s", path);
    next_line(g);
    assert_string_equal(g->line, "cygnet-zoo-golden 1");
    next_line(g);
}

/* "3x32x32" */
static struct shape read_shape(const char *text)
{
    struct shape shape = {0};

    for (const char *at = text; *at != '\0'; at += *at == 'x') {
        char *end;

        assert_true(shape.n_dims < GRAPH_MAX_DIMS);
        shape.dim[shape.n_dims++] = strtoul(at, &end, 10);
        assert_true(end > at && (*end == 'x' || *end == '\0'));
        at = end;
    }
    return shape;
}

static enum init_kind read_init(const char *text)
{
    if (strcmp(text, "normal") == 0)
        return INIT_NORMAL;
    if (strcmp(text, "uniform") == 0)
        return INIT_UNIFORM;
    assert_string_equal(text, "constant");
    return INIT_CONSTANT;
}

/* The next tensor of the graph that is state; NULL: there is none. */
static const struct tensor *next_state(struct golden *g)
{
    while (g->at < g->graph.n_tensors) {
        const struct tensor *t = &g->graph.tensors[g->at++];

        if (tensor_is_state(t))
            return t;
    }
    return NULL;
}

static void check_state(struct golden *g, enum tensor_kind kind, const char *name,
                        const struct shape *shape, const struct init *init)
{
    const struct tensor *t = next_state(g);

    if (!t || strcmp(t->name, name) != 0)
        fail_msg("%s is %s", name, t ? t->name : "missing");
    if (t->kind != kind || !shape_equal(&t->shape, shape))
        fail_msg("%s has another shape or type", name);
    if (t->init.kind != init->kind ||
        fabs(t->init.value - init->value) > 1e-14 * fabs(init->value))
        fail_msg("%s begins with %d %.17g, not %d %.17g", name, t->init.kind,
                 t->init.value, init->kind, init->value);
}

/* "tensor NAME SHAPE KIND VALUE" */
static void check_tensor_line(struct golden *g)
{
    char name[MAX_LINE], size[MAX_LINE], kind[MAX_LINE];
    struct shape shape;
    struct init init;

    assert_int_equal(sscanf(g->line, "tensor %255s %255s %255s %lf", name, size, kind,
                            &init.value),
                     4);
    init.kind = read_init(kind);
    shape = read_shape(size);
    check_state(g, TENSOR_PARAMETER, name, &shape, &init);
}

static void check_norm_settings(const struct golden *g, const char *name, double eps,
                                double momentum)
{
    for (size_t i = 0; i < g->graph.n_nodes; i++) {
        const struct node *node = &g->graph.nodes[i];

        if (node->kind != OP_BATCH_NORM2D || strcmp(node->name, name) != 0)
            continue;
        assert_true(node->params.batch_norm.eps == eps);
        assert_true(node->params.batch_norm.momentum == momentum);
        return;
    }
    fail_msg("no node %s", name);
}

/* "norm NAME CHANNELS EPS MOMENTUM" */
static void check_norm_line(struct golden *g)
{
    static const struct {
        const char *suffix;
        enum tensor_kind kind;
        double first;
    } parts[] = {{"weight", TENSOR_PARAMETER, 1},
                 {"bias", TENSOR_PARAMETER, 0},
                 {"running_mean", TENSOR_BUFFER, 0},
                 {"running_var", TENSOR_BUFFER, 1},
                 {"num_batches_tracked", TENSOR_COUNTER, 0}};
    char owner[MAX_LINE];
    struct shape shape = {1, {0}};
    double eps, momentum;

    assert_int_equal(sscanf(g->line, "norm %255s %zu %lf %lf", owner, &shape.dim[0], &eps,
                            &momentum),
                     4);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        struct init init = {INIT_CONSTANT, parts[i].first};
        char name[2 * MAX_LINE];

        shape.n_dims = parts[i].kind == TENSOR_COUNTER ? 0 : 1;
        (void)snprintf(name, sizeof(name), "%s.%s", owner, parts[i].suffix);
        check_state(g, parts[i].kind, name, &shape, &init);
    }
    check_norm_settings(g, owner, eps, momentum);
}

static size_t n_parameters(const struct graph *graph)
{
    size_t n = 0;

    for (size_t i = 0; i < graph->n_tensors; i++) {
        if (graph->tensors[i].kind == TENSOR_PARAMETER)
            n += shape_elements(&graph->tensors[i].shape);
    }
    return n;
}

/* Of convolutions and dense layers: tells strides, padding and what feeds what. */
static double forward_flops(const struct graph *graph)
{
    double sum = 0;

    for (size_t i = 0; i < graph->n_nodes; i++) {
        const struct node *node = &graph->nodes[i];
        struct op_cost cost = {0};

        op_of(node)->cost(&cost, graph, node);
        if (node->kind == OP_CONV2D || node->kind == OP_LINEAR)
            sum += cost.forward_flops;
    }
    return sum;
}

/* "case SPEC CLASSES INPUT PARAMETERS FLOPS" and the lines up to the next. */
static void check_case(struct golden *g)
{
    char spec[MAX_LINE], size[MAX_LINE];
    cygnet_error err = {0};
    unsigned n_classes;
    size_t parameters;
    struct shape input;
    double flops;

    assert_int_equal(sscanf(g->line, "case %255s %u %255s %zu %lf", spec, &n_classes,
                            size, &parameters, &flops),
                     5);
    print_message("# %s %s\n", spec, size);
    input = read_shape(size);
    graph_init(&g->graph, NULL);
    g->at = 0;
    if (zoo_graph(&g->graph, spec, &input, n_classes, &err) != CYGNET_OK)
        fail_msg("%s", err.message);
    next_line(g);
    for (; strncmp(g->line, "tensor ", 7) == 0 || strncmp(g->line, "norm ", 5) == 0;
         next_line(g))
        g->line[0] == 't' ? check_tensor_line(g) : check_norm_line(g);
    assert_null(next_state(g));
    assert_int_equal(n_parameters(&g->graph), parameters);
    assert_true(forward_flops(&g->graph) == flops);
    assert_int_equal(g->graph.tensors[g->graph.logits].shape.dim[0], n_classes);
    graph_clear(&g->graph);
}

static void test_states_are_pytorchs(void **state)
{
    struct golden g;
    int n_cases = 0;

    (void)state;
    for (open_golden(&g); strcmp(g.line, "end") != 0; n_cases++)
        check_case(&g);
    assert_int_equal(n_cases, N_CASES);
    (void)fclose(g.file);
}

/* ---- Arguments ----------------------------------------------------------- */

/* A graph of a spec that must be fine. */
static void make_graph(struct graph *graph, const char *spec, const struct shape *input)
{
    cygnet_error err = {0};

    graph_init(graph, NULL);
    if (zoo_graph(graph, spec, input, 10, &err) != CYGNET_OK)
        fail_msg("%s: %s", spec, err.message);
}

static const struct shape own_input = {0};

/* What is offered can be lowered. */
static void test_every_name_builds_on_its_own_input(void **state)
{
    uint32_t n = 0;

    (void)state;
    for (; zoo_name(n); n++) {
        struct graph graph;

        graph_init(&graph, NULL);
        assert_int_equal(zoo_build(&graph, zoo_name(n), &own_input, 7, NULL), CYGNET_OK);
        assert_int_equal(graph.tensors[graph.logits].shape.dim[0], 7);
        graph_clear(&graph);
    }
    assert_int_equal(n, 10);
    assert_null(zoo_name(n + 1));
}

static size_t count_activations(const struct graph *graph, enum activation kind)
{
    size_t n = 0;

    for (size_t i = 0; i < graph->n_nodes; i++)
        n += graph->nodes[i].kind == OP_ACTIVATION &&
             graph->nodes[i].params.activation.kind == kind;
    return n;
}

/* silu stands where relu, relu6 and hardswish stood, and nowhere else. */
static void test_act_replaces_the_activations(void **state)
{
    static const char *const names[] = {
        "mlp",           "lenet5",   "mcmahan_cnn",       "mcmahan_cifar_cnn",
        "resnet18",      "resnet50", "mobilenet_v2",      "mobilenet_v3_small",
        "squeezenet1_1", "ds_cnn",   "shufflenet_v2_x1_0"};

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct graph own, silu, again;
        char spec[64];
        size_t n;

        make_graph(&own, names[i], &own_input);
        (void)snprintf(spec, sizeof(spec), "%s:act=silu", names[i]);
        make_graph(&silu, spec, &own_input);
        (void)snprintf(spec, sizeof(spec), "%s:act=own", names[i]);
        make_graph(&again, spec, &own_input);
        n = count_activations(&own, ACT_RELU) + count_activations(&own, ACT_RELU6) +
            count_activations(&own, ACT_HARDSWISH);
        assert_true(n > 0);
        assert_int_equal(count_activations(&own, ACT_SILU), 0);
        assert_int_equal(count_activations(&silu, ACT_SILU), n);
        assert_int_equal(silu.n_nodes, own.n_nodes);
        assert_int_equal(count_activations(&silu, ACT_HARDSIGMOID),
                         count_activations(&own, ACT_HARDSIGMOID));
        assert_int_equal(count_activations(&again, ACT_SILU), 0);
        graph_clear(&own);
        graph_clear(&silu);
        graph_clear(&again);
    }
}

static void test_dropout_is_as_asked_for(void **state)
{
    static const struct {
        const char *spec;
        double rate;
    } cases[] = {{"mobilenet_v2", 0.2},
                 {"mobilenet_v3_small", 0.2},
                 {"squeezenet1_1", 0.5},
                 {"mobilenet_v2:dropout=0", 0},
                 {"squeezenet1_1:dropout=0.3", 0.3}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct graph graph;
        size_t n = 0;

        make_graph(&graph, cases[i].spec, &own_input);
        for (size_t k = 0; k < graph.n_nodes; k++) {
            if (graph.nodes[k].kind != OP_DROPOUT)
                continue;
            assert_true(graph.nodes[k].params.dropout.rate == cases[i].rate);
            n++;
        }
        assert_int_equal(n, 1);
        graph_clear(&graph);
    }
}

static void check_refused(const char *spec, const struct shape *input, cygnet_status want,
                          const char *message)
{
    cygnet_error err = {0};
    struct graph graph;

    graph_init(&graph, NULL);
    assert_int_equal(zoo_graph(&graph, spec, input, 10, &err), want);
    if (!strstr(err.message, message))
        fail_msg("\"%s\" has no \"%s\"", err.message, message);
    graph_clear(&graph);
}

static void test_bad_arguments_are_explained(void **state)
{
    static const struct {
        const char *spec;
        const char *message;
    } cases[] = {
        {"mlp:hidden", "\"hidden\" is not key=value"},
        {"mlp:width=4", "mlp has no argument \"width\""},
        {"logistic:act=silu", "logistic has no argument \"act\""},
        {"char_lstm:act=silu", "char_lstm has no argument \"act\""},
        {"mlp:hidden=3,hidden=4", "hidden is given twice"},
        {"mlp:hidden=0", "hidden=0: want a whole number from 1 to 65536"},
        {"mlp:hidden=65537", "hidden=65537: want a whole number"},
        {"mlp:hidden=4x", "hidden=4x: want a whole number"},
        {"mlp:hidden=4.0", "hidden=4.0: want a whole number"},
        {"mlp:hidden=-4", "hidden=-4: want a whole number"},
        {"mlp:hidden=", "hidden=: want a whole number"},
        {"mlp:hidden= 4", "hidden= 4: want a whole number"},
        {"mlp:hidden=18446744073709551620", "want a whole number"},
        {"ds_cnn:channels=0", "channels=0"},
        {"mobilenet_v2:width_mult=0",
         "width_mult=0: want a decimal number from 0.1 to 4"},
        {"mobilenet_v2:width_mult=4.1", "width_mult=4.1"},
        {"mobilenet_v2:width_mult=.5", "width_mult=.5: want a decimal"},
        {"mobilenet_v2:width_mult=1.", "width_mult=1.: want a decimal"},
        {"mobilenet_v2:width_mult=1.0.0", "width_mult=1.0.0: want a decimal"},
        {"mobilenet_v2:width_mult=1e0", "width_mult=1e0: want a decimal"},
        {"mobilenet_v2:width_mult=nan", "width_mult=nan: want a decimal"},
        {"mobilenet_v2:width_mult=0.5000000000000000", "want a decimal"},
        {"mobilenet_v2:dropout=1", "dropout=1: want a decimal number from 0 to 0.95"},
        {"resnet18:act=relu", "act=relu: want one of own, silu"},
        {"resnet18:act=", "act=: want one of own, silu"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        check_refused(cases[i].spec, &own_input, CYGNET_EINVAL, cases[i].message);
    check_refused("resnet1", &own_input, CYGNET_ENOTFOUND,
                  "no architecture \"resnet1\"; known are logistic, mlp, lenet5");
    check_refused("", &own_input, CYGNET_ENOTFOUND, "no architecture \"\"");
}

static void test_inputs_that_do_not_suit_are_explained(void **state)
{
    static const struct shape tiny = {3, {3, 2, 2}}, row = {1, {80}};
    static const struct shape narrow = {3, {1, 49, 1}}, small = {3, {1, 4, 4}};
    static const struct shape pooled_away = {3, {3, 16, 16}};

    (void)state;
    check_refused("lenet5", &small, CYGNET_ESHAPE, "lenet5: conv2: a 5x5 kernel");
    check_refused("squeezenet1_1", &tiny, CYGNET_ESHAPE, "squeezenet1_1: features.0");
    check_refused("squeezenet1_1", &pooled_away, CYGNET_ESHAPE,
                  "squeezenet1_1: features.8: a 3x3 window does not fit a 1x1 input");
    check_refused("ds_cnn", &narrow, CYGNET_ESHAPE, "ds_cnn: conv1: a 10x4 kernel");
    check_refused("resnet18", &row, CYGNET_ESHAPE, "resnet18: conv1: wants an image");
    check_refused("mobilenet_v3_small", &row, CYGNET_ESHAPE, "features.0.0: wants an");
    check_refused("shufflenet_v2_x1_0", &row, CYGNET_ESHAPE, "conv1.0: wants an image");
    check_refused("char_lstm", &tiny, CYGNET_ESHAPE, "embedding: wants a row of indices");
    check_refused("gru", &tiny, CYGNET_ESHAPE, "gru: embedding");
}

/* As docs/models.md has them: they fit, and a pixel less does not. */
static void test_the_smallest_images_are_as_told(void **state)
{
    static const struct {
        const char *spec;
        size_t height;
        size_t width;
    } cases[] = {{"lenet5", 12, 12},
                 {"mcmahan_cnn", 4, 4},
                 {"mcmahan_cifar_cnn", 4, 4},
                 {"resnet18", 1, 1},
                 {"resnet34", 1, 1},
                 {"resnet50", 1, 1},
                 {"mobilenet_v2", 1, 1},
                 {"mobilenet_v3_small", 1, 1},
                 {"shufflenet_v2_x0_5", 1, 1},
                 {"squeezenet1_1", 17, 17},
                 {"ds_cnn", 1, 2}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct shape input = {3, {1, cases[i].height, cases[i].width}};
        struct graph graph;

        make_graph(&graph, cases[i].spec, &input);
        graph_clear(&graph);
        input.dim[2]--;
        check_refused(cases[i].spec, &input, CYGNET_ESHAPE, cases[i].spec);
    }
}

/* Grants `left` requests. */
static void *limited_resize(void *ptr, size_t size, void *user)
{
    int *left = user;

    return (*left)-- > 0 ? realloc(ptr, size) : NULL;
}

static void limited_release(void *ptr, void *user)
{
    (void)user;
    free(ptr);
}

static void test_each_failed_allocation_is_told(void **state)
{
    static const char *const names[] = {"mlp:layers=16", "mcmahan_cifar_cnn",
                                        "resnet50",      "mobilenet_v2",
                                        "ds_cnn",        "mobilenet_v3_small",
                                        "squeezenet1_1", "shufflenet_v2_x1_0",
                                        "char_lstm",     "gru:layers=8"};

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        cygnet_status st = CYGNET_ENOMEM;
        int granted = 0;

        for (; st != CYGNET_OK; granted++) {
            int left = granted;
            const cygnet_allocator allocator = {limited_resize, limited_release, &left};
            struct graph graph;

            graph_init(&graph, &allocator);
            st = zoo_graph(&graph, names[i], &own_input, 10, NULL);
            assert_true(st == CYGNET_OK || st == CYGNET_ENOMEM);
            graph_clear(&graph);
        }
        assert_true(granted > 2);
    }
}

/* ---- First values -------------------------------------------------------- */

struct moments {
    double mean;
    double deviation;
    double largest;
};

static struct moments moments_of(const float *x, size_t n)
{
    struct moments m = {0, 0, 0};

    for (size_t i = 0; i < n; i++) {
        m.mean += (double)x[i] / (double)n;
        m.largest = fmax(m.largest, fabs((double)x[i]));
    }
    for (size_t i = 0; i < n; i++)
        m.deviation += ((double)x[i] - m.mean) * ((double)x[i] - m.mean) / (double)n;
    m.deviation = sqrt(m.deviation);
    return m;
}

/* Bounds of 6 deviations of each statistic. With kurtosis k the deviation of the
 * sample's deviation is s sqrt((k - 1) / 4n): k is 3 of a normal and 9/5 of a uniform
 * one. The largest of n normals passes s (sqrt(2 ln 2n) + 3) about once in 10^5. */
static void check_draw(const struct tensor *t, const cygnet_tensor *drawn)
{
    size_t n = shape_elements(&t->shape);
    bool is_normal = t->init.kind == INIT_NORMAL;
    double scale = t->init.value / (is_normal ? 1 : sqrt(3.0));
    struct moments m = moments_of(drawn->data, n);
    double bound = is_normal ? scale * (sqrt(2 * log(2 * (double)n)) + 3) : t->init.value;

    if (fabs(m.mean) > 6 * scale / sqrt((double)n) ||
        fabs(m.deviation - scale) >
            6 * scale * sqrt((is_normal ? 2 : 0.8) / (4 * (double)n)) +
                scale / (double)n ||
        m.largest > bound * (1 + (double)FLT_EPSILON))
        fail_msg("%s: mean %g, deviation %g, largest %g; it should begin with %d %g",
                 t->name, m.mean, m.deviation, m.largest, t->init.kind, t->init.value);
}

static void check_constant(const struct tensor *t, const cygnet_tensor *drawn)
{
    for (size_t i = 0; i < shape_elements(&t->shape); i++)
        assert_true(((const float *)drawn->data)[i] == (float)t->init.value);
}

/* Every tensor of a model, against what the golden test has checked the graph to say.
 * Two tensors alike would share a stream. */
static void check_first_values(const char *spec)
{
    cygnet_model_options options;
    cygnet_tensors *weights;
    cygnet_model *model;

    cygnet_model_options_init(&options);
    options.architecture = spec;
    options.seed = 4;
    options.max_batch = 2;
    options.n_input_dims = 3;
    options.input[0] = 3;
    options.input[1] = options.input[2] = 32;
    assert_int_equal(cygnet_model_create(&model, &options, NULL), CYGNET_OK);
    assert_int_equal(cygnet_model_get_weights(&weights, model, NULL), CYGNET_OK);
    for (size_t i = 0; i < model->graph.n_tensors; i++) {
        const struct tensor *t = &model->graph.tensors[i];
        const cygnet_tensor *drawn = cygnet_tensors_find(weights, t->name);

        if (t->kind != TENSOR_PARAMETER && t->kind != TENSOR_BUFFER)
            continue;
        assert_non_null(drawn);
        t->init.kind == INIT_CONSTANT ? check_constant(t, drawn) : check_draw(t, drawn);
    }
    cygnet_tensors_destroy(weights);
    cygnet_model_destroy(model);
}

static void test_first_values_have_the_distributions_of_the_graph(void **state)
{
    (void)state;
    check_first_values("lenet5");
    check_first_values("mcmahan_cifar_cnn");
    check_first_values("mobilenet_v2:width_mult=0.5");
}

/* ---- Training ------------------------------------------------------------ */

enum { N_EXAMPLES = 4, SIDE = 12, IMAGE = 3 * SIDE * SIDE };

/* A batch again and again: its loss must fall. */
static void check_trains(const char *spec)
{
    static float x[N_EXAMPLES * IMAGE];
    const cygnet_sgd sgd = {sizeof(sgd), 0.05f, 0, 0};
    cygnet_metrics metrics = {.struct_size = sizeof(metrics)};
    cygnet_model_options options;
    cygnet_model *model;
    double first = 0;
    int64_t y[N_EXAMPLES];

    hash_fill_f32(x, FIXTURE_SEED, "x", N_EXAMPLES * IMAGE, 1.0);
    hash_fill_labels(y, FIXTURE_SEED, N_EXAMPLES, 10);
    cygnet_model_options_init(&options);
    options.architecture = spec;
    options.max_batch = N_EXAMPLES;
    options.n_input_dims = 3;
    options.input[0] = 3;
    options.input[1] = options.input[2] = SIDE;
    assert_int_equal(cygnet_model_create(&model, &options, NULL), CYGNET_OK);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(cygnet_model_train_step(model, &metrics, x, y, N_EXAMPLES, &sgd,
                                                 NULL),
                         CYGNET_OK);
        first = i == 0 ? metrics.loss : first;
    }
    if (!(metrics.loss < 0.95 * first))
        fail_msg("%s: loss %g, after 7 steps %g", spec, first, metrics.loss);
    cygnet_model_destroy(model);
}

static void test_models_with_kernels_learn(void **state)
{
    (void)state;
    check_trains("mcmahan_cifar_cnn");
    check_trains("ds_cnn");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_states_are_pytorchs),
        cmocka_unit_test(test_every_name_builds_on_its_own_input),
        cmocka_unit_test(test_act_replaces_the_activations),
        cmocka_unit_test(test_dropout_is_as_asked_for),
        cmocka_unit_test(test_bad_arguments_are_explained),
        cmocka_unit_test(test_inputs_that_do_not_suit_are_explained),
        cmocka_unit_test(test_the_smallest_images_are_as_told),
        cmocka_unit_test(test_each_failed_allocation_is_told),
        cmocka_unit_test(test_first_values_have_the_distributions_of_the_graph),
        cmocka_unit_test(test_models_with_kernels_learn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
