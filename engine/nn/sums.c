/* The gradient of a bias: the sums of the output's gradient. */
#include "engine/nn/sums.h"

/* plan */
struct bias_plan {
    struct parameter_share share;
    struct row_sums sums;
    struct operand at;
};

static void run_bias(const struct call *call, const struct step *step, size_t block,
                     size_t worker)
{
    const struct bias_plan *p = call->plan;
    struct span columns = call_columns(call, block);
    const double *slots = step_buffer(step, call, 0);
    size_t n = lower_slots(&p->sums, step->n * p->at.rows);
    real *g = step_scratch(step, worker);

    for (size_t c = 0; c < columns.n; c++) {
        double sum = 0;

        for (size_t s = 0; s < n; s++)
            sum += slots[s * 2 * p->at.channels + columns.first + c];
        g[c] = (real)sum;
    }
    step_give_gradient(step, p->share.tensor, columns.first, g, columns.n, p->share.add);
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
