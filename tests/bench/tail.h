/* Quantiles, and how sure the ratio of two of them is. */
#ifndef TESTS_BENCH_TAIL_H
#define TESTS_BENCH_TAIL_H

#include <cygnet/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Sorts the values in place. NaN where there are none. */
double tail_quantile(double *values, size_t n, double q);

/* Values of two sides, in pairs of runs: value i is of pair pair[i]. Zero-initialized
 * and empty; tail_clear frees. */
struct tail_side {
    double *values;
    uint32_t *pair;
    size_t n, max;
};

struct tail {
    struct tail_side alone;
    struct tail_side beside;
    uint32_t n_pairs;
};

void tail_clear(struct tail *tail);

/* False: out of memory. */
bool tail_add(struct tail_side *side, double value, uint32_t pair);

struct tail_ratio {
    double ratio;
    double low, high;
};

/* The quantile of all values beside over that of all values alone, and the 95 % interval
 * of a bootstrap that draws whole pairs (2,000 times, the percentile method): values of
 * one run are not independent of each other. Sorts the sides. NaN where a side is empty;
 * the interval is NaN with fewer than two pairs.
 * Errors: ENOMEM. */
cygnet_status tail_compare(struct tail_ratio *out, struct tail *tail, double q,
                           cygnet_error *err);

/* The sum of `a` over that of `b`, which were measured in pairs, and the 95 % interval of
 * a bootstrap that draws whole pairs. As tail_compare.
 * Errors: ENOMEM. */
cygnet_status tail_sums(struct tail_ratio *out, const double *a, const double *b,
                        size_t n, cygnet_error *err);

/* NaN: not known. */
struct tail_middle {
    double median;
    double low, high;
};

/* The median of values and the 95 % interval of a bootstrap over them (2,000 draws, the
 * percentile method). The interval is NaN with fewer than two.
 * Errors: ENOMEM. */
cygnet_status tail_median(struct tail_middle *out, const double *values, size_t n,
                          cygnet_error *err);

#endif
