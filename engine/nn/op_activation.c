/* Activations: y = f(x) element by element. */
#include "engine/nn/op.h"

#include <assert.h>

int graph_activate(struct graph *graph, const char *name, int in, enum activation kind)
{
    union op_params params = {0};

    assert(kind < ACT_N_KINDS);
    if (in == NO_TENSOR || kind == ACT_NONE)
        return in;
    params.activation.elements = shape_elements(&graph->tensors[in].shape);
    params.activation.kind = kind;
    return graph_node(graph, OP_ACTIVATION, name, &params, &in, 1);
}

int graph_relu(struct graph *graph, const char *name, int in)
{
    return graph_activate(graph, name, in, ACT_RELU);
}

int graph_relu6(struct graph *graph, const char *name, int in)
{
    return graph_activate(graph, name, in, ACT_RELU6);
}

static cygnet_status infer(struct shape *out, const struct graph *graph,
                           const struct node *node, cygnet_error *err)
{
    (void)err;
    *out = *node_input_shape(graph, node, 0);
    return CYGNET_OK;
}

/* Operations of one value; exp, tanh, erf and a division count as one each. */
static const struct {
    double forward;
    double backward;
} flops[ACT_N_KINDS] = {
    [ACT_RELU] = {1, 1},
    [ACT_RELU6] = {2, 2},
    [ACT_HARDSWISH] = {4, 3}, /* x min(max(x + 3, 0), 6) / 6 */
    [ACT_HARDSIGMOID] = {3, 1},
    [ACT_SILU] = {4, 5}, /* with s = sigmoid(x): dy s (1 + x (1 - s)) */
    [ACT_SIGMOID] = {3, 3},
    [ACT_TANH] = {1, 3},
    [ACT_GELU] = {4, 8}, /* x (1 + erf(x / sqrt(2))) / 2 */
};

/* Backward reads dy and one of x and y, and writes dx. */
static void cost(struct op_cost *out, const struct graph *graph, const struct node *node)
{
    double n = (double)shape_elements(node_input_shape(graph, node, 0));
    enum activation kind = node->params.activation.kind;

    out->forward_flops = flops[kind].forward * n;
    out->backward_flops = flops[kind].backward * n;
    out->forward_bytes = 2 * n * sizeof(real);
    out->backward_bytes = 3 * n * sizeof(real);
}

/* Nothing is stored: whoever reads the output applies the function. */
static void forward(struct lowering *l, const struct node *node)
{
    (void)lower_read_through(l, node, -1, node->params.activation.kind);
}

static void backward(struct lowering *l, const struct node *node)
{
    if (lower_is_copy(l, node))
        lower_pass_on(l, node, 0);
}

const struct op op_activation = {
    .name = "activation",
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .cost = cost,
};
