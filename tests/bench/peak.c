/* The arithmetic loop holds twelve independent vectors in registers, enough to
 * hide the latency of two multiply-add units; each instruction set gets its own
 * copy by a target attribute. -ffp-contract=fast makes the multiply-add one
 * instruction. */
#include "tests/bench/peak.h"

#include "examples/common/command_line.h"
#include "tests/bench/bench.h"
#include "tests/bench/measure.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N_SUMS = 12, ROUNDS = 1 << 17, N_WINDOWS = 25, MAX_THREADS = 64 };

#define DEFINE_FMA(name, lanes, target)                                                  \
    typedef float name##_vector __attribute__((vector_size(4 * (lanes))));               \
    target static float name(void)                                                       \
    {                                                                                    \
        name##_vector a[N_SUMS], m, k;                                                   \
        float total = 0;                                                                 \
                                                                                         \
        for (int l = 0; l < (lanes); l++) {                                              \
            m[l] = 0.999f;                                                               \
            k[l] = 0.001f;                                                               \
            for (int i = 0; i < N_SUMS; i++)                                             \
                a[i][l] = (float)(i + l);                                                \
        }                                                                                \
        for (int r = 0; r < ROUNDS; r++) {                                               \
            a[0] = a[0] * m + k, a[1] = a[1] * m + k, a[2] = a[2] * m + k;               \
            a[3] = a[3] * m + k, a[4] = a[4] * m + k, a[5] = a[5] * m + k;               \
            a[6] = a[6] * m + k, a[7] = a[7] * m + k, a[8] = a[8] * m + k;               \
            a[9] = a[9] * m + k, a[10] = a[10] * m + k, a[11] = a[11] * m + k;           \
        }                                                                                \
        for (int l = 0; l < (lanes); l++)                                                \
            for (int i = 0; i < N_SUMS; i++)                                             \
                total += a[i][l];                                                        \
        return total;                                                                    \
    }

#define DEFINE_TRIAD(name, target)                                                       \
    target static void name(float *restrict a, const float *restrict b,                  \
                            const float *restrict c, size_t n)                           \
    {                                                                                    \
        for (size_t i = 0; i < n; i++)                                                   \
            a[i] = b[i] + 3.0f * c[i];                                                   \
    }

DEFINE_FMA(fma_plain, 4, )
DEFINE_TRIAD(triad_plain, )
#ifdef __x86_64__
DEFINE_FMA(fma_avx2, 8, __attribute__((target("avx2,fma"))))
DEFINE_TRIAD(triad_avx2, __attribute__((target("avx2,fma"))))
DEFINE_FMA(fma_avx512, 16, __attribute__((target("avx512f"))))
DEFINE_TRIAD(triad_avx512, __attribute__((target("avx512f"))))
#endif

struct version {
    const char *isa;
    int lanes;
    float (*fma)(void);
    void (*triad)(float *restrict a, const float *restrict b, const float *restrict c,
                  size_t n);
};

static struct version version_here(void)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx512f"))
        return (struct version){"avx512", 16, fma_avx512, triad_avx512};
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return (struct version){"avx2", 8, fma_avx2, triad_avx2};
#endif
    return (struct version){"baseline", 4, fma_plain, triad_plain};
}

const char *peak_isa(void)
{
    return version_here().isa;
}

/* Threads that do the same work at once, window by window. */
struct race {
    struct version version;
    pthread_mutex_t gate; /* held until it is known whether all could start */
    pthread_barrier_t line;
    bool called_off;
    size_t n_floats; /* of one thread's share of each array; 0: arithmetic */
    float *arrays[3];
    int first_core;
    uint64_t best_ns;
};

struct runner {
    struct race *race;
    uint32_t number;
    float sink;
};

static void pin(int core)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET((size_t)core, &set);
    (void)sched_setaffinity(0, sizeof(set), &set);
}

static void run_window(struct runner *r)
{
    const struct race *race = r->race;
    size_t at = r->number * race->n_floats;

    if (race->n_floats == 0)
        r->sink += race->version.fma();
    else
        race->version.triad(race->arrays[0] + at, race->arrays[1] + at,
                            race->arrays[2] + at, race->n_floats);
}

static void *run(void *arg)
{
    struct runner *r = arg;
    struct race *race = r->race;
    bool called_off;

    (void)pthread_mutex_lock(&race->gate);
    called_off = race->called_off;
    (void)pthread_mutex_unlock(&race->gate);
    if (called_off)
        return NULL;
    if (race->first_core >= 0)
        pin(race->first_core + (int)r->number);
    for (int w = 0; w < N_WINDOWS; w++) {
        uint64_t start, ns;

        (void)pthread_barrier_wait(&race->line);
        start = measure_now_ns();
        run_window(r);
        (void)pthread_barrier_wait(&race->line);
        ns = measure_now_ns() - start;
        if (r->number == 0 && ns < race->best_ns)
            race->best_ns = ns;
    }
    return NULL;
}

