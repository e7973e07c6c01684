/* The interference command: a foreground alone and beside training, in turn. */
#include "tests/bench/interference.h"

#include "examples/common/command_line.h"
#include "examples/common/complain.h"
#include "examples/common/options.h"
#include "tests/bench/bench.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct mode MODES[MODE_MAX] = {{"pinned", "0", false},
                                            {"free", NULL, false},
                                            {"bursts", NULL, true}};

static cygnet_status read_input(void *options, const char *name, const char *text,
                                cygnet_error *err)
{
    struct interference_options *o = options;
    uint32_t dims[4], n_dims;

    o->work.input = text;
    return option_shape(dims, &n_dims, name, text, err);
}

#define AT(field) offsetof(struct interference_options, field)

static const struct option_row ROWS[] = {
    {"pairs", OPTION_U32, AT(pairs), 1, PAIRS_MAX, NULL},
    {"model", OPTION_TEXT, AT(work.model), 0, 0, NULL},
    {"input", OPTION_READ, 0, 0, 0, read_input},
    {"batch", OPTION_U32, AT(batch), 1, 65536, NULL},
    {"seconds", OPTION_REAL, AT(seconds), 0.1, 3600, NULL},
    {"lead", OPTION_REAL, AT(lead_s), 0, 3600, NULL},
    {"burst", OPTION_REAL, AT(burst_s), 0.1, 3600, NULL},
    {"onset", OPTION_REAL, AT(onset_s), 0, 3600, NULL},
    {"set", OPTION_TEXT, AT(set), 0, 0, NULL},
    {"foreground", OPTION_TEXT, AT(foreground), 0, 0, NULL},
    {"pytorch", OPTION_TEXT, AT(work.python), 0, 0, NULL},
    {"json", OPTION_TEXT, AT(json), 0, 0, NULL},
    {"plot", OPTION_TEXT, AT(plot), 0, 0, NULL},
    {NULL, OPTION_FLAG, 0, 0, 0, NULL},
};

/* chunks  a frame's work, calibrated once; "" before */
struct interference {
    struct interference_options options;
    struct scenario scenarios[SCENARIO_MAX];
    size_t n_scenarios;
    bool modes[MODE_MAX];
    struct runs runs[SCENARIO_MAX];
    char chunks[32];
    struct child foreground;
    FILE *json;
};

/* ---- Options ----------------------------------------------------------------- */

static cygnet_status choose_modes(struct interference *x, cygnet_error *err)
{
    const char *list = x->options.foreground;

    for (size_t i = 0; i < MODE_MAX; i++)
        x->modes[i] = !list;
    while (list && *list) {
        size_t length = strcspn(list, ",");
        bool is_known = false;

        for (size_t i = 0; i < MODE_MAX; i++) {
            bool is_this = strlen(MODES[i].name) == length &&
                           strncmp(MODES[i].name, list, length) == 0;

            x->modes[i] |= is_this;
            is_known |= is_this;
        }
        if (!is_known)
            return complain(err, CYGNET_EINVAL, 0,
                            "--foreground %.20s: want pinned, free or bursts", list);
        list += length + (list[length] == ',');
    }
    return CYGNET_OK;
}

/* Tuning of the environment would be for one side only. */
static void drop_tuning(void)
{
    static const char *const prefixes[] = {"OPENBLAS_", "OMP_", "MKL_", "MALLOC_"};
    extern char **environ;

    for (size_t i = 0; environ[i];) {
        char name[128];
        bool is_tuning = false;

        (void)snprintf(name, sizeof(name), "%.*s", (int)strcspn(environ[i], "="),
                       environ[i]);
        for (size_t j = 0; j < sizeof(prefixes) / sizeof(prefixes[0]); j++)
            is_tuning |= strncmp(name, prefixes[j], strlen(prefixes[j])) == 0;
        if (is_tuning && unsetenv(name) == 0)
            i = 0;
        else
            i++;
    }
}

static cygnet_status parse(struct interference *x, int argc, char **argv,
                           cygnet_error *err)
{
    struct interference_options *o = &x->options;
    cygnet_status st;

    *o = (struct interference_options){
        .pairs = 10, .batch = 16, .seconds = 5, .lead_s = 1, .burst_s = 4, .onset_s = 2};
    o->work.model = "mobilenet_v2";
    o->work.input = "3x32x32";
    o->work.python = "python3";
    o->work.program = BENCH_PYTORCH_TRAINER;
    st = command_line_parse(o, ROWS, argc, argv, err);
    if (st == CYGNET_OK)
        st = scenario_parse(x->scenarios, &x->n_scenarios, o->set, err);
    if (st == CYGNET_OK)
        st = choose_modes(x, err);
    if (st == CYGNET_OK && o->onset_s > o->burst_s)
        st = complain(err, CYGNET_EINVAL, 0, "--onset is longer than --burst");
    (void)snprintf(o->work.batch, sizeof(o->work.batch), "%" PRIu32, o->batch);
    return st;
}

