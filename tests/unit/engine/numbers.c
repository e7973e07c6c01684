/* Arrays of numbers for tests of kernels. */
#include "numbers.h"

#include <math.h>
#include <stdlib.h>

enum { GUARD = 2 * PANEL };

static const real guard = 12345;

void *allocate(size_t n, size_t size)
{
    void *p = calloc(n > 0 ? n : 1, size);

    assert_non_null(p);
    return p;
}

real *guarded(size_t n)
{
    real *v = allocate(n + GUARD, sizeof(*v));

    for (size_t i = 0; i < GUARD; i++)
        v[n + i] = guard;
    return v;
}

void check_guard(const real *v, size_t n)
{
    for (size_t i = 0; i < GUARD; i++)
        assert_true(v[n + i] == guard);
}

real *noise(size_t n, const char *name)
{
    real *v = guarded(n);

    hash_fill(v, FIXTURE_SEED, name, n, 1.0);
    return v;
}

real *grid(size_t n, const char *name)
{
    real *v = guarded(n);
    uint64_t start = hash_start(FIXTURE_SEED, name);

    for (size_t i = 0; i < n; i++)
        v[i] = (real)(floor(64 * hash_value(start, i)) / 8);
    return v;
}

void check_near(const char *what, double found, double want, double bound)
{
    if (!(fabs(found - want) <= bound))
        fail_msg("%s: %.9g, not %.9g within %.3g", what, found, want, bound);
}

double slope_terms(enum activation act, double v)
{
    if (act == ACT_HARDSWISH)
        return 1.5;
    return act < ACT_SILU ? 0 : 2 * (1 + fabs(v) / (1 + exp(-v)));
}
