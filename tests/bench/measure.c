/* Readings of /proc and the clocks. */
#include "tests/bench/measure.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { MIN_KEPT = 5, MAX_WAIT_SHARE = 50 /* 1/50 is 2 % */ };

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec t;

    if (clock_gettime(clock, &t) != 0)
        return 0;
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t measure_now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

uint64_t measure_cpu_ns(void)
{
    return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

static uint64_t status_bytes(const char *key)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    uint64_t kib = 0;

    while (file && kib == 0 && fgets(line, sizeof(line), file)) {
        if (strncmp(line, key, strlen(key)) == 0)
            kib = strtoull(line + strlen(key), NULL, 10);
    }
    if (file)
        (void)fclose(file);
    return kib * 1024;
}

uint64_t measure_rss_bytes(void)
{
    return status_bytes("VmRSS:");
}

uint64_t measure_peak_rss_bytes(void)
{
    return status_bytes("VmHWM:");
}

uint64_t measure_page_faults(void)
{
    struct rusage usage;

    return getrusage(RUSAGE_SELF, &usage) == 0 ? (uint64_t)usage.ru_minflt : 0;
}

/* The first two numbers of the thread's schedstat: it ran, and waited, for so long. */
static bool thread_times(uint64_t *ran, uint64_t *waited, const char *thread)
{
    char path[300];
    char line[128];
    char *end = line;
    FILE *file;

    (void)snprintf(path, sizeof(path), "/proc/self/task/%s/schedstat", thread);
    file = fopen(path, "r");
    if (!file)
        return false;
    if (!fgets(line, sizeof(line), file))
        line[0] = '\0';
    (void)fclose(file);
    *ran = strtoull(line, &end, 10);
    if (*end != ' ')
        return false;
    *waited = strtoull(end, NULL, 10);
    return true;
}

uint64_t measure_thread_cpu_ns(int32_t thread)
{
    uint64_t ran = 0, waited;
    char name[16];

    (void)snprintf(name, sizeof(name), "%" PRId32, thread);
    return thread_times(&ran, &waited, name) ? ran : 0;
}

size_t measure_threads(int32_t out[MEASURE_THREADS])
{
    DIR *folder = opendir("/proc/self/task");
    const struct dirent *entry;
    size_t n = 0;

    while (folder && n < MEASURE_THREADS && (entry = readdir(folder))) {
        if (entry->d_name[0] != '.')
            out[n++] = (int32_t)strtol(entry->d_name, NULL, 10);
    }
    if (folder)
        (void)closedir(folder);
    return n;
}

bool measure_waited_ns(uint64_t *out)
{
    DIR *folder = opendir("/proc/self/task");
    const struct dirent *entry;
    bool known = false;

    *out = 0;
    while (folder && (entry = readdir(folder))) {
        uint64_t ran, waited;

        if (entry->d_name[0] != '.' && thread_times(&ran, &waited, entry->d_name)) {
            *out += waited;
            known = true;
        }
    }
    if (folder)
        (void)closedir(folder);
    return known;
}

static bool is_contended(const struct sample *s)
{
    return s->waited_ns > s->wall_ns / MAX_WAIT_SHARE;
}

static int by_wall(const void *a, const void *b)
{
    const struct sample *x = a, *y = b;

    return (x->wall_ns > y->wall_ns) - (x->wall_ns < y->wall_ns);
}

static int by_contention_then_wall(const void *a, const void *b)
{
    int contended = (int)is_contended(a) - (int)is_contended(b);

    return contended != 0 ? contended : by_wall(a, b);
}

static double quantile_ms(const struct sample *sorted, size_t n, double q)
{
    double at = q * (double)(n - 1);
    size_t i = (size_t)at;
    double low = (double)sorted[i].wall_ns;
    double high = (double)sorted[i + 1 < n ? i + 1 : i].wall_ns;

    return (low + (at - (double)i) * (high - low)) * 1e-6;
}

struct spread measure_spread(struct sample *samples, size_t n)
{
    struct spread spread = {0};
    size_t kept = n;

    for (size_t i = 0; i < n; i++)
        spread.dropped += is_contended(&samples[i]);
    qsort(samples, n, sizeof(*samples), by_contention_then_wall);
    if (spread.dropped > 0 && n - spread.dropped >= MIN_KEPT)
        kept = n - spread.dropped;
    else if (spread.dropped > 0) {
        spread.contended = true;
        spread.dropped = 0;
        qsort(samples, n, sizeof(*samples), by_wall);
    }
    spread.median_ms = quantile_ms(samples, kept, 0.5);
    spread.low_ms = quantile_ms(samples, kept, 0.25);
    spread.high_ms = quantile_ms(samples, kept, 0.75);
    return spread;
}
