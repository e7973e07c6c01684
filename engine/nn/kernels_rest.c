/* Sums, factors and checks. */
#include "engine/nn/activation.h"
#include "engine/nn/kernels_class.h"

ALWAYS_INLINE vec read_vec(const real *z, const struct reading *r, size_t c)
{
    vec v = vec_load(z + c);

    if (r->scale)
        v = vec_fma(v, vec_load(r->scale + c), vec_load(r->shift + c));
    return act_value(v, r->act);
}

static void sum(real *y, const real *a, size_t a_pitch, const struct reading *read_a,
                const real *b, size_t b_pitch, const struct reading *read_b,
                const struct rows *rows)
{
    for (size_t r = 0; r < rows->n; r++) {
        for (size_t c = 0; c < rows->channels; c += LANES)
            vec_store(y + c, read_vec(a, read_a, c) + read_vec(b, read_b, c));
        y += rows->pitch;
        a += a_pitch;
        b += b_pitch;
    }
}

static void scale(real *y, const real *x, size_t x_pitch, const struct reading *reading,
                  const real *s, const struct rows *rows)
{
    for (size_t r = 0; r < rows->n; r++, y += rows->pitch, x += x_pitch) {
        for (size_t c = 0; c < rows->channels; c += LANES)
            vec_store(y + c, read_vec(x, reading, c) * vec_load(s + c));
    }
}

/* Rows whose sums are kept in vectors before they go to doubles. */
enum { ROWS_OF_A_SUM = 256 };

/* sum (reading of x) dy of a vector of channels, from row `first` on. */
ALWAYS_INLINE vec sum_products(const real *dy, const real *x,
                               const struct reading *reading, const struct rows *rows,
                               size_t c, size_t first)
{
    size_t end = rows->n - first < ROWS_OF_A_SUM ? rows->n : first + ROWS_OF_A_SUM;
    vec sum = vec_zero();

    for (size_t r = first; r < end; r++)
        sum = vec_fma(read_vec(x + r * rows->pitch, reading, c),
                      vec_load(dy + r * rows->pitch + c), sum);
    return sum;
}

static void scale_backward(real *dx, real *ds, const real *dy, const real *x,
                           const struct reading *reading, const real *s,
                           const struct rows *rows)
{
    for (size_t c = 0; ds && c < rows->channels; c += LANES) {
        double sum[LANES] = {0};

        for (size_t r = 0; r < rows->n; r += ROWS_OF_A_SUM)
            vec_add_to_doubles(sum, sum_products(dy, x, reading, rows, c, r));
        for (size_t l = 0; l < LANES; l++)
            ds[c + l] = (real)sum[l];
    }
    for (size_t r = 0; dx && r < rows->n; r++, dx += rows->pitch, dy += rows->pitch) {
        for (size_t c = 0; c < rows->channels; c += LANES)
            vec_store(dx + c, vec_load(dy + c) * vec_load(s + c));
    }
}

/* A mixer of 32 bits. Source: C. Wellons, "Prospecting for hash functions", 2018:
 * lowbias32. */
ALWAYS_INLINE uint32_t mix(uint32_t x)
{
    x = (x ^ x >> 16) * UINT32_C(0x7feb352d);
    x = (x ^ x >> 15) * UINT32_C(0x846ca68b);
    return x ^ x >> 16;
}

static void drop(real *y, const uint32_t key[2], uint32_t threshold, real scale, size_t n)
{
    uint32_t first = key[0], second = key[1];

    for (size_t i = 0; i < n; i++) {
        uint32_t number = mix(mix((uint32_t)i ^ first) ^ second);
        real kept = scale * y[i];

        y[i] = number < threshold ? 0 : kept;
    }
}

static void add(real *y, const real *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] += x[i];
}

/* 0 times a value is 0 or NaN, and NaN stays in a sum. */
static bool all_finite(const real *x, size_t n)
{
    vec sum[4] = {vec_zero(), vec_zero(), vec_zero(), vec_zero()}, zero = vec_zero();
    real lanes[LANES], total = 0;
    size_t i = 0;

    for (; i + 4 * LANES <= n; i += 4 * LANES) {
#pragma GCC unroll 4
        for (size_t j = 0; j < 4; j++)
            sum[j] = vec_fma(vec_load(x + i + j * LANES), zero, sum[j]);
    }
    for (; i < n; i++)
        total += 0 * x[i];
    vec_store(lanes, sum[0] + sum[1] + (sum[2] + sum[3]));
    for (size_t l = 0; l < LANES; l++)
        total += lanes[l];
    return total == 0;
}

void FILL(rest)(struct kernels *out)
{
    out->sum = sum;
    out->scale = scale;
    out->scale_backward = scale_backward;
    out->drop = drop;
    out->add = add;
    out->all_finite = all_finite;
}
