/* Reads what the kernel tells of the cores, below a root. */
#include "base/crypto.h"
#include "base/error.h"
#include "base/sysfs.h"
#include "engine/swan/cpu_list.h"
#include "engine/swan/soc_parts.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_BYTES 4096
#define CPU_FOLDER "sys/devices/system/cpu"
#define MAX_KHZ 100000000 /* 100 GHz: beyond it a number is none */
#define N_CACHES 8        /* index folders that are looked at */

static bool make_path(char path[PATH_BYTES], const char *root, const char *format,
                      va_list args)
{
    int n = snprintf(path, PATH_BYTES, "%s/", root);
    int m;

    if (n < 0 || n >= PATH_BYTES)
        return false;
    m = vsnprintf(path + n, (size_t)(PATH_BYTES - n), format, args);
    return m >= 0 && m < PATH_BYTES - n;
}

/* The whole number of a file, if it is in low..high; else 0. */
static CYGNET_PRINTF(4, 5) long read_number(const char *root, long low, long high,
                                            const char *format, ...)
{
    char path[PATH_BYTES];
    long value;
    va_list args;
    bool made;

    va_start(args, format);
    made = make_path(path, root, format, args);
    va_end(args);
    if (!made || !sysfs_number(&value, AT_FDCWD, path) || value < low || value > high)
        return 0;
    return value;
}

static CYGNET_PRINTF(3, 4) enum cpu_list
    read_list(struct affinity *out, const char *root, const char *format, ...)
{
    char path[PATH_BYTES];
    va_list args;
    bool made;

    va_start(args, format);
    made = make_path(path, root, format, args);
    va_end(args);
    return made ? cpu_list_read(out, NULL, path, NULL) : CPU_LIST_BAD;
}

/* The CPUs that the calling thread may use. The files of a thread are its own; where
 * the kernel is too old for them, those of the process's first thread. */
static enum cpu_list read_allowed(struct affinity *out, const char *root)
{
    static const char *const files[] = {"proc/thread-self/status", "proc/self/status"};
    enum cpu_list found = CPU_LIST_ABSENT;

    for (size_t i = 0; i < 2 && found == CPU_LIST_ABSENT; i++) {
        char path[PATH_BYTES];
        int n = snprintf(path, sizeof(path), "%s/%s", root, files[i]);

        if (n < 0 || n >= PATH_BYTES)
            return CPU_LIST_BAD;
        found = cpu_list_read(out, NULL, path, "Cpus_allowed_list");
    }
    if (found == CPU_LIST_GOOD && cpu_list_count(out) == 0)
        return CPU_LIST_BAD;
    return found;
}

/* Each core's own word. A core without one cannot be taken offline. */
static void ask_each_core(struct affinity *out, const struct soc *soc, const char *root)
{
    memset(out, 0, sizeof(*out));
    for (uint32_t i = 0; i < soc->n_cores; i++) {
        char path[PATH_BYTES], line[SYSFS_LINE_BYTES];
        uint32_t cpu = soc->cores[i].cpu;

        (void)snprintf(path, sizeof(path), "%s/" CPU_FOLDER "/cpu%u/online", root,
                       (unsigned)cpu);
        if (!sysfs_line(line, AT_FDCWD, path) || strcmp(line, "0") != 0)
            affinity_add(out, cpu);
    }
}

/* The kernel's list of online cores; each core's word where there is none. */
static enum cpu_list read_online(struct affinity *out, const struct soc *soc,
                                 const char *root)
{
    enum cpu_list found = read_list(out, root, CPU_FOLDER "/online");

    if (found == CPU_LIST_GOOD && cpu_list_count(out) == 0)
        return CPU_LIST_BAD;
    if (found != CPU_LIST_ABSENT)
        return found;
    ask_each_core(out, soc, root);
    return CPU_LIST_GOOD;
}

/* The cores that there are: present, else possible, else online ones; without any of
 * these the CPUs that this process may use. */
