/* Dense layers, the gradient of the input: patches of dz times the transposed weights.
 * With a stride, the inputs of each remainder of their position meet taps of their
 * own, and are gone through by themselves. Weights are transposed once for all rows if
 * those are many, else panel by panel where they are used. */
#include "engine/nn/dense_backward.h"
#include "engine/nn/op.h"

#include <assert.h>
#include <string.h>

enum { MAX_K = 1152, BLOCKS = 16 };

enum { DZ, WT, N_BUFFERS };

/* plan: inputs at first_h + y stride_h, first_w + x stride_w make up the grid. */
struct input_plan {
    const struct dense *d;
    struct delivery delivery;
    struct patches patches;
    size_t first_h, first_w;
    size_t k_at_once;
    size_t pitch; /* of the gathered rows */
    bool direct;
    bool transposed; /* there is a transposed copy of the weights */
};

/* ---- Transposed weights -------------------------------------------------- */

enum { T_OUT };

/* One tap of one panel of inputs: (c_out, PANEL). */
static void transpose_tap(real *out, const struct step *step, const struct dense *d,
                          size_t panel, size_t tap)
{
    const real *w = step_data(step, step->program->of[d->w].value);

    step->kernels->transpose(out, d->c_out * PANEL,
                             w + (tap * d->c_in + panel * PANEL) * PANEL, d->k * PANEL,
                             PANEL, d->c_out);
}

/* Columns are taps of panels. */
static void run_transpose(const struct call *call, const struct step *step, size_t block,
                          size_t worker)
{
    const struct dense *d = call->plan;
    size_t n_taps = d->tight ? 1 : d->patches.n_taps, in_panels = d->k / PANEL / n_taps;
    struct span columns = call_columns(call, block);
    real *out = step_buffer(step, call, T_OUT);

    (void)worker;
    for (size_t i = columns.first; i < columns.first + columns.n; i++) {
        size_t tap = i / in_panels, panel = i % in_panels;

        transpose_tap(out + (panel * n_taps + tap) * d->c_out * PANEL, step, d, panel,
                      tap);
    }
}

int dense_transposed_weights(struct lowering *l, const struct dense *d)
{
    size_t n = d->k / PANEL;
    struct partition squares = {.n_columns = n,
                                .columns_per_block = (n + BLOCKS - 1) / BLOCKS};
    int wt = lower_workspace(l, (uint64_t)d->k * d->c_out * sizeof(real));

    lower_planned_call(l, run_transpose, &squares, d, (const int[]){wt}, 1);
    return wt;
}

/* ---- One block ----------------------------------------------------------- */

struct block {
    const struct call *call;
    const struct step *step;
    const struct input_plan *plan;
    const struct dense *d;
    struct span rows, columns;
    real *dx;
    real *squares; /* two panels of transposed weights */
    real *patches;
};

/* Taps that follow each other in the weights, from t on, at most so many. */
static size_t same_stretch(const struct patches *p, size_t t, size_t most)
{
    size_t n = 1;

    while (n < most && t + n < p->n_taps && p->taps[t + n].w == p->taps[t].w + n)
        n++;
    return n;
}

/* From the transposed copy, all panels of the block. */
static void multiply_taps(const struct block *b, struct product *p, size_t first,
                          size_t end)
{
    const struct dense *d = b->d;
    const real *wt = step_buffer(b->step, b->call, WT);
    size_t at = b->plan->patches.taps[first].w * d->c_out * PANEL;

    p->b_panel = d->patches.n_taps * d->c_out * PANEL;
    p->k = (end - first) * d->c_out;
    p->b = wt + b->columns.first / PANEL * p->b_panel + at;
    b->step->kernels->product(p);
}

/* Two panels at a time, transposed on the way. */
static void multiply_panels(const struct block *b, struct product *p, size_t first,
                            size_t end)
{
    const struct dense *d = b->d;
    const struct patches *s = &b->plan->patches;
    size_t n_panels = b->columns.n / PANEL;

    p->k = (end - first) * d->c_out;
    p->b = b->squares;
    p->b_panel = p->k * PANEL;
    for (size_t panel = 0; panel < n_panels; panel += 2) {
        p->n_panels = n_panels - panel < 2 ? 1 : 2;
        for (size_t i = 0; i < p->n_panels; i++) {
            for (size_t t = first; t < end; t++)
                transpose_tap(b->squares + i * p->b_panel +
                                  (t - first) * d->c_out * PANEL,
                              b->step, d, b->columns.first / PANEL + panel + i,
                              s->taps[t].w);
        }
        p->c = b->dx + panel * PANEL;
        b->step->kernels->product(p);
    }
}

