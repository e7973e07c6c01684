/* A pool of threads that runs blocks: the executor of <cygnet/nn.h>.
 *
 * Blocks are handed out one by one to whoever is free; the thread that calls run
 * takes part as worker 0. Idle workers spin briefly, then sleep. One thread at a
 * time may call run on a pool; pools are independent of each other. */
#ifndef ENGINE_POOL_POOL_H
#define ENGINE_POOL_POOL_H

#include "engine/nn/executor.h"

#include <cygnet/alloc.h>
#include <cygnet/status.h>
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

/* Joins the threads. Not during a run. Accepts NULL. */
void pool_destroy(struct pool *pool);

/* Borrowed, lives as long as the pool. */
struct nn_executor *pool_executor(struct pool *pool);

/* Bytes that the pool asked of the allocator (thread stacks are the system's). */
uint64_t pool_bytes(const struct pool *pool);

#endif
