/* MobileNet V2 and V3 with torchvision's names. */
#include "engine/nn/zoo_parts.h"

/* V3 has settings of its own. */
struct norm {
    double eps;
    double momentum;
};

static const struct norm norm_v2 = {1e-5, 0.1};
static const struct norm norm_v3 = {0.001, 0.01};

/* Convolution, norm and activation: "<name>.0", ".1", ".2". */
static int conv_norm_act(const struct blueprint *b, const char *name, int in,
                         const struct conv2d_shape *settings, const struct norm *norm,
                         enum activation act)
{
    in = graph_conv2d_no_bias(b->graph, zoo_label("%s.0", name).text, in, settings);
    in = graph_batch_norm2d_with(b->graph, zoo_label("%s.1", name).text, in, norm->eps,
                                 norm->momentum);
    return act == ACT_NONE ? in : zoo_activate(b, zoo_label("%s.2", name).text, in, act);
}

/* The end of a block that has its input added if nothing changed its shape. */
static int meet(const struct blueprint *b, const char *block, int out, int in,
                size_t stride)
{
    if (stride != 1 || zoo_channels(b, in) != zoo_channels(b, out))
        return out;
    return graph_add(b->graph, zoo_label("%s.add", block).text, out, in);
}

/* ---- V2 ------------------------------------------------------------------ */

/* `n` blocks, the first of which has the stride. */
struct stage {
    size_t expansion;
    size_t channels;
    size_t n;
    size_t stride;
};

/* Source: Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks",
 * CVPR 2018, table 2. */
static const struct stage stages[] = {{1, 16, 1, 1}, {6, 24, 2, 2}, {6, 32, 3, 2},
                                      {6, 64, 4, 2}, {6, 96, 3, 1}, {6, 160, 3, 2},
                                      {6, 320, 1, 1}};

enum { N_STAGES = sizeof(stages) / sizeof(stages[0]) };

static int inverted_residual(const struct blueprint *b, const char *block, int in,
                             const struct stage *stage)
{
    size_t expanded = zoo_channels(b, in) * stage->expansion;
    const struct conv2d_shape expand = zoo_square(expanded, 1, 1, 1);
    const struct conv2d_shape depthwise =
        zoo_square(expanded, 3, stage->stride, expanded);
    const struct conv2d_shape project = zoo_square(stage->channels, 1, 1, 1);
    unsigned i = 0;
    int t = in;

    if (stage->expansion > 1)
        t = conv_norm_act(b, zoo_label("%s.conv.%u", block, i++).text, t, &expand,
                          &norm_v2, ACT_RELU6);
    t = conv_norm_act(b, zoo_label("%s.conv.%u", block, i++).text, t, &depthwise,
                      &norm_v2, ACT_RELU6);
    t = zoo_conv_norm(b, zoo_label("%s.conv.%u", block, i).text,
                      zoo_label("%s.conv.%u", block, i + 1).text, t, &project);
    return meet(b, block, t, in, stage->stride);
}

int zoo_mobilenet_v2(const struct blueprint *b, int in)
{
    double width = zoo_value(b, "width_mult");
    const struct conv2d_shape stem = zoo_square(zoo_divisible(32 * width), 3, 2, 1);
    const struct conv2d_shape last =
        zoo_square(zoo_divisible(1280 * (width > 1 ? width : 1)), 1, 1, 1);
    unsigned i = 0;
    int t = conv_norm_act(b, "features.0", in, &stem, &norm_v2, ACT_RELU6);

    for (size_t s = 0; s < N_STAGES; s++) {
        struct stage block = stages[s];

        block.channels = zoo_divisible((double)block.channels * width);
        for (size_t n = 0; n < stages[s].n; n++) {
            block.stride = n == 0 ? stages[s].stride : 1;
            t = inverted_residual(b, zoo_label("features.%u", ++i).text, t, &block);
        }
    }
    t = conv_norm_act(b, zoo_label("features.%u", i + 1).text, t, &last, &norm_v2,
                      ACT_RELU6);
    t = graph_dropout(b->graph, "classifier.0", zoo_global_mean(b, t),
                      zoo_value(b, "dropout"));
    t = graph_linear(b->graph, "classifier.1", t, b->n_classes);
    zoo_init_convs(b->graph);
    zoo_init_linears(b->graph, 0.01);
    return t;
}

/* ---- V3 ------------------------------------------------------------------ */

struct bneck {
    size_t kernel;
    size_t expanded;
    size_t channels;
    bool squeezes;
    enum activation act;
    size_t stride;
};

