/* Images one behind the other: the channels of the first, then those of the next. */
#include "base/error.h"
#include "engine/nn/op.h"

#include <assert.h>

int graph_concat(struct graph *graph, const char *name, const int *in, uint32_t n)
{
    union op_params params = {0};

    assert(n >= 1 && n <= NODE_MAX_INPUTS);
    for (uint32_t i = 0; i < n; i++) {
        const struct shape *x = graph_image(graph, name, in[i]);

        if (!x)
            return NO_TENSOR;
        params.concat.channels[i] = x->dim[0];
        params.concat.plane = x->dim[1] * x->dim[2];
    }
    return graph_node(graph, OP_CONCAT, name, &params, in, n);
}

static cygnet_status infer(struct shape *out, const struct graph *graph,
                           const struct node *node, cygnet_error *err)
{
    *out = *node_input_shape(graph, node, 0);
    for (uint32_t i = 1; i < node->n_in; i++) {
        const struct shape *x = node_input_shape(graph, node, i);

        if (x->dim[1] != out->dim[1] || x->dim[2] != out->dim[2])
            return fail(err, CYGNET_ESHAPE, 0,
                        "input %u is %zux%zu, the first is %zux%zu", i + 1, x->dim[1],
                        x->dim[2], out->dim[1], out->dim[2]);
        out->dim[0] += x->dim[0];
    }
    return CYGNET_OK;
}

static void forward(struct lowering *l, const struct node *node)
{
    struct channel_list *from = lower_channels(l, node);
    size_t c = 0;

    if (!from)
        return;
    for (uint32_t i = 0; i < node->n_in; i++) {
        for (size_t k = 0; k < node->params.concat.channels[i]; k++)
            from->channel[c++] = (struct channel){node->in[i], k};
    }
    lower_move(l, node, from);
}

static void cost(struct op_cost *out, const struct graph *graph, const struct node *node)
{
    double n = (double)shape_elements(&graph->tensors[node->out].shape);

    out->forward_bytes = 2 * n * sizeof(real);
    out->backward_bytes = 2 * n * sizeof(real);
}

const struct op op_concat = {
    .name = "concat",
    .infer = infer,
    .forward = forward,
    .backward = lower_move_back,
    .cost = cost,
};
