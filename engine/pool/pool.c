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

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>

#define CLOSED UINT32_MAX

enum { SPINS = 4000 }; /* some 50 us */

struct worker {
    struct pool *pool;
    size_t index;
    pthread_t thread;
};

struct pool {
    struct nn_executor executor; /* first: the executor is the pool */
    const cygnet_allocator *alloc;
    size_t n_started; /* threads that run */

    _Atomic uint64_t ticket;
    _Atomic(nn_block) block;
    _Atomic(void *) arg;
    _Atomic uint32_t n_blocks;
    _Atomic uint32_t n_done;

    pthread_mutex_t mutex;
    pthread_cond_t work;   /* there is a job, or the end */
    pthread_cond_t done;   /* the last block is done */
    atomic_int n_sleeping; /* workers that need `work` */
    atomic_int is_waiting; /* the caller needs `done` */
    atomic_int is_ending;
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

static bool all_done(struct pool *pool)
{
    return atomic_load(&pool->n_done) == atomic_load(&pool->n_blocks);
}

static bool has_block(struct pool *pool)
{
    uint32_t next = (uint32_t)atomic_load(&pool->ticket);

    return next != CLOSED && next < atomic_load(&pool->n_blocks);
}

/* Counts a block as done; the last one wakes the caller. */
static void finish_block(struct pool *pool, uint32_t n_blocks)
{
    if (atomic_fetch_add(&pool->n_done, 1) + 1 != n_blocks)
        return;
    if (atomic_load(&pool->is_waiting)) {
        pthread_mutex_lock(&pool->mutex);
        pthread_cond_signal(&pool->done);
        pthread_mutex_unlock(&pool->mutex);
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

        if (next == CLOSED || next >= n_blocks)
            return false;
        if (!atomic_compare_exchange_weak(&pool->ticket, &ticket, ticket + 1))
            continue;
        block(arg, next, worker);
        finish_block(pool, n_blocks);
        return true;
    }
}

static void sleep_until_work(struct pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->n_sleeping, 1);
    while (!has_block(pool) && !atomic_load(&pool->is_ending))
        pthread_cond_wait(&pool->work, &pool->mutex);
    atomic_fetch_sub(&pool->n_sleeping, 1);
    pthread_mutex_unlock(&pool->mutex);
}

static void *worker_main(void *arg)
{
    struct worker *self = arg;
    struct pool *pool = self->pool;
    int idle = 0;

    while (!atomic_load(&pool->is_ending)) {
        if (run_one(pool, self->index)) {
            idle = 0;
        } else if (++idle < SPINS) {
            relax();
        } else {
            sleep_until_work(pool);
            idle = 0;
        }
    }
    return NULL;
}

static void wake_workers(struct pool *pool)
{
    if (atomic_load(&pool->n_sleeping) == 0)
        return;
    pthread_mutex_lock(&pool->mutex);
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->mutex);
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
    for (int i = 0; i < SPINS; i++) {
        if (all_done(pool))
            return;
        relax();
    }
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->is_waiting, 1);
    while (!all_done(pool))
        pthread_cond_wait(&pool->done, &pool->mutex);
    atomic_store(&pool->is_waiting, 0);
    pthread_mutex_unlock(&pool->mutex);
}

static void run(struct nn_executor *executor, nn_block block, void *arg, size_t n_blocks)
{
    struct pool *pool = (struct pool *)executor;

    assert(n_blocks < CLOSED);
    if (executor->n_workers == 1 || n_blocks < 2) {
        for (size_t i = 0; i < n_blocks; i++)
            block(arg, i, 0);
        return;
    }
    publish(pool, block, arg, (uint32_t)n_blocks);
    wake_workers(pool);
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
        struct worker *w = &pool->workers[i - 1];

        *w = (struct worker){.pool = pool, .index = i};
        error = pthread_create(&w->thread, NULL, worker_main, w);
        pool->n_started += error == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
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
    pool = mem_calloc(alloc, 1, sizeof(*pool) + (n_threads - 1) * sizeof(struct worker));
    if (!pool)
        return fail(err, CYGNET_ENOMEM, 0, "out of memory for a pool of threads");
    pool->executor = (struct nn_executor){run, n_threads};
    pool->alloc = alloc;
    atomic_init(&pool->ticket, CLOSED);
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->done, NULL);
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

void pool_destroy(struct pool *pool)
{
    if (!pool)
        return;
    atomic_store(&pool->is_ending, 1);
    wake_workers(pool);
    for (size_t i = 0; i < pool->n_started; i++)
        pthread_join(pool->workers[i].thread, NULL);
    pthread_cond_destroy(&pool->done);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->mutex);
    mem_free(pool->alloc, pool);
}

struct nn_executor *pool_executor(struct pool *pool)
{
    return &pool->executor;
}

uint64_t pool_bytes(const struct pool *pool)
{
    return sizeof(*pool) + (pool->executor.n_workers - 1) * sizeof(struct worker);
}
