/* y = max(x, 0), and relu6: y = min(max(x, 0), 6). Backward looks at the output only, so
 * that the input's memory can be overwritten. */
#include "engine/nn/op.h"

enum { ELEMENTS_PER_BLOCK = 16384 };

static cygnet_status infer(struct shape *out, const struct graph *graph,
                           const struct node *node, cygnet_error *err)
{
    (void)err;
    *out = *node_input_shape(graph, node, 0);
    return CYGNET_OK;
}

static void run_forward(const struct call *call, const struct step *step, size_t block,
                        size_t worker)
{
    size_t elements = call->node->params.elementwise.elements;
    struct span rows = call_rows(call, step, block);
    real *y = step_buffer(step, call, 0);
    const real *x = step_buffer(step, call, 1);

    (void)worker;
    if (call->node->params.activation.kind == ACT_RELU6)
        step->kernels->relu6_forward(y + rows.first * elements, x + rows.first * elements,
                                     rows.n * elements);
    else
        step->kernels->relu_forward(y + rows.first * elements, x + rows.first * elements,
                                    rows.n * elements);
}

static void run_backward(const struct call *call, const struct step *step, size_t block,
                         size_t worker)
{
    size_t elements = call->node->params.elementwise.elements;
    struct span rows = call_rows(call, step, block);
    real *dx = step_buffer(step, call, 0);
    const real *dy = step_buffer(step, call, 1);
    const real *y = step_buffer(step, call, 2);

    (void)worker;
    if (call->node->params.activation.kind == ACT_RELU6)
        step->kernels->relu6_backward(dx + rows.first * elements,
                                      dy + rows.first * elements,
                                      y + rows.first * elements, rows.n * elements);
    else
        step->kernels->relu_backward(dx + rows.first * elements,
                                     dy + rows.first * elements,
                                     y + rows.first * elements, rows.n * elements);
}

static struct partition row_blocks(const struct node *node)
{
    size_t elements = node->params.elementwise.elements;

    return (struct partition){.rows_per_block =
                                  lower_rows_for(ELEMENTS_PER_BLOCK, elements)};
}

static void forward(struct lowering *l, const struct node *node)
{
    struct partition blocks = row_blocks(node);

    lower_call(l, run_forward, node, &blocks,
               (const int[]){lower_value(l, node->out), lower_value(l, node->in[0])}, 2);
}

static void backward(struct lowering *l, const struct node *node)
{
    struct partition blocks = row_blocks(node);
    int dx = lower_input_grad(l, node, 0);

    lower_call(l, run_backward, node, &blocks,
               (const int[]){dx, lower_output_grad(l, node), lower_value(l, node->out)},
               3);
}

static void cost(struct op_cost *out, const struct graph *graph, const struct node *node)
{
    double n = (double)shape_elements(node_input_shape(graph, node, 0));

    out->forward_flops = n;
    out->backward_flops = n;
    out->forward_bytes = 2 * n * sizeof(real);
    out->backward_bytes = 3 * n * sizeof(real);
}

const struct op op_relu = {
    .name = "relu",
    .in_place = true,
    .grad_in_place = true,
    .reads_output = true,
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .cost = cost,
};

const struct op op_relu6 = {
    .name = "relu6",
    .in_place = true,
    .grad_in_place = true,
    .reads_output = true,
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .cost = cost,
};
