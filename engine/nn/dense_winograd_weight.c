/* Winograd's layers, the gradient of the weights: dU = sum over tiles of V^T (A dz A^T),
 * dw = G^T dU G. A block owns some inputs of some panels and goes through all tiles, so
 * many at a time that they stay in the cache with the block's dU; then it hands its part
 * over, which is the update's moment. */
#include "engine/nn/dense_winograd.h"
#include "engine/nn/op.h"

#include <string.h>

enum { BLOCKS = 8, MAX_SIDE = 64, MIN_SIDE = 32, TILES = 64, N_TAPS = 9 };

enum { DZ, X, NORM, N_BUFFERS };

/* inputs, panels  of a block
 * unit            examples, of which the sum is added; 0: all */
struct weight_plan {
    const struct dense *d;
    struct parameter_share share;
    struct winograd_grid grid;
    size_t inputs, panels;
    size_t unit;
    size_t v_pitch, dm_pitch; /* of transformed tiles */
};

/* Scratch: du is (xi, panel, input, PANEL), dw (panel, tap, input, PANEL). */
struct block {
    const struct weight_plan *plan;
    const struct dense *d;
    const struct step *step;
    struct span inputs, panels;
    real *v, *dm, *du, *dw;
    struct winograd_source x, dz;
};

static size_t of_panel(const struct block *b)
{
    return b->inputs.n * PANEL;
}

/* du of some tiles; the first write it, the others add. */
static void multiply_tiles(const struct block *b, struct span tiles, bool add)
{
    const struct weight_plan *plan = b->plan;
    size_t n = b->panels.n * of_panel(b);
    struct product p = {.c_row = PANEL,
                        .c_panel = of_panel(b),
                        .a_row = 1,
                        .a_k = plan->v_pitch,
                        .b_k = plan->dm_pitch,
                        .b_panel = PANEL,
                        .m = b->inputs.n,
                        .k = tiles.n,
                        .n_panels = b->panels.n,
                        .add = add};

    winograd_read_tiles(b->v, &b->x, tiles);
    winograd_read_tile_gradients(b->dm, &b->dz, tiles);
    for (size_t xi = 0; xi < plan->grid.n_xi; xi++) {
        p.a = b->v + xi * b->x.xi_pitch;
        p.b = b->dm + xi * b->dz.xi_pitch;
        p.c = b->du + xi * n;
        b->step->kernels->product(&p);
    }
}

/* A unit's share of dw to `to`, whose panels are those of dw. */
static void multiply_examples(const struct block *b, real *to, struct span examples)
{
    const struct winograd_grid *g = &b->plan->grid;
    size_t per_image = g->down * g->across, n = of_panel(b);
    size_t first = examples.first * per_image, end = first + examples.n * per_image;
    struct span tiles = {first, 0};

    for (; tiles.first < end; tiles.first += tiles.n) {
        tiles.n = end - tiles.first < TILES ? end - tiles.first : TILES;
        multiply_tiles(b, tiles, tiles.first > first);
    }
    for (size_t p = 0; p < b->panels.n; p++)
        b->step->kernels->winograd_weights_back(to + p * N_TAPS * n, n, b->du + p * n,
                                                b->panels.n * n, g->m, n);
}

/* Where a tap of panel p of the block is in the weights. */
static size_t place_of(const struct block *b, size_t p, size_t tap)
{
    const struct dense *d = b->d;

    return ((b->panels.first + p) * d->k + tap * d->c_in + b->inputs.first) * PANEL;
}

static bool take(const struct block *b)
{
    size_t n = of_panel(b);
    bool goes_on = false;

    for (size_t i = 0; i < b->panels.n * N_TAPS; i++)
        goes_on =
            step_take_gradient(b->step, b->plan->share.tensor,
                               place_of(b, i / N_TAPS, i % N_TAPS), b->dw + i * n, n);
    return goes_on;
}

