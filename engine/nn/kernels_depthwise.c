/* Depthwise convolution, PANEL channels of one image at a time, vectors over
 * channels. The side that is shifted (the input forward, the gradient backward) is
 * first read into a padded band of rows, so that the loops over taps have no edges.
 * Sizes that common models use are compiled with constant loops. */
#include "engine/nn/depthwise_parts.h"

#include <string.h>

enum { BAND_ELEMENTS = DEPTHWISE_SCRATCH, MAX_TAPS_IN_REGISTERS = 25 };

/* Rows and columns of the padded band.
 *
 * before_h, before_w  zeros above the first row and left of the first column
 * height, width       of the whole padded image; a band is some rows of it */
struct padding {
    size_t before_h, before_w;
    size_t height, width;
};

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static struct padding forward_padding(const struct conv2d_shape *s)
{
    struct padding p = {s->pad_h, s->pad_w, 0, 0};

    p.height = larger((s->h_out - 1) * s->stride_h + (s->k_h - 1) * s->dilation_h + 1,
                      s->pad_h + s->h_in);
    p.width = larger((s->w_out - 1) * s->stride_w + (s->k_w - 1) * s->dilation_w + 1,
                     s->pad_w + s->w_in);
    return p;
}

/* Zeros before the first output of an axis such that every input has an output for
 * every tap: output (i + pad - tap dilation) / stride. */
static size_t outputs_before(size_t kernel, size_t dilation, size_t pad, size_t stride)
{
    size_t reach = (kernel - 1) * dilation;

    return reach > pad ? (reach - pad + stride - 1) / stride : 0;
}

static struct padding backward_padding(const struct conv2d_shape *s)
{
    struct padding p;

    p.before_h = outputs_before(s->k_h, s->dilation_h, s->pad_h, s->stride_h);
    p.before_w = outputs_before(s->k_w, s->dilation_w, s->pad_w, s->stride_w);
    p.height = p.before_h + larger(s->h_out, (s->h_in - 1 + s->pad_h) / s->stride_h + 1);
    p.width = p.before_w + larger(s->w_out, (s->w_in - 1 + s->pad_w) / s->stride_w + 1);
    return p;
}

/* Rows of outputs (forward) or inputs (backward) of one band; `need` is the rows of
 * the padded image for one of them, `each` for one more. */
static size_t rows_of_band(const struct padding *p, size_t need, double each)
{
    size_t fit = BAND_ELEMENTS / (p->width * LANES);
    size_t n = fit > need ? 1 + (size_t)((double)(fit - need) / each) : 1;

    return n;
}

static size_t forward_band(const struct conv2d_shape *s, const struct padding *p)
{
    return rows_of_band(p, (s->k_h - 1) * s->dilation_h + 1, (double)s->stride_h);
}

static size_t forward_rows(const struct conv2d_shape *s, size_t n)
{
    return (n - 1) * s->stride_h + (s->k_h - 1) * s->dilation_h + 1;
}

/* Padded rows of outputs that n rows of inputs meet, at most. */
static size_t backward_rows(const struct conv2d_shape *s, size_t n)
{
    return (n - 1 + (s->k_h - 1) * s->dilation_h) / s->stride_h + 2;
}

static size_t backward_band(const struct conv2d_shape *s, const struct padding *p)
{
    return rows_of_band(p, backward_rows(s, 1), 1.0 / (double)s->stride_h);
}

static size_t depthwise_scratch(const struct conv2d_shape *s)
{
    struct padding f = forward_padding(s), b = backward_padding(s);
    size_t forward = forward_rows(s, forward_band(s, &f)) * f.width;
    size_t backward = backward_rows(s, backward_band(s, &b)) * b.width;

    return larger(larger(forward, backward) * LANES, BAND_ELEMENTS);
}

/* Mostly one or two: a call would take longer. */
ALWAYS_INLINE void zero_vecs(real *to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        vec_store(to + i * LANES, vec_zero());
}

