/* Depthwise convolutions. Blocks are some examples of some channels; the weights' shares
 * of the examples are summed afterwards, in their order. Large images are gone through in
 * tiles of rows that stay in the cache while their panels take turns: memory is then read
 * line after line, though a panel has only every so many of them. */
#include "engine/nn/depthwise.h"

#include "engine/nn/op.h"
#include "engine/nn/sums.h"

#include <string.h>

enum { PIXELS_PER_BLOCK = 2048, TILED_PIXELS = 512, MIN_TILED = 256 };
/* TILE: elements of the input in a tile; AHEAD: pixels, without tiles */
enum { TILE = 32768, AHEAD = 48 };

/* plan of all calls of a layer. */
struct depthwise_plan {
    struct conv2d_shape shape;
    struct operand x;
    struct operand out;
    struct row_sums moments;
    struct delivery delivery;
    struct output_gradient gradient;
    struct parameter_share share;
    bool is_delivered;
    size_t examples_per_block;
    size_t rows_per_tile; /* of outputs; 0: no tiles */
    size_t n_taps;
    size_t unit; /* examples of lower_unit */
};

static void split(struct lowering *l, struct depthwise_plan *p)
{
    const struct conv2d_shape *s = &p->shape;
    size_t row = s->w_in * s->stride_h * padded(s->c_in);

    p->examples_per_block = lower_unit_part(l, s->h_out * s->w_out, PIXELS_PER_BLOCK);
    if (s->h_in * s->w_in < MIN_TILED)
        return;
    p->examples_per_block = lower_unit_part(l, s->h_in * s->w_in, TILED_PIXELS);
    p->rows_per_tile = row < TILE ? TILE / row : 1;
}

static struct depthwise_plan *new_plan(struct lowering *l, const struct node *node,
                                       const struct conv2d_shape *shape)
{
    struct depthwise_plan *p = lower_plan(l, sizeof(*p));

    if (!p)
        return NULL;
    p->shape = *shape;
    p->x = lower_operand(l, node->in[0]);
    p->moments.buffer = -1;
    p->n_taps = shape->k_h * shape->k_w;
    p->unit = lower_unit(l);
    split(l, p);
    lower_scratch(l, lower_kernels(l)->depthwise_scratch(shape) * sizeof(real));
    return p;
}

static struct partition blocks_of(const struct depthwise_plan *p)
{
    size_t channels = padded(p->shape.c_in);

    return (struct partition){.rows_per_block = p->examples_per_block,
                              .n_columns = channels,
                              .columns_per_block =
                                  p->rows_per_tile > 0 ? channels : PANEL};
}

/* What a block does at a time: some rows of outputs, and the inputs that go with them, of
 * some images. */
struct tile {
    size_t image, n_images;
    size_t row, n_rows;       /* outputs */
    size_t in_row, n_in_rows; /* inputs */
};

/* The rows of a tile that begins with row t->row of the outputs. Outputs of the last
 * rows may see padding only: their tiles have no inputs. The last one has the rest. */
static void set_rows(struct tile *t, const struct depthwise_plan *p)
{
    const struct conv2d_shape *s = &p->shape;
    size_t left = s->h_out - t->row, end;

    t->n_rows = p->rows_per_tile > 0 && p->rows_per_tile < left ? p->rows_per_tile : left;
    end = (t->row + t->n_rows) * s->stride_h;
    if (t->n_rows == left || end > s->h_in)
        end = s->h_in;
    t->in_row = t->row * s->stride_h < s->h_in ? t->row * s->stride_h : s->h_in;
    t->n_in_rows = end - t->in_row;
}

static struct tile first_tile(const struct depthwise_plan *p, struct span examples)
{
    struct tile t = {.image = examples.first,
                     .n_images = p->rows_per_tile > 0 ? 1 : examples.n};

    set_rows(&t, p);
    return t;
}

static void next_tile(struct tile *t, const struct depthwise_plan *p)
{
    t->row += t->n_rows;
    if (t->row >= p->shape.h_out) {
        t->image += t->n_images;
        t->row = 0;
    }
    set_rows(t, p);
}

