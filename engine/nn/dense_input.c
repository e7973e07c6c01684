/* Dense layers, the gradient of the input: patches of dz times the transposed weights.
 * With a stride, the inputs of each remainder of their position meet taps of their
 * own, and are gone through by themselves. */
#include "engine/nn/dense_backward.h"
#include "engine/nn/op.h"

#include <assert.h>
#include <string.h>

enum { MAX_K = 1152, BLOCKS = 16 };

enum { G, DZ, WT, MORE, X, NORM, SUMS, N_BUFFERS };

/* plan: inputs at first_h + y stride_h, first_w + x stride_w make up the grid. */
struct input_plan {
    const struct dense *d;
    struct delivery delivery;
    struct patches patches;
    size_t first_h, first_w;
    size_t k_at_once;
    size_t pitch; /* of the gathered rows */
    bool direct;
};

/* ---- Transposed weights -------------------------------------------------- */

enum { T_OUT, T_IN };

static void run_transpose(const struct call *call, const struct step *step, size_t block,
                          size_t worker)
{
    const struct dense *d = call->plan;
    size_t n_taps = d->patches.n_taps, in_panels = d->c_in / PANEL;
    struct span columns = call_columns(call, block);
    real *out = step_buffer(step, call, T_OUT);
    const real *in = step_buffer(step, call, T_IN);

    (void)worker;
    for (size_t i = columns.first; i < columns.first + columns.n; i++) {
        size_t tap = i / in_panels, panel = i % in_panels;

        step->kernels->transpose(out + (panel * n_taps + tap) * d->c_out * PANEL,
                                 n_taps * d->c_out * PANEL,
                                 in + (tap * d->c_in + panel * PANEL) * PANEL,
                                 d->k * PANEL, PANEL, d->c_out);
    }
}

static int transposed_weights(struct lowering *l, const struct node *node,
                              const struct dense *d)
{
    size_t n = d->k / PANEL;
    struct partition squares = {.n_columns = n,
                                .columns_per_block = (n + BLOCKS - 1) / BLOCKS};
    int wt = lower_workspace(l, (uint64_t)d->k * d->c_out * sizeof(real));

    lower_planned_call(l, run_transpose, node, &squares, d,
                       (const int[]){wt, lower_value(l, d->w)}, 2);
    return wt;
}

/* ---- One block ----------------------------------------------------------- */

struct block {
    const struct call *call;
    const struct step *step;
    const struct input_plan *plan;
    const struct dense *d;
    struct span rows, columns;
    real *patches, *dx;
};

/* Taps that follow each other in the weights, from t on, not past `end`. */
static size_t same_stretch(const struct patches *p, size_t t, size_t end)
{
    size_t n = 1;

    while (t + n < end && p->taps[t + n].w == p->taps[t].w + n)
        n++;
    return n;
}

static void multiply_taps(const struct block *b, struct product *p, size_t first,
                          size_t end)
{
    const struct dense *d = b->d;
    const real *wt = step_buffer(b->step, b->call, WT);
    const struct patches *s = &b->plan->patches;

    for (size_t t = first, n; t < end; t += n) {
        n = same_stretch(s, t, end);
        p->k = n * d->c_out;
        p->b = wt + b->columns.first / PANEL * p->b_panel +
               s->taps[t].w * d->c_out * PANEL;
        b->step->kernels->product(p);
        p->a += p->k;
        p->add = true;
    }
}

/* dx (rows, columns) of the block. */
static void multiply(const struct block *b)
{
    const struct dense *d = b->d;
    const struct reading as_it_is = {0};
    const struct patches *s = &b->plan->patches;
    const real *dz = step_buffer(b->step, b->call, DZ);
    size_t taps_at_once = b->plan->k_at_once / d->c_out;
    struct product p = {.c = b->dx,
                        .c_row = b->columns.n,
                        .c_panel = PANEL,
                        .a_k = 1,
                        .b_k = PANEL,
                        .b_panel = d->patches.n_taps * d->c_out * PANEL,
                        .m = b->rows.n,
                        .n_panels = b->columns.n / PANEL};

    if (s->n_taps == 0)
        memset(b->dx, 0, b->rows.n * b->columns.n * sizeof(*b->dx));
    for (size_t t = 0; t < s->n_taps; t += taps_at_once) {
        size_t end = s->n_taps - t < taps_at_once ? s->n_taps : t + taps_at_once;

        p.a = b->patches;
        p.a_row = b->plan->pitch;
        if (b->plan->direct)
            p.a = dz + b->rows.first * d->c_out, p.a_row = d->c_out;
        else
            dense_gather(b->step->kernels, b->patches, b->plan->pitch, dz, &as_it_is, s,
                         b->rows, (struct span){t * d->c_out, (end - t) * d->c_out});
        multiply_taps(b, &p, t, end);
    }
}

