/* The system on a chip: which cores there are, how they differ, which of them this
 * process may use now.
 *
 * Everything is read below a root folder, "/" but in tests: sysfs as files. A "core"
 * here is a logical CPU; where SMT makes several of one physical core, each is a core
 * of its own and `core` says which belong together (choice.h says who comes first). */
#ifndef ENGINE_SWAN_SOC_H
#define ENGINE_SWAN_SOC_H

#include <cygnet/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SOC_MAX_CORES 256
#define SOC_MAX_CLUSTERS 8
#define SOC_NAME_BYTES 16
#define SOC_FINGERPRINT_BYTES 65

/* Cores whose capacities differ by no more than this are alike: above the 10 % that
 * favoured cores of one kind gain by their turbo bins, below the 14 % that lie between
 * the prime and the big cores of a phone (2.84 and 2.42 GHz). In percent of the more
 * capable one. */
#define SOC_TOLERANCE_PERCENT 12

/* One logical CPU.
 *
 * cpu       the kernel's number
 * cluster   index into soc.clusters
 * capacity  1 to 1024, of the SoC's fastest core (cpu_capacity, or made from the
 *           frequencies where the kernel does not say)
 * max_khz   0: unknown
 * core      logical CPUs with the same number share a physical core
 * online    the kernel runs it; `allowed`: this process may use it (cpuset, mask);
 *           `isolated`: left out of the scheduler's balancing (never used) */
struct soc_core {
    uint32_t cpu;
    uint32_t cluster;
    uint32_t capacity;
    uint32_t max_khz;
    uint32_t core;
    bool online;
    bool allowed;
    bool isolated;
};

/* Cores that are alike. Clusters are ordered from the most capable down.
 *
 * name      "prime", "big", "LITTLE" of three; "big", "LITTLE" of two; "all" of one;
 *           "prime", "big1", "big2", ..., "LITTLE" of more
 * capacity, max_khz  of its most capable and of its fastest core
 * n_cores   all of its logical CPUs, usable or not
 * l2_bytes, l3_bytes    of the first core that tells; 0: unknown
 * l2_n_cpus, l3_n_cpus  logical CPUs that share that cache; 0: unknown */
struct soc_cluster {
    char name[SOC_NAME_BYTES];
    uint32_t capacity;
    uint32_t max_khz;
    uint32_t n_cores;
    uint32_t l2_n_cpus;
    uint32_t l3_n_cpus;
    uint64_t l2_bytes;
    uint64_t l3_bytes;
};

/* Cores are in the order of their cpu numbers. The fingerprint is the SHA-256 of
 * what does not change while the machine runs (numbers, capacities, frequencies,
 * siblings): profiles are kept under it. */
struct soc {
    uint32_t n_cores;
    uint32_t n_clusters;
    struct soc_core cores[SOC_MAX_CORES];
    struct soc_cluster clusters[SOC_MAX_CLUSTERS];
    char fingerprint[SOC_FINGERPRINT_BYTES];
};

/* Reads the topology. What a host does not tell, or tells in a way that makes no sense,
 * is filled in: an offline core is as those of its frequency domain, or as its
 * neighbour; without cpu_capacity, or where it makes no difference between cores that
 * differ, capacities are made from the maximal frequencies and Intel's lists of hybrid
 * cores; without frequencies all cores are alike; without any sysfs all CPUs of the
 * process are one cluster.
 *
 * `allowed` is the mask of the calling thread: call it, and soc_refresh, from one that
 * the engine does not itself confine to cores.
 * Errors: EFORMAT (what there is of a list of CPUs is none, or it names no core that
 * is online or allowed: which file), ELIMIT (more cores than SOC_MAX_CORES, or numbers
 * above 1023), EINVAL (root is too long), EHOST (no digest). After an error *out is
 * unspecified. */
cygnet_status soc_read(struct soc *out, const char *root, cygnet_error *err);

/* Reads `online` and `allowed` anew; what cannot be read stays. True: something has
 * changed. Takes microseconds, allocates nothing. Cores that have been added since
 * soc_read stay unknown. */
bool soc_refresh(struct soc *soc, const char *root);

/* Online, allowed and not isolated. */
bool soc_usable(const struct soc_core *core);

/* Usable logical CPUs of a cluster. */
uint32_t soc_n_usable(const struct soc *soc, uint32_t cluster);

/* Physical cores of a cluster, usable or not: its n_cores without SMT. */
uint32_t soc_n_physical(const struct soc *soc, uint32_t cluster);

/* The core of that cpu number; NULL: none. */
const struct soc_core *soc_find(const struct soc *soc, uint32_t cpu);

/* Present frequency of a cpu and the highest that the thermal governor allows now, in
 * kHz; 0: unknown. */
uint32_t soc_read_khz(uint32_t cpu, const char *root);
uint32_t soc_read_khz_limit(uint32_t cpu, const char *root);

#endif
