/* Winograd's layers, the gradient of the weights: dU = sum over tiles of V^T (A dz A^T),
 * dw = G^T dU G. A block owns some inputs of some outputs and goes through all strips, so
 * many at a time that their tiles stay in the cache with the block's dU; then it hands
 * its part over, which is the update's moment. */
#include "engine/nn/dense_winograd.h"
#include "engine/nn/op.h"

#include <string.h>

/* ELEMENTS: of the block's tiles and its dU. */
enum { BLOCKS = 2, MAX_SIDE = 64, MIN_SIDE = 32, ELEMENTS = 200000, N_TAPS = 9 };

enum { DZ, X, NORM, N_BUFFERS };

/* inputs, outputs  of a block
 * strips           at a time, from where a unit begins: where sums are cut does not
 *                  depend on the batch
 * unit             examples, of which the sum is added; 0: all
 * v_xi, dm_xi      elements of the transformed tiles from one xi to the next */
struct weight_plan {
    const struct dense *d;
    struct parameter_share share;
    struct winograd_grid grid;
    size_t inputs, outputs;
    size_t strips, unit;
    size_t v_xi, dm_xi;
};

/* Scratch: a strip; transformed tiles (xi, tile, channel); du (xi, panel, input, PANEL);
 * dw and a share of it (panel, tap, input, PANEL). */
struct block {
    const struct weight_plan *plan;
    const struct dense *d;
    const struct step *step;
    struct span inputs, outputs;
    struct winograd_source x, dz;
    real *strip, *v, *dm, *du, *dw, *share;
};

static size_t of_panel(const struct block *b)
{
    return b->inputs.n * PANEL;
}

/* du of some strips; the first write it, the others add. */
static void multiply_strips(const struct block *b, struct span strips, bool add)
{
    const struct weight_plan *plan = b->plan;
    struct product p = {.c = b->du,
                        .c_row = PANEL,
                        .c_panel = of_panel(b),
                        .a = b->v,
                        .a_row = 1,
                        .a_k = b->inputs.n,
                        .b = b->dm,
                        .b_k = b->outputs.n,
                        .b_panel = PANEL,
                        .m = b->inputs.n,
                        .k = strips.n * plan->grid.across,
                        .n_panels = b->outputs.n / PANEL,
                        .add = add};

    winograd_read_strips(b->v, plan->v_xi, b->inputs.n, b->strip, &b->x, strips);
    winograd_read_strips(b->dm, plan->dm_xi, b->outputs.n, b->strip, &b->dz, strips);
    for (size_t xi = 0; xi < plan->grid.n_xi; xi++) {
        b->step->kernels->product(&p);
        p.a += plan->v_xi;
        p.b += plan->dm_xi;
        p.c += b->inputs.n * b->outputs.n;
    }
}

/* A unit's share of dw to `to`, whose panels are those of dw. */
static void multiply_examples(const struct block *b, real *to, struct span examples)
{
    const struct winograd_grid *g = &b->plan->grid;
    size_t first = examples.first * g->down, end = first + examples.n * g->down;
    size_t n = of_panel(b), panels = b->outputs.n / PANEL;
    struct span strips = {first, b->plan->strips};

    for (; strips.first < end; strips.first += strips.n) {
        if (strips.n > end - strips.first)
            strips.n = end - strips.first;
        multiply_strips(b, strips, strips.first > first);
    }
    for (size_t p = 0; p < panels; p++)
        b->step->kernels->winograd_weights_back(to + p * N_TAPS * n, n, b->du + p * n,
                                                panels * n, g->m, n);
}

/* Where a tap of panel p of the block is in the weights. */
static size_t place_of(const struct block *b, size_t p, size_t tap)
{
    const struct dense *d = b->d;

    return ((b->outputs.first / PANEL + p) * d->k + tap * d->c_in + b->inputs.first) *
           PANEL;
}

static bool take(const struct block *b)
{
    size_t n = of_panel(b);
    bool goes_on = false;

    for (size_t i = 0; i < b->outputs.n / PANEL * N_TAPS; i++)
        goes_on =
            step_take_gradient(b->step, b->plan->share.tensor,
                               place_of(b, i / N_TAPS, i % N_TAPS), b->dw + i * n, n);
    return goes_on;
}

static void multiply_units(const struct block *b)
{
    size_t n = b->step->n, unit = b->plan->unit > 0 ? b->plan->unit : n;
    size_t part = of_panel(b), all = b->outputs.n / PANEL * N_TAPS * part;
    bool goes_on = take(b), add = goes_on;

    for (size_t first = 0; first < n; first += unit, add = true) {
        struct span examples = {first, n - first < unit ? n - first : unit};

        multiply_examples(b, add ? b->share : b->dw, examples);
        if (add)
            b->step->kernels->add(b->dw, b->share, all);
    }
    for (size_t i = 0; i < b->outputs.n / PANEL * N_TAPS; i++)
        step_give_gradient(b->step, b->plan->share.tensor,
                           place_of(b, i / N_TAPS, i % N_TAPS), b->dw + i * part, part,
                           b->plan->share.add && !goes_on);
}