/* Input pixels from `first` on. */
ALWAYS_INLINE void read_row(real *to, const struct depthwise_forward *d, size_t first,
                            size_t c, const struct reader *reader, enum way way)
{
    size_t pitch = d->x_pitch, n = d->shape->w_in, fetch = d->ahead.pitch;
    const real *x = d->x + first * pitch + c, *next = d->x + d->ahead.in + first * fetch;

    for (size_t i = 0; i < n; i++) {
        vec v = vec_fma(vec_load(x + i * pitch), reader->scale, reader->shift);

        __builtin_prefetch(next + i * fetch);
        vec_store(to + i * LANES, value_of(v, reader, way));
    }
}

/* One padded row of the input, or zeros. */
static void pad_input_row(real *to, const struct depthwise_forward *d, size_t c,
                          const struct padding *p, size_t row)
{
    const struct conv2d_shape *s = d->shape;
    struct reader reader = reader_of(&d->reading, c);
    size_t after = p->before_w + s->w_in, first = (row - p->before_h) * s->w_in;

    if (row < p->before_h || row >= p->before_h + s->h_in) {
        zero_vecs(to, p->width);
        return;
    }
    zero_vecs(to, p->before_w);
    zero_vecs(to + after * LANES, p->width - after);
    to += p->before_w * LANES;
    switch (way_of(reader.act)) {
    case WAY_CLIP:
        read_row(to, d, first, c, &reader, WAY_CLIP);
        break;
    case WAY_HARDSWISH:
        read_row(to, d, first, c, &reader, WAY_HARDSWISH);
        break;
    default:
        read_row(to, d, first, c, &reader, WAY_ANY);
        break;
    }
}

/* The geometry as the inner loops want it: constants where they are known. */
struct taps {
    size_t k, stride;
};

/* Outputs of a row, steps apart. */
struct line {
    size_t n;
    size_t z_step, in_step;
    const real *ahead; /* of the first */
    size_t ahead_step;
};

/* Some outputs at a time: their products do not wait for each other. */
enum { N_AT_ONCE = 4 };

ALWAYS_INLINE void forward_pixels(real *z, const real *in, size_t in_row, const vec *w,
                                  vec bias, size_t n, const struct line *line,
                                  const real *ahead, struct taps t)
{
    vec acc[N_AT_ONCE];

#pragma GCC unroll 4
    for (size_t i = 0; i < n; i++)
        acc[i] = bias;
#pragma GCC unroll 5
    for (size_t kh = 0; kh < t.k; kh++) {
#pragma GCC unroll 5
        for (size_t kw = 0; kw < t.k; kw++) {
            const real *at = in + kh * in_row + kw * LANES;

#pragma GCC unroll 4
            for (size_t i = 0; i < n; i++)
                acc[i] =
                    vec_fma(vec_load(at + i * line->in_step), w[kh * t.k + kw], acc[i]);
        }
    }
#pragma GCC unroll 4
    for (size_t i = 0; i < n; i++) {
        vec_store(z + i * line->z_step, acc[i]);
        __builtin_prefetch(ahead + i * line->ahead_step, 1);
    }
}

ALWAYS_INLINE void forward_line(real *z, const real *in, size_t in_row, const vec *w,
                                vec bias, const struct line *line, struct taps t)
{
    size_t i = 0;

    for (; i + N_AT_ONCE <= line->n; i += N_AT_ONCE)
        forward_pixels(z + i * line->z_step, in + i * line->in_step, in_row, w, bias,
                       N_AT_ONCE, line, line->ahead + i * line->ahead_step, t);
    for (; i < line->n; i++)
        forward_pixels(z + i * line->z_step, in + i * line->in_step, in_row, w, bias, 1,
                       line, line->ahead + i * line->ahead_step, t);
}

