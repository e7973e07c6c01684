/* What both passes of convolutions under a max pool share. */
#include "engine/nn/pooled.h"

#include "engine/nn/op.h"

#include <string.h>

/* Larger layers are better off as products of blocks. */
enum { MIN_POSITIONS = 17, MAX_WEIGHTS = 65536, MAX_TAPS = 64, MAX_OUTPUTS = 4096 };

/* ---- Which they are ------------------------------------------------------ */

static bool is_dense(const struct conv2d_shape *s)
{
    return s->groups == 1 && s->dilation_h == 1 && s->dilation_w == 1 &&
           s->k_h * s->k_w > 1 && s->h_out * s->w_out >= MIN_POSITIONS &&
           s->c_out <= MAX_OUTPUTS &&
           padded(s->c_in) * s->k_h * s->k_w * s->c_out <= MAX_WEIGHTS;
}

/* Each position is in one window at most. */
static bool is_apart(const struct pool2d_shape *s)
{
    return s->k_h <= s->stride_h && s->k_w <= s->stride_w && s->pad_h == 0 &&
           s->pad_w == 0 && s->k_h * s->k_w <= MAX_TAPS;
}

static bool keeps_order(enum activation act)
{
    return act == ACT_RELU || act == ACT_RELU6;
}

const struct node *pooled_by(const struct lowering *l, const struct node *conv)
{
    const struct node *next;

    if (conv->kind != OP_CONV2D || !is_dense(&conv->params.conv2d))
        return NULL;
    next = lower_only_reader(l, conv->out);
    if (next && next->kind == OP_ACTIVATION && keeps_order(next->params.activation.kind))
        next = lower_only_reader(l, next->out);
    if (!next || next->kind != OP_MAX_POOL2D || !is_apart(&next->params.pool2d))
        return NULL;
    return next;
}

static const struct node *producer_of(const struct lowering *l, const struct node *node)
{
    const struct graph *g = lower_source(l);
    int producer = g->tensors[node->in[0]].producer;

    return producer < 0 ? NULL : &g->nodes[producer];
}

bool pooled_is_done(const struct lowering *l, const struct node *pool)
{
    const struct node *conv = producer_of(l, pool);

    if (conv && conv->kind == OP_ACTIVATION)
        conv = producer_of(l, conv);
    return conv && pooled_by(l, conv) == pool;
}

/* ---- Geometry ------------------------------------------------------------ */

static struct conv_window window_of(const struct pooled *p)
{
    const struct conv2d_shape *s = &p->d->shape;
    size_t n_k = s->k_w * p->channels;

    return (struct conv_window){.n_planes = p->n_planes,
                                .plane = p->height * p->width * p->channels,
                                .n_rows = s->k_h,
                                .row = p->width * p->channels,
                                .n_k = n_k,
                                .pitch =
                                    (n_k + WINDOW_STEP - 1) / WINDOW_STEP * WINDOW_STEP};
}

/* Outputs of the convolution, step_h and step_w of them apart, `w` of them a row. */
static uint32_t *grid_of(struct lowering *l, const struct pooled *p, size_t n, size_t w,
                         size_t step_h, size_t step_w)
{
    const struct conv2d_shape *s = &p->d->shape;
    uint32_t *at = lower_plan(l, n * sizeof(*at));

    for (size_t i = 0; at && i < n; i++)
        at[i] = (uint32_t)((i / w * step_h * s->stride_h * p->width +
                            i % w * step_w * s->stride_w) *
                           p->channels);
    return at;
}

struct pooled *pooled_create(struct lowering *l, const struct node *conv,
                             const struct node *pool)
{
    const struct conv2d_shape *s = &conv->params.conv2d;
    struct pooled *p = lower_plan(l, sizeof(*p));

    if (!p)
        return NULL;
    p->d = dense_create(l, conv, s);
    if (!p->d)
        return NULL;
    p->pool = pool->params.pool2d;
    p->height = (s->h_out - 1) * s->stride_h + s->k_h;
    p->width = (s->w_out - 1) * s->stride_w + s->k_w;
    p->n_planes = p->d->planar ? s->c_in : 1;
    p->channels = p->d->planar ? 1 : p->d->patches.per_tap;
    p->n_places = p->pool.h_out * p->pool.w_out;
    p->n_taps = p->pool.k_h * p->pool.k_w;
    p->window = window_of(p);
    p->size =
        padded(p->n_planes * p->height * p->width * p->channels) + (size_t)2 * PANEL;
    p->place =
        grid_of(l, p, p->n_places, p->pool.w_out, p->pool.stride_h, p->pool.stride_w);
    p->tap = grid_of(l, p, p->n_taps, p->pool.k_w, 1, 1);
    p->winners = lower_saved(l, conv, lower_max_batch(l) * p->n_places * p->d->c_out);
    return p->place && p->tap ? p : NULL;
}

/* ---- Packing ------------------------------------------------------------- */

/* One row of positions: first the padding before it, then what is of the image. A
 * panel that is written past a position's channels is written over by the next one. */
static void pack_row(real *to, const struct pooled *p, const struct kernels *kernels,
                     const real *row, const struct reading *reading)
{
    const struct conv2d_shape *s = &p->d->shape;
    size_t left = s->pad_w < p->width ? s->pad_w : p->width;
    size_t n = p->width - left < s->w_in ? p->width - left : s->w_in;
    struct rows rows = {n, p->d->c_in, p->d->c_in};

    memset(to, 0, left * p->channels * sizeof(*to));
    if (p->d->planar)
        memcpy(to + left, row, n * sizeof(*to));
    else
        kernels->read(to + left * p->channels, p->channels, row, reading, &rows);
    memset(to + (left + n) * p->channels, 0,
           (p->width - left - n) * p->channels * sizeof(*to));
}

void pooled_pack(real *to, const struct pooled *p, const struct step *step, const real *x,
                 size_t example)
{
    const struct conv2d_shape *s = &p->d->shape;
    struct reading reading = {NULL, NULL, ACT_NONE};
    size_t of_row = s->w_in * (p->d->planar ? 1 : p->d->c_in);
    const real *plane = x + example * p->n_planes * s->h_in * of_row;
    real *end = to + p->size;

    if (!p->d->planar)
        reading = reading_of(step, &p->d->x);
    for (size_t i = 0; i < p->n_planes; i++, plane += s->h_in * of_row) {
        for (size_t y = 0; y < p->height; y++, to += p->width * p->channels) {
            if (y < s->pad_h || y - s->pad_h >= s->h_in)
                memset(to, 0, p->width * p->channels * sizeof(*to));
            else
                pack_row(to, p, step->kernels, plane + (y - s->pad_h) * of_row, &reading);
        }
    }
    memset(to, 0, (size_t)(end - to) * sizeof(*to));
}
