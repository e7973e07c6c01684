/* Where the workers of a pool run. */
#include "engine/pool/pool_parts.h"

#include "base/error.h"

#include <errno.h>

static cygnet_status check_cpus(const uint32_t *cpus, size_t n_cpus, cygnet_error *err)
{
    struct affinity seen = {0};

    if (n_cpus > 0 && !cpus)
        return fail(err, CYGNET_EINVAL, 0, "no list of %zu cpus given", n_cpus);
    for (size_t i = 0; i < n_cpus; i++) {
        if (cpus[i] >= AFFINITY_MAX_CPUS)
            return fail(err, CYGNET_EINVAL, 0, "cpu %u: want 0 to %d", cpus[i],
                        AFFINITY_MAX_CPUS - 1);
        if (affinity_has(&seen, cpus[i]))
            return fail(err, CYGNET_EINVAL, 0, "cpu %u is listed twice", cpus[i]);
        affinity_add(&seen, cpus[i]);
    }
    return CYGNET_OK;
}

static cygnet_status refused(size_t worker, int32_t cpu, int error, cygnet_error *err)
{
    if (cpu == NO_CPU)
        return fail(err, CYGNET_EUNSUPPORTED, error,
                    "the system refused to unpin worker %zu (errno %d)", worker, error);
    if (error == EINVAL)
        return fail(err, CYGNET_ENOTFOUND, error,
                    "cpu %d does not exist or is not for this process", (int)cpu);
    return fail(err, CYGNET_EUNSUPPORTED, error,
                "the system refused to pin worker %zu to cpu %d (errno %d)", worker,
                (int)cpu, error);
}

/* ---- Between runs ----------------------------------------------------------- */

/* cpu  NO_CPU gives back what the thread had. Answers 0 or an errno. */
static int pin_worker(struct worker *w, int32_t cpu)
{
    struct affinity one = {0};
    int error = 0;

    if (cpu == NO_CPU && w->cpu == NO_CPU)
        return 0;
    if (cpu != NO_CPU)
        affinity_add(&one, (uint32_t)cpu);
    if (w->cpu == NO_CPU)
        error = affinity_get(&w->home, w->thread);
    if (error == 0)
        error = affinity_set(w->thread, cpu == NO_CPU ? &w->home : &one);
    if (error == 0)
        w->cpu = cpu;
    return error;
}

/* All or none. cpus as checked. */
static cygnet_status pin_workers(struct pool *pool, const uint32_t *cpus, size_t n_cpus,
                                 cygnet_error *err)
{
    int32_t before[POOL_MAX_THREADS];

    for (size_t i = 0; i < pool->executor.n_workers; i++) {
        struct worker *w = &pool->workers[i];
        int32_t cpu = n_cpus > 0 ? (int32_t)cpus[i % n_cpus] : NO_CPU;
        int error;

        before[i] = w->cpu;
        error = pin_worker(w, cpu);
        if (error == 0)
            continue;
        while (i-- > 0)
            (void)pin_worker(&pool->workers[i], before[i]);
        return refused(w->index, cpu, error, err);
    }
    return CYGNET_OK;
}

/* Without a leader, worker 0 is whoever calls. */
static void adopt_caller(struct pool *pool)
{
    struct worker *caller = &pool->workers[0];

    if (pool->first_own == 0)
        return;
    if (caller->cpu == NO_CPU || caller->thread != affinity_thread()) {
        caller->thread = affinity_thread();
        caller->cpu = NO_CPU;
    }
}

cygnet_status pool_pin(struct pool *pool, const uint32_t *cpus, size_t n_cpus,
                       cygnet_error *err)
{
    cygnet_status st = check_cpus(cpus, n_cpus, err);

    if (st != CYGNET_OK)
        return st;
    pthread_mutex_lock(&pool->place_mutex);
    adopt_caller(pool);
    st = pin_workers(pool, cpus, n_cpus, err);
    pthread_mutex_unlock(&pool->place_mutex);
    if (st != CYGNET_OK)
        return st;
    atomic_store(&pool->n_cpus, n_cpus > 0 ? n_cpus : affinity_n_cpus());
    pool_set_size(pool, atomic_load(&pool->n_active));
    return CYGNET_OK;
}

/* ---- In the middle of a run ------------------------------------------------- */

/* Workers without a part share all granted CPUs: that is how they leave the others at
 * once. */
static struct affinity granted_cpus(const struct pool_grant *grant, size_t worker)
{
    uint8_t group = grant->group[worker % grant->n_cpus];
    struct affinity set = {0};

    for (size_t i = 0; i < grant->n_cpus; i++) {
        if (worker >= grant->n_threads || grant->group[i] == group)
            affinity_add(&set, grant->cpus[i]);
    }
    return set;
}

static int confine(const struct worker *w, const struct pool_grant *grant)
{
    struct affinity set;

    if (grant->n_cpus == 0)
        return affinity_set(w->thread, &w->home);
    set = granted_cpus(grant, w->index);
    return affinity_set(w->thread, &set);
}

/* Moves all threads; answers an errno of the first that the system did not move. */
static int confine_workers(struct pool *pool, const struct pool_grant *grant)
{
    int error = 0;

    for (size_t i = 0; i < pool->executor.n_workers; i++) {
        int own = confine(&pool->workers[i], grant);

        error = error != 0 ? error : own;
    }
    return error;
}

cygnet_status pool_grant(struct pool *pool, const struct pool_grant *grant,
                         cygnet_error *err)
{
    static const struct pool_grant anywhere;
    cygnet_status st;
    int error;

    if (pool->first_own > 0)
        return fail(err, CYGNET_EINVAL, 0, "the pool has no leader");
    if (grant->n_threads > pool->executor.n_workers)
        return fail(err, CYGNET_EINVAL, 0, "n_threads is %u: want 0 to %zu",
                    grant->n_threads, pool->executor.n_workers);
    if (grant->n_cpus > POOL_MAX_THREADS)
        return fail(err, CYGNET_EINVAL, 0, "n_cpus is %u: want 0 to %d", grant->n_cpus,
                    POOL_MAX_THREADS);
    st = check_cpus(grant->cpus, grant->n_cpus, err);
    if (st != CYGNET_OK)
        return st;
    pthread_mutex_lock(&pool->place_mutex);
    atomic_store(&pool->n_cpus, grant->n_cpus > 0 ? grant->n_cpus : affinity_n_cpus());
    pool_set_size(pool, grant->n_threads);
    error = confine_workers(pool, grant);
    if (error != 0 && grant->n_cpus > 0) {
        (void)confine_workers(pool, &anywhere);
        atomic_store(&pool->n_cpus, affinity_n_cpus());
        pool_set_size(pool, grant->n_threads);
    }
    pthread_mutex_unlock(&pool->place_mutex);
    if (error == 0 || grant->n_cpus == 0)
        return CYGNET_OK;
    return refused(0, (int32_t)grant->cpus[0], error, err);
}
