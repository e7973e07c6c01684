/* Depthwise convolutions of each class of kernels against sums in double. Bounds are
 * worked out as in test_kernels.c. */
#include "numbers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TAPS = 49, PITCH = 2 * PANEL };

static const double u = (double)REAL_EPSILON / 2;

/* One panel of one image. x, z, g are in rows of PITCH; y, slope and dz in rows of
 * PANEL, from the reference. */
struct image {
    struct conv2d_shape shape;
    size_t n_in, n_out, n_taps;
    real *x, *z, *g, *more, *w, *bias;
    real *y, *slope, *dz;
    real *mean, *norm[4];
    real scale[PANEL], *shift;
    struct reading reading;
    bool has_norm;
};

static size_t out_of(size_t in, size_t kernel, size_t stride, size_t pad, size_t dilation)
{
    size_t reach = dilation * (kernel - 1) + 1;

    return in + 2 * pad < reach ? 0 : (in + 2 * pad - reach) / stride + 1;
}

static void set_outputs(struct conv2d_shape *s)
{
    s->c_in = s->c_out = s->groups = PANEL;
    s->h_out = out_of(s->h_in, s->k_h, s->stride_h, s->pad_h, s->dilation_h);
    s->w_out = out_of(s->w_in, s->k_w, s->stride_w, s->pad_w, s->dilation_w);
}

static struct norm_gradient norm_of_image(const struct image *m)
{
    if (!m->has_norm)
        return (struct norm_gradient){0};
    return (struct norm_gradient){m->norm[0], m->norm[1], m->norm[2], m->norm[3]};
}

static void read_image(struct image *m)
{
    const struct kernels *reference = kernels_reference();
    const struct rows in = {m->n_in, PANEL, PITCH}, out = {m->n_out, PANEL, PITCH};
    const struct rows slopes = {m->n_in, PANEL, PANEL};
    struct norm_gradient norm = norm_of_image(m);
    struct gradient_pass pass = {.g = m->slope,
                                 .dy = m->slope,
                                 .dy_pitch = PANEL,
                                 .z = m->x,
                                 .z_pitch = PITCH,
                                 .reading = m->reading,
                                 .finish = true};

    reference->read(m->y, PANEL, m->x, &m->reading, &in);
    for (size_t i = 0; i < m->n_in * PANEL; i++)
        m->slope[i] = 1;
    reference->gradient_pass(&pass, &slopes);
    reference->norm_gradient(m->dz, PANEL, m->g, PITCH, m->z, &norm, &out);
}

static void open_image(struct image *m, const struct conv2d_shape *shape,
                       enum activation act, bool scaled, bool has_norm)
{
    static const real scales[] = {0.5, 1, 2};
    static const char *const names[] = {"factor", "mean_g", "mean", "slope"};

    *m = (struct image){.shape = *shape, .has_norm = has_norm};
    m->n_in = shape->h_in * shape->w_in, m->n_out = shape->h_out * shape->w_out;
    m->n_taps = shape->k_h * shape->k_w;
    m->x = grid(m->n_in * PITCH, "x"), m->z = grid(m->n_out * PITCH, "z");
    m->g = noise(m->n_out * PITCH, "g"), m->more = noise(m->n_in * PITCH, "more");
    m->w = noise(m->n_taps * PANEL, "w"), m->bias = noise(PANEL, "bias");
    m->y = guarded(m->n_in * PANEL), m->slope = guarded(m->n_in * PANEL);
    m->dz = guarded(m->n_out * PANEL), m->mean = noise(PANEL, "around");
    m->shift = grid(PANEL, "shift");
    for (size_t i = 0; i < 4; i++)
        m->norm[i] = noise(PANEL, names[i]);
    for (size_t c = 0; c < PANEL; c++)
        m->scale[c] = scales[c % 3];
    m->reading =
        (struct reading){scaled ? m->scale : NULL, scaled ? m->shift : NULL, act};
    read_image(m);
}

static void close_image(struct image *m)
{
    real *all[] = {m->x,       m->z,       m->g,       m->more,    m->w,
                   m->bias,    m->y,       m->slope,   m->dz,      m->mean,
                   m->norm[0], m->norm[1], m->norm[2], m->norm[3], m->shift};

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        free(all[i]);
}

