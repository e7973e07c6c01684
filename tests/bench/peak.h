/* What this machine can do at best: multiply-adds and memory traffic. */
#ifndef TESTS_BENCH_PEAK_H
#define TESTS_BENCH_PEAK_H

#include <stddef.h>
#include <stdint.h>

/* The vector instructions that the arithmetic loop uses here. */
const char *peak_isa(void);

/* Both: the best of several short windows on `n_threads` threads at once, thread
 * t on core first_core + t, or wherever the system likes when first_core is
 * negative. 0 when threads or memory are refused. */
double peak_gflops(uint32_t n_threads, int first_core);

/* a[i] = b[i] + s c[i]: GB/s of the three arrays of `bytes` bytes each, counted
 * once each as in STREAM. */
double peak_triad_gb(uint32_t n_threads, int first_core, size_t bytes);

#endif
