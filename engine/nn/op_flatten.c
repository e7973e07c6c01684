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

static void forward(struct lowering *l, const struct node *node)
{
    (void)l;
    (void)node;
}

static void backward(struct lowering *l, const struct node *node)
{
    int dy = lower_output_grad(l, node);

    lower_pass_on(l, node, lower_input_grad(l, node, 0), dy);
}

static void cost(struct op_cost *out, const struct graph *graph, const struct node *node)
{
    (void)out;
    (void)graph;
    (void)node;
}

const struct op op_flatten = {
    .name = "flatten",
    .grad_in_place = true,
    .view = true,
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .cost = cost,
};
