/* The explore command: what a cold device finds in its first rounds and what that costs
 * it, on modelled phones. Every figure is modelled. */
#include "tests/bench/bench.h"

#include "examples/common/command_line.h"
#include "examples/common/complain.h"
#include "tests/bench/trial.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SEEDS = 100000 };

#define ABOVE 0.10

struct explore_options {
    const char *devices;
    const char *json;
    uint32_t seeds;
    uint32_t rounds;
    uint32_t steps;
    double deadline;
};

#define AT(field) offsetof(struct explore_options, field)

static const struct option_row ROWS[] = {
    {"devices", OPTION_TEXT, AT(devices), 0, 0, NULL},
    {"json", OPTION_TEXT, AT(json), 0, 0, NULL},
    {"seeds", OPTION_U32, AT(seeds), 1, MAX_SEEDS, NULL},
    {"rounds", OPTION_U32, AT(rounds), 1, 1000, NULL},
    {"steps", OPTION_U32, AT(steps), 1, 1000000, NULL},
    {"deadline", OPTION_REAL, AT(deadline), 1, 1e6, NULL},
    {NULL, OPTION_FLAG, 0, 0, 0, NULL},
};

/* Of all seeds of one case; the arrays hold a value a seed. */
struct tally {
    double *regret, *lost, *missing;
    double lost_later, rounds;
    uint32_t n, n_regret, n_lost, n_missing, n_complete, n_late;
    struct trial_result last;
};

static void add(struct tally *t, const struct trial_result *r)
{
    t->regret[t->n] = r->regret;
    t->lost[t->n] = r->lost;
    t->missing[t->n] = r->missing;
    t->n++;
    t->n_regret += r->regret > ABOVE;
    t->n_lost += r->lost > ABOVE;
    t->n_missing += r->missing > TRIAL_TOLERANCE;
    t->n_complete += r->complete > 0;
    t->n_late += r->n_late;
    t->rounds += r->complete;
    t->lost_later += r->lost_later;
    t->last = *r;
}

