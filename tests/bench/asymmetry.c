/* The asymmetry command: unlike cores on a machine whose cores are alike. One core is
 * made slower (slow_core.h). The engine reads a topology that names the two cores as two
 * clusters, and sees nothing else of the system: it has to find out from its steps.
 *
 * With the cores alike, and with each way of making one slow: what the engine's profile
 * says after some trainings from cold; and, measured by hand in turn, the steps of the
 * fast core, the slow core, both with blocks handed out dynamically, and both with half
 * of the blocks each. */
#include "tests/bench/bench.h"

#include "engine/pool/pool.h"
#include "examples/common/command_line.h"
#include "examples/common/complain.h"
#include "examples/common/options.h"
#include "tests/bench/slow_core.h"
#include "tests/bench/tail.h"
#include "tests/bench/trainer.h"
#include "tests/bench/two_clusters.h"

#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <unistd.h>

enum { ROUNDS_MAX = 1000 };

/* The ways that are measured by hand. */
enum way { WAY_FAST, WAY_SLOW, WAY_BOTH, WAY_HALVES, N_WAYS };

static const char *const way_keys[N_WAYS] = {"fast_ms", "slow_ms", "both_ms",
                                             "halves_ms"};

struct asymmetry_options {
    struct workload_options workload;
    const char *input;
    uint32_t steps;
    uint32_t rounds;
    uint32_t trainings;
    uint32_t fast, slow;
    double duty;
    const char *json;
};

struct asymmetry {
    struct asymmetry_options options;
    char root[TWO_CLUSTERS_BYTES];
    struct slow_core slow;
    FILE *json;
    bool speaks;
};

/* ms     of a step, the median of all rounds
 * ratio  to the fast core, likewise */
struct result {
    struct profile profile;
    double ms[N_WAYS];
    struct tail_middle ratio[N_WAYS];
};

static cygnet_status read_input(void *options, const char *name, const char *text,
                                cygnet_error *err)
{
    struct asymmetry_options *o = options;

    o->input = text;
    return option_shape(o->workload.input, &o->workload.n_input_dims, name, text, err);
}

#define AT(field) offsetof(struct asymmetry_options, field)

static const struct option_row ROWS[] = {
    {"model", OPTION_TEXT, AT(workload.model), 0, 0, NULL},
    {"input", OPTION_READ, 0, 0, 0, read_input},
    {"batch", OPTION_U32, AT(workload.batch), 1, 65536, NULL},
    {"steps", OPTION_U32, AT(steps), 1, 100000, NULL},
    {"rounds", OPTION_U32, AT(rounds), 1, ROUNDS_MAX, NULL},
    {"trainings", OPTION_U32, AT(trainings), 1, 1000, NULL},
    {"duty", OPTION_REAL, AT(duty), 0, 0.99, NULL},
    {"json", OPTION_TEXT, AT(json), 0, 0, NULL},
    {NULL, OPTION_FLAG, 0, 0, 0, NULL},
};

/* ---- By the engine ----------------------------------------------------------- */

static cygnet_status train(struct trainer *t, uint32_t steps)
{
    cygnet_status st = trainer_begin(t);

    if (st != CYGNET_OK)
        return st;
    for (uint32_t i = 0; i < steps && st == CYGNET_OK; i++)
        st = trainer_step(t, steps - i);
    return st == CYGNET_OK ? trainer_end(t) : st;
}

/* The profile of an engine that began cold, after some trainings: one alone may not
 * measure every choice. */
static cygnet_status profile_by_engine(struct profile *out, struct asymmetry *x,
                                       cygnet_error *err)
{
    struct trainer_options options;
    struct trainer t;
    cygnet_status st;

    trainer_options_init(&options);
    options.workload = x->options.workload;
    options.root = x->root;
    options.wrap = slow_core_wrap;
    options.user = &x->slow;
    st = trainer_open(&t, &options, err);
    if (st == CYGNET_OK)
        st = trainer_warm_up(&t);
    for (uint32_t i = 0; i < x->options.trainings && st == CYGNET_OK; i++)
        st = train(&t, x->options.steps);
    if (st == CYGNET_OK)
        st = profile_read(out, t.profile.data, t.profile.len, err);
    trainer_close(&t);
    return st;
}

/* ---- By hand ----------------------------------------------------------------- */

/* An executor that gives each worker of a pool the same share of the blocks, in
 * order, as if its cores were alike. */
struct halves {
    struct nn_executor executor; /* first: the executor is this */
    struct nn_executor *inner;
    bool is_on;
    nn_block block;
    void *arg;
    size_t n_blocks;
};

