/* Convolutions under a max pool, forward: the rows of outputs that one row of the
 * pool's windows sees, then the pool over them while they are in the nearest cache. A
 * block is an example. */
#include "engine/nn/op.h"
#include "engine/nn/pooled.h"

#include <string.h>

enum { Y, AT, X, NORM, W, B, N_BUFFERS };

/* Outputs of a row that the pool looks at. */
static size_t used_width(const struct pooled *p)
{
    size_t n = (p->pool.w_out - 1) * p->pool.stride_w + p->pool.k_w;

    return n < p->d->shape.w_out ? n : p->d->shape.w_out;
}

static size_t band_size(const struct pooled *p)
{
    return p->pool.k_h * used_width(p) * p->d->c_out;
}

/* One example at work. */
struct block {
    const struct pooled *p;
    const struct step *step;
    struct window_forward conv;
    real *image, *band; /* scratch */
    real *y;
    uint8_t *at;
};

static struct block begin(const struct call *call, const struct step *step,
                          size_t example, size_t worker)
{
    const struct pooled *p = call->plan;
    const struct dense *d = p->d;
    size_t at = example * p->n_places * d->c_out;
    struct block b = {.p = p, .step = step, .image = step_scratch(step, worker)};

    b.band = b.image + p->packed.size;
    b.y = (real *)step_buffer(step, call, Y) + at;
    b.at = (uint8_t *)step_buffer(step, call, AT) + at;
    b.conv = (struct window_forward){.window = &p->packed.window,
                                     .z_row = d->c_out,
                                     .x_row = p->packed.step_w,
                                     .w = step_buffer(step, call, W),
                                     .w_panel = d->k * PANEL,
                                     .bias = step_data(step, call->buffer[B]),
                                     .n = used_width(p),
                                     .n_panels = d->c_out / PANEL,
                                     .few = d->shape.c_out <= PANEL / 2};
    memset(b.band, 0, band_size(p) * sizeof(*b.band)); /* what is not written stays 0 */
    return b;
}

/* One row of windows. */
static void do_band(struct block *b, size_t row)
{
    static const struct reading as_it_is = {NULL, NULL, ACT_NONE};
    const struct pooled *p = b->p;
    size_t first = row * p->pool.stride_h, left = p->d->shape.h_out - first;
    size_t at = row * p->pool.w_out * p->d->c_out;
    struct pool2d_shape pool = p->pool;

    pool.h_in = left < pool.k_h ? left : pool.k_h;
    pool.w_in = b->conv.n;
    pool.h_out = 1;
    for (size_t i = 0; i < pool.h_in; i++) {
        b->conv.x = b->image + (first + i) * p->packed.step_h;
        b->conv.z = b->band + i * b->conv.n * b->conv.z_row;
        b->step->kernels->window_forward(&b->conv);
    }
    b->step->kernels->max_pool2d_forward(b->y + at, b->at + at, b->band, &as_it_is,
                                         b->conv.z_row, &pool);
}

static void run_forward(const struct call *call, const struct step *step, size_t block,
                        size_t worker)
{
    struct block b = begin(call, step, block, worker);

    packed_fill(b.image, &b.p->packed, step, step_buffer(step, call, X), block, 0);
    for (size_t row = 0; row < b.p->pool.h_out; row++)
        do_band(&b, row);
}

void pooled_lower_forward(struct lowering *l, const struct node *conv,
                          const struct node *pool)
{
    struct pooled *p = pooled_create(l, conv, pool);
    struct partition examples = {.rows_per_block = 1};
    const struct dense *d;
    int y;

    if (!p)
        return;
    d = p->d;
    y = lower_output_as(l, conv, &lower_source(l)->tensors[pool->out].shape).buffer;
    if (d->bias >= 0)
        lower_want_sums(l, conv);
    lower_scratch(l, (p->packed.size + band_size(p)) * sizeof(real));
    lower_planned_call(l, run_forward, &examples, p,
                       (const int[]){y, p->winners, d->x.buffer, d->x.norm,
                                     lower_value(l, d->w),
                                     d->bias >= 0 ? lower_value(l, d->bias) : -1},
                       N_BUFFERS);
}
