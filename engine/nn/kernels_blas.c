/* Kernels on OpenBLAS: the signatures of kernels_ref.c, matrix products instead
 * of loops, convolution as im2col and a product. What is not here is taken from
 * the reference. docs/decisions/openblas-threads.md says why one thread. */
#include "engine/nn/kernels_shared.h"

#if defined(HAVE_OPENBLAS) && !defined(NN_DOUBLE)

#include <cblas.h>
#include <string.h>

/* Invariant: products run on the calling thread alone, so that they depend on
 * their sizes only. The setting is global to the process and somebody else may
 * have changed it since the last step. */
static void enter(void)
{
    if (openblas_get_num_threads() != 1)
        openblas_set_num_threads(1);
}

/* One factor of a product. */
struct operand {
    const float *data;
    size_t ld;
    CBLAS_TRANSPOSE transpose;
};

/* c (m,n) = a (m,k) b (k,n) + beta c */
static void gemm(float *c, size_t ld_c, float beta, const struct operand *a,
                 const struct operand *b, const size_t mnk[3])
{
    cblas_sgemm(CblasRowMajor, a->transpose, b->transpose, (blasint)mnk[0],
                (blasint)mnk[1], (blasint)mnk[2], 1.0f, a->data, (blasint)a->ld, b->data,
                (blasint)b->ld, beta, c, (blasint)ld_c);
}

static void linear_forward(float *y, const float *x, const float *w, const float *b,
                           const struct linear_block *k)
{
    struct operand a = {x, k->ld_in, CblasNoTrans};
    struct operand wt = {w, k->ld_in, CblasTrans};

    for (size_t r = 0; b && r < k->rows; r++)
        memcpy(y + r * k->ld_out, b, k->n_out * sizeof(*y));
    gemm(y, k->ld_out, b ? 1.0f : 0.0f, &a, &wt,
         (const size_t[3]){k->rows, k->n_out, k->n_in});
}

static void linear_backward_input(float *dx, const float *dy, const float *w,
                                  const struct linear_block *k)
{
    struct operand a = {dy, k->ld_out, CblasNoTrans};
    struct operand b = {w, k->ld_in, CblasNoTrans};

    gemm(dx, k->ld_in, 0.0f, &a, &b, (const size_t[3]){k->rows, k->n_in, k->n_out});
}

static void linear_backward_weight(float *dw, const float *dy, const float *x,
                                   const struct linear_block *k)
{
    struct operand a = {dy, k->ld_out, CblasTrans};
    struct operand b = {x, k->ld_in, CblasNoTrans};

    gemm(dw, k->ld_in, 0.0f, &a, &b, (const size_t[3]){k->n_out, k->n_in, k->rows});
}

/* The sizes of one group's matrices: weights (m,k), columns (k,n), output (m,n). */
struct conv_matrices {
    size_t m, n, k;
    size_t in; /* elements of the group's input channels */
};

static struct conv_matrices matrices_of(const struct conv2d_shape *s)
{
    struct conv_matrices g;

    g.m = s->c_out / s->groups;
    g.n = s->h_out * s->w_out;
    g.k = s->c_in / s->groups * s->k_h * s->k_w;
    g.in = s->c_in / s->groups * s->h_in * s->w_in;
    return g;
}

/* A pointwise convolution is a product as it stands. */
static bool is_pointwise(const struct conv2d_shape *s)
{
    return s->k_h == 1 && s->k_w == 1 && s->stride_h == 1 && s->stride_w == 1 &&
           s->pad_h == 0 && s->pad_w == 0;
}

/* One product a channel would be all overhead. */
static bool is_depthwise(const struct conv2d_shape *s)
{
    return s->groups > 1 && s->groups == s->c_in && s->c_out == s->c_in;
}

static size_t conv2d_scratch(const struct conv2d_shape *s)
{
    struct conv_matrices g = matrices_of(s);

    if (is_depthwise(s))
        return depthwise_scratch(s);
    return is_pointwise(s) ? 0 : g.k * g.n;
}

/* One row of the columns: a kernel tap over all outputs of one channel plane.
 *
 * top, left  input position of output (0, 0); negative in the padding
 * x0, x1     outputs of a row that lie inside the image */
struct column_row {
    ptrdiff_t top, left;
    size_t x0, x1;
};

