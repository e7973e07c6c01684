/* What the system knows of this process, and statistics of samples. */
#ifndef TESTS_BENCH_MEASURE_H
#define TESTS_BENCH_MEASURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

uint64_t measure_now_ns(void);

/* Resident memory now, and the most it ever was. From /proc/self/status: the
 * figure of getrusage also knows the program that started this one. 0: unknown. */
uint64_t measure_rss_bytes(void);
uint64_t measure_peak_rss_bytes(void);

/* Page faults served without input or output, all threads. */
uint64_t measure_page_faults(void);

/* CPU time of all threads. */
uint64_t measure_cpu_ns(void);

/* How long the threads of this process were ready to run while others had their
 * cores (/proc/self/task/N/schedstat). False: the system does not say. */
bool measure_waited_ns(uint64_t *out);

/* The threads of this process, at most MEASURE_THREADS of them; returns how many. */
enum { MEASURE_THREADS = 256 };

size_t measure_threads(int32_t out[MEASURE_THREADS]);

/* CPU time of one of them. 0: the system does not say. */
uint64_t measure_thread_cpu_ns(int32_t thread);

/* One measured step. */
struct sample {
    uint64_t wall_ns;
    uint64_t waited_ns;
};

/* Milliseconds over the samples that were not contended: those whose threads
 * waited for a core for at most 2 % of the time. When fewer than five are left,
 * all are used and `contended` is set.
 * dropped  samples that were contended */
struct spread {
    double median_ms;
    double low_ms;  /* first quartile */
    double high_ms; /* third quartile */
    size_t dropped;
    bool contended;
};

/* Sorts the samples in place. n > 0. */
struct spread measure_spread(struct sample *samples, size_t n);

#endif
