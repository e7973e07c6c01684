/* Which CPUs a thread may run on, and how readily it gives way: the system's word for
 * it, behind one face.
 *
 * CPUs are numbered as the kernel does, from 0. Threads are named by the kernel's
 * number, since not every C library takes a pthread_t here (bionic has no
 * pthread_setaffinity_np, musl's sched_setscheduler refuses). What returns int answers
 * 0 or an errno; ENOSYS where the system knows no such thing. */
#ifndef ENGINE_POOL_AFFINITY_H
#define ENGINE_POOL_AFFINITY_H

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

/* The kernel's number of the calling thread; 0: the system has none. */
int32_t affinity_thread(void);

/* Where the thread may run now. */
int affinity_get(struct affinity *out, int32_t thread);

/* Confines the thread; one that runs elsewhere is moved at once. EINVAL: the set has no
 * CPU that exists and that the process may use. */
int affinity_set(int32_t thread, const struct affinity *set);

/* How many CPUs the calling thread may use; at least 1. */
size_t affinity_n_cpus(void);

/* Makes the calling thread give way to every ordinary thread at once: SCHED_IDLE. There
 * may be no way back, so only for threads of one's own.
 * Source: Linux, sched(7). */
int affinity_yield_always(void);

#endif