/* The input that an output meets through a tap; false: padding. */
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

/* Sums of products over all that meet: of outputs, inputs or taps. */
struct sums {
    double *sum, *size;
};

static void add_term(struct sums *s, size_t at, double term)
{
    s->sum[at] += term;
    s->size[at] += fabs(term);
}

static void open_sums(struct sums *s, size_t n)
{
    s->sum = allocate(n, sizeof(double));
    s->size = allocate(n, sizeof(double));
}

static void close_sums(struct sums *s)
{
    free(s->sum);
    free(s->size);
}

static void check_forward(const struct kernels *kernels, const struct image *m,
                          bool has_bias)
{
    real *z = guarded(m->n_out * PITCH);
    real *scratch = guarded(kernels->depthwise_scratch(&m->shape));
    struct depthwise_forward d = {.n_images = 1,
                                  .z = z,
                                  .z_pitch = PITCH,
                                  .x = m->x,
                                  .x_pitch = PITCH,
                                  .reading = m->reading,
                                  .w = m->w,
                                  .bias = has_bias ? m->bias : NULL,
                                  .scratch = scratch,
                                  .shape = &m->shape};
    struct sums want;
    size_t in;

    open_sums(&want, m->n_out * PANEL);
    kernels->depthwise_forward(&d);
    check_guard(z, m->n_out * PITCH);
    check_guard(scratch, kernels->depthwise_scratch(&m->shape));
    for (size_t i = 0; i < m->n_out * PANEL; i++) {
        add_term(&want, i, has_bias ? (double)m->bias[i % PANEL] : 0);
        for (size_t t = 0; t < m->n_taps; t++) {
            if (input_of(&in, &m->shape, i / PANEL, t))
                add_term(&want, i,
                         (double)m->y[in * PANEL + i % PANEL] *
                             (double)m->w[t * PANEL + i % PANEL]);
        }
        /* and four roundings of each input's activation */
        check_near("z", (double)z[i / PANEL * PITCH + i % PANEL], want.sum[i],
                   (double)(m->n_taps + 6) * u * want.size[i]);
        assert_true(z[i / PANEL * PITCH + PANEL + i % PANEL] == 0); /* not its own */
    }
    close_sums(&want);
    free(z);
    free(scratch);
}

/* What one backward call may ask for. */
struct wants {
    bool gradient, more, finish, means;
};

/* dz may differ by so much: five roundings each of terms up to 1 + 1 + 9. */
static double dz_error(const struct image *m)
{
    return m->has_norm ? 2 * 5 * u * 11 : 0;
}

static void check_weights(const struct image *m, const double *dw)
{
    struct sums want, inputs;
    size_t in;

    open_sums(&want, m->n_taps * PANEL);
    open_sums(&inputs, m->n_taps * PANEL);
    for (size_t i = 0; i < m->n_out * m->n_taps * PANEL; i++) {
        size_t c = i % PANEL, t = i / PANEL % m->n_taps, out = i / PANEL / m->n_taps;

        if (!input_of(&in, &m->shape, out, t))
            continue;
        add_term(&want, t * PANEL + c,
                 (double)m->dz[out * PANEL + c] * (double)m->y[in * PANEL + c]);
        add_term(&inputs, t * PANEL + c, (double)m->y[in * PANEL + c]);
    }
    /* 512 pixels go to doubles together; dw began at 3 */
    for (size_t i = 0; i < m->n_taps * PANEL; i++)
        check_near("dw", dw[i] - 3, want.sum[i],
                   518 * u * want.size[i] + dz_error(m) * inputs.size[i] + 1e-15 * 3);
    close_sums(&want);
    close_sums(&inputs);
}

