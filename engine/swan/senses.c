/* Reading /proc as a controller's senses. Files of threads stay open: they are read
 * fifty times a second. */
#include "engine/swan/senses.h"

#include "base/alloc.h"
#include "base/error.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROCESSOR_FIELD 39 /* of /proc/<pid>/stat, counted from 1 */
#define STAT_BYTES 65536   /* of /proc/stat; later lines are not wanted */

/* Files of one thread of ours, -1 where there is none, and what they said last.
 * core      index into soc.cores; -1: nothing is known of the thread
 * is_there  there is a thread
 * is_known  what it took since the look before is */
struct thread_sense {
    int schedstat;
    int stat;
    uint64_t run_ns;
    uint64_t wait_ns;
    double run;
    double wait;
    int32_t core;
    bool is_there;
    bool is_known;
};

/* busy  ticks of a core that somebody used, ours included; is_known: read before */
struct core_sense {
    uint64_t busy;
    uint64_t all;
    bool is_known;
};

struct senses {
    const cygnet_allocator *alloc;
    char root[PATH_MAX];
    int stat;
    double then_ms;
    struct core_sense cores[SOC_MAX_CORES];
    char text[STAT_BYTES];
    size_t n_threads;
    struct thread_sense threads[];
};

/* ---- Opening ----------------------------------------------------------------- */

static int open_below(const char *root, const char *name)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof(path), "%s/%s", root, name);

    return n > 0 && (size_t)n < sizeof(path) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
}

static int open_of_thread(const char *root, int32_t thread, const char *file)
{
    char name[64];

    if (thread == 0)
        return -1;
    (void)snprintf(name, sizeof(name), "proc/self/task/%" PRId32 "/%s", thread, file);
    return open_below(root, name);
}

cygnet_status senses_open(struct senses **out, const char *root, const int32_t *threads,
                          size_t n_threads, const cygnet_allocator *alloc,
                          cygnet_error *err)
{
    size_t bytes = sizeof(struct senses) + n_threads * sizeof(struct thread_sense);
    struct senses *s = mem_calloc(alloc, 1, bytes);

    *out = s;
    if (!s)
        return fail(err, CYGNET_ENOMEM, 0, "no memory to watch %zu threads", n_threads);
    s->alloc = alloc;
    (void)snprintf(s->root, sizeof(s->root), "%s", root);
    s->stat = open_below(root, "proc/stat");
    s->then_ms = (double)NAN;
    s->n_threads = n_threads;
    for (size_t i = 0; i < n_threads; i++) {
        s->threads[i].schedstat = open_of_thread(root, threads[i], "schedstat");
        s->threads[i].stat = open_of_thread(root, threads[i], "stat");
        s->threads[i].core = -1;
        s->threads[i].is_there = threads[i] != 0;
    }
    return CYGNET_OK;
}

static void close_file(int file)
{
    if (file >= 0)
        (void)close(file);
}

void senses_close(struct senses *senses)
{
    if (!senses)
        return;
    for (size_t i = 0; i < senses->n_threads; i++) {
        close_file(senses->threads[i].schedstat);
        close_file(senses->threads[i].stat);
    }
    close_file(senses->stat);
    mem_free(senses->alloc, senses);
}

/* The file from its beginning, as text; false: it has nothing to say. */
static bool read_again(char *text, size_t size, int file)
{
    ssize_t n = file < 0 ? -1 : pread(file, text, size - 1, 0);

    text[n > 0 ? n : 0] = '\0';
    return n > 0;
}

/* ---- Threads ----------------------------------------------------------------- */

/* The name in the second field may hold anything, so fields count from behind it. */
static bool parse_processor(uint32_t *out, const char *text)
{
    const char *at = strrchr(text, ')');
    unsigned long value;
    char *end;

    for (int field = 2; at && field < PROCESSOR_FIELD; field++)
        at = strchr(at + 1, ' ');
    if (!at)
        return false;
    value = strtoul(at + 1, &end, 10);
    *out = (uint32_t)value;
    return end != at + 1 && value < UINT32_MAX;
}

static int32_t core_of_thread(const struct thread_sense *t, const struct soc *soc)
{
    const struct soc_core *core;
    char text[1024];
    uint32_t cpu;

    if (!read_again(text, sizeof(text), t->stat) || !parse_processor(&cpu, text))
        return -1;
    core = soc_find(soc, cpu);
    return core ? (int32_t)(core - soc->cores) : -1;
}

