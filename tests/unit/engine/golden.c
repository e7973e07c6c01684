/* Reading golden files. */
#include "golden.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N_PROJECTIONS = 16, N_VALUES = 8 };

static void open_file(struct golden *g, const char *name, const struct kernels *kernels)
{
    char path[512];
    unsigned version;
    unsigned long long seed;

    (void)snprintf(path, sizeof(path), "%s/%s", getenv("CYGNET_GOLDEN_DIR"), name);
    g->kernels = *kernels;
    g->file = fopen(path, "r");
    assert_non_null(g->file);
    assert_int_equal(fscanf(g->file, "%150s %u %llu", g->word, &version, &seed), 3);
    assert_string_equal(g->word, "cygnet-golden");
    assert_int_equal(version, 1);
    assert_true(seed == FIXTURE_SEED);
    assert_int_equal(fscanf(g->file, "%150s", g->word), 1);
}

/* False at the end of the file, which has to be marked. */
static bool next_case(struct golden *g, struct golden_case *c)
{
    if (strcmp(g->word, "end") == 0)
        return false;
    assert_string_equal(g->word, "case");
    assert_int_equal(fscanf(g->file, "%31s %63s %zu", c->kind, c->spec, &c->n_params), 3);
    assert_true(c->n_params <= GOLDEN_MAX_PARAMS);
    for (size_t i = 0; i < c->n_params; i++)
        assert_int_equal(fscanf(g->file, "%zu", &c->params[i]), 1);
    (void)snprintf(g->found_in, sizeof(g->found_in), "%s %s (%zu %zu %zu ...)", c->kind,
                   c->spec, c->params[0], c->params[1], c->params[2]);
    assert_int_equal(fscanf(g->file, "%150s", g->word), 1);
    return true;
}

void golden_next(struct golden *g)
{
    assert_int_equal(fscanf(g->file, "%150s", g->word), 1);
}

double golden_number(struct golden *g)
{
    golden_next(g);
    return strtod(g->word, NULL);
}

static double projection(const real *v, size_t n, int p)
{
    char name[32];
    double sum = 0;
    uint64_t start;

    (void)snprintf(name, sizeof(name), "projection %d", p);
    start = hash_start(FIXTURE_SEED, name);
    for (size_t i = 0; i < n; i++)
        sum += (double)v[i] * hash_value(start, i);
    return sum;
}

static void check_number(const struct golden *g, const char *what, double got,
                         double want, double bound)
{
    if (!(fabs(got - want) <= bound))
        fail_msg("%s, %s: got %.17g, want %.17g within %g", g->found_in, what, got, want,
                 bound);
}

/* If ||error|| <= tolerance ||exact||, then the norm and any one value are off by
 * at most that. A projection on a direction d that does not know the error is off
 * by ||error|| |d| / sqrt(n) = 0.58 ||error|| on average; 4 of those are allowed. */
void golden_check(struct golden *g, const char *want_name, const real *v, size_t n,
                  double tolerance)
{
    double norm = 0, exact;
    size_t elements;
    char name[160];

    assert_string_equal(g->word, "tensor");
    assert_int_equal(fscanf(g->file, "%150s %zu", name, &elements), 2);
    assert_string_equal(name, want_name);
    assert_int_equal(elements, n);
    exact = golden_number(g);
    for (size_t i = 0; i < n; i++)
        norm += (double)v[i] * (double)v[i];
    check_number(g, name, sqrt(norm), exact, tolerance * exact);
    for (int p = 0; p < N_PROJECTIONS; p++)
        check_number(g, name, projection(v, n, p), golden_number(g),
                     4 * 0.58 * tolerance * exact);
    for (size_t i = 0; i < N_VALUES; i++)
        check_number(g, name, (double)v[i * n / N_VALUES], golden_number(g),
                     tolerance * exact);
    golden_next(g);
}

void golden_check_file(const char *name, const struct kernels *kernels, size_t n_cases,
                       void (*check)(struct golden *, const struct golden_case *))
{
    struct golden g;
    struct golden_case c;
    size_t n = 0;

    for (open_file(&g, name, kernels); next_case(&g, &c); n++)
        check(&g, &c);
    assert_int_equal(n, n_cases);
    (void)fclose(g.file);
}
