/* The grad command: what the library makes of somebody else's weights and batch, as
 * a file of tensors, so that anybody can compare any configuration. */
#include "tests/bench/bench.h"

#include "base/error.h"
#include "examples/common/command_line.h"
#include "examples/common/complain.h"
#include "tests/bench/training_mode.h"

#include <cygnet/nn.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_BATCH = 65536, MAX_STEPS = 1000000 };

#define MAX_BYTES ((uint64_t)8 << 30) /* of tensors in a file */

struct grad_options {
    const char *model, *weights, *batch, *out;
    uint32_t classes, threads, train_steps;
    double lr, momentum, weight_decay;
};

static const struct option_row ROWS[] = {
    {"model", OPTION_TEXT, offsetof(struct grad_options, model), 0, 0, NULL},
    {"classes", OPTION_U32, offsetof(struct grad_options, classes), 1, 1048576, NULL},
    {"weights", OPTION_TEXT, offsetof(struct grad_options, weights), 0, 0, NULL},
    {"batch", OPTION_TEXT, offsetof(struct grad_options, batch), 0, 0, NULL},
    {"out", OPTION_TEXT, offsetof(struct grad_options, out), 0, 0, NULL},
    {"threads", OPTION_U32, offsetof(struct grad_options, threads), 1, 64, NULL},
    {"train-steps", OPTION_U32, offsetof(struct grad_options, train_steps), 0, MAX_STEPS,
     NULL},
    {"lr", OPTION_REAL, offsetof(struct grad_options, lr), 0, 1e6, NULL},
    {"momentum", OPTION_REAL, offsetof(struct grad_options, momentum), 0, 1e6, NULL},
    {"weight-decay", OPTION_REAL, offsetof(struct grad_options, weight_decay), 0, 1e6,
     NULL},
    {NULL, OPTION_FLAG, 0, 0, 0, NULL},
};

/* One run. x and y are tensors of `batch`. */
struct grad {
    const struct grad_options *options;
    cygnet_tensors *batch, *weights, *out;
    const cygnet_tensor *x, *y;
    cygnet_model *model;
    uint32_t n;
};

static cygnet_status load(cygnet_tensors **out, const char *path, cygnet_error *err)
{
    return cygnet_tensors_load(out, path, MAX_BYTES, NULL, err);
}

/* ---- The batch ------------------------------------------------------------ */

/* "F32 (3, 4)" */
static void describe(char *out, size_t size, const cygnet_tensor *t)
{
    const char *dtype = cygnet_dtype_name(t->dtype);
    size_t used = (size_t)snprintf(out, size, "%s (", dtype ? dtype : "?");

    for (uint32_t d = 0; d < t->n_dims && used < size; d++)
        used += (size_t)snprintf(out + used, size - used, "%s%" PRIu64, d > 0 ? ", " : "",
                                 t->shape[d]);
    if (used < size)
        (void)snprintf(out + used, size - used, ")");
}

static cygnet_status fail_tensor(const cygnet_tensor *t, const char *expected,
                                 cygnet_error *err)
{
    char found[256];

    describe(found, sizeof(found), t);
    return fail(err, CYGNET_ESHAPE, 0, "tensor %s: expected %s, found %s", t->name,
                expected, found);
}

static cygnet_status check_x(struct grad *g, cygnet_error *err)
{
    const cygnet_tensor *x = g->x;

    if (x->dtype != CYGNET_F32 || x->n_dims < 2 || x->n_dims > CYGNET_INPUT_MAX_DIMS + 1)
        return fail_tensor(x, "F32 (N, C, H, W)", err);
    for (uint32_t d = 0; d < x->n_dims; d++) {
        if (x->shape[d] == 0 || x->shape[d] > (d == 0 ? MAX_BATCH : UINT32_MAX))
            return fail_tensor(x, "1 to 65536 examples, none empty", err);
    }
    g->n = (uint32_t)x->shape[0];
    return CYGNET_OK;
}

static cygnet_status check_y(const struct grad *g, cygnet_error *err)
{
    char expected[64];

    (void)snprintf(expected, sizeof(expected), "I64 (%u)", g->n);
    if (g->y->dtype != CYGNET_I64 || g->y->n_dims != 1 || g->y->shape[0] != g->n)
        return fail_tensor(g->y, expected, err);
    return CYGNET_OK;
}

