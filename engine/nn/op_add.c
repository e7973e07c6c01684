/* y = a + b: where a residual comes back. Both inputs get the gradient of y. */
#include "base/error.h"
#include "engine/nn/op.h"

enum { ELEMENTS_PER_BLOCK = 16384 };

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
    return CYGNET_OK;
}

static void run_forward(const struct call *call, const struct step *step, size_t block,
                        size_t worker)
{
    size_t elements = call->node->params.elementwise.elements;
    struct span rows = call_rows(call, step, block);
    size_t at = rows.first * elements;
    real *y = step_buffer(step, call, 0);
    const real *a = step_buffer(step, call, 1);
    const real *b = step_buffer(step, call, 2);

    (void)worker;
    step->kernels->sum(y + at, a + at, b + at, rows.n * elements);
}

static void forward(struct lowering *l, const struct node *node)
{
    size_t elements = node->params.elementwise.elements;
    struct partition rows = {.rows_per_block =
                                 lower_rows_for(ELEMENTS_PER_BLOCK, elements)};

    lower_call(l, run_forward, node, &rows,
               (const int[]){lower_value(l, node->out), lower_value(l, node->in[0]),
                             lower_value(l, node->in[1])},
               3);
}

/* Invariant: the second input's share is copied before anything changes the
 * gradient that the first one may share. */
static void backward(struct lowering *l, const struct node *node)
{
    int dy = lower_output_grad(l, node);

    for (uint32_t i = 0; i < 2; i++)
        lower_pass_on(l, node, lower_input_grad(l, node, i), dy);
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
    .in_place = true,
    .grad_in_place = true,
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .cost = cost,
};
