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
    cygnet_model_options o;
    struct owned_executor owned = {.release = release};
    struct pool *pool;
    cygnet_status st = model_read_options(&o, options, err);

    *out = NULL;
    if (st == CYGNET_OK)
        st = pool_create(&pool, o.n_threads, o.allocator, err);
    if (st != CYGNET_OK)
        return st;
    owned.executor = pool_executor(pool);
    owned.bytes = pool_bytes(pool);
    st = model_create_owner(out, &o, &owned, err);
    if (st != CYGNET_OK)
        pool_destroy(pool);
    return st;
}

static cygnet_status find_pool(struct pool **out, const cygnet_model *model,
                               cygnet_error *err)
{
    *out = pool_of_executor(model_executor(model));
    if (*out)
        return CYGNET_OK;
    return fail(err, CYGNET_EUNSUPPORTED, 0,
                "the model runs on an executor that is not "
                "its own");
}

cygnet_status cygnet_model_set_threads(cygnet_model *model, uint32_t n_threads,
                                       cygnet_error *err)
{
    struct pool *pool;
    cygnet_status st = find_pool(&pool, model, err);

    return st == CYGNET_OK ? pool_resize(pool, n_threads, err) : st;
}

cygnet_status cygnet_model_pin(cygnet_model *model, const uint32_t *cpus, size_t n_cpus,
                               cygnet_error *err)
{
    struct pool *pool;
    cygnet_status st = find_pool(&pool, model, err);

    return st == CYGNET_OK ? pool_pin(pool, cpus, n_cpus, err) : st;
}
