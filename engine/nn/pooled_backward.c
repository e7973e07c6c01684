/* Convolutions under a max pool, backward. A chunk of examples sums its share of dw by
 * itself, and makes the rows of dx of each on the way; the shares are added in their
 * order. */
#include "engine/nn/op.h"
#include "engine/nn/pooled.h"
#include "engine/nn/sums.h"

#include <string.h>

enum { G, AT, WT, X, NORM, SHARES, N_BUFFERS };

struct backward_plan {
    const struct pooled *p;
    struct delivery delivery;
    bool is_delivered;
    struct gradient_shares shares;
    int8_t lane[PANEL]; /* those of tight channels */
};

/* One example at work. */
struct block {
    const struct call *call;
    const struct step *step;
    const struct backward_plan *plan;
    const struct pooled *p;
    struct window_backward w;
    size_t example, slot;
    real *image, *dx, *rows; /* scratch: packed, packed, as rows */
};

static size_t stretches(const struct conv_window *window)
{
    return window->n_planes * window->n_rows;
}

/* ---- Weights by output --------------------------------------------------- */

/* From panels to (outputs, stretches, pitch). A block is a panel. */
static void run_turn(const struct call *call, const struct step *step, size_t block,
                     size_t worker)
{
    const struct pooled *p = call->plan;
    const struct conv_window *window = &p->packed.window;
    size_t size = stretches(window) * window->pitch;
    real *out = step_buffer(step, call, 0);
    const real *w = step_buffer(step, call, 1);

    (void)worker;
    w += block * p->d->k * PANEL;
    for (size_t c = block * PANEL; c < p->d->shape.c_out && c < (block + 1) * PANEL; c++)
        for (size_t i = 0; i < size; i++) {
            size_t k = i % window->pitch, s = i / window->pitch;

            out[c * size + i] =
                k < window->n_k ? w[(s * window->n_k + k) * PANEL + c % PANEL] : 0;
        }
}

/* ---- One example --------------------------------------------------------- */

/* The packed gradient, as rows of the input. */
static void unpack(const struct block *b)
{
    const struct packed *p = &b->p->packed;
    const struct conv2d_shape *s = &p->d->shape;
    static const struct reading as_it_is = {NULL, NULL, ACT_NONE};
    size_t of_row = s->w_in * p->d->c_in;
    struct span in = packed_inside(p);

    for (size_t y = 0; y < s->h_in; y++) {
        real *to = b->rows + y * of_row;
        size_t n = y + s->pad_h < p->height ? in.n : 0;
        const real *from = b->dx + ((y + s->pad_h) * p->width + in.first) * p->channels;
        struct moved moved = {from, p->channels, b->plan->lane};

        if (p->channels == p->d->c_in)
            memcpy(to, from, n * p->channels * sizeof(*to));
        else
            b->step->kernels->move(to, PANEL, &moved, 1, &as_it_is, n);
        memset(to + n * p->d->c_in, 0, (s->w_in - n) * p->d->c_in * sizeof(*to));
    }
}

static void pass_on(const struct block *b)
{
    const struct delivery *v = &b->plan->delivery;
    const struct dense *d = b->p->d;
    struct rows rows = {d->x.rows, d->c_in, d->c_in};
    struct gradient_pass pass = lower_pass_of(b->step, v, b->example * d->x.rows, 0);

    pass.dy = b->rows;
    pass.dy_pitch = d->c_in;
    pass.sums = lower_pass_sums(b->step, v, b->slot, 0);
    b->step->kernels->gradient_pass(&pass, &rows);
}

static void do_input(struct block *b)
{
    memset(b->dx, 0, b->p->packed.size * sizeof(*b->dx));
    b->w.dx = b->dx;
    b->step->kernels->window_backward(&b->w);
    unpack(b);
    pass_on(b);
}

static void do_example(struct block *b)
{
    const struct pooled *p = b->p;
    size_t at = b->example * p->n_places * p->d->c_out;

    b->w.g = (const real *)step_buffer(b->step, b->call, G) + at;
    b->w.at = (const uint8_t *)step_buffer(b->step, b->call, AT) + at;
    packed_fill(b->image, &p->packed, b->step, step_buffer(b->step, b->call, X),
                b->example, 0);
    b->w.x = b->image;
    b->w.dx = NULL;
    b->step->kernels->window_backward(&b->w);
    if (b->plan->is_delivered)
        do_input(b);
}

static struct block begin_chunk(const struct call *call, const struct step *step,
                                size_t chunk, size_t worker)
{
    const struct backward_plan *plan = call->plan;
    const struct pooled *p = plan->p;
    struct block b = {.call = call,
                      .step = step,
                      .plan = plan,
                      .p = p,
                      .slot = chunk,
                      .image = step_scratch(step, worker)};

    b.dx = b.image + p->packed.size;
    b.rows = b.dx + p->packed.size;
    b.w = (struct window_backward){
        .window = &p->packed.window,
        .dw = (real *)step_buffer(step, call, SHARES) + chunk * plan->shares.size,
        .w = step_data(step, call->buffer[WT]),
        .w_output = stretches(&p->packed.window) * p->packed.window.pitch,
        .g_pitch = p->d->c_out,
        .n = p->n_places,
        .n_outputs = p->d->shape.c_out,
        .n_taps = p->n_taps,
        .place = p->place,
        .tap = p->tap,
        .winners = (uint16_t *)(b.rows + p->d->x.rows * p->d->c_in)};
    return b;
}

