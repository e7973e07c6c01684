/* The zoo's small models: for digits and other small images. */
#include "engine/nn/zoo_parts.h"

int zoo_logistic(const struct blueprint *b, int in)
{
    return graph_linear(b->graph, "linear", graph_flatten(b->graph, "flatten", in),
                        b->n_classes);
}

/* A dense layer and relu. */
static int dense(const struct blueprint *b, const char *name, const char *act, int in,
                 size_t n_out)
{
    return zoo_activate(b, act, graph_linear(b->graph, name, in, n_out), ACT_RELU);
}

int zoo_mlp(const struct blueprint *b, int in)
{
    size_t layers = zoo_size(b, "layers");
    int t = graph_flatten(b->graph, "flatten", in);

    for (size_t i = 1; i <= layers; i++)
        t = dense(b, zoo_label("fc%zu", i).text, zoo_label("relu%zu", i).text, t,
                  zoo_size(b, "hidden"));
    return graph_linear(b->graph, zoo_label("fc%zu", layers + 1).text, t, b->n_classes);
}

/* A 5x5 convolution and relu: "conv<n>", "relu<n>". */
static int conv_relu(const struct blueprint *b, int in, unsigned number, size_t channels,
                     size_t padding)
{
    struct conv2d_shape conv = zoo_square(channels, 5, 1, 1);

    conv.pad_h = conv.pad_w = padding;
    in = graph_conv2d(b->graph, zoo_label("conv%u", number).text, in, &conv);
    return zoo_activate(b, zoo_label("relu%u", number).text, in, ACT_RELU);
}

/* The same and a 2x2 max pool. */
static int conv_relu_pool(const struct blueprint *b, int in, unsigned number,
                          size_t channels, size_t padding)
{
    const struct pool2d_shape pool = {.k_h = 2, .k_w = 2, .stride_h = 2, .stride_w = 2};

    in = conv_relu(b, in, number, channels, padding);
    return graph_max_pool2d(b->graph, zoo_label("pool%u", number).text, in, &pool);
}

/* Source: LeCun et al., "Gradient-based learning applied to document
 * recognition", 1998, with relu and max pool. The paper's input is 32x32; smaller
 * ones (MNIST's 28x28) are padded by 2 in the first layer. */
int zoo_lenet5(const struct blueprint *b, int in)
{
    const struct shape *x = &b->graph->tensors[in].shape;
    bool is_small = x->n_dims == 3 && (x->dim[1] < 32 || x->dim[2] < 32);
    int t = conv_relu_pool(b, in, 1, 6, is_small ? 2 : 0);

    t = graph_flatten(b->graph, "flatten", conv_relu_pool(b, t, 2, 16, 0));
    t = dense(b, "fc1", "relu3", t, 120);
    t = dense(b, "fc2", "relu4", t, 84);
    return graph_linear(b->graph, "fc3", t, b->n_classes);
}

/* Source: McMahan et al., "Communication-efficient learning of deep networks from
 * decentralized data", AISTATS 2017, section 3: the MNIST CNN. */
int zoo_mcmahan_cnn(const struct blueprint *b, int in)
{
    int t = conv_relu_pool(b, in, 1, 32, 2);

    t = graph_flatten(b->graph, "flatten", conv_relu_pool(b, t, 2, 64, 2));
    return graph_linear(b->graph, "fc2", dense(b, "fc1", "relu3", t, 512), b->n_classes);
}

/* Source: the same, the CIFAR CNN: two convolutions, two dense layers and a linear
 * one, of about 10^6 parameters. Its pools halve an even size with overlapping
 * windows. */
int zoo_mcmahan_cifar_cnn(const struct blueprint *b, int in)
{
    const struct pool2d_shape pool = {.k_h = 3, .k_w = 3, .stride_h = 2, .stride_w = 2};
    int t = in;

    for (unsigned i = 1; i <= 2; i++) {
        t = conv_relu(b, t, i, 64, 2);
        t = graph_max_pool2d_ceil(b->graph, zoo_label("pool%u", i).text, t, &pool);
    }
    t = graph_flatten(b->graph, "flatten", t);
    t = dense(b, "fc1", "relu3", t, 384);
    t = dense(b, "fc2", "relu4", t, 192);
    return graph_linear(b->graph, "fc3", t, b->n_classes);
}