/* Rows of dx to their places, as they are. */
static void put_rows(const struct block *b)
{
    const struct input_plan *plan = b->plan;
    const struct conv2d_shape *s = &b->d->shape;
    const struct patches *p = &plan->patches;
    real *g = step_buffer(b->step, b->call, G);

    for (size_t r = 0; r < b->rows.n; r++) {
        size_t row = b->rows.first + r, in_image = row % (p->h_dst * p->w_dst);
        size_t y = plan->first_h + in_image / p->w_dst * s->stride_h;
        size_t x = plan->first_w + in_image % p->w_dst * s->stride_w;
        size_t at = (row / (p->h_dst * p->w_dst) * s->h_in + y) * s->w_in + x;

        memcpy(g + at * b->d->c_in + b->columns.first, b->dx + r * b->columns.n,
               b->columns.n * sizeof(*g));
    }
}

/* The rows' gradient, with what others brought, goes on its way. */
static void finish_rows(const struct block *b, const real *dx, size_t dx_pitch,
                        bool has_more)
{
    const struct delivery *v = &b->plan->delivery;
    size_t pitch = b->d->c_in, at = b->rows.first * pitch + b->columns.first;
    const real *z = step_data(b->step, b->call->buffer[X]);
    double *sums = step_data(b->step, b->call->buffer[SUMS]);
    struct rows rows = {b->rows.n, b->columns.n, pitch};
    struct gradient_pass pass = {.g = (real *)step_buffer(b->step, b->call, G) + at,
                                 .dy = dx,
                                 .dy_pitch = dx_pitch,
                                 .more_pitch = pitch,
                                 .z = z ? z + at : NULL,
                                 .z_pitch = pitch,
                                 .reading = reading_of(b->step, &v->x),
                                 .finish = v->finish,
                                 .sums_pitch = pitch};

    if (has_more)
        pass.more = pass.g;
    if (pass.reading.scale) {
        pass.reading.scale += b->columns.first;
        pass.reading.shift += b->columns.first;
    }
    if (v->means)
        pass.mean = norm_of(b->step, v->x.norm, pitch).mean + b->columns.first;
    if (sums) {
        pass.sums = sums + b->rows.first / v->sums.rows_per_slot * 2 * pitch +
                    b->columns.first;
        memset(pass.sums, 0, b->columns.n * sizeof(*sums));
        memset(pass.sums + pitch, 0, b->columns.n * sizeof(*sums));
    }
    b->step->kernels->gradient_pass(&pass, &rows);
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

    b.patches = b.dx + call->partition.rows_per_block * call->partition.columns_per_block;
    return b;
}

static void run_rows(const struct call *call, const struct step *step, size_t block,
                     size_t worker)
{
    struct block b = begin_block(call, step, block, worker);

    multiply(&b);
    if (b.plan->delivery.settled)
        finish_rows(&b, b.dx, b.columns.n, call->buffer[MORE] >= 0);
    else
        put_rows(&b);
}

