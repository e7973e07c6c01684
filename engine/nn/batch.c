/* What a batch has to be. */
#include "engine/nn/batch.h"

#include "base/error.h"
#include "engine/nn/op.h"

#include <float.h>
#include <inttypes.h>

size_t model_input_elements(const cygnet_model *model)
{
    return shape_elements(&model->graph.tensors[model->graph.input].shape);
}

static bool floats_finite(const float *x, size_t n)
{
    int bad = 0; /* no early exit, so that it vectorises */

    for (size_t i = 0; i < n; i++)
        bad |= !(x[i] >= -FLT_MAX && x[i] <= FLT_MAX);
    return !bad;
}

/* What an embedding of the input looks up; 0: there is none. */
static size_t n_symbols(const cygnet_model *model)
{
    for (size_t i = 0; i < model->graph.n_nodes; i++) {
        const struct node *node = &model->graph.nodes[i];

        if (node->kind == OP_EMBEDDING && node->in[0] == model->graph.input)
            return node->params.embedding.n_symbols;
    }
    return 0;
}

static cygnet_status check_symbols(const cygnet_model *model, const float *x, uint64_t n,
                                   cygnet_error *err)
{
    size_t elements = model_input_elements(model), limit = n_symbols(model);

    for (uint64_t i = 0; limit > 0 && i < n * elements; i++) {
        if (!(x[i] >= 0 && x[i] < (float)limit) || x[i] != (float)(uint32_t)x[i])
            return fail(err, CYGNET_EDATA, 0,
                        "symbol %" PRIu64 " of example %" PRIu64
                        " is %g: want a whole number from 0 to %zu",
                        i % elements, i / elements, (double)x[i], limit - 1);
    }
    return CYGNET_OK;
}

cygnet_status batch_check_inputs(const cygnet_model *model, const float *x, uint64_t n,
                                 cygnet_error *err)
{
    size_t elements = model_input_elements(model);

    if (floats_finite(x, (size_t)n * elements))
        return check_symbols(model, x, n, err);
    for (uint64_t row = 0; row < n; row++) {
        if (!floats_finite(x + row * elements, elements))
            return fail(err, CYGNET_ENUMERIC, 0,
                        "example %" PRIu64 " of the batch holds NaN or infinity", row);
    }
    return CYGNET_OK;
}

cygnet_status batch_check_labels(const cygnet_model *model, const int64_t *y, uint64_t n,
                                 cygnet_error *err)
{
    for (uint64_t row = 0; row < n; row++) {
        if (y[row] < 0 || y[row] >= (int64_t)model->n_classes)
            return fail(err, CYGNET_EDATA, 0,
                        "label of example %" PRIu64 " is %" PRId64 ": want 0 to %u", row,
                        y[row], model->n_classes - 1);
    }
    return CYGNET_OK;
}

cygnet_status batch_check_count(const cygnet_model *model, uint32_t n, cygnet_error *err)
{
    if (n >= 1 && n <= model->max_batch)
        return CYGNET_OK;
    return fail(err, CYGNET_EINVAL, 0, "a batch of %u examples: want 1 to %u", n,
                model->max_batch);
}

/* The shortest piece of a batch. */
static uint32_t last_piece(const cygnet_model *model, uint32_t n)
{
    return n % model->piece == 0 ? model->piece : n % model->piece;
}

cygnet_status batch_check_min_batch(const cygnet_model *model, uint32_t n,
                                    cygnet_error *err)
{
    uint32_t last = last_piece(model, n);

    for (size_t i = 0; i < model->graph.n_nodes; i++) {
        const struct node *node = &model->graph.nodes[i];
        const struct op *op = op_of(node);

        if (!op->min_batch || last >= op->min_batch(node))
            continue;
        if (last == n)
            return fail(err, CYGNET_EINVAL, 0,
                        "a batch of %u examples: layer %s needs %zu to be trained", n,
                        node->name, op->min_batch(node));
        return fail(err, CYGNET_EINVAL, 0,
                    "a batch of %u examples in pieces of %u: the last has %u, layer %s "
                    "needs %zu to be trained",
                    n, model->piece, last, node->name, op->min_batch(node));
    }
    return CYGNET_OK;
}