/* ---- Running ----------------------------------------------------------------- */

static cygnet_status start_foreground(struct interference *x, const struct mode *mode,
                                      cygnet_error *err)
{
    const char *words[16] = {NULL, "foreground"};
    char burst[32], line[64];
    size_t n = 2;
    cygnet_status st;

    (void)snprintf(burst, sizeof(burst), "%.6f", x->options.burst_s);
    if (mode->core) {
        words[n++] = "--core";
        words[n++] = mode->core;
    }
    if (mode->has_bursts) {
        words[n++] = "--on";
        words[n++] = burst;
        words[n++] = "--off";
        words[n++] = burst;
    }
    if (x->chunks[0]) {
        words[n++] = "--chunks";
        words[n++] = x->chunks;
    }
    st = child_start(&x->foreground, "foreground", words, err);
    if (st == CYGNET_OK)
        st = child_expect(&x->foreground, "ready", line, sizeof(line), err);
    if (st == CYGNET_OK)
        (void)snprintf(x->chunks, sizeof(x->chunks), "%.31s", line);
    return st;
}

/* A training side without a foreground, thrown away: caches, pages, and what an engine
 * learns when it is new. */
static cygnet_status warm_up(struct interference *x, struct scenario *s,
                             cygnet_error *err)
{
    struct record record;
    cygnet_status st = scenario_run(&record, s, NULL, 0.0, 1e3 * x->options.seconds, err);

    record_clear(&record);
    return st;
}

/* The work of a frame is calibrated before anything else runs. */
static cygnet_status start_all(struct interference *x, cygnet_error *err)
{
    cygnet_status st = start_foreground(x, &MODES[1], err);

    (void)child_end(&x->foreground, false);
    for (size_t i = 0; i < x->n_scenarios && st == CYGNET_OK; i++) {
        struct scenario *s = &x->scenarios[i];

        st = scenario_start(s, &x->options.work, err);
        if (st == CYGNET_OK && s->child.pid > 0)
            st = warm_up(x, s, err);
    }
    return st;
}

/* Without another scenario "alone" runs for itself. */
static bool has_windows(const struct interference *x, size_t i)
{
    const struct scenario *s = &x->scenarios[i];

    return s->child.pid > 0 || (scenario_is_alone(s) && x->n_scenarios == 1);
}

/* One window of a pair. */
static cygnet_status run_window(struct record *out, struct interference *x,
                                const struct mode *mode, struct scenario *scenario,
                                cygnet_error *err)
{
    return scenario_run(out, scenario, &x->foreground, 1e3 * x->options.lead_s,
                        interference_window_ms(&x->options, mode), err);
}

/* Alone and beside; every other time the other way round, so that what drifts is on
 * both sides alike. */
static cygnet_status run_pair(struct interference *x, size_t i, uint32_t pair,
                              cygnet_error *err)
{
    struct runs *runs = &x->runs[i];
    struct scenario nobody = {.name = "alone"};
    struct pair *p = &runs->pairs[pair];
    bool trains = x->scenarios[i].child.pid > 0, is_turned = pair % 2 == 1;
    cygnet_status st = CYGNET_OK;

    if (trains && is_turned)
        st = run_window(&p->beside, x, runs->mode, &x->scenarios[i], err);
    if (st == CYGNET_OK)
        st = run_window(&p->alone, x, runs->mode, &nobody, err);
    if (st == CYGNET_OK && trains && !is_turned)
        st = run_window(&p->beside, x, runs->mode, &x->scenarios[i], err);
    return st;
}

/* Each round begins with the next scenario: none always comes after the same one. */
static cygnet_status run_pairs(struct interference *x, cygnet_error *err)
{
    cygnet_status st = CYGNET_OK;

    for (uint32_t pair = 0; pair < x->options.pairs; pair++) {
        for (size_t n = 0; n < x->n_scenarios && st == CYGNET_OK; n++) {
            size_t i = (n + pair) % x->n_scenarios;

            if (has_windows(x, i))
                st = run_pair(x, i, pair, err);
        }
    }
    return st;
}

/* ---- Saying ------------------------------------------------------------------ */

