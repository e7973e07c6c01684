/* What the Swan engine costs where nothing else runs. */
#include "tests/bench/controller_parts.h"

#include "tests/bench/tail.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

enum { PAIRS_MAX = 1000, CHOICES_MAX = 5 };

/* rates[i][p]  samples a second of scenario i in round p */
struct overhead {
    const struct controller_options *options;
    struct scenario scenarios[SCENARIO_MAX];
    size_t n;
    double rates[CHOICES_MAX][PAIRS_MAX];
};

/* Swan first, then the fixed choices. */
static cygnet_status parse(struct overhead *x, cygnet_error *err)
{
    long n_cores = sysconf(_SC_NPROCESSORS_ONLN);
    char list[160] = "swan,fixed-1,fixed-1-placed";

    if (n_cores > 1)
        (void)snprintf(list, sizeof(list),
                       "swan,fixed-1,fixed-1-placed,fixed-%ld,fixed-%ld-placed", n_cores,
                       n_cores);
    return scenario_parse(x->scenarios, &x->n, list, err);
}

static cygnet_status run_one(double *rate, struct scenario *s, double seconds,
                             cygnet_error *err)
{
    struct record record;
    cygnet_status st =
        scenario_run(&record, s, NULL, 250.0 * seconds, 1e3 * seconds, err);

    *rate = record_samples(&record, record.from_ms, record.until_ms) / seconds;
    record_clear(&record);
    return st;
}

/* Round 0 is the warm-up, and overwritten. */
static cygnet_status run_rounds(struct overhead *x, cygnet_error *err)
{
    const struct controller_options *o = x->options;
    cygnet_status st = CYGNET_OK;

    for (size_t i = 0; i < x->n && st == CYGNET_OK; i++) {
        st = scenario_start(&x->scenarios[i], &o->work, err);
        if (st == CYGNET_OK)
            st = run_one(&x->rates[i][0], &x->scenarios[i], o->seconds, err);
    }
    for (uint32_t p = 0; p < o->pairs; p++) {
        for (size_t i = 0; i < x->n && st == CYGNET_OK; i++)
            st = run_one(&x->rates[i][p], &x->scenarios[i], o->seconds, err);
    }
    return st;
}

static double median(const double *values, size_t n)
{
    double copy[PAIRS_MAX];

    memcpy(copy, values, n * sizeof(*copy));
    return tail_quantile(copy, n, 0.5);
}

static size_t find_best(const struct overhead *x)
{
    size_t best = 1;

    for (size_t i = 2; i < x->n; i++) {
        if (median(x->rates[i], x->options->pairs) >
            median(x->rates[best], x->options->pairs))
            best = i;
    }
    return best;
}

static cygnet_status report(const struct overhead *x, cygnet_error *err)
{
    const struct controller_options *o = x->options;
    struct json_builder *b = controller_row(o, "overhead");
    size_t best = find_best(x);
    double pct[PAIRS_MAX];

    for (uint32_t p = 0; p < o->pairs; p++)
        pct[p] = 100.0 * (x->rates[best][p] / x->rates[0][p] - 1.0);
    json_put_u64(b, "pairs", o->pairs);
    json_put_string(b, "best_fixed", x->scenarios[best].name);
    for (size_t i = 0; i < x->n; i++) {
        char key[64];

        (void)snprintf(key, sizeof(key), "samples_per_s_%s", x->scenarios[i].name);
        json_put_double(b, key, median(x->rates[i], o->pairs));
    }
    json_put_double(b, "overhead_pct_p50", tail_quantile(pct, o->pairs, 0.5));
    json_put_double(b, "overhead_pct_quartile_1", tail_quantile(pct, o->pairs, 0.25));
    json_put_double(b, "overhead_pct_quartile_3", tail_quantile(pct, o->pairs, 0.75));
    if (o->speaks) {
        for (size_t i = 0; i < x->n; i++)
            printf("%-16s %9.1f samples a second\n", x->scenarios[i].name,
                   median(x->rates[i], o->pairs));
        printf("overhead of swan against %s: median %.2f %%, quartiles %.2f to %.2f\n",
               x->scenarios[best].name, tail_quantile(pct, o->pairs, 0.5),
               tail_quantile(pct, o->pairs, 0.25), tail_quantile(pct, o->pairs, 0.75));
    }
    return controller_write(o, b, err);
}

cygnet_status controller_overhead(const struct controller_options *o, cygnet_error *err)
{
    static struct overhead x;
    cygnet_status st;

    x = (struct overhead){.options = o};
    st = parse(&x, err);
    if (st == CYGNET_OK)
        st = run_rounds(&x, err);
    scenario_end(x.scenarios, x.n);
    return st == CYGNET_OK ? report(&x, err) : st;
}
