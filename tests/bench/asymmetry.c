/* The asymmetry command: unlike cores on a machine whose cores are alike. A load at the
 * usual priority takes most of one core, in periods of 2 ms, and training beside it at
 * SCHED_IDLE gets the rest: a slower core. The engine reads a topology that names the
 * two cores as two clusters, and sees nothing else of the system: it has to find out
 * from its steps.
 *
 * Twice, without and with the load: what the engine's profile says after five trainings;
 * and, measured by hand in turn, the steps of the fast core, the slow core, both with
 * blocks handed out dynamically, and both with half of the blocks each. */
#include "tests/bench/bench.h"

#include "engine/pool/pool.h"
#include "examples/common/command_line.h"
#include "examples/common/complain.h"
#include "examples/common/options.h"
#include "tests/bench/tail.h"
#include "tests/bench/trainer.h"

#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FAST_CAPACITY = 1024, ROOT_BYTES = 1024, FOREVER_S = 3600 };

/* The ways that are measured by hand. */
enum way { WAY_FAST, WAY_SLOW, WAY_BOTH, WAY_HALVES, N_WAYS };

static const char *const way_names[N_WAYS] = {"fast core", "slow core", "both, dynamic",
                                              "both, in halves"};
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
    char root[ROOT_BYTES];
    struct child load;
    FILE *json;
    bool speaks;
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
    {"rounds", OPTION_U32, AT(rounds), 1, 1000, NULL},
    {"trainings", OPTION_U32, AT(trainings), 1, 1000, NULL},
    {"duty", OPTION_REAL, AT(duty), 0, 0.99, NULL},
    {"json", OPTION_TEXT, AT(json), 0, 0, NULL},
    {NULL, OPTION_FLAG, 0, 0, 0, NULL},
};

/* ---- A topology of two clusters ---------------------------------------------- */

static bool write_file(const char *root, const char *name, const char *text)
{
    char path[ROOT_BYTES + 128];
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/%s", root, name);
    file = fopen(path, "w");
    return file && fputs(text, file) >= 0 && fclose(file) == 0;
}

static bool make_folder(const char *root, const char *name)
{
    char path[ROOT_BYTES + 128];

    (void)snprintf(path, sizeof(path), "%s/%s", root, name);
    return mkdir(path, 0700) == 0;
}

static bool write_core(const char *root, uint32_t cpu, unsigned capacity)
{
    char name[128], text[32];

    (void)snprintf(name, sizeof(name), "sys/devices/system/cpu/cpu%" PRIu32, cpu);
    if (!make_folder(root, name))
        return false;
    (void)snprintf(name, sizeof(name),
                   "sys/devices/system/cpu/cpu%" PRIu32 "/cpu_capacity", cpu);
    (void)snprintf(text, sizeof(text), "%u\n", capacity);
    return write_file(root, name, text);
}

/* The slow core's capacity is what it would be by the load's duty; where there is none
 * the engine is told the same, so that it is told wrongly once. */
static cygnet_status make_root(struct asymmetry *x, cygnet_error *err)
{
    const struct asymmetry_options *o = &x->options;
    double slow = fmax(1.0, FAST_CAPACITY * (1.0 - o->duty));
    const char *folder = getenv("TMPDIR");
    char cores[32];
    bool done;

    (void)snprintf(x->root, sizeof(x->root), "%.900s/cygnet-XXXXXX",
                   folder ? folder : "/tmp");
    if (!mkdtemp(x->root)) {
        x->root[0] = '\0';
        return complain(err, CYGNET_ESTORAGE, errno, "no folder for a topology");
    }
    (void)snprintf(cores, sizeof(cores), "%" PRIu32 ",%" PRIu32 "\n", o->fast, o->slow);
    done = make_folder(x->root, "sys") && make_folder(x->root, "sys/devices") &&
           make_folder(x->root, "sys/devices/system") &&
           make_folder(x->root, "sys/devices/system/cpu") &&
           write_file(x->root, "sys/devices/system/cpu/present", cores) &&
           write_file(x->root, "sys/devices/system/cpu/online", cores) &&
           write_core(x->root, o->fast, FAST_CAPACITY) &&
           write_core(x->root, o->slow, (unsigned)fmin(slow, FAST_CAPACITY - 1));
    return done ? CYGNET_OK
                : complain(err, CYGNET_ESTORAGE, errno, "a topology in %.200s", x->root);
}

static int remove_one(const char *path, const struct stat *status, int type,
                      struct FTW *where)
{
    (void)status;
    (void)type;
    (void)where;
    return remove(path);
}

