/* Weights and gradients in and out, as lists of named tensors. */
#include "engine/nn/model_parts.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>

static const struct tensor *tensor_at(const cygnet_model *model, size_t tensor)
{
    return &model->graph.tensors[tensor];
}

static cygnet_dtype dtype_of(const struct tensor *t)
{
    return t->kind == TENSOR_COUNTER ? CYGNET_I64 : REAL_DTYPE;
}

static size_t n_state(const cygnet_model *model)
{
    size_t n = 0;

    for (size_t i = 0; i < model->graph.n_tensors; i++)
        n += tensor_is_state(tensor_at(model, i));
    return n;
}

static size_t state_bytes(const struct tensor *t)
{
    return shape_elements(&t->shape) * cygnet_dtype_size(dtype_of(t));
}

static cygnet_status add_tensor(cygnet_tensors *list, const cygnet_model *model,
                                size_t tensor, bool gradient, cygnet_error *err)
{
    const struct tensor *t = tensor_at(model, tensor);
    uint64_t shape[GRAPH_MAX_DIMS];
    cygnet_tensor *to;
    cygnet_status st;

    for (uint32_t d = 0; d < t->shape.n_dims; d++)
        shape[d] = t->shape.dim[d];
    st = cygnet_tensors_add(&to, list, t->name, dtype_of(t), shape, t->shape.n_dims, err);
    if (st != CYGNET_OK)
        return st;
    if (t->kind == TENSOR_COUNTER)
        memcpy(to->data, model_counter(model, tensor), sizeof(int64_t));
    else if (gradient)
        model_read_gradient(to->data, model, tensor);
    else
        model_read_state(to->data, model, tensor);
    return CYGNET_OK;
}

