/* Dense layers, the gradient of the weights: dw = patches of x, transposed, times dz.
 * A block owns some inputs of some panels and goes through all rows in their order;
 * then it hands its part over, which is the update's moment. */
#include "engine/nn/dense_backward.h"
#include "engine/nn/op.h"

#include <string.h>

enum { MAX_INPUTS = 96, MAX_PANELS = 16, FEW_PANELS = 2, BLOCKS = 16, MIN_UNIT = 64 };

enum { DZ, X, NORM, N_BUFFERS };

/* plan: a block is some panels and a range of inputs, which it goes through in slabs.
 *
 * panels_at_once  of a block
 * inputs_at_once  of a slab
 * slabs_at_once   of a block; n_parts blocks make up all inputs
 * unit            examples, of which the sum is added; 0: all
 * rows_per_unit   0: one sum over all rows, which is the same for any blocks of them */
struct weight_plan {
    const struct dense *d;
    struct parameter_share share;
    size_t panels_at_once;
    size_t inputs_at_once, slabs_at_once;
    size_t n_parts;
    size_t rows_at_once;
    size_t unit, rows_per_unit;
    size_t pitch; /* of the gathered rows */
};

struct block {
    const struct weight_plan *plan;
    const struct dense *d;
    const struct step *step;
    struct span inputs, panels;
    const real *dz, *x;
    real *dw; /* panels of inputs.n inputs */
    real *patches;
};

/* From rows [rows.first, ...) of x. */
static void point_at_rows(const struct block *b, struct product *p, struct span rows)
{
    const struct dense *d = b->d;
    struct source source = {b->step->kernels, &d->patches, b->x,
                            reading_of(b->step, &d->x)};

    p->a = b->patches;
    p->a_k = b->plan->pitch;
    if (d->direct && !d->planar)
        p->a = b->x + rows.first * d->c_in + b->inputs.first, p->a_k = d->c_in;
    else if (d->direct)
        p->a = b->x + rows.first * d->k + b->inputs.first, p->a_k = d->k;
    else if (d->planar)
        dense_gather_planar(b->patches, b->plan->pitch, &source, rows);
    else
        dense_gather(b->patches, b->plan->pitch, &source, rows,
                     d->tight ? (struct span){0, d->n_k} : b->inputs);
}

/* The update of this slab wants the weights and what the optimiser remembers. */
static void hint_update(const struct block *b, struct product *p)
{
    const struct tensor_buffers *of = &b->step->program->of[b->plan->share.tensor];
    const real *w = step_data(b->step, of->value), *v = step_data(b->step, of->state[0]);
    size_t at = (b->panels.first * b->d->k + b->inputs.first) * PANEL;
    size_t next = b->panels.n > 1 ? b->d->k * PANEL : 0;

    if (!of->fused || !v || b->panels.n > FEW_PANELS)
        return;
    p->ahead[0] = w + at;
    p->ahead[1] = w + at + next;
    p->ahead[2] = v + at;
    p->ahead[3] = v + at + next;
    p->n_ahead = b->inputs.n;
}

static struct product product_of(const struct block *b)
{
    return (struct product){.c = b->dw,
                            .c_row = PANEL,
                            .c_panel = b->inputs.n * PANEL,
                            .a_row = 1,
                            .b_k = b->d->c_out,
                            .b_panel = PANEL,
                            .m = b->d->tight ? b->d->n_k : b->inputs.n,
                            .n_panels = b->panels.n};
}

/* Rows of the product at `first`: they end with a unit. */
static size_t rows_from(const struct weight_plan *plan, size_t first, size_t n)
{
    size_t unit = plan->rows_per_unit;
    size_t left = unit > 0 ? unit - first % unit : plan->rows_at_once;

    if (left > plan->rows_at_once)
        left = plan->rows_at_once;
    return left < n - first ? left : n - first;
}

