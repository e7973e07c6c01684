/* Dense layers, forward: z = patches of x times w, plus b. Blocks are rows of outputs
 * by columns of panels; each leaves the moments of its part if a batch norm follows.
 * Windows on few channels are not gathered, but read where they lie (packed.h). */
#include "engine/nn/dense_winograd.h"
#include "engine/nn/op.h"
#include "engine/nn/packed.h"

#include <string.h>

/* Inputs that one product takes at a time, so that its panels stay in the cache. */
enum { MAX_K = 1152, BLOCKS = 16 };

enum { Z, X, NORM, W, B, MOMENTS, N_BUFFERS };

/* plan: the layer, and how a block goes through it.
 *
 * bands   rows of outputs of a block, where windows are read where they lie; else 0 */
struct forward_plan {
    const struct dense *d;
    size_t bands;
    struct packed packed;
    size_t k_at_once;
    size_t pitch; /* of the gathered rows */
};

/* One block at work. */
struct block {
    const struct forward_plan *plan;
    const struct dense *d;
    const struct step *step;
    struct span rows;
    struct span columns;
    const real *x, *w;
    real *z; /* of the first row and column */
    real *scratch;
    double *slot; /* for the moments; NULL: not wanted */
};

static struct product product_of(const struct block *b)
{
    const struct dense *d = b->d;

    return (struct product){.c = b->z,
                            .c_row = d->c_out,
                            .c_panel = PANEL,
                            .b_k = PANEL,
                            .b_panel = d->k * PANEL,
                            .m = b->rows.n,
                            .n_panels = b->columns.n / PANEL,
                            .c_is_far = true};
}

static const real *weights_at(const struct block *b, size_t k)
{
    return b->w + b->columns.first / PANEL * b->d->k * PANEL + k * PANEL;
}

/* Rows of z begin with the bias. */
static void put_bias(const struct block *b, const real *bias)
{
    for (size_t c = 0; c < b->columns.n; c += PANEL) {
        real panel[PANEL];

        memcpy(panel, bias + b->columns.first + c, sizeof(panel));
        for (size_t r = 0; r < b->rows.n; r++)
            memcpy(b->z + r * b->d->c_out + c, panel, sizeof(panel));
    }
}

/* Of panels [panel, panel + n) of the block, as soon as they are there. */
static void take_moments(const struct block *b, size_t panel, size_t n)
{
    struct rows rows = {b->rows.n, n * PANEL, b->d->c_out};
    size_t column = b->columns.first + panel * PANEL;

    if (b->slot)
        b->step->kernels->moments(b->slot + column, b->slot + b->d->c_out + column,
                                  b->z + panel * PANEL, &rows);
}

/* All panels of the block, two at a time. */
static void multiply_panels(const struct block *b, const struct product *whole,
                            bool is_last)
{
    struct product p = *whole;

    for (size_t panel = 0; panel < whole->n_panels; panel += 2) {
        size_t left = whole->n_panels - panel;
        const real *next = p.b + 2 * p.b_panel;

        /* past the last panel there is other memory: a hint reads nothing */
        p.n_panels = left < 2 ? left : 2;
        p.n_ahead = (p.k + 1) / 2;
        for (size_t i = 0; i < PRODUCT_STREAMS; i++)
            p.ahead[i] = next + i / 2 * p.b_panel + i % 2 * p.n_ahead * PANEL;
        b->step->kernels->product(&p);
        if (is_last)
            take_moments(b, panel, p.n_panels);
        p.b = next;
        p.c += 2 * p.c_panel;
    }
}