static struct column_row column_row_of(const struct conv2d_shape *s, size_t kh, size_t kw)
{
    struct column_row r;
    ptrdiff_t stride = (ptrdiff_t)s->stride_w;
    ptrdiff_t end;

    r.top = (ptrdiff_t)(kh * s->dilation_h) - (ptrdiff_t)s->pad_h;
    r.left = (ptrdiff_t)(kw * s->dilation_w) - (ptrdiff_t)s->pad_w;
    r.x0 = r.left < 0 ? (size_t)((-r.left + stride - 1) / stride) : 0;
    end = (ptrdiff_t)s->w_in - r.left;
    r.x1 = end > 0 ? (size_t)((end + stride - 1) / stride) : 0;
    if (r.x1 > s->w_out)
        r.x1 = s->w_out;
    if (r.x0 > r.x1)
        r.x0 = r.x1;
    return r;
}

/* The image row that output row `y` meets, or NULL in the padding. */
static const float *image_row(const float *plane, const struct column_row *r, size_t y,
                              const struct conv2d_shape *s)
{
    ptrdiff_t row = r->top + (ptrdiff_t)(y * s->stride_h);

    return row < 0 || row >= (ptrdiff_t)s->h_in ? NULL : plane + (size_t)row * s->w_in;
}

/* memcpy for rows that are often too short for its call to pay. */
static void copy_row(float *restrict to, const float *restrict from, size_t n)
{
    enum { CHUNK = 8 };
    size_t i = 0;

    for (; i + CHUNK <= n; i += CHUNK)
        memcpy(to + i, from + i, CHUNK * sizeof(*to)); /* a few moves */
    for (; i < n; i++)
        to[i] = from[i];
}

static void gather_row(float *col, const float *plane, const struct column_row *r,
                       const struct conv2d_shape *s)
{
    for (size_t y = 0; y < s->h_out; y++, col += s->w_out) {
        const float *row = image_row(plane, r, y, s);
        ptrdiff_t at = r->left + (ptrdiff_t)(r->x0 * s->stride_w);

        if (!row || r->x0 == r->x1) {
            memset(col, 0, s->w_out * sizeof(*col));
            continue;
        }
        for (size_t x = 0; x < r->x0; x++)
            col[x] = 0;
        if (s->stride_w == 1) {
            copy_row(col + r->x0, row + at, r->x1 - r->x0);
        } else {
            for (size_t x = r->x0; x < r->x1; x++, at += (ptrdiff_t)s->stride_w)
                col[x] = row[at];
        }
        for (size_t x = r->x1; x < s->w_out; x++)
            col[x] = 0;
    }
}

static void scatter_row(float *plane, const float *col, const struct column_row *r,
                        const struct conv2d_shape *s)
{
    for (size_t y = 0; y < s->h_out; y++, col += s->w_out) {
        ptrdiff_t row = r->top + (ptrdiff_t)(y * s->stride_h);
        ptrdiff_t at = row * (ptrdiff_t)s->w_in + r->left;

        if (row < 0 || row >= (ptrdiff_t)s->h_in || r->x0 == r->x1)
            continue;
        if (s->stride_w == 1) {
            float *to = plane + at + (ptrdiff_t)r->x0;

            for (size_t x = r->x0; x < r->x1; x++)
                to[x - r->x0] += col[x];
        } else {
            for (size_t x = r->x0; x < r->x1; x++)
                plane[at + (ptrdiff_t)(x * s->stride_w)] += col[x];
        }
    }
}

/* col (k, n) from the group's channels. */
static void im2col(float *col, const float *x, const struct conv2d_shape *s)
{
    size_t channels = s->c_in / s->groups;

    for (size_t c = 0; c < channels; c++, x += s->h_in * s->w_in) {
        for (size_t tap = 0; tap < s->k_h * s->k_w; tap++) {
            struct column_row r = column_row_of(s, tap / s->k_w, tap % s->k_w);

            gather_row(col, x, &r, s);
            col += s->h_out * s->w_out;
        }
    }
}

/* Adds col (k, n) back to where im2col took it from. */
static void col2im(float *dx, const float *col, const struct conv2d_shape *s)
{
    size_t channels = s->c_in / s->groups;

    for (size_t c = 0; c < channels; c++, dx += s->h_in * s->w_in) {
        for (size_t tap = 0; tap < s->k_h * s->k_w; tap++) {
            struct column_row r = column_row_of(s, tap / s->k_w, tap % s->k_w);

            scatter_row(dx, col, &r, s);
            col += s->h_out * s->w_out;
        }
    }
}

