/* Passes over rows of channels: reading a value from what is stored, the gradient
 * through batch norm, moments, and what happens to a gradient on its way. Channels
 * go by vectors in the outer loop where sums are kept in registers, else in the
 * inner one, where rows are read in the order of memory. */
#include "engine/nn/activation.h"
#include "engine/nn/kernels_class.h"

#include <string.h>

ALWAYS_INLINE void read_rows(real *y, size_t y_pitch, const real *z,
                             const struct reading *reading, const struct rows *rows,
                             enum activation act)
{
    for (size_t r = 0; r < rows->n; r++, y += y_pitch, z += rows->pitch) {
        for (size_t c = 0; c < rows->channels; c += LANES) {
            vec v = vec_load(z + c);

            if (reading->scale)
                v = vec_fma(v, vec_load(reading->scale + c),
                            vec_load(reading->shift + c));
            vec_store(y + c, act_value(v, act));
        }
    }
}

static void copy_rows(real *y, size_t y_pitch, const real *z, const struct rows *rows)
{
    for (size_t r = 0; r < rows->n; r++)
        memcpy(y + r * y_pitch, z + r * rows->pitch, rows->channels * sizeof(*y));
}

static void read(real *y, size_t y_pitch, const real *z, const struct reading *reading,
                 const struct rows *rows)
{
    if (!reading->scale && reading->act == ACT_NONE) {
        if (y != z)
            copy_rows(y, y_pitch, z, rows);
        return;
    }
    ACT_SWITCH(reading->act, read_rows, y, y_pitch, z, reading, rows)
}

static void norm_gradient(real *dz, size_t dz_pitch, const real *g, size_t g_pitch,
                          const real *z, const struct norm_gradient *norm,
                          const struct rows *rows)
{
    if (!norm->factor) {
        struct rows of_g = {rows->n, rows->channels, g_pitch};

        if (dz != g)
            copy_rows(dz, dz_pitch, g, &of_g);
        return;
    }
    for (size_t r = 0; r < rows->n; r++, dz += dz_pitch, g += g_pitch, z += rows->pitch) {
        for (size_t c = 0; c < rows->channels; c += LANES) {
            vec centred = vec_load(z + c) - vec_load(norm->mean + c);
            vec v = vec_load(g + c) - vec_load(norm->mean_g + c) -
                    centred * vec_load(norm->slope + c);

            vec_store(dz + c, v * vec_load(norm->factor + c));
        }
    }
}

/* Rows whose sums are kept in vectors before they go to doubles. */
enum { ROWS_OF_A_SUM = 256 };

static size_t at_most(size_t n, size_t most)
{
    return n < most ? n : most;
}

/* About the mean of a vector of channels: that of some rows all over. */
ALWAYS_INLINE vec about_mean(const real *z, size_t pitch, size_t n)
{
    enum { SAMPLES = 8 };
    size_t samples = at_most(n, SAMPLES);
    vec sum = vec_zero();

    for (size_t i = 0; i < samples; i++)
        sum += vec_load(z + i * n / samples * pitch);
    return sum * vec_splat(1 / (real)samples);
}

/* sum (z - around) and sum (z - around)^2 of a vector of channels. */
ALWAYS_INLINE void sum_moments(double out[LANES], double squares[LANES], const real *z,
                               size_t pitch, size_t n, vec around)
{
    enum { CHAINS = 4 };

    for (size_t first = 0; first < n; first += ROWS_OF_A_SUM) {
        size_t left = at_most(n - first, ROWS_OF_A_SUM), r = 0;
        vec sum[CHAINS] = {vec_zero(), vec_zero(), vec_zero(), vec_zero()};
        vec square[CHAINS] = {vec_zero(), vec_zero(), vec_zero(), vec_zero()};

        for (; r + CHAINS <= left; r += CHAINS, z += CHAINS * pitch) {
#pragma GCC unroll 4
            for (size_t i = 0; i < CHAINS; i++) {
                vec d = vec_load(z + i * pitch) - around;

                sum[i] += d;
                square[i] = vec_fma(d, d, square[i]);
            }
        }
        for (; r < left; r++, z += pitch) {
            vec d = vec_load(z) - around;

            sum[0] += d;
            square[0] = vec_fma(d, d, square[0]);
        }
        vec_add_to_doubles(out, sum[0] + sum[1] + (sum[2] + sum[3]));
        vec_add_to_doubles(squares, square[0] + square[1] + (square[2] + square[3]));
    }
}

static void moments(double *mean, double *m2, const real *z, const struct rows *rows)
{
    double n = (double)rows->n, per_row = 1 / n;

    for (size_t c = 0; c < rows->channels; c += LANES) {
        vec around = about_mean(z + c, rows->pitch, rows->n);
        double sum[LANES] = {0}, squares[LANES] = {0};
        real shift[LANES];

        vec_store(shift, around);
        sum_moments(sum, squares, z + c, rows->pitch, rows->n, around);
        for (size_t l = 0; l < LANES; l++) {
            squares[l] -= sum[l] * sum[l] * per_row;
            sum[l] = (double)shift[l] + sum[l] * per_row;
        }
        memcpy(mean + c, sum, sizeof(sum));
        for (size_t l = 0; l < LANES; l++)
            m2[c + l] = squares[l] > 0 ? squares[l] : 0;
    }
}

/* One vector of channels over the rows of one sum. */
ALWAYS_INLINE void pass_rows(const struct gradient_pass *p, const struct rows *rows,
                             size_t c, size_t first, size_t n, enum activation act)
{
    vec sum = vec_zero(), sum_z = vec_zero();
    vec scale = p->reading.scale ? vec_load(p->reading.scale + c) : vec_splat(1);
    vec shift = p->reading.scale ? vec_load(p->reading.shift + c) : vec_zero();
    vec mean = p->mean ? vec_load(p->mean + c) : vec_zero();
    bool reads_z = p->z && (act != ACT_NONE || p->mean);

    for (size_t r = first; r < first + n; r++) {
        vec g = vec_load(p->dy + r * p->dy_pitch + c);
        vec z = reads_z ? vec_load(p->z + r * p->z_pitch + c) : vec_zero();

        if (p->more)
            g += vec_load(p->more + r * p->more_pitch + c);
        g = act_gradient(g, vec_fma(z, scale, shift), act);
        sum += g;
        sum_z = vec_fma(g, z - mean, sum_z);
        vec_store(p->g + r * rows->pitch + c, g);
    }
    if (p->sums)
        vec_add_to_doubles(p->sums + c, sum);
    if (p->sums && p->mean)
        vec_add_to_doubles(p->sums + p->sums_pitch + c, sum_z);
}

ALWAYS_INLINE void pass_channels(const struct gradient_pass *p, const struct rows *rows,
                                 enum activation act)
{
    for (size_t first = 0; first < rows->n; first += ROWS_OF_A_SUM) {
        size_t n = at_most(rows->n - first, ROWS_OF_A_SUM);

        for (size_t c = 0; c < rows->channels; c += LANES)
            pass_rows(p, rows, c, first, n, act);
    }
}

static void gradient_pass(const struct gradient_pass *p, const struct rows *rows)
{
    enum activation act = p->finish ? p->reading.act : ACT_NONE;

    ACT_SWITCH(act, pass_channels, p, rows)
}

void FILL(channels)(struct kernels *out)
{
    out->read = read;
    out->norm_gradient = norm_gradient;
    out->moments = moments;
    out->gradient_pass = gradient_pass;
}
