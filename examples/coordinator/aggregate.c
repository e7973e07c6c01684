/* Order-free FedAvg in fixed point. Source: McMahan et al. 2017, "Communication-
 * efficient learning of deep networks from decentralized data", algorithm 1. */
#include "aggregate.h"

#include "../common/complain.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* hi:lo, two's complement. */
struct sum128 {
    uint64_t lo;
    uint64_t hi;
};

struct aggregate {
    struct sum128 *sums;
    size_t n_sums;
    uint64_t n_updates;
    uint64_t n_examples;
};

static size_t elements(const cygnet_tensor *t)
{
    return (size_t)(t->size_bytes / cygnet_dtype_size(t->dtype));
}

cygnet_status aggregate_create(struct aggregate **out, const cygnet_tensors *global,
                               cygnet_error *err)
{
    size_t n = 0;
    struct aggregate *a;

    *out = NULL;
    for (size_t i = 0; i < cygnet_tensors_count(global); i++) {
        const cygnet_tensor *t = cygnet_tensors_at(global, i);
        if (t->dtype != CYGNET_F32 && t->dtype != CYGNET_I64)
            return complain(err, CYGNET_ESHAPE, 0, "tensor %s is neither F32 nor I64",
                            t->name);
        n += elements(t);
    }
    a = calloc(1, sizeof *a);
    if (a)
        a->sums = calloc(n ? n : 1, sizeof *a->sums);
    if (!a || !a->sums) {
        free(a);
        return complain(err, CYGNET_ENOMEM, 0, "out of memory for the sum of %zu weights",
                        n);
    }
    a->n_sums = n;
    *out = a;
    return CYGNET_OK;
}

void aggregate_destroy(struct aggregate *a)
{
    if (a)
        free(a->sums);
    free(a);
}

static cygnet_status check_counts(const cygnet_tensor *t, cygnet_error *err)
{
    const int64_t *values = t->data;

    for (size_t i = 0; i < elements(t); i++)
        if (values[i] > AGGREGATE_MAX_COUNT || values[i] < -AGGREGATE_MAX_COUNT)
            return complain(err, CYGNET_ELIMIT, 0,
                            "tensor %s: element %zu is beyond +-2^53", t->name, i);
    return CYGNET_OK;
}

static cygnet_status check_values(const cygnet_tensor *t, cygnet_error *err)
{
    const float *values = t->data;

    for (size_t i = 0; i < elements(t); i++) {
        if (!isfinite(values[i]))
            return complain(err, CYGNET_ENUMERIC, 0,
                            "tensor %s: element %zu is not finite", t->name, i);
        if (fabs((double)values[i]) > AGGREGATE_MAX_DELTA)
            return complain(err, CYGNET_ELIMIT, 0,
                            "tensor %s: element %zu is beyond +-%g", t->name, i,
                            AGGREGATE_MAX_DELTA);
    }
    return CYGNET_OK;
}

static cygnet_status check_tensor(const cygnet_tensor *t, const cygnet_tensor *g,
                                  cygnet_error *err)
{
    if (strcmp(t->name, g->name) != 0)
        return complain(err, CYGNET_ESHAPE, 0, "tensor %s is where %s is expected",
                        t->name, g->name);
    if (t->dtype != g->dtype || t->n_dims != g->n_dims ||
        memcmp(t->shape, g->shape, t->n_dims * sizeof t->shape[0]) != 0)
        return complain(err, CYGNET_ESHAPE, 0, "tensor %s is not as in the model",
                        t->name);
    return t->dtype == CYGNET_I64 ? check_counts(t, err) : check_values(t, err);
}

cygnet_status aggregate_check(const cygnet_tensors *deltas, const cygnet_tensors *global,
                              uint64_t examples, cygnet_error *err)
{
    size_t n = cygnet_tensors_count(global);
    cygnet_status st = CYGNET_OK;

    if (examples < 1 || examples > AGGREGATE_MAX_EXAMPLES)
        return complain(err, CYGNET_ELIMIT, 0, "%llu examples are outside 1..%llu",
                        (unsigned long long)examples,
                        (unsigned long long)AGGREGATE_MAX_EXAMPLES);
    if (cygnet_tensors_count(deltas) != n)
        return complain(err, CYGNET_ESHAPE, 0, "%zu tensors where the model has %zu",
                        cygnet_tensors_count(deltas), n);
    for (size_t i = 0; st == CYGNET_OK && i < n; i++)
        st =
            check_tensor(cygnet_tensors_at(deltas, i), cygnet_tensors_at(global, i), err);
    return st;
}

/* sum += q * n. Invariant: |q| <= 2^62 and n <= 2^31, so that neither partial
 * product overflows 64 bits. */
static void add_product(struct sum128 *sum, int64_t q, uint64_t n)
{
    uint64_t magnitude = q < 0 ? 0 - (uint64_t)q : (uint64_t)q;
    uint64_t low = (magnitude & UINT32_MAX) * n;
    uint64_t high = (magnitude >> 32) * n;
    uint64_t lo = low + (high << 32);
    uint64_t hi = (high >> 32) + (lo < low);

    if (q < 0) {
        lo = 0 - lo;
        hi = ~hi + (lo == 0);
    }
    sum->lo += lo;
    sum->hi += hi + (sum->lo < lo);
}