static void run_chunk(const struct call *call, const struct step *step, size_t block,
                      size_t worker)
{
    struct span examples = call_rows(call, step, block);
    struct block b = begin_chunk(call, step, block, worker);
    double *sums =
        b.plan->is_delivered ? lower_pass_sums(step, &b.plan->delivery, block, 0) : NULL;

    memset(b.w.dw, 0, b.plan->shares.size * sizeof(*b.w.dw));
    if (sums)
        memset(sums, 0, 2 * b.p->d->c_in * sizeof(*sums));
    for (size_t i = 0; i < examples.n; i++) {
        b.example = examples.first + i;
        do_example(&b);
    }
}

/* ---- The sum of the shares ----------------------------------------------- */

/* A row of weights of one output, to or from their panel. */
static void move_row(real *panel, real *row, const struct conv_window *window,
                     bool to_panel)
{
    for (size_t s = 0; s < stretches(window); s++) {
        real *there = panel + s * window->n_k * PANEL, *here = row + s * window->pitch;

        for (size_t k = 0; k < window->n_k; k++) {
            if (to_panel)
                there[k * PANEL] = here[k];
            else
                here[k] = there[k * PANEL];
        }
    }
}

/* A block is a panel. */
static void run_sum(const struct call *call, const struct step *step, size_t block,
                    size_t worker)
{
    const struct backward_plan *plan = call->plan;
    const struct conv_window *window = &plan->p->packed.window;
    size_t n = plan->p->d->k * PANEL, size = stretches(window) * window->pitch;
    size_t n_chunks = (step->n + plan->shares.examples - 1) / plan->shares.examples;
    const real *shares = step_buffer(step, call, 0);
    real *g = step_scratch(step, worker), *row = g + n;
    bool goes_on = step_take_gradient(step, plan->shares.to.tensor, block * n, g, n);

    if (!goes_on)
        memset(g, 0, n * sizeof(*g));
    for (size_t lane = 0; lane < PANEL; lane++) {
        size_t c = block * PANEL + lane;

        if (c >= plan->p->d->shape.c_out)
            break;
        memcpy(row, shares + c * size, size * sizeof(*row));
        if (goes_on)
            move_row(g + lane, row, window, false);
        for (size_t i = goes_on ? 0 : 1; i < n_chunks; i++)
            step->kernels->add(row, shares + i * plan->shares.size + c * size, size);
        move_row(g + lane, row, window, true);
    }
    step_give_gradient(step, plan->shares.to.tensor, block * n, g, n,
                       plan->shares.to.add && !goes_on);
}

/* ---- Lowering ------------------------------------------------------------ */

static struct backward_plan *new_plan(struct lowering *l, const struct node *conv,
                                      const struct pooled *p)
{
    struct backward_plan *plan = lower_plan(l, sizeof(*plan));
    const struct dense *d = p->d;

    if (!plan)
        return NULL;
    plan->p = p;
    plan->shares.size =
        d->shape.c_out * stretches(&p->packed.window) * p->packed.window.pitch;
    plan->shares.examples = lower_share_examples(l, plan->shares.size);
    for (size_t i = 0; i < PANEL; i++)
        plan->lane[i] = i < d->shape.c_in ? (int8_t)i : -1;
    plan->is_delivered = !d->planar && lower_deliver(l, &plan->delivery, conv, 0,
                                                     plan->shares.examples * d->x.rows);
    plan->shares.to = lower_parameter(l, d->w);
    return plan;
}

static int turned_weights(struct lowering *l, const struct backward_plan *plan,
                          const struct partition *panels)
{
    int wt = lower_workspace(l, plan->shares.size * sizeof(real));

    lower_planned_call(l, run_turn, panels, plan->p,
                       (const int[]){wt, lower_value(l, plan->p->d->w)}, 2);
    return wt;
}

static uint64_t scratch_of(const struct pooled *p)
{
    const struct dense *d = p->d;
    size_t winners = p->n_places * d->c_out / PANEL * p->n_taps;

    return (2 * p->packed.size + d->x.rows * d->c_in) * sizeof(real) +
           winners * sizeof(uint16_t);
}

void pooled_lower_backward(struct lowering *l, const struct node *conv,
                           const struct node *pool)
{
    struct pooled *p = pooled_create(l, conv, pool);
    struct output_gradient gradient = lower_output_gradient(l, conv);
    struct partition panels = {.columns_per_block = 1}, chunks = {0};
    struct backward_plan *plan;
    int g, shares, wt;

    if (!p)
        return;
    if (p->d->bias >= 0)
        lower_bias_gradient(l, p->d->bias, &gradient);
    g = lower_plain_gradient(l, conv);
    plan = new_plan(l, conv, p);
    if (!plan)
        return;
    panels.n_columns = p->d->c_out / PANEL;
    chunks.rows_per_block = plan->shares.examples;
    wt = plan->is_delivered ? turned_weights(l, plan, &panels) : -1;
    shares = lower_shares(l, &plan->shares);
    lower_scratch(l, scratch_of(p));
    lower_scratch(l, (p->d->k * PANEL + plan->shares.size) * sizeof(real));
    lower_planned_call(l, run_chunk, &chunks, plan,
                       (const int[]){g, p->winners, wt, p->d->x.buffer, p->d->x.norm,
                                     shares},
                       N_BUFFERS);
    if (plan->is_delivered) {
        lower_use_delivery(l, &plan->delivery);
        lower_settle(l, &plan->delivery);
    }
    lower_planned_call(l, run_sum, &panels, plan, (const int[]){shares}, 1);
}