static cygnet_status find_cores(struct affinity *out, const char *root, cygnet_error *err)
{
    static const char *const files[] = {"present", "possible", "online"};

    for (size_t i = 0; i < 3; i++) {
        char path[PATH_BYTES];
        uint64_t highest;
        enum cpu_list found;
        int n = snprintf(path, sizeof(path), "%s/" CPU_FOLDER "/%s", root, files[i]);

        if (n < 0 || n >= PATH_BYTES)
            return fail(err, CYGNET_EINVAL, 0, "the root folder's name is too long");
        found = cpu_list_read(out, &highest, path, NULL);
        if (found == CPU_LIST_ABSENT)
            continue;
        if (found == CPU_LIST_BAD || (highest == 0 && cpu_list_count(out) == 0))
            return fail(err, CYGNET_EFORMAT, 0, CPU_FOLDER "/%s: not a list of CPUs",
                        files[i]);
        if (highest >= AFFINITY_MAX_CPUS)
            return fail(err, CYGNET_ELIMIT, 0,
                        CPU_FOLDER "/%s: cpu %llu is beyond cpu %d", files[i],
                        (unsigned long long)highest, AFFINITY_MAX_CPUS - 1);
        return CYGNET_OK;
    }
    if (read_allowed(out, root) != CPU_LIST_GOOD && affinity_get(out, 0) != 0)
        affinity_add(out, 0);
    return CYGNET_OK;
}

static cygnet_status add_cores(struct soc *soc, const char *root, cygnet_error *err)
{
    struct affinity cores = {{0}};
    cygnet_status st = find_cores(&cores, root, err);

    if (st != CYGNET_OK)
        return st;
    if (cpu_list_count(&cores) > SOC_MAX_CORES)
        return fail(err, CYGNET_ELIMIT, 0, "%zu cores are more than %d",
                    cpu_list_count(&cores), SOC_MAX_CORES);
    for (uint32_t cpu = 0; cpu < AFFINITY_MAX_CPUS; cpu++) {
        if (affinity_has(&cores, cpu))
            soc->cores[soc->n_cores++].cpu = cpu;
    }
    return CYGNET_OK;
}

static bool any_in(const struct soc *soc, const struct affinity *set)
{
    for (uint32_t i = 0; i < soc->n_cores; i++) {
        if (affinity_has(set, soc->cores[i].cpu))
            return true;
    }
    return false;
}

static cygnet_status read_states(struct soc *soc, const char *root, cygnet_error *err)
{
    struct affinity online, allowed, isolated;
    bool confined = read_allowed(&allowed, root) == CPU_LIST_GOOD;
    bool isolates = read_list(&isolated, root, CPU_FOLDER "/isolated") == CPU_LIST_GOOD;

    if (read_online(&online, soc, root) != CPU_LIST_GOOD)
        ask_each_core(&online, soc, root);
    if (!any_in(soc, &online))
        return fail(err, CYGNET_EFORMAT, 0,
                    CPU_FOLDER "/online: names no core that is present");
    if (confined && !any_in(soc, &allowed))
        return fail(err, CYGNET_EFORMAT, 0,
                    "proc/self/status: Cpus_allowed_list names no core that is present");
    for (uint32_t i = 0; i < soc->n_cores; i++) {
        struct soc_core *core = &soc->cores[i];

        core->online = affinity_has(&online, core->cpu);
        core->allowed = !confined || affinity_has(&allowed, core->cpu);
        core->isolated = isolates && affinity_has(&isolated, core->cpu);
    }
    return CYGNET_OK;
}

/* "512K" in bytes; 0: no size. */
static uint64_t read_size(const char *root, uint32_t cpu, unsigned index)
{
    char path[PATH_BYTES], line[SYSFS_LINE_BYTES];
    char *end;
    unsigned long long value;

    (void)snprintf(path, sizeof(path), "%s/" CPU_FOLDER "/cpu%u/cache/index%u/size", root,
                   (unsigned)cpu, index);
    if (!sysfs_line(line, AT_FDCWD, path) || line[0] < '0' || line[0] > '9')
        return 0;
    value = strtoull(line, &end, 10);
    if (value > UINT32_MAX)
        return 0;
    return strcmp(end, "K") == 0 ? value << 10 : *end == '\0' ? value : 0;
}

