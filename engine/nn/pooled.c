/* What both passes of convolutions under a max pool share. */
#include "engine/nn/pooled.h"

#include "engine/nn/op.h"

/* Larger layers are better off as products of blocks. */
enum { MIN_POSITIONS = 17, MAX_WEIGHTS = 65536, MAX_TAPS = 64, MAX_OUTPUTS = 4096 };

/* ---- Which they are ------------------------------------------------------ */

static bool is_dense(const struct conv2d_shape *s)
{
    return packed_can_be(s) && s->k_h * s->k_w > 1 &&
           s->h_out * s->w_out >= MIN_POSITIONS && s->c_out <= MAX_OUTPUTS &&
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

/* Outputs of the convolution, step_h and step_w of them apart, `w` of them a row. */
static uint32_t *grid_of(struct lowering *l, const struct pooled *p, size_t n, size_t w,
                         size_t step_h, size_t step_w)
{
    uint32_t *at = lower_plan(l, n * sizeof(*at));

    for (size_t i = 0; at && i < n; i++)
        at[i] = (uint32_t)(i / w * step_h * p->packed.step_h +
                           i % w * step_w * p->packed.step_w);
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
    p->packed = packed_of(p->d, s->h_out);
    p->n_places = p->pool.h_out * p->pool.w_out;
    p->n_taps = p->pool.k_h * p->pool.k_w;
    p->place =
        grid_of(l, p, p->n_places, p->pool.w_out, p->pool.stride_h, p->pool.stride_w);
    p->tap = grid_of(l, p, p->n_taps, p->pool.k_w, 1, 1);
    p->winners = lower_saved(l, conv, lower_max_batch(l) * p->n_places * p->d->c_out);
    return p->place && p->tap ? p : NULL;
}