static void check_inputs(const struct image *m, const struct gradient_pass *pass)
{
    struct sums want, weights;
    size_t in;

    open_sums(&want, m->n_in * PANEL);
    open_sums(&weights, m->n_in * PANEL);
    for (size_t i = 0; i < m->n_out * m->n_taps * PANEL; i++) {
        size_t c = i % PANEL, t = i / PANEL % m->n_taps, out = i / PANEL / m->n_taps;

        if (!input_of(&in, &m->shape, out, t))
            continue;
        add_term(&want, in * PANEL + c,
                 (double)m->dz[out * PANEL + c] * (double)m->w[t * PANEL + c]);
        add_term(&weights, in * PANEL + c, (double)m->w[t * PANEL + c]);
    }
    for (size_t i = 0; i < m->n_in * PANEL; i++) {
        double more = pass->more ? (double)m->more[i / PANEL * PITCH + i % PANEL] : 0;
        double slope = pass->finish ? (double)m->slope[i] : 1;
        double x = (double)m->x[i / PANEL * PITCH + i % PANEL];
        double v = m->reading.scale
                       ? x * (double)m->scale[i % PANEL] + (double)m->shift[i % PANEL]
                       : x;
        double cancelled = pass->finish ? slope_terms(m->reading.act, v) : 0;
        double error = (double)(m->n_taps + 8) * u * (want.size[i] + fabs(more)) +
                       dz_error(m) * weights.size[i];

        check_near("dx", (double)pass->g[i / PANEL * PITCH + i % PANEL],
                   (want.sum[i] + more) * slope,
                   error * fabs(slope) + 6 * u * (want.size[i] + fabs(more)) * cancelled +
                       4 * (double)FLT_TRUE_MIN);
    }
    close_sums(&want);
    close_sums(&weights);
}

static void check_pass_sums(const struct image *m, const struct gradient_pass *pass)
{
    for (size_t c = 0; c < PANEL; c++) {
        double sum = 1, around = 2, size = 0, size_around = 0;

        for (size_t i = 0; i < m->n_in; i++) {
            double g = (double)pass->g[i * PITCH + c];
            double d = pass->mean ? (double)m->x[i * PITCH + c] - (double)m->mean[c] : 0;

            sum += g, size += fabs(g);
            around += g * d, size_around += fabs(g * d);
        }
        check_near("sum", pass->sums[c], sum, 514 * u * size + 1e-15);
        check_near("sum around the mean", pass->sums[PITCH + c], around,
                   pass->mean ? 516 * u * size_around + 1e-15 : 0);
    }
}

static void check_backward(const struct kernels *kernels, const struct image *m,
                           struct wants wants)
{
    real *dx = guarded(m->n_in * PITCH);
    real *scratch = guarded(kernels->depthwise_scratch(&m->shape));
    double dw[MAX_TAPS * PANEL], sums[2 * PITCH];
    struct depthwise_backward d = {.n_images = 1,
                                   .g = m->g,
                                   .g_pitch = PITCH,
                                   .z = m->z,
                                   .z_pitch = PITCH,
                                   .norm = norm_of_image(m),
                                   .x = m->x,
                                   .x_pitch = PITCH,
                                   .reading = m->reading,
                                   .w = m->w,
                                   .dw = dw,
                                   .pass = {.g = wants.gradient ? dx : NULL,
                                            .more = wants.more ? m->more : NULL,
                                            .more_pitch = PITCH,
                                            .finish = wants.finish,
                                            .mean = wants.means ? m->mean : NULL,
                                            .sums = sums,
                                            .sums_pitch = PITCH},
                                   .pass_pitch = PITCH,
                                   .scratch = scratch,
                                   .shape = &m->shape};

    for (size_t i = 0; i < m->n_taps * PANEL; i++)
        dw[i] = 3; /* added to */
    for (size_t i = 0; i < 2 * PITCH; i++)
        sums[i] = i < PITCH ? 1 : 2;
    kernels->depthwise_backward(&d);
    check_guard(dx, m->n_in * PITCH);
    check_guard(scratch, kernels->depthwise_scratch(&m->shape));
    check_weights(m, dw);
    if (wants.gradient)
        check_inputs(m, &d.pass);
    if (wants.gradient)
        check_pass_sums(m, &d.pass);
    free(dx);
    free(scratch);
}

static void check_shape(const struct kernels *kernels, const struct conv2d_shape *shape,
                        size_t way)
{
    const struct wants wants = {way % 7 != 0, way & 1, way & 2, way & 4};
    struct image m;

    open_image(&m, shape, (enum activation)(way % ACT_N_KINDS), way & 8, way & 16);
    check_forward(kernels, &m, way & 32);
    check_backward(kernels, &m, wants);
    close_image(&m);
}

