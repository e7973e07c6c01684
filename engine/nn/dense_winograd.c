/* Winograd's layers: which they are, and how images are cut into tiles. */
#include "engine/nn/dense_winograd.h"

#include <string.h>

enum { MIN_CHANNELS = 32, MIN_SIDE = 4 };

size_t winograd_of(const struct conv2d_shape *s)
{
    bool is_3x3 = s->k_h == 3 && s->k_w == 3 && s->stride_h == 1 && s->stride_w == 1 &&
                  s->dilation_h == 1 && s->dilation_w == 1 && s->groups == 1 &&
                  s->pad_h <= WINOGRAD_REACH && s->pad_w == s->pad_h;

    if (!is_3x3 || s->c_in < MIN_CHANNELS || s->c_out < MIN_CHANNELS)
        return 0;
    return s->h_out < MIN_SIDE || s->w_out < MIN_SIDE ? 0 : 2;
}

struct winograd_grid winograd_grid_of(const struct dense *d, bool is_backward)
{
    const struct conv2d_shape *s = &d->shape;
    size_t m = d->winograd, n = m + WINOGRAD_REACH;
    struct winograd_grid g = {m, n * n,   s->h_out, s->w_out, 0,
                              0, s->h_in, s->w_in,  s->pad_h};

    if (is_backward)
        g = (struct winograd_grid){m,        n * n,    s->h_in,
                                   s->w_in,  0,        0,
                                   s->h_out, s->w_out, WINOGRAD_REACH - s->pad_h};
    g.down = (g.h + m - 1) / m;
    g.across = (g.w + m - 1) / m;
    return g;
}

/* Tiles from `tile` on that lie in one line, at most n. */
static struct winograd_tiles line_of(const struct winograd_source *s, size_t tile,
                                     size_t n)
{
    const struct winograd_grid *g = &s->grid;
    size_t column = tile % g->across, left = g->across - column;

    return (struct winograd_tiles){.m = g->m,
                                   .n = n < left ? n : left,
                                   .top = (ptrdiff_t)(tile / g->across % g->down * g->m),
                                   .left = (ptrdiff_t)(column * g->m),
                                   .pitch = s->pitch,
                                   .xi_pitch = s->xi_pitch,
                                   .tile_pitch = s->tile_pitch,
                                   .channels = s->channels.n};
}

void winograd_read_tiles(real *v, const struct winograd_source *s, struct span tiles)
{
    const struct winograd_grid *g = &s->grid;
    struct reading reading = s->reading;
    struct winograd_tiles line;

    if (reading.scale) {
        reading.scale += s->channels.first;
        reading.shift += s->channels.first;
    }
    for (size_t i = 0; i < tiles.n; i += line.n) {
        size_t image = (tiles.first + i) / (g->across * g->down);

        line = line_of(s, tiles.first + i, tiles.n - i);
        line.top -= (ptrdiff_t)g->pad;
        line.left -= (ptrdiff_t)g->pad;
        line.h = g->h_from;
        line.w = g->w_from;
        s->kernels->winograd_read(v + i * s->tile_pitch,
                                  s->x + image * g->h_from * g->w_from * s->pitch +
                                      s->channels.first,
                                  &reading, &line);
    }
}

void winograd_read_tile_gradients(real *v, const struct winograd_source *s,
                                  struct span tiles)
{
    const struct winograd_grid *g = &s->grid;
    struct winograd_tiles line;

    for (size_t i = 0; i < tiles.n; i += line.n) {
        size_t image = (tiles.first + i) / (g->across * g->down);

        line = line_of(s, tiles.first + i, tiles.n - i);
        line.h = g->h;
        line.w = g->w;
        s->kernels->winograd_read_gradient(v + i * s->tile_pitch,
                                           s->x + image * g->h * g->w * s->pitch +
                                               s->channels.first,
                                           &line);
    }
}
