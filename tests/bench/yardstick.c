/* Bounds from the graph. */
#include "tests/bench/yardstick.h"

#include "engine/nn/model_parts.h"
#include "engine/nn/op.h"

static uint64_t tensor_bytes(const struct graph *graph, int tensor)
{
    return (uint64_t)shape_elements(&graph->tensors[tensor].shape) * sizeof(real);
}

static uint64_t gradient_bytes(const struct graph *graph, int tensor)
{
    return graph->tensors[tensor].needs_grad ? tensor_bytes(graph, tensor) : 0;
}

/* Gradients that the node's backward pass holds at once, per example. */
static uint64_t pair_bytes(const struct graph *graph, const struct node *node)
{
    return gradient_bytes(graph, node->in[0]) + gradient_bytes(graph, node->out);
}

uint64_t yardstick_bytes(const cygnet_model *model, uint32_t n)
{
    const struct graph *g = &model->graph;
    uint64_t saved = 0, pair = 0, state = 0;

    for (size_t i = 0; i < g->n_nodes; i++) {
        const struct node *node = &g->nodes[i];

        if (node->kind == OP_CONV2D || node->kind == OP_LINEAR)
            saved += tensor_bytes(g, node->out);
        if (pair_bytes(g, node) > pair)
            pair = pair_bytes(g, node);
    }
    for (size_t i = 0; i < g->n_tensors; i++) {
        if (g->tensors[i].kind == TENSOR_PARAMETER)
            state += 2 * tensor_bytes(g, (int)i);
        if (g->tensors[i].kind == TENSOR_BUFFER)
            state += tensor_bytes(g, (int)i);
    }
    return n * (saved + pair) + state;
}

/* One axis of a convolution. */
struct axis {
    size_t in, out, kernel, stride, pad, dilation;
};

/* Of the axis' kernel taps at all places, the share that lies on the image. */
static double share_inside(const struct axis *a)
{
    size_t inside = 0;

    for (size_t o = 0; o < a->out; o++) {
        for (size_t k = 0; k < a->kernel; k++) {
            size_t at = o * a->stride + k * a->dilation;

            inside += at >= a->pad && at < a->pad + a->in;
        }
    }
    return (double)inside / ((double)a->out * (double)a->kernel);
}

static double conv2d_share(const struct conv2d_shape *s)
{
    const struct axis h = {s->h_in,     s->h_out, s->k_h,
                           s->stride_h, s->pad_h, s->dilation_h};
    const struct axis w = {s->w_in,     s->w_out, s->k_w,
                           s->stride_w, s->pad_w, s->dilation_w};

    return share_inside(&h) * share_inside(&w);
}

double yardstick_flops(const cygnet_model *model, uint32_t n)
{
    double flops = 0;

    for (size_t i = 0; i < model->graph.n_nodes; i++) {
        const struct node *node = &model->graph.nodes[i];
        struct op_cost cost = {0};
        double share = node->kind == OP_CONV2D ? conv2d_share(&node->params.conv2d) : 1;

        op_of(node)->cost(&cost, &model->graph, node);
        flops += share * (cost.forward_flops + cost.backward_flops);
    }
    return n * flops;
}
