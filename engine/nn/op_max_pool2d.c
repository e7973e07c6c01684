/* Largest value of each window, as PyTorch: padding never wins, ties go to the
 * first in row order. The winner's index is kept for the backward pass. A window
 * that reaches beyond the image is cut there. */
#include "base/error.h"
#include "engine/nn/op.h"
#include "engine/nn/pooled.h"

#include <assert.h>

enum { ELEMENTS_PER_BLOCK = 8192, MAX_TAPS = 256 };

/* With `ceil`, one more window if it begins inside the image or the padding before
 * it. */
static size_t axis_outputs(size_t n_in, size_t pad, size_t kernel, size_t stride,
                           bool ceil)
{
    size_t reach = n_in + 2 * pad + (ceil ? stride - 1 : 0);
    size_t n = reach < kernel ? 0 : (reach - kernel) / stride + 1;

    return ceil && n > 0 && (n - 1) * stride >= n_in + pad ? n - 1 : n;
}

static int add_max_pool2d(struct graph *graph, const char *name, int in,
                          const struct pool2d_shape *settings, bool ceil)
{
    union op_params params = {.pool2d = *settings};
    struct pool2d_shape *s = &params.pool2d;
    const struct shape *x = graph_image(graph, name, in);

    assert(2 * s->pad_h <= s->k_h && 2 * s->pad_w <= s->k_w);
    if (!x)
        return NO_TENSOR;
    s->channels = x->dim[0];
    s->h_in = x->dim[1];
    s->w_in = x->dim[2];
    s->h_out = axis_outputs(s->h_in, s->pad_h, s->k_h, s->stride_h, ceil);
    s->w_out = axis_outputs(s->w_in, s->pad_w, s->k_w, s->stride_w, ceil);
    return graph_node(graph, OP_MAX_POOL2D, name, &params, &in, 1);
}

int graph_max_pool2d(struct graph *graph, const char *name, int in,
                     const struct pool2d_shape *settings)
{
    return add_max_pool2d(graph, name, in, settings, false);
}

int graph_max_pool2d_ceil(struct graph *graph, const char *name, int in,
                          const struct pool2d_shape *settings)
{
    return add_max_pool2d(graph, name, in, settings, true);
}

static cygnet_status infer(struct shape *out, const struct graph *graph,
                           const struct node *node, cygnet_error *err)
{
    const struct pool2d_shape *s = &node->params.pool2d;

    (void)graph;
    if (s->h_out == 0 || s->w_out == 0)
        return fail(err, CYGNET_ESHAPE, 0,
                    "a %zux%zu window does not fit a %zux%zu input", s->k_h, s->k_w,
                    s->h_in, s->w_in);
    if (s->k_h > MAX_TAPS / s->k_w)
        return fail(err, CYGNET_ESHAPE, 0, "a %zux%zu window: want at most %d values",
                    s->k_h, s->k_w, MAX_TAPS);
    *out = (struct shape){3, {s->channels, s->h_out, s->w_out}};
    return CYGNET_OK;
}

/* Elements of an image as it is stored, and without its padding. */
static size_t stored_in(const struct pool2d_shape *s)
{
    return padded(s->channels) * s->h_in * s->w_in;
}

static size_t stored_out(const struct pool2d_shape *s)
{
    return padded(s->channels) * s->h_out * s->w_out;
}

static size_t image_in(const struct pool2d_shape *s)
{
    return s->channels * s->h_in * s->w_in;
}

static size_t image_out(const struct pool2d_shape *s)
{
    return s->channels * s->h_out * s->w_out;
}

enum { Y, AT, X, NORM };

/* plan: how x is read. */
static void run_forward(const struct call *call, const struct step *step, size_t block,
                        size_t worker)
{
    const struct pool2d_shape *s = &call->node->params.pool2d;
    const struct operand *in = call->plan;
    struct span rows = call_rows(call, step, block);
    struct reading reading = reading_of(step, in);
    real *y = step_buffer(step, call, Y);
    uint8_t *at = step_buffer(step, call, AT);
    const real *x = step_buffer(step, call, X);

    (void)worker;
    for (size_t i = rows.first; i < rows.first + rows.n; i++)
        step->kernels->max_pool2d_forward(y + i * stored_out(s), at + i * stored_out(s),
                                          x + i * stored_in(s), &reading, in->channels,
                                          s);
}

static void run_backward(const struct call *call, const struct step *step, size_t block,
                         size_t worker)
{
    const struct pool2d_shape *s = &call->node->params.pool2d;
    struct span rows = call_rows(call, step, block);
    real *dx = step_buffer(step, call, 0);
    const real *dy = step_buffer(step, call, 1);
    const uint8_t *at = step_buffer(step, call, 2);

    (void)worker;
    for (size_t i = rows.first; i < rows.first + rows.n; i++)
        step->kernels->max_pool2d_backward(dx + i * stored_in(s), dy + i * stored_out(s),
                                           at + i * stored_out(s), s);
}

static struct partition row_blocks(const struct pool2d_shape *s)
{
    return (struct partition){.rows_per_block =
                                  lower_rows_for(ELEMENTS_PER_BLOCK, stored_in(s))};
}

static int winners(struct lowering *l, const struct node *node)
{
    return lower_saved(l, node, stored_out(&node->params.pool2d) * lower_max_batch(l));
}

static void forward(struct lowering *l, const struct node *node)
{
    struct partition blocks = row_blocks(&node->params.pool2d);
    struct operand *x = lower_plan(l, sizeof(*x));

    if (!x)
        return;
    *x = lower_operand(l, node->in[0]);
    if (pooled_is_done(l, node)) {
        lower_read_as(l, node, true, x);
        return;
    }
    if (!lower_keeps_zero(x->act))
        *x = lower_plain(l, node->in[0]);
    lower_planned_call(l, run_forward, &blocks, x,
                       (const int[]){lower_output(l, node).buffer, winners(l, node),
                                     x->buffer, x->norm},
                       4);
}

static void backward(struct lowering *l, const struct node *node)
{
    struct partition blocks = row_blocks(&node->params.pool2d);
    struct delivery d;
    int dy;

    if (pooled_is_done(l, node))
        return; /* the convolution goes on from its output's gradient */
    dy = lower_plain_gradient(l, node);
    if (!lower_deliver(l, &d, node, 0, 0))
        return;
    lower_call(l, run_backward, &blocks, (const int[]){d.g, dy, winners(l, node)}, 3);
    lower_settle(l, &d);
}

static void cost(struct op_cost *out, const struct graph *graph, const struct node *node)
{
    const struct pool2d_shape *s = &node->params.pool2d;
    double in = (double)image_in(s), to_out = (double)image_out(s);

    (void)graph;
    out->forward_flops = to_out * (double)(s->k_h * s->k_w);
    out->backward_flops = to_out;
    out->forward_bytes = sizeof(real) * (in + to_out) + to_out;
    out->backward_bytes = out->forward_bytes;
}

const struct op op_max_pool2d = {
    .name = "max_pool2d",
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .can_remake = true,
    .cost = cost,
};
