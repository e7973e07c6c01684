/* Depthwise convolution of small images: most of a window is padding there, so each
 * position goes through the taps that it meets, over all images. */
#include "engine/nn/depthwise_parts.h"

enum { MAX_POSITIONS = 16, MAX_TAPS = 25, AT_ONCE = 8 };

bool OF_CLASS(depthwise_is_small)(const struct conv2d_shape *s)
{
    return s->h_in * s->w_in <= MAX_POSITIONS && s->h_out * s->w_out <= MAX_POSITIONS &&
           s->k_h * s->k_w <= MAX_TAPS;
}

/* The taps that one position meets, and the positions that it meets there. */
struct meetings {
    size_t n;
    size_t tap[MAX_TAPS];
    size_t position[MAX_TAPS];
};

/* Of an output with inputs, tap by tap; false: the tap is outside. */
static bool input_of(size_t *in, const struct conv2d_shape *s, size_t out, size_t tap)
{
    size_t h = out / s->w_out * s->stride_h + tap / s->k_w * s->dilation_h;
    size_t w = out % s->w_out * s->stride_w + tap % s->k_w * s->dilation_w;

    if (h < s->pad_h || h - s->pad_h >= s->h_in || w < s->pad_w ||
        w - s->pad_w >= s->w_in)
        return false;
    *in = (h - s->pad_h) * s->w_in + w - s->pad_w;
    return true;
}

static void meet_inputs(struct meetings *m, const struct conv2d_shape *s, size_t out)
{
    m->n = 0;
    for (size_t t = 0; t < s->k_h * s->k_w; t++) {
        if (!input_of(&m->position[m->n], s, out, t))
            continue;
        m->tap[m->n++] = t;
    }
}

/* The same from the inputs' side, for all of them. */
static void meet_outputs(struct meetings m[MAX_POSITIONS], const struct conv2d_shape *s)
{
    size_t in;

    for (size_t i = 0; i < s->h_in * s->w_in; i++)
        m[i].n = 0;
    for (size_t t = 0; t < s->k_h * s->k_w; t++) {
        for (size_t o = 0; o < s->h_out * s->w_out; o++) {
            if (!input_of(&in, s, o, t))
                continue;
            m[in].tap[m[in].n] = t;
            m[in].position[m[in].n++] = o;
        }
    }
}

/* Images at once, so that n positions of each fit the scratch. */
static size_t images_at_once(size_t positions)
{
    return DEPTHWISE_SCRATCH / LANES / positions;
}

/* ---- Forward ------------------------------------------------------------- */

/* y of all positions, by position and image. */
ALWAYS_INLINE void read_images(const struct depthwise_forward *d, size_t c, size_t n,
                               enum way way)
{
    struct reader r = reader_of(&d->reading, c);
    size_t positions = d->shape->h_in * d->shape->w_in;
    const real *x = d->x + c;

    for (size_t e = 0; e < n; e++) {
        real *to = d->scratch + e * LANES;

        for (size_t i = 0; i < positions; i++, x += d->x_pitch, to += n * LANES)
            vec_store(to, value_of(vec_fma(vec_load(x), r.scale, r.shift), &r, way));
    }
}

/* One output of some of n images. */
ALWAYS_INLINE void forward_group(real *z, size_t step, const real *y, size_t n,
                                 const struct meetings *m, const real *w, vec bias,
                                 size_t group)
{
    vec acc[AT_ONCE];

#pragma GCC unroll 8
    for (size_t e = 0; e < group; e++)
        acc[e] = bias;
    for (size_t k = 0; k < m->n; k++) {
        const real *at = y + m->position[k] * n * LANES;
        vec of_tap = vec_load(w + m->tap[k] * PANEL);

#pragma GCC unroll 8
        for (size_t e = 0; e < group; e++)
            acc[e] = vec_fma(vec_load(at + e * LANES), of_tap, acc[e]);
    }
#pragma GCC unroll 8
    for (size_t e = 0; e < group; e++)
        vec_store(z + e * step, acc[e]);
}

