/* Where threads and training meet: a model that owns its pool. */
#include "engine/nn/model.h"
#include "engine/pool/pool.h"

static void release(struct nn_executor *executor)
{
    pool_destroy((struct pool *)executor);
}

cygnet_status cygnet_model_create(cygnet_model **out, const cygnet_model_options *options,
                                  cygnet_error *err)
{
    cygnet_model_options o;
    struct pool *pool;
    cygnet_status st = model_read_options(&o, options, err);

    *out = NULL;
    if (st == CYGNET_OK)
        st = pool_create(&pool, o.n_threads, o.allocator, err);
    if (st != CYGNET_OK)
        return st;
    st = model_create(out, &o, pool_executor(pool), err);
    if (st != CYGNET_OK) {
        pool_destroy(pool);
        return st;
    }
    model_adopt_executor(*out, release, pool_bytes(pool));
    return CYGNET_OK;
}