static void multiply_units(const struct block *b)
{
    size_t n = b->step->n, unit = b->plan->unit > 0 ? b->plan->unit : n;
    size_t part = of_panel(b), all = b->panels.n * N_TAPS * part;
    bool goes_on = take(b), add = goes_on;
    /* when it is added, a share waits where the tiles were */
    real *share = b->v;

    for (size_t first = 0; first < n; first += unit, add = true) {
        struct span examples = {first, n - first < unit ? n - first : unit};

        multiply_examples(b, add ? share : b->dw, examples);
        if (add)
            b->step->kernels->add(b->dw, share, all);
    }
    for (size_t i = 0; i < b->panels.n * N_TAPS; i++)
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

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Elements of the transformed tiles, or of a share of dw. */
static size_t tile_elements(const struct weight_plan *plan)
{
    size_t tiles = plan->grid.n_xi * dense_pitch(TILES * plan->v_pitch);

    return larger(tiles, N_TAPS * plan->inputs * plan->panels * PANEL);
}

/* A column is a block. */
static void run_weight(const struct call *call, const struct step *step, size_t block,
                       size_t worker)
{
    const struct weight_plan *plan = call->plan;
    const struct dense *d = plan->d;
    size_t parts = (d->c_in + plan->inputs - 1) / plan->inputs;
    struct block b = {.plan = plan,
                      .d = d,
                      .step = step,
                      .inputs = part(block % parts, plan->inputs, d->c_in),
                      .panels = part(block / parts, plan->panels, d->c_out / PANEL),
                      .v = step_scratch(step, worker)};

    b.dm = b.v + tile_elements(plan);
    b.du = b.dm + plan->grid.n_xi * dense_pitch(TILES * plan->dm_pitch);
    b.dw = b.du + plan->grid.n_xi * plan->inputs * plan->panels * PANEL;
    b.x = (struct winograd_source){step->kernels,
                                   plan->grid,
                                   step_buffer(step, call, X),
                                   d->c_in,
                                   b.inputs,
                                   reading_of(step, &d->x),
                                   dense_pitch(TILES * plan->v_pitch),
                                   plan->v_pitch};
    b.dz = (struct winograd_source){step->kernels,
                                    plan->grid,
                                    step_buffer(step, call, DZ),
                                    d->c_out,
                                    {b.panels.first * PANEL, b.panels.n * PANEL},
                                    {NULL, NULL, ACT_NONE},
                                    dense_pitch(TILES * plan->dm_pitch),
                                    plan->dm_pitch};
    multiply_units(&b);
}

/* Blocks of about the same number of inputs and outputs, at least BLOCKS if that leaves
 * them MIN_SIDE. */
static void split(struct weight_plan *plan)
{
    const struct dense *d = plan->d;
    size_t in = d->c_in < MAX_SIDE ? d->c_in : MAX_SIDE;
    size_t out = d->c_out < MAX_SIDE ? d->c_out : MAX_SIDE;

    if (d->c_in / in * (d->c_out / out) < BLOCKS && in > MIN_SIDE)
        in = MIN_SIDE;
    if (d->c_in / in * (d->c_out / out) < BLOCKS && out > MIN_SIDE)
        out = MIN_SIDE;
    plan->inputs = in;
    plan->panels = out / PANEL;
}

void winograd_lower_weight(struct lowering *l, const struct dense *d, int dz)
{
    struct weight_plan *plan = lower_plan(l, sizeof(*plan));
    struct partition blocks = {.columns_per_block = 1};
    size_t in_parts, out_parts;

    if (!plan)
        return;
    plan->d = d;
    plan->share = lower_parameter(l, d->w);
    plan->grid = winograd_grid_of(d, false);
    plan->unit = lower_unit(l);
    split(plan);
    plan->v_pitch = dense_pitch(plan->inputs);
    plan->dm_pitch = dense_pitch(plan->panels * PANEL);
    in_parts = (d->c_in + plan->inputs - 1) / plan->inputs;
    out_parts = (d->c_out / PANEL + plan->panels - 1) / plan->panels;
    blocks.n_columns = in_parts * out_parts;
    lower_scratch(l, (tile_elements(plan) +
                      plan->grid.n_xi * (dense_pitch(TILES * plan->dm_pitch) +
                                         plan->inputs * plan->panels * PANEL) +
                      N_TAPS * plan->inputs * plan->panels * PANEL) *
                         sizeof(real));
    lower_planned_call(l, run_weight, &blocks, plan,
                       (const int[]){dz, d->x.buffer, d->x.norm}, N_BUFFERS);
}