/* Source: Howard et al., "Searching for MobileNetV3", ICCV 2019, table 2 (small). */
static const struct bneck bnecks[] = {
    {3, 16, 16, true, ACT_RELU, 2},       {3, 72, 24, false, ACT_RELU, 2},
    {3, 88, 24, false, ACT_RELU, 1},      {5, 96, 40, true, ACT_HARDSWISH, 2},
    {5, 240, 40, true, ACT_HARDSWISH, 1}, {5, 240, 40, true, ACT_HARDSWISH, 1},
    {5, 120, 48, true, ACT_HARDSWISH, 1}, {5, 144, 48, true, ACT_HARDSWISH, 1},
    {5, 288, 96, true, ACT_HARDSWISH, 2}, {5, 576, 96, true, ACT_HARDSWISH, 1},
    {5, 576, 96, true, ACT_HARDSWISH, 1}};

enum { N_BNECKS = sizeof(bnecks) / sizeof(bnecks[0]) };

/* Squeeze and excitation: each channel times a factor that the means give. */
static int squeeze_excite(const struct blueprint *b, const char *name, int in)
{
    size_t channels = zoo_channels(b, in), quarter = channels / 4;
    const struct conv2d_shape squeeze =
        zoo_square(zoo_divisible((double)quarter), 1, 1, 1);
    const struct conv2d_shape excite = zoo_square(channels, 1, 1, 1);
    struct graph *graph = b->graph;
    int s = graph_avg_pool2d(graph, zoo_label("%s.avgpool", name).text, in, 1, 1);

    s = graph_conv2d(graph, zoo_label("%s.fc1", name).text, s, &squeeze);
    s = zoo_activate(b, zoo_label("%s.activation", name).text, s, ACT_RELU);
    s = graph_conv2d(graph, zoo_label("%s.fc2", name).text, s, &excite);
    s = graph_activate(graph, zoo_label("%s.scale_activation", name).text, s,
                       ACT_HARDSIGMOID);
    return graph_scale(graph, zoo_label("%s.scale", name).text, in, s);
}

static int add_bneck(const struct blueprint *b, const char *block, int in,
                     const struct bneck *k)
{
    const struct conv2d_shape expand = zoo_square(k->expanded, 1, 1, 1);
    const struct conv2d_shape depthwise =
        zoo_square(k->expanded, k->kernel, k->stride, k->expanded);
    const struct conv2d_shape project = zoo_square(k->channels, 1, 1, 1);
    unsigned i = 0;
    int t = in;

    if (zoo_channels(b, in) != k->expanded)
        t = conv_norm_act(b, zoo_label("%s.block.%u", block, i++).text, t, &expand,
                          &norm_v3, k->act);
    t = conv_norm_act(b, zoo_label("%s.block.%u", block, i++).text, t, &depthwise,
                      &norm_v3, k->act);
    if (k->squeezes)
        t = squeeze_excite(b, zoo_label("%s.block.%u", block, i++).text, t);
    t = conv_norm_act(b, zoo_label("%s.block.%u", block, i).text, t, &project, &norm_v3,
                      ACT_NONE);
    return meet(b, block, t, in, k->stride);
}

int zoo_mobilenet_v3_small(const struct blueprint *b, int in)
{
    double width = zoo_value(b, "width_mult");
    const struct conv2d_shape stem = zoo_square(zoo_divisible(16 * width), 3, 2, 1);
    struct conv2d_shape last;
    int t = conv_norm_act(b, "features.0", in, &stem, &norm_v3, ACT_HARDSWISH);

    for (unsigned i = 0; i < N_BNECKS; i++) {
        struct bneck k = bnecks[i];

        k.expanded = zoo_divisible((double)k.expanded * width);
        k.channels = zoo_divisible((double)k.channels * width);
        t = add_bneck(b, zoo_label("features.%u", i + 1).text, t, &k);
    }
    last = zoo_square(6 * zoo_channels(b, t), 1, 1, 1);
    t = conv_norm_act(b, zoo_label("features.%d", N_BNECKS + 1).text, t, &last, &norm_v3,
                      ACT_HARDSWISH);
    t = graph_linear(b->graph, "classifier.0", zoo_global_mean(b, t),
                     zoo_divisible(1024 * width));
    t = zoo_activate(b, "classifier.1", t, ACT_HARDSWISH);
    t = graph_dropout(b->graph, "classifier.2", t, zoo_value(b, "dropout"));
    t = graph_linear(b->graph, "classifier.3", t, b->n_classes);
    zoo_init_convs(b->graph);
    zoo_init_linears(b->graph, 0.01);
    return t;
}