/* Any geometry. */
static void forward_row_any(real *z, const struct depthwise_forward *d, const real *in,
                            size_t in_row, size_t c, vec bias)
{
    const struct conv2d_shape *s = d->shape;

    for (size_t ox = 0; ox < s->w_out; ox++) {
        vec acc = bias;

        for (size_t tap = 0; tap < s->k_h * s->k_w; tap++) {
            size_t column = ox * s->stride_w + tap % s->k_w * s->dilation_w;
            const real *at = in + tap / s->k_w * s->dilation_h * in_row + column * LANES;

            acc = vec_fma(vec_load(at), vec_load(d->w + tap * PANEL + c), acc);
        }
        vec_store(z + ox * d->z_pitch, acc);
    }
}

/* The kernel size of a geometry that has code of its own, 10 times, plus the stride;
 * 0: none. */
static int common_geometry(const struct conv2d_shape *s)
{
    bool plain = s->k_h == s->k_w && s->stride_h == s->stride_w && s->dilation_h == 1 &&
                 s->dilation_w == 1;

    if (!plain || (s->k_h != 3 && s->k_h != 5) || s->stride_h > 2)
        return 0;
    if (FEW_VARIANTS && s->k_h == 5)
        return 0;
    return (int)(10 * s->k_h + s->stride_h);
}

/* What the images of a vector of channels share. */
struct ahead_pass {
    const struct depthwise_forward *d;
    struct padding padding;
    size_t c, in_row;
    vec bias;
    vec w[MAX_TAPS_IN_REGISTERS];
};

static void run_line(const struct ahead_pass *f, real *z, const real *in,
                     const struct line *line)
{
    switch (common_geometry(f->d->shape)) {
    case 31:
        forward_line(z, in, f->in_row, f->w, f->bias, line, (struct taps){3, 1});
        break;
    case 32:
        forward_line(z, in, f->in_row, f->w, f->bias, line, (struct taps){3, 2});
        break;
#if !FEW_VARIANTS
    case 51:
        forward_line(z, in, f->in_row, f->w, f->bias, line, (struct taps){5, 1});
        break;
    case 52:
        forward_line(z, in, f->in_row, f->w, f->bias, line, (struct taps){5, 2});
        break;
#endif
    default:
        forward_row_any(z, f->d, in, f->in_row, f->c, f->bias);
        break;
    }
}

/* One image, band by band, row by row. */
static void forward_image(const struct ahead_pass *f, const struct depthwise_forward *d)
{
    const struct conv2d_shape *s = d->shape;
    size_t band = forward_band(s, &f->padding);
    size_t end = d->n_rows > 0 ? d->first_row + d->n_rows : s->h_out;
    struct line row = {s->w_out, d->z_pitch, s->stride_w * LANES, NULL, d->ahead.pitch};

    for (size_t first = d->first_row; first < end; first += band) {
        size_t n = end - first < band ? end - first : band;

        for (size_t r = 0; r < forward_rows(s, n); r++)
            pad_input_row(d->scratch + r * f->in_row, d, f->c, &f->padding,
                          first * s->stride_h + r);
        for (size_t oy = 0; oy < n; oy++) {
            size_t pixel = (first + oy) * s->w_out;

            row.ahead = d->z + d->ahead.out + pixel * row.ahead_step;
            run_line(f, d->z + pixel * d->z_pitch + f->c,
                     d->scratch + oy * s->stride_h * f->in_row, &row);
        }
    }
}

static void forward_channels(const struct depthwise_forward *d, size_t c)
{
    const struct conv2d_shape *s = d->shape;
    struct ahead_pass f = {.d = d, .padding = forward_padding(s), .c = c};
    size_t n_taps = s->k_h * s->k_w;
    struct depthwise_forward image = *d;

    f.in_row = f.padding.width * LANES;
    f.bias = d->bias ? vec_load(d->bias + c) : vec_zero();
    for (size_t t = 0; t < n_taps && t < MAX_TAPS_IN_REGISTERS; t++)
        f.w[t] = vec_load(d->w + t * PANEL + c);
    for (size_t i = 0; i < d->n_images; i++) {
        forward_image(&f, &image);
        image.z += s->h_out * s->w_out * d->z_pitch;
        image.x += s->h_in * s->w_in * d->x_pitch;
    }
}

