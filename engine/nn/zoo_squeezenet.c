/* SqueezeNet 1.1 with torchvision's names.
 * Source: Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer
 * parameters and <0.5MB model size", 2016; 1.1 is its authors' cheaper version. */
#include "engine/nn/zoo_parts.h"

#include <math.h>

/* A convolution and relu, at first uniform on +-sqrt(6 / fan_in).
 * Source: He et al., "Delving deep into rectifiers", ICCV 2015. */
static int conv_relu(const struct blueprint *b, const char *conv, const char *act, int in,
                     const struct conv2d_shape *settings)
{
    size_t fan_in = zoo_channels(b, in) * settings->k_h * settings->k_w;

    in = graph_conv2d(b->graph, conv, in, settings);
    zoo_init_layer(b->graph, in, INIT_UNIFORM, sqrt(6 / (double)fan_in));
    return zoo_activate(b, act, in, ACT_RELU);
}

/* Few channels, then `expand` of 1x1 and as many of 3x3. */
static int fire(const struct blueprint *b, unsigned number, int in, size_t squeeze,
                size_t expand)
{
    static const char *const names[2] = {"expand1x1", "expand3x3"};
    struct label name = zoo_label("features.%u", number);
    const struct conv2d_shape narrow = zoo_square(squeeze, 1, 1, 1);
    int sides[2];

    in = conv_relu(b, zoo_label("%s.squeeze", name.text).text,
                   zoo_label("%s.squeeze_activation", name.text).text, in, &narrow);
    for (size_t i = 0; i < 2; i++) {
        const struct conv2d_shape wide = zoo_square(expand, 1 + 2 * i, 1, 1);

        sides[i] =
            conv_relu(b, zoo_label("%s.%s", name.text, names[i]).text,
                      zoo_label("%s.%s_activation", name.text, names[i]).text, in, &wide);
    }
    return graph_concat(b->graph, name.text, sides, 2);
}

static int pool(const struct blueprint *b, const char *name, int in)
{
    const struct pool2d_shape shape = {.k_h = 3, .k_w = 3, .stride_h = 2, .stride_w = 2};

    return graph_max_pool2d_ceil(b->graph, name, in, &shape);
}

static int features(const struct blueprint *b, int in)
{
    struct conv2d_shape stem = zoo_square(64, 3, 2, 1);
    int t;

    stem.pad_h = stem.pad_w = 0;
    t = pool(b, "features.2", conv_relu(b, "features.0", "features.1", in, &stem));
    t = fire(b, 4, fire(b, 3, t, 16, 64), 16, 64);
    t = pool(b, "features.5", t);
    t = fire(b, 7, fire(b, 6, t, 32, 128), 32, 128);
    t = pool(b, "features.8", t);
    t = fire(b, 10, fire(b, 9, t, 48, 192), 48, 192);
    return fire(b, 12, fire(b, 11, t, 64, 256), 64, 256);
}

int zoo_squeezenet1_1(const struct blueprint *b, int in)
{
    const struct conv2d_shape final = zoo_square(b->n_classes, 1, 1, 1);
    int t =
        graph_dropout(b->graph, "classifier.0", features(b, in), zoo_value(b, "dropout"));

    t = graph_conv2d(b->graph, "classifier.1", t, &final);
    zoo_init_layer(b->graph, t, INIT_NORMAL, 0.01);
    return zoo_global_mean(b, zoo_activate(b, "classifier.2", t, ACT_RELU));
}
