/* Which cores. */
#include "engine/swan/place.h"

#include <string.h>

static bool grants(const struct pool_grant *grant, uint32_t cpu)
{
    for (uint32_t i = 0; i < grant->n_cpus; i++) {
        if (grant->cpus[i] == cpu)
            return true;
    }
    return false;
}

/* Whether a sibling of the core has been taken. */
static bool is_shared(const struct pool_grant *grant, const struct soc *soc,
                      const struct soc_core *core)
{
    for (uint32_t i = 0; i < grant->n_cpus; i++) {
        const struct soc_core *taken = soc_find(soc, grant->cpus[i]);

        if (taken && taken->core == core->core)
            return true;
    }
    return false;
}

/* The lower, the better. */
static unsigned rank(const struct pool_grant *out, const struct soc *soc, uint32_t core,
                     const struct controller *c, const struct pool_grant *before)
{
    unsigned rank = c && controller_sees_wanted(c, core) ? 4 : 0;

    rank += is_shared(out, soc, &soc->cores[core]) ? 2 : 0;
    return rank + (grants(before, soc->cores[core].cpu) ? 0 : 1);
}

/* The best core of the cluster that is not taken yet; NULL: none. */
static const struct soc_core *next_core(const struct pool_grant *out,
                                        const struct soc *soc, uint32_t cluster,
                                        const struct controller *c,
                                        const struct pool_grant *before)
{
    const struct soc_core *best = NULL;
    unsigned best_rank = 0;

    for (uint32_t i = 0; i < soc->n_cores; i++) {
        const struct soc_core *core = &soc->cores[i];
        unsigned own;

        if (core->cluster != cluster || !soc_usable(core) || grants(out, core->cpu))
            continue;
        own = rank(out, soc, i, c, before);
        if (!best || own < best_rank) {
            best = core;
            best_rank = own;
        }
    }
    return best;
}

/* Cpus of a cluster in their order, so that equal sets are equal grants. */
static void add_core(struct pool_grant *out, uint32_t cpu, uint32_t cluster)
{
    uint32_t at = out->n_cpus++;

    while (at > 0 && out->group[at - 1] == cluster && out->cpus[at - 1] > cpu) {
        out->cpus[at] = out->cpus[at - 1];
        at--;
    }
    out->cpus[at] = cpu;
    out->group[out->n_cpus - 1] = (uint8_t)cluster;
}

void place_choice(struct pool_grant *out, const struct choice *choice,
                  enum placement placement, const struct soc *soc,
                  const struct controller *controller, const struct pool_grant *before)
{
    memset(out, 0, sizeof(*out));
    for (uint32_t k = 0; k < soc->n_clusters; k++) {
        for (uint32_t n = 0; n < choice->n_cores[k]; n++) {
            const struct soc_core *core = next_core(out, soc, k, controller, before);

            if (!core || out->n_cpus == POOL_MAX_THREADS)
                break;
            add_core(out, core->cpu, k);
        }
    }
    /* A step under way has to end, or to see the stop word. */
    out->n_threads = out->n_cpus > 0 ? out->n_cpus : 1;
    if (placement != PLACEMENT_MASK)
        out->n_cpus = 0;
}

bool place_equal(const struct pool_grant *a, const struct pool_grant *b)
{
    return a->n_threads == b->n_threads && a->n_cpus == b->n_cpus &&
           memcmp(a->cpus, b->cpus, a->n_cpus * sizeof(a->cpus[0])) == 0 &&
           memcmp(a->group, b->group, a->n_cpus * sizeof(a->group[0])) == 0;
}