/* All state, or the gradients of what is trained. */
static cygnet_status copy_out(cygnet_tensors **out, const cygnet_model *model,
                              bool gradients, cygnet_error *err)
{
    cygnet_status st;
    uint64_t bytes = 0;

    for (size_t i = 0; i < model->graph.n_tensors; i++) {
        if (tensor_is_state(tensor_at(model, i)))
            bytes += state_bytes(tensor_at(model, i));
    }
    st = cygnet_tensors_create(out, bytes, model->alloc, err);
    for (size_t i = 0; st == CYGNET_OK && i < model->graph.n_tensors; i++) {
        const struct tensor *t = tensor_at(model, i);

        if (gradients ? model_is_trained(model, i) : tensor_is_state(t))
            st = add_tensor(*out, model, i, gradients, err);
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
    cygnet_status st = model_check_whole(model, err);

    *out = NULL;
    return st == CYGNET_OK ? copy_out(out, model, false, err) : st;
}

cygnet_status cygnet_model_gradients(cygnet_tensors **out, cygnet_metrics *metrics,
                                     cygnet_model *model, const float *x,
                                     const int64_t *y, uint32_t n, cygnet_error *err)
{
    cygnet_status st;

    *out = NULL;
    st = model_backward(model, metrics, x, y, n, err);
    return st == CYGNET_OK ? copy_out(out, model, true, err) : st;
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
    if (found->dtype != dtype_of(t) || found->n_dims != t->shape.n_dims)
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
    describe(want, sizeof(want), cygnet_dtype_name(dtype_of(t)), shape, t->shape.n_dims);
    describe(got, sizeof(got), cygnet_dtype_name(found->dtype), found->shape,
             found->n_dims);
    return fail(err, CYGNET_ESHAPE, 0, "tensor %s: expected %s, found %s", t->name, want,
                got);
}

/* A variance or a count below 0 would make NaN in the next evaluation. */
static cygnet_status check_values(const cygnet_model *model, const struct tensor *t,
                                  const cygnet_tensor *found, cygnet_error *err)
{
    size_t n = shape_elements(&t->shape);
    bool is_below = false;

    if (t->kind == TENSOR_COUNTER)
        is_below = *(const int64_t *)found->data < 0;
    else if (!model->kernels.all_finite(found->data, n))
        return fail(err, CYGNET_ENUMERIC, 0,
                    "tensor %s: expected finite values, found NaN or infinity", t->name);
    /* A buffer that begins at 1 is a variance. */
    for (size_t i = 0; t->kind == TENSOR_BUFFER && t->init.value > 0 && i < n; i++)
        is_below |= ((const real *)found->data)[i] < 0;
    return is_below ? fail(err, CYGNET_ENUMERIC, 0,
                           "tensor %s: expected 0 or more, found less", t->name)
                    : CYGNET_OK;
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
    return check_values(model, t, found, err);
}

/* Names the first tensor that the model does not have. */
static cygnet_status fail_extra(const cygnet_model *model, const cygnet_tensors *weights,
                                cygnet_error *err)
{
    for (size_t i = 0; i < cygnet_tensors_count(weights); i++) {
        const char *name = cygnet_tensors_at(weights, i)->name;
        bool known = false;

        for (size_t t = 0; t < model->graph.n_tensors && !known; t++)
            known = tensor_is_state(tensor_at(model, t)) &&
                    strcmp(model->graph.tensors[t].name, name) == 0;
        if (!known)
            return fail(err, CYGNET_EINVAL, 0,
                        "tensor %.100s is not one of this model's %zu", name,
                        n_state(model));
    }
    return fail(err, CYGNET_EINVAL, 0, "expected %zu tensors, found %zu", n_state(model),
                cygnet_tensors_count(weights));
}

static cygnet_status check_weights(const cygnet_model *model,
                                   const cygnet_tensors *weights, cygnet_error *err)
{
    cygnet_status st = CYGNET_OK;

    for (size_t i = 0; st == CYGNET_OK && i < model->graph.n_tensors; i++) {
        if (tensor_is_state(tensor_at(model, i)))
            st = check_tensor(model, &model->graph.tensors[i], weights, err);
    }
    if (st == CYGNET_OK && cygnet_tensors_count(weights) != n_state(model))
        st = fail_extra(model, weights, err);
    return st;
}

static void copy_buffer(const struct program *p, int to, int from)
{
    if (to >= 0)
        memcpy(p->buffers[to].data, p->buffers[from].data, (size_t)p->buffers[to].size);
}

static void clear_buffer(const struct program *p, int buffer)
{
    if (buffer >= 0)
        memset(p->buffers[buffer].data, 0, (size_t)p->buffers[buffer].size);
}

void model_take_reference(cygnet_model *model)
{
    const struct program *p = &model->program;

    for (size_t i = 0; i < p->n_tensors; i++)
        copy_buffer(p, p->of[i].reference, p->of[i].value);
}

cygnet_status cygnet_model_set_reference(cygnet_model *model, cygnet_error *err)
{
    if (!model->graph.update.reference)
        return fail(err, CYGNET_EINVAL, 0,
                    "the model's options did not plan for a proximal term");
    model_take_reference(model);
    return CYGNET_OK;
}

static void reset_optimizer(cygnet_model *model)
{
    const struct program *p = &model->program;

    for (size_t i = 0; i < p->n_tensors; i++) {
        clear_buffer(p, p->of[i].state[0]);
        clear_buffer(p, p->of[i].state[1]);
    }
    model->n_steps = model->n_moments = 0;
}

cygnet_status cygnet_model_set_weights(cygnet_model *model, const cygnet_tensors *weights,
                                       cygnet_error *err)
{
    cygnet_status st = check_weights(model, weights, err);

    if (st != CYGNET_OK)
        return st;
    for (size_t i = 0; i < model->graph.n_tensors; i++) {
        const struct tensor *t = tensor_at(model, i);

        const cygnet_tensor *found = cygnet_tensors_find(weights, t->name);

        if (t->kind == TENSOR_COUNTER)
            memcpy(model_counter(model, i), found->data, sizeof(int64_t));
        else if (tensor_is_state(t))
            model_write_state(model, i, found->data);
    }
    model->is_torn = false;
    model_take_reference(model);
    reset_optimizer(model);
    return CYGNET_OK;
}