static void run_share(void *arg, size_t share, size_t worker)
{
    struct halves *h = arg;
    size_t n = h->inner->n_workers;

    for (size_t i = h->n_blocks * share / n; i < h->n_blocks * (share + 1) / n; i++)
        h->block(h->arg, i, worker);
}

static void run_in_halves(struct nn_executor *executor, nn_block block, void *arg,
                          size_t n_blocks)
{
    struct halves *h = (struct halves *)executor;

    if (!h->is_on || n_blocks < 2) {
        h->inner->run(h->inner, block, arg, n_blocks);
        return;
    }
    h->block = block;
    h->arg = arg;
    h->n_blocks = n_blocks;
    h->inner->run(h->inner, run_share, h, h->inner->n_workers);
}

/* ms     of a step, the mean of each round: a step may be shorter than a period of what
 *        slows the core
 * steps  of a round */
struct by_hand {
    const struct asymmetry_options *options;
    struct pool *pool;
    struct halves halves;
    struct workload workload;
    double ms[N_WAYS][ROUNDS_MAX];
    uint32_t steps;
    cygnet_status status;
    cygnet_error *err;
};

static void step(void *arg)
{
    struct by_hand *h = arg;
    double loss;

    if (h->status == CYGNET_OK)
        h->status = workload_step(&h->workload, &loss, h->err);
}

static void go(struct by_hand *h, enum way way)
{
    const struct asymmetry_options *o = h->options;
    struct pool_grant grant = {.n_threads = 1, .n_cpus = 1, .cpus = {o->fast}};

    if (way == WAY_SLOW)
        grant.cpus[0] = o->slow;
    if (way == WAY_BOTH || way == WAY_HALVES)
        grant = (struct pool_grant){.n_threads = 2,
                                    .n_cpus = 2,
                                    .cpus = {o->fast, o->slow},
                                    .group = {0, 1}};
    h->halves.is_on = way == WAY_HALVES;
    if (h->status == CYGNET_OK)
        h->status = pool_grant(h->pool, &grant, h->err);
}

/* The first step of a way is not counted. */
static void run_way(struct by_hand *h, enum way way, uint32_t round)
{
    double began = 0.0;

    go(h, way);
    for (uint32_t i = 0; i <= h->steps && h->status == CYGNET_OK; i++) {
        pool_call(h->pool, step, h, NULL, NULL);
        if (i == 0)
            began = record_now_ms();
    }
    h->ms[way][round] = (record_now_ms() - began) / h->steps;
}

static cygnet_status open_by_hand(struct by_hand *h, struct asymmetry *x,
                                  cygnet_error *err)
{
    const struct pool_options options = {.n_threads = 2,
                                         .has_leader = true,
                                         .yields = true};
    const struct asymmetry_options *o = &x->options;
    cygnet_status st;

    *h = (struct by_hand){.options = o, .err = err};
    h->steps = o->steps / o->rounds + (o->steps < o->rounds);
    st = pool_create_with(&h->pool, &options, NULL, err);
    if (st != CYGNET_OK)
        return st;
    h->halves =
        (struct halves){.executor = {run_in_halves, 2},
                        .inner = slow_core_wrap(pool_executor(h->pool), &x->slow)};
    return workload_init(&h->workload, &o->workload, &h->halves.executor, err);
}

static void close_by_hand(struct by_hand *h)
{
    workload_clear(&h->workload);
    pool_destroy(h->pool);
}

/* Of each round on its own: what the machine does to a round, it does to all ways. */
static cygnet_status compare_ways(struct result *out, struct by_hand *h)
{
    uint32_t n = h->options->rounds;
    cygnet_status st = CYGNET_OK;

    for (int way = 0; way < N_WAYS && st == CYGNET_OK; way++) {
        double ratios[ROUNDS_MAX];

        for (uint32_t round = 0; round < n; round++)
            ratios[round] = h->ms[way][round] / h->ms[WAY_FAST][round];
        st = tail_median(&out->ratio[way], ratios, n, h->err);
    }
    for (int way = 0; way < N_WAYS; way++)
        out->ms[way] = tail_quantile(h->ms[way], n, 0.5);
    return st;
}

/* The ways in turn. */
static cygnet_status measure_by_hand(struct result *out, struct asymmetry *x,
                                     cygnet_error *err)
{
    static struct by_hand h;
    cygnet_status st = open_by_hand(&h, x, err);

    for (uint32_t round = 0; round < x->options.rounds && st == CYGNET_OK; round++) {
        for (enum way way = WAY_FAST; way < N_WAYS; way++)
            run_way(&h, way, round);
        st = h.status;
    }
    if (st == CYGNET_OK)
        st = compare_ways(out, &h);
    close_by_hand(&h);
    return st;
}