static cygnet_status check_values(const struct grad *g, cygnet_error *err)
{
    size_t elements = (size_t)(g->x->size_bytes / sizeof(float)) / g->n;
    const float *x = g->x->data;
    const int64_t *y = g->y->data;
    uint32_t classes = g->options->classes;

    for (size_t i = 0; i < g->n * elements; i++) {
        if (!isfinite(x[i]))
            return fail(err, CYGNET_ENUMERIC, 0,
                        "tensor x: expected finite values, found %s in example %zu",
                        isnan(x[i]) ? "NaN" : "infinity", i / elements);
    }
    for (uint32_t i = 0; i < g->n; i++) {
        if (y[i] < 0 || y[i] >= (int64_t)classes)
            return fail(err, CYGNET_EDATA, 0,
                        "tensor y: expected labels 0 to %u, found %" PRId64
                        " in example %u",
                        classes - 1, y[i], i);
    }
    return CYGNET_OK;
}

static cygnet_status check_names(const struct grad *g, cygnet_error *err)
{
    if (!g->x || !g->y)
        return fail(err, CYGNET_ENOTFOUND, 0, "tensor %s is missing", g->x ? "y" : "x");
    for (size_t i = 0; i < cygnet_tensors_count(g->batch); i++) {
        const cygnet_tensor *t = cygnet_tensors_at(g->batch, i);

        if (t != g->x && t != g->y)
            return fail(err, CYGNET_EINVAL, 0,
                        "tensor %.100s is not one of a batch's, x and y", t->name);
    }
    return CYGNET_OK;
}

static cygnet_status load_batch(struct grad *g, cygnet_error *err)
{
    cygnet_status st = load(&g->batch, g->options->batch, err);

    if (st != CYGNET_OK)
        return st;
    g->x = cygnet_tensors_find(g->batch, "x");
    g->y = cygnet_tensors_find(g->batch, "y");
    st = check_names(g, err);
    if (st == CYGNET_OK)
        st = check_x(g, err);
    if (st == CYGNET_OK)
        st = check_y(g, err);
    if (st == CYGNET_OK)
        st = check_values(g, err);
    return st == CYGNET_OK ? st : fail_within(err, st, "%s", g->options->batch);
}

/* ---- The model ------------------------------------------------------------ */

static cygnet_status load_model(struct grad *g, cygnet_error *err)
{
    const struct grad_options *o = g->options;
    cygnet_model_options options;
    cygnet_status st;

    cygnet_model_options_init(&options);
    options.architecture = o->model;
    options.n_classes = o->classes;
    options.n_input_dims = g->x->n_dims - 1;
    for (uint32_t d = 0; d < options.n_input_dims; d++)
        options.input[d] = (uint32_t)g->x->shape[d + 1];
    options.max_batch = g->n;
    options.n_threads = o->threads;
    st = cygnet_model_create(&g->model, &options, err);
    if (st != CYGNET_OK)
        return st;
    training_without_dropout(g->model);
    st = load(&g->weights, o->weights, err);
    if (st != CYGNET_OK)
        return st;
    st = cygnet_model_set_weights(g->model, g->weights, err);
    return st == CYGNET_OK ? st : fail_within(err, st, "%s", o->weights);
}

/* ---- What comes out -------------------------------------------------------- */

/* All tensors of `list`, their names behind `prefix`. */
static cygnet_status put_all(cygnet_tensors *out, const char *prefix,
                             const cygnet_tensors *list, cygnet_error *err)
{
    cygnet_status st = CYGNET_OK;

    for (size_t i = 0; st == CYGNET_OK && i < cygnet_tensors_count(list); i++) {
        const cygnet_tensor *t = cygnet_tensors_at(list, i);
        char name[CYGNET_TENSOR_NAME_MAX + 16];
        cygnet_tensor *to;

        (void)snprintf(name, sizeof(name), "%s%s", prefix, t->name);
        st = cygnet_tensors_add(&to, out, name, t->dtype, t->shape, t->n_dims, err);
        if (st == CYGNET_OK)
            memcpy(to->data, t->data, (size_t)t->size_bytes);
    }
    return st;
}