/* While the panels take turns at a tile, each fetches its part of the next one. */
static struct depthwise_ahead ahead_of(const struct depthwise_plan *p,
                                       const struct tile *t, size_t c)
{
    const struct conv2d_shape *s = &p->shape;
    size_t channels = p->x.channels, in = t->n_in_rows * s->w_in;
    size_t out = t->n_rows * s->w_out;
    struct depthwise_ahead a = {AHEAD * channels, AHEAD * channels, channels};

    if (p->rows_per_tile == 0)
        return a;
    a.pitch = PANEL;
    a.in =
        (t->in_row * s->w_in + in) * channels + c * in - t->in_row * s->w_in * PANEL - c;
    a.out =
        (t->row * s->w_out + out) * channels + c * out - t->row * s->w_out * PANEL - c;
    return a;
}

/* ---- Forward ------------------------------------------------------------- */

enum { Z, X, NORM, W, B, MOMENTS, N_FORWARD };

static void shift_reading(struct reading *r, size_t c)
{
    if (!r->scale)
        return;
    r->scale += c;
    r->shift += c;
}

static void forward_tile(const struct call *call, const struct step *step,
                         const struct tile *t, size_t c, size_t worker)
{
    const struct depthwise_plan *p = call->plan;
    size_t channels = p->x.channels;
    const real *bias = step_data(step, call->buffer[B]);
    struct depthwise_forward d = {.n_images = t->n_images,
                                  .z = (real *)step_buffer(step, call, Z) + c +
                                       t->image * p->out.rows * channels,
                                  .z_pitch = channels,
                                  .x = (const real *)step_buffer(step, call, X) + c +
                                       t->image * p->x.rows * channels,
                                  .x_pitch = channels,
                                  .reading = reading_of(step, &p->x),
                                  .w = (const real *)step_buffer(step, call, W) +
                                       c * p->n_taps,
                                  .bias = bias ? bias + c : NULL,
                                  .scratch = step_scratch(step, worker),
                                  .shape = &p->shape,
                                  .first_row = t->row,
                                  .n_rows = t->n_rows,
                                  .ahead = ahead_of(p, t, c)};

    shift_reading(&d.reading, c);
    step->kernels->depthwise_forward(&d);
}

static void run_forward(const struct call *call, const struct step *step, size_t block,
                        size_t worker)
{
    const struct depthwise_plan *p = call->plan;
    struct span examples = call_rows(call, step, block);
    struct span columns = call_columns(call, block);
    size_t channels = p->x.channels, end = columns.first + columns.n;
    struct tile t = first_tile(p, examples);

    for (; t.image < examples.first + examples.n; next_tile(&t, p)) {
        for (size_t c = columns.first; c < end; c += PANEL)
            forward_tile(call, step, &t, c, worker);
    }
    if (p->moments.buffer >= 0) {
        double *slot = (double *)step_buffer(step, call, MOMENTS) +
                       examples.first / p->examples_per_block * 2 * channels +
                       columns.first;
        struct rows rows = {examples.n * p->out.rows, columns.n, channels};

        step->kernels->moments(slot, slot + channels,
                               (const real *)step_buffer(step, call, Z) +
                                   examples.first * p->out.rows * channels +
                                   columns.first,
                               &rows);
    }
}

void depthwise_lower_forward(struct lowering *l, const struct node *node,
                             const struct conv2d_shape *shape)
{
    struct depthwise_plan *p = new_plan(l, node, shape);
    int bias = node->n_in > 2 ? node->in[2] : -1;
    struct partition blocks;

    if (!p)
        return;
    p->out = lower_output(l, node);
    if (bias >= 0) {
        lower_want_sums(l, node);
    } else if (lower_wants_moments(l, node)) {
        p->moments = lower_sums(l, &p->out, p->examples_per_block * p->out.rows);
        *lower_moments(l, node->out) = p->moments;
    }
    blocks = blocks_of(p);
    lower_planned_call(l, run_forward, &blocks, p,
                       (const int[]){p->out.buffer, p->x.buffer, p->x.norm,
                                     lower_value(l, node->in[1]),
                                     bias >= 0 ? lower_value(l, bias) : -1,
                                     p->moments.buffer},
                       N_FORWARD);
}