/* dx (rows, columns) of the block. The sum is cut where a stretch of the weights ends,
 * transposed or not: which of the two it is must not change a bit. */
static void multiply(const struct block *b)
{
    const struct dense *d = b->d;
    const struct patches *s = &b->plan->patches;
    const real *dz = step_buffer(b->step, b->call, DZ);
    struct source source = {.kernels = b->step->kernels, .patches = s, .src = dz};
    size_t taps_at_once = b->plan->k_at_once / d->c_out;
    struct product p = {.c = b->dx,
                        .c_row = b->columns.n,
                        .c_panel = PANEL,
                        .a_k = 1,
                        .b_k = PANEL,
                        .m = b->rows.n,
                        .n_panels = b->columns.n / PANEL};

    if (s->n_taps == 0)
        memset(b->dx, 0, b->rows.n * b->columns.n * sizeof(*b->dx));
    for (size_t t = 0, end; t < s->n_taps; t = end) {
        end = t + same_stretch(s, t, taps_at_once);
        p.a = b->patches;
        p.a_row = b->plan->pitch;
        if (b->plan->direct)
            p.a = dz + b->rows.first * d->c_out, p.a_row = d->c_out;
        else
            dense_gather(b->patches, b->plan->pitch, &source, b->rows,
                         (struct span){t * d->c_out, (end - t) * d->c_out});
        if (b->plan->transposed)
            multiply_taps(b, &p, t, end);
        else
            multiply_panels(b, &p, t, end);
        p.add = true;
    }
}

/* Rows of dx to their places, as they are. */
static void put_rows(const struct block *b)
{
    const struct input_plan *plan = b->plan;
    const struct conv2d_shape *s = &b->d->shape;
    const struct patches *p = &plan->patches;
    real *g = step_data(b->step, plan->delivery.g);

    for (size_t r = 0; r < b->rows.n; r++) {
        size_t row = b->rows.first + r, in_image = row % (p->h_dst * p->w_dst);
        size_t y = plan->first_h + in_image / p->w_dst * s->stride_h;
        size_t x = plan->first_w + in_image % p->w_dst * s->stride_w;
        size_t at = (row / (p->h_dst * p->w_dst) * s->h_in + y) * s->w_in + x;

        memcpy(g + at * b->d->c_in + b->columns.first, b->dx + r * b->columns.n,
               b->columns.n * sizeof(*g));
    }
}

/* The rows' gradient, with what others brought, goes on its way. has_all: they have
 * brought it to dx. */
static void finish_rows(const struct block *b, const real *dx, size_t dx_pitch,
                        bool has_all)
{
    const struct delivery *v = &b->plan->delivery;
    struct rows rows = {b->rows.n, b->columns.n, b->d->c_in};
    struct gradient_pass pass =
        lower_pass_of(b->step, v, b->rows.first, b->columns.first);

    pass.dy = dx;
    pass.dy_pitch = dx_pitch;
    if (has_all)
        pass.more = NULL;
    lower_pass_rows(b->step, v, pass, &rows, b->rows.first, b->columns.first);
}

static struct block begin_block(const struct call *call, const struct step *step,
                                size_t block, size_t worker)
{
    const struct input_plan *plan = call->plan;
    struct block b = {.call = call,
                      .step = step,
                      .plan = plan,
                      .d = plan->d,
                      .rows = call_rows(call, step, block),
                      .columns = call_columns(call, block),
                      .dx = step_scratch(step, worker)};

    b.squares = b.dx + call->partition.rows_per_block * call->partition.columns_per_block;
    b.patches = b.squares + (plan->transposed ? 0 : 2 * plan->k_at_once * PANEL);
    return b;
}

static void run_rows(const struct call *call, const struct step *step, size_t block,
                     size_t worker)
{
    struct block b = begin_block(call, step, block, worker);

    multiply(&b);
    if (b.plan->delivery.settled)
        finish_rows(&b, b.dx, b.columns.n, false);
    else
        put_rows(&b);
}

