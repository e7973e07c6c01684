/* A pool of threads that runs blocks: the executor of <cygnet/nn.h>.
 *
 * Blocks are handed out one by one to whoever is free. An idle worker spins for at most
 * 50 us, and not at all where there are more workers than CPUs; then it sleeps. Pools
 * are independent of each other.
 *
 * Worker 0 is the thread that calls run; or, in a pool with a leader, a thread of the
 * pool's own on which pool_call runs what shall train, so that the caller's thread is
 * never moved nor slowed.
 *
 * What a pool is created with is the most it may ever use: the scratch memory of
 * those who run on it is planned for that. It can do with less, and its workers can be
 * tied to CPUs; neither changes a bit of any result.
 *
 * Threads: one thread at a time may run or call; pool_grant and what only reads may come
 * from any thread at any time, in the middle of a run too. */
#ifndef ENGINE_POOL_POOL_H
#define ENGINE_POOL_POOL_H

#include "engine/nn/executor.h"

#include <cygnet/alloc.h>
#include <cygnet/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define POOL_MAX_THREADS 64

struct pool;

/* n_threads   workers, worker 0 included: 1 to POOL_MAX_THREADS
 * has_leader  worker 0 is a thread of the pool
 * yields      the pool's threads give way to every ordinary thread at once (SCHED_IDLE),
 *             where the system has such a class
 * started     NULL, or called once on each of the pool's threads before anything else,
 *             for a host that has to prepare threads (class of service, a virtual
 *             machine's attachment); worker is its number */
struct pool_options {
    uint32_t n_threads;
    bool has_leader;
    bool yields;
    void (*started)(void *user, uint32_t worker);
    void *user;
};

/* The pool's threads block all signals.
 * out  receives the pool; destroy with pool_destroy
 * Errors: EINVAL (n_threads), ENOMEM (also when the system refuses a thread; errno in
 * detail). */
cygnet_status pool_create_with(struct pool **out, const struct pool_options *options,
                               const cygnet_allocator *alloc, cygnet_error *err);

/* The same without a leader and at the usual priority; 1 creates no thread. */
cygnet_status pool_create(struct pool **out, uint32_t n_threads,
                          const cygnet_allocator *alloc, cygnet_error *err);

/* Joins the threads, and gives a pinned thread that calls this its CPUs back. Not
 * during a run. Accepts NULL. */
void pool_destroy(struct pool *pool);

/* Borrowed, lives as long as the pool; n_workers is what the pool was created with
 * whatever its present size. */
struct nn_executor *pool_executor(struct pool *pool);

/* The pool whose executor this is; NULL: it is not a pool's. */
struct pool *pool_of_executor(struct nn_executor *executor);

#define POOL_WATCH_MS 50

/* Runs call(arg) on the leader and returns when it has returned; the executor's run
 * belongs inside. Without a leader: on the calling thread.
 * watch  NULL, or called with user on the calling thread every POOL_WATCH_MS while the
 *        leader is at it, for what only this thread may look at; not without a leader */
void pool_call(struct pool *pool, void (*call)(void *arg), void *arg,
               void (*watch)(void *user), void *user);

/* From the next run on n_threads workers take part, worker 0 included; the others
 * sleep until they are wanted again. Not during a run. Allocates nothing, and starts
 * and ends no thread.
 * Errors: EINVAL (n_threads is 0 or more than the pool was created with). */
cygnet_status pool_resize(struct pool *pool, uint32_t n_threads, cygnet_error *err);

/* Ties worker i to the one CPU cpus[i mod n_cpus], for all workers that the pool was
 * created with; worker 0 is the thread that calls this, so it should be the one
 * that calls run (or the leader, where there is one). A thread that pinned itself by an
 * earlier call stays as it is when another one calls. Not during a run.
 *
 * cpus    (n_cpus) numbers of the system, below 1024, each at most once; copied
 * n_cpus  0 unties all: each thread gets the CPUs that it had before
 *
 * Errors: EINVAL (a number out of range or listed twice), ENOTFOUND (no such CPU,
 * or the process may not use it), EUNSUPPORTED (the system does not do this or
 * forbids it); errno in detail. After an error all are where they were. */
cygnet_status pool_pin(struct pool *pool, const uint32_t *cpus, size_t n_cpus,
                       cygnet_error *err);

/* What training may use from now on.
 *
 * n_threads  workers that take part; 0: none, training pauses
 * cpus       (n_cpus) where the pool's threads may run; n_cpus 0: anywhere they could
 *            when they started
 * group      (n_cpus) worker i may run on the cpus whose group is that of
 *            cpus[i mod n_cpus]: all 0 means that all workers share all cpus */
struct pool_grant {
    uint32_t n_threads;
    uint32_t n_cpus;
    uint32_t cpus[POOL_MAX_THREADS];
    uint8_t group[POOL_MAX_THREADS];
};

/* Takes effect in the middle of a run: workers look at it before each block, and those
 * that run on a CPU which is no longer granted are moved off it at once, unless the
 * system cannot, when they leave it at the end of their block. A run under n_threads 0
 * waits until more is granted. Allocates nothing. Only for pools with a leader.
 * Errors: EINVAL (more threads than the pool has; a bad list of cpus), ENOTFOUND,
 * EUNSUPPORTED (as pool_pin). After ENOTFOUND and EUNSUPPORTED the number of threads
 * is granted and no thread is tied. */
cygnet_status pool_grant(struct pool *pool, const struct pool_grant *grant,
                         cygnet_error *err);

/* Whether every worker that may not take part has ended its last block. */
bool pool_has_vacated(const struct pool *pool);

/* The kernel's number of each worker's thread, 0 where it is not the pool's own.
 * out  (n_workers) written */
void pool_threads(const struct pool *pool, int32_t *out);

/* Whether the pool's threads really give way. */
bool pool_yields(const struct pool *pool);

/* Workers that sleep at the moment, for tests; those that are not wanted count. */
size_t pool_n_asleep(struct pool *pool);

/* Bytes that the pool asked of the allocator (thread stacks are the system's). */
uint64_t pool_bytes(const struct pool *pool);

#endif
