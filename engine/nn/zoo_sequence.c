/* Models of sequences of symbols: the class is told from the last state. */
#include "engine/nn/zoo_parts.h"

typedef int (*layer_fn)(struct graph *graph, const char *name, int in, size_t hidden,
                        unsigned layer_index);

static int recurrent(const struct blueprint *b, const char *name, int in, layer_fn layer)
{
    int t = graph_embedding(b->graph, "embedding", in, zoo_size(b, "symbols"),
                            zoo_size(b, "embedding"));

    for (unsigned i = 0; i < zoo_size(b, "layers"); i++)
        t = layer(b->graph, name, t, zoo_size(b, "hidden"), i);
    return graph_linear(b->graph, "linear", graph_last(b->graph, "last", t),
                        b->n_classes);
}

/* Source: Caldas et al., "LEAF: a benchmark for federated settings", 2018, the model
 * of Shakespeare: the next of 80 characters after 80. */
int zoo_char_lstm(const struct blueprint *b, int in)
{
    return recurrent(b, "lstm", in, graph_lstm);
}

int zoo_gru(const struct blueprint *b, int in)
{
    return recurrent(b, "gru", in, graph_gru);
}
