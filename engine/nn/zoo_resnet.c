/* ResNets with torchvision's names.
 * Source: He et al., "Deep residual learning for image recognition", CVPR 2016, table
 * 1; the stride of a bottleneck is in its 3x3 convolution. */
#include "engine/nn/zoo_parts.h"

enum { N_STAGES = 4, EXPANSION = 4 };

/* Channels of the blocks' first convolutions in each stage. */
static const size_t widths[N_STAGES] = {64, 128, 256, 512};

/* Convolution `number` of a block and its norm: "<block>.conv1", "<block>.bn1". */
static int conv_norm(const struct blueprint *b, const char *block, unsigned number,
                     int in, const struct conv2d_shape *settings)
{
    return zoo_conv_norm(b, zoo_label("%s.conv%u", block, number).text,
                         zoo_label("%s.bn%u", block, number).text, in, settings);
}

static int relu(const struct blueprint *b, const char *block, unsigned number, int in)
{
    return zoo_activate(b, zoo_label("%s.relu%u", block, number).text, in, ACT_RELU);
}

/* What is added to a block's result: its input, brought to that size. */
static int shortcut(const struct blueprint *b, const char *block, int in, size_t channels,
                    size_t stride)
{
    const struct conv2d_shape conv = zoo_square(channels, 1, stride, 1);

    if (stride == 1 && zoo_channels(b, in) == channels)
        return in;
    return zoo_conv_norm(b, zoo_label("%s.downsample.0", block).text,
                         zoo_label("%s.downsample.1", block).text, in, &conv);
}

/* The residual and its last relu. The shortcut's layers come last in a state_dict. */
static int meet(const struct blueprint *b, const char *block, int residual, int in,
                size_t stride)
{
    int side = shortcut(b, block, in, zoo_channels(b, residual), stride);

    residual = graph_add(b->graph, zoo_label("%s.add", block).text, residual, side);
    return relu(b, block, 0, residual);
}

static int basic_block(const struct blueprint *b, const char *block, int in, size_t width,
                       size_t stride)
{
    const struct conv2d_shape first = zoo_square(width, 3, stride, 1);
    const struct conv2d_shape second = zoo_square(width, 3, 1, 1);
    int t = relu(b, block, 1, conv_norm(b, block, 1, in, &first));

    return meet(b, block, conv_norm(b, block, 2, t, &second), in, stride);
}

static int bottleneck(const struct blueprint *b, const char *block, int in, size_t width,
                      size_t stride)
{
    const struct conv2d_shape reduce = zoo_square(width, 1, 1, 1);
    const struct conv2d_shape middle = zoo_square(width, 3, stride, 1);
    const struct conv2d_shape expand = zoo_square(EXPANSION * width, 1, 1, 1);
    int t = relu(b, block, 1, conv_norm(b, block, 1, in, &reduce));

    t = relu(b, block, 2, conv_norm(b, block, 2, t, &middle));
    return meet(b, block, conv_norm(b, block, 3, t, &expand), in, stride);
}

typedef int (*block_fn)(const struct blueprint *b, const char *block, int in,
                        size_t width, size_t stride);

/* n_blocks  of each stage */
static int resnet(const struct blueprint *b, int in, block_fn add_block,
                  const size_t n_blocks[N_STAGES])
{
    const struct conv2d_shape conv = zoo_square(64, 7, 2, 1);
    const struct pool2d_shape pool = {
        .k_h = 3, .k_w = 3, .stride_h = 2, .stride_w = 2, .pad_h = 1, .pad_w = 1};
    int t = zoo_conv_norm(b, "conv1", "bn1", in, &conv);

    t = zoo_activate(b, "relu", t, ACT_RELU);
    t = graph_max_pool2d(b->graph, "maxpool", t, &pool);
    for (size_t s = 0; s < N_STAGES; s++) {
        for (size_t i = 0; i < n_blocks[s]; i++)
            t = add_block(b, zoo_label("layer%zu.%zu", s + 1, i).text, t, widths[s],
                          s > 0 && i == 0 ? 2 : 1);
    }
    zoo_init_convs(b->graph);
    return graph_linear(b->graph, "fc", zoo_global_mean(b, t), b->n_classes);
}

int zoo_resnet18(const struct blueprint *b, int in)
{
    return resnet(b, in, basic_block, (const size_t[]){2, 2, 2, 2});
}

int zoo_resnet34(const struct blueprint *b, int in)
{
    return resnet(b, in, basic_block, (const size_t[]){3, 4, 6, 3});
}

int zoo_resnet50(const struct blueprint *b, int in)
{
    return resnet(b, in, bottleneck, (const size_t[]){3, 4, 6, 3});
}