static cygnet_status put_forward(const struct grad *g, double loss, cygnet_error *err)
{
    uint64_t shape[] = {g->n, g->options->classes};
    cygnet_tensor *to;
    cygnet_status st = cygnet_tensors_add(&to, g->out, "loss", CYGNET_F32, NULL, 0, err);

    if (st != CYGNET_OK)
        return st;
    *(float *)to->data = (float)loss;
    st = cygnet_tensors_add(&to, g->out, "logits", CYGNET_F32, shape, 2, err);
    if (st == CYGNET_OK)
        training_logits(to->data, g->model, g->n);
    return st;
}

static cygnet_status put_gradients(const struct grad *g, cygnet_error *err)
{
    cygnet_metrics metrics = {.struct_size = sizeof(metrics)};
    cygnet_tensors *gradients;
    cygnet_status st = cygnet_model_gradients(&gradients, &metrics, g->model, g->x->data,
                                              g->y->data, g->n, err);

    if (st == CYGNET_OK)
        st = put_forward(g, metrics.loss, err);
    if (st == CYGNET_OK)
        st = put_all(g->out, "", gradients, err);
    cygnet_tensors_destroy(gradients);
    return st;
}

static cygnet_status put_trained(const struct grad *g, cygnet_error *err)
{
    const struct grad_options *o = g->options;
    cygnet_tensors *weights = NULL;
    cygnet_status st = CYGNET_OK;
    cygnet_sgd sgd;

    cygnet_sgd_init(&sgd);
    sgd.lr = (float)o->lr;
    sgd.momentum = (float)o->momentum;
    sgd.weight_decay = (float)o->weight_decay;
    for (uint32_t i = 0; i < o->train_steps && st == CYGNET_OK; i++) {
        st = cygnet_model_train_step(g->model, NULL, g->x->data, g->y->data, g->n, &sgd,
                                     err);
        if (st != CYGNET_OK)
            st = fail_within(err, st, "step %u", i + 1);
    }
    if (st == CYGNET_OK)
        st = cygnet_model_get_weights(&weights, g->model, err);
    if (st == CYGNET_OK)
        st = put_all(g->out, "after.", weights, err);
    cygnet_tensors_destroy(weights);
    return st;
}

static cygnet_status run(struct grad *g, cygnet_error *err)
{
    cygnet_status st = load_batch(g, err);

    if (st == CYGNET_OK)
        st = load_model(g, err);
    if (st == CYGNET_OK)
        st = cygnet_tensors_create(&g->out, MAX_BYTES, NULL, err);
    if (st == CYGNET_OK)
        st = put_gradients(g, err);
    if (st == CYGNET_OK && g->options->train_steps > 0)
        st = put_trained(g, err);
    return st == CYGNET_OK ? cygnet_tensors_save(g->out, g->options->out, err) : st;
}

static cygnet_status check_options(const struct grad_options *o, cygnet_error *err)
{
    const char *missing = !o->model     ? "model"
                          : !o->weights ? "weights"
                          : !o->batch   ? "batch"
                          : !o->out     ? "out"
                                        : NULL;

    if (missing)
        return complain(err, CYGNET_EINVAL, 0, "--%s is missing", missing);
    if (o->classes == 0)
        return complain(err, CYGNET_EINVAL, 0, "--classes is missing");
    return CYGNET_OK;
}

int bench_grad(int argc, char **argv)
{
    struct grad_options o = {.threads = 1, .lr = 0.01};
    struct grad g = {.options = &o};
    cygnet_error err;
    cygnet_status st = command_line_parse(&o, ROWS, argc, argv, &err);

    if (st == CYGNET_OK)
        st = check_options(&o, &err);
    if (st != CYGNET_OK)
        return bench_complain(BENCH_USAGE, &err);
    st = run(&g, &err);
    cygnet_model_destroy(g.model);
    cygnet_tensors_destroy(g.out);
    cygnet_tensors_destroy(g.weights);
    cygnet_tensors_destroy(g.batch);
    return st == CYGNET_OK ? BENCH_DONE : bench_complain(BENCH_FAILED, &err);
}
