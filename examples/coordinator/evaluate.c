/* See evaluate.h. */
#include "evaluate.h"

#include "../common/complain.h"
#include "../common/dataset.h"

#include <math.h>
#include <stdlib.h>

#define BATCH 64
#define MODEL_MAX_BYTES ((uint64_t)1 << 30)

struct evaluator {
    cygnet_model *model;
    float *x;
    int64_t *y;
    uint64_t n;
};

static cygnet_status build(struct evaluator *e, struct options *o, cygnet_error *err)
{
    cygnet_model_options options;
    cygnet_status st;

    cygnet_model_options_init(&options);
    options.architecture = o->model;
    options.n_classes = o->classes;
    options.n_input_dims = o->n_input_dims;
    for (uint32_t i = 0; i < o->n_input_dims; i++)
        options.input[i] = o->input[i];
    options.max_batch = BATCH;
    options.seed = o->seed;
    st = cygnet_model_create(&e->model, &options, err);
    if (st == CYGNET_OK)
        o->n_input_dims = cygnet_model_input_shape(e->model, o->input);
    return st;
}

static cygnet_status read_split(struct evaluator *e, const struct options *o,
                                cygnet_error *err)
{
    uint64_t dims[CYGNET_INPUT_MAX_DIMS];
    struct image_shape shape;
    struct dataset *data = NULL;
    cygnet_status st = dataset_open(&data, o->eval, o->classes, err);

    for (uint32_t i = 0; i < o->n_input_dims; i++)
        dims[i] = o->input[i];
    if (st == CYGNET_OK)
        st = image_shape_of_row(&shape, dims, o->n_input_dims, data->shape, err);
    if (st == CYGNET_OK && data->test.n == 0)
        st = complain(err, CYGNET_EDATA, 0, "--eval: %s has no held-out rows", o->eval);
    if (st == CYGNET_OK)
        st = dataset_arrays(&e->x, &e->y, data, &data->test, shape, err);
    if (st == CYGNET_OK)
        e->n = data->test.n;
    dataset_destroy(data);
    return st;
}

cygnet_status evaluator_create(struct evaluator **out, struct options *options,
                               cygnet_error *err)
{
    struct evaluator *e = calloc(1, sizeof *e);
    cygnet_status st;

    *out = NULL;
    if (!e)
        return complain(err, CYGNET_ENOMEM, 0, "out of memory for the model");
    st = build(e, options, err);
    if (st == CYGNET_OK && options->eval)
        st = read_split(e, options, err);
    if (st == CYGNET_OK)
        *out = e;
    else
        evaluator_destroy(e);
    return st;
}

void evaluator_destroy(struct evaluator *e)
{
    if (!e)
        return;
    cygnet_model_destroy(e->model);
    free(e->x);
    free(e->y);
    free(e);
}

cygnet_status evaluator_initial(cygnet_tensors **out, struct evaluator *e,
                                const struct options *options, cygnet_error *err)
{
    cygnet_tensors *given = NULL;
    cygnet_status st = CYGNET_OK;

    *out = NULL;
    if (options->initial_weights) {
        st = cygnet_tensors_load(&given, options->initial_weights, MODEL_MAX_BYTES, NULL,
                                 err);
        if (st == CYGNET_OK)
            st = cygnet_model_set_weights(e->model, given, err);
        cygnet_tensors_destroy(given);
    }
    /* Out of the model again: in its order, without foreign metadata. */
    return st == CYGNET_OK ? cygnet_model_get_weights(out, e->model, err) : st;
}

cygnet_status evaluator_run(double *loss, double *accuracy, struct evaluator *e,
                            const cygnet_tensors *weights, cygnet_error *err)
{
    cygnet_metrics metrics = {.struct_size = sizeof metrics};
    cygnet_status st = CYGNET_OK;

    *loss = *accuracy = (double)NAN;
    if (e->n == 0)
        return CYGNET_OK;
    st = cygnet_model_set_weights(e->model, weights, err);
    if (st == CYGNET_OK)
        st = cygnet_model_evaluate(e->model, &metrics, e->x, e->y, e->n, err);
    if (st == CYGNET_OK) {
        *loss = metrics.loss;
        *accuracy = (double)metrics.correct / (double)metrics.n;
    }
    return st;
}
