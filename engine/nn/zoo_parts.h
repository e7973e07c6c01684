/* The inside of the zoo: what its table says of an architecture, what a builder is
 * given, and the layers that several families share. For zoo*.c only. */
#ifndef ENGINE_NN_ZOO_PARTS_H
#define ENGINE_NN_ZOO_PARTS_H

#include "engine/nn/graph.h"

enum { ZOO_MAX_ARGUMENTS = 5 };

enum argument_kind { ARGUMENT_INTEGER, ARGUMENT_DECIMAL, ARGUMENT_WORD };

/* One argument an architecture takes.
 *
 * fallback  its value when it is not given; a word's is its place in `words`
 * min, max  of a number
 * words     of ARGUMENT_WORD, up to NULL */
struct argument {
    const char *key;
    enum argument_kind kind;
    double fallback;
    double min;
    double max;
    const char *const *words;
};

struct blueprint;

/* input  shape of one example, unless the caller has another
 * build  adds everything up to the logits and returns them */
struct architecture {
    const char *name;
    struct shape input;
    struct argument arguments[ZOO_MAX_ARGUMENTS];
    int (*build)(const struct blueprint *b, int in);
};

/* act  in place of the architecture's activations; ACT_NONE: its own */
struct blueprint {
    struct graph *graph;
    const struct architecture *architecture;
    size_t n_classes;
    enum activation act;
    double value[ZOO_MAX_ARGUMENTS];
};

/* Value of an argument that the architecture has in the table. */
double zoo_value(const struct blueprint *b, const char *key);
size_t zoo_size(const struct blueprint *b, const char *key);

struct label {
    char text[GRAPH_MAX_NAME];
};

/* A name made of parts. */
struct label zoo_label(const char *format, ...) CYGNET_PRINTF(1, 2);

/* A square convolution that keeps the size but for its stride. */
struct conv2d_shape zoo_square(size_t channels, size_t kernel, size_t stride,
                               size_t groups);

/* Channels of an image; 1 of NO_TENSOR. */
size_t zoo_channels(const struct blueprint *b, int in);

/* The activation that an architecture has at this place, unless the caller wants
 * another. */
int zoo_activate(const struct blueprint *b, const char *name, int in,
                 enum activation own);

/* A convolution without bias and its batch norm, with PyTorch's settings. */
int zoo_conv_norm(const struct blueprint *b, const char *conv, const char *norm, int in,
                  const struct conv2d_shape *settings);

/* Mean over each channel, as one row. */
int zoo_global_mean(const struct blueprint *b, int in);

/* The nearest multiple of 8, at least 8 and at least 0.9 of `channels`.
 * Source: the MobileNet family's rule for widths. */
size_t zoo_divisible(double channels);

/* First values of all convolutions so far: weights normal with the deviation
 * sqrt(2 / fan), biases 0. fan_out is output channels times taps.
 * Source: He et al., "Delving deep into rectifiers", ICCV 2015. */
void zoo_init_convs(struct graph *graph);

/* First values of all dense layers so far: weights normal, biases 0. */
void zoo_init_linears(struct graph *graph, double deviation);

/* First values of the layer whose output is `out`; its bias is 0. */
void zoo_init_layer(struct graph *graph, int out, enum init_kind kind, double value);

int zoo_logistic(const struct blueprint *b, int in);
int zoo_mlp(const struct blueprint *b, int in);
int zoo_lenet5(const struct blueprint *b, int in);
int zoo_mcmahan_cnn(const struct blueprint *b, int in);
int zoo_mcmahan_cifar_cnn(const struct blueprint *b, int in);
int zoo_resnet18(const struct blueprint *b, int in);
int zoo_resnet34(const struct blueprint *b, int in);
int zoo_resnet50(const struct blueprint *b, int in);
int zoo_mobilenet_v2(const struct blueprint *b, int in);
int zoo_mobilenet_v3_small(const struct blueprint *b, int in);
int zoo_shufflenet_v2_x0_5(const struct blueprint *b, int in);
int zoo_shufflenet_v2_x1_0(const struct blueprint *b, int in);
int zoo_shufflenet_v2_x1_5(const struct blueprint *b, int in);
int zoo_shufflenet_v2_x2_0(const struct blueprint *b, int in);
int zoo_squeezenet1_1(const struct blueprint *b, int in);
int zoo_ds_cnn(const struct blueprint *b, int in);
int zoo_char_lstm(const struct blueprint *b, int in);
int zoo_gru(const struct blueprint *b, int in);

#endif