/* All positions that meet a tap (dense_forward.c), two panels, g += . */
static void multiply_positions(const struct block *b, struct product *p, size_t tap)
{
    const struct dense *d = b->d;
    const struct patches *s = &b->plan->patches;
    const real *dz = step_buffer(b->step, b->call, DZ);
    real *g = p->c;

    for (size_t i = 0; i < p->n_panels; i++)
        transpose_tap(b->squares + i * p->b_panel, b->step, d,
                      b->columns.first / PANEL + i, s->taps[tap].w);
    for (size_t i = 0; i < s->h_dst * s->w_dst; i++) {
        size_t source;

        if (!dense_source(s, i, &s->taps[tap], &source))
            continue;
        p->a = dz + source * d->c_out;
        p->c = g + i * d->c_in;
        b->step->kernels->product(p);
    }
    p->c = g;
}

static bool is_met(const struct patches *s, size_t tap)
{
    size_t source;

    for (size_t i = 0; i < s->h_dst * s->w_dst; i++) {
        if (dense_source(s, i, &s->taps[tap], &source))
            return true;
    }
    return false;
}

static void run_positions(const struct call *call, const struct step *step, size_t block,
                          size_t worker)
{
    struct block b = begin_block(call, step, block, worker);
    const struct dense *d = b.d;
    const struct patches *s = &b.plan->patches;
    real *g = (real *)step_data(step, b.plan->delivery.g) + b.columns.first;
    struct span columns = b.columns;
    struct product p = {.c_row = s->h_dst * s->w_dst * d->c_in,
                        .c_panel = PANEL,
                        .a_row = s->h_src * s->w_src * d->c_out,
                        .a_k = 1,
                        .b = b.squares,
                        .b_k = PANEL,
                        .b_panel = d->c_out * PANEL,
                        .m = step->n,
                        .k = d->c_out,
                        .add = true};

    for (size_t r = 0; b.plan->delivery.more < 0 && r < b.rows.n; r++)
        memset(g + r * d->c_in, 0, columns.n * sizeof(*g));
    for (size_t at = 0; at < columns.n; at += b.columns.n) {
        b.columns.first = columns.first + at;
        b.columns.n = columns.n - at < 2 * PANEL ? PANEL : 2 * PANEL;
        p.c = g + at;
        p.n_panels = b.columns.n / PANEL;
        for (size_t t = 0; t < s->n_taps; t++) {
            if (is_met(s, t))
                multiply_positions(&b, &p, t);
        }
    }
    b.columns = columns;
    finish_rows(&b, g, d->c_in, true);
}

/* ---- Lowering ------------------------------------------------------------ */

/* Taps of one axis that inputs at first + i stride meet: output i + result. False:
 * this tap does not meet them. */
static bool meets(size_t first, size_t pad, size_t reach, size_t stride,
                  ptrdiff_t *offset)
{
    ptrdiff_t at = (ptrdiff_t)(first + pad) - (ptrdiff_t)reach;
    ptrdiff_t step = (ptrdiff_t)stride;

    if (((at % step) + step) % step != 0)
        return false;
    *offset = (at - (((at % step) + step) % step)) / step;
    return true;
}

/* The grid of inputs with one remainder of their position, and its taps. */
static bool make_grid(struct lowering *l, struct input_plan *plan, size_t first_h,
                      size_t first_w)
{
    const struct dense *d = plan->d;
    const struct conv2d_shape *s = &d->shape;
    struct tap *taps = lower_plan(l, s->k_h * s->k_w * sizeof(*taps));
    struct patches *p = &plan->patches;

    if (!taps)
        return false;
    plan->first_h = first_h;
    plan->first_w = first_w;
    *p = (struct patches){.h_src = s->h_out,
                          .w_src = s->w_out,
                          .channels = d->c_out,
                          .per_tap = d->c_out,
                          .step_h = 1,
                          .step_w = 1,
                          .taps = taps};
    p->h_dst = (s->h_in - first_h + s->stride_h - 1) / s->stride_h;
    p->w_dst = (s->w_in - first_w + s->stride_w - 1) / s->stride_w;
    for (size_t t = 0; t < s->k_h * s->k_w; t++) {
        struct tap tap = {0, 0, t};

        if (meets(first_h, s->pad_h, t / s->k_w * s->dilation_h, s->stride_h, &tap.dy) &&
            meets(first_w, s->pad_w, t % s->k_w * s->dilation_w, s->stride_w, &tap.dx))
            taps[p->n_taps++] = tap;
    }
    return true;
}

