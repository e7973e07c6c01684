/* Winograd's layers, forward and the gradient of the input, which is the same with the
 * taps turned and the weights transposed: windows V of a block's tiles and weights U,
 * transformed; M = V U for each of the (m + 2)^2 elements; outputs from M.
 *
 * With many tiles a block is some of them: V is made in its scratch, and U once for
 * all blocks. With few tiles a block is two panels of outputs and all tiles: U is made
 * in its scratch, and V once for all blocks. Both sum in the same order. */
#include "engine/nn/dense_winograd.h"
#include "engine/nn/op.h"

#include <string.h>

/* MAX_K: inputs that a product takes at a time. V_ELEMENTS: of a block's windows, and
 * MAX_V_ELEMENTS rather than parts of an image that differ. FEW_TILES: of a batch. */
enum {
    MAX_K = 128,
    V_ELEMENTS = 65536,
    MAX_V_ELEMENTS = 262144,
    MIN_TILES = 32,
    FEW_TILES = 128,
    BLOCKS = 16
};

enum { N_TAPS = WINOGRAD_TAPS * WINOGRAD_TAPS, PAIR = 2 * PANEL, SQUARE = PANEL * PANEL };

enum { TO, FROM, FROM_NORM, W, MADE, BIAS, MOMENTS, N_BUFFERS };

/* plan of a pass of a layer.
 *
 * is_backward   windows are of dz
 * from, to      padded channels; n_k of `from` are no padding
 * by_panels     few tiles
 * tiles         of a block, at most
 * is_uneven     blocks are parts of images, the last of an image shorter: others take
 *               what sums are wanted
 * v_xi, m_xi    elements of V and M from one xi to the next
 * front         elements of the scratch's first part: M and what is made of it, or,
 *               before, a strip
 * delivery      of the input's gradient */
struct product_plan {
    const struct dense *d;
    struct winograd_grid grid;
    bool is_backward, by_panels;
    size_t from, to, n_k;
    size_t tiles, rows_per_block;
    bool is_uneven;
    size_t v_xi, m_xi;
    size_t front;
    struct row_sums moments;
    struct delivery delivery;
};

struct block {
    const struct call *call;
    const struct step *step;
    const struct product_plan *plan;
    struct span rows, tiles, columns;
    const real *v;
    real *m, *u, *dx; /* scratch */
};

/* ---- Weights ------------------------------------------------------------- */

/* All taps of outputs [0, PANEL) of a panel of the input's gradient, from PANEL outputs
 * of the layer. */
static void transpose_taps(real squares[N_TAPS * SQUARE], const struct step *step,
                           const struct dense *d, size_t panel, size_t out_panel)
{
    const real *w = step_data(step, step->program->of[d->w].value);

    for (size_t t = 0; t < N_TAPS; t++)
        step->kernels->transpose(squares + t * SQUARE, SQUARE,
                                 w + (out_panel * d->k + t * d->c_in + panel * PANEL) *
                                         PANEL,
                                 d->k * PANEL, PANEL, PANEL);
}

/* Inputs k of panel `panel`, u_xi elements from one xi to the next. */
static void make_weights(real *u, size_t u_xi, const struct step *step,
                         const struct product_plan *plan, size_t panel, struct span k)
{
    const struct dense *d = plan->d;
    const real *w = step_data(step, step->program->of[d->w].value);
    real squares[N_TAPS * SQUARE];

    if (!plan->is_backward) {
        step->kernels->winograd_weights(u, u_xi, w + (panel * d->k + k.first) * PANEL,
                                        d->c_in * PANEL, false, plan->grid.m,
                                        k.n * PANEL);
        return;
    }
    for (size_t i = 0; i < k.n; i += PANEL) {
        transpose_taps(squares, step, d, panel, (k.first + i) / PANEL);
        step->kernels->winograd_weights(u + i * PANEL, u_xi, squares, SQUARE, true,
                                        plan->grid.m, SQUARE);
    }
}

/* Columns are panels of inputs of panels of outputs; u is (panel, xi, input, PANEL). */
static void run_weights(const struct call *call, const struct step *step, size_t block,
                        size_t worker)
{
    const struct product_plan *plan = call->plan;
    struct span columns = call_columns(call, block);
    size_t inputs = plan->from / PANEL, panel_size = plan->from * PANEL;
    real *u = step_buffer(step, call, 0);

    (void)worker;
    for (size_t i = columns.first; i < columns.first + columns.n; i++) {
        size_t panel = i / inputs, input = i % inputs * PANEL;

        make_weights(u + panel * plan->grid.n_xi * panel_size + input * PANEL, panel_size,
                     step, plan, panel, (struct span){input, PANEL});
    }
}