static void depthwise_forward(const struct depthwise_forward *d)
{
    bool is_whole = d->n_rows == 0 || d->n_rows == d->shape->h_out;

    if (is_whole && OF_CLASS(depthwise_is_small)(d->shape)) {
        OF_CLASS(depthwise_small_forward)(d);
        return;
    }
    for (size_t c = 0; c < PANEL; c += LANES)
        forward_channels(d, c);
}

/* ---- Backward ------------------------------------------------------------ */

/* One padded row of dz, or zeros. */
static void pad_gradient_row(real *to, const struct depthwise_backward *d, size_t c,
                             const struct padding *p, size_t row)
{
    const struct conv2d_shape *s = d->shape;
    const struct norm_gradient *n = &d->norm;
    size_t first = (row - p->before_h) * s->w_out, after = p->before_w + s->w_out;
    vec factor = n->factor ? vec_load(n->factor + c) : vec_splat(1);
    vec mean_g = n->factor ? vec_load(n->mean_g + c) : vec_zero();
    vec mean = n->factor ? vec_load(n->mean + c) : vec_zero();
    vec slope = n->factor ? vec_load(n->slope + c) : vec_zero();

    if (row < p->before_h || row >= p->before_h + s->h_out) {
        zero_vecs(to, p->width);
        return;
    }
    zero_vecs(to, p->before_w);
    for (size_t i = 0; i < s->w_out; i++) {
        const real *g_i = d->g + (first + i) * d->g_pitch + c;
        vec g = vec_load(g_i);

        __builtin_prefetch(d->g + d->ahead.out + (first + i) * d->ahead.pitch);
        if (n->factor) {
            const real *z_i = d->z + (first + i) * d->z_pitch + c;
            vec centred = vec_load(z_i) - mean;

            __builtin_prefetch(d->z + d->ahead.out + (first + i) * d->ahead.pitch);

            g = (g - mean_g - centred * slope) * factor;
        }
        vec_store(to + (p->before_w + i) * LANES, g);
    }
    zero_vecs(to + after * LANES, p->width - after);
}

/* What the inputs of a vector of channels share. */
struct back {
    const struct depthwise_backward *d;
    struct reader reader;
    vec mean;
    vec sum, sum_z;
    vec dw[MAX_TAPS_IN_REGISTERS];
    vec w[MAX_TAPS_IN_REGISTERS];
    size_t c;
    size_t pixels; /* since the last flush */
};

/* The gradient of one input goes on its way. */
ALWAYS_INLINE void pass_pixel(const struct depthwise_backward *d, size_t c, size_t pixel,
                              vec g, vec x, vec v, const struct reader *reader, vec mean,
                              vec sums[2], enum way way)
{
    const struct gradient_pass *p = &d->pass;

    if (!p->g)
        return;
    if (p->more)
        g += vec_load(p->more + pixel * p->more_pitch + c);
    if (p->finish)
        g = gradient_of(g, v, reader, way);
    sums[0] += g;
    sums[1] = vec_fma(g, x - mean, sums[1]);
    __builtin_prefetch(p->g + d->ahead.in + pixel * d->ahead.pitch, 1);
    vec_store(p->g + pixel * d->pass_pitch + c, g);
}

/* Inputs of a row that meet the same taps, kh0, kh0 + stride, ... dz points at the output
 * that the first tap meets the first input for. */
struct inputs {
    size_t n;
    size_t pixel, pixel_step;
    const real *dz;
    size_t dz_step, dz_row;
    size_t kh0, kw0;
};