static size_t k_at_once(const struct dense *d)
{
    size_t n = MAX_K / d->c_out < 1 ? 1 : MAX_K / d->c_out;

    if (n > d->patches.n_taps)
        n = d->patches.n_taps;
    return n * d->c_out;
}

static struct partition row_partition(const struct lowering *l, size_t rows_per_example,
                                      size_t pitch)
{
    return lower_unit_blocks(l, rows_per_example, dense_rows(pitch));
}

static size_t row_blocks(const struct lowering *l, size_t rows_per_example, size_t pitch)
{
    size_t rows_per_block = row_partition(l, rows_per_example, pitch).rows_per_block;

    return (lower_max_batch(l) * rows_per_example + rows_per_block - 1) / rows_per_block;
}

static void add_rows(struct lowering *l, const struct input_plan *like, size_t first_h,
                     size_t first_w, const int *buffers)
{
    struct input_plan *plan = lower_plan(l, sizeof(*plan));
    const struct dense *d = like->d;
    struct partition blocks;
    size_t rows, n_columns, panels = d->c_in / PANEL;

    if (!plan)
        return;
    *plan = *like;
    if (!make_grid(l, plan, first_h, first_w))
        return;
    blocks = row_partition(l, plan->patches.h_dst * plan->patches.w_dst, plan->pitch);
    blocks.n_columns = d->c_in;
    rows = row_blocks(l, blocks.rows_per_example, plan->pitch);
    n_columns = rows < BLOCKS ? BLOCKS / rows : 1;
    blocks.columns_per_block = (panels + n_columns - 1) / n_columns;
    blocks.columns_per_block = (blocks.columns_per_block + 1) / 2 * 2 * PANEL;
    lower_scratch(l, (blocks.rows_per_block * (blocks.columns_per_block + plan->pitch) +
                      2 * plan->k_at_once * PANEL) *
                         sizeof(real));
    lower_planned_call(l, run_rows, &blocks, plan, buffers, N_BUFFERS);
    lower_use_delivery(l, &plan->delivery);
}

static void add_positions(struct lowering *l, const struct input_plan *like,
                          const int *buffers)
{
    struct input_plan *plan = lower_plan(l, sizeof(*plan));
    size_t panels = like->d->c_in / PANEL;
    struct partition blocks = {.rows_per_example = like->d->x.rows,
                               .n_columns = like->d->c_in};

    if (!plan)
        return;
    *plan = *like;
    if (!make_grid(l, plan, 0, 0))
        return;
    blocks.columns_per_block = ((panels + BLOCKS - 1) / BLOCKS + 1) / 2 * 2 * PANEL;
    lower_scratch(l, 2 * plan->d->c_out * PANEL * sizeof(real));
    lower_planned_call(l, run_positions, &blocks, plan, buffers, N_BUFFERS);
    lower_use_delivery(l, &plan->delivery);
}

void dense_lower_input(struct lowering *l, const struct node *node, const struct dense *d,
                       int dz)
{
    const struct conv2d_shape *s = &d->shape;
    bool is_strided = s->stride_h > 1 || s->stride_w > 1;
    bool by_position = d->by_position && !is_strided;
    struct input_plan plan = {.d = d};
    int buffers[N_BUFFERS] = {dz};
    size_t rows_per_slot;

    plan.k_at_once = k_at_once(d);
    plan.pitch = dense_pitch(plan.k_at_once);
    plan.direct = d->pointwise;
    rows_per_slot = by_position ? lower_max_batch(l) * d->x.rows
                                : row_partition(l, d->x.rows, plan.pitch).rows_per_block;
    if (is_strided)
        rows_per_slot = 0;
    if (d->tight) {
        dense_lower_scatter(l, node, d, dz);
        return;
    }
    if (d->planar || !lower_deliver(l, &plan.delivery, node, 0, rows_per_slot))
        return;
    plan.transposed = !by_position && row_blocks(l, d->x.rows, plan.pitch) > 2;
    buffers[WT] = plan.transposed ? dense_transposed_weights(l, d) : -1;
    if (by_position)
        add_positions(l, &plan, buffers);
    else
        for (size_t h = 0; h < s->stride_h && h < s->h_in; h++) {
            for (size_t w = 0; w < s->stride_w && w < s->w_in; w++)
                add_rows(l, &plan, h, w, buffers);
        }
    lower_settle(l, &plan.delivery);
}
