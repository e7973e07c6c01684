/* The pool of threads. One 64-bit word, the ticket, hands out blocks: its upper
 * half numbers the job, its lower half is the next block. A worker copies the
 * job's fields and then takes the block by compare-and-swap: if that succeeds the
 * ticket had not changed in between, so the fields belong to the block.
 *
 * Invariant: fields are written only while the ticket says CLOSED, and with
 * release order, so a worker that saw a new field cannot swap an old ticket. */
#include "engine/pool/pool.h"

#include "base/alloc.h"
#include "base/error.h"
#include "engine/pool/affinity.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

#define CLOSED UINT32_MAX

#define SPIN_NS INT64_C(50000) /* about what putting a thread to sleep and back costs */

enum { LOOKS_PER_CLOCK = 32, NO_CPU = -1 };

/* The first is whoever calls; `thread` is set when that one is pinned. */
struct worker {
    struct pool *pool;
    size_t index;
    pthread_t thread;
    int32_t cpu;              /* pinned to; NO_CPU: to none */
    struct affinity unpinned; /* where it may run without that */
};

struct pool {
    struct nn_executor executor; /* first: the executor is the pool */
    const cygnet_allocator *alloc;
    size_t n_started; /* threads that run */
    size_t n_cpus;    /* that the workers have between them */
    atomic_bool may_spin;
    atomic_size_t n_active; /* the first ones take blocks; changes between jobs only */

    _Atomic uint64_t ticket;
    _Atomic(nn_block) block;
    _Atomic(void *) arg;
    _Atomic uint32_t n_blocks;
    _Atomic uint32_t n_done;

    pthread_mutex_t mutex;
    pthread_cond_t work;      /* for the active: there is a job, or the end */
    pthread_cond_t wanted;    /* for the others: they may be active now, or the end */
    pthread_cond_t done;      /* the last block is done */
    atomic_size_t n_sleeping; /* workers that wait for either */
    atomic_bool is_waiting;   /* the caller needs `done` */
    atomic_bool is_ending;
    struct worker workers[];
};

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Looks for something to come true for as long as that is cheaper than sleeping.
 * By the clock: how long a pause takes differs tenfold between CPUs. */
static bool spin_until(bool (*is_true)(struct pool *pool, size_t worker),
                       struct pool *pool, size_t worker)
{
    int64_t end;

    if (is_true(pool, worker))
        return true;
    if (!atomic_load(&pool->may_spin))
        return false;
    end = now_ns() + SPIN_NS;
    do {
        for (int i = 0; i < LOOKS_PER_CLOCK; i++) {
            relax();
            if (is_true(pool, worker))
                return true;
        }
    } while (now_ns() < end);
    return false;
}

static bool all_done(struct pool *pool, size_t worker)
{
    (void)worker;
    return atomic_load(&pool->n_done) == atomic_load(&pool->n_blocks);
}

static bool is_active(struct pool *pool, size_t worker)
{
    return worker < atomic_load(&pool->n_active);
}

/* There is something to do for the worker: a block, or to end. */
static bool has_work(struct pool *pool, size_t worker)
{
    uint32_t next = (uint32_t)atomic_load(&pool->ticket);

    if (atomic_load(&pool->is_ending))
        return true;
    return next != CLOSED && next < atomic_load(&pool->n_blocks) &&
           is_active(pool, worker);
}

/* Once through, whoever was about to sleep does, or has seen what was written
 * before. Signals come after the gate, not inside: who wakes needs the mutex. */
static void pass_gate(struct pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    pthread_mutex_unlock(&pool->mutex);
}

/* Counts a block as done; the last one wakes the caller. */
static void finish_block(struct pool *pool, uint32_t n_blocks)
{
    if (atomic_fetch_add(&pool->n_done, 1) + 1 != n_blocks)
        return;
    if (atomic_load(&pool->is_waiting)) {
        pass_gate(pool);
        pthread_cond_signal(&pool->done);
    }
}

