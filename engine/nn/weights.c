/* Weights and gradients in and out, as lists of named tensors. */
#include "engine/nn/model_parts.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>

typedef real *(*source_fn)(const cygnet_model *model, size_t tensor);

static bool is_parameter(const cygnet_model *model, size_t tensor)
{
    return model->graph.tensors[tensor].kind == TENSOR_PARAMETER;
}

static size_t n_parameters(const cygnet_model *model)
{
    size_t n = 0;

    for (size_t i = 0; i < model->graph.n_tensors; i++)
        n += is_parameter(model, i);
    return n;
}

static cygnet_status add_tensor(cygnet_tensors *list, const struct tensor *t,
                                const real *data, cygnet_error *err)
{
    uint64_t shape[GRAPH_MAX_DIMS];
    cygnet_tensor *to;
    cygnet_status st;

    for (uint32_t d = 0; d < t->shape.n_dims; d++)
        shape[d] = t->shape.dim[d];
    st = cygnet_tensors_add(&to, list, t->name, REAL_DTYPE, shape, t->shape.n_dims, err);
    if (st == CYGNET_OK)
        memcpy(to->data, data, (size_t)to->size_bytes);
    return st;
}

static cygnet_status copy_out(cygnet_tensors **out, const cygnet_model *model,
                              source_fn source, cygnet_error *err)
{
    uint64_t bytes = cygnet_model_n_parameters(model) * sizeof(real);
    cygnet_status st = cygnet_tensors_create(out, bytes, model->alloc, err);

    for (size_t i = 0; st == CYGNET_OK && i < model->graph.n_tensors; i++) {
        if (is_parameter(model, i))
            st = add_tensor(*out, &model->graph.tensors[i], source(model, i), err);
    }
    if (st != CYGNET_OK) {
        cygnet_tensors_destroy(*out);
        *out = NULL;
    }
    return st;
}

cygnet_status cygnet_model_get_weights(cygnet_tensors **out, const cygnet_model *model,
                                       cygnet_error *err)
{
    *out = NULL;
    return copy_out(out, model, model_value, err);
}

cygnet_status cygnet_model_gradients(cygnet_tensors **out, cygnet_metrics *metrics,
                                     cygnet_model *model, const float *x,
                                     const int64_t *y, uint32_t n, cygnet_error *err)
{
    cygnet_status st;

    *out = NULL;
    st = model_backward(model, metrics, x, y, n, err);
    return st == CYGNET_OK ? copy_out(out, model, model_grad, err) : st;
}

/* "F32 (3, 4)", for messages. */
static void describe(char *out, size_t size, const char *dtype, const uint64_t *shape,
                     uint32_t n_dims)
{
    size_t used = (size_t)snprintf(out, size, "%s (", dtype ? dtype : "?");

    for (uint32_t d = 0; d < n_dims && used < size; d++)
        used += (size_t)snprintf(out + used, size - used, "%s%llu", d > 0 ? ", " : "",
                                 (unsigned long long)shape[d]);
    if (used < size)
        (void)snprintf(out + used, size - used, ")");
}

static bool same_shape(const struct tensor *t, const cygnet_tensor *found)
{
    if (found->dtype != REAL_DTYPE || found->n_dims != t->shape.n_dims)
        return false;
    for (uint32_t d = 0; d < found->n_dims; d++) {
        if (found->shape[d] != t->shape.dim[d])
            return false;
    }
    return true;
}

static cygnet_status fail_shape(const struct tensor *t, const cygnet_tensor *found,
                                cygnet_error *err)
{
    char want[64], got[64];
    uint64_t shape[GRAPH_MAX_DIMS];

    for (uint32_t d = 0; d < t->shape.n_dims; d++)
        shape[d] = t->shape.dim[d];
    describe(want, sizeof(want), cygnet_dtype_name(REAL_DTYPE), shape, t->shape.n_dims);
    describe(got, sizeof(got), cygnet_dtype_name(found->dtype), found->shape,
             found->n_dims);
    return fail(err, CYGNET_ESHAPE, 0, "tensor %s: expected %s, found %s", t->name, want,
                got);
}

static cygnet_status check_tensor(const cygnet_model *model, const struct tensor *t,
                                  const cygnet_tensors *weights, cygnet_error *err)
{
    const cygnet_tensor *found = cygnet_tensors_find(weights, t->name);

    if (!found)
        return fail(err, CYGNET_ENOTFOUND, 0, "tensor %s is missing from the weights",
                    t->name);
    if (!same_shape(t, found))
        return fail_shape(t, found, err);
    if (!model->kernels.all_finite(found->data, shape_elements(&t->shape)))
        return fail(err, CYGNET_ENUMERIC, 0,
                    "tensor %s: expected finite values, found NaN or infinity", t->name);
    return CYGNET_OK;
}

/* Names the first tensor that the model does not have. */
static cygnet_status fail_extra(const cygnet_model *model, const cygnet_tensors *weights,
                                cygnet_error *err)
{
    for (size_t i = 0; i < cygnet_tensors_count(weights); i++) {
        const char *name = cygnet_tensors_at(weights, i)->name;
        bool known = false;

        for (size_t t = 0; t < model->graph.n_tensors && !known; t++)
            known =
                is_parameter(model, t) && strcmp(model->graph.tensors[t].name, name) == 0;
        if (!known)
            return fail(err, CYGNET_EINVAL, 0,
                        "tensor %.100s is not one of this model's %zu", name,
                        n_parameters(model));
    }
    return fail(err, CYGNET_EINVAL, 0, "expected %zu tensors, found %zu",
                n_parameters(model), cygnet_tensors_count(weights));
}

static cygnet_status check_weights(const cygnet_model *model,
                                   const cygnet_tensors *weights, cygnet_error *err)
{
    cygnet_status st = CYGNET_OK;

    for (size_t i = 0; st == CYGNET_OK && i < model->graph.n_tensors; i++) {
        if (is_parameter(model, i))
            st = check_tensor(model, &model->graph.tensors[i], weights, err);
    }
    if (st == CYGNET_OK && cygnet_tensors_count(weights) != n_parameters(model))
        st = fail_extra(model, weights, err);
    return st;
}

cygnet_status cygnet_model_set_weights(cygnet_model *model, const cygnet_tensors *weights,
                                       cygnet_error *err)
{
    const struct program *p = &model->program;
    cygnet_status st = check_weights(model, weights, err);

    for (size_t i = 0; st == CYGNET_OK && i < model->graph.n_tensors; i++) {
        const struct tensor *t = &model->graph.tensors[i];
        size_t bytes = shape_elements(&t->shape) * sizeof(real);

        if (!is_parameter(model, i))
            continue;
        memcpy(model_value(model, i), cygnet_tensors_find(weights, t->name)->data, bytes);
        memset(p->buffers[p->of[i].velocity].data, 0, bytes);
    }
    return st;
}
