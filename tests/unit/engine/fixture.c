/* What the engine's tests share. */
#include "fixture.h"

#include "engine/nn/zoo.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static uint64_t fnv1a(const char *name)
{
    uint64_t h = UINT64_C(0xCBF29CE484222325);

    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * UINT64_C(0x100000001B3);
    return h;
}

/* Word i of the splitmix64 sequence from `start`. */
uint64_t hash_bits(uint64_t start, size_t i)
{
    uint64_t z = start + (uint64_t)(i + 1) * UINT64_C(0x9E3779B97F4A7C15);

    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

uint64_t hash_start(uint64_t seed, const char *name)
{
    return seed ^ fnv1a(name);
}

double hash_value(uint64_t start, size_t i)
{
    return (double)(hash_bits(start, i) >> 40) * 0x1p-23 - 1.0;
}

int64_t hash_label(uint64_t seed, size_t i, uint32_t n_classes)
{
    return (int64_t)((hash_bits(hash_start(seed, "labels"), i) >> 33) % n_classes);
}

double weight_scale(size_t fan_in)
{
    double scale = 1;

    while (1 / (scale * scale) < (double)fan_in)
        scale /= 2;
    return scale;
}

void hash_fill(real *out, uint64_t seed, const char *name, size_t n, double scale)
{
    uint64_t start = hash_start(seed, name);

    for (size_t i = 0; i < n; i++)
        out[i] = (real)(scale * hash_value(start, i));
}

void hash_fill_f32(float *out, uint64_t seed, const char *name, size_t n, double scale)
{
    uint64_t start = hash_start(seed, name);

    for (size_t i = 0; i < n; i++)
        out[i] = (float)(scale * hash_value(start, i));
}

void hash_fill_labels(int64_t *out, uint64_t seed, size_t n, uint32_t n_classes)
{
    for (size_t i = 0; i < n; i++)
        out[i] = hash_label(seed, i, n_classes);
}

size_t tensor_elements(const cygnet_model *model, size_t tensor)
{
    return shape_elements(&model->graph.tensors[tensor].shape);
}

void hash_weights(cygnet_model *model, uint64_t seed)
{
    for (size_t i = 0; i < model->graph.n_tensors; i++) {
        const struct tensor *t = &model->graph.tensors[i];
        size_t n = tensor_elements(model, i);
        bool is_constant = t->init.kind == INIT_CONSTANT;
        real *values;

        if (t->kind != TENSOR_PARAMETER && t->kind != TENSOR_BUFFER)
            continue;
        values = malloc(n * sizeof(*values));
        assert_non_null(values);
        hash_fill(values, seed, t->name, n, is_constant ? 0.5 : weight_scale(t->fan_in));
        for (size_t e = 0; is_constant && e < n; e++)
            values[e] += (real)t->init.value;
        model_write_state(model, i, values);
        free(values);
    }
}

/* ---- Classes and rows ------------------------------------------------------ */

enum { MAX_CLASSES = 8, MAX_TESTS = 128, NAME_BYTES = 128 };

const struct kernels *kernels_at(size_t index)
{
    static struct kernels classes[MAX_CLASSES];

    assert_true(index < MAX_CLASSES);
    return kernels_class(&classes[index], index) ? &classes[index] : NULL;
}

const struct kernels *kernels_reference(void)
{
    return kernels_at(0);
}

size_t kernels_count(void)
{
    size_t n = 0;

    while (kernels_at(n))
        n++;
    return n;
}

int run_tests_per_class(const struct CMUnitTest *tests, size_t n)
{
    static struct CMUnitTest all[MAX_TESTS];
    static char names[MAX_TESTS][NAME_BYTES];
    size_t at = 0;

    for (size_t c = 0; kernels_at(c); c++) {
        for (size_t i = 0; i < n && at < MAX_TESTS; i++, at++) {
            (void)snprintf(names[at], NAME_BYTES, "%s, %s", tests[i].name,
                           kernels_at(c)->name);
            all[at] = (struct CMUnitTest){names[at], tests[i].test_func, NULL, NULL,
                                          (void *)(uintptr_t)kernels_at(c)};
        }
    }
    return at == n * kernels_count()
               ? _cmocka_run_group_tests("classes", all, at, NULL, NULL)
               : 1;
}

static real *allocate(size_t n)
{
    real *rows = calloc(n, sizeof(*rows));

    assert_non_null(rows);
    return rows;
}

void read_activation(real *out, const cygnet_model *model, const struct step *step,
                     size_t tensor)
{
    const struct operand *at = &model->program.of[tensor].at;
    struct rows k = {step->n * at->rows, at->channels, at->channels};
    struct reading reading = reading_of(step, at);
    real *rows = allocate(k.n * k.pitch);

    step->kernels->read(rows, k.pitch, step_data(step, at->buffer), &reading, &k);
    model_read_rows(out, model, tensor, rows, step->n);
    free(rows);
}

/* Of the norm that reads the same numbers; -1: none does. */
static int norm_behind(const struct program *p, size_t tensor)
{
    for (size_t i = 0; i < p->n_tensors; i++) {
        if (p->of[i].at.buffer == p->of[tensor].at.buffer && p->of[i].at.norm >= 0)
            return p->of[i].at.norm;
    }
    return -1;
}

void read_activation_gradient(real *out, const cygnet_model *model,
                              const struct step *step, size_t tensor)
{
    const struct operand *at = &model->program.of[tensor].at;
    struct rows k = {step->n * at->rows, at->channels, at->channels};
    int norm = norm_behind(&model->program, tensor);
    struct norm_gradient through = norm_gradient_of(step, norm, at->channels);
    real *rows = allocate(k.n * k.pitch);

    step->kernels->norm_gradient(rows, k.pitch, model_grad(model, tensor), k.pitch,
                                 step_data(step, at->buffer), &through, &k);
    model_read_rows(out, model, tensor, rows, step->n);
    free(rows);
}

/* Where each number of an example comes to lie: reads their own indices back. */
void write_rows(real *rows, const cygnet_model *model, size_t tensor, const real *in,
                size_t n)
{
    const struct operand *at = &model->program.of[tensor].at;
    size_t pitch = at->rows * at->channels, elements = tensor_elements(model, tensor);
    real *places = allocate(pitch), *place = allocate(elements);

    for (size_t i = 0; i < pitch; i++)
        places[i] = (real)i; /* exact: no test is that large */
    model_read_rows(place, model, tensor, places, 1);
    memset(rows, 0, n * pitch * sizeof(*rows));
    for (size_t e = 0; e < n; e++) {
        for (size_t i = 0; i < elements; i++)
            rows[e * pitch + (size_t)place[i]] = in[e * elements + i];
    }
    free(places);
    free(place);
}

static int add_input(struct graph *graph, uint32_t n_dims, const size_t *dim)
{
    struct shape shape = {.n_dims = n_dims};
    int in;

    memcpy(shape.dim, dim, n_dims * sizeof(*dim));
    in = graph_input(graph, &shape);
    assert_true(in >= 0);
    graph->tensors[in].needs_grad = true;
    return in;
}

static int add_op(struct graph *graph, const char *kind, const size_t *p)
{
    if (strcmp(kind, "linear") == 0)
        return graph_linear(graph, "op", add_input(graph, 1, p), p[1]);
    if (strcmp(kind, "relu") == 0)
        return graph_relu(graph, "op", add_input(graph, 1, p));
    if (strcmp(kind, "relu6") == 0)
        return graph_relu6(graph, "op", add_input(graph, 1, p));
    if (strcmp(kind, "avg_pool2d") == 0)
        return graph_avg_pool2d(graph, "op", add_input(graph, 3, p), p[3], p[4]);
    if (strcmp(kind, "batch_norm2d") == 0)
        return graph_batch_norm2d(graph, "op", add_input(graph, 3, p));
    if (strcmp(kind, "conv2d") == 0) {
        struct conv2d_shape s = {.c_out = p[3],
                                 .k_h = p[4],
                                 .k_w = p[5],
                                 .stride_h = p[6],
                                 .stride_w = p[7],
                                 .pad_h = p[8],
                                 .pad_w = p[9],
                                 .dilation_h = p[10],
                                 .dilation_w = p[11],
                                 .groups = p[12]};

        return graph_conv2d(graph, "op", add_input(graph, 3, p), &s);
    }
    if (strcmp(kind, "max_pool2d") == 0) {
        struct pool2d_shape s = {.k_h = p[3],
                                 .k_w = p[4],
                                 .stride_h = p[5],
                                 .stride_w = p[6],
                                 .pad_h = p[7],
                                 .pad_w = p[8]};

        return graph_max_pool2d(graph, "op", add_input(graph, 3, p), &s);
    }
    fail_msg("no op %s", kind);
    return NO_TENSOR;
}

void build_op_graph(struct graph *graph, const char *kind, const size_t *params)
{
    int out;

    graph_init(graph, NULL);
    if (strcmp(kind, "cross_entropy") == 0)
        out = add_input(graph, 1, params);
    else
        out = graph_flatten(graph, "flatten", add_op(graph, kind, params));
    assert_true(graph_cross_entropy(graph, out) >= 0);
}

cygnet_model *make_graph_model(struct graph *graph, uint32_t max_batch,
                               const struct kernels *kernels)
{
    cygnet_model_options options;
    cygnet_model *model;

    cygnet_model_options_init(&options);
    options.max_batch = max_batch;
    assert_int_equal(model_assemble(&model, graph, kernels, &nn_serial_executor, &options,
                                    NULL),
                     CYGNET_OK);
    hash_weights(model, FIXTURE_SEED);
    return model;
}

cygnet_model *make_zoo_model(const char *spec, const struct shape *input,
                             uint32_t n_classes, uint32_t max_batch,
                             const struct kernels *kernels, struct nn_executor *executor)
{
    struct graph graph;
    cygnet_model_options options;
    cygnet_model *model;

    cygnet_model_options_init(&options);
    options.max_batch = max_batch;
    graph_init(&graph, NULL);
    assert_int_equal(zoo_build(&graph, spec, input, n_classes, NULL), CYGNET_OK);
    assert_int_equal(model_assemble(&model, &graph, kernels, executor, &options, NULL),
                     CYGNET_OK);
    hash_weights(model, FIXTURE_SEED);
    return model;
}

bool is_emulated(void)
{
    return getenv("CYGNET_EMULATED") != NULL;
}

bool same_state(const cygnet_model *a, const cygnet_model *b)
{
    for (size_t i = 0; i < a->graph.n_tensors; i++) {
        const struct tensor *t = &a->graph.tensors[i];
        size_t size = t->kind == TENSOR_COUNTER
                          ? sizeof(int64_t)
                          : layout_elements(&t->layout) * sizeof(real);

        if (tensor_is_state(t) && memcmp(model_value(a, i), model_value(b, i), size) != 0)
            return false;
    }
    return true;
}

size_t find_tensor(const cygnet_model *model, const char *name)
{
    for (size_t i = 0; i < model->graph.n_tensors; i++) {
        if (strcmp(model->graph.tensors[i].name, name) == 0)
            return i;
    }
    fail_msg("no tensor %s", name);
    return 0;
}

int my_scheduler(void)
{
    return (int)syscall(SYS_sched_getscheduler, 0);
}
