/* The pool of threads. One 64-bit word, the ticket, hands out blocks: its upper
 * half numbers the job, its lower half is the next block. A worker copies the
 * job's fields and then takes the block by compare-and-swap: if that succeeds the
 * ticket had not changed in between, so the fields belong to the block.
 *
 * Invariant: fields are written only while the ticket says CLOSED, and with
 * release order, so a worker that saw a new field cannot swap an old ticket. */
#include "engine/pool/pool_parts.h"

#include "base/alloc.h"
#include "base/error.h"
#include "engine/pool/thread.h"
#include "engine/pool/timed.h"

#include <assert.h>
#include <errno.h>
#include <time.h>

#define CLOSED UINT32_MAX

#define SPIN_NS INT64_C(50000) /* about what putting a thread to sleep and back costs */

enum { LOOKS_PER_CLOCK = 32 };

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

void pool_pass_gate(struct pool *pool)
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
        pool_pass_gate(pool);
        pthread_cond_signal(&pool->done);
    }
}

/* Says that the worker is in a block, then whether it may be. In this order: whoever
 * takes its part away and then finds it in no block knows that it begins none. */
static bool enter_block(struct pool *pool, size_t worker)
{
    atomic_store(&pool->workers[worker].in_block, true);
    return is_active(pool, worker);
}

static void leave_block(struct pool *pool, size_t worker)
{
    atomic_store_explicit(&pool->workers[worker].in_block, false, memory_order_release);
}

/* Takes and runs one block, having entered; false: none is left. */
static bool take_block(struct pool *pool, size_t worker, uint32_t *n_blocks)
{
    uint64_t ticket = atomic_load(&pool->ticket);

    for (;;) {
        nn_block block = atomic_load(&pool->block);
        void *arg = atomic_load(&pool->arg);
        uint32_t next = (uint32_t)ticket;

        *n_blocks = atomic_load(&pool->n_blocks);
        if (next == CLOSED || next >= *n_blocks)
            return false;
        if (!atomic_compare_exchange_weak(&pool->ticket, &ticket, ticket + 1))
            continue;
        block(arg, next, worker);
        return true;
    }
}

/* Runs one block; false: none is left, or none for this worker. */
static bool run_one(struct pool *pool, size_t worker)
{
    uint32_t n_blocks;
    bool is_taken = enter_block(pool, worker) && take_block(pool, worker, &n_blocks);

    leave_block(pool, worker);
    if (is_taken)
        finish_block(pool, n_blocks);
    return is_taken;
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

    pool_thread_begin(self);
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
    size_t n_active = atomic_load(&pool->n_active);
    size_t n_helpers = n_active > 0 ? n_active - 1 : 0;

    if (n_helpers == 0 || atomic_load(&pool->n_sleeping) == 0)
        return;
    pool_pass_gate(pool);
    if (n_blocks > n_helpers)
        pthread_cond_broadcast(&pool->work);
    for (size_t i = 1; i < n_blocks && n_blocks <= n_helpers; i++)
        pthread_cond_signal(&pool->work);
}

/* Every sleeper looks anew at what it waits for. */
static void wake_all(struct pool *pool)
{
    pool_pass_gate(pool);
    pthread_cond_broadcast(&pool->work);
    pthread_cond_broadcast(&pool->wanted);
    pthread_cond_broadcast(&pool->called);
}

/* Opens a job of the blocks [first, n_blocks): closed ticket, fields, new ticket. */
static void publish(struct pool *pool, nn_block block, void *arg, uint32_t first,
                    uint32_t n_blocks)
{
    uint64_t job = (atomic_load(&pool->ticket) >> 32) + 1;

    atomic_store(&pool->ticket, job << 32 | CLOSED);
    atomic_store(&pool->block, block);
    atomic_store(&pool->arg, arg);
    atomic_store(&pool->n_done, first);
    atomic_store(&pool->n_blocks, n_blocks);
    atomic_store(&pool->ticket, job << 32 | first);
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

/* With nobody else, or for one block, there is nothing to hand out. Returns the first
 * block that is left, since others may come in the middle. */
static size_t run_alone(struct pool *pool, nn_block block, void *arg, size_t n_blocks)
{
    size_t next = 0;

    while (next < n_blocks) {
        bool is_alone = n_blocks - next == 1 || atomic_load(&pool->n_active) <= 1;
        bool may_run = is_alone && enter_block(pool, 0);

        if (may_run)
            block(arg, next++, 0);
        leave_block(pool, 0);
        if (!may_run)
            break;
    }
    return next;
}

static bool blocks_are_left(const struct pool *pool)
{
    return (uint32_t)atomic_load(&pool->ticket) < atomic_load(&pool->n_blocks);
}

/* Sleeps as long as nothing is granted. */
static void wait_for_grant(struct pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->n_sleeping, 1);
    while (atomic_load(&pool->n_active) == 0)
        pthread_cond_wait(&pool->wanted, &pool->mutex);
    atomic_fetch_sub(&pool->n_sleeping, 1);
    pthread_mutex_unlock(&pool->mutex);
}

/* As worker 0, until no block is left to take. */
static void take_part(struct pool *pool)
{
    do {
        while (run_one(pool, 0))
            continue;
        if (atomic_load(&pool->n_active) == 0)
            wait_for_grant(pool);
    } while (blocks_are_left(pool));
}

static void run(struct nn_executor *executor, nn_block block, void *arg, size_t n_blocks)
{
    struct pool *pool = (struct pool *)executor;
    size_t first = run_alone(pool, block, arg, n_blocks);

    assert(n_blocks < CLOSED);
    if (first == n_blocks)
        return;
    publish(pool, block, arg, (uint32_t)first, (uint32_t)n_blocks);
    wake_workers(pool, n_blocks - first);
    take_part(pool);
    wait_until_done(pool);
}

