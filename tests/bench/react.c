/* How long until a load is diagnosed, left alone, and forgotten. Training runs at the
 * usual priority, so that staying on the core would be at the user's cost and leaving
 * it is right. */
#include "tests/bench/controller_parts.h"

#include "examples/common/complain.h"
#include "tests/bench/trainer.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define LOOK_MS 0.5
#define QUIET_MS 500.0 /* on all cores before a load comes; without it there is none */
#define BACK_GIVE_UP_MS 30e3
#define START_MS 100.0

/* Of one load; NaN: it never happened. back_ms counts from the load's end. */
struct trial {
    double diagnosed_ms;
    double decided_ms;
    double back_ms;
};

/* trials       (options->loads) those that count, n_trials of them
 * n_attempts   loads that were to come, with those that were left out because something
 *              else was in the way */
struct react {
    const struct controller_options *options;
    struct trainer_options trainer_options;
    struct trainer trainer;
    struct child load;
    atomic_bool is_over;
    uint32_t n_threads; /* all of them */
    struct trial *trials;
    uint32_t n_trials;
    uint32_t n_attempts;
};

static void *train(void *arg)
{
    struct react *r = arg;
    struct trainer *t = &r->trainer;

    t->status = trainer_begin(t);
    while (t->status == CYGNET_OK && !atomic_load(&r->is_over))
        (void)trainer_step(t, 0);
    if (t->status == CYGNET_OK)
        t->status = trainer_end(t);
    atomic_store(&r->is_over, true);
    return NULL;
}

static bool is_quiet(const struct react *r)
{
    struct swan_peek peek;

    swan_peek(&peek, r->trainer.swan);
    return peek.n_threads >= r->n_threads && peek.disturbance == DISTURBANCE_NONE;
}

/* Until all cores have been in use for a while, with nothing in the way. */
static bool wait_for_quiet(struct react *r)
{
    double began = record_now_ms(), quiet_from = began;

    while (record_now_ms() - began < 1e3 * r->options->patience_s &&
           !atomic_load(&r->is_over)) {
        double now = record_now_ms();

        if (!is_quiet(r))
            quiet_from = now;
        if (now - quiet_from > QUIET_MS)
            return true;
        record_sleep_until(now + LOOK_MS);
    }
    return false;
}

/* What would be seen of a load that has not begun yet is something else. */
static bool stays_quiet(struct react *r, double until)
{
    bool stays = true;

    while (record_now_ms() < until && stays) {
        stays = is_quiet(r);
        record_sleep_until(fmin(record_now_ms() + LOOK_MS, until));
    }
    return stays && is_quiet(r);
}

/* From the load's beginning to its end. */
static void watch_load(struct trial *trial, struct react *r, double from, double until)
{
    while (record_now_ms() < until &&
           (isnan(trial->diagnosed_ms) || isnan(trial->decided_ms))) {
        struct swan_peek peek;
        double now;

        swan_peek(&peek, r->trainer.swan);
        now = record_now_ms();
        if (isnan(trial->diagnosed_ms) && peek.disturbance != DISTURBANCE_NONE)
            trial->diagnosed_ms = now - from;
        if (isnan(trial->decided_ms) && peek.n_threads < r->n_threads)
            trial->decided_ms = now - from;
        record_sleep_until(now + LOOK_MS);
    }
    record_sleep_until(until);
}

/* From the load's end; nothing if training never left. */
static void watch_return(struct trial *trial, struct react *r, double until)
{
    if (isnan(trial->decided_ms))
        return;
    while (record_now_ms() - until < BACK_GIVE_UP_MS && !atomic_load(&r->is_over)) {
        struct swan_peek peek;
        double now = record_now_ms();

        swan_peek(&peek, r->trainer.swan);
        if (peek.n_threads >= r->n_threads) {
            trial->back_ms = now - until;
            return;
        }
        record_sleep_until(now + LOOK_MS);
    }
}

static cygnet_status load_once(struct react *r, cygnet_error *err)
{
    struct trial trial = {(double)NAN, (double)NAN, (double)NAN};
    char line[64];
    double from, until;
    bool counts;
    cygnet_status st;

    r->n_attempts++;
    if (!wait_for_quiet(r))
        return CYGNET_OK;
    from = record_now_ms() + START_MS;
    until = from + 1e3 * r->options->load_s;
    st = child_tell_window(&r->load, from, until, err);
    if (st != CYGNET_OK)
        return st;
    counts = stays_quiet(r, from);
    watch_load(&trial, r, from, until);
    st = child_expect(&r->load, "done", line, sizeof(line), err);
    if (!counts)
        return st;
    watch_return(&trial, r, until);
    r->trials[r->n_trials++] = trial;
    return st;
}

static cygnet_status start_load(struct react *r, cygnet_error *err)
{
    char core[16], line[64];
    const char *const words[] = {NULL, "load", "--core", core, NULL};
    cygnet_status st;

    (void)snprintf(core, sizeof(core), "%" PRIu32, r->options->core);
    st = child_start(&r->load, "load", words, err);
    return st == CYGNET_OK ? child_expect(&r->load, "ready", line, sizeof(line), err)
                           : st;
}

