/* Pointwise layers with few rows, backward in one go: a block owns some inputs, whose
 * weights it reads for their rows of dx and updates right after. Weights and what the
 * optimiser remembers of them are most of what moves through memory here: products
 * fetch what comes next. dx is computed on its side, (inputs, rows), from dz on its side:
 * few rows are turned sooner than many weights. */
#include "engine/nn/dense_backward.h"
#include "engine/nn/op.h"

enum { MAX_ROWS = 128, MAX_GRADIENT = 131072, MIN_UNIT_ROWS = 64, MAX_BLOCKS = 24 };
/* PAIR: panels of inputs at a time; CHUNK: panels of outputs that are updated at once */
enum { PAIR = 2, CHUNK = 4 };

/* Elements that make a block of turning dz. */
enum { MIN_TURNED = 16384 };

enum { DZ, TURNED, X, NORM, N_BUFFERS };

/* plan of the layer's call.
 *
 * n_even  blocks of pairs_per_block pairs; single panels follow */
struct few_plan {
    const struct dense *d;
    struct delivery delivery;
    struct parameter_share share;
    bool is_delivered;
    size_t rows;
    size_t pairs_per_block, n_even, n_blocks;
};

/* Some inputs at work. */
struct block {
    const struct call *call;
    const struct step *step;
    const struct few_plan *plan;
    const struct dense *d;
    size_t n_rows;
    size_t panel, n_panels; /* of inputs */
    const real *dz;
    real *turned, *dx, *x, *dw;
};

static size_t width(const struct block *b)
{
    return b->n_panels * PANEL;
}

/* Where the weights of output panel o from input panel i on are. */
static size_t place_of(const struct block *b, size_t i, size_t o)
{
    return (o * b->d->k + i * PANEL) * PANEL;
}

/* A stretch of CHUNK panels of outputs each, of as many inputs as are at work. */
static void hint(const struct block *b, struct product *p, const real *from, size_t i,
                 size_t o)
{
    size_t n_out = panels_of(b->d->shape.c_out);

    p->n_ahead = 0;
    if (!from || o >= n_out || i * PANEL >= b->d->k)
        return;
    for (size_t s = 0; s < PRODUCT_STREAMS; s++)
        p->ahead[s] = from + place_of(b, i, o + s < n_out ? o + s : o);
    p->n_ahead = width(b);
}

static const real *state_of(const struct block *b)
{
    const struct tensor_buffers *of = &b->step->program->of[b->plan->share.tensor];

    return of->fused ? step_data(b->step, of->state[0]) : NULL;
}

/* ---- The gradient of the inputs ------------------------------------------ */

static void pass_on(const struct block *b)
{
    const struct delivery *v = &b->plan->delivery;
    size_t c = b->panel * PANEL;
    struct rows rows = {b->n_rows, width(b), b->d->c_in};
    struct gradient_pass pass = lower_pass_of(b->step, v, 0, c);

    pass.dy = b->dx;
    pass.dy_pitch = width(b);
    lower_pass_rows(b->step, v, pass, &rows, 0, c);
}

/* PANEL rows at a time. */
static void turn_back(const struct block *b)
{
    size_t square = PANEL * PANEL;

    for (size_t r = 0; r < panels_of(b->n_rows); r++) {
        for (size_t p = 0; p < b->n_panels; p++)
            b->step->kernels->turn(b->dx + r * PANEL * width(b) + p * PANEL, width(b),
                                   b->turned + (r * b->n_panels + p) * square, PANEL,
                                   PANEL, PANEL);
    }
}