/* All examples of one position of the input at a time (dense_forward.c). */
static void run_positions(const struct call *call, const struct step *step, size_t block,
                          size_t worker)
{
    struct block b = begin_block(call, step, block, worker);
    const struct dense *d = b.d;
    const struct patches *s = &b.plan->patches;
    size_t positions = s->h_dst * s->w_dst, sources = s->h_src * s->w_src;
    real *g = (real *)step_buffer(step, call, G) + b.columns.first;
    const real *dz = step_buffer(step, call, DZ), *wt = step_buffer(step, call, WT);
    struct product p = {.c_row = positions * d->c_in,
                        .c_panel = PANEL,
                        .a_row = sources * d->c_out,
                        .a_k = 1,
                        .b_k = PANEL,
                        .b_panel = d->patches.n_taps * d->c_out * PANEL,
                        .m = step->n,
                        .k = d->c_out};

    for (size_t panel = 0; panel < b.columns.n / PANEL; panel += 2) {
        p.n_panels = b.columns.n / PANEL - panel < 2 ? 1 : 2;
        for (size_t i = 0; i < positions; i++) {
            p.add = call->buffer[MORE] >= 0;
            p.c = g + i * d->c_in + panel * PANEL;
            for (size_t t = 0; t < s->n_taps; t++) {
                size_t source;

                if (!dense_source(s, i, &s->taps[t], &source))
                    continue;
                p.a = dz + source * d->c_out;
                p.b = wt + (b.columns.first / PANEL + panel) * p.b_panel +
                      s->taps[t].w * d->c_out * PANEL;
                step->kernels->product(&p);
                p.add = true;
            }
            for (size_t r = 0; !p.add && r < p.m; r++) /* no tap meets it */
                memset(p.c + r * p.c_row, 0, p.n_panels * PANEL * sizeof(*p.c));
        }
    }
    finish_rows(&b, g, d->c_in, false);
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
    *p = (struct patches){.h_src = s->h_out, .w_src = s->w_out, .channels = d->c_out,
                          .step_h = 1, .step_w = 1, .taps = taps};
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

static void add_rows(struct lowering *l, const struct node *node,
                     const struct input_plan *like, size_t first_h, size_t first_w,
                     const int *buffers)
{
    struct input_plan *plan = lower_plan(l, sizeof(*plan));
    const struct dense *d = like->d;
    struct partition blocks = {.n_columns = d->c_in};
    size_t rows, n_columns, panels = d->c_in / PANEL;

    if (!plan)
        return;
    *plan = *like;
    if (!make_grid(l, plan, first_h, first_w))
        return;
    blocks.rows_per_example = plan->patches.h_dst * plan->patches.w_dst;
    blocks.rows_per_block = dense_rows(plan->pitch);
    rows = lower_max_batch(l) * blocks.rows_per_example / blocks.rows_per_block + 1;
    n_columns = rows < BLOCKS ? BLOCKS / rows : 1;
    blocks.columns_per_block = (panels + n_columns - 1) / n_columns;
    blocks.columns_per_block = (blocks.columns_per_block + 1) / 2 * 2 * PANEL;
    lower_scratch(l, blocks.rows_per_block * (blocks.columns_per_block + plan->pitch) *
                         sizeof(real));
    lower_planned_call(l, run_rows, node, &blocks, plan, buffers, N_BUFFERS);
}

static void add_positions(struct lowering *l, const struct node *node,
                          const struct input_plan *like, const int *buffers)
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
    lower_planned_call(l, run_positions, node, &blocks, plan, buffers, N_BUFFERS);
}

void dense_lower_input(struct lowering *l, const struct node *node, const struct dense *d,
                       int dz)
{
    const struct conv2d_shape *s = &d->shape;
    bool is_strided = s->stride_h > 1 || s->stride_w > 1;
    bool by_position = d->by_position && !is_strided;
    struct input_plan plan = {.d = d};
    size_t rows_per_slot;
    int wt;

    plan.k_at_once = k_at_once(d);
    plan.pitch = dense_pitch(plan.k_at_once);
    plan.direct = d->pointwise;
    rows_per_slot = by_position ? lower_max_batch(l) * d->x.rows : dense_rows(plan.pitch);
    if (is_strided)
        rows_per_slot = 0;
    if (d->planar || !lower_deliver(l, &plan.delivery, node, 0, rows_per_slot))
        return;
    wt = transposed_weights(l, node, d);
    {
        const int buffers[N_BUFFERS] = {plan.delivery.g,
                                        dz,
                                        wt,
                                        plan.delivery.more,
                                        plan.delivery.x.buffer,
                                        plan.delivery.x.norm,
                                        plan.delivery.sums.buffer};

        if (by_position)
            add_positions(l, node, &plan, buffers);
        else
            for (size_t h = 0; h < s->stride_h && h < s->h_in; h++) {
                for (size_t w = 0; w < s->stride_w && w < s->w_in; w++)
                    add_rows(l, node, &plan, h, w, buffers);
            }
    }
    lower_settle(l, node, &plan.delivery);
}
