/* Lowering of what follows the backward pass: looking at the gradients, and the
 * update of what is trained. */
#include "engine/nn/lower_parts.h"
#include "engine/nn/op.h"

/* call->n is the tensor. */
static void run_check(const struct call *call, const struct step *step, size_t block,
                      size_t worker)
{
    struct span e = call_columns(call, block);
    unsigned char *flags = step_buffer(step, call, 0);
    const real *g = step_buffer(step, call, 1);

    (void)worker;
    if (!step->kernels->all_finite(g + e.first, e.n))
        __atomic_store_n(&flags[call->n], 1, __ATOMIC_RELAXED);
}

enum { W, G, REFERENCE, STATE0, STATE1, N_UPDATE_BUFFERS };

static real *buffer_or_null(const struct step *step, const struct call *call, int slot,
                            size_t first)
{
    return call->buffer[slot] >= 0 ? (real *)step_buffer(step, call, slot) + first : NULL;
}

static void run_norm(const struct call *call, const struct step *step, size_t block,
                     size_t worker)
{
    struct span e = call_columns(call, block);
    double *sums = step_buffer(step, call, 3);

    (void)worker;
    sums[call->n + block] =
        step->kernels->square_sum(buffer_or_null(step, call, G, e.first),
                                  buffer_or_null(step, call, W, e.first),
                                  buffer_or_null(step, call, REFERENCE, e.first),
                                  (real)step->update.prox_mu, e.n);
}

/* call->n is the tensor. */
static void run_update(const struct call *call, const struct step *step, size_t block,
                       size_t worker)
{
    struct span e = call_columns(call, block);
    struct update_rule rule;

    (void)worker;
    update_rule_of(&rule, &step->update, &step->program->of[call->n].group);
    step->kernels->update(buffer_or_null(step, call, W, e.first),
                          buffer_or_null(step, call, STATE0, e.first),
                          buffer_or_null(step, call, STATE1, e.first),
                          buffer_or_null(step, call, G, e.first),
                          buffer_or_null(step, call, REFERENCE, e.first), &rule, e.n);
}

void lower_update_buffers(struct lowering *l, size_t tensor)
{
    const struct update_plan *plan = &l->graph->update;
    const struct tensor *t = &l->graph->tensors[tensor];
    struct tensor_buffers *of = &l->program->of[tensor];
    uint64_t bytes = (uint64_t)layout_elements(&t->layout) * sizeof(real);
    int n_state = t->kind == TENSOR_PARAMETER && !t->frozen ? (int)plan->state : 0;

    of->group = (struct update_group){t->shape.n_dims <= 1, t->lr_scale};
    of->state[0] = n_state > 0 ? lower_persistent(l, bytes) : -1;
    of->state[1] = n_state > 1 ? lower_persistent(l, bytes) : -1;
    of->reference = of->pending = -1;
    if (t->kind == TENSOR_BUFFER && plan->piece > 0)
        of->pending = lower_persistent(l, bytes);
    if (t->kind == TENSOR_PARAMETER && !t->frozen && plan->reference)
        of->reference = lower_persistent(l, bytes);
}

/* True for parameters that the loss depends on, unless they are frozen. */
static bool is_trained(const struct lowering *l, size_t tensor)
{
    return tensor_is_trained(&l->graph->tensors[tensor], &l->program->of[tensor]);
}

static size_t elements(const struct lowering *l, size_t tensor)
{
    return layout_elements(&l->graph->tensors[tensor].layout);
}

void lower_check(struct lowering *l)
{
    struct program *p = l->program;

    p->check.begin = p->n_calls;
    for (size_t i = 0; i < l->graph->n_tensors; i++) {
        if (!is_trained(l, i) || p->of[i].fused)
            continue;
        lower_elementwise(l, run_check, elements(l, i),
                          (const int[2]){p->flags, p->of[i].grad}, 2);
        if (l->out_of_memory)
            return;
        p->calls[p->n_calls - 1].n = i;
    }
    p->check.end = p->n_calls;
}

void lower_norm(struct lowering *l)
{
    struct program *p = l->program;

    p->norm.begin = p->n_calls;
    for (size_t i = 0; p->square_sums >= 0 && i < l->graph->n_tensors; i++) {
        const int buffers[] = {p->of[i].value, p->of[i].grad, p->of[i].reference,
                               p->square_sums};

        if (!is_trained(l, i))
            continue;
        lower_elementwise(l, run_norm, elements(l, i), buffers, 4);
        if (l->out_of_memory)
            return;
        p->calls[p->n_calls - 1].n = p->n_square_sums;
        p->n_square_sums += call_blocks(&p->calls[p->n_calls - 1], 1);
    }
    p->norm.end = p->n_calls;
}

static void update_tensor(struct lowering *l, size_t tensor)
{
    const struct tensor_buffers *of = &l->program->of[tensor];
    const int buffers[N_UPDATE_BUFFERS] = {of->value, of->grad, of->reference,
                                           of->state[0], of->state[1]};

    lower_elementwise(l, run_update, elements(l, tensor), buffers, N_UPDATE_BUFFERS);
    if (!l->out_of_memory)
        l->program->calls[l->program->n_calls - 1].n = tensor;
}

void lower_update(struct lowering *l)
{
    struct program *p = l->program;

    p->update.begin = p->n_calls;
    for (size_t i = 0; i < l->graph->n_tensors; i++) {
        if (is_trained(l, i) && !p->of[i].fused)
            update_tensor(l, i);
    }
    for (l->node = 0; l->node < l->graph->n_nodes; l->node++) {
        const struct op *op = op_of(&l->graph->nodes[l->node]);

        if (op->update)
            op->update(l, &l->graph->nodes[l->node]);
    }
    p->update.end = p->n_calls;
}

void lower_between(struct lowering *l)
{
    struct program *p = l->program;

    p->between.begin = p->n_calls;
    for (l->node = 0; l->graph->update.piece > 0 && l->node < l->graph->n_nodes;
         l->node++) {
        const struct op *op = op_of(&l->graph->nodes[l->node]);

        if (op->between)
            op->between(l, &l->graph->nodes[l->node]);
    }
    p->between.end = p->n_calls;
}
