/* What soc_read.c hands to soc_clusters.c. */
#ifndef ENGINE_SWAN_SOC_PARTS_H
#define ENGINE_SWAN_SOC_PARTS_H

#include "engine/pool/affinity.h"
#include "engine/swan/soc.h"

#define SOC_FULL_CAPACITY 1024 /* the kernel's SCHED_CAPACITY_SCALE */

/* Intel's hybrid cores, by the list (of a performance-monitoring unit) that they are
 * in, less capable first. */
enum core_kind { KIND_UNKNOWN = 0, KIND_LOW_POWER, KIND_ATOM, KIND_CORE };

/* What the kernel tells of a core. 0: it does not.
 *
 * peer  index of a core of the same frequency domain that tells more; -1: none */
struct core_facts {
    uint32_t capacity;
    uint32_t khz;
    enum core_kind kind;
    int32_t peer;
    uint32_t l2_n_cpus;
    uint32_t l3_n_cpus;
    uint64_t l2_bytes;
    uint64_t l3_bytes;
};

/* Fills in what is not told, then capacities, frequencies and clusters of the SoC,
 * whose n_cores, cpu numbers and online are there. */
void soc_make_clusters(struct soc *soc, struct core_facts facts[SOC_MAX_CORES]);

#endif
