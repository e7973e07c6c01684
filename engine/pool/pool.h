/* A pool of threads that runs blocks: the executor of <cygnet/nn.h>.
 *
 * Blocks are handed out one by one to whoever is free; the thread that calls run
 * takes part as worker 0. An idle worker spins for at most 50 us, and not at all
 * where there are more workers than CPUs; then it sleeps. One thread at a time may
 * use a pool, that is call run or any function below; pools are independent of each
 * other.
 *
 * What a pool is created with is the most it may ever use: the scratch memory of
 * those who run on it is planned for that. Between runs it can do with less, and
 * its workers can be tied to CPUs; neither changes a bit of any result. */
#ifndef ENGINE_POOL_POOL_H
#define ENGINE_POOL_POOL_H

#include "engine/nn/executor.h"

#include <cygnet/alloc.h>
#include <cygnet/status.h>
#include <stddef.h>
#include <stdint.h>

#define POOL_MAX_THREADS 64

struct pool;

/* A pool of n_threads workers, the calling thread included: 1 creates no thread.
 * Its threads block all signals.
 * out  receives the pool; destroy with pool_destroy
 * Errors: EINVAL (n_threads is 0 or above POOL_MAX_THREADS), ENOMEM (also when
 * the system refuses a thread; errno in detail). */
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

/* From the next run on n_threads workers take part, the calling thread included;
 * the others sleep until they are wanted again. Not during a run. Allocates
 * nothing, and starts and ends no thread.
 * Errors: EINVAL (n_threads is 0 or more than the pool was created with). */
cygnet_status pool_resize(struct pool *pool, uint32_t n_threads, cygnet_error *err);

/* Ties worker i to the one CPU cpus[i mod n_cpus], for all workers that the pool was
 * created with; worker 0 is the thread that calls this, so it should be the one
 * that calls run. A thread that pinned itself by an earlier call stays as it is
 * when another one calls. Not during a run.
 *
 * cpus    (n_cpus) numbers of the system, below 1024, each at most once; copied
 * n_cpus  0 unties all: each thread gets the CPUs that it had before
 *
 * Errors: EINVAL (a number out of range or listed twice), ENOTFOUND (no such CPU,
 * or the process may not use it), EUNSUPPORTED (the system does not do this or
 * forbids it); errno in detail. After an error all are where they were. */
cygnet_status pool_pin(struct pool *pool, const uint32_t *cpus, size_t n_cpus,
                       cygnet_error *err);

/* Workers that sleep at the moment, for tests; those that are not wanted count. */
size_t pool_n_asleep(struct pool *pool);

/* Bytes that the pool asked of the allocator (thread stacks are the system's). */
uint64_t pool_bytes(const struct pool *pool);

#endif
