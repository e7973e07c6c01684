/* Channels as a matrix of `groups` rows, transposed.
 * Source: Zhang et al., "ShuffleNet: an extremely efficient convolutional neural
 * network for mobile devices", CVPR 2018, section 3.1. */
#include "base/error.h"
#include "engine/nn/op.h"

int graph_channel_shuffle(struct graph *graph, const char *name, int in, size_t groups)
{
    const struct shape *x = graph_image(graph, name, in);
    union op_params params = {0};

    if (!x)
        return NO_TENSOR;
    params.shuffle = (struct shuffle_params){groups, x->dim[0], x->dim[1] * x->dim[2]};
    return graph_node(graph, OP_CHANNEL_SHUFFLE, name, &params, &in, 1);
}

static cygnet_status infer(struct shape *out, const struct graph *graph,
                           const struct node *node, cygnet_error *err)
{
    const struct shuffle_params *p = &node->params.shuffle;

    if (p->groups == 0 || p->channels % p->groups != 0)
        return fail(err, CYGNET_ESHAPE, 0, "%zu groups do not divide %zu channels",
                    p->groups, p->channels);
    *out = *node_input_shape(graph, node, 0);
    return CYGNET_OK;
}

static void forward(struct lowering *l, const struct node *node)
{
    const struct shuffle_params *p = &node->params.shuffle;
    struct channel_list *from = lower_channels(l, node);

    if (!from)
        return;
    for (size_t c = 0; c < from->n; c++)
        from->channel[c] =
            (struct channel){node->in[0],
                             c % p->groups * (p->channels / p->groups) + c / p->groups};
    lower_move(l, node, from);
}

static void cost(struct op_cost *out, const struct graph *graph, const struct node *node)
{
    double n = (double)shape_elements(node_input_shape(graph, node, 0));

    out->forward_bytes = 2 * n * sizeof(real);
    out->backward_bytes = 2 * n * sizeof(real);
}

const struct op op_channel_shuffle = {
    .name = "channel_shuffle",
    .infer = infer,
    .forward = forward,
    .backward = lower_move_back,
    .cost = cost,
};
