/* The system on a chip as a value: what is asked of it once it is read. */
#include "engine/swan/soc.h"

bool soc_usable(const struct soc_core *core)
{
    return core->online && core->allowed && !core->isolated;
}

uint32_t soc_n_usable(const struct soc *soc, uint32_t cluster)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < soc->n_cores; i++)
        n += soc->cores[i].cluster == cluster && soc_usable(&soc->cores[i]);
    return n;
}

/* Whether a lower CPU of the cluster is on the same physical core. */
static bool is_counted(const struct soc *soc, uint32_t i)
{
    for (uint32_t j = 0; j < i; j++) {
        if (soc->cores[j].cluster == soc->cores[i].cluster &&
            soc->cores[j].core == soc->cores[i].core)
            return true;
    }
    return false;
}

uint32_t soc_n_physical(const struct soc *soc, uint32_t cluster)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < soc->n_cores; i++)
        n += soc->cores[i].cluster == cluster && !is_counted(soc, i);
    return n;
}

const struct soc_core *soc_find(const struct soc *soc, uint32_t cpu)
{
    for (uint32_t i = 0; i < soc->n_cores; i++) {
        if (soc->cores[i].cpu == cpu)
            return &soc->cores[i];
    }
    return NULL;
}
