/* y = a + b: where a residual comes back. Both inputs get the gradient of y. */
#include "base/error.h"
#include "engine/nn/op.h"

int graph_add(struct graph *graph, const char *name, int a, int b)
{
    union op_params params = {0};

    if (a == NO_TENSOR || b == NO_TENSOR)
        return NO_TENSOR;
    params.elementwise.elements = shape_elements(&graph->tensors[a].shape);
    return graph_node(graph, OP_ADD, name, &params, (const int[]){a, b}, 2);
}

static cygnet_status infer(struct shape *out, const struct graph *graph,
                           const struct node *node, cygnet_error *err)
{
    *out = *node_input_shape(graph, node, 0);
    if (!shape_equal(out, node_input_shape(graph, node, 1)))
        return fail(err, CYGNET_ESHAPE, 0, "the two inputs differ in shape");
    if (graph_flattened(graph, node->in[0]) || graph_flattened(graph, node->in[1]))
        return fail(err, CYGNET_ESHAPE, 0, "flattened images are added before that");
    return CYGNET_OK;
}

enum { Y, A, A_NORM, B, B_NORM, N_BUFFERS };

/* plan: how the two are read. */
struct add_plan {
    struct operand in[2];
};

static void run_forward(const struct call *call, const struct step *step, size_t block,
                        size_t worker)
{
    const struct add_plan *p = call->plan;
    size_t pitch = p->in[0].channels;
    struct span rows = call_rows(call, step, block);
    struct rows k = {rows.n, pitch, pitch};
    struct reading a = reading_of(step, &p->in[0]), b = reading_of(step, &p->in[1]);
    size_t at = rows.first * pitch;

    (void)worker;
    step->kernels->sum((real *)step_buffer(step, call, Y) + at,
                       (const real *)step_buffer(step, call, A) + at, pitch, &a,
                       (const real *)step_buffer(step, call, B) + at, pitch, &b, &k);
}

static struct operand operand_of(struct lowering *l, int tensor)
{
    struct operand x = lower_operand(l, tensor);

    return lower_keeps_zero(x.act) ? x : lower_plain(l, tensor);
}

static void forward(struct lowering *l, const struct node *node)
{
    struct add_plan *p = lower_plan(l, sizeof(*p));
    struct operand y;
    struct partition blocks;

    if (!p)
        return;
    for (uint32_t i = 0; i < 2; i++)
        p->in[i] = operand_of(l, node->in[i]);
    y = lower_output(l, node);
    blocks = lower_row_blocks(&y);
    lower_planned_call(l, run_forward, &blocks, p,
                       (const int[]){y.buffer, p->in[0].buffer, p->in[0].norm,
                                     p->in[1].buffer, p->in[1].norm},
                       N_BUFFERS);
}

static void backward(struct lowering *l, const struct node *node)
{
    (void)lower_plain_gradient(l, node);
    for (uint32_t i = 0; i < 2; i++)
        lower_pass_on(l, node, i);
}

static void cost(struct op_cost *out, const struct graph *graph, const struct node *node)
{
    double n = (double)shape_elements(node_input_shape(graph, node, 0));

    out->forward_flops = n;
    out->forward_bytes = 3 * n * sizeof(real);
    out->backward_bytes = 2 * n * sizeof(real);
}

const struct op op_add = {
    .name = "add",
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .can_remake = true,
    .cost = cost,
};
