/* Adaptive average pooling: each output is the mean of its share of the image. */
#include "base/error.h"
#include "engine/nn/op.h"

enum { ELEMENTS_PER_BLOCK = 8192 };

int graph_avg_pool2d(struct graph *graph, const char *name, int in, size_t h_out,
                     size_t w_out)
{
    union op_params params = {.pool2d = {.h_out = h_out, .w_out = w_out}};
    const struct shape *x;

    if (in == NO_TENSOR)
        return NO_TENSOR;
    x = &graph->tensors[in].shape;
    if (x->n_dims != 3)
        return graph_fail(graph, CYGNET_ESHAPE,
                          "%s: wants an image (channels, height, width), the input has "
                          "%u dimensions",
                          name, x->n_dims);
    params.pool2d.channels = x->dim[0];
    params.pool2d.h_in = x->dim[1];
    params.pool2d.w_in = x->dim[2];
    return graph_node(graph, OP_AVG_POOL2D, name, &params, &in, 1);
}

static cygnet_status infer(struct shape *out, const struct graph *graph,
                           const struct node *node, cygnet_error *err)
{
    const struct pool2d_shape *s = &node->params.pool2d;

    (void)graph;
    (void)err;
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

enum { Y, X, NORM };

/* plan: how x is read. */
static void run_forward(const struct call *call, const struct step *step, size_t block,
                        size_t worker)
{
    const struct pool2d_shape *s = &call->node->params.pool2d;
    const struct operand *in = call->plan;
    struct span rows = call_rows(call, step, block);
    struct reading reading = reading_of(step, in);
    real *y = step_buffer(step, call, Y);
    const real *x = step_buffer(step, call, X);

    (void)worker;
    for (size_t i = rows.first; i < rows.first + rows.n; i++)
        step->kernels->avg_pool2d_forward(y + i * stored_out(s), x + i * stored_in(s),
                                          &reading, in->channels, s);
}

static void run_backward(const struct call *call, const struct step *step, size_t block,
                         size_t worker)
{
    const struct pool2d_shape *s = &call->node->params.pool2d;
    struct span rows = call_rows(call, step, block);
    real *dx = step_buffer(step, call, 0);
    const real *dy = step_buffer(step, call, 1);

    (void)worker;
    for (size_t i = rows.first; i < rows.first + rows.n; i++)
        step->kernels->avg_pool2d_backward(dx + i * stored_in(s), dy + i * stored_out(s),
                                           s);
}

static struct partition row_blocks(const struct pool2d_shape *s)
{
    return (struct partition){.rows_per_block =
                                  lower_rows_for(ELEMENTS_PER_BLOCK, stored_in(s))};
}

static void forward(struct lowering *l, const struct node *node)
{
    struct partition blocks = row_blocks(&node->params.pool2d);
    struct operand *x = lower_plan(l, sizeof(*x));

    if (!x)
        return;
    *x = lower_operand(l, node->in[0]);
    if (!lower_keeps_zero(x->act))
        *x = lower_plain(l, node->in[0]);
    lower_planned_call(l, run_forward, &blocks, x,
                       (const int[]){lower_output(l, node).buffer, x->buffer, x->norm},
                       3);
}

static void backward(struct lowering *l, const struct node *node)
{
    struct partition blocks = row_blocks(&node->params.pool2d);
    int dy = lower_plain_gradient(l, node);
    struct delivery d;

    if (!lower_deliver(l, &d, node, 0, 0))
        return;
    lower_call(l, run_backward, &blocks, (const int[]){d.g, dy}, 2);
    lower_settle(l, &d);
}

static void cost(struct op_cost *out, const struct graph *graph, const struct node *node)
{
    const struct pool2d_shape *s = &node->params.pool2d;
    double in = (double)image_in(s), to_out = (double)image_out(s);

    (void)graph;
    out->forward_flops = in + to_out;
    out->backward_flops = in + to_out;
    out->forward_bytes = sizeof(real) * (in + to_out);
    out->backward_bytes = out->forward_bytes;
}

const struct op op_avg_pool2d = {
    .name = "avg_pool2d",
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .can_remake = true,
    .cost = cost,
};
