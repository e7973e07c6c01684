#include "pool_fixture.h"

#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>

struct pool *make_pool(uint32_t n_threads)
{
    struct pool *pool;

    assert_int_equal(pool_create(&pool, n_threads, NULL, NULL), CYGNET_OK);
    return pool;
}

static void meet(void *arg, size_t block, size_t worker)
{
    struct meeting *m = arg;

    (void)block;
    (void)affinity_get(&m->seen[worker], 0);
    atomic_fetch_add(&m->here, 1);
    while (atomic_load(&m->here) < m->n_wanted)
        sched_yield();
}

void check_meeting(struct meeting *m, struct pool *pool, unsigned n)
{
    struct nn_executor *executor = pool_executor(pool);

    *m = (struct meeting){.n_wanted = n};
    executor->run(executor, meet, m, n);
    assert_int_equal(atomic_load(&m->here), n);
}

uint64_t chosen_seed(void)
{
    const char *text = getenv("CYGNET_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 10) : FIXTURE_SEED;

    print_message("# CYGNET_SEED=%" PRIu64 "\n", seed);
    return seed;
}
