/* Linux has the calls; elsewhere threads run where the system puts them. */
#include "engine/pool/affinity.h"

#include <assert.h>
#include <errno.h>
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

static_assert(CPU_SETSIZE == AFFINITY_MAX_CPUS, "one bit for each CPU of the system");

int32_t affinity_thread(void)
{
    return (int32_t)syscall(SYS_gettid);
}

int affinity_get(struct affinity *out, int32_t thread)
{
    cpu_set_t set;
    int error = sched_getaffinity(thread, sizeof(set), &set) == 0 ? 0 : errno;

    memset(out, 0, sizeof(*out));
    for (uint32_t cpu = 0; error == 0 && cpu < AFFINITY_MAX_CPUS; cpu++) {
        if (CPU_ISSET(cpu, &set))
            affinity_add(out, cpu);
    }
    return error;
}

int affinity_set(int32_t thread, const struct affinity *set)
{
    cpu_set_t native;

    CPU_ZERO(&native);
    for (uint32_t cpu = 0; cpu < AFFINITY_MAX_CPUS; cpu++) {
        if (affinity_has(set, cpu))
            CPU_SET(cpu, &native);
    }
    return sched_setaffinity(thread, sizeof(native), &native) == 0 ? 0 : errno;
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
