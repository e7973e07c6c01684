/* Values and gradients in PyTorch's order, whatever their layout. */
#include "engine/nn/model_parts.h"

#include "base/alloc.h"

#include <string.h>

/* Two arrays, one in each order. */
struct pair {
    real *native;
    real *stored;
};

static void copy_out(void *context, size_t native, size_t stored)
{
    struct pair *p = context;

    p->native[native] = p->stored[stored];
}

static void copy_in(void *context, size_t native, size_t stored)
{
    struct pair *p = context;

    p->stored[stored] = p->native[native];
}

static void *data_of(const cygnet_model *model, int buffer)
{
    return buffer < 0 ? NULL : model->program.buffers[buffer].data;
}

void model_read_state(real *out, const cygnet_model *model, size_t tensor)
{
    struct pair p = {out, model_value(model, tensor)};

    layout_each(&model->graph.tensors[tensor].layout, copy_out, &p);
}

void model_write_state(cygnet_model *model, size_t tensor, const real *in)
{
    struct pair p = {NULL, model_value(model, tensor)};

    memcpy(&p.native, &in, sizeof(in)); /* only read */
    layout_each(&model->graph.tensors[tensor].layout, copy_in, &p);
}

void model_read_gradient(real *out, const cygnet_model *model, size_t tensor)
{
    struct pair p = {out, data_of(model, model->program.of[tensor].grad)};

    layout_each(&model->graph.tensors[tensor].layout, copy_out, &p);
}

/* Rows of one or more examples to PyTorch's order. */
static void copy_rows(real *out, const real *rows, const struct shape *shape,
                      const struct operand *at, size_t n)
{
    size_t channels = shape->n_dims == 3   ? shape->dim[0]
                      : shape->n_dims == 2 ? shape->dim[1]
                                           : shape_elements(shape);
    size_t n_rows = shape_elements(shape) / channels;
    size_t pitch = at->channels * at->rows / n_rows;

    for (size_t e = 0; e < n; e++) {
        for (size_t r = 0; r < n_rows; r++, rows += pitch) {
            for (size_t c = 0; c < channels; c++)
                out[shape->n_dims == 3 ? c * n_rows + r : r * channels + c] = rows[c];
        }
        out += n_rows * channels;
    }
}

void model_read_rows(real *out, const cygnet_model *model, size_t tensor,
                     const real *rows, size_t n)
{
    copy_rows(out, rows, &model->graph.tensors[tensor].shape,
              &model->program.of[tensor].at, n);
}

/* ---- Gradients on demand -------------------------------------------------- */

static bool is_bound_on_demand(const cygnet_model *model, size_t tensor)
{
    const struct tensor_buffers *of = &model->program.of[tensor];

    return of->fused && of->grad >= 0;
}

static size_t stored_elements(const cygnet_model *model, size_t tensor)
{
    return layout_elements(&model->graph.tensors[tensor].layout);
}

bool model_bind_gradients(cygnet_model *model)
{
    size_t n = 0;
    real *at;

    for (size_t i = 0; i < model->graph.n_tensors; i++)
        n += is_bound_on_demand(model, i) ? stored_elements(model, i) : 0;
    if (n == 0 || model->gradients)
        return true;
    at = model->gradients = mem_calloc(model->alloc, n, sizeof(real));
    if (!at)
        return false;
    for (size_t i = 0; i < model->graph.n_tensors; i++) {
        if (!is_bound_on_demand(model, i))
            continue;
        model->program.buffers[model->program.of[i].grad].data = at;
        at += stored_elements(model, i);
    }
    return true;
}
