/* The threads a client trains with. */
#include "sdk/team.h"

#include "engine/pool/pool.h"

static void run(struct nn_executor *executor, nn_block block, void *arg, size_t n_blocks)
{
    struct team *team = (struct team *)executor;
    struct nn_executor *inner =
        team->pool ? pool_executor(team->pool) : &nn_serial_executor;

    inner->run(inner, block, arg, n_blocks);
}

void team_init(struct team *team, uint32_t n_threads, const cygnet_allocator *alloc)
{
    *team = (struct team){{run, n_threads}, NULL, alloc};
}

cygnet_status team_start(struct team *team, cygnet_error *err)
{
    if (team->pool || team->executor.n_workers < 2)
        return CYGNET_OK;
    return pool_create(&team->pool, (uint32_t)team->executor.n_workers, team->alloc, err);
}

void team_clear(struct team *team)
{
    pool_destroy(team->pool);
    team->pool = NULL;
}
