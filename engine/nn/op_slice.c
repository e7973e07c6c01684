/* Some channels of an image. */
#include "base/error.h"
#include "engine/nn/op.h"

int graph_slice(struct graph *graph, const char *name, int in, size_t first, size_t n)
{
    const struct shape *x = graph_image(graph, name, in);
    union op_params params = {0};

    if (!x)
        return NO_TENSOR;
    params.slice = (struct slice_params){first, n, x->dim[0], x->dim[1] * x->dim[2]};
    return graph_node(graph, OP_SLICE, name, &params, &in, 1);
}

static cygnet_status infer(struct shape *out, const struct graph *graph,
                           const struct node *node, cygnet_error *err)
{
    const struct slice_params *p = &node->params.slice;

    if (p->n == 0 || p->first > p->channels || p->n > p->channels - p->first)
        return fail(err, CYGNET_ESHAPE, 0,
                    "%zu channels from channel %zu on are not in the input's %zu", p->n,
                    p->first, p->channels);
    *out = *node_input_shape(graph, node, 0);
    out->dim[0] = p->n;
    return CYGNET_OK;
}

static void forward(struct lowering *l, const struct node *node)
{
    struct channel_list *from = lower_channels(l, node);

    if (!from)
        return;
    for (size_t c = 0; c < from->n; c++)
        from->channel[c] = (struct channel){node->in[0], node->params.slice.first + c};
    lower_move(l, node, from);
}

/* The gradient of the channels that are left out is 0, and is written too. */
static void cost(struct op_cost *out, const struct graph *graph, const struct node *node)
{
    const struct slice_params *p = &node->params.slice;
    double n = (double)(p->n * p->plane);

    (void)graph;
    out->forward_bytes = 2 * n * sizeof(real);
    out->backward_bytes = (n + (double)(p->channels * p->plane)) * sizeof(real);
}

const struct op op_slice = {
    .name = "slice",
    .infer = infer,
    .forward = forward,
    .backward = lower_move_back,
    .cost = cost,
};
