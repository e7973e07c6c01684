/* Dense layer: y = x w^T + b. x is read as one row per example, whatever its
 * shape. */
#include "engine/nn/dense.h"
#include "engine/nn/op.h"

enum { X, W, B };

static bool is_input(const struct graph *graph, int in)
{
    int producer = graph->tensors[in].producer;

    if (producer >= 0 && graph->nodes[producer].kind == OP_FLATTEN)
        in = graph->nodes[producer].in[0];
    return graph->tensors[in].kind == TENSOR_INPUT && !graph->tensors[in].needs_grad;
}

static struct layout layout_of(const struct graph *graph, int in, size_t n_out)
{
    const struct shape *image = graph_flattened(graph, in);
    struct layout l = {LAYOUT_PANELS,
                       n_out,
                       shape_elements(&graph->tensors[in].shape),
                       1,
                       is_input(graph, in),
                       false,
                       false};

    if (!image)
        return l;
    l.taps_first = image->n_dims == 2;
    l.n_in = image->dim[l.taps_first ? 1 : 0];
    l.n_taps = shape_elements(image) / l.n_in;
    return l;
}

int graph_linear(struct graph *graph, const char *name, int in, size_t n_out)
{
    union op_params params = {0};
    int inputs[3] = {in, NO_TENSOR, NO_TENSOR};
    struct layout layout;
    size_t n_in;

    if (in == NO_TENSOR)
        return NO_TENSOR;
    n_in = shape_elements(&graph->tensors[in].shape);
    params.linear = (struct linear_params){n_in, n_out};
    layout = layout_of(graph, in, n_out);
    inputs[W] =
        graph_parameter(graph, name, "weight", &(struct shape){2, {n_out, n_in}}, n_in);
    graph_set_layout(graph, inputs[W], &layout);
    inputs[B] = graph_parameter(graph, name, "bias", &(struct shape){1, {n_out}}, n_in);
    return graph_node(graph, OP_LINEAR, name, &params, inputs, 3);
}

static cygnet_status infer(struct shape *out, const struct graph *graph,
                           const struct node *node, cygnet_error *err)
{
    (void)graph;
    (void)err;
    *out = (struct shape){1, {node->params.linear.n_out}};
    return CYGNET_OK;
}

/* As a convolution of images of one position. */
static struct conv2d_shape dense_shape(const struct lowering *l, const struct node *node)
{
    const struct layout *layout = &lower_source(l)->tensors[node->in[W]].layout;

    return (struct conv2d_shape){.c_in = layout_inputs(layout),
                                 .h_in = 1,
                                 .w_in = 1,
                                 .c_out = node->params.linear.n_out,
                                 .h_out = 1,
                                 .w_out = 1,
                                 .k_h = 1,
                                 .k_w = 1,
                                 .stride_h = 1,
                                 .stride_w = 1,
                                 .dilation_h = 1,
                                 .dilation_w = 1,
                                 .groups = 1};
}

static void forward(struct lowering *l, const struct node *node)
{
    struct conv2d_shape shape = dense_shape(l, node);

    dense_lower_forward(l, node, &shape);
}

static void backward(struct lowering *l, const struct node *node)
{
    struct conv2d_shape shape = dense_shape(l, node);

    dense_lower_backward(l, node, &shape);
}

static void cost(struct op_cost *out, const struct graph *graph, const struct node *node)
{
    double n_in = (double)node->params.linear.n_in;
    double n_out = (double)node->params.linear.n_out;
    double to_input = graph->tensors[node->in[X]].needs_grad ? 1 : 0;

    out->forward_flops = 2 * n_in * n_out;
    out->backward_flops = 2 * n_in * n_out * (1 + to_input);
    out->forward_bytes = sizeof(real) * (n_in + n_out);
    out->backward_bytes = sizeof(real) * (n_in * (1 + to_input) + n_out);
    out->weight_bytes = sizeof(real) * (n_in + 1) * n_out;
}

const struct op op_linear = {
    .name = "linear",
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .cost = cost,
};
