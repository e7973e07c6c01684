/* How long after a revocation nobody of ours is on the core. */
#include "tests/bench/controller_parts.h"

#include "base/rng.h"
#include "engine/pool/pool.h"
#include "examples/common/complain.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { PROCESSOR_FIELD = 39 /* of /proc/<pid>/stat, counted from 1 */ };

#define REST_MIN_MS 5.0 /* between revocations, with everything granted */
#define REST_MAX_MS 30.0
#define LOOK_MS 0.02
#define GIVE_UP_MS 1000.0

/* by_mask    workers are held on cores, so there is a core to look at
 * left_ms    until no worker was on the core, and ended_ms until the workers that were
 *            no longer wanted had ended their last block; n of each */
struct vacate {
    const struct controller_options *options;
    bool by_mask;
    struct pool *pool;
    struct workload workload;
    int files[POOL_MAX_THREADS];
    size_t n_threads;
    uint32_t cpus[POOL_MAX_THREADS];
    atomic_bool is_over;
    double *left_ms, *ended_ms;
    size_t n;
    cygnet_status status;
    cygnet_error *err;
};

static void train(void *arg)
{
    struct vacate *v = arg;
    double loss;

    v->status = workload_step(&v->workload, &loss, v->err);
}

/* A worker that is running, or wants to, where it was last. */
static bool is_on(int file, uint32_t cpu)
{
    char text[1024];
    ssize_t n = pread(file, text, sizeof(text) - 1, 0);
    const char *at;

    if (n <= 0)
        return false;
    text[n] = '\0';
    at = strrchr(text, ')');
    if (!at || at[2] != 'R')
        return false;
    for (int field = 2; at && field < PROCESSOR_FIELD; field++)
        at = strchr(at + 1, ' ');
    return at && strtoul(at + 1, NULL, 10) == cpu;
}

static bool anyone_is_on(const struct vacate *v, uint32_t cpu)
{
    for (size_t i = 0; i < v->n_threads; i++) {
        if (v->files[i] >= 0 && is_on(v->files[i], cpu))
            return true;
    }
    return false;
}

static void grant(struct vacate *v, uint32_t n_threads)
{
    struct pool_grant g = {.n_threads = n_threads};

    if (v->by_mask) {
        g.n_cpus = n_threads;
        memcpy(g.cpus, v->cpus, n_threads * sizeof(g.cpus[0]));
    }
    if (pool_grant(v->pool, &g, v->err) != CYGNET_OK)
        v->status = CYGNET_EUNSUPPORTED;
}

/* cpus has the core to be vacated at its end. */
static void take_away(struct vacate *v)
{
    uint32_t cpu = v->cpus[v->n_threads - 1];
    double began = record_now_ms(), left = -1.0, ended = -1.0, now;

    grant(v, (uint32_t)v->n_threads - 1);
    do {
        now = record_now_ms();
        if (left < 0.0 && (!v->by_mask || !anyone_is_on(v, cpu)))
            left = record_now_ms() - began;
        if (ended < 0.0 && pool_has_vacated(v->pool))
            ended = record_now_ms() - began;
        if (left < 0.0 || ended < 0.0)
            record_sleep_until(now + LOOK_MS);
    } while ((left < 0.0 || ended < 0.0) && now - began < GIVE_UP_MS);
    v->left_ms[v->n] = left < 0.0 ? GIVE_UP_MS : left;
    v->ended_ms[v->n++] = ended < 0.0 ? GIVE_UP_MS : ended;
}

static void *revoke_often(void *arg)
{
    struct vacate *v = arg;
    struct rng rng;

    (void)prctl(PR_SET_TIMERSLACK, 1UL);
    rng_init(&rng, v->options->workload.seed, "revoke", 0);
    for (uint32_t i = 0; i < v->options->revocations && v->status == CYGNET_OK; i++) {
        double rest = REST_MIN_MS + (REST_MAX_MS - REST_MIN_MS) * rng_uniform(&rng);

        grant(v, (uint32_t)v->n_threads);
        record_sleep_until(record_now_ms() + rest);
        take_away(v);
    }
    grant(v, (uint32_t)v->n_threads);
    atomic_store(&v->is_over, true);
    return NULL;
}

