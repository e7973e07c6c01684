/* The foreground command: what a user's app does, as the benchmarks' other side. A
 * frame is due every 1/60 s; it makes a pass of real work over a buffer that does not
 * fit into the inner caches. And the load command: a loop that keeps one core busy.
 *
 * Both take windows of time from standard input, one a line, FROM and UNTIL in
 * milliseconds of the monotonic clock; work begins at once, what is told is what
 * happened from FROM on. */
#include "tests/bench/bench.h"

#include "examples/common/command_line.h"
#include "examples/common/complain.h"
#include "tests/bench/child.h"
#include "tests/bench/record.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WORK_MS (FRAME_MS / 3.0) /* CPU time of a frame: a third of a core */
#define LOAD_PERIOD_MS 2.0

/* A frame that is due so shortly before a pause is due in it, by rounding. */
#define EDGE_MS 0.01

enum { CHUNK = 16384 /* floats, 64 KiB */, CALIBRATIONS = 30, ANY_CORE = 65535 };

struct foreground_options {
    uint32_t core;
    uint32_t chunks;
    uint32_t megabytes;
    double on_s;
    double off_s;
    double duty;
};

static const struct option_row ROWS[] = {
    {"core", OPTION_U32, offsetof(struct foreground_options, core), 0, ANY_CORE, NULL},
    {"chunks", OPTION_U32, offsetof(struct foreground_options, chunks), 1, 1e9, NULL},
    {"megabytes", OPTION_U32, offsetof(struct foreground_options, megabytes), 1, 1024,
     NULL},
    {"on", OPTION_REAL, offsetof(struct foreground_options, on_s), 0, 3600, NULL},
    {"off", OPTION_REAL, offsetof(struct foreground_options, off_s), 0, 3600, NULL},
    {"duty", OPTION_REAL, offsetof(struct foreground_options, duty), 0, 1, NULL},
    {NULL, OPTION_FLAG, 0, 0, 0, NULL},
};

struct foreground {
    const struct foreground_options *options;
    float *buffer;
    size_t n_chunks; /* of the buffer */
    size_t next;
    int schedstat;
    struct record record;
};