/* What the loop needs is copied, so that it can live in registers. */
ALWAYS_INLINE void backward_pixels(struct back *b, const struct inputs *in, size_t kh0,
                                   size_t kw0, struct taps t, enum way way)
{
    const struct depthwise_backward *d = b->d;
    const struct reader reader = b->reader;
    const vec mean = b->mean;
    const size_t c = b->c, dz_row = in->dz_row, n = in->n, dz_step = in->dz_step;
    const size_t pixel_step = in->pixel_step;
    const real *dz = in->dz;
    size_t pixel = in->pixel;
    vec w[MAX_TAPS_IN_REGISTERS], dw[MAX_TAPS_IN_REGISTERS], sums[2] = {b->sum, b->sum_z};

#pragma GCC unroll 25
    for (size_t i = 0; i < t.k * t.k; i++) {
        w[i] = b->w[i];
        dw[i] = b->dw[i];
    }
    for (size_t i = 0; i < n; i++, pixel += pixel_step, dz += dz_step) {
        vec x = vec_load(d->x + pixel * d->x_pitch + c);
        vec v = vec_fma(x, reader.scale, reader.shift);
        vec y = value_of(v, &reader, way);
        vec acc = vec_zero();

        __builtin_prefetch(d->x + d->ahead.in + pixel * d->ahead.pitch);
#pragma GCC unroll 5
        for (size_t kh = kh0; kh < t.k; kh += t.stride) {
#pragma GCC unroll 5
            for (size_t kw = kw0; kw < t.k; kw += t.stride) {
                vec g = vec_load(dz - (kh - kh0) / t.stride * dz_row -
                                 (kw - kw0) / t.stride * LANES);

                acc = vec_fma(g, w[kh * t.k + kw], acc);
                dw[kh * t.k + kw] = vec_fma(g, y, dw[kh * t.k + kw]);
            }
        }
        pass_pixel(d, c, pixel, acc, x, v, &reader, mean, sums, way);
    }
#pragma GCC unroll 25
    for (size_t i = 0; i < t.k * t.k; i++)
        b->dw[i] = dw[i];
    b->sum = sums[0];
    b->sum_z = sums[1];
}

/* Constant taps. */
ALWAYS_INLINE void backward_inputs(struct back *b, const struct inputs *in, struct taps t,
                                   enum way way)
{
    if (in->kh0 == 0 && in->kw0 == 0)
        backward_pixels(b, in, 0, 0, t, way);
    else if (in->kh0 == 0)
        backward_pixels(b, in, 0, 1, t, way);
    else if (in->kw0 == 0)
        backward_pixels(b, in, 1, 0, t, way);
    else
        backward_pixels(b, in, 1, 1, t, way);
}

#define BACKWARD_INPUTS(k, stride)                                                       \
    static void backward_inputs_##k##_##stride(struct back *b, const struct inputs *in)  \
    {                                                                                    \
        const struct taps t = {k, stride};                                               \
                                                                                         \
        switch (way_of(b->reader.act)) {                                                 \
        case WAY_CLIP:                                                                   \
            backward_inputs(b, in, t, WAY_CLIP);                                         \
            break;                                                                       \
        case WAY_HARDSWISH:                                                              \
            backward_inputs(b, in, t, FEW_VARIANTS ? WAY_ANY : WAY_HARDSWISH);           \
            break;                                                                       \
        default:                                                                         \
            backward_inputs(b, in, t, WAY_ANY);                                          \
            break;                                                                       \
        }                                                                                \
    }

BACKWARD_INPUTS(3, 1)
BACKWARD_INPUTS(3, 2)
#if !FEW_VARIANTS
BACKWARD_INPUTS(5, 1)
BACKWARD_INPUTS(5, 2)
#endif

static void run_inputs(struct back *b, const struct inputs *in)
{
    switch (common_geometry(b->d->shape)) {
#if !FEW_VARIANTS
    case 51:
        backward_inputs_5_1(b, in);
        break;
    case 52:
        backward_inputs_5_2(b, in);
        break;
#endif
    case 31:
        backward_inputs_3_1(b, in);
        break;
    default:
        backward_inputs_3_2(b, in);
        break;
    }
}

