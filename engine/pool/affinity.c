/* Linux has the calls; elsewhere threads run where the system puts them. */
#include "engine/pool/affinity.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/syscall.h>
#endif

void affinity_add(struct affinity *set, uint32_t cpu)
{
    assert(cpu < AFFINITY_MAX_CPUS);
    set->bits[cpu / 64] |= UINT64_C(1) << cpu % 64;
}

bool affinity_has(const struct affinity *set, uint32_t cpu)
{
    assert(cpu < AFFINITY_MAX_CPUS);
    return set->bits[cpu / 64] >> cpu % 64 & 1;
}

#if defined(__linux__)

/* As the kernel has it. The C library's cpu_set_t has 128 CPUs with musl, and 32 with
 * bionic on 32 bits. */
enum { WORD_BITS = sizeof(unsigned long) * CHAR_BIT };

struct mask {
    unsigned long words[AFFINITY_MAX_CPUS / WORD_BITS];
};

int32_t affinity_thread(void)
{
    return (int32_t)syscall(SYS_gettid);
}

/* The kernel writes as many words as it has CPUs for. */
int affinity_get(struct affinity *out, int32_t thread)
{
    struct mask mask = {{0}};
    long n_bytes = syscall(SYS_sched_getaffinity, thread, sizeof(mask), &mask);

    memset(out, 0, sizeof(*out));
    if (n_bytes < 0)
        return errno;
    for (uint32_t cpu = 0; cpu < AFFINITY_MAX_CPUS; cpu++) {
        if (mask.words[cpu / WORD_BITS] >> cpu % WORD_BITS & 1)
            affinity_add(out, cpu);
    }
    return 0;
}

int affinity_set(int32_t thread, const struct affinity *set)
{
    struct mask mask = {{0}};

    for (uint32_t cpu = 0; cpu < AFFINITY_MAX_CPUS; cpu++) {
        if (affinity_has(set, cpu))
            mask.words[cpu / WORD_BITS] |= 1UL << cpu % WORD_BITS;
    }
    return syscall(SYS_sched_setaffinity, thread, sizeof(mask), &mask) == 0 ? 0 : errno;
}

int affinity_yield_always(void)
{
    const struct sched_param none = {0};

    return syscall(SYS_sched_setscheduler, 0, SCHED_IDLE, &none) == 0 ? 0 : errno;
}

#else

int32_t affinity_thread(void)
{
    return 0;
}

int affinity_get(struct affinity *out, int32_t thread)
{
    (void)thread;
    memset(out, 0, sizeof(*out));
    return ENOSYS;
}

int affinity_set(int32_t thread, const struct affinity *set)
{
    (void)thread;
    (void)set;
    return ENOSYS;
}

int affinity_yield_always(void)
{
    return ENOSYS;
}

#endif

size_t affinity_n_cpus(void)
{
    struct affinity set;
    size_t n = 0;
    long n_online;

    if (affinity_get(&set, 0) == 0) {
        for (uint32_t cpu = 0; cpu < AFFINITY_MAX_CPUS; cpu++)
            n += affinity_has(&set, cpu);
    }
    if (n > 0)
        return n;
    n_online = sysconf(_SC_NPROCESSORS_ONLN);
    return n_online > 0 ? (size_t)n_online : 1;
}