/* ---- Saying ------------------------------------------------------------------ */

/* What the profile says of one core's step over the other's; NaN: it lacks one. The
 * cheapest choice is the slow core, the next the fast one. */
static double profiled_ratio(const struct profile *p)
{
    const struct profile_entry *e = p->entries;

    if (p->n_entries < 2 || e[0].n_measured == 0 || e[1].n_measured == 0)
        return (double)NAN;
    return e[0].step_ms / e[1].step_ms;
}

static void put_profile(struct json_builder *b, const struct profile *p)
{
    json_open_array(b, "profile");
    for (uint32_t i = 0; i < p->n_entries; i++) {
        const struct profile_entry *e = &p->entries[i];
        char text[CHOICE_TEXT_BYTES];

        profile_choice_text(text, p, i);
        json_open_object(b, NULL);
        json_put_string(b, "choice", text);
        json_put_double(b, "step_ms", e->step_ms);
        json_put_u64(b, "measured_steps", e->n_measured);
        json_put_bool(b, "on_frontier", e->pruned_by < 0);
        json_close(b);
    }
    json_close(b);
}

static void put_ratio(struct json_builder *b, const char *way,
                      const struct tail_middle *ratio)
{
    char key[64];

    (void)snprintf(key, sizeof(key), "%.20s_over_fast", way);
    json_put_double(b, key, ratio->median);
    (void)snprintf(key, sizeof(key), "%.20s_over_fast_ci95", way);
    json_open_array(b, key);
    json_put_double(b, NULL, ratio->low);
    json_put_double(b, NULL, ratio->high);
    json_close(b);
}

static void put_result(struct json_builder *b, const struct result *result)
{
    for (int way = 0; way < N_WAYS; way++)
        json_put_double(b, way_keys[way], result->ms[way]);
    put_ratio(b, "slow", &result->ratio[WAY_SLOW]);
    put_ratio(b, "both", &result->ratio[WAY_BOTH]);
    put_ratio(b, "halves", &result->ratio[WAY_HALVES]);
    json_put_double(b, "profiled_slow_over_fast", profiled_ratio(&result->profile));
    put_profile(b, &result->profile);
}

static cygnet_status write_row(const struct asymmetry *x, const struct result *result,
                               cygnet_error *err)
{
    const struct asymmetry_options *o = &x->options;
    struct json_builder *b = json_build();
    bool is_alike = x->slow.kind == SLOW_NOT;

    json_open_object(b, NULL);
    json_put_string(b, "cores", is_alike ? "alike" : "unlike");
    json_put_string(b, "slowed_by", slow_names[x->slow.kind]);
    json_put_double(b, "load", is_alike ? 0.0 : o->duty);
    json_put_string(b, "model", o->workload.model);
    json_put_string(b, "input", o->input);
    json_put_u64(b, "batch", o->workload.batch);
    if (x->slow.absent[0])
        json_put_string(b, "absent", x->slow.absent);
    else
        put_result(b, result);
    json_close(b);
    return bench_write(x->json, b, err);
}

static void print_head(const struct asymmetry *x)
{
    const struct asymmetry_options *o = &x->options;

    printf("%s at %s, batch %" PRIu32 ", core %" PRIu32
           " slower by %.0f %%; steps in ms, "
           "to the fast core with the 95 %% interval\n",
           o->workload.model, o->input, o->workload.batch, o->slow, 100.0 * o->duty);
    printf("%-10s %8s %20s %7s %21s %21s  %s\n", "", "", "slow core", "by the",
           "both, dynamic", "both, in halves", "");
    printf("%-10s %8s %20s %7s %21s %21s  %s\n", "slowed by", "fast", "/ fast", "profile",
           "/ fast", "/ fast", "frontier by the profile: ms of a step");
}

static void print_ratio(const struct tail_middle *ratio)
{
    char text[64] = "-";

    if (isfinite(ratio->low))
        (void)snprintf(text, sizeof(text), "%.2f [%.2f %.2f]", ratio->median, ratio->low,
                       ratio->high);
    else if (isfinite(ratio->median))
        (void)snprintf(text, sizeof(text), "%.2f", ratio->median);
    printf(" %21s", text);
}

