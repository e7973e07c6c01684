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

/* dx = dy, when they could not share memory. */
static void run_copy(const struct call *call, const struct step *step, size_t block,
                     size_t worker)
{
    size_t elements = call->node->params.elementwise.elements;
    struct span rows = call_rows(call, step, block);
    real *dx = step_buffer(step, call, 0);
    const real *dy = step_buffer(step, call, 1);

    (void)worker;
    for (size_t i = rows.first * elements; i < (rows.first + rows.n) * elements; i++)
        dx[i] = dy[i];
}

static void backward(struct lowering *l, const struct node *node)
{
    struct partition rows = {.rows_per_block = ROWS_PER_BLOCK};
    int dy = lower_output_grad(l, node);
    int dx = lower_input_grad(l, node, 0);

    if (dx >= 0 && dx != dy)
        lower_call(l, run_copy, node, &rows, (const int[]){dx, dy}, 2);
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