static void multiply_input(const struct block *b)
{
    const struct dense *d = b->d;
    const real *w = step_data(b->step, b->step->program->of[d->w].value);
    struct product p = {.c = b->turned,
                        .c_row = PANEL,
                        .c_panel = width(b) * PANEL,
                        .a = w + place_of(b, b->panel, 0),
                        .a_row = PANEL,
                        .a_k = 1,
                        .a_run = PANEL,
                        .a_skip = (d->k - 1) * PANEL,
                        .b = step_buffer(b->step, b->call, TURNED),
                        .b_k = PANEL,
                        .b_panel = d->c_out * PANEL,
                        .m = width(b),
                        .k = d->c_out,
                        .n_panels = panels_of(b->n_rows)};

    hint(b, &p, state_of(b), b->panel, 0);
    b->step->kernels->product(&p);
    turn_back(b);
    pass_on(b);
}

/* ---- The gradient of the weights ----------------------------------------- */

/* The inputs as they are read, side by side. */
static void read_inputs(const struct block *b)
{
    const struct dense *d = b->d;
    size_t c = b->panel * PANEL;
    const real *x = (const real *)step_buffer(b->step, b->call, X) + c;
    struct reading reading = reading_of(b->step, &d->x);
    struct rows rows = {b->n_rows, width(b), d->c_in};

    if (reading.scale) {
        reading.scale += c;
        reading.shift += c;
    }
    b->step->kernels->read(b->x, width(b), x, &reading, &rows);
}

/* A few panels of outputs; what is fetched on the way is the state of the next ones, and
 * the next inputs' weights. */
static void multiply_chunk(const struct block *b, size_t o, size_t n, bool goes_on)
{
    const real *w = step_data(b->step, b->step->program->of[b->d->w].value);
    size_t next = b->panel + b->n_panels;
    struct product p = {.c = b->dw,
                        .c_row = PANEL,
                        .c_panel = width(b) * PANEL,
                        .a = b->x,
                        .a_row = 1,
                        .a_k = width(b),
                        .b_k = b->d->c_out,
                        .b_panel = PANEL,
                        .m = width(b),
                        .k = b->n_rows,
                        .add = goes_on,
                        .goes_on = goes_on};

    for (size_t done = 0; done < n; done += p.n_panels) {
        p.n_panels = n - done < PAIR ? n - done : PAIR;
        p.b = b->dz + (o + done) * PANEL;
        p.c = b->dw + done * p.c_panel;
        if (done == 0)
            hint(b, &p, state_of(b), b->panel, o + n);
        else
            hint(b, &p, w, next, o);
        b->step->kernels->product(&p);
    }
}

static void multiply_weight(const struct block *b)
{
    size_t n_out = panels_of(b->d->shape.c_out), tensor = b->plan->share.tensor;
    struct stretches at = {.n = width(b) * PANEL, .pitch = b->d->k * PANEL};
    bool goes_on = false;

    read_inputs(b);
    for (size_t o = 0; o < n_out; o += at.count) {
        at.count = n_out - o < CHUNK ? n_out - o : CHUNK;
        at.first = place_of(b, b->panel, o);
        for (size_t p = 0; p < at.count; p++)
            goes_on = step_take_gradient(b->step, tensor, at.first + p * at.pitch,
                                         b->dw + p * at.n, at.n);
        multiply_chunk(b, o, at.count, goes_on);
        step_give_stretches(b->step, tensor, &at, b->dw, b->plan->share.add && !goes_on);
    }
}

/* ---- Lowering ------------------------------------------------------------ */

static size_t scratch_of(const struct few_plan *plan)
{
    return (3 * padded(plan->rows) + CHUNK * PANEL) * PAIR * PANEL;
}

/* dz on its side: panels of rows. Columns are outputs. */
static void run_turn(const struct call *call, const struct step *step, size_t block,
                     size_t worker)
{
    const struct few_plan *plan = call->plan;
    size_t c_out = plan->d->c_out, n = step->n * plan->d->x.rows;
    struct span columns = call_columns(call, block);
    const real *dz = (const real *)step_buffer(step, call, DZ) + columns.first;
    real *to = (real *)step_buffer(step, call, TURNED) + columns.first * PANEL;

    (void)worker;
    for (size_t r = 0; r < n; r += PANEL)
        step->kernels->turn(to + r * c_out, PANEL, dz + r * c_out, c_out,
                            n - r < PANEL ? n - r : PANEL, columns.n);
}