static void multiply_rows(const struct block *b, bool goes_on)
{
    const struct dense *d = b->d;
    size_t n = b->step->n * d->shape.h_out * d->shape.w_out;
    struct product p = product_of(b);
    struct span rows = {0, 0};

    for (; rows.first < n; rows.first += rows.n) {
        rows.n = rows_from(b->plan, rows.first, n);
        point_at_rows(b, &p, rows);
        p.b = b->dz + rows.first * d->c_out + b->panels.first * PANEL;
        p.k = rows.n;
        p.add = goes_on || rows.first > 0;
        p.goes_on = p.add && b->plan->unit > 0 && b->plan->rows_per_unit == 0;
        p.n_ahead = 0;
        if (rows.first + rows.n >= n)
            hint_update(b, &p);
        b->step->kernels->product(&p);
    }
}

/* The inputs are of one tap: some examples of one position at a time. */
static void multiply_examples(const struct block *b, struct product *p,
                              struct span examples)
{
    const struct dense *d = b->d;
    const struct patches *s = &d->patches;
    size_t positions = s->h_dst * s->w_dst, sources = s->h_src * s->w_src;
    size_t tap = b->inputs.first / d->c_in, channel = b->inputs.first % d->c_in;
    p->a_k = sources * d->c_in;
    p->b_k = positions * d->c_out;
    p->k = examples.n;
    for (size_t o = 0; o < positions; o++) {
        size_t source;

        if (!dense_source(s, o, &s->taps[tap], &source))
            continue;
        p->a = b->x + examples.first * p->a_k + source * d->c_in + channel;
        p->b = b->dz + examples.first * p->b_k + o * d->c_out + b->panels.first * PANEL;
        if (!p->add)
            hint_update(b, p);
        else
            p->n_ahead = 0;
        b->step->kernels->product(p);
        p->add = true;
    }
}

static void multiply_positions(const struct block *b, bool goes_on)
{
    size_t n = b->step->n, unit = b->plan->unit > 0 ? b->plan->unit : n;
    struct product p = product_of(b);

    p.add = goes_on;
    for (size_t first = 0; first < n; first += unit)
        multiply_examples(b, &p,
                          (struct span){first, n - first < unit ? n - first : unit});
    if (!p.add)
        memset(b->dw, 0, b->panels.n * p.c_panel * sizeof(*b->dw));
}

static struct span part(size_t index, size_t at_once, size_t total)
{
    struct span s = {index * at_once, at_once};

    if (s.n > total - s.first)
        s.n = total - s.first;
    return s;
}

/* Where panel p of the slab is in the weights. */
static size_t place_of(const struct block *b, size_t p)
{
    return ((b->panels.first + p) * b->d->k + b->inputs.first) * PANEL;
}

static void do_slab(const struct block *b)
{
    const struct weight_plan *plan = b->plan;
    size_t n = b->inputs.n * PANEL;
    bool goes_on = false;

    for (size_t p = 0; p < b->panels.n; p++)
        goes_on = step_take_gradient(b->step, plan->share.tensor, place_of(b, p),
                                     b->dw + p * n, n);
    if (b->d->by_position)
        multiply_positions(b, goes_on);
    else
        multiply_rows(b, goes_on);
    for (size_t p = 0; p < b->panels.n && b->d->tight; p++)
        memset(b->dw + (p * b->d->k + b->d->n_k) * PANEL, 0,
               (b->d->k - b->d->n_k) * PANEL * sizeof(*b->dw));
    for (size_t p = 0; p < b->panels.n; p++)
        step_give_gradient(b->step, plan->share.tensor, place_of(b, p), b->dw + p * n, n,
                           plan->share.add && !goes_on);
}

/* A column is a block. */
static void run_weight(const struct call *call, const struct step *step, size_t block,
                       size_t worker)
{
    const struct weight_plan *plan = call->plan;
    const struct dense *d = plan->d;
    size_t first = block % plan->n_parts * plan->slabs_at_once;
    struct block b = {.plan = plan,
                      .d = d,
                      .step = step,
                      .panels = part(block / plan->n_parts, plan->panels_at_once,
                                     panels_of(d->shape.c_out)),
                      .dz = step_buffer(step, call, DZ),
                      .x = step_buffer(step, call, X),
                      .dw = step_scratch(step, worker)};

    b.patches = b.dw + plan->inputs_at_once * plan->panels_at_once * PANEL;
    for (size_t slab = first; slab < first + plan->slabs_at_once; slab++) {
        if (slab * plan->inputs_at_once >= d->k)
            break;
        b.inputs = part(slab, plan->inputs_at_once, d->k);
        do_slab(&b);
    }
}

