/* Models and batches. */
#include "tests/bench/workload.h"

#include "base/rng.h"
#include "engine/nn/model.h"
#include "examples/common/complain.h"
#include "tests/bench/training_mode.h"

#include <stdlib.h>
#include <string.h>

/* What the models were published with: digits have ten classes, keywords twelve,
 * ImageNet a thousand. As in pytorch_step.py. */
static uint32_t default_classes(const char *model)
{
    static const struct {
        const char *name;
        uint32_t classes;
    } known[] = {{"logistic", 10},    {"mlp", 10},    {"lenet5", 10},
                 {"mcmahan_cnn", 10}, {"ds_cnn", 12}, {"mcmahan_cifar_cnn", 10},
                 {"char_lstm", 80},   {"gru", 10}};
    size_t length = strcspn(model, ":");

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strlen(known[i].name) == length && strncmp(known[i].name, model, length) == 0)
            return known[i].classes;
    }
    return 1000;
}

void workload_options_init(struct workload_options *options)
{
    *options = (struct workload_options){.batch = 16, .n_threads = 1, .lr = 0.01};
}

static cygnet_status create_model(struct workload *w, struct nn_executor *executor,
                                  cygnet_error *err)
{
    const struct workload_options *o = w->options;
    cygnet_model_options options;

    cygnet_model_options_init(&options);
    options.architecture = o->model;
    options.n_classes = w->classes;
    options.n_input_dims = o->n_input_dims;
    memcpy(options.input, o->input, sizeof(options.input));
    options.max_batch = o->batch;
    options.n_threads = o->n_threads;
    options.seed = o->seed;
    options.allocator = o->allocator;
    if (executor)
        return model_create(&w->model, &options, executor, err);
    return cygnet_model_create(&w->model, &options, err);
}

static size_t example_elements(const cygnet_model *model)
{
    uint32_t shape[CYGNET_INPUT_MAX_DIMS];
    uint32_t n_dims = cygnet_model_input_shape(model, shape);
    size_t n = 1;

    for (uint32_t d = 0; d < n_dims; d++)
        n *= shape[d];
    return n;
}

static cygnet_status make_batch(struct workload *w, cygnet_error *err)
{
    const struct workload_options *o = w->options;
    size_t n = o->batch * example_elements(w->model);
    size_t symbols = training_symbols(w->model);
    struct rng rng;

    w->x = malloc(n * sizeof(*w->x));
    w->y = malloc(o->batch * sizeof(*w->y));
    if (!w->x || !w->y)
        return complain(err, CYGNET_ENOMEM, 0, "out of memory for a batch");
    rng_init(&rng, o->seed, "bench", 0);
    for (size_t i = 0; i < n; i++)
        w->x[i] = symbols > 0 ? (float)rng_below(&rng, symbols) : (float)rng_normal(&rng);
    for (uint32_t i = 0; i < o->batch; i++)
        w->y[i] = (int64_t)rng_below(&rng, w->classes);
    return CYGNET_OK;
}

cygnet_status workload_init(struct workload *w, const struct workload_options *options,
                            struct nn_executor *executor, cygnet_error *err)
{
    cygnet_status st;

    *w = (struct workload){.options = options};
    w->classes =
        options->classes > 0 ? options->classes : default_classes(options->model);
    cygnet_sgd_init(&w->sgd);
    w->sgd.lr = (float)options->lr;
    w->sgd.momentum = 0.9f;
    w->sgd.weight_decay = 0.0005f;
    st = create_model(w, executor, err);
    return st == CYGNET_OK ? make_batch(w, err) : st;
}

void workload_clear(struct workload *w)
{
    cygnet_model_destroy(w->model);
    free(w->x);
    free(w->y);
    *w = (struct workload){0};
}

cygnet_status workload_step(struct workload *w, double *loss, cygnet_error *err)
{
    cygnet_metrics metrics = {.struct_size = sizeof(metrics)};
    cygnet_status st = cygnet_model_train_step(w->model, &metrics, w->x, w->y,
                                               w->options->batch, &w->sgd, err);

    if (st == CYGNET_OK)
        *loss = metrics.loss;
    return st;
}