/* ---- Backward ------------------------------------------------------------ */

enum { DX, G, OUT, OUT_NORM, IN, IN_NORM, WEIGHT, MORE, SUMS, PARTS, N_BACKWARD };

static void shift_norm(struct norm_gradient *n, size_t c)
{
    if (!n->factor)
        return;
    n->factor += c;
    n->mean_g += c;
    n->mean += c;
    n->slope += c;
}

/* The slot's sums of a panel begin with 0. */
static void clear_sums(const struct call *call, const struct step *step, size_t c,
                       size_t slot)
{
    const struct depthwise_plan *p = call->plan;
    size_t channels = p->x.channels;
    double *sums = step_data(step, call->buffer[SUMS]);
    double *dw = step_buffer(step, call, PARTS);

    memset(dw + (slot * channels + c) * p->n_taps, 0, p->n_taps * PANEL * sizeof(*dw));
    if (!sums)
        return;
    sums += slot * 2 * channels + c;
    memset(sums, 0, PANEL * sizeof(*sums));
    memset(sums + channels, 0, PANEL * sizeof(*sums));
}

/* What all tiles of a block share. */
static struct depthwise_backward begin_backward(const struct call *call,
                                                const struct step *step, size_t c,
                                                size_t slot, size_t worker)
{
    const struct depthwise_plan *p = call->plan;
    size_t channels = p->x.channels;
    double *sums = step_data(step, call->buffer[SUMS]);
    struct depthwise_backward d = {.g_pitch = channels,
                                   .z_pitch = channels,
                                   .norm =
                                       norm_gradient_of(step, p->gradient.norm, channels),
                                   .x_pitch = channels,
                                   .reading = reading_of(step, &p->x),
                                   .w = (const real *)step_buffer(step, call, WEIGHT) +
                                        c * p->n_taps,
                                   .dw = (double *)step_buffer(step, call, PARTS) +
                                         (slot * channels + c) * p->n_taps,
                                   .pass_pitch = channels,
                                   .scratch = step_scratch(step, worker),
                                   .shape = &p->shape};

    shift_norm(&d.norm, c);
    shift_reading(&d.reading, c);
    d.pass.more_pitch = d.pass.sums_pitch = channels;
    d.pass.finish = p->is_delivered && p->delivery.finish;
    if (p->is_delivered && p->delivery.means)
        d.pass.mean = norm_of(step, p->x.norm, channels).mean + c;
    if (sums)
        d.pass.sums = sums + slot * 2 * channels + c;
    return d;
}

static void backward_tile(const struct call *call, const struct step *step,
                          const struct tile *t, size_t c, size_t worker)
{
    const struct depthwise_plan *p = call->plan;
    struct depthwise_backward d =
        begin_backward(call, step, c, t->image / p->examples_per_block, worker);
    real *dx = step_data(step, call->buffer[DX]);
    const real *more = step_data(step, call->buffer[MORE]);
    size_t out = t->image * p->out.rows * p->x.channels + c;
    size_t in = t->image * p->x.rows * p->x.channels + c;

    d.n_images = t->n_images;
    d.g = (const real *)step_buffer(step, call, G) + out;
    d.z = (const real *)step_buffer(step, call, OUT) + out;
    d.x = (const real *)step_buffer(step, call, IN) + in;
    d.pass.g = dx ? dx + in : NULL;
    d.pass.more = more ? more + in : NULL;
    d.first_row = t->in_row;
    d.n_rows = t->n_in_rows;
    d.ahead = ahead_of(p, t, c);
    step->kernels->depthwise_backward(&d);
}

