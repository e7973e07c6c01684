/* Winograd's layers: which they are, and how images are cut into tiles. */
#include "engine/nn/dense_winograd.h"

#include <string.h>

enum { MIN_CHANNELS = 16, MIN_SIDE = 4 };

bool winograd_is_for(const struct conv2d_shape *s)
{
    bool is_3x3 = s->k_h == 3 && s->k_w == 3 && s->stride_h == 1 && s->stride_w == 1 &&
                  s->dilation_h == 1 && s->dilation_w == 1 && s->groups == 1 &&
                  s->pad_h <= WINOGRAD_REACH && s->pad_w == s->pad_h;

    return is_3x3 && s->c_in >= MIN_CHANNELS && s->c_out >= MIN_CHANNELS &&
           s->h_out >= MIN_SIDE && s->w_out >= MIN_SIDE;
}

static size_t n_tiles(size_t m, size_t h, size_t w)
{
    return (h + m - 1) / m * ((w + m - 1) / m);
}

/* m = 4 multiplies less, but errs more. Forward, errors reach the loss and the signs that
 * later layers see, so m is 2, which is as exact as a direct sum. A single tile an image
 * is too little for the larger transform of the weights. */
static size_t m_of(enum winograd_pass pass, size_t h, size_t w)
{
    size_t small = n_tiles(2, h, w), large = n_tiles(4, h, w);

    return pass != WINOGRAD_FORWARD && large > 1 && 36 * large < 16 * small ? 4 : 2;
}

struct winograd_grid winograd_grid_of(const struct dense *d, enum winograd_pass pass)
{
    const struct conv2d_shape *s = &d->shape;
    bool is_input = pass == WINOGRAD_INPUT;
    size_t m = is_input ? m_of(pass, s->h_in, s->w_in) : m_of(pass, s->h_out, s->w_out);
    size_t n = m + WINOGRAD_REACH;
    struct winograd_grid g = {m, n * n,   s->h_out, s->w_out, 0,
                              0, s->h_in, s->w_in,  s->pad_h};

    if (is_input)
        g = (struct winograd_grid){m,        n * n,    s->h_in,
                                   s->w_in,  0,        0,
                                   s->h_out, s->w_out, WINOGRAD_REACH - s->pad_h};
    g.down = (g.h + m - 1) / m;
    g.across = (g.w + m - 1) / m;
    return g;
}

size_t winograd_strip_elements(const struct winograd_grid *g, size_t channels)
{
    return (g->m + WINOGRAD_REACH) * (g->across * g->m + WINOGRAD_REACH) * channels;
}

/* A line of so many positions from row y of the image, of which the first is column
 * -pad: 0 outside. */
static void read_line(real *to, const struct winograd_source *s, const real *image,
                      ptrdiff_t y, size_t pad, size_t positions)
{
    const struct winograd_grid *g = &s->grid;
    size_t h = s->is_gradient ? g->h : g->h_from, w = s->is_gradient ? g->w : g->w_from;
    size_t inside = w < positions - pad ? w : positions - pad, after = pad + inside;
    size_t n = s->channels.n;
    struct rows rows = {inside, n, s->pitch};
    struct reading reading = s->reading;

    if (y < 0 || y >= (ptrdiff_t)h) {
        memset(to, 0, positions * n * sizeof(*to));
        return;
    }
    if (reading.scale) {
        reading.scale += s->channels.first;
        reading.shift += s->channels.first;
    }
    memset(to, 0, pad * n * sizeof(*to));
    s->kernels->read(to + pad * n, n, image + (size_t)y * w * s->pitch, &reading, &rows);
    memset(to + after * n, 0, (positions - after) * n * sizeof(*to));
}

/* Strip `strip`, as it is read and with 0 around it, where tile 0 begins: in `memory`,
 * or where it is. *t receives line and pitch. */
static const real *strip_at(real *memory, struct winograd_tiles *t,
                            const struct winograd_source *s, size_t strip)
{
    const struct winograd_grid *g = &s->grid;
    size_t image = strip / g->down, y = strip % g->down * g->m;
    size_t reach = s->is_gradient ? 0 : WINOGRAD_REACH, pad = s->is_gradient ? 0 : g->pad;
    size_t positions = g->across * g->m + reach;
    size_t per_image = s->is_gradient ? g->h * g->w : g->h_from * g->w_from;
    const real *x = s->x + image * per_image * s->pitch + s->channels.first;

    if (s->is_gradient && g->h % g->m == 0 && g->w % g->m == 0) {
        t->line = g->w * s->pitch;
        t->pitch = s->pitch;
        return x + y * t->line;
    }
    t->line = positions * s->channels.n;
    t->pitch = s->channels.n;
    for (size_t r = 0; r < g->m + reach; r++)
        read_line(memory + r * t->line, s, x, (ptrdiff_t)(y + r) - (ptrdiff_t)pad, pad,
                  positions);
    return memory;
}

void winograd_read_strips(real *v, size_t xi_pitch, size_t tile_pitch, real *memory,
                          const struct winograd_source *s, struct span strips)
{
    const struct winograd_grid *g = &s->grid;
    struct winograd_tiles t = {.m = g->m,
                               .n = g->across,
                               .xi_pitch = xi_pitch,
                               .tile_pitch = tile_pitch,
                               .channels = s->channels.n};

    for (size_t i = 0; i < strips.n; i++) {
        const real *x = strip_at(memory, &t, s, strips.first + i);
        real *to = v + i * g->across * tile_pitch;

        if (s->is_gradient)
            s->kernels->winograd_read_gradient(to, x, &t);
        else
            s->kernels->winograd_read(to, x, &t);
    }
}
