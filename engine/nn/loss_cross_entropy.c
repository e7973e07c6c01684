/* Softmax cross-entropy of logits against class indices: a loss per example
 * forward, the gradient of their mean backward. Labels are smoothed in training;
 * an evaluation gives the plain loss, so that runs can be compared. */
#include "base/error.h"
#include "engine/nn/op.h"

int graph_cross_entropy(struct graph *graph, int logits)
{
    union op_params params = {0};
    struct shape scalar = {0};
    int labels;

    if (logits == NO_TENSOR)
        return NO_TENSOR;
    labels = graph_tensor(graph, TENSOR_LABELS, "labels", &scalar);
    params.loss.n_classes = shape_elements(&graph->tensors[logits].shape);
    graph->labels = labels;
    graph->logits = logits;
    graph->loss = graph_node(graph, OP_CROSS_ENTROPY, "loss", &params,
                             (const int[2]){logits, labels}, 2);
    return graph->loss;
}

static cygnet_status infer(struct shape *out, const struct graph *graph,
                           const struct node *node, cygnet_error *err)
{
    if (node_input_shape(graph, node, 0)->n_dims != 1)
        return fail(err, CYGNET_ESHAPE, 0, "the outputs are not one row per example");
    *out = (struct shape){0};
    return CYGNET_OK;
}

static void run_forward(const struct call *call, const struct step *step, size_t block,
                        size_t worker)
{
    const struct loss_params *p = &call->node->params.loss;
    struct span rows = call_rows(call, step, block);
    real *loss = step_buffer(step, call, 0);
    const real *z = step_buffer(step, call, 1);
    const int64_t *label = step_buffer(step, call, 2);

    (void)worker;
    step->kernels->cross_entropy_forward(loss + rows.first,
                                         z + rows.first * padded(p->n_classes),
                                         label + rows.first,
                                         step->mode == STEP_EVALUATE ? 0 : p->smoothing,
                                         rows.n, p->n_classes);
}

static void run_backward(const struct call *call, const struct step *step, size_t block,
                         size_t worker)
{
    const struct loss_params *p = &call->node->params.loss;
    struct span rows = call_rows(call, step, block);
    real *dz = step_buffer(step, call, 0);
    const real *z = step_buffer(step, call, 1);
    const int64_t *label = step_buffer(step, call, 2);

    (void)worker;
    step->kernels->cross_entropy_backward(dz + rows.first * padded(p->n_classes),
                                          z + rows.first * padded(p->n_classes),
                                          label + rows.first, p->smoothing,
                                          1.0 / (double)step->total, rows.n,
                                          p->n_classes);
}

/* Blocks of about so many values. */
static struct partition blocks_of(const struct node *node)
{
    enum { VALUES = 4096 };

    return (struct partition){.rows_per_block =
                                  lower_rows_for(VALUES, node->params.loss.n_classes)};
}

static void forward(struct lowering *l, const struct node *node)
{
    struct partition rows = blocks_of(node);

    lower_call(l, run_forward, &rows,
               (const int[]){lower_loss(l, node), lower_plain(l, node->in[0]).buffer,
                             lower_value(l, node->in[1])},
               3);
}

static void backward(struct lowering *l, const struct node *node)
{
    struct partition rows = blocks_of(node);
    int z = lower_plain(l, node->in[0]).buffer;
    struct delivery d;

    if (!lower_deliver(l, &d, node, 0, 0))
        return;
    lower_call(l, run_backward, &rows, (const int[]){d.g, z, lower_value(l, node->in[1])},
               3);
    lower_settle(l, &d);
}

static void cost(struct op_cost *out, const struct graph *graph, const struct node *node)
{
    double n = (double)shape_elements(node_input_shape(graph, node, 0));

    out->forward_flops = 3 * n;
    out->backward_flops = 4 * n;
    out->forward_bytes = n * sizeof(real);
    out->backward_bytes = 2 * n * sizeof(real);
}

const struct op op_cross_entropy = {
    .name = "cross_entropy",
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .cost = cost,
};