static void read_caches(struct core_facts *facts, uint32_t cpu, const char *root)
{
    for (unsigned i = 0; i < N_CACHES; i++) {
        long level = read_number(root, 1, 9, CPU_FOLDER "/cpu%u/cache/index%u/level",
                                 (unsigned)cpu, i);
        struct affinity shared;
        uint32_t n = 0;

        if (level != 2 && level != 3)
            continue;
        if (read_list(&shared, root, CPU_FOLDER "/cpu%u/cache/index%u/shared_cpu_list",
                      (unsigned)cpu, i) == CPU_LIST_GOOD)
            n = (uint32_t)cpu_list_count(&shared);
        *(level == 2 ? &facts->l2_bytes : &facts->l3_bytes) = read_size(root, cpu, i);
        *(level == 2 ? &facts->l2_n_cpus : &facts->l3_n_cpus) = n;
    }
}

/* Marks the silent cores of the CPU's frequency domain, which names offline ones. */
static void mark_peers(struct core_facts *facts, const struct soc *soc, uint32_t i,
                       const char *root)
{
    struct affinity domain;

    if (read_list(&domain, root, CPU_FOLDER "/cpu%u/cpufreq/related_cpus",
                  (unsigned)soc->cores[i].cpu) != CPU_LIST_GOOD)
        return;
    for (uint32_t j = 0; j < soc->n_cores; j++) {
        if (j != i && facts[j].peer < 0 && affinity_has(&domain, soc->cores[j].cpu))
            facts[j].peer = (int32_t)i;
    }
}

static void read_facts(struct core_facts *facts, const struct soc *soc, const char *root)
{
    for (uint32_t i = 0; i < soc->n_cores; i++) {
        unsigned cpu = soc->cores[i].cpu;

        facts[i] = (struct core_facts){.peer = -1};
        facts[i].capacity = (uint32_t)read_number(root, 1, SOC_FULL_CAPACITY,
                                                  CPU_FOLDER "/cpu%u/cpu_capacity", cpu);
        facts[i].khz =
            (uint32_t)read_number(root, 1, MAX_KHZ,
                                  CPU_FOLDER "/cpu%u/cpufreq/cpuinfo_max_freq", cpu);
        read_caches(&facts[i], cpu, root);
    }
    for (uint32_t i = 0; i < soc->n_cores; i++) {
        if (facts[i].khz > 0)
            mark_peers(facts, soc, i, root);
    }
}

static void read_kinds(struct core_facts *facts, const struct soc *soc, const char *root)
{
    static const struct {
        const char *name;
        enum core_kind kind;
    } lists[] = {
        {"cpu_lowpower", KIND_LOW_POWER},
        {"cpu_atom", KIND_ATOM},
        {"cpu_core", KIND_CORE},
    };

    for (size_t k = 0; k < sizeof(lists) / sizeof(lists[0]); k++) {
        struct affinity set;

        if (read_list(&set, root, "sys/devices/%s/cpus", lists[k].name) != CPU_LIST_GOOD)
            continue;
        for (uint32_t i = 0; i < soc->n_cores; i++) {
            if (affinity_has(&set, soc->cores[i].cpu))
                facts[i].kind = lists[k].kind;
        }
    }
}

/* The numbers that name a physical core, -1 where not told: of the core, its package
 * and its cluster. */
struct core_ids {
    long of[3];
};

static struct core_ids read_ids(const char *root, unsigned cpu)
{
    static const char *const names[] = {"core_id", "physical_package_id", "cluster_id"};
    struct core_ids ids;

    for (size_t k = 0; k < 3; k++) {
        char path[PATH_BYTES];

        (void)snprintf(path, sizeof(path), "%s/" CPU_FOLDER "/cpu%u/topology/%s", root,
                       cpu, names[k]);
        if (!sysfs_number(&ids.of[k], AT_FDCWD, path))
            ids.of[k] = -1;
    }
    return ids;
}