/* Any geometry: the weights' gradient goes to doubles at once. */
static void backward_row_any(struct back *b, size_t iy, const real *dz, size_t dz_row)
{
    const struct depthwise_backward *d = b->d;
    const struct conv2d_shape *s = d->shape;
    size_t oy0 = (iy + s->pad_h) / s->stride_h;
    vec sums[2] = {b->sum, b->sum_z};

    for (size_t ix = 0; ix < s->w_in; ix++) {
        size_t pixel = iy * s->w_in + ix;
        vec x = vec_load(d->x + pixel * d->x_pitch + b->c);
        vec v = vec_fma(x, b->reader.scale, b->reader.shift);
        vec y = value_of(v, &b->reader, way_of(b->reader.act)), acc = vec_zero();

        for (size_t tap = 0; tap < s->k_h * s->k_w; tap++) {
            ptrdiff_t h =
                (ptrdiff_t)(iy + s->pad_h) - (ptrdiff_t)(tap / s->k_w * s->dilation_h);
            ptrdiff_t w =
                (ptrdiff_t)(ix + s->pad_w) - (ptrdiff_t)(tap % s->k_w * s->dilation_w);
            ptrdiff_t up = (ptrdiff_t)oy0 - h / (ptrdiff_t)s->stride_h;
            ptrdiff_t at = w / (ptrdiff_t)s->stride_w;
            vec g;

            if (h < 0 || w < 0 || h % (ptrdiff_t)s->stride_h != 0 ||
                w % (ptrdiff_t)s->stride_w != 0)
                continue;
            g = vec_load(dz - up * (ptrdiff_t)dz_row + at * LANES);
            acc = vec_fma(g, vec_load(d->w + tap * PANEL + b->c), acc);
            vec_add_to_doubles(d->dw + tap * PANEL + b->c, g * y);
        }
        pass_pixel(d, b->c, pixel, acc, x, v, &b->reader, b->mean, sums,
                   way_of(b->reader.act));
    }
    b->sum = sums[0];
    b->sum_z = sums[1];
}

/* Where dz is: `first` is that of output row 0 - above, column 0. */
struct gradient_rows {
    const real *first;
    size_t pitch, above;
};

/* Input (iy, ix) and those that follow it. */
static struct inputs inputs_at(const struct conv2d_shape *s, size_t iy, size_t ix,
                               const struct gradient_rows *dz)
{
    struct inputs in = {.pixel = iy * s->w_in + ix, .dz_row = dz->pitch};

    in.kh0 = (iy + s->pad_h) % s->stride_h;
    in.kw0 = (ix + s->pad_w) % s->stride_w;
    in.dz = dz->first + ((iy + s->pad_h - in.kh0) / s->stride_h + dz->above) * dz->pitch +
            (ix + s->pad_w - in.kw0) / s->stride_w * LANES;
    return in;
}

/* One row of inputs. */
static void backward_row(struct back *b, size_t iy, const struct gradient_rows *dz)
{
    const struct conv2d_shape *s = b->d->shape;

    if (common_geometry(s) == 0) {
        backward_row_any(b, iy,
                         dz->first +
                             ((iy + s->pad_h) / s->stride_h + dz->above) * dz->pitch,
                         dz->pitch);
        return;
    }
    for (size_t ix = 0; ix < s->stride_w && ix < s->w_in; ix++) {
        struct inputs in = inputs_at(s, iy, ix, dz);

        in.n = (s->w_in - ix + s->stride_w - 1) / s->stride_w;
        in.pixel_step = s->stride_w;
        in.dz_step = LANES;
        run_inputs(b, &in);
    }
}

static void begin_back(struct back *b, const struct depthwise_backward *d, size_t c)
{
    size_t n_taps = d->shape->k_h * d->shape->k_w;

    b->d = d;
    b->c = c;
    b->pixels = 0;
    b->reader = reader_of(&d->reading, c);
    b->mean = d->pass.mean ? vec_load(d->pass.mean + c) : vec_zero();
    b->sum = b->sum_z = vec_zero();
    for (size_t t = 0; t < n_taps && t < MAX_TAPS_IN_REGISTERS; t++) {
        b->w[t] = vec_load(d->w + t * PANEL + c);
        b->dw[t] = vec_zero();
    }
}

