/* The op table. */
#include "engine/nn/op.h"

static const struct op *const table[OP_N_KINDS] = {
    [OP_LINEAR] = &op_linear,
    [OP_CONV2D] = &op_conv2d,
    [OP_ACTIVATION] = &op_activation,
    [OP_MAX_POOL2D] = &op_max_pool2d,
    [OP_FLATTEN] = &op_flatten,
    [OP_CROSS_ENTROPY] = &op_cross_entropy,
    [OP_BATCH_NORM2D] = &op_batch_norm2d,
    [OP_ADD] = &op_add,
    [OP_AVG_POOL2D] = &op_avg_pool2d,
    [OP_DROPOUT] = &op_dropout,
    [OP_CONCAT] = &op_concat,
    [OP_SLICE] = &op_slice,
    [OP_CHANNEL_SHUFFLE] = &op_channel_shuffle,
    [OP_SCALE] = &op_scale,
    [OP_EMBEDDING] = &op_embedding,
    [OP_LSTM] = &op_lstm,
    [OP_GRU] = &op_gru,
    [OP_LAST] = &op_last,
};

const struct op *op_of(const struct node *node)
{
    return table[node->kind];
}

const struct shape *node_input_shape(const struct graph *graph, const struct node *node,
                                     uint32_t i)
{
    return &graph->tensors[node->in[i]].shape;
}
