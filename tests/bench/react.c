/* How long until a load is diagnosed, left alone, and forgotten. Training runs at the
 * usual priority, so that staying on the core would be at the user's cost and leaving
 * it is right. */
#include "tests/bench/controller_parts.h"

#include "examples/common/complain.h"
#include "tests/bench/trainer.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define LOOK_MS 0.5
#define QUIET_MS 500.0 /* on all cores before a load comes; without it there is none */
#define BACK_GIVE_UP_MS 30e3
#define START_MS 100.0

/* Times of all loads, and how many there were; what never happened is not among
 * them. */
struct times {
    double *ms;
    size_t n;
};

struct react {
    const struct controller_options *options;
    struct trainer_options trainer_options;
    struct trainer trainer;
    struct child load;
    atomic_bool is_over;
    uint32_t n_threads; /* all of them */
    struct times diagnosed, decided, back;
    uint32_t n_disturbed; /* loads that were left out: something else was in the way */
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

static void add(struct times *times, double ms)
{
    times->ms[times->n++] = ms;
}

/* Until all cores have been in use for a while, with nothing in the way. */
static bool wait_for_quiet(struct react *r)
{
    double began = record_now_ms(), quiet_from = began;

    while (record_now_ms() - began < 1e3 * r->options->patience_s &&
           !atomic_load(&r->is_over)) {
        struct swan_peek peek;
        double now = record_now_ms();

        swan_peek(&peek, r->trainer.swan);
        if (peek.n_threads < r->n_threads || peek.disturbance != DISTURBANCE_NONE)
            quiet_from = now;
        if (now - quiet_from > QUIET_MS)
            return true;
        record_sleep_until(now + LOOK_MS);
    }
    return false;
}

/* From the load's beginning to its end. */
static void watch_load(struct react *r, double from, double until)
{
    bool is_diagnosed = false, is_decided = false;

    record_sleep_until(from);
    while (record_now_ms() < until && !(is_diagnosed && is_decided)) {
        struct swan_peek peek;
        double now;

        swan_peek(&peek, r->trainer.swan);
        now = record_now_ms();
        if (!is_diagnosed && peek.disturbance != DISTURBANCE_NONE) {
            is_diagnosed = true;
            add(&r->diagnosed, now - from);
        }
        if (!is_decided && peek.n_threads < r->n_threads) {
            is_decided = true;
            add(&r->decided, now - from);
        }
        record_sleep_until(now + LOOK_MS);
    }
    record_sleep_until(until);
}

/* From the load's end; nothing if training never left. */
static void watch_return(struct react *r, double until)
{
    struct swan_peek peek;

    swan_peek(&peek, r->trainer.swan);
    if (peek.n_threads >= r->n_threads)
        return;
    while (record_now_ms() - until < BACK_GIVE_UP_MS && !atomic_load(&r->is_over)) {
        double now = record_now_ms();

        swan_peek(&peek, r->trainer.swan);
        if (peek.n_threads >= r->n_threads) {
            add(&r->back, now - until);
            return;
        }
        record_sleep_until(now + LOOK_MS);
    }
}

static cygnet_status load_once(struct react *r, cygnet_error *err)
{
    char line[64];
    double from, until;
    cygnet_status st;

    if (!wait_for_quiet(r)) {
        r->n_disturbed++;
        return CYGNET_OK;
    }
    from = record_now_ms() + START_MS;
    until = from + 1e3 * r->options->load_s;
    st = child_tell_window(&r->load, from, until, err);
    if (st != CYGNET_OK)
        return st;
    watch_load(r, from, until);
    st = child_expect(&r->load, "done", line, sizeof(line), err);
    watch_return(r, until);
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
    for (uint32_t i = 0; i < r->options->loads && st == CYGNET_OK; i++) {
        if (!atomic_load(&r->is_over))
            st = load_once(r, err);
    }
    atomic_store(&r->is_over, true);
    (void)pthread_join(thread, NULL);
    return st == CYGNET_OK ? r->trainer.status : st;
}

static cygnet_status report(struct react *r, cygnet_error *err)
{
    const struct controller_options *o = r->options;
    struct json_builder *b = controller_row(o, "react");
    struct swan_counters counters;

    swan_count(&counters, r->trainer.swan);
    controller_say_times(o, "load to diagnosis", r->diagnosed.ms, r->diagnosed.n);
    controller_say_times(o, "load to decision", r->decided.ms, r->decided.n);
    controller_say_times(o, "end of load to all cores", r->back.ms, r->back.n);
    if (o->speaks)
        printf("%u loads, %u of them left out for want of quiet; longest vacate %.2f ms, "
               "%llu "
               "switches\n",
               o->loads, r->n_disturbed, counters.vacate_ms,
               (unsigned long long)counters.n_switches);
    json_put_u64(b, "loads", o->loads);
    json_put_u64(b, "loads_left_out", r->n_disturbed);
    json_put_u64(b, "diagnosed", r->diagnosed.n);
    controller_put_times(b, "diagnosed_ms", r->diagnosed.ms, r->diagnosed.n);
    json_put_u64(b, "decided", r->decided.n);
    controller_put_times(b, "decided_ms", r->decided.ms, r->decided.n);
    json_put_u64(b, "returned", r->back.n);
    controller_put_times(b, "back_ms", r->back.ms, r->back.n);
    json_put_double(b, "longest_vacate_ms", counters.vacate_ms);
    json_put_u64(b, "switches", counters.n_switches);
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
    r->diagnosed.ms = calloc(o->loads, sizeof(double));
    r->decided.ms = calloc(o->loads, sizeof(double));
    r->back.ms = calloc(o->loads, sizeof(double));
    st = trainer_open(&r->trainer, t, err);
    if (st == CYGNET_OK && (!r->diagnosed.ms || !r->decided.ms || !r->back.ms))
        st = complain(err, CYGNET_ENOMEM, 0, "out of memory for loads");
    if (st == CYGNET_OK)
        st = trainer_warm_up(&r->trainer);
    if (st == CYGNET_OK)
        r->n_threads = (uint32_t)swan_executor(r->trainer.swan)->n_workers;
    return st;
}

cygnet_status controller_react(const struct controller_options *o, cygnet_error *err)
{
    struct react r = {.n_threads = 0};
    cygnet_status st = open_react(&r, o, err);

    if (st == CYGNET_OK)
        st = load_often(&r, err);
    if (st == CYGNET_OK)
        st = report(&r, err);
    (void)child_end(&r.load, st != CYGNET_OK);
    trainer_close(&r.trainer);
    free(r.diagnosed.ms);
    free(r.decided.ms);
    free(r.back.ms);
    return st;
}
