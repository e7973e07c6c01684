/* A load as a child, or a control group. A quota is of threads, not of a core: who runs
 * a block on the slow core joins the group first, and leaves it elsewhere. */
#include "tests/bench/slow_core.h"

#include "examples/common/complain.h"
#include "tests/bench/record.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <sched.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOREVER_MS 3600e3

/* Microseconds; the kernel wants at least 1 ms of each. */
#define PERIOD_US 2000.0
#define MIN_QUOTA_US 1000.0

const char *const slow_names[N_SLOW] = {"none", "load", "quota"};

/* ---- The load ---------------------------------------------------------------- */

static cygnet_status begin_load(struct slow_core *slow, cygnet_error *err)
{
    char core[16], duty[32], line[64];
    const char *const words[] = {NULL, "load", "--core", core, "--duty", duty, NULL};
    cygnet_status st;

    (void)snprintf(core, sizeof(core), "%" PRIu32, slow->cpu);
    (void)snprintf(duty, sizeof(duty), "%.6f", 1.0 - slow->share);
    st = child_start(&slow->load, "load", words, err);
    if (st == CYGNET_OK)
        st = child_expect(&slow->load, "ready", line, sizeof(line), err);
    if (st == CYGNET_OK)
        st = child_tell_window(&slow->load, record_now_ms(), record_now_ms() + FOREVER_MS,
                               err);
    return st;
}

/* ---- The quota --------------------------------------------------------------- */

/* Whether "cpu" is in a list like "cpu,cpuacct". */
static bool has_cpu(const char *list, size_t length)
{
    size_t at = 0;

    while (at < length) {
        size_t n = strcspn(list + at, ",:");

        if (n == 3 && strncmp(list + at, "cpu", 3) == 0)
            return true;
        at += n + 1;
    }
    return false;
}

/* Lines are "4:cpu,cpuacct:/some/group". */
static bool find_group(char *out, size_t size)
{
    FILE *file = fopen("/proc/self/cgroup", "r");
    char line[SLOW_PATH_BYTES];
    bool found = false;

    while (file && !found && fgets(line, sizeof(line), file)) {
        char *list = strchr(line, ':');
        char *path = list ? strchr(list + 1, ':') : NULL;

        line[strcspn(line, "\n")] = '\0';
        if (!path || !has_cpu(list + 1, (size_t)(path - list - 1)))
            continue;
        *path = '\0';
        found = snprintf(out, size, "/sys/fs/cgroup/%s%s", list + 1,
                         strcmp(path + 1, "/") == 0 ? "" : path + 1) < (int)size;
    }
    if (file)
        (void)fclose(file);
    return found;
}

static bool write_number(const char *folder, const char *name, long value)
{
    char path[SLOW_PATH_BYTES + 64];
    FILE *file;
    bool done;

    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    file = fopen(path, "w");
    if (!file)
        return false;
    done = fprintf(file, "%ld\n", value) > 0;
    return fclose(file) == 0 && done;
}

static int open_tasks(const char *folder)
{
    char path[SLOW_PATH_BYTES + 64];

    (void)snprintf(path, sizeof(path), "%s/tasks", folder);
    return open(path, O_WRONLY | O_CLOEXEC);
}

static void say_absent(struct slow_core *slow, const char *what)
{
    (void)snprintf(slow->absent, sizeof(slow->absent), "%s: %s", what, strerror(errno));
}

static bool set_quota(const struct slow_core *slow)
{
    double quota_us = fmax(MIN_QUOTA_US, slow->share * PERIOD_US);

    return write_number(slow->folder, "cpu.cfs_period_us",
                        lround(quota_us / slow->share)) &&
           write_number(slow->folder, "cpu.cfs_quota_us", lround(quota_us));
}

static void begin_quota(struct slow_core *slow)
{
    char group[SLOW_PATH_BYTES - 64];

    if (!find_group(group, sizeof(group))) {
        (void)snprintf(slow->absent, sizeof(slow->absent),
                       "no cgroup v1 with the controller cpu");
        return;
    }
    (void)snprintf(slow->folder, sizeof(slow->folder), "%s/cygnet-bench-%ld", group,
                   (long)getpid());
    if (mkdir(slow->folder, 0700) != 0) {
        say_absent(slow, "no control group can be made");
        slow->folder[0] = '\0';
        return;
    }
    slow->inside = open_tasks(slow->folder);
    slow->outside = open_tasks(group);
    if (slow->inside < 0 || slow->outside < 0 || !set_quota(slow))
        say_absent(slow, "a quota cannot be set");
}

/* The main thread waits for the others and measures: it is never slowed. */
static void move_here(struct slow_core *slow)
{
    static _Thread_local bool is_inside;
    bool is_slow = (uint32_t)sched_getcpu() == slow->cpu;
    pid_t thread = gettid();

    if (is_slow == is_inside || thread == getpid())
        return;
    if (dprintf(is_slow ? slow->inside : slow->outside, "%d\n", (int)thread) > 0)
        is_inside = is_slow;
    else
        atomic_store(&slow->has_failed, true);
}

static void run_here(void *arg, size_t block, size_t worker)
{
    struct slow_core *slow = arg;

    move_here(slow);
    slow->block(slow->arg, block, worker);
}

static void run(struct nn_executor *executor, nn_block block, void *arg, size_t n_blocks)
{
    struct slow_core *slow = (struct slow_core *)executor;

    if (slow->kind != SLOW_QUOTA) {
        slow->inner->run(slow->inner, block, arg, n_blocks);
        return;
    }
    slow->block = block;
    slow->arg = arg;
    slow->inner->run(slow->inner, run_here, slow, n_blocks);
}

/* ---- Both -------------------------------------------------------------------- */

struct nn_executor *slow_core_wrap(struct nn_executor *inner, void *user)
{
    struct slow_core *slow = user;

    slow->inner = inner;
    slow->executor = (struct nn_executor){run, inner->n_workers};
    return &slow->executor;
}

cygnet_status slow_core_begin(struct slow_core *slow, enum slow_kind kind, uint32_t cpu,
                              double share, cygnet_error *err)
{
    *slow = (struct slow_core){
        .kind = kind, .cpu = cpu, .share = share, .inside = -1, .outside = -1};
    if (kind == SLOW_LOAD)
        return begin_load(slow, err);
    if (kind == SLOW_QUOTA)
        begin_quota(slow);
    return CYGNET_OK;
}

cygnet_status slow_core_check(const struct slow_core *slow, cygnet_error *err)
{
    if (!atomic_load(&slow->has_failed))
        return CYGNET_OK;
    return complain(err, CYGNET_EHOST, 0, "a thread could not join the group %.200s",
                    slow->folder);
}

void slow_core_end(struct slow_core *slow)
{
    (void)child_end(&slow->load, true);
    if (slow->kind != SLOW_QUOTA)
        return;
    if (slow->inside >= 0)
        (void)close(slow->inside);
    if (slow->outside >= 0)
        (void)close(slow->outside);
    if (slow->folder[0])
        (void)rmdir(slow->folder);
}
