/* Rows of a table by their index, as PyTorch's Embedding: y[t] = w[x[t]]. Indices
 * come as reals, as the rest of a batch. */
#include "base/error.h"
#include "engine/nn/op.h"

int graph_embedding(struct graph *graph, const char *name, int in, size_t n_symbols,
                    size_t width)
{
    union op_params params = {0};
    int inputs[2] = {in, NO_TENSOR};
    const struct shape *x;

    if (in == NO_TENSOR)
        return NO_TENSOR;
    x = &graph->tensors[in].shape;
    if (x->n_dims != 1)
        return graph_fail(graph, CYGNET_ESHAPE,
                          "%s: wants a row of indices, the input has %u dimensions", name,
                          x->n_dims);
    params.embedding = (struct embedding_params){x->dim[0], n_symbols, width};
    inputs[1] =
        graph_parameter(graph, name, "weight", &(struct shape){2, {n_symbols, width}}, 1);
    graph_set_init(graph, inputs[1], INIT_NORMAL, 1);
    return graph_node(graph, OP_EMBEDDING, name, &params, inputs, 2);
}

static cygnet_status infer(struct shape *out, const struct graph *graph,
                           const struct node *node, cygnet_error *err)
{
    const struct embedding_params *p = &node->params.embedding;

    (void)graph;
    (void)err;
    *out = (struct shape){2, {p->steps, p->width}};
    return CYGNET_OK;
}

static void cost(struct op_cost *out, const struct graph *graph, const struct node *node)
{
    const struct embedding_params *p = &node->params.embedding;
    double n = (double)(p->steps * p->width), steps = (double)p->steps;

    (void)graph;
    out->backward_flops = n;
    out->forward_bytes = (steps + 2 * n) * sizeof(real);
    out->backward_bytes = (steps + 2 * n) * sizeof(real);
    out->weight_bytes = (double)p->n_symbols * (double)p->width * sizeof(real);
}

const struct op op_embedding = {.name = "embedding", .infer = infer, .cost = cost};