/* Takes and runs one block; false: none is left. */
static bool run_one(struct pool *pool, size_t worker)
{
    uint64_t ticket = atomic_load(&pool->ticket);

    for (;;) {
        nn_block block = atomic_load(&pool->block);
        void *arg = atomic_load(&pool->arg);
        uint32_t n_blocks = atomic_load(&pool->n_blocks);
        uint32_t next = (uint32_t)ticket;

        if (next == CLOSED || next >= n_blocks || !is_active(pool, worker))
            return false;
        if (!atomic_compare_exchange_weak(&pool->ticket, &ticket, ticket + 1))
            continue;
        block(arg, next, worker);
        finish_block(pool, n_blocks);
        return true;
    }
}

static void sleep_until_work(struct pool *pool, size_t worker)
{
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->n_sleeping, 1);
    while (!has_work(pool, worker))
        pthread_cond_wait(is_active(pool, worker) ? &pool->work : &pool->wanted,
                          &pool->mutex);
    atomic_fetch_sub(&pool->n_sleeping, 1);
    pthread_mutex_unlock(&pool->mutex);
}

static void *worker_main(void *arg)
{
    struct worker *self = arg;
    struct pool *pool = self->pool;

    while (!atomic_load(&pool->is_ending)) {
        if (run_one(pool, self->index))
            continue;
        if (is_active(pool, self->index) && spin_until(has_work, pool, self->index))
            continue;
        sleep_until_work(pool, self->index);
    }
    return NULL;
}

/* As many as can find a block beside the caller. */
static void wake_workers(struct pool *pool, size_t n_blocks)
{
    size_t n_helpers = atomic_load(&pool->n_active) - 1;

    if (atomic_load(&pool->n_sleeping) == 0)
        return;
    pass_gate(pool);
    if (n_blocks > n_helpers)
        pthread_cond_broadcast(&pool->work);
    for (size_t i = 1; i < n_blocks && n_blocks <= n_helpers; i++)
        pthread_cond_signal(&pool->work);
}

/* Every sleeper looks anew at what it waits for. */
static void wake_all(struct pool *pool)
{
    pass_gate(pool);
    pthread_cond_broadcast(&pool->work);
    pthread_cond_broadcast(&pool->wanted);
}

/* Opens a job: closed ticket, fields, new ticket. */
static void publish(struct pool *pool, nn_block block, void *arg, uint32_t n_blocks)
{
    uint64_t job = (atomic_load(&pool->ticket) >> 32) + 1;

    atomic_store(&pool->ticket, job << 32 | CLOSED);
    atomic_store(&pool->block, block);
    atomic_store(&pool->arg, arg);
    atomic_store(&pool->n_done, 0);
    atomic_store(&pool->n_blocks, n_blocks);
    atomic_store(&pool->ticket, job << 32);
}

static void wait_until_done(struct pool *pool)
{
    if (spin_until(all_done, pool, 0))
        return;
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->is_waiting, true);
    while (!all_done(pool, 0))
        pthread_cond_wait(&pool->done, &pool->mutex);
    atomic_store(&pool->is_waiting, false);
    pthread_mutex_unlock(&pool->mutex);
}

static void run(struct nn_executor *executor, nn_block block, void *arg, size_t n_blocks)
{
    struct pool *pool = (struct pool *)executor;

    assert(n_blocks < CLOSED);
    if (atomic_load(&pool->n_active) == 1 || n_blocks < 2) {
        for (size_t i = 0; i < n_blocks; i++)
            block(arg, i, 0);
        return;
    }
    publish(pool, block, arg, (uint32_t)n_blocks);
    wake_workers(pool, n_blocks);
    while (run_one(pool, 0))
        continue;
    wait_until_done(pool);
}

