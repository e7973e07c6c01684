/* One dimension per example: the same memory under another shape. */
#include "engine/nn/op.h"

int graph_flatten(struct graph *graph, const char *name, int in)
{
    union op_params params = {0};

    if (in == NO_TENSOR)
        return NO_TENSOR;
    params.elementwise.elements = shape_elements(&graph->tensors[in].shape);
    return graph_node(graph, OP_FLATTEN, name, &params, &in, 1);
}

static cygnet_status infer(struct shape *out, const struct graph *graph,
                           const struct node *node, cygnet_error *err)
{
    (void)graph;
    (void)err;
    *out = (struct shape){1, {node->params.elementwise.elements}};
    return CYGNET_OK;
}

/* Rows become one. A norm is per channel, and so has to be gone through first. */
static void forward(struct lowering *l, const struct node *node)
{
    struct operand x;
    bool is_free;

    if (lower_source(l)->tensors[node->in[0]].kind == TENSOR_INPUT)
        return; /* laid out if somebody asks */
    x = lower_operand(l, node->in[0]);
    is_free =
        lower_is_free(l, node) && lower_keeps_zero(x.act) && (x.norm < 0 || x.rows == 1);
    if (!is_free)
        x = lower_copy(l, node);
    x.channels *= x.rows;
    x.rows = 1;
    lower_read_as(l, node, is_free, &x);
}

static void backward(struct lowering *l, const struct node *node)
{
    if (lower_source(l)->tensors[node->in[0]].kind != TENSOR_INPUT &&
        lower_is_copy(l, node))
        lower_pass_on(l, node, 0);
}

static void cost(struct op_cost *out, const struct graph *graph, const struct node *node)
{
    (void)out;
    (void)graph;
    (void)node;
}

const struct op op_flatten = {
    .name = "flatten",
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .cost = cost,
};
