/* Where threads and training meet: a model that owns its pool. */
#include "base/error.h"
#include "engine/nn/model.h"
#include "engine/pool/pool.h"

static void release(struct nn_executor *executor)
{
    pool_destroy((struct pool *)executor);
}

cygnet_status cygnet_model_create(cygnet_model **out, const cygnet_model_options *options,
                                  cygnet_error *err)
{
    struct pool *pool;
    cygnet_status st;

    *out = NULL;
    if (!options || options->struct_size != sizeof(*options))
        return fail(err, CYGNET_EINVAL, 0,
                    "model options were not set up by cygnet_model_options_init");
    st = pool_create(&pool, options->n_threads, options->allocator, err);
    if (st != CYGNET_OK)
        return st;
    st = model_create(out, options, pool_executor(pool), err);
    if (st != CYGNET_OK) {
        pool_destroy(pool);
        return st;
    }
    model_adopt_executor(*out, release, pool_bytes(pool));
    return CYGNET_OK;
}