static struct span part(size_t index, size_t at_once, size_t total)
{
    struct span s = {index * at_once, at_once};

    if (s.n > total - s.first)
        s.n = total - s.first;
    return s;
}

static size_t parts(size_t n, size_t at_once)
{
    return (n + at_once - 1) / at_once;
}

/* Elements of a strip, of either kind. */
static size_t strip_elements(const struct weight_plan *plan)
{
    size_t channels = plan->inputs > plan->outputs ? plan->inputs : plan->outputs;

    return winograd_strip_elements(&plan->grid, channels);
}

static void place_scratch(struct block *b, real *scratch)
{
    const struct weight_plan *plan = b->plan;
    size_t weights = plan->inputs * plan->outputs;

    b->strip = scratch;
    b->v = b->strip + strip_elements(plan);
    b->dm = b->v + plan->grid.n_xi * plan->v_xi;
    b->du = b->dm + plan->grid.n_xi * plan->dm_xi;
    b->dw = b->du + plan->grid.n_xi * weights;
    b->share = b->dw + N_TAPS * weights;
}

/* A column is a block. */
static void run_weight(const struct call *call, const struct step *step, size_t block,
                       size_t worker)
{
    const struct weight_plan *plan = call->plan;
    const struct dense *d = plan->d;
    size_t in_parts = parts(d->c_in, plan->inputs);
    struct block b = {.plan = plan,
                      .d = d,
                      .step = step,
                      .inputs = part(block % in_parts, plan->inputs, d->c_in),
                      .outputs = part(block / in_parts, plan->outputs, d->c_out)};

    b.x = (struct winograd_source){.kernels = step->kernels,
                                   .grid = plan->grid,
                                   .x = step_buffer(step, call, X),
                                   .pitch = d->c_in,
                                   .channels = b.inputs,
                                   .reading = reading_of(step, &d->x)};
    b.dz = (struct winograd_source){.kernels = step->kernels,
                                    .grid = plan->grid,
                                    .x = step_buffer(step, call, DZ),
                                    .pitch = d->c_out,
                                    .channels = b.outputs,
                                    .is_gradient = true};
    place_scratch(&b, step_scratch(step, worker));
    multiply_units(&b);
}

/* Blocks of about as many inputs as outputs, at least BLOCKS if that leaves them
 * MIN_SIDE. */
static void split(struct weight_plan *plan)
{
    const struct dense *d = plan->d;
    size_t most_out = plan->grid.m == 2 ? MAX_SIDE : MIN_SIDE, tiles;

    plan->inputs = d->c_in < MAX_SIDE ? d->c_in : MAX_SIDE;
    plan->outputs = d->c_out < most_out ? d->c_out : most_out;
    if (parts(d->c_in, plan->inputs) * parts(d->c_out, plan->outputs) < BLOCKS &&
        plan->inputs > MIN_SIDE)
        plan->inputs = MIN_SIDE;
    if (parts(d->c_in, plan->inputs) * parts(d->c_out, plan->outputs) < BLOCKS &&
        plan->outputs > MIN_SIDE)
        plan->outputs = MIN_SIDE;
    tiles = (ELEMENTS / plan->grid.n_xi - plan->inputs * plan->outputs) /
            (plan->inputs + plan->outputs);
    plan->strips = tiles / plan->grid.across > 0 ? tiles / plan->grid.across : 1;
    tiles = plan->strips * plan->grid.across;
    plan->v_xi = dense_pitch(tiles * plan->inputs);
    plan->dm_xi = dense_pitch(tiles * plan->outputs);
}

void winograd_lower_weight(struct lowering *l, const struct dense *d, int dz)
{
    struct weight_plan *plan = lower_plan(l, sizeof(*plan));
    struct partition blocks = {.columns_per_block = 1};
    size_t weights;

    if (!plan)
        return;
    plan->d = d;
    plan->share = lower_parameter(l, d->w);
    plan->grid = winograd_grid_of(d, WINOGRAD_WEIGHT);
    plan->unit = lower_unit(l);
    split(plan);
    weights = plan->inputs * plan->outputs;
    lower_scratch(l, (strip_elements(plan) +
                      plan->grid.n_xi * (plan->v_xi + plan->dm_xi + weights) +
                      weights * N_TAPS * 2) *
                         sizeof(real));
    blocks.n_columns = parts(d->c_in, plan->inputs) * parts(d->c_out, plan->outputs);
    lower_planned_call(l, run_weight, &blocks, plan,
                       (const int[]){dz, d->x.buffer, d->x.norm}, N_BUFFERS);
}
