/* Layers and first values that several families of the zoo share. */
#include "engine/nn/zoo_parts.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

double zoo_value(const struct blueprint *b, const char *key)
{
    const struct argument *arguments = b->architecture->arguments;
    size_t i = 0;

    while (strcmp(arguments[i].key, key) != 0) {
        i++;
        assert(i < ZOO_MAX_ARGUMENTS && arguments[i].key);
    }
    return b->value[i];
}

size_t zoo_size(const struct blueprint *b, const char *key)
{
    return (size_t)zoo_value(b, key);
}

struct label zoo_label(const char *format, ...)
{
    struct label label;
    va_list args;
    int length;

    va_start(args, format);
    length = vsnprintf(label.text, sizeof(label.text), format, args);
    va_end(args);
    assert(length > 0 && (size_t)length < sizeof(label.text));
    (void)length;
    return label;
}

struct conv2d_shape zoo_square(size_t channels, size_t kernel, size_t stride,
                               size_t groups)
{
    return (struct conv2d_shape){.c_out = channels,
                                 .k_h = kernel,
                                 .k_w = kernel,
                                 .stride_h = stride,
                                 .stride_w = stride,
                                 .pad_h = (kernel - 1) / 2,
                                 .pad_w = (kernel - 1) / 2,
                                 .dilation_h = 1,
                                 .dilation_w = 1,
                                 .groups = groups};
}

size_t zoo_channels(const struct blueprint *b, int in)
{
    return in == NO_TENSOR ? 1 : b->graph->tensors[in].shape.dim[0];
}

int zoo_activate(const struct blueprint *b, const char *name, int in, enum activation own)
{
    return graph_activate(b->graph, name, in, b->act == ACT_NONE ? own : b->act);
}

int zoo_conv_norm(const struct blueprint *b, const char *conv, const char *norm, int in,
                  const struct conv2d_shape *settings)
{
    in = graph_conv2d_no_bias(b->graph, conv, in, settings);
    return graph_batch_norm2d(b->graph, norm, in);
}

int zoo_global_mean(const struct blueprint *b, int in)
{
    return graph_flatten(b->graph, "flatten",
                         graph_avg_pool2d(b->graph, "avgpool", in, 1, 1));
}

size_t zoo_divisible(double channels)
{
    size_t nearest = (size_t)(channels + 4) / 8 * 8;

    if (nearest < 8)
        nearest = 8;
    return (double)nearest < 0.9 * channels ? nearest + 8 : nearest;
}

/* Inputs of convolutions and dense layers: x, weight and, if they have one, bias. */
static void init_node(struct graph *graph, const struct node *node, enum init_kind kind,
                      double value)
{
    graph_set_init(graph, node->in[1], kind, value);
    if (node->n_in > 2)
        graph_set_init(graph, node->in[2], INIT_CONSTANT, 0);
}

void zoo_init_convs(struct graph *graph)
{
    for (size_t i = 0; i < graph->n_nodes; i++) {
        const struct node *node = &graph->nodes[i];
        const struct conv2d_shape *s = &node->params.conv2d;

        if (node->kind == OP_CONV2D)
            init_node(graph, node, INIT_NORMAL,
                      sqrt(2 / (double)(s->c_out * s->k_h * s->k_w)));
    }
}

void zoo_init_linears(struct graph *graph, double deviation)
{
    for (size_t i = 0; i < graph->n_nodes; i++) {
        if (graph->nodes[i].kind == OP_LINEAR)
            init_node(graph, &graph->nodes[i], INIT_NORMAL, deviation);
    }
}

void zoo_init_layer(struct graph *graph, int out, enum init_kind kind, double value)
{
    if (out != NO_TENSOR)
        init_node(graph, &graph->nodes[graph->tensors[out].producer], kind, value);
}
