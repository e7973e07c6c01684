/* Dense layer: y = x w^T + b. x is read as one row per example, whatever its
 * shape. */
#include "engine/nn/op.h"

enum { X, W, B };

int graph_linear(struct graph *graph, const char *name, int in, size_t n_out)
{
    union op_params params = {0};
    int inputs[3] = {in, NO_TENSOR, NO_TENSOR};
    size_t n_in;

    if (in == NO_TENSOR)
        return NO_TENSOR;
    n_in = shape_elements(&graph->tensors[in].shape);
    params.linear = (struct linear_params){n_in, n_out};
    inputs[W] =
        graph_parameter(graph, name, "weight", &(struct shape){2, {n_out, n_in}}, n_in);
    inputs[B] = graph_parameter(graph, name, "bias", &(struct shape){1, {n_out}}, n_in);
    return graph_node(graph, OP_LINEAR, name, &params, inputs, 3);
}

static cygnet_status infer(struct shape *out, const struct graph *graph,
                           const struct node *node, cygnet_error *err)
{
    (void)graph;
    (void)err;
    *out = (struct shape){1, {node->params.linear.n_out}};
    return CYGNET_OK;
}

/* Examples by columns of the output. */
static void run_forward(const struct call *call, const struct step *step, size_t block,
                        size_t worker)
{
    const struct linear_params *p = &call->node->params.linear;
    struct span rows = call_rows(call, step, block);
    struct span outs = call_columns(call, block);
    struct linear_block k = {rows.n, p->n_in, outs.n, p->n_in, p->n_out};
    real *y = step_buffer(step, call, 0);
    const real *x = step_buffer(step, call, 1);
    const real *w = step_buffer(step, call, 2);
    const real *b = step_buffer(step, call, 3);

    (void)worker;
    step->kernels->linear_forward(y + rows.first * p->n_out + outs.first,
                                  x + rows.first * p->n_in, w + outs.first * p->n_in,
                                  b + outs.first, &k);
}

/* Examples by columns of the input. */
static void run_backward_input(const struct call *call, const struct step *step,
                               size_t block, size_t worker)
{
    const struct linear_params *p = &call->node->params.linear;
    struct span rows = call_rows(call, step, block);
    struct span ins = call_columns(call, block);
    struct linear_block k = {rows.n, ins.n, p->n_out, p->n_in, p->n_out};
    real *dx = step_buffer(step, call, 0);
    const real *dy = step_buffer(step, call, 1);
    const real *w = step_buffer(step, call, 2);

    (void)worker;
    step->kernels->linear_backward_input(dx + rows.first * p->n_in + ins.first,
                                         dy + rows.first * p->n_out, w + ins.first, &k);
}

/* Columns of the weight; each sums over all examples. Block 0 has the bias. */
static void run_backward_weight(const struct call *call, const struct step *step,
                                size_t block, size_t worker)
{
    const struct linear_params *p = &call->node->params.linear;
    struct span ins = call_columns(call, block);
    struct linear_block k = {step->n, ins.n, p->n_out, p->n_in, p->n_out};
    real *dw = step_buffer(step, call, 0);
    real *db = step_buffer(step, call, 1);
    const real *dy = step_buffer(step, call, 2);
    const real *x = step_buffer(step, call, 3);

    (void)worker;
    step->kernels->linear_backward_weight(dw + ins.first, dy, x + ins.first, &k);
    if (block == 0)
        step->kernels->column_sums(db, dy, step->n, p->n_out);
}

static void forward(struct lowering *l, const struct node *node)
{
    size_t n_out = node->params.linear.n_out;
    struct partition blocks = {.rows_per_block = ROWS_PER_BLOCK,
                               .n_columns = n_out,
                               .columns_per_block = lower_columns_for(n_out)};
    const int buffers[] = {lower_value(l, node->out), lower_value(l, node->in[X]),
                           lower_value(l, node->in[W]), lower_value(l, node->in[B])};

    lower_call(l, run_forward, node, &blocks, buffers, 4);
}

static void backward(struct lowering *l, const struct node *node)
{
    size_t n_in = node->params.linear.n_in;
    struct partition columns = {.n_columns = n_in,
                                .columns_per_block = lower_columns_for(n_in)};
    struct partition blocks = columns;
    int dy = lower_output_grad(l, node);
    int dx = lower_input_grad(l, node, X);
    const int for_weight[] = {lower_input_grad(l, node, W), lower_input_grad(l, node, B),
                              dy, lower_value(l, node->in[X])};
    const int for_input[] = {dx, dy, lower_value(l, node->in[W])};

    blocks.rows_per_block = ROWS_PER_BLOCK;
    lower_call(l, run_backward_weight, node, &columns, for_weight, 4);
    if (dx >= 0)
        lower_call(l, run_backward_input, node, &blocks, for_input, 3);
}

static void cost(struct op_cost *out, const struct graph *graph, const struct node *node)
{
    double n_in = (double)node->params.linear.n_in;
    double n_out = (double)node->params.linear.n_out;
    double to_input = graph->tensors[node->in[X]].needs_grad ? 1 : 0;

    out->forward_flops = 2 * n_in * n_out;
    out->backward_flops = 2 * n_in * n_out * (1 + to_input);
    out->forward_bytes = sizeof(real) * (n_in + n_out);
    out->backward_bytes = sizeof(real) * (n_in * (1 + to_input) + n_out);
    out->weight_bytes = sizeof(real) * (n_in + 1) * n_out;
}

const struct op op_linear = {
    .name = "linear",
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .cost = cost,
};
