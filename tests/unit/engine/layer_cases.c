/* Random convolutions. */
#include "layer_cases.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* LEAST_OF_NORM: fewer values have a variance that bends too much for a difference. */
enum { CLASSES = 3, MOST_PRODUCTS = 400000, LEAST_OF_NORM = 12 };

/* ---- Numbers ----------------------------------------------------------------- */

struct draws {
    uint64_t start;
    size_t n;
};

static size_t below(struct draws *d, size_t n)
{
    return (size_t)(hash_bits(d->start, d->n++) >> 33) % n;
}

static bool one_in(struct draws *d, size_t n)
{
    return below(d, n) == 0;
}

/* Around the multiples of PANEL, where layouts change. */
static size_t draw_channels(struct draws *d)
{
    static const size_t some[] = {1, 2, 3, 5, 8, 15, 16, 17, 20, 31, 32, 33, 40, 48};

    return some[below(d, sizeof(some) / sizeof(some[0]))];
}

static size_t draw_side(struct draws *d)
{
    static const size_t some[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 16, 17, 19};

    return some[below(d, sizeof(some) / sizeof(some[0]))];
}

static size_t axis_outputs(size_t n_in, size_t pad, size_t dilation, size_t kernel,
                           size_t stride)
{
    size_t reach = dilation * (kernel - 1) + 1;

    return n_in + 2 * pad < reach ? 0 : (n_in + 2 * pad - reach) / stride + 1;
}

/* ---- A convolution ----------------------------------------------------------- */

/* Half of them square and plain, as they mostly are. */
static void draw_window(struct draws *d, struct conv2d_shape *s)
{
    static const size_t kernels[] = {1, 1, 2, 3, 3, 3, 4, 5};
    bool is_plain = one_in(d, 2);

    s->k_h = s->k_w = kernels[below(d, 8)];
    s->stride_h = s->stride_w = one_in(d, 3) ? 2 : 1;
    s->pad_h = s->pad_w = s->k_h / 2;
    s->dilation_h = s->dilation_w = 1;
    if (is_plain)
        return;
    s->k_w = one_in(d, 2) ? s->k_h : kernels[below(d, 8)];
    s->stride_h = 1 + below(d, 3);
    s->stride_w = 1 + below(d, 3);
    s->pad_h = below(d, s->k_h + 3);
    s->pad_w = below(d, s->k_w + 3);
    if (one_in(d, 4))
        s->dilation_h = 1 + below(d, 3);
    if (one_in(d, 4))
        s->dilation_w = 1 + below(d, 3);
}

static void draw_groups(struct draws *d, struct conv2d_shape *s)
{
    s->groups = 1;
    if (one_in(d, 3)) {
        s->groups = s->c_out = s->c_in;
    } else if (one_in(d, 6) && s->c_in % 2 == 0) {
        s->groups = 2;
        s->c_out += s->c_out % 2;
    }
}

static size_t products(const struct layer_case *c)
{
    const struct conv2d_shape *s = &c->conv;

    return c->batch * s->h_out * s->w_out * s->k_h * s->k_w * s->c_out * s->c_in /
           s->groups;
}

static void draw_conv(struct draws *d, struct layer_case *c)
{
    struct conv2d_shape *s = &c->conv;

    do {
        s->c_in = draw_channels(d);
        s->c_out = draw_channels(d);
        s->h_in = draw_side(d);
        s->w_in = draw_side(d);
        c->batch = 1 + below(d, one_in(d, 4) ? 20 : 3);
        draw_window(d, s);
        draw_groups(d, s);
        s->h_out = axis_outputs(s->h_in, s->pad_h, s->dilation_h, s->k_h, s->stride_h);
        s->w_out = axis_outputs(s->w_in, s->pad_w, s->dilation_w, s->k_w, s->stride_w);
    } while (products(c) == 0 || products(c) > MOST_PRODUCTS);
}

/* ---- What is around it ------------------------------------------------------- */

static enum activation draw_act(struct draws *d, bool smooth)
{
    static const enum activation acts[] = {ACT_NONE, ACT_SIGMOID, ACT_SILU,
                                           ACT_TANH, ACT_NONE,    ACT_HARDSIGMOID,
                                           ACT_RELU, ACT_RELU6,   ACT_HARDSWISH};

    return acts[below(d, smooth ? 5 : sizeof(acts) / sizeof(acts[0]))];
}

/* Within the image that the convolution gives. */
static void draw_pool(struct draws *d, struct layer_case *c)
{
    struct pool2d_shape *p = &c->pool;

    p->k_h = 1 + below(d, c->conv.h_out < 3 ? c->conv.h_out : 3);
    p->k_w = 1 + below(d, c->conv.w_out < 3 ? c->conv.w_out : 3);
    p->stride_h = one_in(d, 2) ? p->k_h : 1 + below(d, 3);
    p->stride_w = one_in(d, 2) ? p->k_w : 1 + below(d, 3);
    p->h_out = axis_outputs(c->conv.h_out, 0, 1, p->k_h, p->stride_h);
    p->w_out = axis_outputs(c->conv.w_out, 0, 1, p->k_w, p->stride_w);
}

static size_t last_index;
static struct layer_case last;

uint64_t layer_seed(void)
{
    const char *text = getenv("CYGNET_SEED");

    return text ? strtoull(text, NULL, 10) : FIXTURE_SEED;
}

