/* Training, and the trainer command: as a process of its own, in windows of time from
 * standard input (child.h); each is a training of its own. */
#include "tests/bench/trainer.h"

#include "examples/common/command_line.h"
#include "examples/common/complain.h"
#include "examples/common/options.h"
#include "tests/bench/bench.h"
#include "tests/bench/measure.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <sched.h>
#include <string.h>

#define PAUSE_MS 20.0

/* ---- Training ---------------------------------------------------------------- */

void trainer_options_init(struct trainer_options *options)
{
    *options = (struct trainer_options){.policy = "swan",
                                        .root = "/",
                                        .core = ANY_CORE,
                                        .is_placed = true};
    workload_options_init(&options->workload);
}

static cygnet_status read_policy(cygnet_policy *out, const char *name, cygnet_error *err)
{
    if (policy_kind_parse(out, name))
        return CYGNET_OK;
    return complain(err, CYGNET_EINVAL, 0,
                    "--policy %.20s: want swan, greedy, fixed or efficient", name);
}

static cygnet_status stay_on(uint32_t core, cygnet_error *err)
{
    cpu_set_t set;

    if (core == ANY_CORE)
        return CYGNET_OK;
    CPU_ZERO(&set);
    CPU_SET(core % CPU_SETSIZE, &set);
    if (sched_setaffinity(0, sizeof(set), &set) == 0)
        return CYGNET_OK;
    return complain(err, CYGNET_ENOTFOUND, errno, "core %" PRIu32 ": %s", core,
                    strerror(errno));
}

static cygnet_status make_workload(struct trainer *t, cygnet_error *err)
{
    const struct trainer_options *o = t->options;
    struct nn_executor *executor = swan_executor(t->swan);

    if (o->shared)
        return CYGNET_OK;
    if (o->wrap)
        executor = o->wrap(executor, o->user);
    return workload_init(&t->own, &o->workload, executor, err);
}

cygnet_status trainer_open(struct trainer *t, const struct trainer_options *options,
                           cygnet_error *err)
{
    struct swan_options swan = {
        .root = options->root,
        .max_threads = options->threads,
        .placement = options->is_placed ? PLACEMENT_MASK : PLACEMENT_NONE,
        .yields = !options->is_normal,
        .engine = "bench",
    };
    cygnet_status st = read_policy(&swan.policy, options->policy, err);

    *t = (struct trainer){.options = options, .err = err};
    t->workload = options->shared ? options->shared : &t->own;
    t->record.batch = options->workload.batch;
    bytes_init(&t->profile, PROFILE_MAX_BYTES, NULL);
    if (st == CYGNET_OK)
        st = stay_on(options->core, err);
    if (st == CYGNET_OK)
        st = swan_create(&t->swan, &swan, err);
    if (st == CYGNET_OK)
        st = make_workload(t, err);
    return st;
}

void trainer_close(struct trainer *t)
{
    workload_clear(&t->own);
    swan_destroy(t->swan);
    bytes_clear(&t->profile);
    record_clear(&t->record);
}

static void step(void *arg)
{
    struct trainer *t = arg;
    double loss;

    if (t->status == CYGNET_OK)
        t->status = workload_step(t->workload, &loss, t->err);
}

cygnet_status trainer_warm_up(struct trainer *t)
{
    for (int i = 0; i < TRAINER_WARM_UP; i++)
        step(t);
    return t->status;
}

static void note_step(struct trainer *t, double began_ms)
{
    struct step_record s = {.end_ms = record_now_ms(),
                            .cpu_s = (double)measure_cpu_ns() * 1e-9};
    struct swan_peek peek;

    swan_peek(&peek, t->swan);
    s.step_ms = isnan(began_ms) ? 0.0 : s.end_ms - began_ms;
    s.n_threads = peek.n_threads;
    if (!record_add_step(&t->record, &s))
        t->status = complain(t->err, CYGNET_ENOMEM, 0, "out of memory for steps");
}