/* Seconds of the best window; 0: a thread was refused. */
static double best_window(struct race *race, uint32_t n_threads)
{
    struct runner runners[MAX_THREADS];
    pthread_t threads[MAX_THREADS];
    uint32_t n_started = 0;

    race->best_ns = UINT64_MAX;
    if (n_threads == 0 || n_threads > MAX_THREADS ||
        pthread_barrier_init(&race->line, NULL, n_threads) != 0)
        return 0;
    (void)pthread_mutex_init(&race->gate, NULL);
    (void)pthread_mutex_lock(&race->gate);
    for (uint32_t t = 0; t < n_threads && n_started == t; t++) {
        runners[t] = (struct runner){race, t, 0};
        n_started += pthread_create(&threads[t], NULL, run, &runners[t]) == 0;
    }
    race->called_off = n_started < n_threads;
    (void)pthread_mutex_unlock(&race->gate);
    for (uint32_t t = 0; t < n_started; t++)
        (void)pthread_join(threads[t], NULL);
    (void)pthread_mutex_destroy(&race->gate);
    (void)pthread_barrier_destroy(&race->line);
    return race->called_off ? 0 : (double)race->best_ns * 1e-9;
}

double peak_gflops(uint32_t n_threads, int first_core)
{
    struct race race = {.version = version_here(), .first_core = first_core};
    double flops = 2.0 * N_SUMS * ROUNDS * race.version.lanes * n_threads;
    double seconds = best_window(&race, n_threads);

    return seconds > 0 ? flops / seconds * 1e-9 : 0;
}

double peak_triad_gb(uint32_t n_threads, int first_core, size_t bytes)
{
    struct race race = {.version = version_here(), .first_core = first_core};
    double seconds = 0;

    race.n_floats = n_threads > 0 ? bytes / sizeof(float) / n_threads : 0;
    for (int i = 0; i < 3; i++) {
        race.arrays[i] = malloc(bytes);
        if (race.arrays[i])
            memset(race.arrays[i], 0, bytes);
    }
    if (race.n_floats > 0 && race.arrays[0] && race.arrays[1] && race.arrays[2])
        seconds = best_window(&race, n_threads);
    for (int i = 0; i < 3; i++)
        free(race.arrays[i]);
    bytes = 3 * race.n_floats * n_threads * sizeof(float);
    return seconds > 0 ? (double)bytes / seconds * 1e-9 : 0;
}

/* ---- The command ---------------------------------------------------------- */

struct peak_options {
    const char *json;
    uint32_t megabytes;
};

static const struct option_row ROWS[] = {
    {"json", OPTION_TEXT, offsetof(struct peak_options, json), 0, 0, NULL},
    {"megabytes", OPTION_U32, offsetof(struct peak_options, megabytes), 1, 1024, NULL},
    {NULL, OPTION_FLAG, 0, 0, 0, NULL},
};

/* core  the one that is measured; -1: all n_threads from core 0 on */
static cygnet_status print_row(FILE *file, int core, uint32_t n_threads, size_t bytes,
                               cygnet_error *err)
{
    struct json_builder *b = json_build();
    int first = core >= 0 ? core : 0;

    json_open_object(b, NULL);
    if (core >= 0)
        json_put_u64(b, "core", (uint64_t)core);
    else
        json_put_null(b, "core");
    json_put_u64(b, "threads", n_threads);
    json_put_string(b, "isa", peak_isa());
    json_put_double(b, "fma_gflops", peak_gflops(n_threads, first));
    json_put_double(b, "triad_gb_per_s", peak_triad_gb(n_threads, first, bytes));
    json_close(b);
    return bench_write(file, b, err);
}

int bench_peak(int argc, char **argv)
{
    struct peak_options o = {"-", 64};
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    cygnet_error err;
    cygnet_status st = command_line_parse(&o, ROWS, argc, argv, &err);
    FILE *file;

    if (st != CYGNET_OK)
        return bench_complain(BENCH_USAGE, &err);
    file = bench_open(o.json, &err);
    if (!file)
        return bench_complain(BENCH_FAILED, &err);
    cores = cores < 1 ? 1 : cores > MAX_THREADS ? MAX_THREADS : cores;
    for (int core = 0; core < cores && st == CYGNET_OK; core++)
        st = print_row(file, core, 1, (size_t)o.megabytes << 20, &err);
    if (st == CYGNET_OK && cores > 1)
        st = print_row(file, -1, (uint32_t)cores, (size_t)o.megabytes << 20, &err);
    if (bench_close(file, st == CYGNET_OK ? &err : NULL) != CYGNET_OK && st == CYGNET_OK)
        st = err.status;
    return st == CYGNET_OK ? BENCH_DONE : bench_complain(BENCH_FAILED, &err);
}