static void remove_root(struct asymmetry *x)
{
    if (x->root[0])
        (void)nftw(x->root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

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

struct by_hand {
    const struct asymmetry_options *options;
    struct pool *pool;
    struct halves halves;
    struct workload workload;
    double *ms[N_WAYS];
    size_t n[N_WAYS];
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
static void run_way(struct by_hand *h, enum way way, uint32_t steps)
{
    go(h, way);
    for (uint32_t i = 0; i <= steps && h->status == CYGNET_OK; i++) {
        double began = record_now_ms();

        pool_call(h->pool, step, h, NULL, NULL);
        if (i > 0)
            h->ms[way][h->n[way]++] = record_now_ms() - began;
    }
}

static cygnet_status open_by_hand(struct by_hand *h, const struct asymmetry_options *o,
                                  cygnet_error *err)
{
    const struct pool_options options = {.n_threads = 2,
                                         .has_leader = true,
                                         .yields = true};
    size_t n = (size_t)o->rounds * (o->steps / o->rounds + 1);
    cygnet_status st = pool_create_with(&h->pool, &options, NULL, err);

    h->options = o;
    h->err = err;
    if (st != CYGNET_OK)
        return st;
    h->halves =
        (struct halves){.executor = {run_in_halves, 2}, .inner = pool_executor(h->pool)};
    for (int way = 0; way < N_WAYS; way++) {
        h->ms[way] = calloc(n, sizeof(double));
        if (!h->ms[way])
            return complain(err, CYGNET_ENOMEM, 0, "out of memory for steps");
    }
    return workload_init(&h->workload, &o->workload, &h->halves.executor, err);
}

static void close_by_hand(struct by_hand *h)
{
    workload_clear(&h->workload);
    pool_destroy(h->pool);
    for (int way = 0; way < N_WAYS; way++)
        free(h->ms[way]);
}

/* Medians, the ways in turn. */
static cygnet_status measure_by_hand(double out[N_WAYS],
                                     const struct asymmetry_options *o, cygnet_error *err)
{
    struct by_hand h = {.status = CYGNET_OK};
    cygnet_status st = open_by_hand(&h, o, err);

    for (uint32_t round = 0; round < o->rounds && st == CYGNET_OK; round++) {
        for (enum way way = WAY_FAST; way < N_WAYS; way++)
            run_way(&h, way, o->steps / o->rounds + (o->steps < o->rounds));
        st = h.status;
    }
    for (int way = 0; way < N_WAYS && st == CYGNET_OK; way++)
        out[way] = tail_quantile(h.ms[way], h.n[way], 0.5);
    close_by_hand(&h);
    return st;
}

/* ---- Saying ------------------------------------------------------------------ */

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

static void print_profile(const struct profile *p)
{
    for (uint32_t i = 0; i < p->n_entries; i++) {
        const struct profile_entry *e = &p->entries[i];
        char text[CHOICE_TEXT_BYTES], by[CHOICE_TEXT_BYTES] = "";

        profile_choice_text(text, p, i);
        if (e->pruned_by >= 0)
            profile_choice_text(by, p, (size_t)e->pruned_by);
        printf("  profile: %-18s %9.2f ms, %4" PRIu64 " steps, %s%s\n", text, e->step_ms,
               e->n_measured, e->pruned_by >= 0 ? "pruned by " : "on the frontier", by);
    }
}

static cygnet_status report(struct asymmetry *x, const char *cores,
                            const struct profile *profile, const double ms[N_WAYS],
                            cygnet_error *err)
{
    const struct asymmetry_options *o = &x->options;
    struct json_builder *b;

    if (x->speaks) {
        printf("Cores %s: %s at %s, batch %" PRIu32 "\n", cores, o->workload.model,
               o->input, o->workload.batch);
        print_profile(profile);
        for (int way = 0; way < N_WAYS; way++)
            printf("  by hand: %-18s %9.2f ms, %.2f of the fast core\n", way_names[way],
                   ms[way], ms[way] / ms[WAY_FAST]);
        (void)fflush(stdout);
    }
    if (!x->json)
        return CYGNET_OK;
    b = json_build();
    json_open_object(b, NULL);
    json_put_string(b, "cores", cores);
    json_put_double(b, "load", strcmp(cores, "unlike") == 0 ? o->duty : 0.0);
    json_put_string(b, "model", o->workload.model);
    json_put_string(b, "input", o->input);
    json_put_u64(b, "batch", o->workload.batch);
    for (int way = 0; way < N_WAYS; way++)
        json_put_double(b, way_keys[way], ms[way]);
    put_profile(b, profile);
    json_close(b);
    return bench_write(x->json, b, err);
}

/* ---- Both -------------------------------------------------------------------- */

static cygnet_status start_load(struct asymmetry *x, cygnet_error *err)
{
    char core[16], duty[32], line[64];
    const char *const words[] = {NULL, "load", "--core", core, "--duty", duty, NULL};
    cygnet_status st;

    (void)snprintf(core, sizeof(core), "%" PRIu32, x->options.slow);
    (void)snprintf(duty, sizeof(duty), "%.6f", x->options.duty);
    st = child_start(&x->load, "load", words, err);
    if (st == CYGNET_OK)
        st = child_expect(&x->load, "ready", line, sizeof(line), err);
    if (st == CYGNET_OK)
        st = child_tell_window(&x->load, record_now_ms(),
                               record_now_ms() + 1e3 * FOREVER_S, err);
    return st;
}

static cygnet_status measure(struct asymmetry *x, const char *cores, cygnet_error *err)
{
    struct profile profile;
    double ms[N_WAYS];
    cygnet_status st = profile_by_engine(&profile, x, err);

    if (st == CYGNET_OK)
        st = measure_by_hand(ms, &x->options, err);
    return st == CYGNET_OK ? report(x, cores, &profile, ms, err) : st;
}

static cygnet_status run(struct asymmetry *x, cygnet_error *err)
{
    cygnet_status st = make_root(x, err);

    if (st == CYGNET_OK)
        st = measure(x, "alike", err);
    if (st == CYGNET_OK)
        st = start_load(x, err);
    if (st == CYGNET_OK)
        st = measure(x, "unlike", err);
    (void)child_end(&x->load, true);
    remove_root(x);
    return st;
}

static cygnet_status parse(struct asymmetry *x, int argc, char **argv, cygnet_error *err)
{
    struct asymmetry_options *o = &x->options;

    *o = (struct asymmetry_options){
        .steps = 60, .rounds = 10, .trainings = 5, .fast = 0, .slow = 1, .duty = 0.6};
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
