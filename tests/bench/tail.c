/* The bootstrap needs no sorting: values are sorted once, and a draw is how often each
 * pair counts, so the quantile is found by walking in from the end. */
#include "tests/bench/tail.h"

#include "base/rng.h"
#include "examples/common/complain.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N_DRAWS = 2000 };

static int compare(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

double tail_quantile(double *values, size_t n, double q)
{
    double at;
    size_t i;

    if (n == 0)
        return (double)NAN;
    qsort(values, n, sizeof(*values), compare);
    at = q * (double)(n - 1);
    i = (size_t)at;
    return values[i] + (at - (double)i) * (values[i + 1 < n ? i + 1 : i] - values[i]);
}

void tail_clear(struct tail *tail)
{
    free(tail->alone.values);
    free(tail->alone.pair);
    free(tail->beside.values);
    free(tail->beside.pair);
    *tail = (struct tail){.n_pairs = 0};
}

static bool grow(struct tail_side *side)
{
    size_t max = side->max > 0 ? 2 * side->max : 1024;
    double *values = realloc(side->values, max * sizeof(*values));
    uint32_t *pair;

    if (!values)
        return false;
    side->values = values;
    pair = realloc(side->pair, max * sizeof(*pair));
    if (!pair)
        return false;
    side->pair = pair;
    side->max = max;
    return true;
}

bool tail_add(struct tail_side *side, double value, uint32_t pair)
{
    if (side->n == side->max && !grow(side))
        return false;
    side->values[side->n] = value;
    side->pair[side->n++] = pair;
    return true;
}

struct value {
    double value;
    uint32_t pair;
};

static int compare_down(const void *a, const void *b)
{
    const struct value *x = a, *y = b;

    return (x->value < y->value) - (x->value > y->value);
}

/* From the highest down. */
static bool sort_down(struct tail_side *side)
{
    struct value *all = malloc((side->n > 0 ? side->n : 1) * sizeof(*all));

    if (!all)
        return false;
    for (size_t i = 0; i < side->n; i++)
        all[i] = (struct value){side->values[i], side->pair[i]};
    qsort(all, side->n, sizeof(*all), compare_down);
    for (size_t i = 0; i < side->n; i++) {
        side->values[i] = all[i].value;
        side->pair[i] = all[i].pair;
    }
    free(all);
    return true;
}

/* The value that the given share of all lies above, each counted as often as its
 * pair. */
static double weighted(const struct tail_side *side, const uint32_t *times, double above)
{
    double all = 0.0, seen = 0.0;

    for (size_t i = 0; i < side->n; i++)
        all += times[side->pair[i]];
    for (size_t i = 0; i < side->n; i++) {
        seen += times[side->pair[i]];
        if (seen > above * all)
            return side->values[i];
    }
    return (double)NAN;
}

static double draw(struct rng *rng, const struct tail *tail, uint32_t *times, double q)
{
    memset(times, 0, tail->n_pairs * sizeof(*times));
    for (uint32_t i = 0; i < tail->n_pairs; i++)
        times[rng_below(rng, tail->n_pairs)]++;
    return weighted(&tail->beside, times, 1 - q) / weighted(&tail->alone, times, 1 - q);
}

/* Always the same draws, so that the same values have the same interval. One that has
 * no values on a side says nothing. */
static void bootstrap(struct tail_ratio *out, const struct tail *tail, uint32_t *times,
                      double *ratios, double q)
{
    struct rng rng;
    size_t n = 0;

    rng_init(&rng, 0, "bootstrap", 0);
    for (size_t i = 0; i < N_DRAWS; i++) {
        ratios[n] = draw(&rng, tail, times, q);
        n += isnan(ratios[n]) ? 0 : 1;
    }
    out->low = tail_quantile(ratios, n, 0.025);
    out->high = tail_quantile(ratios, n, 0.975);
}

cygnet_status tail_compare(struct tail_ratio *out, struct tail *tail, double q,
                           cygnet_error *err)
{
    uint32_t *times = calloc(tail->n_pairs + 1, sizeof(*times));
    double *ratios = calloc(N_DRAWS, sizeof(*ratios));
    bool is_sorted = sort_down(&tail->alone) && sort_down(&tail->beside);

    *out = (struct tail_ratio){(double)NAN, (double)NAN, (double)NAN};
    if (times && ratios && is_sorted && tail->alone.n > 0 && tail->beside.n > 0) {
        for (uint32_t i = 0; i < tail->n_pairs; i++)
            times[i] = 1;
        out->ratio =
            weighted(&tail->beside, times, 1 - q) / weighted(&tail->alone, times, 1 - q);
        if (tail->n_pairs > 1)
            bootstrap(out, tail, times, ratios, q);
    }
    is_sorted = is_sorted && times && ratios;
    free(times);
    free(ratios);
    return is_sorted ? CYGNET_OK
                     : complain(err, CYGNET_ENOMEM, 0, "out of memory for a bootstrap");
}

static double draw_sums(struct rng *rng, const double *a, const double *b, size_t n)
{
    double sum_a = 0.0, sum_b = 0.0;

    for (size_t i = 0; i < n; i++) {
        size_t at = rng_below(rng, n);

        sum_a += a[at];
        sum_b += b[at];
    }
    return sum_a / sum_b;
}

cygnet_status tail_sums(struct tail_ratio *out, const double *a, const double *b,
                        size_t n, cygnet_error *err)
{
    double *ratios = calloc(N_DRAWS, sizeof(*ratios));
    double sum_a = 0.0, sum_b = 0.0;
    struct rng rng;

    *out = (struct tail_ratio){(double)NAN, (double)NAN, (double)NAN};
    if (!ratios)
        return complain(err, CYGNET_ENOMEM, 0, "out of memory for a bootstrap");
    for (size_t i = 0; i < n; i++) {
        sum_a += a[i];
        sum_b += b[i];
    }
    out->ratio = sum_a / sum_b;
    rng_init(&rng, 0, "bootstrap", 0);
    for (size_t i = 0; i < N_DRAWS && n > 1; i++)
        ratios[i] = draw_sums(&rng, a, b, n);
    if (n > 1) {
        out->low = tail_quantile(ratios, N_DRAWS, 0.025);
        out->high = tail_quantile(ratios, N_DRAWS, 0.975);
    }
    free(ratios);
    return CYGNET_OK;
}

static void bootstrap_median(struct tail_middle *out, const double *values, size_t n,
                             double *drawn, double *medians)
{
    struct rng rng;

    rng_init(&rng, 0, "bootstrap", 0);
    for (size_t i = 0; i < N_DRAWS; i++) {
        for (size_t j = 0; j < n; j++)
            drawn[j] = values[rng_below(&rng, n)];
        medians[i] = tail_quantile(drawn, n, 0.5);
    }
    out->low = tail_quantile(medians, N_DRAWS, 0.025);
    out->high = tail_quantile(medians, N_DRAWS, 0.975);
}

cygnet_status tail_median(struct tail_middle *out, const double *values, size_t n,
                          cygnet_error *err)
{
    double *drawn = calloc(n + 1, sizeof(*drawn));
    double *medians = calloc(N_DRAWS, sizeof(*medians));
    bool has_memory = drawn && medians;

    *out = (struct tail_middle){(double)NAN, (double)NAN, (double)NAN};
    if (has_memory && n > 0) {
        memcpy(drawn, values, n * sizeof(*drawn));
        out->median = tail_quantile(drawn, n, 0.5);
    }
    if (has_memory && n > 1)
        bootstrap_median(out, values, n, drawn, medians);
    free(drawn);
    free(medians);
    return has_memory ? CYGNET_OK
                      : complain(err, CYGNET_ENOMEM, 0, "out of memory for a bootstrap");
}
