/* Softmax cross-entropy. In double: a handful of values per example, and the loss is
 * what people compare. */
#include "engine/nn/kernels_class.h"

#include <math.h>
#include <string.h>

enum { PIECE = 64 };

static double largest_of(const real *z, size_t n_classes)
{
    real largest = z[0];

    for (size_t c = 1; c < n_classes; c++)
        largest = z[c] > largest ? z[c] : largest;
    return (double)largest;
}

/* exp(x) for x <= 0, to the last bits, without branches: x = k log 2 + r with |r| at
 * most log(2) / 2, and the series of exp(r). A NaN stays. */
ALWAYS_INLINE double exp_of(double x)
{
    static const double round = 6755399441055744.0; /* 1.5 2^52: low bits are units */
    double far = x < -708.0 ? -708.0 : x;
    double shifted = far * 1.4426950408889634074 + round, k = shifted - round;
    double r = far - k * 0.693147180369123816490, p = 1.0 / 6227020800;
    int64_t bits;

    r -= k * 1.90821492927058770002e-10;
    p = p * r + 1.0 / 479001600;
    p = p * r + 1.0 / 39916800;
    p = p * r + 1.0 / 3628800;
    p = p * r + 1.0 / 362880;
    p = p * r + 1.0 / 40320;
    p = p * r + 1.0 / 5040;
    p = p * r + 1.0 / 720;
    p = p * r + 1.0 / 120;
    p = p * r + 1.0 / 24;
    p = p * r + 1.0 / 6;
    p = p * r + 0.5;
    p = p * r + 1;
    p = p * r + 1;
    memcpy(&bits, &shifted, sizeof(bits));
    bits = (int64_t)((uint64_t)(bits + 1023) << 52);
    memcpy(&k, &bits, sizeof(k));
    return p * k;
}

/* sum_c exp(z[c] - largest) */
static double exp_sum(const real *z, double largest, size_t n_classes)
{
    double sum = 0;

    for (size_t first = 0; first < n_classes; first += PIECE) {
        size_t n = n_classes - first < PIECE ? n_classes - first : PIECE;
        double e[PIECE];

        for (size_t c = 0; c < n; c++)
            e[c] = exp_of((double)z[first + c] - largest);
        for (size_t c = 0; c < n; c++)
            sum += e[c];
    }
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
    for (size_t r = 0; r < n_rows; r++, z += padded(n_classes)) {
        double largest = largest_of(z, n_classes);
        double sum = exp_sum(z, largest, n_classes);

        loss[r] =
            (real)(log(sum) + largest - target_sum(z, label[r], smoothing, n_classes));
    }
}

static void cross_entropy_backward(real *dz, const real *z, const int64_t *label,
                                   double smoothing, double scale, size_t n_rows,
                                   size_t n_classes)
{
    double elsewhere = smoothing / (double)n_classes;
    size_t pitch = padded(n_classes);

    for (size_t r = 0; r < n_rows; r++, z += pitch, dz += pitch) {
        double largest = largest_of(z, n_classes);
        double of_one = 1 / exp_sum(z, largest, n_classes);
        size_t at = (size_t)label[r];

        for (size_t c = 0; c < n_classes; c++)
            dz[c] = (real)(scale * (exp_of((double)z[c] - largest) * of_one - elsewhere));
        dz[at] = (real)(scale * (exp_of((double)z[at] - largest) * of_one - elsewhere -
                                 (1 - smoothing)));
        for (size_t c = n_classes; c < pitch; c++)
            dz[c] = 0;
    }
}

void FILL(loss)(struct kernels *out)
{
    out->cross_entropy_forward = cross_entropy_forward;
    out->cross_entropy_backward = cross_entropy_backward;
}
