/* Sums of gradients: of a bias from the output's, of weights from shares. */
#include "engine/nn/sums.h"

#include <string.h>

/* plan */
struct bias_plan {
    struct parameter_share share;
    struct row_sums sums;
    struct operand at;
};

static real sum_slots(const double *slots, struct span of_unit, size_t pitch)
{
    double sum = 0;

    for (size_t s = of_unit.first; s < of_unit.first + of_unit.n; s++)
        sum += slots[s * pitch];
    return (real)sum;
}

static void run_bias(const struct call *call, const struct step *step, size_t block,
                     size_t worker)
{
    const struct bias_plan *p = call->plan;
    struct span columns = call_columns(call, block);
    const double *slots = step_buffer(step, call, 0);
    size_t n = step->n * p->at.rows, end;
    real *g = step_scratch(step, worker);
    bool goes_on = step_take_gradient(step, p->share.tensor, columns.first, g, columns.n);

    for (size_t row = 0; row < n; row = end) {
        struct span of_unit = {lower_slot_of(&p->sums, row), 0};

        end = p->sums.rows_per_unit > 0 ? row + p->sums.rows_per_unit : n;
        of_unit.n = lower_slots(&p->sums, end < n ? end : n) - of_unit.first;
        for (size_t c = 0; c < columns.n; c++) {
            real sum = sum_slots(slots + columns.first + c, of_unit, 2 * p->at.channels);

            g[c] = goes_on || row > 0 ? g[c] + sum : sum;
        }
    }
    step_give_gradient(step, p->share.tensor, columns.first, g, columns.n,
                       p->share.add && !goes_on);
}

void lower_bias_gradient(struct lowering *l, int bias, const struct output_gradient *g)
{
    struct bias_plan *plan = lower_plan(l, sizeof(*plan));
    struct partition columns = {.n_columns = g->z.channels,
                                .columns_per_block = lower_columns_for(g->z.channels)};

    if (!plan)
        return;
    plan->share = lower_parameter(l, bias);
    plan->sums = g->sums;
    plan->at = g->z;
    lower_scratch(l, columns.columns_per_block * sizeof(real));
    lower_planned_call(l, run_bias, &columns, plan, (const int[]){g->sums.buffer}, 1);
}

/* ---- Shares -------------------------------------------------------------- */

size_t lower_share_examples(const struct lowering *l, size_t size)
{
    enum { FEW_EXAMPLES = 2, MANY_EXAMPLES = 8, LARGE_SHARE = 16384 };

    return lower_unit_part(l, 1, size > LARGE_SHARE ? MANY_EXAMPLES : FEW_EXAMPLES);
}

static size_t chunks_of(const struct gradient_shares *p, size_t n)
{
    return (n + p->examples - 1) / p->examples;
}

int lower_shares(struct lowering *l, const struct gradient_shares *p)
{
    return lower_workspace(l, (uint64_t)chunks_of(p, lower_max_batch(l)) * p->size *
                                  sizeof(real));
}

/* Columns are elements. */
static void run_sum(const struct call *call, const struct step *step, size_t block,
                    size_t worker)
{
    const struct gradient_shares *p = call->plan;
    struct span e = call_columns(call, block);
    const real *shares = (const real *)step_buffer(step, call, 0) + e.first;
    real *g = step_scratch(step, worker);
    bool goes_on = step_take_gradient(step, p->to.tensor, e.first, g, e.n);

    if (!goes_on)
        memcpy(g, shares, e.n * sizeof(*g));
    for (size_t i = goes_on ? 0 : 1; i < chunks_of(p, step->n); i++)
        step->kernels->add(g, shares + i * p->size, e.n);
    step_give_gradient(step, p->to.tensor, e.first, g, e.n, p->to.add && !goes_on);
}

void lower_sum_shares(struct lowering *l, const struct gradient_shares *p, int buffer)
{
    struct partition columns = {.n_columns = p->size,
                                .columns_per_block = lower_columns_for(p->size)};

    lower_scratch(l, columns.columns_per_block * sizeof(real));
    lower_planned_call(l, run_sum, &columns, p, (const int[]){buffer}, 1);
}