static void multiply_rows(const struct block *b, bool add)
{
    const struct dense *d = b->d;
    struct source source = {b->step->kernels, &d->patches, b->x,
                            reading_of(b->step, &d->x)};
    struct product p = product_of(b);

    bool is_last = false;

    p.a_k = 1;
    for (size_t k = 0; !is_last; k += p.k) {
        p.k = d->n_k - k < b->plan->k_at_once ? d->n_k - k : b->plan->k_at_once;
        p.a = b->scratch;
        p.a_row = b->plan->pitch;
        if (d->direct && !d->planar)
            p.a = b->x + b->rows.first * d->c_in + k, p.a_row = d->c_in;
        else if (d->direct)
            p.a = b->x + b->rows.first * d->k + k, p.a_row = d->k;
        else if (d->planar)
            dense_gather_planar(b->scratch, b->plan->pitch, &source, b->rows);
        else
            dense_gather(b->scratch, b->plan->pitch, &source, b->rows,
                         (struct span){k, p.k});
        p.b = weights_at(b, k);
        p.add = add || k > 0;
        is_last = k + p.k >= d->n_k;
        if (d->pointwise && is_last && !d->planar)
            p.k = d->shape.c_in - k; /* the padding adds nothing */
        multiply_panels(b, &p, is_last);
    }
}

/* All rows of outputs of the block. */
static void multiply_windows(const struct block *b, const real *bias)
{
    const struct dense *d = b->d;
    const struct packed *packed = &b->plan->packed;
    size_t row = b->rows.first % d->out.rows / d->shape.w_out;
    struct window_forward p = {.window = &packed->window,
                               .z_row = d->c_out,
                               .x_row = packed->step_w,
                               .w = weights_at(b, 0),
                               .w_panel = d->k * PANEL,
                               .bias = bias ? bias + b->columns.first : NULL,
                               .n = d->shape.w_out,
                               .n_panels = b->columns.n / PANEL};

    packed_fill(b->scratch, packed, b->step, b->x, b->rows.first / d->out.rows, row);
    for (size_t i = 0; i < b->rows.n / p.n; i++) {
        p.x = b->scratch + i * packed->step_h;
        p.z = b->z + i * p.n * p.z_row;
        b->step->kernels->window_forward(&p);
    }
    take_moments(b, 0, p.n_panels);
}

/* No tap of the position is inside of the image. */
static void clear_position(const struct product *p)
{
    for (size_t r = 0; r < p->m; r++)
        memset(p->c + r * p->c_row, 0, p->n_panels * PANEL * sizeof(*p->c));
}

/* All examples of one position at a time; two panels go through all positions while
 * they are in the cache. */
static void multiply_positions(const struct block *b, bool add)
{
    const struct dense *d = b->d;
    const struct patches *s = &d->patches;
    size_t positions = s->h_dst * s->w_dst, sources = s->h_src * s->w_src;
    struct product p = product_of(b);
    size_t n_panels = p.n_panels;

    p.a_k = 1;
    p.a_row = sources * d->c_in;
    p.c_row = positions * d->c_out;
    p.m = b->step->n;
    p.k = d->c_in;
    for (size_t panel = 0; panel < n_panels; panel += 2) {
        p.n_panels = n_panels - panel < 2 ? n_panels - panel : 2;
        for (size_t o = 0; o < positions; o++) {
            size_t source;

            p.add = add;
            p.c = b->z + o * d->c_out + panel * PANEL;
            for (size_t t = 0; t < s->n_taps; t++) {
                if (!dense_source(s, o, &s->taps[t], &source))
                    continue;
                p.a = b->x + source * d->c_in;
                p.b = weights_at(b, s->taps[t].w * d->c_in) + panel * d->k * PANEL;
                b->step->kernels->product(&p);
                p.add = true;
            }
            if (!p.add)
                clear_position(&p);
        }
        take_moments(b, panel, p.n_panels);
    }
}

static void run_forward(const struct call *call, const struct step *step, size_t block,
                        size_t worker)
{
    const struct forward_plan *plan = call->plan;
    const struct dense *d = plan->d;
    const real *bias = step_data(step, call->buffer[B]);
    struct block b = {.plan = plan,
                      .d = d,
                      .step = step,
                      .rows = call_rows(call, step, block),
                      .columns = call_columns(call, block),
                      .x = step_buffer(step, call, X),
                      .w = step_buffer(step, call, W),
                      .z = step_buffer(step, call, Z),
                      .scratch = step_scratch(step, worker)};

    b.z += b.rows.first * d->c_out + b.columns.first;
    if (bias && plan->bands == 0)
        put_bias(&b, bias);
    if (d->moments.buffer >= 0)
        b.slot = (double *)step_buffer(step, call, MOMENTS) +
                 b.rows.first / d->moments.rows_per_slot * 2 * d->c_out;
    if (plan->bands > 0)
        multiply_windows(&b, bias);
    else if (d->by_position)
        multiply_positions(&b, bias != NULL);
    else
        multiply_rows(&b, bias != NULL);
}

