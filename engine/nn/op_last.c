/* The last step of a sequence. */
#include "engine/nn/op.h"

#include <string.h>

int graph_last(struct graph *graph, const char *name, int in)
{
    const struct shape *x = graph_sequence(graph, name, in);
    union op_params params = {0};

    if (!x)
        return NO_TENSOR;
    params.last = (struct last_params){x->dim[0], x->dim[1]};
    return graph_node(graph, OP_LAST, name, &params, &in, 1);
}

static cygnet_status infer(struct shape *out, const struct graph *graph,
                           const struct node *node, cygnet_error *err)
{
    (void)graph;
    (void)err;
    *out = (struct shape){1, {node->params.last.width}};
    return CYGNET_OK;
}

/* plan of all calls: the sequence. */
static void run_forward(const struct call *call, const struct step *step, size_t block,
                        size_t worker)
{
    const struct operand *x = call->plan;
    real *y = step_buffer(step, call, 0);
    const real *from = step_buffer(step, call, 1);

    (void)block;
    (void)worker;
    for (size_t e = 0; e < step->n; e++)
        memcpy(y + e * x->channels, from + ((e + 1) * x->rows - 1) * x->channels,
               x->channels * sizeof(*y));
}

static void run_backward(const struct call *call, const struct step *step, size_t block,
                         size_t worker)
{
    const struct operand *x = call->plan;
    size_t before = (x->rows - 1) * x->channels;
    real *dx = (real *)step_buffer(step, call, 0) + block * x->rows * x->channels;
    const real *dy = (const real *)step_buffer(step, call, 1) + block * x->channels;

    (void)worker;
    memset(dx, 0, before * sizeof(*dx));
    memcpy(dx + before, dy, x->channels * sizeof(*dx));
}

static void forward(struct lowering *l, const struct node *node)
{
    struct operand *x = lower_plan(l, sizeof(*x));
    struct partition whole = {0};

    if (!x)
        return;
    *x = lower_plain(l, node->in[0]);
    lower_planned_call(l, run_forward, &whole, x,
                       (const int[]){lower_output(l, node).buffer, x->buffer}, 2);
}

static void backward(struct lowering *l, const struct node *node)
{
    struct partition examples = {.rows_per_block = 1};
    struct operand *x = lower_plan(l, sizeof(*x));
    int dy = lower_plain_gradient(l, node);
    struct delivery d;

    if (!x || !lower_deliver(l, &d, node, 0, 0))
        return;
    *x = lower_shape(node_input_shape(lower_source(l), node, 0));
    lower_planned_call(l, run_backward, &examples, x, (const int[]){d.g, dy}, 2);
    lower_settle(l, &d);
}

/* The gradient of the earlier steps is 0, and is written too. */
static void cost(struct op_cost *out, const struct graph *graph, const struct node *node)
{
    const struct last_params *p = &node->params.last;

    (void)graph;
    out->forward_bytes = 2 * (double)p->width * sizeof(real);
    out->backward_bytes = (double)(p->width + p->steps * p->width) * sizeof(real);
}

const struct op op_last = {
    .name = "last",
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .cost = cost,
};