static double mean(const double *values, uint32_t n)
{
    double sum = 0;

    for (uint32_t i = 0; i < n; i++)
        sum += values[i];
    return sum / n;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Sorts the values. */
static double p99(double *values, uint32_t n)
{
    qsort(values, n, sizeof(*values), compare);
    return values[(uint64_t)(n - 1) * 99 / 100];
}

static void put_figures(struct json_builder *b, const char *name, double *values,
                        uint32_t n)
{
    json_open_object(b, name);
    json_put_double(b, "mean", mean(values, n));
    json_put_double(b, "p99", p99(values, n));
    json_put_double(b, "worst", values[n - 1]);
    json_close(b);
}

static void put_tally(struct json_builder *b, struct tally *t)
{
    put_figures(b, "regret", t->regret, t->n);
    json_put_u64(b, "regret_above_10_percent", t->n_regret);
    put_figures(b, "lost", t->lost, t->n);
    json_put_u64(b, "lost_above_10_percent", t->n_lost);
    json_put_double(b, "lost_later_mean", t->lost_later / t->n);
    json_put_u64(b, "frontier_complete", t->n_complete);
    json_put_double(b, "rounds_to_complete_mean",
                    t->n_complete > 0 ? t->rounds / t->n_complete : (double)NAN);
    put_figures(b, "missing", t->missing, t->n);
    json_put_u64(b, "missing_above_15_percent", t->n_missing);
    json_put_u64(b, "late_rounds", t->n_late);
    json_put_u64(b, "choices", t->last.n_entries);
}

static void print_line(FILE *file, const struct trial *trial, struct tally *t)
{
    fprintf(file,
            "%-34s %-9s %6.1f%% %6.1f%% %4u %6.1f%% %6.1f%% %4u %7.1f%% %4u/%-4u %5.1f "
            "%6.1f%% %4u %5u\n",
            trial->device->name, trial->workload->name, 100 * mean(t->regret, t->n),
            100 * p99(t->regret, t->n), t->n_regret, 100 * mean(t->lost, t->n),
            100 * p99(t->lost, t->n), t->n_lost, 100 * t->lost_later / t->n,
            t->n_complete, t->n,
            t->n_complete > 0 ? t->rounds / t->n_complete : (double)NAN,
            100 * p99(t->missing, t->n), t->n_missing, t->n_late);
    (void)fflush(file);
}

static cygnet_status write_row(FILE *file, const struct trial *trial, struct tally *t,
                               cygnet_error *err)
{
    struct json_builder *b = json_build();

    json_open_object(b, NULL);
    json_put_string(b, "device", trial->device->name);
    json_put_string(b, "soc", trial->device->soc);
    json_put_string(b, "workload", trial->workload->name);
    json_put_bool(b, "modelled", true);
    json_put_string(b, "aim", trial->energies ? "least energy" : "fastest");
    json_put_double(b, "deadline", trial->deadline);
    json_put_u64(b, "seeds", t->n);
    json_put_u64(b, "steps", trial->n_steps);
    json_put_u64(b, "rounds", trial->n_rounds);
    put_tally(b, t);
    json_close(b);
    return bench_write(file, b, err);
}

static cygnet_status run_case(FILE *json, struct trial *trial, uint32_t n_seeds,
                              cygnet_error *err)
{
    struct tally t = {.n = 0};
    double *values = calloc((size_t)n_seeds * 3, sizeof(*values));
    cygnet_status st = CYGNET_OK;

    if (!values)
        return complain(err, CYGNET_ENOMEM, 0, "out of memory for the trials");
    t.regret = values;
    t.lost = values + n_seeds;
    t.missing = values + (size_t)n_seeds * 2;
    for (uint32_t i = 0; i < n_seeds; i++) {
        struct trial_result result;

        trial_run(&result, trial);
        add(&t, &result);
        trial->seed++;
    }
    print_line(stdout, trial, &t);
    if (json)
        st = write_row(json, trial, &t, err);
    free(values);
    return st;
}

static void print_heading(uint32_t n_seeds)
{
    printf("modelled: %u devices a row, their speeds and powers varied by 15 %%\n"
           "%-34s %-9s %7s %7s %4s %7s %7s %4s %8s %9s %5s %7s %4s %5s\n",
           n_seeds, "device", "workload", "regret", "p99", ">10", "lost", "p99", ">10",
           "later", "complete", "round", "missing", ">15", "late");
}

static cygnet_status run_all(FILE *json, const struct explore_options *o,
                             cygnet_error *err)
{
    struct device_model device;
    struct device_workload workload;
    struct trial trial = {.device = &device,
                          .workload = &workload,
                          .energies = o->deadline > 0,
                          .wild_share = 0.01,
                          .deadline = o->deadline > 0 ? o->deadline : (double)INFINITY,
                          .n_rounds = o->rounds,
                          .n_steps = o->steps};
    cygnet_status st = CYGNET_OK;

    for (size_t p = 0; p < DEVICE_PHONES && st == CYGNET_OK; p++) {
        st = device_model_read(&device, o->devices, DEVICE_PHONE_NAMES[p], err);
        for (size_t w = 0; w < DEVICE_WORKLOADS && st == CYGNET_OK; w++) {
            st = device_workload_read(&workload, o->devices, DEVICE_WORKLOAD_NAMES[w],
                                      err);
            if (st == CYGNET_OK && p == 0 && w == 0)
                print_heading(o->seeds);
            trial.seed = (uint64_t)p << 32;
            if (st == CYGNET_OK)
                st = run_case(json, &trial, o->seeds, err);
        }
    }
    return st;
}

int bench_explore(int argc, char **argv)
{
    struct explore_options o = {.devices = "tests/fixtures/devices",
                                .seeds = 200,
                                .rounds = 5,
                                .steps = 60};
    cygnet_error err;
    cygnet_status st = command_line_parse(&o, ROWS, argc, argv, &err);
    FILE *json = NULL;

    if (st != CYGNET_OK)
        return bench_complain(BENCH_USAGE, &err);
    if (o.json)
        json = bench_open(o.json, &err);
    if (o.json && !json)
        return bench_complain(BENCH_FAILED, &err);
    st = run_all(json, &o, &err);
    if (json && bench_close(json, st == CYGNET_OK ? &err : NULL) != CYGNET_OK &&
        st == CYGNET_OK)
        st = err.status;
    return st == CYGNET_OK ? BENCH_DONE : bench_complain(BENCH_FAILED, &err);
}
