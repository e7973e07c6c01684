/* 2-d convolution (cross-correlation, as PyTorch) with stride, zero padding,
 * dilation and groups, channels first. */
#include "base/error.h"
#include "engine/nn/op.h"

#include <string.h>

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

static int add_conv2d(struct graph *graph, const char *name, int in,
                      const struct conv2d_shape *settings, bool has_bias)
{
    union op_params params = {.conv2d = *settings};
    struct conv2d_shape *s = &params.conv2d;
    int inputs[3] = {in, NO_TENSOR, NO_TENSOR};
    const struct shape *x;
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

static bool has_bias(const struct node *node)
{
    return node->n_in > B;
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

/* One image a block. */
static void run_forward(const struct call *call, const struct step *step, size_t block,
                        size_t worker)
{
    const struct conv2d_shape *s = &call->node->params.conv2d;
    real *y = step_buffer(step, call, 0);
    const real *x = step_buffer(step, call, 1);
    const real *w = step_buffer(step, call, 2);
    const real *b = has_bias(call->node) ? step_buffer(step, call, 3) : NULL;

    step->kernels->conv2d_forward(y + block * image_out(s), x + block * image_in(s), w, b,
                                  step_scratch(step, worker), s);
}

/* One part of the images a block: its share of the weight gradient, weights then
 * bias. */
static void run_backward_weight(const struct call *call, const struct step *step,
                                size_t block, size_t worker)
{
    const struct conv2d_shape *s = &call->node->params.conv2d;
    size_t pitch = n_weights(s) + s->c_out;
    real *dw = (real *)step_buffer(step, call, 0) + block * pitch;
    const real *dy = step_buffer(step, call, 1);
    const real *x = step_buffer(step, call, 2);

    memset(dw, 0, pitch * sizeof(*dw));
    for (size_t i = block; i < step->n; i += REDUCTION_PARTS)
        step->kernels->conv2d_backward_weight(dw,
                                              has_bias(call->node) ? dw + n_weights(s)
                                                                   : NULL,
                                              dy + i * image_out(s), x + i * image_in(s),
                                              step_scratch(step, worker), s);
}

/* Sums the parts in their order. Columns of the weight; block 0 has the bias. */
static void run_sum(const struct call *call, const struct step *step, size_t block,
                    size_t worker)
{
    const struct conv2d_shape *s = &call->node->params.conv2d;
    struct span e = call_columns(call, block);
    size_t pitch = n_weights(s) + s->c_out;
    size_t n_parts = step->n < REDUCTION_PARTS ? step->n : REDUCTION_PARTS;
    real *dw = step_buffer(step, call, 0);
    const real *parts = step_buffer(step, call, 2);

    (void)worker;
    step->kernels->sum_parts(dw + e.first, parts + e.first, n_parts, pitch, e.n);
    if (block == 0 && has_bias(call->node))
        step->kernels->sum_parts(step_buffer(step, call, 1), parts + n_weights(s),
                                 n_parts, pitch, s->c_out);
}

static void run_backward_input(const struct call *call, const struct step *step,
                               size_t block, size_t worker)
{
    const struct conv2d_shape *s = &call->node->params.conv2d;
    real *dx = step_buffer(step, call, 0);
    const real *dy = step_buffer(step, call, 1);
    const real *w = step_buffer(step, call, 2);

    step->kernels->conv2d_backward_input(dx + block * image_in(s),
                                         dy + block * image_out(s), w,
                                         step_scratch(step, worker), s);
}

static void want_scratch(struct lowering *l, const struct node *node)
{
    size_t elements = lower_kernels(l)->conv2d_scratch(&node->params.conv2d);

    lower_scratch(l, (uint64_t)elements * sizeof(real));
}

static void forward(struct lowering *l, const struct node *node)
{
    struct partition images = {.rows_per_block = 1};
    const int buffers[] = {lower_value(l, node->out), lower_value(l, node->in[X]),
                           lower_value(l, node->in[W]),
                           has_bias(node) ? lower_value(l, node->in[B]) : -1};

    want_scratch(l, node);
    lower_call(l, run_forward, node, &images, buffers, 4);
}

static void backward_weight(struct lowering *l, const struct node *node)
{
    const struct conv2d_shape *s = &node->params.conv2d;
    size_t n_parts = lower_max_batch(l);
    struct partition parts = {.parts = true};
    struct partition columns = {.n_columns = n_weights(s),
                                .columns_per_block = lower_columns_for(n_weights(s))};
    int partial;

    if (n_parts > REDUCTION_PARTS)
        n_parts = REDUCTION_PARTS;
    partial =
        lower_workspace(l, (uint64_t)n_parts * (n_weights(s) + s->c_out) * sizeof(real));
    lower_call(l, run_backward_weight, node, &parts,
               (const int[]){partial, lower_output_grad(l, node),
                             lower_value(l, node->in[X])},
               3);
    lower_call(l, run_sum, node, &columns,
               (const int[]){lower_input_grad(l, node, W),
                             has_bias(node) ? lower_input_grad(l, node, B) : -1, partial},
               3);
}

static void backward(struct lowering *l, const struct node *node)
{
    struct partition images = {.rows_per_block = 1};
    int dx = lower_input_grad(l, node, X);
    const int buffers[] = {dx, lower_output_grad(l, node), lower_value(l, node->in[W])};

    backward_weight(l, node);
    if (dx >= 0)
        lower_call(l, run_backward_input, node, &images, buffers, 3);
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
    .cost = cost,
};
