/* Lowering of what follows the backward pass: looking at the gradients, and the
 * update of what is trained. */
#include "engine/nn/lower_parts.h"
#include "engine/nn/op.h"

static void run_check(const struct call *call, const struct step *step, size_t block,
                      size_t worker)
{
    struct span e = call_columns(call, block);
    unsigned char *flags = step_buffer(step, call, 0);
    const real *g = step_buffer(step, call, 1);

    (void)worker;
    flags[call->n + block] = !step->kernels->all_finite(g + e.first, e.n);
}

static void run_sgd(const struct call *call, const struct step *step, size_t block,
                    size_t worker)
{
    struct span e = call_columns(call, block);
    real *w = step_buffer(step, call, 0);
    real *v = step_buffer(step, call, 1);
    const real *g = step_buffer(step, call, 2);

    (void)worker;
    step->kernels->sgd(w + e.first, v + e.first, g + e.first, &step->rule, e.n);
}

/* True for parameters that the loss depends on. */
static bool is_trained(const struct lowering *l, size_t tensor)
{
    return l->graph->tensors[tensor].kind == TENSOR_PARAMETER &&
           l->program->of[tensor].grad >= 0;
}

void lower_check(struct lowering *l)
{
    struct program *p = l->program;

    p->check.begin = p->n_calls;
    for (size_t i = 0; i < l->graph->n_tensors; i++) {
        size_t n = shape_elements(&l->graph->tensors[i].shape);

        if (!is_trained(l, i))
            continue;
        lower_elementwise(l, run_check, n, (const int[2]){p->flags, p->of[i].grad}, 2);
        if (l->out_of_memory)
            return;
        p->calls[p->n_calls - 1].n = p->n_flags;
        p->n_flags += call_blocks(&p->calls[p->n_calls - 1], 1);
    }
    p->check.end = p->n_calls;
}

void lower_update(struct lowering *l)
{
    struct program *p = l->program;

    p->update.begin = p->n_calls;
    for (size_t i = 0; i < l->graph->n_tensors; i++) {
        const int buffers[3] = {p->of[i].value, p->of[i].velocity, p->of[i].grad};

        if (is_trained(l, i))
            lower_elementwise(l, run_sgd, shape_elements(&l->graph->tensors[i].shape),
                              buffers, 3);
    }
    for (size_t i = 0; i < l->graph->n_nodes; i++) {
        const struct op *op = op_of(&l->graph->nodes[i]);

        if (op->update)
            op->update(l, &l->graph->nodes[i]);
    }
    p->update.end = p->n_calls;
}
