/* ShuffleNet V2 with torchvision's names.
 * Source: Ma et al., "ShuffleNet V2: practical guidelines for efficient CNN
 * architecture design", ECCV 2018, table 5. */
#include "engine/nn/zoo_parts.h"

enum { N_STAGES = 3, STEM = 24, GROUPS = 2 };

static const size_t n_blocks[N_STAGES] = {4, 8, 4};

/* A layer of a branch: "<branch>.<i>", its norm ".<i + 1>" and, after convolutions
 * that are not depthwise, relu ".<i + 2>". */
static int layer(const struct blueprint *b, const char *branch, unsigned i, int in,
                 const struct conv2d_shape *settings)
{
    in = zoo_conv_norm(b, zoo_label("%s.%u", branch, i).text,
                       zoo_label("%s.%u", branch, i + 1).text, in, settings);
    return settings->groups > 1
               ? in
               : zoo_activate(b, zoo_label("%s.%u", branch, i + 2).text, in, ACT_RELU);
}

/* Depthwise convolution, then pointwise: from layer `i` on. */
static int separable(const struct blueprint *b, const char *branch, unsigned i, int in,
                     const struct conv2d_shape *pointwise, size_t stride)
{
    size_t channels = zoo_channels(b, in);
    const struct conv2d_shape depthwise = zoo_square(channels, 3, stride, channels);

    in = layer(b, branch, i, in, &depthwise);
    return layer(b, branch, i + 2, in, pointwise);
}

/* Half of the channels pass by (stride 1), or go through a branch of their own. */
static int unit(const struct blueprint *b, const char *block, int in, size_t channels,
                size_t stride)
{
    const struct conv2d_shape pointwise = zoo_square(channels / 2, 1, 1, 1);
    struct label one = zoo_label("%s.branch1", block);
    struct label two = zoo_label("%s.branch2", block);
    size_t half = zoo_channels(b, in) / 2;
    int sides[2] = {in, in};

    if (stride == 1) {
        sides[0] = graph_slice(b->graph, one.text, in, 0, half);
        sides[1] = graph_slice(b->graph, two.text, in, half, half);
    } else {
        sides[0] = separable(b, one.text, 0, in, &pointwise, stride);
    }
    sides[1] = layer(b, two.text, 0, sides[1], &pointwise);
    sides[1] = separable(b, two.text, 3, sides[1], &pointwise, stride);
    in = graph_concat(b->graph, zoo_label("%s.concat", block).text, sides, 2);
    return graph_channel_shuffle(b->graph, zoo_label("%s.shuffle", block).text, in,
                                 GROUPS);
}

/* channels  of each stage
 * last      of the convolution before the mean */
static int shufflenet(const struct blueprint *b, int in, const size_t channels[N_STAGES],
                      size_t last)
{
    const struct conv2d_shape stem = zoo_square(STEM, 3, 2, 1);
    const struct conv2d_shape conv5 = zoo_square(last, 1, 1, 1);
    const struct pool2d_shape pool = {
        .k_h = 3, .k_w = 3, .stride_h = 2, .stride_w = 2, .pad_h = 1, .pad_w = 1};
    int t = graph_max_pool2d(b->graph, "maxpool", layer(b, "conv1", 0, in, &stem), &pool);

    for (size_t s = 0; s < N_STAGES; s++) {
        for (size_t i = 0; i < n_blocks[s]; i++)
            t = unit(b, zoo_label("stage%zu.%zu", s + 2, i).text, t, channels[s],
                     i == 0 ? 2 : 1);
    }
    t = layer(b, "conv5", 0, t, &conv5);
    return graph_linear(b->graph, "fc", zoo_global_mean(b, t), b->n_classes);
}

int zoo_shufflenet_v2_x0_5(const struct blueprint *b, int in)
{
    return shufflenet(b, in, (const size_t[]){48, 96, 192}, 1024);
}

int zoo_shufflenet_v2_x1_0(const struct blueprint *b, int in)
{
    return shufflenet(b, in, (const size_t[]){116, 232, 464}, 1024);
}

int zoo_shufflenet_v2_x1_5(const struct blueprint *b, int in)
{
    return shufflenet(b, in, (const size_t[]){176, 352, 704}, 1024);
}

int zoo_shufflenet_v2_x2_0(const struct blueprint *b, int in)
{
    return shufflenet(b, in, (const size_t[]){244, 488, 976}, 2048);
}