/* Few inputs, and none of them a multiple of PANEL. */
static bool in_one_slab(const struct dense *d)
{
    return (d->planar && !d->direct) || d->tight;
}

/* Inputs of a slab: within one tap where positions are gone through. */
static size_t inputs_at_once(const struct dense *d, size_t most)
{
    size_t n = padded(d->k) < MAX_INPUTS ? padded(d->k) : MAX_INPUTS;

    if (in_one_slab(d))
        return d->k;
    if (n > most)
        n = most;
    if (d->by_position)
        for (n = n < d->c_in ? n : d->c_in; d->c_in % n != 0;)
            n -= PANEL;
    return n;
}

/* With few rows the weights are what moves through memory: blocks are long stretches
 * of a few panels, read and written once. With many rows the patches are: a block is
 * one slab of as many panels as fit. */
static void split(struct weight_plan *plan, size_t rows)
{
    const struct dense *d = plan->d;
    size_t panels = panels_of(d->shape.c_out), groups, slabs;
    bool few_rows = d->by_position || rows <= dense_rows(MAX_INPUTS);

    plan->panels_at_once = few_rows ? FEW_PANELS : MAX_PANELS;
    if (in_one_slab(d)) /* split the panels instead */
        plan->panels_at_once = FEW_PANELS;
    if (plan->panels_at_once > panels)
        plan->panels_at_once = panels;
    groups = (panels + plan->panels_at_once - 1) / plan->panels_at_once;
    slabs = (BLOCKS + groups - 1) / groups;
    plan->inputs_at_once = inputs_at_once(d, padded((d->k + slabs - 1) / slabs));
    slabs = (d->k + plan->inputs_at_once - 1) / plan->inputs_at_once;
    plan->n_parts = few_rows ? (BLOCKS + groups - 1) / groups : slabs;
    if (plan->n_parts > slabs)
        plan->n_parts = slabs;
    plan->slabs_at_once = (slabs + plan->n_parts - 1) / plan->n_parts;
}

static size_t rows_at_once(const struct weight_plan *plan)
{
    /* where sums are cut must not depend on what batch is planned for */
    return dense_rows(in_one_slab(plan->d) ? plan->pitch : dense_pitch(MAX_INPUTS));
}

void dense_lower_weight(struct lowering *l, const struct dense *d, int dz)
{
    struct weight_plan *plan = lower_plan(l, sizeof(*plan));
    struct partition blocks = {.columns_per_block = 1};

    if (!plan)
        return;
    plan->d = d;
    plan->share = lower_parameter(l, d->w);
    split(plan, lower_max_batch(l) * d->shape.h_out * d->shape.w_out);
    plan->pitch = dense_pitch(plan->inputs_at_once + (d->tight ? PANEL : 0));
    plan->unit = lower_unit(l);
    plan->rows_at_once = rows_at_once(plan);
    plan->rows_per_unit = plan->unit * d->shape.h_out * d->shape.w_out;
    if (plan->rows_per_unit < MIN_UNIT)
        plan->rows_per_unit = 0;
    blocks.n_columns =
        plan->n_parts *
        ((panels_of(d->shape.c_out) + plan->panels_at_once - 1) / plan->panels_at_once);
    lower_scratch(l, (plan->inputs_at_once * plan->panels_at_once * PANEL +
                      plan->rows_at_once * plan->pitch) *
                         sizeof(real));
    lower_planned_call(l, run_weight, &blocks, plan,
                       (const int[]){dz, d->x.buffer, d->x.norm}, N_BUFFERS);
}