static void conv2d_forward(float *y, const float *x, const float *w, const float *b,
                           float *scratch, const struct conv2d_shape *s)
{
    struct conv_matrices g = matrices_of(s);

    if (is_depthwise(s)) {
        depthwise_forward(y, x, w, b, scratch, s);
        return;
    }
    for (size_t o = 0; b && o < s->c_out; o++) {
        for (size_t e = 0; e < g.n; e++)
            y[o * g.n + e] = b[o];
    }
    for (size_t group = 0; group < s->groups; group++) {
        struct operand a = {w + group * g.m * g.k, g.k, CblasNoTrans};
        struct operand c = {x + group * g.in, g.n, CblasNoTrans};

        if (!is_pointwise(s)) {
            im2col(scratch, x + group * g.in, s);
            c.data = scratch;
        }
        gemm(y + group * g.m * g.n, g.n, b ? 1.0f : 0.0f, &a, &c,
             (const size_t[3]){g.m, g.n, g.k});
    }
}

static void conv2d_backward_input(float *dx, const float *dy, const float *w,
                                  float *scratch, const struct conv2d_shape *s)
{
    struct conv_matrices g = matrices_of(s);

    if (is_depthwise(s)) {
        depthwise_backward_input(dx, dy, w, scratch, s);
        return;
    }
    if (!is_pointwise(s))
        memset(dx, 0, s->groups * g.in * sizeof(*dx));
    for (size_t group = 0; group < s->groups; group++) {
        struct operand a = {w + group * g.m * g.k, g.k, CblasTrans};
        struct operand d = {dy + group * g.m * g.n, g.n, CblasNoTrans};
        float *col = is_pointwise(s) ? dx + group * g.in : scratch;

        gemm(col, g.n, 0.0f, &a, &d, (const size_t[3]){g.k, g.n, g.m});
        if (!is_pointwise(s))
            col2im(dx + group * g.in, col, s);
    }
}

static void bias_gradient(float *db, const float *dy, size_t channels, size_t n)
{
    enum { LANES = 16 }; /* a fixed order that vectorises */

    for (size_t o = 0; o < channels; o++, dy += n) {
        float lane[LANES] = {0};
        size_t e = 0;
        float sum = 0;

        for (; e + LANES <= n; e += LANES) {
            for (size_t l = 0; l < LANES; l++)
                lane[l] += dy[e + l];
        }
        for (; e < n; e++)
            sum += dy[e];
        for (size_t l = 0; l < LANES; l++)
            sum += lane[l];
        db[o] += sum;
    }
}

static void conv2d_backward_weight(float *dw, float *db, const float *dy, const float *x,
                                   float *scratch, const struct conv2d_shape *s)
{
    struct conv_matrices g = matrices_of(s);

    if (is_depthwise(s)) {
        depthwise_backward_weight(dw, db, dy, x, scratch, s);
        return;
    }
    for (size_t group = 0; group < s->groups; group++) {
        struct operand d = {dy + group * g.m * g.n, g.n, CblasNoTrans};
        struct operand c = {x + group * g.in, g.n, CblasTrans};

        if (!is_pointwise(s)) {
            im2col(scratch, x + group * g.in, s);
            c.data = scratch;
        }
        gemm(dw + group * g.m * g.k, g.k, 1.0f, &d, &c, (const size_t[3]){g.m, g.k, g.n});
    }
    if (db)
        bias_gradient(db, dy, s->c_out, g.n);
}

bool kernels_blas(struct kernels *out)
{
    *out = kernels_ref;
    out->name = "OpenBLAS";
    out->enter = enter;
    out->linear_forward = linear_forward;
    out->linear_backward_input = linear_backward_input;
    out->linear_backward_weight = linear_backward_weight;
    out->conv2d_scratch = conv2d_scratch;
    out->conv2d_forward = conv2d_forward;
    out->conv2d_backward_input = conv2d_backward_input;
    out->conv2d_backward_weight = conv2d_backward_weight;
    return true;
}

#else

bool kernels_blas(struct kernels *out)
{
    (void)out;
    return false;
}

#endif

void kernels_choose(struct kernels *out)
{
    if (!kernels_blas(out))
        *out = kernels_ref;
}