/* Whole taps, or all inputs of what is read in one go. */
static size_t k_at_once(const struct dense *d)
{
    if ((d->planar && !d->direct) || d->tight)
        return d->n_k;
    if (d->pointwise)
        return d->k < MAX_K ? d->k : MAX_K / PANEL * PANEL;
    return d->c_in < MAX_K ? MAX_K / d->c_in * d->c_in : d->c_in;
}

static struct partition partition_of(const struct lowering *l, const struct dense *d,
                                     size_t rows_per_block)
{
    size_t rows = lower_max_batch(l) * d->out.rows;
    size_t n_rows = rows_per_block > 0 ? (rows + rows_per_block - 1) / rows_per_block : 1;
    size_t n_columns = BLOCKS / (n_rows < BLOCKS ? n_rows : BLOCKS);
    size_t panels = panels_of(d->shape.c_out);
    size_t per_block = (panels + n_columns - 1) / n_columns;

    return (struct partition){.rows_per_block = rows_per_block,
                              .rows_per_example = d->out.rows,
                              .n_columns = d->c_out,
                              .columns_per_block = (per_block + per_block % 2) * PANEL};
}

static struct forward_plan *new_plan(struct lowering *l, const struct dense *d)
{
    struct forward_plan *plan = lower_plan(l, sizeof(*plan));

    if (!plan)
        return NULL;
    plan->d = d;
    plan->k_at_once = k_at_once(d);
    plan->pitch = dense_pitch(plan->k_at_once + (d->tight ? PANEL : 0));
    plan->bands = packed_rows(d);
    if (plan->bands > 0) {
        plan->packed = packed_of(d, plan->bands);
        lower_scratch(l, plan->packed.size * sizeof(real));
    }
    return plan;
}

static size_t rows_of_block(const struct forward_plan *plan)
{
    if (plan->bands > 0)
        return plan->bands * plan->d->shape.w_out;
    return plan->d->by_position ? 0 : dense_rows(plan->pitch);
}

/* A small batch is less than a block. */
static size_t gathered_rows(const struct lowering *l, const struct dense *d,
                            size_t rows_per_block)
{
    size_t rows = lower_max_batch(l) * d->out.rows;

    return rows < rows_per_block ? rows : rows_per_block;
}

void dense_lower_forward(struct lowering *l, const struct node *node,
                         const struct conv2d_shape *shape)
{
    struct dense *d = dense_create(l, node, shape);
    struct forward_plan *plan;
    struct partition partition;
    size_t rows_per_block;

    if (d && d->winograd) {
        winograd_lower_forward(l, node, d);
        return;
    }
    plan = d ? new_plan(l, d) : NULL;
    if (!plan)
        return;
    d->out = lower_output(l, node);
    rows_per_block = rows_of_block(plan);
    if (d->bias >= 0) {
        lower_want_sums(l, node);
    } else if (lower_wants_moments(l, node)) {
        d->moments = lower_sums(l, &d->out,
                                rows_per_block > 0 ? rows_per_block
                                                   : lower_max_batch(l) * d->out.rows);
        *lower_moments(l, node->out) = d->moments;
    }
    if (!d->direct && !d->by_position && plan->bands == 0)
        lower_scratch(l,
                      gathered_rows(l, d, rows_per_block) * plan->pitch * sizeof(real));
    partition = partition_of(l, d, rows_per_block);
    lower_planned_call(l, run_forward, &partition, plan,
                       (const int[]){d->out.buffer, d->x.buffer, d->x.norm,
                                     lower_value(l, d->w),
                                     d->bias >= 0 ? lower_value(l, d->bias) : -1,
                                     d->moments.buffer},
                       N_BUFFERS);
}