static double clock_ms(clockid_t clock)
{
    struct timespec t;

    (void)clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static cygnet_status stay_on(uint32_t core, cygnet_error *err)
{
    cpu_set_t set;

    if (core == ANY_CORE)
        return CYGNET_OK;
    CPU_ZERO(&set);
    CPU_SET(core % CPU_SETSIZE, &set);
    if (sched_setaffinity(0, sizeof(set), &set) == 0)
        return CYGNET_OK;
    return complain(err, CYGNET_ENOTFOUND, errno, "core %" PRIu32 ": %s", core,
                    strerror(errno));
}

/* How long this thread was ready to run while others had its core; -1: unknown. */
static double waited_ms(const struct foreground *f)
{
    char text[128], *end = text;
    ssize_t n = f->schedstat < 0 ? -1 : pread(f->schedstat, text, sizeof(text) - 1, 0);

    if (n <= 0)
        return -1.0;
    text[n] = '\0';
    (void)strtoull(text, &end, 10);
    return (double)strtoull(end, NULL, 10) * 1e-6;
}

/* A filter over the next chunks of the buffer, with what it found there before. */
static void work(struct foreground *f, size_t n_chunks)
{
    for (size_t i = 0; i < n_chunks; i++) {
        float *x = f->buffer + f->next * CHUNK;
        float kept = 0.5f;

        for (size_t j = 0; j < CHUNK; j++) {
            kept = 0.75f * kept + 0.25f * x[j];
            x[j] = 0.9f * x[j] + 0.1f * kept + 0.001f;
        }
        f->next = (f->next + 1) % f->n_chunks;
    }
}

/* Chunks that take WORK_MS of CPU time, by the best of several tries: others on the
 * machine only ever make it slower. */
static uint32_t calibrate(struct foreground *f)
{
    double best = (double)INFINITY;
    size_t n = f->n_chunks < 64 ? 64 : f->n_chunks;

    for (int i = 0; i < CALIBRATIONS; i++) {
        double began = clock_ms(CLOCK_THREAD_CPUTIME_ID), took;

        work(f, n);
        took = clock_ms(CLOCK_THREAD_CPUTIME_ID) - began;
        best = took < best ? took : best;
    }
    return (uint32_t)(WORK_MS / best * (double)n) + 1;
}

/* When the foreground is at work: always, or in bursts after each pause; before FROM
 * only without bursts. Returns the time from which on it is. */
static double next_due(const struct foreground_options *o, double due, double from)
{
    double cycle = (o->on_s + o->off_s) * 1e3;
    double at;

    if (o->off_s <= 0.0)
        return due;
    at = due < from ? 0.0 : fmod(due - from, cycle);
    if (cycle - at < EDGE_MS)
        at -= cycle;
    if (due >= from && at >= o->off_s * 1e3)
        return due;
    return (due < from ? from : due) + o->off_s * 1e3 - at;
}

/* One frame that was due; what it took counts from then. */
static void run_frame(struct foreground *f, struct frame *frame, double due)
{
    double waited, cpu;

    record_sleep_until(due);
    cpu = clock_ms(CLOCK_THREAD_CPUTIME_ID);
    work(f, f->options->chunks);
    frame->frame_ms = record_now_ms() - due;
    frame->cpu_ms = clock_ms(CLOCK_THREAD_CPUTIME_ID) - cpu;
    waited = waited_ms(f);
    frame->due_ms = due;
    frame->wait_ms = waited;
    frame->missed = (uint32_t)(frame->frame_ms / FRAME_MS);
}

/* Frames of one window. A frame that is late makes the next ones be missed. */
static bool run_window(struct foreground *f, double from, double until)
{
    double due = next_due(f->options, record_now_ms(), from);
    double waited = waited_ms(f);

    f->record.n_frames = 0;
    while (due < until) {
        struct frame frame;
        double before = waited;

        run_frame(f, &frame, due);
        waited = frame.wait_ms;
        frame.wait_ms = waited < 0.0 ? -1.0 : waited - before;
        if (due >= from && !record_add_frame(&f->record, &frame))
            return false;
        due = next_due(f->options, due + FRAME_MS * (1 + frame.missed), from);
    }
    return true;
}

static cygnet_status open_foreground(struct foreground *f, struct foreground_options *o,
                                     cygnet_error *err)
{
    size_t n = (size_t)o->megabytes * 1000000 / sizeof(float) / CHUNK;
    cygnet_status st = stay_on(o->core, err);

    *f = (struct foreground){.options = o, .n_chunks = n > 0 ? n : 1};
    f->schedstat = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
    f->buffer = calloc(f->n_chunks * CHUNK, sizeof(float));
    if (st == CYGNET_OK && !f->buffer)
        st = complain(err, CYGNET_ENOMEM, 0, "out of memory for a foreground");
    if (st == CYGNET_OK && o->chunks == 0)
        o->chunks = calibrate(f);
    return st;
}

static void close_foreground(struct foreground *f)
{
    if (f->schedstat >= 0)
        (void)close(f->schedstat);
    free(f->buffer);
    record_clear(&f->record);
}

int bench_foreground(int argc, char **argv)
{
    struct foreground_options o = {.core = ANY_CORE, .megabytes = 4, .on_s = 2};
    cygnet_error err;
    cygnet_status st = command_line_parse(&o, ROWS, argc, argv, &err);
    struct foreground f = {.schedstat = -1};
    double from, until;

    if (st != CYGNET_OK)
        return bench_complain(BENCH_USAGE, &err);
    st = open_foreground(&f, &o, &err);
    if (st == CYGNET_OK) {
        printf("ready %" PRIu32 "\n", o.chunks);
        (void)fflush(stdout);
    }
    while (st == CYGNET_OK && child_read_window(&from, &until)) {
        if (run_window(&f, from, until))
            record_tell_frames(&f.record);
        else
            st = complain(&err, CYGNET_ENOMEM, 0, "out of memory for frames");
    }
    close_foreground(&f);
    return st == CYGNET_OK ? BENCH_DONE : bench_complain(BENCH_FAILED, &err);
}

/* ---- A busy core ------------------------------------------------------------- */

/* Busy for the given part of each short period, from FROM to UNTIL. */
static void keep_busy(double duty, double from, double until)
{
    double start = from;

    record_sleep_until(from);
    while (start < until) {
        double busy_until = start + duty * LOAD_PERIOD_MS;

        while (record_now_ms() < busy_until)
            continue;
        start += LOAD_PERIOD_MS;
        if (duty < 1.0)
            record_sleep_until(start);
    }
}

int bench_load(int argc, char **argv)
{
    struct foreground_options o = {.core = ANY_CORE, .duty = 1};
    cygnet_error err;
    cygnet_status st = command_line_parse(&o, ROWS, argc, argv, &err);
    double from, until;

    if (st != CYGNET_OK)
        return bench_complain(BENCH_USAGE, &err);
    st = stay_on(o.core, &err);
    if (st != CYGNET_OK)
        return bench_complain(BENCH_FAILED, &err);
    printf("ready\n");
    (void)fflush(stdout);
    while (child_read_window(&from, &until)) {
        keep_busy(o.duty, from, until);
        printf("done\n");
        (void)fflush(stdout);
    }
    return BENCH_DONE;
}