static size_t pick(size_t *i, size_t n)
{
    return (size_t)hash_label(77, (*i)++, (uint32_t)n);
}

/* Kernels 1 to 7, strides 1 to 3, dilations 1 and 2, any padding, images up to 11x11,
 * one in two square as in models. */
static void test_depthwise_of_any_shape(void **state)
{
    size_t n_tried = 0, i = 0;

    while (n_tried < 500) {
        struct conv2d_shape s = {0};
        bool square = pick(&i, 2);

        s.h_in = 1 + pick(&i, 11), s.w_in = 1 + pick(&i, 11);
        s.k_h = 1 + pick(&i, 7), s.k_w = square ? s.k_h : 1 + pick(&i, 7);
        s.stride_h = 1 + pick(&i, 3), s.stride_w = square ? s.stride_h : 1 + pick(&i, 3);
        s.dilation_h = 1 + pick(&i, 2) * pick(&i, 2), s.dilation_w = s.dilation_h;
        s.pad_h = pick(&i, s.k_h * s.dilation_h),
        s.pad_w = pick(&i, s.k_w * s.dilation_w);
        set_outputs(&s);
        if (s.h_out > 0 && s.w_out > 0)
            check_shape(*state, &s, n_tried++);
    }
}

/* What models use: 3, 5 and 7 with their padding, every activation and way. */
static void test_depthwise_of_models(void **state)
{
    for (size_t way = 0; way < 6 * 64; way++) {
        size_t k = 3 + way % 3 * 2, stride = 1 + way / 3 % 2;
        struct conv2d_shape s = {.h_in = 9,
                                 .w_in = 7 + way % 2,
                                 .k_h = k,
                                 .k_w = k,
                                 .stride_h = stride,
                                 .stride_w = stride,
                                 .pad_h = k / 2,
                                 .pad_w = k / 2,
                                 .dilation_h = 1,
                                 .dilation_w = 1};

        set_outputs(&s);
        check_shape(*state, &s, way / 6 + way % 6 * 11);
    }
}

/* Images that are gone through in bands, also one number at a time. */
static void test_depthwise_of_large_images(void **state)
{
    for (size_t way = 0; way < 4; way++) {
        struct conv2d_shape s = {.h_in = 230,
                                 .w_in = 151,
                                 .k_h = 3 + way / 2 * 2,
                                 .k_w = 3 + way / 2 * 2,
                                 .stride_h = 1 + way % 2,
                                 .stride_w = 1 + way % 2,
                                 .pad_h = 1,
                                 .pad_w = 1,
                                 .dilation_h = 1,
                                 .dilation_w = 1};

        set_outputs(&s);
        check_shape(*state, &s, 1 + 2 + 4 + 8 + 16 + 32 * (way % 2));
    }
}

/* ---- In parts ------------------------------------------------------------ */

/* Some images, forward and backward, with what comes of them. */
struct batch {
    struct conv2d_shape shape;
    size_t n, n_in, n_out, n_taps; /* positions of one image */
    real *x, *z, *g, *dx, *w, *scratch;
    double dw[MAX_TAPS * PANEL];
};

static void open_batch(struct batch *b, const struct kernels *kernels, size_t n,
                       const struct conv2d_shape *shape)
{
    *b = (struct batch){.shape = *shape, .n = n};
    set_outputs(&b->shape);
    b->n_in = b->shape.h_in * b->shape.w_in, b->n_out = b->shape.h_out * b->shape.w_out;
    b->n_taps = b->shape.k_h * b->shape.k_w;
    b->x = noise(n * b->n_in * PANEL, "x"), b->g = noise(n * b->n_out * PANEL, "g");
    b->w = noise(b->n_taps * PANEL, "w"), b->z = guarded(n * b->n_out * PANEL);
    b->dx = guarded(n * b->n_in * PANEL);
    b->scratch = guarded(kernels->depthwise_scratch(&b->shape));
}

static void close_batch(struct batch *b)
{
    free(b->x);
    free(b->z);
    free(b->g);
    free(b->dx);
    free(b->w);
    free(b->scratch);
}

