/* Windows on few channels, the gradient of the input: gradients of the patches, which
 * are a product, added to where the patches were gathered. A block is an example. */
#include "engine/nn/dense_backward.h"
#include "engine/nn/op.h"

#include <string.h>

enum { MAX_ROWS = 96 };

enum { DZ, WT, N_BUFFERS };

struct scatter_plan {
    const struct dense *d;
    struct delivery delivery;
};

/* One row of patch gradients, of position (y, x). Lanes past a tap's channels get what
 * belongs to the next tap: they are cleared at the end. */
static void add_patch(const struct kernels *kernels, real *dx, const real *patch,
                      const struct patches *p, size_t y, size_t x)
{
    ptrdiff_t top = (ptrdiff_t)(y * p->step_h), left = (ptrdiff_t)(x * p->step_w);

    for (size_t t = 0; t < p->n_taps; t++, patch += p->per_tap) {
        ptrdiff_t row = top + p->taps[t].dy, column = left + p->taps[t].dx;

        if (row >= 0 && row < (ptrdiff_t)p->h_src && column >= 0 &&
            column < (ptrdiff_t)p->w_src)
            kernels->add(dx + (row * (ptrdiff_t)p->w_src + column) * PANEL, patch, PANEL);
    }
}

static void pass_on(const struct call *call, const struct step *step, size_t example,
                    const real *dx)
{
    const struct scatter_plan *plan = call->plan;
    const struct delivery *v = &plan->delivery;
    size_t n_rows = plan->d->x.rows;
    struct rows rows = {n_rows, PANEL, PANEL};
    struct gradient_pass pass = lower_pass_of(step, v, example * n_rows, 0);

    pass.dy = dx;
    pass.dy_pitch = PANEL;
    lower_pass_rows(step, v, pass, &rows, example * n_rows, 0);
}

static void run_scatter(const struct call *call, const struct step *step, size_t block,
                        size_t worker)
{
    const struct scatter_plan *plan = call->plan;
    const struct dense *d = plan->d;
    size_t n_rows = d->shape.h_out * d->shape.w_out, n_in = d->x.rows;
    const real *dz =
        (const real *)step_buffer(step, call, DZ) + block * n_rows * d->c_out;
    real *dx = step_scratch(step, worker), *patches = dx + n_in * PANEL;
    struct product p = {.c = patches,
                        .c_row = d->k,
                        .c_panel = PANEL,
                        .a_row = d->c_out,
                        .a_k = 1,
                        .b = step_buffer(step, call, WT),
                        .b_k = PANEL,
                        .b_panel = d->c_out * PANEL,
                        .k = d->shape.c_out,
                        .n_panels = d->k / PANEL};

    memset(dx, 0, n_in * PANEL * sizeof(*dx));
    memset(patches + MAX_ROWS * d->k, 0, PANEL * sizeof(*dx)); /* read past the last */
    for (size_t row = 0; row < n_rows; row += p.m) {
        p.m = n_rows - row < MAX_ROWS ? n_rows - row : MAX_ROWS;
        p.a = dz + row * d->c_out;
        step->kernels->product(&p);
        for (size_t r = 0; r < p.m; r++)
            add_patch(step->kernels, dx, patches + r * d->k, &d->patches,
                      (row + r) / d->shape.w_out, (row + r) % d->shape.w_out);
    }
    for (size_t i = 0; i < n_in; i++)
        memset(dx + i * PANEL + d->shape.c_in, 0, (PANEL - d->shape.c_in) * sizeof(*dx));
    pass_on(call, step, block, dx);
}

void dense_lower_scatter(struct lowering *l, const struct node *node,
                         const struct dense *d, int dz)
{
    struct scatter_plan *p = lower_plan(l, sizeof(*p));
    struct partition examples = {.rows_per_block = 1};
    int wt;

    if (!p || !lower_deliver(l, &p->delivery, node, 0, d->x.rows))
        return;
    p->d = d;
    wt = dense_transposed_weights(l, d);
    lower_scratch(l, (d->x.rows * PANEL + MAX_ROWS * d->k + PANEL) * sizeof(real));
    lower_planned_call(l, run_scatter, &examples, p, (const int[]){dz, wt}, N_BUFFERS);
    lower_use_delivery(l, &p->delivery);
    lower_settle(l, &p->delivery);
}