/* ---- Windows ------------------------------------------------------------- */

/* Strips before a row of the batch; rows begin strips or images. */
static size_t strips_before(const struct winograd_grid *g, size_t row)
{
    size_t per_image = g->h * g->w;

    return row / per_image * g->down + (row % per_image / g->w + g->m - 1) / g->m;
}

static struct span tiles_of(const struct winograd_grid *g, struct span rows)
{
    size_t first = strips_before(g, rows.first);

    return (struct span){first * g->across,
                         (strips_before(g, rows.first + rows.n) - first) * g->across};
}

/* Of all channels; memory: of a strip. */
static void read_windows(real *v, real *memory, const struct step *step,
                         const struct product_plan *plan, const real *from,
                         struct span tiles)
{
    size_t across = plan->grid.across;
    struct winograd_source source = {.kernels = step->kernels,
                                     .grid = plan->grid,
                                     .x = from,
                                     .pitch = plan->from,
                                     .channels = {0, plan->from}};

    if (!plan->is_backward)
        source.reading = reading_of(step, &plan->d->x);
    winograd_read_strips(v, plan->v_xi, plan->from, memory, &source,
                         (struct span){tiles.first / across, tiles.n / across});
}

/* Blocks of rows: windows for all panels. */
static void run_windows(const struct call *call, const struct step *step, size_t block,
                        size_t worker)
{
    const struct product_plan *plan = call->plan;
    struct span tiles = tiles_of(&plan->grid, call_rows(call, step, block));
    real *v = step_buffer(step, call, 0);

    read_windows(v + tiles.first * plan->from, step_scratch(step, worker), step, plan,
                 step_buffer(step, call, 1), tiles);
}

/* ---- Products ------------------------------------------------------------ */

/* Weights of the next element are wanted next. */
static void hint_next(struct product *p, size_t b_xi)
{
    p->n_ahead = (p->k + 1) / 2;
    for (size_t i = 0; i < PRODUCT_STREAMS; i++)
        p->ahead[i] = p->b + b_xi + i / 2 * p->b_panel * (p->n_panels - 1) +
                      i % 2 * p->n_ahead * PANEL;
}

/* m of one or two panels, from inputs k. */
static void multiply_inputs(const struct block *b, size_t panel, size_t n_panels,
                            struct span k)
{
    const struct product_plan *plan = b->plan;
    size_t n_xi = plan->grid.n_xi, u_xi = plan->from * PANEL;
    const real *u = step_data(b->step, b->call->buffer[MADE]);
    struct product p = {.c_row = PAIR,
                        .c_panel = PANEL,
                        .a_row = plan->from,
                        .a_k = 1,
                        .b_k = PANEL,
                        .m = b->tiles.n,
                        .k = k.first + k.n > plan->n_k ? plan->n_k - k.first : k.n,
                        .n_panels = n_panels,
                        .add = k.first > 0};

    if (plan->by_panels) {
        u_xi = k.n * PANEL;
        for (size_t i = 0; i < n_panels; i++)
            make_weights(b->u + i * n_xi * u_xi, u_xi, b->step, plan, panel + i, k);
        u = b->u;
    } else {
        u += panel * n_xi * u_xi + k.first * PANEL;
    }
    p.b_panel = n_xi * u_xi;
    for (size_t xi = 0; xi < n_xi; xi++) {
        p.a = b->v + xi * plan->v_xi + k.first;
        p.b = u + xi * u_xi;
        p.c = b->m + xi * plan->m_xi;
        if (!plan->by_panels)
            hint_next(&p, u_xi);
        b->step->kernels->product(&p);
    }
}

/* Outputs of the block's tiles to rows of `pitch`, of which the first is the block's. */
static void write_tiles(const struct block *b, real *to, size_t pitch, size_t channels,
                        const real *bias)
{
    const struct product_plan *plan = b->plan;
    const struct winograd_grid *g = &plan->grid;

    for (size_t i = 0; i < b->tiles.n; i += g->across) {
        size_t strip = (b->tiles.first + i) / g->across, y = strip % g->down * g->m;
        size_t row = strip / g->down * g->h * g->w + y * g->w - b->rows.first;
        struct winograd_tiles t = {.m = g->m,
                                   .n = g->across,
                                   .line = g->w * pitch,
                                   .pitch = pitch,
                                   .h = g->h - y,
                                   .w = g->w,
                                   .xi_pitch = plan->m_xi,
                                   .tile_pitch = PAIR,
                                   .channels = channels};

        b->step->kernels->winograd_write(to + row * pitch, b->m + i * PAIR, bias, &t);
    }
}