struct layer_case layer_case_of(uint64_t seed, size_t index, bool smooth)
{
    char name[32];
    struct layer_case c = {0};
    struct draws d = {0, 0};

    (void)snprintf(name, sizeof(name), "layer %zu", index);
    d.start = hash_start(seed, name);
    draw_conv(&d, &c);
    c.planar = one_in(&d, 5);
    c.image = c.planar ? c.conv.c_in : 2;
    c.has_bias = one_in(&d, 2);
    c.is_direct = one_in(&d, 2);
    c.normed_before = !c.planar && one_in(&d, 3) &&
                      c.batch * c.conv.h_in * c.conv.w_in >= LEAST_OF_NORM;
    c.before = c.planar ? ACT_NONE : draw_act(&d, smooth);
    c.normed_after =
        one_in(&d, 3) && c.batch * c.conv.h_out * c.conv.w_out >= LEAST_OF_NORM;
    c.after = draw_act(&d, smooth);
    c.has_pool = one_in(&d, 4);
    if (c.has_pool)
        draw_pool(&d, &c);
    c.shared = c.planar ? 0 : (int)below(&d, 4);
    last_index = index;
    last = c;
    return c;
}

/* ---- The graph --------------------------------------------------------------- */

static int add_norm_act(struct graph *graph, int t, bool normed, enum activation act,
                        const char *name)
{
    char full[32];

    (void)snprintf(full, sizeof(full), "%s_norm", name);
    if (normed)
        t = graph_batch_norm2d(graph, full, t);
    (void)snprintf(full, sizeof(full), "%s_act", name);
    return graph_activate(graph, full, t, act);
}

static int add_input(struct graph *graph, const struct layer_case *c)
{
    const struct conv2d_shape first = {.c_out = c->conv.c_in,
                                       .k_h = 1,
                                       .k_w = 1,
                                       .stride_h = 1,
                                       .stride_w = 1,
                                       .dilation_h = 1,
                                       .dilation_w = 1,
                                       .groups = 1};
    struct shape image = {3, {c->image, c->conv.h_in, c->conv.w_in}};
    int t = graph_input(graph, &image);

    if (c->planar)
        return t;
    graph->tensors[t].needs_grad = true;
    t = graph_conv2d(graph, "first", t, &first);
    return add_norm_act(graph, t, c->normed_before, c->before, "before");
}

/* Gradients differ from place to place. */
static int add_classes(struct graph *graph, int t, bool is_direct, const char *name)
{
    size_t h = graph->tensors[t].shape.dim[1], w = graph->tensors[t].shape.dim[2];
    char full[32];

    (void)snprintf(full, sizeof(full), "%s_mean", name);
    if (!is_direct)
        t = graph_avg_pool2d(graph, full, t, h < 3 ? h : 3, w < 3 ? w : 3);
    t = graph_flatten(graph, name, t);
    (void)snprintf(full, sizeof(full), "%s_fc", name);
    return graph_linear(graph, full, t, CLASSES);
}

struct layer_tensors layer_case_build(struct graph *graph, const struct layer_case *c)
{
    struct layer_tensors at;
    int classes, side = NO_TENSOR;

    graph_init(graph, NULL);
    at.in = add_input(graph, c);
    if (c->shared == 1)
        side = add_classes(graph, at.in, c->is_direct, "side");
    at.out = c->has_bias ? graph_conv2d(graph, "conv", at.in, &c->conv)
                         : graph_conv2d_no_bias(graph, "conv", at.in, &c->conv);
    at.end = add_norm_act(graph, at.out, c->normed_after, c->after, "after");
    if (c->has_pool)
        at.end = graph_max_pool2d(graph, "pool", at.end, &c->pool);
    classes = add_classes(graph, at.end, c->is_direct, "main");
    if (c->shared == 2)
        side = add_classes(graph, at.in, c->is_direct, "side");
    if (side != NO_TENSOR)
        classes = graph_add(graph, "both", side, classes);
    if (graph_cross_entropy(graph, classes) < 0)
        fail_msg("%s", graph->error.message);
    return at;
}

/* ---- Which it was ------------------------------------------------------------ */

int layer_case_say(void **state)
{
    const struct conv2d_shape *s = &last.conv;
    const struct pool2d_shape *p = &last.pool;

    (void)state;
    print_message("# CYGNET_SEED=%" PRIu64 ", case %zu: ", layer_seed(), last_index);
    print_message("%zu x (%zu, %zu, %zu) to %zu, %zux%zu, ", last.batch, s->c_in, s->h_in,
                  s->w_in, s->c_out, s->k_h, s->k_w);
    print_message("stride %zu %zu, pad %zu %zu, dilation %zu %zu, groups %zu, ",
                  s->stride_h, s->stride_w, s->pad_h, s->pad_w, s->dilation_h,
                  s->dilation_w, s->groups);
    print_message("planar %d, bias %d, before %d (norm %d), after %d (norm %d), ",
                  last.planar, last.has_bias, (int)last.before, last.normed_before,
                  (int)last.after, last.normed_after);
    print_message("shared %d, direct %d, pool %zux%zu by %zu %zu\n", last.shared,
                  last.is_direct, p->k_h, p->k_w, p->stride_h, p->stride_w);
    return 0;
}
