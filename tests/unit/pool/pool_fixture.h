/* What the tests of the pool share. */
#ifndef TESTS_POOL_FIXTURE_H
#define TESTS_POOL_FIXTURE_H

#include "engine/pool/affinity.h"
#include "engine/pool/pool.h"
#include "tests/unit/engine/fixture.h"

#include <stdatomic.h>

struct pool *make_pool(uint32_t n_threads);

/* Blocks that wait for each other; seen[worker] is where it may run. */
struct meeting {
    atomic_uint here;
    unsigned n_wanted;
    struct affinity seen[POOL_MAX_THREADS];
};

/* n blocks on the pool that end only when all run at the same time. */
void check_meeting(struct meeting *m, struct pool *pool, unsigned n);

/* CYGNET_SEED, or the usual one; says which. */
uint64_t chosen_seed(void);

#endif
