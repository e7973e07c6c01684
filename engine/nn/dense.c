/* What the passes of dense layers share: the geometry, and gathering patches. */
#include "engine/nn/dense.h"

#include "engine/nn/dense_winograd.h"
#include "engine/nn/op.h"

#include <string.h>

enum { BLOCK_ELEMENTS = 49152, ROWS = 12, MIN_ROWS = 48, MAX_ROWS = 192, LINE = 16 };

size_t dense_rows(size_t per_row)
{
    size_t rows = BLOCK_ELEMENTS / per_row / ROWS * ROWS;

    if (rows < MIN_ROWS) /* weights are read again for every block */
        return MIN_ROWS;
    return rows < MAX_ROWS ? rows : MAX_ROWS;
}

size_t dense_pitch(size_t n)
{
    size_t lines = (n + LINE - 1) / LINE;

    return (lines | 1) * LINE;
}

/* ---- Geometry ------------------------------------------------------------ */

static const struct tap *forward_taps(struct lowering *l, const struct conv2d_shape *s)
{
    size_t n = s->k_h * s->k_w;
    struct tap *taps = lower_plan(l, n * sizeof(*taps));

    for (size_t t = 0; taps && t < n; t++) {
        taps[t].dy = (ptrdiff_t)(t / s->k_w * s->dilation_h) - (ptrdiff_t)s->pad_h;
        taps[t].dx = (ptrdiff_t)(t % s->k_w * s->dilation_w) - (ptrdiff_t)s->pad_w;
        taps[t].w = t;
    }
    return taps;
}

static bool is_pointwise(const struct conv2d_shape *s)
{
    return s->k_h == 1 && s->k_w == 1 && s->stride_h == 1 && s->stride_w == 1 &&
           s->pad_h == 0 && s->pad_w == 0;
}

/* On small images most taps of most positions are padding: leave them out, position
 * by position. */
static bool is_small(const struct conv2d_shape *s)
{
    enum { MAX_POSITIONS = 16 };

    return s->pad_h + s->pad_w > 0 && s->h_out * s->w_out <= MAX_POSITIONS &&
           s->h_in * s->w_in <= 4 * MAX_POSITIONS;
}

bool dense_is_tight(const struct conv2d_shape *s)
{
    return s->c_in < PANEL && s->k_h * s->k_w > 1 && !is_small(s);
}

static bool is_unread(const struct operand *x)
{
    return x->norm < 0 && x->act == ACT_NONE;
}

static void read_input(struct lowering *l, struct dense *d, const struct node *node)
{
    const struct graph *g = lower_source(l);

    d->planar = g->tensors[d->w].layout.planar;
    if (d->planar) {
        d->x = (struct operand){lower_value(l, g->input), -1, ACT_NONE, 0, 0};
        return;
    }
    d->x = lower_operand(l, node->in[0]);
    if (d->by_position || !lower_keeps_zero(d->x.act))
        d->x = lower_plain(l, node->in[0]);
}

struct dense *dense_create(struct lowering *l, const struct node *node,
                           const struct conv2d_shape *s)
{
    struct dense *d = lower_plan(l, sizeof(*d));

    if (!d)
        return NULL;
    d->shape = *s;
    d->w = node->in[1];
    d->bias = node->n_in > 2 ? node->in[2] : -1;
    d->k = layout_inputs(&lower_source(l)->tensors[d->w].layout);
    d->tight = lower_source(l)->tensors[d->w].layout.tight;
    d->n_k = d->tight ? s->c_in * s->k_h * s->k_w : d->k;
    d->c_in = padded(s->c_in);
    d->c_out = padded(s->c_out);
    d->pointwise = is_pointwise(s);
    d->winograd = !lower_source(l)->tensors[d->w].layout.planar && winograd_is_for(s);
    d->by_position =
        !d->winograd && !lower_source(l)->tensors[d->w].layout.planar && is_small(s);
    d->moments.buffer = -1;
    d->patches = (struct patches){s->h_in,           s->w_in,
                                  d->c_in,           d->tight ? s->c_in : d->c_in,
                                  s->h_out,          s->w_out,
                                  s->stride_h,       s->stride_w,
                                  s->k_h * s->k_w,   s->k_w,
                                  forward_taps(l, s)};
    read_input(l, d, node);
    if (d->planar)
        d->patches.channels = d->patches.per_tap = s->c_in;
    d->direct =
        d->pointwise && is_unread(&d->x) && (!d->planar || s->h_in * s->w_in == 1);
    return d->patches.taps ? d : NULL;
}

bool dense_source(const struct patches *p, size_t position, const struct tap *tap,
                  size_t *source)
{
    ptrdiff_t y = (ptrdiff_t)(position / p->w_dst * p->step_h) + tap->dy;
    ptrdiff_t x = (ptrdiff_t)(position % p->w_dst * p->step_w) + tap->dx;

    if (y < 0 || y >= (ptrdiff_t)p->h_src || x < 0 || x >= (ptrdiff_t)p->w_src)
        return false;
    *source = (size_t)y * p->w_src + (size_t)x;
    return true;
}

