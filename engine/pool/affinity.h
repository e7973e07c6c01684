/* Which CPUs a thread may run on: the system's word for it, behind one face.
 *
 * Numbers are the kernel's, from 0. What returns int answers 0 or an
 * errno; ENOSYS where the system knows no such thing. */
#ifndef ENGINE_POOL_AFFINITY_H
#define ENGINE_POOL_AFFINITY_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AFFINITY_MAX_CPUS 1024 /* CPUs are 0 to 1023 */

/* A set of CPUs, one bit each. */
struct affinity {
    uint64_t bits[AFFINITY_MAX_CPUS / 64];
};

/* cpu < AFFINITY_MAX_CPUS. */
void affinity_add(struct affinity *set, uint32_t cpu);
bool affinity_has(const struct affinity *set, uint32_t cpu);

/* Where the thread may run now. */
int affinity_get(struct affinity *out, pthread_t thread);

/* Confines the thread. EINVAL: the set has no CPU that exists and that the process
 * may use. */
int affinity_set(pthread_t thread, const struct affinity *set);

/* How many CPUs the calling thread may use; at least 1. */
size_t affinity_n_cpus(void);

#endif
