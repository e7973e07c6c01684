/* The op table: one row per kind of node, defined in the op's own file. */
#ifndef ENGINE_NN_OP_H
#define ENGINE_NN_OP_H

#include "engine/nn/graph.h"
#include "engine/nn/lower.h"

/* Work of a node per example; for parameters' own traffic, per step.
 *
 * flops  multiplications and additions, each counted
 * bytes  read and written, every operand once */
struct op_cost {
    double forward_flops;
    double backward_flops;
    double forward_bytes;
    double backward_bytes;
    double weight_bytes;
};

/* infer         shape of the output from the inputs' (err: reason, no name)
 * forward       adds the calls; called in node order
 * backward      adds the calls that write the gradients of inputs that need
 *               one; called once, in reverse node order
 * update        NULL, or adds the calls that a training step ends with: the op's
 *               buffers change here and nowhere else
 * can_remake    forward may be called again, in the backward pass: it makes the output
 *               that lower_output gives, each time
 * between       NULL, or adds the calls that come after each piece of a batch but the
 *               last, of a training step that takes one in pieces: `update` begins
 *               with what they leave
 * min_batch     NULL (1), or the examples it needs to be trained */
struct op {
    const char *name;
    cygnet_status (*infer)(struct shape *out, const struct graph *graph,
                           const struct node *node, cygnet_error *err);
    void (*forward)(struct lowering *l, const struct node *node);
    void (*backward)(struct lowering *l, const struct node *node);
    void (*update)(struct lowering *l, const struct node *node);
    bool can_remake;
    void (*between)(struct lowering *l, const struct node *node);
    size_t (*min_batch)(const struct node *node);
    void (*cost)(struct op_cost *out, const struct graph *graph, const struct node *node);
};

extern const struct op op_linear, op_conv2d, op_activation, op_max_pool2d, op_flatten,
    op_cross_entropy, op_batch_norm2d, op_add, op_avg_pool2d, op_dropout, op_concat,
    op_slice, op_channel_shuffle, op_scale, op_embedding, op_lstm, op_gru, op_last;

const struct op *op_of(const struct node *node);

/* Shape of a node's input `i`. */
const struct shape *node_input_shape(const struct graph *graph, const struct node *node,
                                     uint32_t i);

#endif