/* Images [first, first + n), n_rows output rows from `row` on, with their inputs. */
static void run_part(struct batch *b, const struct kernels *kernels, size_t first,
                     size_t n, size_t row, size_t n_rows)
{
    const struct conv2d_shape *s = &b->shape;
    bool is_last = row + n_rows == s->h_out;
    struct depthwise_forward f = {.n_images = n,
                                  .z = b->z + first * b->n_out * PANEL,
                                  .z_pitch = PANEL,
                                  .x = b->x + first * b->n_in * PANEL,
                                  .x_pitch = PANEL,
                                  .w = b->w,
                                  .scratch = b->scratch,
                                  .shape = s,
                                  .first_row = row,
                                  .n_rows = n_rows};
    struct depthwise_backward d = {.n_images = n,
                                   .g = b->g + first * b->n_out * PANEL,
                                   .g_pitch = PANEL,
                                   .x = f.x,
                                   .x_pitch = PANEL,
                                   .w = b->w,
                                   .dw = b->dw,
                                   .pass.g = b->dx + first * b->n_in * PANEL,
                                   .pass_pitch = PANEL,
                                   .scratch = b->scratch,
                                   .shape = s,
                                   .first_row = row * s->stride_h};

    d.n_rows = is_last ? s->h_in - d.first_row : n_rows * s->stride_h;
    kernels->depthwise_forward(&f);
    kernels->depthwise_backward(&d);
}

/* dw is a sum over all, in another order. */
static void check_same(const struct batch *a, const struct batch *b)
{
    size_t n_terms = a->n * a->n_out;

    check_guard(a->z, a->n * a->n_out * PANEL);
    check_guard(a->dx, a->n * a->n_in * PANEL);
    assert_memory_equal(a->z, b->z, a->n * a->n_out * PANEL * sizeof(real));
    assert_memory_equal(a->dx, b->dx, a->n * a->n_in * PANEL * sizeof(real));
    for (size_t i = 0; i < a->n_taps * PANEL; i++)
        check_near("dw", a->dw[i], b->dw[i],
                   2 * 518 * u * (double)n_terms); /* terms are below 1 */
}

static struct conv2d_shape square(size_t side, size_t kernel, size_t stride)
{
    return (struct conv2d_shape){.h_in = side,
                                 .w_in = side,
                                 .k_h = kernel,
                                 .k_w = kernel,
                                 .stride_h = stride,
                                 .stride_w = stride,
                                 .pad_h = kernel / 2,
                                 .pad_w = kernel / 2,
                                 .dilation_h = 1,
                                 .dilation_w = 1};
}

static void test_images_together_are_those_one_by_one(void **state)
{
    for (size_t way = 0; way < 24; way++) {
        struct conv2d_shape s = square(1 + way % 6, 3 + way / 6 % 2 * 2, 1 + way / 12);
        struct batch together, alone;

        open_batch(&together, *state, 131, &s);
        open_batch(&alone, *state, 131, &s);
        run_part(&together, *state, 0, 131, 0, together.shape.h_out);
        for (size_t i = 0; i < 131; i++)
            run_part(&alone, *state, i, 1, 0, alone.shape.h_out);
        check_same(&together, &alone);
        close_batch(&together);
        close_batch(&alone);
    }
}

static void test_rows_in_parts_are_those_of_the_image(void **state)
{
    for (size_t way = 0; way < 24; way++) {
        struct conv2d_shape s = square(3 + way % 6, 3 + way / 6 % 2 * 2, 1 + way / 12);
        struct batch whole, parts;

        open_batch(&whole, *state, 2, &s);
        open_batch(&parts, *state, 2, &s);
        run_part(&whole, *state, 0, 2, 0, whole.shape.h_out);
        for (size_t row = 0, n; row < parts.shape.h_out; row += n) {
            n = parts.shape.h_out - row < 2 ? 1 : 2;
            run_part(&parts, *state, 0, 2, row, n);
        }
        check_same(&parts, &whole);
        close_batch(&whole);
        close_batch(&parts);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_depthwise_of_any_shape),
        cmocka_unit_test(test_depthwise_of_models),
        cmocka_unit_test(test_depthwise_of_large_images),
        cmocka_unit_test(test_images_together_are_those_one_by_one),
        cmocka_unit_test(test_rows_in_parts_are_those_of_the_image),
    };

    return run_tests_per_class(tests, sizeof(tests) / sizeof(tests[0]));
}