static void run_pair(struct block *b)
{
    if (b->plan->is_delivered)
        multiply_input(b);
    multiply_weight(b);
}

/* A column is a block. */
static void run_inputs(const struct call *call, const struct step *step, size_t block,
                       size_t worker)
{
    const struct few_plan *plan = call->plan;
    size_t at_once = plan->pairs_per_block * PAIR, panels = plan->d->k / PANEL, end;
    struct block b = {.call = call,
                      .step = step,
                      .plan = plan,
                      .d = plan->d,
                      .n_rows = step->n * plan->d->x.rows,
                      .panel = block * at_once,
                      .dz = step_buffer(step, call, DZ),
                      .turned = step_scratch(step, worker)};

    b.dx = b.turned + padded(plan->rows) * PAIR * PANEL;
    b.x = b.dx + padded(plan->rows) * PAIR * PANEL;
    b.dw = b.x + padded(plan->rows) * PAIR * PANEL;
    end = b.panel + at_once;
    if (block >= plan->n_even) {
        b.panel = plan->n_even * at_once + (block - plan->n_even);
        end = b.panel + 1;
    }
    for (; b.panel < end && b.panel < panels; b.panel += b.n_panels) {
        b.n_panels = end - b.panel < PAIR || panels - b.panel < PAIR ? 1 : PAIR;
        run_pair(&b);
    }
}

/* An odd number of blocks of one pair ends in two halves: for two threads. */
static void split(struct few_plan *plan)
{
    size_t panels = plan->d->k / PANEL, pairs = (panels + PAIR - 1) / PAIR;

    plan->pairs_per_block = (pairs + MAX_BLOCKS - 1) / MAX_BLOCKS;
    plan->n_even = plan->n_blocks =
        (pairs + plan->pairs_per_block - 1) / plan->pairs_per_block;
    if (plan->pairs_per_block == 1 && pairs % 2 == 1 && panels % 2 == 0) {
        plan->n_even--;
        plan->n_blocks++;
    }
}

bool dense_has_few_rows(const struct lowering *l, const struct dense *d)
{
    size_t rows = lower_max_batch(l) * d->x.rows;

    return d->pointwise && !d->planar && lower_unit(l) * d->x.rows < MIN_UNIT_ROWS &&
           rows <= MAX_ROWS && rows * d->c_out <= MAX_GRADIENT;
}

static int turned_gradient(struct lowering *l, const struct few_plan *p, int dz)
{
    size_t c_out = p->d->c_out, elements = padded(p->rows) * c_out;
    size_t least = elements / MIN_TURNED > 0 ? c_out / (elements / MIN_TURNED) : c_out;
    struct partition columns = {.n_columns = c_out, .columns_per_block = padded(least)};
    int turned = lower_workspace(l, elements * sizeof(real));

    lower_planned_call(l, run_turn, &columns, p, (const int[]){dz, turned}, 2);
    return turned;
}

void dense_lower_few(struct lowering *l, const struct node *node, const struct dense *d,
                     int dz)
{
    struct few_plan *p = lower_plan(l, sizeof(*p));
    struct partition blocks = {.columns_per_block = 1};
    int turned = -1;

    if (!p)
        return;
    p->d = d;
    p->rows = lower_max_batch(l) * d->x.rows;
    p->is_delivered = lower_deliver(l, &p->delivery, node, 0, p->rows);
    p->share = lower_parameter(l, d->w);
    split(p);
    blocks.n_columns = p->n_blocks;
    lower_scratch(l, scratch_of(p) * sizeof(real));
    if (p->is_delivered)
        turned = turned_gradient(l, p, dz);
    lower_planned_call(l, run_inputs, &blocks, p,
                       (const int[]){dz, turned, d->x.buffer, d->x.norm}, N_BUFFERS);
    if (p->is_delivered) {
        lower_use_delivery(l, &p->delivery);
        lower_settle(l, &p->delivery);
    }
}