/* To their places, with the moments of each slot. */
static void put_outputs(const struct block *b, size_t column, size_t channels)
{
    const struct product_plan *plan = b->plan;
    const real *bias = step_data(b->step, b->call->buffer[BIAS]);
    double *slots = step_data(b->step, b->call->buffer[MOMENTS]);
    real *z =
        (real *)step_buffer(b->step, b->call, TO) + b->rows.first * plan->to + column;
    struct rows rows = {0, channels, plan->to};

    write_tiles(b, z, plan->to, channels, bias ? bias + column : NULL);
    for (size_t done = 0; slots && done < b->rows.n; done += rows.n) {
        size_t first = b->rows.first + done, left = b->rows.n - done;
        double *slot =
            slots + lower_slot_of(&plan->moments, first) * 2 * plan->to + column;

        rows.n = lower_slot_end(&plan->moments, first) - first;
        if (rows.n > left)
            rows.n = left;
        b->step->kernels->moments(slot, slot + plan->to, z + done * plan->to, &rows);
    }
}

/* The rows' gradient, with what others brought, goes on its way. */
static void finish_rows(const struct block *b, size_t column, size_t channels)
{
    const struct delivery *v = &b->plan->delivery;
    struct rows rows = {b->rows.n, channels, b->plan->to};
    struct gradient_pass pass = lower_pass_of(b->step, v, b->rows.first, column);

    if (!v->settled) {
        write_tiles(b, pass.g, b->plan->to, channels, NULL);
        return;
    }
    write_tiles(b, b->dx, PAIR, channels, NULL);
    pass.dy = b->dx;
    pass.dy_pitch = PAIR;
    lower_pass_rows(b->step, v, pass, &rows, b->rows.first, column);
}