static void print_frontier(const struct profile *p)
{
    const char *between = "  ";

    for (uint32_t i = 0; i < p->n_entries; i++) {
        const struct profile_entry *e = &p->entries[i];
        char text[CHOICE_TEXT_BYTES];

        if (e->pruned_by >= 0)
            continue;
        profile_choice_text(text, p, i);
        printf("%s%s: %.2f%s", between, text, e->step_ms,
               e->n_measured > 0 ? "" : " (predicted)");
        between = "; ";
    }
    printf("\n");
}

static void print_row(const struct asymmetry *x, const struct result *result)
{
    double profiled = profiled_ratio(&result->profile);

    printf("%-10s", slow_names[x->slow.kind]);
    if (x->slow.absent[0]) {
        printf(" not here: %s\n", x->slow.absent);
        return;
    }
    printf(" %8.2f", result->ms[WAY_FAST]);
    print_ratio(&result->ratio[WAY_SLOW]);
    if (isfinite(profiled))
        printf(" %6.2f", profiled);
    else
        printf(" %6s", "-");
    print_ratio(&result->ratio[WAY_BOTH]);
    print_ratio(&result->ratio[WAY_HALVES]);
    print_frontier(&result->profile);
    (void)fflush(stdout);
}

/* ---- All ways ---------------------------------------------------------------- */

static cygnet_status measure_slowed(struct result *out, struct asymmetry *x,
                                    cygnet_error *err)
{
    cygnet_status st = profile_by_engine(&out->profile, x, err);

    if (st == CYGNET_OK)
        st = measure_by_hand(out, x, err);
    return st == CYGNET_OK ? slow_core_check(&x->slow, err) : st;
}

static cygnet_status measure(struct asymmetry *x, enum slow_kind kind, cygnet_error *err)
{
    static struct result result;
    const struct asymmetry_options *o = &x->options;
    cygnet_status st = slow_core_begin(&x->slow, kind, o->slow, 1.0 - o->duty, err);

    if (st == CYGNET_OK && !x->slow.absent[0])
        st = measure_slowed(&result, x, err);
    if (st == CYGNET_OK && x->speaks)
        print_row(x, &result);
    if (st == CYGNET_OK && x->json)
        st = write_row(x, &result, err);
    slow_core_end(&x->slow);
    return st;
}

static cygnet_status run(struct asymmetry *x, cygnet_error *err)
{
    const struct asymmetry_options *o = &x->options;
    /* The engine is told the same where the cores are alike: wrongly, once. */
    cygnet_status st = two_clusters_make(x->root, o->fast, o->slow, 1.0 - o->duty, err);

    if (st == CYGNET_OK && x->speaks)
        print_head(x);
    for (enum slow_kind kind = SLOW_NOT; kind < N_SLOW && st == CYGNET_OK; kind++)
        st = measure(x, kind, err);
    two_clusters_remove(x->root);
    return st;
}

static cygnet_status parse(struct asymmetry *x, int argc, char **argv, cygnet_error *err)
{
    struct asymmetry_options *o = &x->options;

    *o = (struct asymmetry_options){
        .steps = 60, .rounds = 20, .trainings = 5, .fast = 0, .slow = 1, .duty = 0.6};
    workload_options_init(&o->workload);
    o->workload.model = "mobilenet_v2";
    o->input = "3x32x32";
    o->workload.n_input_dims = 3;
    o->workload.input[0] = 3;
    o->workload.input[1] = o->workload.input[2] = 32;
    return command_line_parse(o, ROWS, argc, argv, err);
}

int bench_asymmetry(int argc, char **argv)
{
    struct asymmetry x = {.json = NULL};
    cygnet_error err, lost;
    cygnet_status st = parse(&x, argc, argv, &err);

    if (st != CYGNET_OK)
        return bench_complain(BENCH_USAGE, &err);
    if (sysconf(_SC_NPROCESSORS_ONLN) < 2) {
        complain(&err, CYGNET_EUNSUPPORTED, 0, "asymmetry: it takes two cores");
        return bench_complain(BENCH_FAILED, &err);
    }
    (void)signal(SIGPIPE, SIG_IGN);
    if (x.options.json)
        x.json = bench_open(x.options.json, &err);
    if (x.options.json && !x.json)
        return bench_complain(BENCH_FAILED, &err);
    x.speaks = x.json != stdout;
    st = run(&x, &err);
    if (x.json && bench_close(x.json, st == CYGNET_OK ? &err : &lost) != CYGNET_OK &&
        st == CYGNET_OK)
        st = CYGNET_ESTORAGE;
    return st == CYGNET_OK ? BENCH_DONE : bench_complain(BENCH_FAILED, &err);
}
