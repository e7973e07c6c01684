/* 2-d convolution (cross-correlation, as PyTorch) with stride, zero padding,
 * dilation and groups, channels first. */
#include "base/error.h"
#include "engine/nn/dense.h"
#include "engine/nn/depthwise.h"
#include "engine/nn/op.h"
#include "engine/nn/pooled.h"

enum { X, W, B };

/* Outputs of one axis; 0: the kernel does not fit. */
static size_t axis_outputs(size_t n_in, size_t pad, size_t dilation, size_t kernel,
                           size_t stride)
{
    size_t reach = dilation * (kernel - 1) + 1;

    return n_in + 2 * pad < reach ? 0 : (n_in + 2 * pad - reach) / stride + 1;
}

static void fill_geometry(struct conv2d_shape *s, const struct shape *x)
{
    s->c_in = x->dim[0];
    s->h_in = x->dim[1];
    s->w_in = x->dim[2];
    s->h_out = axis_outputs(s->h_in, s->pad_h, s->dilation_h, s->k_h, s->stride_h);
    s->w_out = axis_outputs(s->w_in, s->pad_w, s->dilation_w, s->k_w, s->stride_w);
}

static bool is_depthwise(const struct conv2d_shape *s)
{
    return s->groups > 1 && s->groups == s->c_in && s->c_out == s->c_in;
}

static struct layout layout_of(const struct graph *graph, int in,
                               const struct conv2d_shape *s)
{
    const struct tensor *x = &graph->tensors[in];
    struct layout l = {.kind = LAYOUT_PANELS,
                       .n_out = s->c_out,
                       .n_in = s->c_in,
                       .n_taps = s->k_h * s->k_w};

    if (is_depthwise(s)) {
        l.kind = LAYOUT_DEPTHWISE;
        l.n_in = 1;
    } else if (s->groups > 1) { /* PyTorch's order */
        l.kind = LAYOUT_ROWS;
        l.n_in = s->c_out * (s->c_in / s->groups) * l.n_taps;
        l.n_out = l.n_taps = 1;
    } else {
        l.planar = x->kind == TENSOR_INPUT && !x->needs_grad;
        l.tight = !l.planar && dense_is_tight(s);
    }
    return l;
}

static int add_conv2d(struct graph *graph, const char *name, int in,
                      const struct conv2d_shape *settings, bool has_bias)
{
    union op_params params = {.conv2d = *settings};
    struct conv2d_shape *s = &params.conv2d;
    int inputs[3] = {in, NO_TENSOR, NO_TENSOR};
    const struct shape *x;
    struct layout layout;
    size_t fan_in;

    if (in == NO_TENSOR)
        return NO_TENSOR;
    x = &graph->tensors[in].shape;
    if (x->n_dims != 3)
        return graph_fail(graph, CYGNET_ESHAPE,
                          "%s: wants an image (channels, height, width), the input has "
                          "%u dimensions",
                          name, x->n_dims);
    fill_geometry(s, x);
    if (s->groups == 0 || s->c_in % s->groups != 0 || s->c_out % s->groups != 0)
        return graph_fail(
            graph, CYGNET_ESHAPE,
            "%s: %zu groups do not divide %zu input and %zu output channels", name,
            s->groups, s->c_in, s->c_out);
    fan_in = s->c_in / s->groups * s->k_h * s->k_w;
    inputs[W] =
        graph_parameter(graph, name, "weight",
                        &(struct shape){4,
                                        {s->c_out, s->c_in / s->groups, s->k_h, s->k_w}},
                        fan_in);
    layout = layout_of(graph, in, s);
    graph_set_layout(graph, inputs[W], &layout);
    if (!has_bias)
        return graph_node(graph, OP_CONV2D, name, &params, inputs, 2);
    inputs[B] =
        graph_parameter(graph, name, "bias", &(struct shape){1, {s->c_out}}, fan_in);
    return graph_node(graph, OP_CONV2D, name, &params, inputs, 3);
}

int graph_conv2d(struct graph *graph, const char *name, int in,
                 const struct conv2d_shape *settings)
{
    return add_conv2d(graph, name, in, settings, true);
}

int graph_conv2d_no_bias(struct graph *graph, const char *name, int in,
                         const struct conv2d_shape *settings)
{
    return add_conv2d(graph, name, in, settings, false);
}

static cygnet_status infer(struct shape *out, const struct graph *graph,
                           const struct node *node, cygnet_error *err)
{
    const struct conv2d_shape *s = &node->params.conv2d;

    (void)graph;
    if (s->h_out == 0 || s->w_out == 0)
        return fail(err, CYGNET_ESHAPE, 0,
                    "a %zux%zu kernel with padding %zu does not fit a %zux%zu input",
                    s->k_h, s->k_w, s->pad_h, s->h_in, s->w_in);
    *out = (struct shape){3, {s->c_out, s->h_out, s->w_out}};
    return CYGNET_OK;
}

static size_t image_in(const struct conv2d_shape *s)
{
    return s->c_in * s->h_in * s->w_in;
}

static size_t image_out(const struct conv2d_shape *s)
{
    return s->c_out * s->h_out * s->w_out;
}

static size_t n_weights(const struct conv2d_shape *s)
{
    return s->c_out * (s->c_in / s->groups) * s->k_h * s->k_w;
}

static void forward(struct lowering *l, const struct node *node)
{
    const struct conv2d_shape *s = &node->params.conv2d;
    const struct node *pool = pooled_by(l, node);

    if (pool)
        pooled_lower_forward(l, node, pool);
    else if (is_depthwise(s))
        depthwise_lower_forward(l, node, s);
    else if (s->groups > 1)
        grouped_lower_forward(l, node, s);
    else
        dense_lower_forward(l, node, s);
}

static void backward(struct lowering *l, const struct node *node)
{
    const struct conv2d_shape *s = &node->params.conv2d;
    const struct node *pool = pooled_by(l, node);

    if (pool)
        pooled_lower_backward(l, node, pool);
    else if (is_depthwise(s))
        depthwise_lower_backward(l, node, s);
    else if (s->groups > 1)
        grouped_lower_backward(l, node, s);
    else
        dense_lower_backward(l, node, s);
}

static void cost(struct op_cost *out, const struct graph *graph, const struct node *node)
{
    const struct conv2d_shape *s = &node->params.conv2d;
    size_t n_taps = s->c_in / s->groups * s->k_h * s->k_w;
    double per_output = 2.0 * (double)n_taps;
    double flops = per_output * (double)image_out(s);
    double in = (double)image_in(s), to_out = (double)image_out(s);
    double to_input = graph->tensors[node->in[X]].needs_grad ? 1 : 0;

    out->forward_flops = flops;
    out->backward_flops = flops * (1 + to_input);
    out->forward_bytes = sizeof(real) * (in + to_out);
    out->backward_bytes = sizeof(real) * (in * (1 + to_input) + to_out);
    out->weight_bytes = sizeof(real) * (double)(n_weights(s) + s->c_out);
}

const struct op op_conv2d = {
    .name = "conv2d",
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .can_remake = true,
    .cost = cost,
};