/* Threads inherit the mask: the host's signals stay with the host's threads. */
static int start_threads(struct pool *pool)
{
    sigset_t all, before;
    int error = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (size_t i = 1; i < pool->executor.n_workers && error == 0; i++) {
        struct worker *w = &pool->workers[i];

        error = pthread_create(&w->thread, NULL, worker_main, w);
        pool->n_started += error == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

static void init(struct pool *pool, uint32_t n_threads, const cygnet_allocator *alloc)
{
    pool->executor = (struct nn_executor){run, n_threads};
    pool->alloc = alloc;
    pool->n_cpus = affinity_n_cpus();
    atomic_init(&pool->n_active, n_threads);
    atomic_init(&pool->may_spin, n_threads <= pool->n_cpus);
    atomic_init(&pool->ticket, CLOSED);
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->wanted, NULL);
    pthread_cond_init(&pool->done, NULL);
    for (size_t i = 0; i < n_threads; i++) {
        pool->workers[i].pool = pool;
        pool->workers[i].index = i;
        pool->workers[i].cpu = NO_CPU;
    }
}

static uint64_t bytes_for(size_t n_threads)
{
    return sizeof(struct pool) + n_threads * sizeof(struct worker);
}

cygnet_status pool_create(struct pool **out, uint32_t n_threads,
                          const cygnet_allocator *alloc, cygnet_error *err)
{
    struct pool *pool;
    int error;

    *out = NULL;
    if (n_threads < 1 || n_threads > POOL_MAX_THREADS)
        return fail(err, CYGNET_EINVAL, 0, "n_threads is %u: want 1 to %d", n_threads,
                    POOL_MAX_THREADS);
    pool = mem_calloc(alloc, 1, (size_t)bytes_for(n_threads));
    if (!pool)
        return fail(err, CYGNET_ENOMEM, 0, "out of memory for a pool of threads");
    init(pool, n_threads, alloc);
    error = start_threads(pool);
    if (error != 0) {
        size_t n_started = pool->n_started;

        pool_destroy(pool);
        return fail(err, CYGNET_ENOMEM, error,
                    "the system refused to start thread %zu of %u (errno %d)",
                    n_started + 2, n_threads, error);
    }
    *out = pool;
    return CYGNET_OK;
}

/* The caller's own CPUs are only its own to take back. */
static void release_caller(struct pool *pool)
{
    struct worker *caller = &pool->workers[0];

    if (caller->cpu != NO_CPU && pthread_equal(caller->thread, pthread_self()))
        (void)affinity_set(caller->thread, &caller->unpinned);
}

void pool_destroy(struct pool *pool)
{
    if (!pool)
        return;
    release_caller(pool);
    atomic_store(&pool->is_ending, true);
    wake_all(pool);
    for (size_t i = 1; i <= pool->n_started; i++)
        pthread_join(pool->workers[i].thread, NULL);
    pthread_cond_destroy(&pool->done);
    pthread_cond_destroy(&pool->wanted);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->mutex);
    mem_free(pool->alloc, pool);
}

struct nn_executor *pool_executor(struct pool *pool)
{
    return &pool->executor;
}

struct pool *pool_of_executor(struct nn_executor *executor)
{
    return executor->run == run ? (struct pool *)executor : NULL;
}

/* Spinning workers without a CPU of their own hold up those who work. */
static void set_size(struct pool *pool, size_t n_active)
{
    atomic_store(&pool->n_active, n_active);
    atomic_store(&pool->may_spin, n_active <= pool->n_cpus);
}

cygnet_status pool_resize(struct pool *pool, uint32_t n_threads, cygnet_error *err)
{
    if (n_threads < 1 || n_threads > pool->executor.n_workers)
        return fail(err, CYGNET_EINVAL, 0, "n_threads is %u: want 1 to %zu", n_threads,
                    pool->executor.n_workers);
    set_size(pool, n_threads);
    wake_all(pool);
    return CYGNET_OK;
}

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
        error = affinity_get(&w->unpinned, w->thread);
    if (error == 0)
        error = affinity_set(w->thread, cpu == NO_CPU ? &w->unpinned : &one);
    if (error == 0)
        w->cpu = cpu;
    return error;
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

cygnet_status pool_pin(struct pool *pool, const uint32_t *cpus, size_t n_cpus,
                       cygnet_error *err)
{
    struct worker *caller = &pool->workers[0];
    cygnet_status st = check_cpus(cpus, n_cpus, err);

    if (st != CYGNET_OK)
        return st;
    if (caller->cpu == NO_CPU || !pthread_equal(caller->thread, pthread_self())) {
        caller->thread = pthread_self();
        caller->cpu = NO_CPU;
    }
    st = pin_workers(pool, cpus, n_cpus, err);
    if (st != CYGNET_OK)
        return st;
    pool->n_cpus = n_cpus > 0 ? n_cpus : affinity_n_cpus();
    set_size(pool, atomic_load(&pool->n_active));
    return CYGNET_OK;
}

size_t pool_n_asleep(struct pool *pool)
{
    return atomic_load(&pool->n_sleeping);
}

uint64_t pool_bytes(const struct pool *pool)
{
    return bytes_for(pool->executor.n_workers);
}
