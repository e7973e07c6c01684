/* Packing inputs for windows. */
#include "engine/nn/packed.h"

#include <string.h>

enum { MAX_POSITIONS = 192 };

bool packed_can_be(const struct conv2d_shape *s)
{
    return s->groups == 1 && s->dilation_h == 1 && s->dilation_w == 1;
}

size_t packed_rows(const struct dense *d)
{
    const struct conv2d_shape *s = &d->shape;
    size_t n = s->h_out;

    if (d->direct || (!d->planar && !d->tight) || !packed_can_be(s))
        return 0;
    while (n > 1 && (s->h_out % n > 0 || n * s->w_out > MAX_POSITIONS))
        n--;
    return n;
}

struct packed packed_of(const struct dense *d, size_t n_rows)
{
    const struct conv2d_shape *s = &d->shape;
    struct packed p = {.d = d,
                       .width = (s->w_out - 1) * s->stride_w + s->k_w,
                       .height = (n_rows - 1) * s->stride_h + s->k_h,
                       .channels = d->planar ? 1 : d->patches.per_tap,
                       .n_planes = d->planar ? s->c_in : 1};
    size_t of_row = p.width * p.channels, n_k = s->k_w * p.channels;

    p.size = padded(p.n_planes * p.height * of_row) + (size_t)2 * PANEL;
    p.step_h = s->stride_h * of_row;
    p.step_w = s->stride_w * p.channels;
    p.window = (struct conv_window){.n_planes = p.n_planes,
                                    .plane = p.height * of_row,
                                    .n_rows = s->k_h,
                                    .row = of_row,
                                    .n_k = n_k,
                                    .pitch = (n_k + WINDOW_STEP - 1) / WINDOW_STEP *
                                             WINDOW_STEP};
    return p;
}

struct span packed_inside(const struct packed *p)
{
    const struct conv2d_shape *s = &p->d->shape;
    size_t left = s->pad_w < p->width ? s->pad_w : p->width, n = p->width - left;

    return (struct span){left, n < s->w_in ? n : s->w_in};
}

/* One row of positions: first the padding before it, then what is of the image. A
 * panel that is written past a position's channels is written over by the next one. */
static void pack_row(real *to, const struct packed *p, const struct kernels *kernels,
                     const real *row, const struct reading *reading)
{
    struct span in = packed_inside(p);
    struct rows rows = {in.n, p->d->c_in, p->d->c_in};
    size_t end = in.first + in.n;

    memset(to, 0, in.first * p->channels * sizeof(*to));
    if (p->d->planar)
        memcpy(to + in.first, row, in.n * sizeof(*to));
    else
        kernels->read(to + in.first * p->channels, p->channels, row, reading, &rows);
    memset(to + end * p->channels, 0, (p->width - end) * p->channels * sizeof(*to));
}

void packed_fill(real *to, const struct packed *p, const struct step *step, const real *x,
                 size_t example, size_t row)
{
    const struct conv2d_shape *s = &p->d->shape;
    struct reading reading = {NULL, NULL, ACT_NONE};
    size_t of_row = s->w_in * (p->d->planar ? 1 : p->d->c_in);
    const real *plane = x + example * p->n_planes * s->h_in * of_row;
    real *end = to + p->size;

    if (!p->d->planar)
        reading = reading_of(step, &p->d->x);
    for (size_t i = 0; i < p->n_planes; i++, plane += s->h_in * of_row) {
        for (size_t y = row * s->stride_h, last = y + p->height; y < last; y++) {
            if (y < s->pad_h || y - s->pad_h >= s->h_in)
                memset(to, 0, p->width * p->channels * sizeof(*to));
            else
                pack_row(to, p, step->kernels, plane + (y - s->pad_h) * of_row, &reading);
            to += p->width * p->channels;
        }
    }
    memset(to, 0, (size_t)(end - to) * sizeof(*to));
}
