/* Windows on few channels, the gradient of the weights, without gathering patches: while
 * some rows of outputs and the inputs that they see are in the cache. A chunk of
 * examples sums its share by itself; the shares are added in their order. */
#include "engine/nn/dense_backward.h"
#include "engine/nn/op.h"
#include "engine/nn/packed.h"
#include "engine/nn/sums.h"

#include <string.h>

enum { DZ, X, NORM, SHARES, N_BUFFERS };

/* plan: rows of outputs at a time, of so many examples */
struct windows_plan {
    const struct dense *d;
    struct packed packed;
    struct gradient_shares shares;
    size_t n_rows;
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
                                    block * plan->shares.size,
                              .w_panel = plan->d->k * PANEL,
                              .x = packed,
                              .x_row = plan->packed.step_w,
                              .x_line = plan->packed.step_h,
                              .z_row = plan->d->c_out,
                              .n = s->w_out,
                              .n_lines = plan->n_rows,
                              .n_panels = plan->d->c_out / PANEL};

    memset(p.dw, 0, plan->shares.size * sizeof(*p.dw));
    for (size_t i = 0; i < examples.n; i++) {
        for (size_t row = 0; row < s->h_out; row += plan->n_rows) {
            packed_fill(packed, &plan->packed, step, step_buffer(step, call, X),
                        examples.first + i, row);
            p.dz = dz + (i * s->h_out + row) * of_row;
            step->kernels->window_weight(&p);
        }
    }
}

static struct windows_plan *new_plan(struct lowering *l, const struct dense *d)
{
    struct windows_plan *plan = lower_plan(l, sizeof(*plan));

    if (!plan)
        return NULL;
    plan->d = d;
    plan->n_rows = packed_rows(d);
    plan->packed = packed_of(d, plan->n_rows);
    plan->shares.to = lower_parameter(l, d->w);
    plan->shares.size = d->k * d->c_out;
    plan->shares.examples = lower_share_examples(l, plan->shares.size);
    lower_scratch(l, plan->packed.size * sizeof(real));
    return plan;
}

void dense_lower_windows(struct lowering *l, const struct dense *d, int dz)
{
    struct windows_plan *plan = new_plan(l, d);
    struct partition chunks = {0};
    int shares;

    if (!plan)
        return;
    chunks.rows_per_block = plan->shares.examples;
    shares = lower_shares(l, &plan->shares);
    lower_planned_call(l, run_chunk, &chunks, plan,
                       (const int[]){dz, d->x.buffer, d->x.norm, shares}, N_BUFFERS);
    lower_sum_shares(l, &plan->shares, shares);
}