static void forward_images(const struct depthwise_forward *d, size_t c, size_t n)
{
    const struct conv2d_shape *s = d->shape;
    size_t positions = s->h_out * s->w_out, step = positions * d->z_pitch, e;
    vec bias = d->bias ? vec_load(d->bias + c) : vec_zero();
    struct meetings m;

    switch (way_of(d->reading.act)) {
    case WAY_CLIP:
        read_images(d, c, n, WAY_CLIP);
        break;
    case WAY_HARDSWISH:
        read_images(d, c, n, WAY_HARDSWISH);
        break;
    default:
        read_images(d, c, n, WAY_ANY);
        break;
    }
    for (size_t o = 0; o < positions; o++) {
        real *z = d->z + o * d->z_pitch + c;

        meet_inputs(&m, s, o);
        for (e = 0; e + AT_ONCE <= n; e += AT_ONCE)
            forward_group(z + e * step, step, d->scratch + e * LANES, n, &m, d->w + c,
                          bias, AT_ONCE);
        for (; e < n; e++)
            forward_group(z + e * step, step, d->scratch + e * LANES, n, &m, d->w + c,
                          bias, 1);
    }
}

void OF_CLASS(depthwise_small_forward)(const struct depthwise_forward *d)
{
    const struct conv2d_shape *s = d->shape;
    size_t n_in = s->h_in * s->w_in, n_out = s->h_out * s->w_out;
    size_t at_once = images_at_once(n_in);
    struct depthwise_forward images = *d;

    for (size_t i = 0; i < d->n_images; i += at_once) {
        size_t n = d->n_images - i < at_once ? d->n_images - i : at_once;

        for (size_t c = 0; c < PANEL; c += LANES)
            forward_images(&images, c, n);
        images.z += n * n_out * d->z_pitch;
        images.x += n * n_in * d->x_pitch;
    }
}

/* ---- Backward ------------------------------------------------------------ */

/* What all positions of a vector of channels share. */
struct back {
    const struct depthwise_backward *d;
    struct reader reader;
    vec mean, sum, sum_z;
    vec dw[MAX_TAPS];
    size_t c, n; /* images */
};

/* dz of all positions, by position and image. */
static void read_gradient(const struct back *b)
{
    const struct depthwise_backward *d = b->d;
    size_t positions = d->shape->h_out * d->shape->w_out, c = b->c;
    struct norm_gradient n = d->norm;
    const real *g = d->g + c, *z = d->z + c;
    vec factor = n.factor ? vec_load(n.factor + c) : vec_splat(1);
    vec mean_g = n.factor ? vec_load(n.mean_g + c) : vec_zero();
    vec mean = n.factor ? vec_load(n.mean + c) : vec_zero();
    vec slope = n.factor ? vec_load(n.slope + c) : vec_zero();

    for (size_t e = 0; e < b->n; e++) {
        real *to = d->scratch + e * LANES;

        for (size_t i = 0; i < positions; i++, g += d->g_pitch, z += d->z_pitch) {
            vec v = vec_load(g);

            if (n.factor)
                v = (v - mean_g - (vec_load(z) - mean) * slope) * factor;
            vec_store(to, v);
            to += b->n * LANES;
        }
    }
}

/* The gradient of one position of an image goes on its way. */
ALWAYS_INLINE void pass_pixel(struct back *b, size_t pixel, vec g, vec x, vec v,
                              enum way way)
{
    const struct gradient_pass *p = &b->d->pass;

    if (p->more)
        g += vec_load(p->more + pixel * p->more_pitch + b->c);
    if (p->finish)
        g = gradient_of(g, v, &b->reader, way);
    b->sum += g;
    b->sum_z = vec_fma(g, x - b->mean, b->sum_z);
    vec_store(p->g + pixel * b->d->pass_pitch + b->c, g);
}