static void run_backward(const struct call *call, const struct step *step, size_t block,
                         size_t worker)
{
    const struct depthwise_plan *p = call->plan;
    struct span examples = call_rows(call, step, block);
    struct span columns = call_columns(call, block);
    size_t end = columns.first + columns.n;
    struct tile t = first_tile(p, examples);

    for (size_t c = columns.first; c < end; c += PANEL)
        clear_sums(call, step, c, examples.first / p->examples_per_block);
    for (; t.image < examples.first + examples.n; next_tile(&t, p)) {
        for (size_t c = columns.first; c < end && t.n_in_rows > 0; c += PANEL)
            backward_tile(call, step, &t, c, worker);
    }
}

/* A panel of the sum of some slots. */
static void sum_parts(real out[PANEL], const double *parts, struct span slots,
                      size_t pitch)
{
    double sum[PANEL] = {0};

    for (size_t s = slots.first; s < slots.first + slots.n; s++) {
        for (size_t i = 0; i < PANEL; i++)
            sum[i] += parts[s * pitch + i];
    }
    for (size_t i = 0; i < PANEL; i++)
        out[i] = (real)sum[i];
}

/* Columns are channels. */
static void run_weight(const struct call *call, const struct step *step, size_t block,
                       size_t worker)
{
    const struct depthwise_plan *p = call->plan;
    struct span columns = call_columns(call, block);
    size_t n_slots = (step->n + p->examples_per_block - 1) / p->examples_per_block;
    const double *parts = step_buffer(step, call, 0);
    size_t first = columns.first * p->n_taps, n = columns.n * p->n_taps;
    size_t at_once = p->unit > 0 ? p->unit / p->examples_per_block : n_slots;
    size_t pitch = p->x.channels * p->n_taps;
    real *g = step_scratch(step, worker), sum[PANEL];
    bool goes_on = step_take_gradient(step, p->share.tensor, first, g, n);

    for (struct span slots = {0, at_once}; slots.first < n_slots;
         slots.first += at_once) {
        if (slots.n > n_slots - slots.first)
            slots.n = n_slots - slots.first;
        for (size_t at = 0; at < n; at += PANEL) {
            sum_parts(sum, parts + first + at, slots, pitch);
            for (size_t i = 0; i < PANEL; i++)
                g[at + i] = goes_on || slots.first > 0 ? g[at + i] + sum[i] : sum[i];
        }
    }
    step_give_gradient(step, p->share.tensor, first, g, n, p->share.add && !goes_on);
}

static void add_backward(struct lowering *l, const struct node *node,
                         struct depthwise_plan *p)
{
    size_t slots =
        (lower_max_batch(l) + p->examples_per_block - 1) / p->examples_per_block;
    int parts = lower_workspace(l, slots * p->x.channels * p->n_taps * sizeof(double));
    struct partition blocks = blocks_of(p);
    struct partition columns = {.n_columns = p->x.channels,
                                .columns_per_block = lower_columns_for(p->x.channels)};
    const int buffers[N_BACKWARD] = {p->is_delivered ? p->delivery.g : -1,
                                     p->gradient.g,
                                     p->gradient.z.buffer,
                                     p->gradient.norm,
                                     p->x.buffer,
                                     p->x.norm,
                                     lower_value(l, node->in[1]),
                                     p->is_delivered ? p->delivery.more : -1,
                                     p->is_delivered ? p->delivery.sums.buffer : -1,
                                     parts};

    lower_scratch(l, columns.columns_per_block * p->n_taps * sizeof(real));
    lower_planned_call(l, run_backward, &blocks, p, buffers, N_BACKWARD);
    if (p->is_delivered)
        lower_settle(l, &p->delivery);
    lower_planned_call(l, run_weight, &columns, p, (const int[]){parts}, 1);
}

void depthwise_lower_backward(struct lowering *l, const struct node *node,
                              const struct conv2d_shape *shape)
{
    struct depthwise_plan *p = new_plan(l, node, shape);

    if (!p)
        return;
    p->gradient = lower_output_gradient(l, node);
    p->out = p->gradient.z;
    if (node->n_in > 2)
        lower_bias_gradient(l, node->in[2], &p->gradient);
    p->is_delivered =
        lower_deliver(l, &p->delivery, node, 0, p->examples_per_block * p->x.rows);
    p->share = lower_parameter(l, node->in[1]);
    add_backward(l, node, p);
}