/* The nearest double, twice rounded at most; a function of the sum alone. */
static double to_double(struct sum128 sum)
{
    int negative = sum.hi >> 63 != 0;
    double value;

    if (negative) {
        sum.lo = 0 - sum.lo;
        sum.hi = ~sum.hi + (sum.lo == 0);
    }
    value = ldexp((double)sum.hi, 64) + (double)sum.lo;
    return negative ? -value : value;
}

/* What of the tensor's element k goes into its sum. */
static int64_t summand(const cygnet_tensor *t, size_t k)
{
    if (t->dtype == CYGNET_I64)
        return ((const int64_t *)t->data)[k];
    return (int64_t)rint(
        ldexp((double)((const float *)t->data)[k], AGGREGATE_SCALE_BITS));
}

cygnet_status aggregate_add(struct aggregate *a, const cygnet_tensors *deltas,
                            uint64_t examples, cygnet_error *err)
{
    struct sum128 *sum = a->sums;

    if (a->n_updates >= AGGREGATE_MAX_UPDATES)
        return complain(err, CYGNET_ELIMIT, 0, "a round takes at most %llu updates",
                        (unsigned long long)AGGREGATE_MAX_UPDATES);
    for (size_t i = 0; i < cygnet_tensors_count(deltas); i++) {
        const cygnet_tensor *t = cygnet_tensors_at(deltas, i);

        for (size_t k = 0; k < elements(t); k++, sum++)
            add_product(sum, summand(t, k), examples);
    }
    a->n_updates++;
    a->n_examples += examples;
    return CYGNET_OK;
}

uint64_t aggregate_count(const struct aggregate *a)
{
    return a->n_updates;
}

uint64_t aggregate_examples(const struct aggregate *a)
{
    return a->n_examples;
}

static int is_variance(const char *name)
{
    static const char suffix[] = "running_var";
    size_t len = strlen(name);

    return len >= sizeof suffix - 1 &&
           strcmp(name + len - (sizeof suffix - 1), suffix) == 0;
}

/* factor  server_lr / (2^AGGREGATE_SCALE_BITS * sum of n_i) */
static cygnet_status apply_floats(cygnet_tensor *t, const cygnet_tensor *g,
                                  const struct sum128 *sums, double factor,
                                  cygnet_error *err)
{
    const float *old = g->data;
    float *out = t->data;
    int may_be_negative = !is_variance(g->name);

    for (size_t i = 0; i < elements(g); i++) {
        out[i] = (float)((double)old[i] + to_double(sums[i]) * factor);
        if (!isfinite(out[i]))
            return complain(err, CYGNET_ENUMERIC, 0,
                            "weight %zu of %s left float's range", i, g->name);
        if (!may_be_negative && out[i] < 0.0f)
            out[i] = 0.0f;
    }
    return CYGNET_OK;
}

static cygnet_status apply_counts(cygnet_tensor *t, const cygnet_tensor *g,
                                  const struct sum128 *sums, double factor,
                                  cygnet_error *err)
{
    const int64_t *old = g->data;
    int64_t *out = t->data;

    factor = ldexp(factor, AGGREGATE_SCALE_BITS);
    for (size_t i = 0; i < elements(g); i++) {
        double change = rint(to_double(sums[i]) * factor);

        if (!(fabs(change) <= (double)AGGREGATE_MAX_COUNT) ||
            old[i] > INT64_MAX - AGGREGATE_MAX_COUNT || old[i] < 0)
            return complain(err, CYGNET_ENUMERIC, 0, "count %zu of %s left its range", i,
                            g->name);
        out[i] = old[i] + (int64_t)change;
        if (out[i] < 0)
            out[i] = 0;
    }
    return CYGNET_OK;
}

static cygnet_status apply_tensor(cygnet_tensors *out, const cygnet_tensor *g,
                                  const struct sum128 *sums, double factor,
                                  cygnet_error *err)
{
    cygnet_tensor *t = NULL;
    cygnet_status st =
        cygnet_tensors_add(&t, out, g->name, g->dtype, g->shape, g->n_dims, err);

    if (st != CYGNET_OK)
        return st;
    return g->dtype == CYGNET_I64 ? apply_counts(t, g, sums, factor, err)
                                  : apply_floats(t, g, sums, factor, err);
}

cygnet_status aggregate_apply(cygnet_tensors **out, const struct aggregate *a,
                              const cygnet_tensors *global, double server_lr,
                              cygnet_error *err)
{
    const struct sum128 *sums = a->sums;
    cygnet_tensors *weights = NULL;
    double factor;
    cygnet_status st;

    *out = NULL;
    if (a->n_examples == 0)
        return complain(err, CYGNET_ESTATE, 0, "there is no update to aggregate");
    factor = ldexp(server_lr / (double)a->n_examples, -AGGREGATE_SCALE_BITS);
    st = cygnet_tensors_create(&weights, a->n_sums * sizeof(int64_t), NULL, err);
    for (size_t i = 0; st == CYGNET_OK && i < cygnet_tensors_count(global); i++) {
        const cygnet_tensor *g = cygnet_tensors_at(global, i);
        st = apply_tensor(weights, g, sums, factor, err);
        sums += elements(g);
    }
    if (st == CYGNET_OK)
        *out = weights;
    else
        cygnet_tensors_destroy(weights);
    return st;
}
