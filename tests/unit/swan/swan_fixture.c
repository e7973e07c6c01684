/* See swan_fixture.h. */
#include "swan_fixture.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define USUAL_SEED UINT64_C(20260101)

uint64_t chosen_seed(void)
{
    const char *text = getenv("CYGNET_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 0) : USUAL_SEED;

    print_message("# CYGNET_SEED=%" PRIu64 "\n", seed);
    return seed;
}

static void name_cluster(char out[SOC_NAME_BYTES], uint32_t k, uint32_t n_clusters)
{
    if (n_clusters == 1)
        (void)snprintf(out, SOC_NAME_BYTES, "all");
    else if (k == n_clusters - 1)
        (void)snprintf(out, SOC_NAME_BYTES, "LITTLE");
    else if (n_clusters <= 3)
        (void)snprintf(out, SOC_NAME_BYTES, k == 0 && n_clusters == 3 ? "prime" : "big");
    else
        (void)snprintf(out, SOC_NAME_BYTES, "big%" PRIu32, k);
}

struct soc soc_at(const char *root)
{
    struct soc soc;
    cygnet_error err;

    if (soc_read(&soc, root, &err) != CYGNET_OK)
        fail_msg("%s: %s", root, err.message);
    return soc;
}

struct soc make_soc(const uint32_t *n_cores, uint32_t n_clusters, uint32_t smt)
{
    struct soc soc = {.n_clusters = n_clusters};
    uint32_t capacity = 1024;

    for (uint32_t k = 0; k < n_clusters; k++) {
        struct soc_cluster *cluster = &soc.clusters[k];

        name_cluster(cluster->name, k, n_clusters);
        cluster->capacity = capacity;
        cluster->n_cores = n_cores[k];
        for (uint32_t i = 0; i < n_cores[k]; i++) {
            uint32_t cpu = soc.n_cores++;

            soc.cores[cpu] = (struct soc_core){
                .cpu = cpu,
                .cluster = k,
                .capacity = capacity,
                .core = cpu / smt * smt,
                .online = true,
                .allowed = true,
            };
        }
        capacity = capacity * 2 / 3;
    }
    return soc;
}

struct soc draw_soc(struct rng *rng)
{
    uint32_t n_clusters = 1 + (uint32_t)rng_below(rng, SOC_MAX_CLUSTERS);
    uint32_t n_cores[SOC_MAX_CLUSTERS];

    for (uint32_t k = 0; k < n_clusters; k++)
        n_cores[k] = 1 + (uint32_t)rng_below(rng, 6);
    return make_soc(n_cores, n_clusters, 1 + (uint32_t)rng_below(rng, 2));
}
