/* The layout of the model that a job agrees on. */
#include "sdk/layout.h"

#include "base/alloc.h"
#include "base/error.h"
#include "engine/nn/model.h"

#include <inttypes.h>
#include <string.h>

static size_t names_bytes(const cygnet_tensors *weights)
{
    size_t sum = 0;

    for (size_t i = 0; i < cygnet_tensors_count(weights); i++)
        sum += strlen(cygnet_tensors_at(weights, i)->name) + 1;
    return sum;
}

static cygnet_status copy(struct layout *out, const cygnet_tensors *weights,
                          cygnet_error *err)
{
    size_t n = cygnet_tensors_count(weights);
    char *name = mem_alloc(out->alloc, names_bytes(weights) + 1);

    out->names = name;
    out->tensors = mem_calloc(out->alloc, n, sizeof(out->tensors[0]));
    if (!out->names || !out->tensors)
        return fail(err, CYGNET_ENOMEM, 0, "no memory for the layout of the job's model");
    for (size_t i = 0; i < n; i++) {
        const cygnet_tensor *t = cygnet_tensors_at(weights, i);
        size_t size = strlen(t->name) + 1;

        out->tensors[i] = *t;
        out->tensors[i].name = memcpy(name, t->name, size);
        out->tensors[i].data = NULL;
        out->bytes += t->size_bytes;
        name += size;
    }
    out->n_tensors = n;
    return CYGNET_OK;
}

static cygnet_status build(cygnet_tensors **out, const cygnet_job *job,
                           const cygnet_allocator *alloc, cygnet_error *err)
{
    cygnet_model_options options;
    cygnet_model *model;
    cygnet_status st;

    *out = NULL;
    cygnet_model_options_init(&options);
    options.architecture = job->architecture;
    options.n_classes = job->n_classes;
    options.n_input_dims = job->n_input_dims;
    memcpy(options.input, job->input, sizeof(options.input));
    options.max_batch = 1;
    options.allocator = alloc;
    st = model_create(&model, &options, &nn_serial_executor, err);
    if (st != CYGNET_OK)
        return st;
    st = cygnet_model_get_weights(out, model, err);
    cygnet_model_destroy(model);
    return st;
}

cygnet_status layout_init(struct layout *out, const cygnet_job *job, uint64_t max_bytes,
                          const cygnet_allocator *alloc, cygnet_error *err)
{
    cygnet_tensors *weights;
    cygnet_status st = build(&weights, job, alloc, err);

    *out = (struct layout){.alloc = alloc};
    if (st == CYGNET_OK)
        st = copy(out, weights, err);
    cygnet_tensors_destroy(weights);
    if (st == CYGNET_OK && out->bytes > max_bytes)
        st = fail(err, CYGNET_EINVAL, 0,
                  "its model has %" PRIu64 " bytes; max_model_bytes is %" PRIu64,
                  out->bytes, max_bytes);
    if (st == CYGNET_OK)
        return st;
    layout_clear(out);
    if (st == CYGNET_ENOMEM)
        return st;
    if (err)
        err->status = CYGNET_EINVAL;
    return fail_within(err, CYGNET_EINVAL, "job");
}

void layout_clear(struct layout *layout)
{
    mem_free(layout->alloc, layout->tensors);
    mem_free(layout->alloc, layout->names);
    *layout = (struct layout){.alloc = layout->alloc};
}