/* Where the CPU time starts from is a step that took nothing. */
cygnet_status trainer_begin(struct trainer *t)
{
    const struct swan_training training = {
        .model = t->options->workload.model,
        .profile = t->profile.len > 0 ? t->profile.data : NULL,
        .profile_len = t->profile.len,
        .ms_left = (double)INFINITY,
        .mj_left = (double)INFINITY,
    };
    cygnet_status st = swan_begin(t->swan, &training, t->err);

    t->record.n_steps = 0;
    if (st == CYGNET_OK)
        note_step(t, (double)NAN);
    return st == CYGNET_OK ? t->status : st;
}

cygnet_status trainer_step(struct trainer *t, uint64_t steps_left)
{
    double began_ms = record_now_ms();

    if (swan_is_paused(t->swan)) {
        record_sleep_until(began_ms + PAUSE_MS);
        return t->status;
    }
    swan_step(t->swan, step, t, 0.0, steps_left, (double)INFINITY);
    if (t->status == CYGNET_OK)
        note_step(t, began_ms);
    return t->status;
}

cygnet_status trainer_end(struct trainer *t)
{
    struct swan_counters counters;

    swan_end(t->swan);
    swan_count(&counters, t->swan);
    t->record.n_switches = counters.n_switches;
    t->record.n_explored = counters.n_explored;
    t->profile.len = 0;
    return swan_save(t->swan, &t->profile, t->err);
}

/* ---- The command ------------------------------------------------------------- */

static cygnet_status read_input(void *options, const char *name, const char *text,
                                cygnet_error *err)
{
    struct trainer_options *o = options;

    return option_shape(o->workload.input, &o->workload.n_input_dims, name, text, err);
}

#define AT(field) offsetof(struct trainer_options, field)

static const struct option_row ROWS[] = {
    {"model", OPTION_TEXT, AT(workload.model), 0, 0, NULL},
    {"input", OPTION_READ, 0, 0, 0, read_input},
    {"batch", OPTION_U32, AT(workload.batch), 1, 65536, NULL},
    {"policy", OPTION_TEXT, AT(policy), 0, 0, NULL},
    {"threads", OPTION_U32, AT(threads), 0, 64, NULL},
    {"core", OPTION_U32, AT(core), 0, ANY_CORE, NULL},
    {"normal", OPTION_FLAG, AT(is_normal), 0, 0, NULL},
    {"placed", OPTION_FLAG, AT(is_placed), 0, 0, NULL},
    {NULL, OPTION_FLAG, 0, 0, 0, NULL},
};

static cygnet_status run_window(struct trainer *t, double until_ms)
{
    cygnet_status st = trainer_begin(t);

    if (st != CYGNET_OK)
        return st;
    while (st == CYGNET_OK && record_now_ms() < until_ms)
        st = trainer_step(t, 0);
    return st == CYGNET_OK ? trainer_end(t) : st;
}

static cygnet_status serve(struct trainer *t)
{
    double from_ms, until_ms;
    cygnet_status st = trainer_warm_up(t);

    if (st != CYGNET_OK)
        return st;
    printf("ready cygnet\n");
    (void)fflush(stdout);
    while (st == CYGNET_OK && child_read_window(&from_ms, &until_ms)) {
        st = run_window(t, until_ms);
        if (st == CYGNET_OK)
            record_tell_steps(&t->record);
    }
    return st;
}

int bench_trainer(int argc, char **argv)
{
    struct trainer_options o;
    cygnet_error err;
    cygnet_status st;
    struct trainer t;

    trainer_options_init(&o);
    o.is_placed = false;
    st = command_line_parse(&o, ROWS, argc, argv, &err);
    if (st == CYGNET_OK && !o.workload.model)
        st = complain(&err, CYGNET_EINVAL, 0, "--model is missing");
    if (st != CYGNET_OK)
        return bench_complain(BENCH_USAGE, &err);
    st = trainer_open(&t, &o, &err);
    if (st == CYGNET_OK)
        st = serve(&t);
    trainer_close(&t);
    return st == CYGNET_OK ? BENCH_DONE : bench_complain(BENCH_FAILED, &err);
}