static cygnet_status load_often(struct react *r, cygnet_error *err)
{
    cygnet_status st = start_load(r, err);
    pthread_t thread;
    int error;

    if (st != CYGNET_OK)
        return st;
    error = pthread_create(&thread, NULL, train, r);
    if (error != 0)
        return complain(err, CYGNET_ENOMEM, error, "no thread to train on");
    while (r->n_trials < r->options->loads && r->n_attempts < r->options->attempts &&
           st == CYGNET_OK && !atomic_load(&r->is_over))
        st = load_once(r, err);
    atomic_store(&r->is_over, true);
    (void)pthread_join(thread, NULL);
    return st == CYGNET_OK ? r->trainer.status : st;
}

enum time { TIME_DIAGNOSED, TIME_DECIDED, TIME_BACK, N_TIMES };

static const struct {
    const char *count;
    const char *name;
    const char *says;
} times[N_TIMES] = {
    {"diagnosed", "diagnosed_ms", "load to diagnosis"},
    {"decided", "decided_ms", "load to decision"},
    {"returned", "back_ms", "end of load to all cores"},
};

static double time_of(const struct trial *trial, enum time time)
{
    if (time == TIME_DIAGNOSED)
        return trial->diagnosed_ms;
    return time == TIME_DECIDED ? trial->decided_ms : trial->back_ms;
}

/* What never happened is not among the times, but shows in their number. */
static void report_times(struct json_builder *b, const struct react *r, double *ms)
{
    for (enum time t = TIME_DIAGNOSED; t < N_TIMES; t++) {
        size_t n = 0;

        for (uint32_t i = 0; i < r->n_trials; i++) {
            ms[n] = time_of(&r->trials[i], t);
            n += isnan(ms[n]) ? 0 : 1;
        }
        controller_say_times(r->options, times[t].says, ms, n);
        json_put_u64(b, times[t].count, n);
        controller_put_times(b, times[t].name, ms, n);
    }
}

static void put_trials(struct json_builder *b, const struct react *r)
{
    json_open_array(b, "trials");
    for (uint32_t i = 0; i < r->n_trials; i++) {
        json_open_object(b, NULL);
        for (enum time t = TIME_DIAGNOSED; t < N_TIMES; t++)
            json_put_double(b, times[t].name, time_of(&r->trials[i], t));
        json_close(b);
    }
    json_close(b);
}

static cygnet_status report(struct react *r, double *ms, cygnet_error *err)
{
    const struct controller_options *o = r->options;
    struct json_builder *b = controller_row(o, "react");
    struct swan_counters counters;

    swan_count(&counters, r->trainer.swan);
    json_put_u64(b, "loads", o->loads);
    json_put_u64(b, "attempts", r->n_attempts);
    json_put_u64(b, "loads_left_out", r->n_attempts - r->n_trials);
    json_put_u64(b, "loads_that_count", r->n_trials);
    report_times(b, r, ms);
    put_trials(b, r);
    json_put_double(b, "longest_vacate_ms", counters.vacate_ms);
    json_put_u64(b, "switches", counters.n_switches);
    if (o->speaks)
        printf("%" PRIu32 " loads of %" PRIu32 " that were wanted count, %" PRIu32
               " were left out for want of quiet; longest vacate %.2f ms, %" PRIu64
               " switches\n",
               r->n_trials, o->loads, r->n_attempts - r->n_trials, counters.vacate_ms,
               counters.n_switches);
    return controller_write(o, b, err);
}

static cygnet_status open_react(struct react *r, const struct controller_options *o,
                                cygnet_error *err)
{
    struct trainer_options *t = &r->trainer_options;
    cygnet_status st;

    r->options = o;
    trainer_options_init(t);
    t->workload = o->workload;
    t->is_normal = true;
    r->trials = calloc(o->loads, sizeof(*r->trials));
    st = trainer_open(&r->trainer, t, err);
    if (st == CYGNET_OK && !r->trials)
        st = complain(err, CYGNET_ENOMEM, 0, "out of memory for loads");
    if (st == CYGNET_OK)
        st = trainer_warm_up(&r->trainer);
    if (st == CYGNET_OK)
        r->n_threads = (uint32_t)swan_executor(r->trainer.swan)->n_workers;
    return st;
}

cygnet_status controller_react(const struct controller_options *o, cygnet_error *err)
{
    double *ms = calloc((size_t)o->loads + 1, sizeof(*ms));
    struct react r = {.n_threads = 0};
    cygnet_status st = open_react(&r, o, err);

    if (st == CYGNET_OK && !ms)
        st = complain(err, CYGNET_ENOMEM, 0, "out of memory for loads");
    if (st == CYGNET_OK)
        st = load_often(&r, err);
    if (st == CYGNET_OK)
        st = report(&r, ms, err);
    (void)child_end(&r.load, st != CYGNET_OK);
    trainer_close(&r.trainer);
    free(r.trials);
    free(ms);
    return st;
}
