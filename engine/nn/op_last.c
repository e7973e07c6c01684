/* The last step of a sequence. */
#include "engine/nn/op.h"

int graph_last(struct graph *graph, const char *name, int in)
{
    const struct shape *x = graph_sequence(graph, name, in);
    union op_params params = {0};

    if (!x)
        return NO_TENSOR;
    params.last = (struct last_params){x->dim[0], x->dim[1]};
    return graph_node(graph, OP_LAST, name, &params, &in, 1);
}

static cygnet_status infer(struct shape *out, const struct graph *graph,
                           const struct node *node, cygnet_error *err)
{
    (void)graph;
    (void)err;
    *out = (struct shape){1, {node->params.last.width}};
    return CYGNET_OK;
}

/* The gradient of the earlier steps is 0, and is written too. */
static void cost(struct op_cost *out, const struct graph *graph, const struct node *node)
{
    const struct last_params *p = &node->params.last;

    (void)graph;
    out->forward_bytes = 2 * (double)p->width * sizeof(real);
    out->backward_bytes = (double)(p->width + p->steps * p->width) * sizeof(real);
}

const struct op op_last = {.name = "last", .infer = infer, .cost = cost};
