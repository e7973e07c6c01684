/* Softmax cross-entropy. In double: a handful of values per example, and the loss is
 * what people compare. */
#include "engine/nn/kernels_class.h"

#include <math.h>

/* The largest output and sum_c exp(z[c] - largest). */
static double exp_sum(const real *z, double *largest, size_t n_classes)
{
    double sum = 0;

    *largest = (double)z[0];
    for (size_t c = 1; c < n_classes; c++) {
        if ((double)z[c] > *largest)
            *largest = (double)z[c];
    }
    for (size_t c = 0; c < n_classes; c++)
        sum += exp((double)z[c] - *largest);
    return sum;
}

/* sum_c t[c] z[c] of smoothed targets t. */
static double target_sum(const real *z, int64_t label, double smoothing, size_t n_classes)
{
    double sum = 0;

    if (smoothing == 0)
        return (double)z[label];
    for (size_t c = 0; c < n_classes; c++)
        sum += (double)z[c];
    return (1 - smoothing) * (double)z[label] + smoothing * (sum / (double)n_classes);
}

static void cross_entropy_forward(real *loss, const real *z, const int64_t *label,
                                  double smoothing, size_t n_rows, size_t n_classes)
{
    for (size_t r = 0; r < n_rows; r++) {
        const real *z_r = z + r * padded(n_classes);
        double largest;
        double sum = exp_sum(z_r, &largest, n_classes);

        loss[r] =
            (real)(log(sum) + largest - target_sum(z_r, label[r], smoothing, n_classes));
    }
}

static void cross_entropy_backward(real *dz, const real *z, const int64_t *label,
                                   double smoothing, double scale, size_t n_rows,
                                   size_t n_classes)
{
    double elsewhere = smoothing / (double)n_classes;

    for (size_t r = 0; r < n_rows; r++, dz += padded(n_classes)) {
        const real *z_r = z + r * padded(n_classes);
        double largest;
        double sum = exp_sum(z_r, &largest, n_classes);

        for (size_t c = 0; c < n_classes; c++) {
            double target = elsewhere + ((int64_t)c == label[r] ? 1 - smoothing : 0);
            double p = exp((double)z_r[c] - largest) / sum;

            dz[c] = (real)(scale * (p - target));
        }
        for (size_t c = n_classes; c < padded(n_classes); c++)
            dz[c] = 0;
    }
}

void FILL(loss)(struct kernels *out)
{
    out->cross_entropy_forward = cross_entropy_forward;
    out->cross_entropy_backward = cross_entropy_backward;
}
