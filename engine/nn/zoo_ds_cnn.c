/* Depthwise separable CNN for keyword spotting.
 * Source: Zhang, Suda, Lai, Chandra, "Hello edge: keyword spotting on
 * microcontrollers", 2017, table 4 (DS-CNN-S): a 10x4 convolution, four separable 3x3
 * ones of 64 channels, the mean. */
#include "engine/nn/zoo_parts.h"

/* "<conv>" with its norm and relu. */
static int conv_norm_relu(const struct blueprint *b, const struct label names[3], int in,
                          const struct conv2d_shape *settings)
{
    in = zoo_conv_norm(b, names[0].text, names[1].text, in, settings);
    return zoo_activate(b, names[2].text, in, ACT_RELU);
}

static int separable(const struct blueprint *b, size_t number, int in, size_t channels)
{
    const struct conv2d_shape depthwise = zoo_square(channels, 3, 1, channels);
    const struct conv2d_shape pointwise = zoo_square(channels, 1, 1, 1);
    const struct label first[3] = {zoo_label("block%zu.depthwise", number),
                                   zoo_label("block%zu.bn1", number),
                                   zoo_label("block%zu.relu1", number)};
    const struct label second[3] = {zoo_label("block%zu.pointwise", number),
                                    zoo_label("block%zu.bn2", number),
                                    zoo_label("block%zu.relu2", number)};

    in = conv_norm_relu(b, first, in, &depthwise);
    return conv_norm_relu(b, second, in, &pointwise);
}

int zoo_ds_cnn(const struct blueprint *b, int in)
{
    size_t channels = zoo_size(b, "channels"), layers = zoo_size(b, "layers");
    const struct label names[3] = {zoo_label("conv1"), zoo_label("bn1"),
                                   zoo_label("relu1")};
    struct conv2d_shape stem = zoo_square(channels, 1, 2, 1);
    int t;

    /* 49x10 becomes 25x5, as with the paper's uneven padding of 4 and 5. */
    stem.k_h = 10, stem.k_w = 4;
    stem.pad_h = 5, stem.pad_w = 1;
    t = conv_norm_relu(b, names, in, &stem);
    for (size_t i = 1; i <= layers; i++)
        t = separable(b, i, t, channels);
    return graph_linear(b->graph, "fc", zoo_global_mean(b, t), b->n_classes);
}
