/* Dropout. What is dropped is a function of the model's seed, the layer, the number
 * of the step and the place in the batch: nothing is stored, the backward pass
 * draws it again. Nothing is dropped in evaluation and in gradients. */
#include "base/rng.h"
#include "engine/nn/op.h"

#include <assert.h>
#include <string.h>

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

/* One example, whose stream is its own: y may be x. */
static void drop_row(real *y, const real *x, const struct node *node,
                     const struct step *step, size_t row)
{
    const struct dropout_params *p = &node->params.dropout;
    real scale = (real)(1 / (1 - p->rate));
    struct rng rng;

    rng_init(&rng, step->seed, node->name, step->index * MAX_ROWS + row);
    for (size_t i = 0; i < p->elements; i++)
        y[i] = (double)rng_uniform_f32(&rng) < p->rate ? 0 : scale * x[i];
}

/* Forward and backward alike: y = mask x, or dx = mask dy. */
static void run(const struct call *call, const struct step *step, size_t block,
                size_t worker)
{
    size_t elements = call->node->params.dropout.elements;
    struct span rows = call_rows(call, step, block);
    real *y = step_buffer(step, call, 0);
    const real *x = step_buffer(step, call, 1);

    (void)worker;
    for (size_t r = rows.first; r < rows.first + rows.n; r++) {
        if (step->mode == STEP_TRAIN)
            drop_row(y + r * elements, x + r * elements, call->node, step, r);
        else if (y != x)
            memcpy(y + r * elements, x + r * elements, elements * sizeof(*y));
    }
}

static void add_call(struct lowering *l, const struct node *node, int y, int x)
{
    size_t elements = node->params.dropout.elements;
    struct partition rows = {.rows_per_block =
                                 lower_rows_for(ELEMENTS_PER_BLOCK, elements)};

    lower_call(l, run, node, &rows, (const int[]){y, x}, 2);
}

static void forward(struct lowering *l, const struct node *node)
{
    add_call(l, node, lower_value(l, node->out), lower_value(l, node->in[0]));
}

static void backward(struct lowering *l, const struct node *node)
{
    int dy = lower_output_grad(l, node);
    int dx = lower_input_grad(l, node, 0);

    if (dx >= 0)
        add_call(l, node, dx, dy);
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
    .in_place = true,
    .grad_in_place = true,
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .cost = cost,
};