/* Shares of the time since the look before, 0 at the first that succeeds. */
static void look_at_thread(struct thread_sense *t, const struct soc *soc,
                           double elapsed_ms)
{
    char text[128];
    uint64_t run_ns, wait_ns;
    bool was_known = t->core >= 0;

    t->core = -1;
    t->is_known = false;
    if (!read_again(text, sizeof(text), t->schedstat) ||
        sscanf(text, "%" SCNu64 " %" SCNu64, &run_ns, &wait_ns) != 2)
        return;
    t->run = was_known ? (double)(run_ns - t->run_ns) / (elapsed_ms * 1e6) : 0.0;
    t->wait = was_known ? (double)(wait_ns - t->wait_ns) / (elapsed_ms * 1e6) : 0.0;
    t->run_ns = run_ns;
    t->wait_ns = wait_ns;
    t->core = core_of_thread(t, soc);
    t->is_known = was_known && t->core >= 0;
}

/* What the threads took of each core, and waited for it beyond what they took from each
 * other. */
static void look_at_threads(struct senses *s, struct controller_sight *sight, double *own,
                            const struct soc *soc, double elapsed_ms)
{
    for (size_t i = 0; i < s->n_threads; i++) {
        struct thread_sense *t = &s->threads[i];

        look_at_thread(t, soc, elapsed_ms);
        if (t->core >= 0)
            own[t->core] += t->run;
    }
    for (size_t i = 0; i < s->n_threads; i++) {
        const struct thread_sense *t = &s->threads[i];
        double wait;

        if (t->core < 0)
            continue;
        wait = fmax(0.0, t->wait - (own[t->core] - t->run));
        if (!(sight->wait[t->core] >= wait))
            sight->wait[t->core] = wait;
    }
}

/* Otherwise a thread of ours might be taken for somebody else. */
static bool own_use_is_known(const struct senses *s)
{
    for (size_t i = 0; i < s->n_threads; i++) {
        if (s->threads[i].is_there && !s->threads[i].is_known)
            return false;
    }
    return true;
}

/* ---- Cores ------------------------------------------------------------------- */

/* "cpu3 user nice system idle iowait irq softirq steal ...": idle and iowait are what
 * nobody used. */
static bool parse_core(uint32_t *cpu, uint64_t *busy, uint64_t *all, const char *line)
{
    uint64_t v[8];

    if (sscanf(line,
               "cpu%" SCNu32 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
               " %" SCNu64 " %" SCNu64 " %" SCNu64,
               cpu, &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &v[6], &v[7]) != 9)
        return false;
    *busy = v[0] + v[1] + v[2] + v[5] + v[6] + v[7];
    *all = *busy + v[3] + v[4];
    return true;
}

static void look_at_core(struct senses *s, struct controller_sight *sight,
                         const double *own, const struct soc *soc, const char *line)
{
    const struct soc_core *core;
    struct core_sense *c;
    uint64_t busy, all;
    uint32_t cpu;
    size_t i;

    if (!parse_core(&cpu, &busy, &all, line))
        return;
    core = soc_find(soc, cpu);
    if (!core)
        return;
    i = (size_t)(core - soc->cores);
    c = &s->cores[i];
    if (c->is_known && all > c->all && busy >= c->busy && own_use_is_known(s))
        sight->foreign[i] = (double)(busy - c->busy) / (double)(all - c->all) - own[i];
    *c = (struct core_sense){busy, all, true};
}

static void look_at_cores(struct senses *s, struct controller_sight *sight,
                          const double *own, const struct soc *soc)
{
    char *line = s->text;

    if (!read_again(s->text, sizeof(s->text), s->stat))
        return;
    while (line) {
        char *next = strchr(line, '\n');

        if (strncmp(line, "cpu", 3) != 0)
            return;
        if (line[3] != ' ')
            look_at_core(s, sight, own, soc, line);
        line = next ? next + 1 : NULL;
    }
}

static double lowest_clock(const struct senses *s, const struct soc *soc,
                           const bool *in_use)
{
    double lowest = (double)NAN;

    for (uint32_t i = 0; i < soc->n_cores; i++) {
        uint32_t limit = in_use[i] && soc->cores[i].max_khz > 0
                             ? soc_read_khz_limit(soc->cores[i].cpu, s->root)
                             : 0;
        double clock = (double)limit / (double)soc->cores[i].max_khz;

        if (limit > 0 && !(lowest <= clock))
            lowest = clock;
    }
    return lowest;
}

void senses_look(struct senses *senses, struct controller_sight *sight,
                 const struct soc *soc, const bool *in_use)
{
    double elapsed_ms = fmax(sight->now_ms - senses->then_ms, 0.1);
    double own[SOC_MAX_CORES] = {0};
    bool is_first = isnan(senses->then_ms);

    for (uint32_t i = 0; i < soc->n_cores; i++)
        sight->wait[i] = sight->foreign[i] = (double)NAN;
    senses->then_ms = sight->now_ms;
    look_at_threads(senses, sight, own, soc, elapsed_ms);
    look_at_cores(senses, sight, own, soc);
    sight->clock = lowest_clock(senses, soc, in_use);
    for (uint32_t i = 0; is_first && i < soc->n_cores; i++)
        sight->wait[i] = sight->foreign[i] = (double)NAN;
}
