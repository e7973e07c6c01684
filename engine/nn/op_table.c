/* The op table. */
#include "engine/nn/op.h"

static const struct op *const table[OP_N_KINDS] = {
    [OP_LINEAR] = &op_linear,
    [OP_CONV2D] = &op_conv2d,
    [OP_MAX_POOL2D] = &op_max_pool2d,
    [OP_FLATTEN] = &op_flatten,
    [OP_CROSS_ENTROPY] = &op_cross_entropy,
    [OP_BATCH_NORM2D] = &op_batch_norm2d,
    [OP_ADD] = &op_add,
    [OP_AVG_POOL2D] = &op_avg_pool2d,
    [OP_DROPOUT] = &op_dropout,
};

const struct op *op_of(const struct node *node)
{
    return node->kind == OP_ACTIVATION ? activation_op(node->params.activation.kind)
                                       : table[node->kind];
}

const struct shape *node_input_shape(const struct graph *graph, const struct node *node,
                                     uint32_t i)
{
    return &graph->tensors[node->in[i]].shape;
}
