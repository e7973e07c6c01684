/* Windows on few channels, the gradient of the weights, without gathering patches: while
 * some rows of outputs and the inputs that they see are in the cache. A chunk of
 * examples sums its share by itself; the shares are added in their order. */
#include "engine/nn/dense_backward.h"
#include "engine/nn/op.h"
#include "engine/nn/packed.h"

#include <string.h>

/* Examples of a chunk: more where shares are large. */
enum { FEW_EXAMPLES = 2, MANY_EXAMPLES = 8, LARGE_SHARE = 16384 };

enum { DZ, X, NORM, SHARES, N_BUFFERS };

/* plan: rows of outputs at a time, of so many examples */
struct windows_plan {
    const struct dense *d;
    struct packed packed;
    struct parameter_share share;
    size_t n_rows;
    size_t examples;
    size_t share_size;
};

static void run_chunk(const struct call *call, const struct step *step, size_t block,
                      size_t worker)
{
    const struct windows_plan *plan = call->plan;
    const struct conv2d_shape *s = &plan->d->shape;
    struct span examples = call_rows(call, step, block);
    size_t of_row = s->w_out * plan->d->c_out;
    const real *dz =
        (const real *)step_buffer(step, call, DZ) + examples.first * s->h_out * of_row;
    real *packed = step_scratch(step, worker);
    struct window_weight p = {.window = &plan->packed.window,
                              .dw = (real *)step_buffer(step, call, SHARES) +
                                    block * plan->share_size,
                              .w_panel = plan->d->k * PANEL,
                              .x = packed,
                              .x_row = plan->packed.step_w,
                              .x_line = plan->packed.step_h,
                              .z_row = plan->d->c_out,
                              .n = s->w_out,
                              .n_lines = plan->n_rows,
                              .n_panels = plan->d->c_out / PANEL};

    memset(p.dw, 0, plan->share_size * sizeof(*p.dw));
    for (size_t i = 0; i < examples.n; i++) {
        for (size_t row = 0; row < s->h_out; row += plan->n_rows) {
            packed_fill(packed, &plan->packed, step, step_buffer(step, call, X),
                        examples.first + i, row);
            p.dz = dz + (i * s->h_out + row) * of_row;
            step->kernels->window_weight(&p);
        }
    }
}

/* Columns of the weights. */
static void run_sum(const struct call *call, const struct step *step, size_t block,
                    size_t worker)
{
    const struct windows_plan *plan = call->plan;
    struct span e = call_columns(call, block);
    size_t n_chunks = (step->n + plan->examples - 1) / plan->examples;
    const real *shares = (const real *)step_buffer(step, call, 0) + e.first;
    real *g = step_scratch(step, worker);
    bool goes_on = step_take_gradient(step, plan->share.tensor, e.first, g, e.n);

    if (!goes_on)
        memcpy(g, shares, e.n * sizeof(*g));
    for (size_t i = goes_on ? 0 : 1; i < n_chunks; i++)
        step->kernels->add(g, shares + i * plan->share_size, e.n);
    step_give_gradient(step, plan->share.tensor, e.first, g, e.n,
                       plan->share.add && !goes_on);
}

static struct windows_plan *new_plan(struct lowering *l, const struct dense *d)
{
    struct windows_plan *plan = lower_plan(l, sizeof(*plan));

    if (!plan)
        return NULL;
    plan->d = d;
    plan->n_rows = packed_rows(d);
    plan->packed = packed_of(d, plan->n_rows);
    plan->share = lower_parameter(l, d->w);
    plan->share_size = d->k * d->c_out;
    plan->examples =
        lower_unit_part(l, 1,
                        plan->share_size > LARGE_SHARE ? MANY_EXAMPLES : FEW_EXAMPLES);
    lower_scratch(l, plan->packed.size * sizeof(real));
    return plan;
}

void dense_lower_windows(struct lowering *l, const struct dense *d, int dz)
{
    struct windows_plan *plan = new_plan(l, d);
    struct partition chunks = {0}, columns = {0};
    int shares;

    if (!plan)
        return;
    chunks.rows_per_block = plan->examples;
    columns.n_columns = plan->share_size;
    columns.columns_per_block = lower_columns_for(plan->share_size);
    shares = lower_workspace(l, (lower_max_batch(l) + plan->examples - 1) /
                                    plan->examples * plan->share_size * sizeof(real));
    lower_scratch(l, columns.columns_per_block * sizeof(real));
    lower_planned_call(l, run_chunk, &chunks, plan,
                       (const int[]){dz, d->x.buffer, d->x.norm, shares}, N_BUFFERS);
    lower_planned_call(l, run_sum, &columns, plan, (const int[]){shares}, 1);
}
