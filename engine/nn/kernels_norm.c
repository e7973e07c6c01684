/* Batch normalisation, channel by channel. Sums are kept in double, in LANES
 * partial sums: value i of a plane goes to lane i mod LANES, and the lanes are added
 * in their order. That vectorises and depends on the sizes only. */
#include "engine/nn/kernels_shared.h"

enum { LANES = 16 };

static double lane_total(const double lane[LANES])
{
    double sum = 0;

    for (size_t l = 0; l < LANES; l++)
        sum += lane[l];
    return sum;
}

static void add_values(double lane[LANES], const real *x, size_t n)
{
    size_t i = 0;

    for (; i + LANES <= n; i += LANES) {
        for (size_t l = 0; l < LANES; l++)
            lane[l] += (double)x[i + l];
    }
    for (size_t l = 0; i + l < n; l++)
        lane[l] += (double)x[i + l];
}

static void add_squares(double lane[LANES], const real *x, double mean, size_t n)
{
    size_t i = 0;

    for (; i + LANES <= n; i += LANES) {
        for (size_t l = 0; l < LANES; l++) {
            double d = (double)x[i + l] - mean;

            lane[l] += d * d;
        }
    }
    for (size_t l = 0; i + l < n; l++) {
        double d = (double)x[i + l] - mean;

        lane[l] += d * d;
    }
}

static void add_products(double lane[LANES], const real *dy, const real *x, double mean,
                         size_t n)
{
    size_t i = 0;

    for (; i + LANES <= n; i += LANES) {
        for (size_t l = 0; l < LANES; l++)
            lane[l] += (double)dy[i + l] * ((double)x[i + l] - mean);
    }
    for (size_t l = 0; i + l < n; l++)
        lane[l] += (double)dy[i + l] * ((double)x[i + l] - mean);
}

void channel_moments(double *mean, double *variance, const real *x,
                     const struct channel_block *k)
{
    double values = (double)k->n_rows * (double)k->plane;

    for (size_t c = 0; c < k->n_channels; c++, x += k->plane) {
        double sums[LANES] = {0}, squares[LANES] = {0};

        for (size_t r = 0; r < k->n_rows; r++)
            add_values(sums, x + r * k->pitch, k->plane);
        mean[c] = lane_total(sums) / values;
        for (size_t r = 0; r < k->n_rows; r++)
            add_squares(squares, x + r * k->pitch, mean[c], k->plane);
        variance[c] = lane_total(squares) / values;
    }
}

/* y = (x - mean) scale + shift */
static void scale_plane(real *y, const real *x, real mean, real scale, real shift,
                        size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = (x[i] - mean) * scale + shift;
}

void batch_norm_forward(real *y, const real *x, const double *mean, const double *inv_std,
                        const real *w, const real *b, const struct channel_block *k)
{
    for (size_t c = 0; c < k->n_channels; c++) {
        real scale = (real)((double)w[c] * inv_std[c]);

        for (size_t r = 0; r < k->n_rows; r++) {
            size_t at = r * k->pitch + c * k->plane;

            scale_plane(y + at, x + at, (real)mean[c], scale, b[c], k->plane);
        }
    }
}

/* dx = of_dy dy + of_x (x - mean) + constant */
struct affine {
    real mean;
    real of_dy;
    real of_x;
    real constant;
};

static void affine_plane(real *dx, const real *dy, const real *x, const struct affine *a,
                         size_t n)
{
    const struct affine f = *a;

    for (size_t i = 0; i < n; i++)
        dx[i] = f.of_dy * dy[i] + (f.of_x * (x[i] - f.mean) + f.constant);
}

void batch_norm_backward(real *dx, real *dw, real *db, const real *dy, const real *x,
                         const double *mean, const double *inv_std, const real *w,
                         const struct channel_block *k)
{
    double values = (double)k->n_rows * (double)k->plane;

    for (size_t c = 0; c < k->n_channels; c++) {
        double sums[LANES] = {0}, products[LANES] = {0};
        double scale = (double)w[c] * inv_std[c];
        double sum, product;
        struct affine a;

        for (size_t r = 0; r < k->n_rows; r++) {
            size_t at = r * k->pitch + c * k->plane;

            add_values(sums, dy + at, k->plane);
            add_products(products, dy + at, x + at, mean[c], k->plane);
        }
        sum = lane_total(sums);
        product = lane_total(products) * inv_std[c];
        db[c] = (real)sum;
        dw[c] = (real)product;
        a.mean = (real)mean[c];
        a.of_dy = (real)scale;
        a.of_x = (real)(-scale * inv_std[c] * product / values);
        a.constant = (real)(-scale * sum / values);
        for (size_t r = 0; dx && r < k->n_rows; r++) {
            size_t at = r * k->pitch + c * k->plane;

            affine_plane(dx + at, dy + at, x + at, &a, k->plane);
        }
    }
}
