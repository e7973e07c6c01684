/* Activations: y = f(x) element by element. relu and relu6 are in op_relu.c. */
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

/* From y alone: the input's memory can be overwritten. */
static const struct op op_hardsigmoid = {
    .name = "hardsigmoid",
    .in_place = true,
    .grad_in_place = true,
    .reads_output = true,
    .infer = infer,
    .cost = cost,
};

static const struct op op_sigmoid = {
    .name = "sigmoid",
    .in_place = true,
    .grad_in_place = true,
    .reads_output = true,
    .infer = infer,
    .cost = cost,
};

static const struct op op_tanh = {
    .name = "tanh",
    .in_place = true,
    .grad_in_place = true,
    .reads_output = true,
    .infer = infer,
    .cost = cost,
};

/* Not monotonic: y does not tell x. */
static const struct op op_hardswish = {.name = "hardswish",
                                       .grad_in_place = true,
                                       .infer = infer,
                                       .cost = cost};

static const struct op op_silu = {.name = "silu",
                                  .grad_in_place = true,
                                  .infer = infer,
                                  .cost = cost};

static const struct op op_gelu = {.name = "gelu",
                                  .grad_in_place = true,
                                  .infer = infer,
                                  .cost = cost};

const struct op *activation_op(enum activation kind)
{
    static const struct op *const table[ACT_N_KINDS] = {
        [ACT_RELU] = &op_relu,           [ACT_RELU6] = &op_relu6,
        [ACT_HARDSWISH] = &op_hardswish, [ACT_HARDSIGMOID] = &op_hardsigmoid,
        [ACT_SILU] = &op_silu,           [ACT_SIGMOID] = &op_sigmoid,
        [ACT_TANH] = &op_tanh,           [ACT_GELU] = &op_gelu,
    };

    assert(kind > ACT_NONE && kind < ACT_N_KINDS);
    return table[kind];
}