/* ---- Gathering ----------------------------------------------------------- */

/* Positions of one row of the grid that follow each other. */
struct run {
    size_t image, y, x, n;
};

static struct run run_at(const struct patches *p, size_t row, size_t end)
{
    size_t per_image = p->h_dst * p->w_dst;
    struct run r = {row / per_image, row % per_image / p->w_dst, row % p->w_dst, 0};

    r.n = p->w_dst - r.x;
    if (r.n > end - row)
        r.n = end - row;
    return r;
}

/* The part of a run whose source lies inside: positions [first, last). */
static struct span inside(const struct patches *p, const struct run *r, ptrdiff_t dx)
{
    struct span s = {0, 0};
    ptrdiff_t step = (ptrdiff_t)p->step_w, at = (ptrdiff_t)(r->x * p->step_w) + dx;
    ptrdiff_t end = (ptrdiff_t)p->w_src - at;
    size_t last;

    if (at < 0)
        s.first = (size_t)((-at + step - 1) / step);
    last = end > 0 ? (size_t)((end + step - 1) / step) : 0;
    if (last > r->n)
        last = r->n;
    if (s.first > last)
        s.first = last;
    s.n = last - s.first;
    return s;
}

static void zero_rows(real *to, size_t pitch, size_t n, size_t n_k)
{
    for (size_t i = 0; i < n; i++)
        memset(to + i * pitch, 0, n_k * sizeof(*to));
}

/* Some channels of one tap of a run. */
static void gather_run(real *to, size_t pitch, const struct source *from,
                       const struct run *r, const struct tap *tap, struct span channels)
{
    const struct patches *p = from->patches;
    ptrdiff_t y = (ptrdiff_t)(r->y * p->step_h) + tap->dy;
    struct span in = inside(p, r, tap->dx);
    struct rows rows = {in.n, channels.n, p->step_w * p->channels};
    struct reading here = from->reading;
    const real *src;
    ptrdiff_t x;

    if (y < 0 || y >= (ptrdiff_t)p->h_src || in.n == 0) {
        zero_rows(to, pitch, r->n, channels.n);
        return;
    }
    x = (ptrdiff_t)((r->x + in.first) * p->step_w) + tap->dx;
    src = from->src +
          ((r->image * p->h_src + (size_t)y) * p->w_src + (size_t)x) * p->channels +
          channels.first;
    if (here.scale) {
        here.scale += channels.first;
        here.shift += channels.first;
    }
    zero_rows(to, pitch, in.first, channels.n);
    from->kernels->read(to + in.first * pitch, pitch, src, &here, &rows);
    zero_rows(to + (in.first + in.n) * pitch, pitch, r->n - in.first - in.n, channels.n);
}

void dense_gather(real *to, size_t pitch, const struct source *source, struct span rows,
                  struct span k)
{
    const struct patches *p = source->patches;
    size_t end = rows.first + rows.n;

    for (size_t row = rows.first; row < end;) {
        struct run r = run_at(p, row, end);
        real *at = to + (row - rows.first) * pitch;

        for (size_t i = k.first; i < k.first + k.n;) {
            struct span channels = {i % p->per_tap, p->channels - i % p->per_tap};
            size_t n = p->per_tap - channels.first;

            if (n > k.first + k.n - i)
                channels.n = n = k.first + k.n - i;
            gather_run(at + (i - k.first), pitch, source, &r, &p->taps[i / p->per_tap],
                       channels);
            i += n;
        }
        row += r.n;
    }
}

/* One row of taps of one channel, for each position of a run. */
static void gather_tap_row(real *to, size_t pitch, const real *plane,
                           const struct patches *p, const struct run *r,
                           const struct tap *taps)
{
    ptrdiff_t y = (ptrdiff_t)(r->y * p->step_h) + taps[0].dy;
    size_t n_taps = p->taps_in_row;
    const real *row;

    if (y < 0 || y >= (ptrdiff_t)p->h_src) {
        zero_rows(to, pitch, r->n, n_taps);
        return;
    }
    row = plane + (size_t)y * p->w_src;
    for (size_t i = 0; i < r->n; i++, to += pitch) {
        for (size_t t = 0; t < n_taps; t++) {
            ptrdiff_t at = (ptrdiff_t)((r->x + i) * p->step_w) + taps[t].dx;

            to[t] = at >= 0 && at < (ptrdiff_t)p->w_src ? row[at] : 0;
        }
    }
}

void dense_gather_planar(real *to, size_t pitch, const struct source *source,
                         struct span rows)
{
    const struct patches *p = source->patches;
    size_t end = rows.first + rows.n, plane = p->h_src * p->w_src;

    for (size_t row = rows.first; row < end;) {
        struct run r = run_at(p, row, end);
        real *at = to + (row - rows.first) * pitch;
        const real *image = source->src + r.image * p->channels * plane;

        for (size_t c = 0; c < p->channels; c++) {
            for (size_t t = 0; t < p->n_taps; t += p->taps_in_row)
                gather_tap_row(at + c * p->n_taps + t, pitch, image + c * plane, p, &r,
                               &p->taps[t]);
        }
        row += r.n;
    }
}