static void open_files(struct vacate *v)
{
    int32_t threads[POOL_MAX_THREADS];

    pool_threads(v->pool, threads);
    for (size_t i = 0; i < v->n_threads; i++) {
        char path[64];

        (void)snprintf(path, sizeof(path), "/proc/self/task/%" PRId32 "/stat",
                       threads[i]);
        v->files[i] = open(path, O_RDONLY | O_CLOEXEC);
    }
}

static void close_files(struct vacate *v)
{
    for (size_t i = 0; i < v->n_threads; i++) {
        if (v->files[i] >= 0)
            (void)close(v->files[i]);
    }
}

/* All cores, the one to be vacated last. */
static void order_cpus(struct vacate *v)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);

    v->n_threads = n > POOL_MAX_THREADS ? POOL_MAX_THREADS : (size_t)n;
    for (uint32_t i = 0, at = 0; i < v->n_threads; i++) {
        if (i != v->options->core)
            v->cpus[at++] = i;
    }
    v->cpus[v->n_threads - 1] = v->options->core;
}

static cygnet_status open_vacate(struct vacate *v, const struct controller_options *o,
                                 cygnet_error *err)
{
    struct pool_options options = {.has_leader = true, .yields = true};
    cygnet_status st;

    *v = (struct vacate){.options = o, .err = err, .by_mask = v->by_mask};
    order_cpus(v);
    options.n_threads = (uint32_t)v->n_threads;
    v->left_ms = calloc(o->revocations, sizeof(double));
    v->ended_ms = calloc(o->revocations, sizeof(double));
    if (!v->left_ms || !v->ended_ms)
        return complain(err, CYGNET_ENOMEM, 0, "out of memory for revocations");
    st = pool_create_with(&v->pool, &options, NULL, err);
    if (st != CYGNET_OK)
        return st;
    open_files(v);
    return workload_init(&v->workload, &o->workload, pool_executor(v->pool), err);
}

static void close_vacate(struct vacate *v)
{
    workload_clear(&v->workload);
    if (v->pool)
        close_files(v);
    pool_destroy(v->pool);
    free(v->left_ms);
    free(v->ended_ms);
}

static cygnet_status revoke_while_training(struct vacate *v)
{
    pthread_t revoker;
    int error;

    pool_call(v->pool, train, v, NULL, NULL); /* new memory is touched */
    if (v->status != CYGNET_OK)
        return v->status;
    error = pthread_create(&revoker, NULL, revoke_often, v);
    if (error != 0)
        return complain(v->err, CYGNET_ENOMEM, error, "no thread to revoke cores");
    while (!atomic_load(&v->is_over) && v->status == CYGNET_OK)
        pool_call(v->pool, train, v, NULL, NULL);
    (void)pthread_join(revoker, NULL);
    return v->status;
}

static cygnet_status report(struct vacate *v)
{
    const struct controller_options *o = v->options;
    struct json_builder *b = controller_row(o, "vacate");

    json_put_string(b, "how", v->by_mask ? "mask" : "number");
    json_put_u64(b, "revocations", v->n);
    if (v->by_mask) {
        controller_say_times(o, "vacate, by mask: nobody on the core", v->left_ms, v->n);
        controller_put_times(b, "vacated_ms", v->left_ms, v->n);
    }
    controller_say_times(o,
                         v->by_mask ? "vacate, by mask: last block ended"
                                    : "vacate, by number: last block ended",
                         v->ended_ms, v->n);
    controller_put_times(b, "last_block_ms", v->ended_ms, v->n);
    return controller_write(o, b, v->err);
}

static cygnet_status measure(const struct controller_options *o, bool by_mask,
                             cygnet_error *err)
{
    struct vacate v = {.by_mask = by_mask};
    cygnet_status st = open_vacate(&v, o, err);

    if (st == CYGNET_OK)
        st = revoke_while_training(&v);
    if (st == CYGNET_OK)
        st = report(&v);
    close_vacate(&v);
    return st;
}

cygnet_status controller_vacate(const struct controller_options *o, cygnet_error *err)
{
    cygnet_status st = measure(o, true, err);

    return st == CYGNET_OK ? measure(o, false, err) : st;
}