static cygnet_status report_part(struct interference *x, const struct mode *mode,
                                 enum part part, cygnet_error *err)
{
    static struct figures figures[SCENARIO_MAX];
    cygnet_status st = CYGNET_OK;

    for (size_t i = 0; i < x->n_scenarios && st == CYGNET_OK; i++)
        st = interference_figures(&figures[i], x->runs, x->n_scenarios, i, part, err);
    if (st != CYGNET_OK)
        return st;
    st = interference_compare(figures, x->n_scenarios, err);
    if (st != CYGNET_OK)
        return st;
    if (x->json != stdout)
        interference_print(figures, x->n_scenarios, mode, &x->options);
    return x->json
               ? interference_write(x->json, figures, x->n_scenarios, &x->options, err)
               : CYGNET_OK;
}

static cygnet_status alloc_runs(struct interference *x, const struct mode *mode,
                                cygnet_error *err)
{
    for (size_t i = 0; i < x->n_scenarios; i++) {
        x->runs[i] = (struct runs){&x->options, mode, &x->scenarios[i], NULL};
        x->runs[i].pairs = calloc(x->options.pairs, sizeof(struct pair));
        if (!x->runs[i].pairs)
            return complain(err, CYGNET_ENOMEM, 0, "out of memory for pairs");
    }
    return CYGNET_OK;
}

static void free_runs(struct interference *x)
{
    for (size_t i = 0; i < x->n_scenarios; i++) {
        for (uint32_t p = 0; x->runs[i].pairs && p < x->options.pairs; p++) {
            record_clear(&x->runs[i].pairs[p].alone);
            record_clear(&x->runs[i].pairs[p].beside);
        }
        free(x->runs[i].pairs);
        x->runs[i].pairs = NULL;
    }
}

static cygnet_status run_mode(struct interference *x, const struct mode *mode,
                              cygnet_error *err)
{
    cygnet_status st = alloc_runs(x, mode, err);

    if (st == CYGNET_OK)
        st = start_foreground(x, mode, err);
    if (st == CYGNET_OK)
        st = run_pairs(x, err);
    if (st == CYGNET_OK)
        st = report_part(x, mode, PART_STEADY, err);
    if (st == CYGNET_OK && mode->has_bursts)
        st = report_part(x, mode, PART_ONSET, err);
    (void)child_end(&x->foreground, st != CYGNET_OK);
    free_runs(x);
    return st;
}

/* A window of its own beside the Swan engine, in bursts. */
static cygnet_status plot(struct interference *x, cygnet_error *err)
{
    const struct mode *mode = &MODES[2];
    struct scenario swan = {.name = "swan"};
    struct record record = {.n_steps = 0};
    cygnet_status st = scenario_start(&swan, &x->options.work, err);

    if (st == CYGNET_OK)
        st = warm_up(x, &swan, err);
    if (st == CYGNET_OK)
        st = start_foreground(x, mode, err);
    if (st == CYGNET_OK)
        st = run_window(&record, x, mode, &swan, err);
    if (st == CYGNET_OK)
        st = interference_plot(x->options.plot, &record, &x->options, err);
    (void)child_end(&x->foreground, st != CYGNET_OK);
    scenario_end(&swan, 1);
    record_clear(&record);
    return st;
}

static cygnet_status run_all(struct interference *x, cygnet_error *err)
{
    cygnet_status st = start_all(x, err);

    for (size_t i = 0; i < MODE_MAX && st == CYGNET_OK; i++) {
        if (x->modes[i])
            st = run_mode(x, &MODES[i], err);
    }
    scenario_end(x->scenarios, x->n_scenarios);
    if (st == CYGNET_OK && x->options.plot)
        st = plot(x, err);
    return st;
}

int bench_interference(int argc, char **argv)
{
    struct interference x = {.json = NULL};
    cygnet_error err, lost;
    cygnet_status st = parse(&x, argc, argv, &err);

    if (st != CYGNET_OK)
        return bench_complain(BENCH_USAGE, &err);
    (void)signal(SIGPIPE, SIG_IGN);
    drop_tuning();
    if (x.options.json)
        x.json = bench_open(x.options.json, &err);
    if (x.options.json && !x.json)
        return bench_complain(BENCH_FAILED, &err);
    st = run_all(&x, &err);
    if (x.json && bench_close(x.json, st == CYGNET_OK ? &err : &lost) != CYGNET_OK &&
        st == CYGNET_OK)
        st = CYGNET_ESTORAGE;
    return st == CYGNET_OK ? BENCH_DONE : bench_complain(BENCH_FAILED, &err);
}
