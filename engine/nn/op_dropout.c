/* Dropout. What is dropped is a function of the model's seed, the layer, the number
 * of the step and the place in the batch: nothing is stored, the backward pass
 * draws it again. Nothing is dropped in evaluation and in gradients. */
#include "base/rng.h"
#include "engine/nn/op.h"

#include <assert.h>

enum { MAX_ROWS = 65536, ELEMENTS_PER_BLOCK = 4096 };

int graph_dropout(struct graph *graph, const char *name, int in, double rate)
{
    union op_params params = {.dropout = {0, rate}};

    assert(rate >= 0 && rate < 1);
    if (in == NO_TENSOR)
        return NO_TENSOR;
    params.dropout.elements = shape_elements(&graph->tensors[in].shape);
    return graph_node(graph, OP_DROPOUT, name, &params, &in, 1);
}

static cygnet_status infer(struct shape *out, const struct graph *graph,
                           const struct node *node, cygnet_error *err)
{
    (void)err;
    *out = *node_input_shape(graph, node, 0);
    return CYGNET_OK;
}

/* One example in place. */
static void drop_row(real *y, size_t elements, const struct node *node,
                     const struct step *step, size_t row)
{
    double rate = node->params.dropout.rate;
    real scale = (real)(1 / (1 - rate));
    uint32_t threshold = (uint32_t)(rate * 4294967296.0), key[2];
    struct rng rng;

    rng_init(&rng, step->seed, node->name, step->index * MAX_ROWS + row);
    key[0] = rng_u32(&rng);
    key[1] = rng_u32(&rng);
    step->kernels->drop(y, key, threshold, scale, elements);
}

/* Forward and backward alike. Rows are examples; plan: the elements of one. */
static void run(const struct call *call, const struct step *step, size_t block,
                size_t worker)
{
    const size_t *elements = call->plan;
    struct span rows = call_rows(call, step, block);
    real *y = step_buffer(step, call, 0);

    (void)worker;
    if (step->mode != STEP_TRAIN)
        return;
    for (size_t r = rows.first; r < rows.first + rows.n; r++)
        drop_row(y + r * *elements, *elements, call->node, step, step->first + r);
}

static void add_call(struct lowering *l, int y, const struct operand *at)
{
    struct partition rows = {
        .rows_per_block = lower_rows_for(ELEMENTS_PER_BLOCK, at->rows * at->channels)};
    size_t *elements = lower_plan(l, sizeof(*elements));

    if (!elements)
        return;
    *elements = at->rows * at->channels;
    lower_planned_call(l, run, &rows, elements, (const int[]){y}, 1);
}

static void forward(struct lowering *l, const struct node *node)
{
    struct operand y = lower_copy(l, node);

    add_call(l, y.buffer, &y);
}

static void backward(struct lowering *l, const struct node *node)
{
    struct output_gradient g = lower_output_gradient(l, node);

    add_call(l, lower_own_gradient(l, node), &g.z);
    lower_pass_on(l, node, 0);
}

static void cost(struct op_cost *out, const struct graph *graph, const struct node *node)
{
    double n = (double)shape_elements(node_input_shape(graph, node, 0));

    out->forward_flops = n;
    out->backward_flops = n;
    out->forward_bytes = 2 * n * sizeof(real);
    out->backward_bytes = 2 * n * sizeof(real);
}

const struct op op_dropout = {
    .name = "dropout",
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .cost = cost,
};