/* By the same numbers, for kernels that list no siblings. */
static uint32_t find_same_ids(const struct core_ids *ids, const struct soc *soc,
                              uint32_t i)
{
    if (ids[i].of[0] < 0 || ids[i].of[1] < 0)
        return soc->cores[i].cpu;
    for (uint32_t j = 0; j < i; j++) {
        if (memcmp(&ids[i], &ids[j], sizeof(*ids)) == 0)
            return soc->cores[j].core;
    }
    return soc->cores[i].cpu;
}

/* A physical core has the number of its lowest CPU that is online. A list that does not
 * name the core itself is no list of its siblings. */
static void read_siblings(struct soc *soc, const char *root)
{
    struct core_ids ids[SOC_MAX_CORES];

    for (uint32_t i = 0; i < soc->n_cores; i++) {
        struct soc_core *core = &soc->cores[i];
        struct affinity siblings;
        uint32_t lowest = 0;

        ids[i] = read_ids(root, core->cpu);
        if (read_list(&siblings, root, CPU_FOLDER "/cpu%u/topology/thread_siblings_list",
                      (unsigned)core->cpu) != CPU_LIST_GOOD ||
            !affinity_has(&siblings, core->cpu)) {
            core->core = find_same_ids(ids, soc, i);
            continue;
        }
        while (!affinity_has(&siblings, lowest))
            lowest++;
        core->core = lowest;
    }
}

static cygnet_status make_fingerprint(struct soc *soc, cygnet_error *err)
{
    struct sha256 hash;
    uint8_t digest[SHA256_BYTES];
    cygnet_status st = sha256_init(&hash, err);

    if (st != CYGNET_OK)
        return st;
    for (uint32_t i = 0; i < soc->n_cores && st == CYGNET_OK; i++) {
        const struct soc_core *core = &soc->cores[i];
        char line[128];
        int n = snprintf(line, sizeof(line), "%u %u %u %u %u\n", (unsigned)core->cpu,
                         (unsigned)core->cluster, (unsigned)core->capacity,
                         (unsigned)core->max_khz, (unsigned)core->core);

        st = sha256_update(&hash, line, (size_t)n, err);
    }
    if (st != CYGNET_OK) {
        sha256_clear(&hash);
        return st;
    }
    st = sha256_final(digest, &hash, err);
    if (st == CYGNET_OK)
        hex_encode(soc->fingerprint, digest, sizeof(digest));
    return st;
}

cygnet_status soc_read(struct soc *out, const char *root, cygnet_error *err)
{
    struct core_facts facts[SOC_MAX_CORES];
    cygnet_status st;

    memset(out, 0, sizeof(*out));
    st = add_cores(out, root, err);
    if (st == CYGNET_OK)
        st = read_states(out, root, err);
    if (st != CYGNET_OK)
        return st;
    read_facts(facts, out, root);
    read_kinds(facts, out, root);
    read_siblings(out, root);
    soc_make_clusters(out, facts);
    return make_fingerprint(out, err);
}

bool soc_refresh(struct soc *soc, const char *root)
{
    struct affinity online, allowed;
    bool has_online = read_online(&online, soc, root) == CPU_LIST_GOOD;
    bool has_allowed = read_allowed(&allowed, root) == CPU_LIST_GOOD;
    bool changed = false;

    for (uint32_t i = 0; i < soc->n_cores; i++) {
        struct soc_core *core = &soc->cores[i];
        struct soc_core was = *core;

        if (has_online)
            core->online = affinity_has(&online, core->cpu);
        if (has_allowed)
            core->allowed = affinity_has(&allowed, core->cpu);
        changed = changed || core->online != was.online || core->allowed != was.allowed;
    }
    return changed;
}

uint32_t soc_read_khz(uint32_t cpu, const char *root)
{
    return (uint32_t)read_number(root, 1, MAX_KHZ,
                                 CPU_FOLDER "/cpu%u/cpufreq/scaling_cur_freq",
                                 (unsigned)cpu);
}

uint32_t soc_read_khz_limit(uint32_t cpu, const char *root)
{
    return (uint32_t)read_number(root, 1, MAX_KHZ,
                                 CPU_FOLDER "/cpu%u/cpufreq/scaling_max_freq",
                                 (unsigned)cpu);
}