/* ---- Threads ---------------------------------------------------------------- */

void pool_thread_begin(struct worker *self)
{
    struct pool *pool = self->pool;
    bool failed;

    if (pool->options.started)
        pool->options.started(pool->options.user, (uint32_t)self->index);
    self->thread = affinity_thread();
    (void)affinity_get(&self->home, self->thread);
    failed = pool->options.yields && affinity_yield_always() != 0;
    pthread_mutex_lock(&pool->mutex);
    pool->is_unyielding |= failed;
    pool->n_ready++;
    pthread_cond_broadcast(&pool->answered);
    pthread_mutex_unlock(&pool->mutex);
}

static void wait_until_ready(struct pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    while (pool->n_ready < pool->n_started)
        pthread_cond_wait(&pool->answered, &pool->mutex);
    pthread_mutex_unlock(&pool->mutex);
}

static int start_threads(struct pool *pool)
{
    int error = 0;

    for (size_t i = pool->first_own; i < pool->executor.n_workers && error == 0; i++) {
        struct worker *w = &pool->workers[i];

        error = thread_start(&w->handle, i == 0 ? pool_lead : worker_main, w);
        pool->n_started += error == 0;
    }
    wait_until_ready(pool);
    return error;
}

static void init(struct pool *pool, const struct pool_options *options,
                 const cygnet_allocator *alloc)
{
    uint32_t n_threads = options->n_threads;

    pool->executor = (struct nn_executor){run, n_threads};
    pool->options = *options;
    pool->alloc = alloc;
    pool->first_own = options->has_leader ? 0 : 1;
    atomic_init(&pool->n_cpus, affinity_n_cpus());
    atomic_init(&pool->n_active, n_threads);
    atomic_init(&pool->may_spin, n_threads <= atomic_load(&pool->n_cpus));
    atomic_init(&pool->ticket, CLOSED);
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_mutex_init(&pool->place_mutex, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->wanted, NULL);
    pthread_cond_init(&pool->done, NULL);
    timed_init(&pool->answered);
    pthread_cond_init(&pool->called, NULL);
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

cygnet_status pool_create_with(struct pool **out, const struct pool_options *options,
                               const cygnet_allocator *alloc, cygnet_error *err)
{
    uint32_t n_threads = options->n_threads;
    struct pool *pool;
    int error;

    *out = NULL;
    if (n_threads < 1 || n_threads > POOL_MAX_THREADS)
        return fail(err, CYGNET_EINVAL, 0, "n_threads is %u: want 1 to %d", n_threads,
                    POOL_MAX_THREADS);
    pool = mem_calloc(alloc, 1, (size_t)bytes_for(n_threads));
    if (!pool)
        return fail(err, CYGNET_ENOMEM, 0, "out of memory for a pool of threads");
    init(pool, options, alloc);
    error = start_threads(pool);
    if (error != 0) {
        size_t refused = pool->first_own + pool->n_started + 1;

        pool_destroy(pool);
        return fail(err, CYGNET_ENOMEM, error,
                    "the system refused to start thread %zu of %u (errno %d)", refused,
                    n_threads, error);
    }
    *out = pool;
    return CYGNET_OK;
}

cygnet_status pool_create(struct pool **out, uint32_t n_threads,
                          const cygnet_allocator *alloc, cygnet_error *err)
{
    const struct pool_options options = {.n_threads = n_threads};

    return pool_create_with(out, &options, alloc, err);
}

/* The caller's own CPUs are only its own to take back. */
static void release_caller(struct pool *pool)
{
    struct worker *caller = &pool->workers[0];

    if (pool->first_own > 0 && caller->cpu != NO_CPU &&
        caller->thread == affinity_thread())
        (void)affinity_set(caller->thread, &caller->home);
}

void pool_destroy(struct pool *pool)
{
    if (!pool)
        return;
    release_caller(pool);
    atomic_store(&pool->is_ending, true);
    wake_all(pool);
    for (size_t i = 0; i < pool->n_started; i++)
        pthread_join(pool->workers[pool->first_own + i].handle, NULL);
    pthread_cond_destroy(&pool->called);
    pthread_cond_destroy(&pool->answered);
    pthread_cond_destroy(&pool->done);
    pthread_cond_destroy(&pool->wanted);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->place_mutex);
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
void pool_set_size(struct pool *pool, size_t n_active)
{
    atomic_store(&pool->may_spin, n_active <= atomic_load(&pool->n_cpus));
    atomic_store(&pool->n_active, n_active);
    wake_all(pool);
}

cygnet_status pool_resize(struct pool *pool, uint32_t n_threads, cygnet_error *err)
{
    if (n_threads < 1 || n_threads > pool->executor.n_workers)
        return fail(err, CYGNET_EINVAL, 0, "n_threads is %u: want 1 to %zu", n_threads,
                    pool->executor.n_workers);
    pool_set_size(pool, n_threads);
    return CYGNET_OK;
}

bool pool_has_vacated(const struct pool *pool)
{
    for (size_t i = atomic_load(&pool->n_active); i < pool->executor.n_workers; i++) {
        if (atomic_load(&pool->workers[i].in_block))
            return false;
    }
    return true;
}

void pool_threads(const struct pool *pool, int32_t *out)
{
    for (size_t i = 0; i < pool->executor.n_workers; i++)
        out[i] = i < pool->first_own ? 0 : pool->workers[i].thread;
}

bool pool_yields(const struct pool *pool)
{
    return pool->options.yields && !pool->is_unyielding;
}

size_t pool_n_asleep(struct pool *pool)
{
    return atomic_load(&pool->n_sleeping);
}

uint64_t pool_bytes(const struct pool *pool)
{
    return bytes_for(pool->executor.n_workers);
}
