/* The topology as JSON: the public face of soc.h. */
#include "base/alloc.h"
#include "base/json.h"
#include "engine/swan/soc.h"

#include <cygnet/swan.h>

#define MAX_TEXT_BYTES ((size_t)256 * 1024) /* 256 cores take a quarter of it */

/* 0 is what is not known. */
static void put_known(struct json_builder *b, const char *key, uint64_t value)
{
    if (value == 0)
        json_put_null(b, key);
    else
        json_put_u64(b, key, value);
}

static void put_cluster(struct json_builder *b, const struct soc *soc, uint32_t k)
{
    const struct soc_cluster *cluster = &soc->clusters[k];

    json_open_object(b, NULL);
    json_put_string(b, "name", cluster->name);
    json_put_u64(b, "capacity", cluster->capacity);
    put_known(b, "max_khz", cluster->max_khz);
    json_put_u64(b, "n_cores", cluster->n_cores);
    json_put_u64(b, "n_physical", soc_n_physical(soc, k));
    json_put_u64(b, "n_usable", soc_n_usable(soc, k));
    put_known(b, "l2_bytes", cluster->l2_bytes);
    put_known(b, "l2_n_cpus", cluster->l2_n_cpus);
    put_known(b, "l3_bytes", cluster->l3_bytes);
    put_known(b, "l3_n_cpus", cluster->l3_n_cpus);
    json_close(b);
}

static void put_core(struct json_builder *b, const struct soc *soc, uint32_t i,
                     const char *root)
{
    const struct soc_core *core = &soc->cores[i];

    json_open_object(b, NULL);
    json_put_u64(b, "cpu", core->cpu);
    json_put_string(b, "cluster", soc->clusters[core->cluster].name);
    json_put_u64(b, "capacity", core->capacity);
    put_known(b, "max_khz", core->max_khz);
    put_known(b, "limit_khz", soc_read_khz_limit(core->cpu, root));
    put_known(b, "khz", soc_read_khz(core->cpu, root));
    json_put_u64(b, "core", core->core);
    json_put_bool(b, "online", core->online);
    json_put_bool(b, "allowed", core->allowed);
    json_put_bool(b, "isolated", core->isolated);
    json_put_bool(b, "usable", soc_usable(core));
    json_close(b);
}

static cygnet_status write_text(struct bytes *out, const struct soc *soc,
                                const char *root, cygnet_error *err)
{
    struct json_builder *b = json_build();

    json_open_object(b, NULL);
    json_put_string(b, "fingerprint", soc->fingerprint);
    json_open_array(b, "clusters");
    for (uint32_t k = 0; k < soc->n_clusters; k++)
        put_cluster(b, soc, k);
    json_close(b);
    json_open_array(b, "cores");
    for (uint32_t i = 0; i < soc->n_cores; i++)
        put_core(b, soc, i, root);
    json_close(b);
    json_close(b);
    return json_build_finish(b, out, err);
}

cygnet_status cygnet_swan_soc(char **out, const char *root, const cygnet_allocator *alloc,
                              cygnet_error *err)
{
    struct bytes text;
    struct soc soc;
    cygnet_status st;

    *out = NULL;
    root = root ? root : "/";
    st = soc_read(&soc, root, err);
    if (st != CYGNET_OK)
        return st;
    bytes_init(&text, MAX_TEXT_BYTES, alloc);
    st = write_text(&text, &soc, root, err);
    if (st == CYGNET_OK)
        st = bytes_give(out, &text, err);
    bytes_clear(&text);
    return st;
}

void cygnet_swan_free(char *text, const cygnet_allocator *alloc)
{
    mem_free(alloc, text);
}