/* The sums so far go to doubles, so that none of them gets long. */
static void flush_back(struct back *b)
{
    const struct depthwise_backward *d = b->d;
    size_t n_taps = d->shape->k_h * d->shape->k_w;

    if (common_geometry(d->shape) != 0) {
        for (size_t t = 0; t < n_taps; t++) {
            vec_add_to_doubles(d->dw + t * PANEL + b->c, b->dw[t]);
            b->dw[t] = vec_zero();
        }
    }
    if (d->pass.g && d->pass.sums) {
        vec_add_to_doubles(d->pass.sums + b->c, b->sum);
        if (d->pass.mean)
            vec_add_to_doubles(d->pass.sums + d->pass.sums_pitch + b->c, b->sum_z);
    }
    b->sum = b->sum_z = vec_zero();
}

/* Sums of at most so many pixels stay in vectors. */
enum { PIXELS_OF_A_SUM = 512 };

static void count_pixels(struct back *b, size_t n)
{
    b->pixels += n;
    if (b->pixels < PIXELS_OF_A_SUM)
        return;
    flush_back(b);
    b->pixels = 0;
}

/* One image, band by band. */
static void backward_image(struct back *b, const struct padding *p)
{
    const struct depthwise_backward *d = b->d;
    const struct conv2d_shape *s = d->shape;
    size_t band = backward_band(s, p), dz_row = p->width * LANES;
    size_t end = d->n_rows > 0 ? d->first_row + d->n_rows : s->h_in;

    for (size_t first = d->first_row; first < end; first += band) {
        size_t n = end - first < band ? end - first : band;
        /* padded rows: that of output oy is before_h + oy */
        size_t low = (first + s->pad_h + p->before_h * s->stride_h -
                      (s->k_h - 1) * s->dilation_h) /
                     s->stride_h;
        size_t high = (first + n - 1 + s->pad_h) / s->stride_h + p->before_h;
        /* above may be negative: it is added to more, modulo what a size can hold */
        struct gradient_rows dz = {d->scratch + p->before_w * LANES, dz_row,
                                   p->before_h - low};

        for (size_t r = low; r <= high; r++)
            pad_gradient_row(d->scratch + (r - low) * dz_row, d, b->c, p, r);
        for (size_t iy = first; iy < first + n; iy++) {
            backward_row(b, iy, &dz);
            count_pixels(b, s->w_in);
        }
    }
}

static void skip_image(struct depthwise_backward *d)
{
    size_t in = d->shape->h_in * d->shape->w_in;
    size_t out = d->shape->h_out * d->shape->w_out;

    d->g += out * d->g_pitch;
    d->z += out * d->z_pitch;
    d->x += in * d->x_pitch;
    if (d->pass.g)
        d->pass.g += in * d->pass_pitch;
    if (d->pass.more)
        d->pass.more += in * d->pass.more_pitch;
}

static void depthwise_backward(const struct depthwise_backward *d)
{
    struct padding p = backward_padding(d->shape);
    bool is_whole = d->n_rows == 0 || d->n_rows == d->shape->h_in;

    if (is_whole && OF_CLASS(depthwise_is_small)(d->shape)) {
        OF_CLASS(depthwise_small_backward)(d);
        return;
    }
    for (size_t c = 0; c < PANEL; c += LANES) {
        struct depthwise_backward images = *d;
        struct back b;

        begin_back(&b, &images, c);
        for (size_t i = 0; i < d->n_images; i++) {
            backward_image(&b, &p);
            skip_image(&images);
        }
        flush_back(&b);
    }
}

void FILL(depthwise)(struct kernels *out)
{
    out->depthwise_scratch = depthwise_scratch;
    out->depthwise_forward = depthwise_forward;
    out->depthwise_backward = depthwise_backward;
}