/* One position of some images, from image `first` on. */
ALWAYS_INLINE void backward_group(struct back *b, const struct meetings *m, size_t pixel,
                                  size_t first, size_t group, enum way way)
{
    const struct depthwise_backward *d = b->d;
    const struct reader reader = b->reader;
    size_t step = d->shape->h_in * d->shape->w_in;
    const real *x = d->x + (first * step + pixel) * d->x_pitch + b->c;
    const real *dz = d->scratch + first * LANES;
    vec y[AT_ONCE], acc[AT_ONCE];

#pragma GCC unroll 8
    for (size_t e = 0; e < group; e++) {
        vec v = vec_load(x + e * step * d->x_pitch);

        y[e] = value_of(vec_fma(v, reader.scale, reader.shift), &reader, way);
        acc[e] = vec_zero();
    }
    for (size_t k = 0; k < m->n; k++) {
        const real *at = dz + m->position[k] * b->n * LANES;
        vec w = vec_load(d->w + m->tap[k] * PANEL + b->c);
        vec dw[4] = {vec_zero(), vec_zero(), vec_zero(), vec_zero()};

#pragma GCC unroll 8
        for (size_t e = 0; e < group; e++) {
            vec g = vec_load(at + e * LANES);

            acc[e] = vec_fma(g, w, acc[e]);
            dw[e % 4] = vec_fma(g, y[e], dw[e % 4]);
        }
        b->dw[m->tap[k]] += dw[0] + dw[1] + (dw[2] + dw[3]);
    }
    if (!d->pass.g)
        return;
#pragma GCC unroll 8
    for (size_t e = 0; e < group; e++) {
        vec z = vec_load(x + e * step * d->x_pitch);

        pass_pixel(b, (first + e) * step + pixel, acc[e], z,
                   vec_fma(z, reader.scale, reader.shift), way);
    }
}

ALWAYS_INLINE void backward_positions(struct back *b,
                                      const struct meetings m[MAX_POSITIONS],
                                      enum way way)
{
    for (size_t i = 0; i < b->d->shape->h_in * b->d->shape->w_in; i++) {
        size_t e = 0;

        for (; e + AT_ONCE <= b->n; e += AT_ONCE)
            backward_group(b, &m[i], i, e, AT_ONCE, way);
        for (; e < b->n; e++)
            backward_group(b, &m[i], i, e, 1, way);
    }
}

static void flush(const struct back *b)
{
    const struct depthwise_backward *d = b->d;

    for (size_t t = 0; t < d->shape->k_h * d->shape->k_w; t++)
        vec_add_to_doubles(d->dw + t * PANEL + b->c, b->dw[t]);
    if (!d->pass.g || !d->pass.sums)
        return;
    vec_add_to_doubles(d->pass.sums + b->c, b->sum);
    if (d->pass.mean)
        vec_add_to_doubles(d->pass.sums + d->pass.sums_pitch + b->c, b->sum_z);
}

static void backward_images(const struct depthwise_backward *d, size_t c, size_t n,
                            const struct meetings m[MAX_POSITIONS])
{
    struct back b = {.d = d, .reader = reader_of(&d->reading, c), .c = c, .n = n};

    b.mean = d->pass.mean ? vec_load(d->pass.mean + c) : vec_zero();
    read_gradient(&b);
    switch (way_of(b.reader.act)) {
    case WAY_CLIP:
        backward_positions(&b, m, WAY_CLIP);
        break;
    case WAY_HARDSWISH:
        backward_positions(&b, m, FEW_VARIANTS ? WAY_ANY : WAY_HARDSWISH);
        break;
    default:
        backward_positions(&b, m, WAY_ANY);
        break;
    }
    flush(&b);
}

void OF_CLASS(depthwise_small_backward)(const struct depthwise_backward *d)
{
    const struct conv2d_shape *s = d->shape;
    size_t n_in = s->h_in * s->w_in, n_out = s->h_out * s->w_out;
    size_t at_once = images_at_once(n_out);
    struct depthwise_backward images = *d;
    struct meetings m[MAX_POSITIONS];

    meet_outputs(m, s);
    for (size_t i = 0; i < d->n_images; i += at_once) {
        size_t n = d->n_images - i < at_once ? d->n_images - i : at_once;

        for (size_t c = 0; c < PANEL; c += LANES)
            backward_images(&images, c, n, m);
        images.g += n * n_out * d->g_pitch;
        images.z += n * n_out * d->z_pitch;
        images.x += n * n_in * d->x_pitch;
        if (d->pass.g)
            images.pass.g += n * n_in * d->pass_pitch;
        if (d->pass.more)
            images.pass.more += n * n_in * d->pass.more_pitch;
    }
}
