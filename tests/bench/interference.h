/* What the files of the interference command share. */
#ifndef TESTS_BENCH_INTERFERENCE_H
#define TESTS_BENCH_INTERFERENCE_H

#include "tests/bench/scenario.h"

enum { MODE_MAX = 3, PAIRS_MAX = 1000 };

/* How the foreground runs.
 *
 * core         it stays on; NULL: wherever the system puts it
 * has_bursts   it pauses burst_s, then works burst_s, and so on */
struct mode {
    const char *name;
    const char *core;
    bool has_bursts;
};

struct interference_options {
    uint32_t pairs;
    struct scenario_work work;
    uint32_t batch;
    double seconds;
    double lead_s;
    double burst_s;
    double onset_s;
    const char *set;
    const char *foreground;
    const char *json;
    const char *plot;
};

/* A scenario's windows in one mode, each with the window alone beside it. */
struct pair {
    struct record alone;
    struct record beside;
};

struct runs {
    const struct interference_options *options;
    const struct mode *mode;
    const struct scenario *scenario;
    struct pair *pairs; /* (options->pairs) */
};

/* Onset: up to onset_s after the foreground comes or goes. Without bursts all is
 * steady. */
enum part { PART_STEADY, PART_ONSET };

/* What is known of one scenario in one mode and part. Times in ms; NaN: not known.
 *
 * samples_per_s     all the time; with bursts also while the foreground works and
 *                   while it pauses
 * of_best_fixed     samples_per_s over that of the best fixed choice beside the same
 *                   foreground, with its 95 % interval over the pairs; of_pytorch: over
 *                   that of PyTorch greedy
 * samples           (pairs) of each window */
struct figures {
    const struct scenario *scenario;
    const struct mode *mode;
    enum part part;
    uint32_t pairs;
    double window_s; /* of each */
    double wait_p50, wait_p99;
    double wait_p50_over_alone;
    double frame_p50, frame_p99;
    double alone_wait_p50, alone_frame_p99; /* of its own pairs */
    double ratio, low, high;
    double cpu_ms_per_frame;
    uint64_t n_frames, n_missed;
    uint64_t n_alone_frames, n_alone_missed;
    double samples_per_s, samples_per_s_on, samples_per_s_off;
    double of_best_fixed, best_low, best_high;
    double of_pytorch;
    double samples[PAIRS_MAX];
    double cpu_s_per_sample;
    uint64_t n_switches, n_explored;
};

/* How long a window is: in bursts at least one and the pauses around it. */
double interference_window_ms(const struct interference_options *options,
                              const struct mode *mode);

/* Which part of a window a moment is in, and whether the foreground works then. */
enum part interference_part(const struct interference_options *options,
                            const struct mode *mode, double since_from_ms);
bool interference_is_on(const struct interference_options *options,
                        const struct mode *mode, double since_from_ms);

/* Of "alone" the windows alone of every scenario count.
 * runs  (n_runs) of all scenarios in this mode
 * Errors: ENOMEM. */
cygnet_status interference_figures(struct figures *out, const struct runs *runs,
                                   size_t n_runs, size_t which, enum part part,
                                   cygnet_error *err);

/* Fills what compares with the others of the same mode and part. Errors: ENOMEM. */
cygnet_status interference_compare(struct figures *figures, size_t n, cygnet_error *err);

/* One JSON object a row. Errors: ENOMEM, ESTORAGE. */
cygnet_status interference_write(FILE *file, const struct figures *figures, size_t n,
                                 const struct interference_options *options,
                                 cygnet_error *err);

/* A table for people on standard output. */
void interference_print(const struct figures *figures, size_t n, const struct mode *mode,
                        const struct interference_options *options);

/* Draws one window: step latency, threads in use and frame times over time. Errors:
 * ESTORAGE. */
cygnet_status interference_plot(const char *path, const struct record *record,
                                const struct interference_options *options,
                                cygnet_error *err);

#endif