static void run_products(const struct call *call, const struct step *step, size_t block,
                         size_t worker)
{
    const struct product_plan *plan = call->plan;
    struct block b = {.call = call,
                      .step = step,
                      .plan = plan,
                      .rows = call_rows(call, step, block),
                      .columns = call_columns(call, block),
                      .m = step_scratch(step, worker)};
    size_t end = b.columns.first + b.columns.n;
    real *v;

    b.tiles = tiles_of(&plan->grid, b.rows);
    b.dx = b.m + plan->grid.n_xi * plan->m_xi;
    v = b.u = b.m + plan->front;
    b.v = v;
    if (plan->by_panels)
        b.v = step_buffer(step, call, MADE);
    else
        read_windows(v, b.m, step, plan, step_buffer(step, call, FROM), b.tiles);
    for (size_t c = b.columns.first; c < end; c += PAIR) {
        size_t channels = end - c < PAIR ? PANEL : PAIR;

        for (size_t k = 0; k < plan->from; k += MAX_K)
            multiply_inputs(&b, c / PANEL, channels / PANEL,
                            (struct span){k, plan->from - k < MAX_K ? plan->from - k
                                                                    : MAX_K});
        if (plan->is_backward)
            finish_rows(&b, c, channels);
        else
            put_outputs(&b, c, channels);
    }
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* ---- Lowering ------------------------------------------------------------ */

/* Rows of a block that begin strips and end them, whatever the batch: equal parts of
 * an image, or whole images, which are slots of sums as well. Where an image is too large
 * and cannot be cut into equal parts, its last block is shorter. */
static void set_blocks(struct product_plan *p)
{
    const struct winograd_grid *g = &p->grid;
    size_t per_strip = g->across * g->n_xi * p->from;
    size_t strips = larger(V_ELEMENTS / per_strip, MIN_TILES / g->across);

    strips = larger(strips, 1);
    p->rows_per_block = strips * g->m * g->w;
    if (strips >= g->down ||
        (g->h % g->m != 0 && g->down * per_strip <= MAX_V_ELEMENTS)) {
        p->rows_per_block = larger(strips / g->down, 1) * g->h * g->w;
    } else if (g->h % g->m == 0) {
        while (g->down % strips != 0)
            strips--;
        p->rows_per_block = strips * g->m * g->w;
    } else {
        p->is_uneven = true;
    }
}

static struct product_plan *new_plan(struct lowering *l, const struct dense *d,
                                     bool is_backward)
{
    struct product_plan *p = lower_plan(l, sizeof(*p));
    const struct winograd_grid *g;
    size_t all_tiles;

    if (!p)
        return NULL;
    p->d = d;
    p->grid = winograd_grid_of(d, is_backward ? WINOGRAD_INPUT : WINOGRAD_FORWARD);
    p->is_backward = is_backward;
    p->from = is_backward ? d->c_out : d->c_in;
    p->to = is_backward ? d->c_in : d->c_out;
    p->n_k = is_backward ? d->shape.c_out : d->shape.c_in;
    p->moments.buffer = -1;
    g = &p->grid;
    set_blocks(p);
    all_tiles = lower_max_batch(l) * g->down * g->across;
    p->by_panels = all_tiles <= FEW_TILES;
    p->tiles =
        p->by_panels ? all_tiles : tiles_of(g, (struct span){0, p->rows_per_block}).n;
    p->v_xi = dense_pitch(p->tiles * p->from);
    p->m_xi = dense_pitch(p->tiles * PAIR);
    p->front = g->n_xi * p->m_xi + (is_backward ? p->tiles * g->m * g->m * PAIR : 0);
    p->front = larger(p->front, winograd_strip_elements(g, p->from));
    return p;
}

static struct partition row_blocks(struct lowering *l, const struct product_plan *p)
{
    size_t per_example = p->grid.h * p->grid.w, unit = lower_unit(l) * per_example;
    size_t rows = p->rows_per_block;

    if (p->is_uneven)
        unit = per_example;
    return (struct partition){.rows_per_block = unit > 0 && rows > unit ? unit : rows,
                              .rows_per_unit = unit,
                              .rows_per_example = per_example};
}

static struct partition few_panels(size_t n_panels)
{
    size_t pairs = ((n_panels + BLOCKS - 1) / BLOCKS + 1) / 2;

    return (struct partition){.n_columns = n_panels * PANEL,
                              .columns_per_block = pairs * PAIR};
}

/* What blocks share: windows or weights. The buffer that has them. */
static int add_shared(struct lowering *l, const struct product_plan *p, int from,
                      int norm)
{
    struct partition blocks = row_blocks(l, p);
    size_t n = p->from / PANEL * (p->to / PANEL);
    int made;

    if (p->by_panels) {
        made = lower_workspace(l, (uint64_t)p->grid.n_xi * p->v_xi * sizeof(real));
        lower_scratch(l, winograd_strip_elements(&p->grid, p->from) * sizeof(real));
        lower_planned_call(l, run_windows, &blocks, p, (const int[]){made, from, norm},
                           3);
        return made;
    }
    blocks = (struct partition){.n_columns = n,
                                .columns_per_block = (n + BLOCKS - 1) / BLOCKS};
    made = lower_workspace(l, (uint64_t)p->grid.n_xi * p->from * p->to * sizeof(real));
    lower_planned_call(l, run_weights, &blocks, p,
                       (const int[]){made, lower_value(l, p->d->w)}, 2);
    return made;
}

static void add_products(struct lowering *l, const struct product_plan *p,
                         const int *buffers)
{
    size_t n_xi = p->grid.n_xi, k = p->from < MAX_K ? p->from : MAX_K;
    struct partition blocks = row_blocks(l, p);

    if (p->by_panels) {
        blocks = few_panels(p->to / PANEL);
        blocks.rows_per_example = p->grid.h * p->grid.w;
    } else {
        blocks.n_columns = blocks.columns_per_block = p->to;
    }
    lower_scratch(l,
                  (p->front + n_xi * (p->by_panels ? k * PAIR : p->v_xi)) * sizeof(real));
    lower_planned_call(l, run_products, &blocks, p, buffers, N_BUFFERS);
}

void winograd_lower_forward(struct lowering *l, const struct node *node, struct dense *d)
{
    struct product_plan *p = new_plan(l, d, false);
    int made;

    if (!p)
        return;
    d->out = lower_output(l, node);
    if (d->bias >= 0) {
        lower_want_sums(l, node);
    } else if (!p->is_uneven && lower_wants_moments(l, node)) {
        p->moments = lower_sums(l, &d->out, p->rows_per_block);
        *lower_moments(l, node->out) = p->moments;
    }
    made = add_shared(l, p, d->x.buffer, d->x.norm);
    add_products(l, p,
                 (const int[N_BUFFERS]){d->out.buffer, d->x.buffer, d->x.norm,
                                        lower_value(l, d->w), made,
                                        d->bias >= 0 ? lower_value(l, d->bias) : -1,
                                        p->moments.buffer});
}

void winograd_lower_input(struct lowering *l, const struct node *node,
                          const struct dense *d, int dz)
{
    struct product_plan *p = new_plan(l, d, true);
    int made;

    if (!p ||
        !lower_deliver(l, &p->delivery, node, 0, p->is_uneven ? 0 : p->rows_per_block))
        return;
    made = add_shared(l, p, dz, -1);
    add_products(l, p,
                 (const int[N_BUFFERS]){p->delivery.g, dz, -1, lower_value(l, d->w), made,
                                        -1, -1});
    lower_use_delivery(l, &p->delivery);
    lower_settle(l, &p->delivery);
}
