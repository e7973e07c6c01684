/* What a foreground and a trainer told of one window of time, and what can be said of
 * it. Times are milliseconds of the monotonic clock. */
#ifndef TESTS_BENCH_RECORD_H
#define TESTS_BENCH_RECORD_H

#include "tests/bench/child.h"

#include <stdint.h>

#define FRAME_MS (1000.0 / 60.0)

/* due_ms    when the frame was due
 * frame_ms  from then until it was done
 * wait_ms   of that (and since the frame before), ready to run while others had the
 *           core; below 0: the system does not say
 * cpu_ms    CPU time of its work
 * missed    times at which a frame should have been done and was not */
struct frame {
    double due_ms;
    double frame_ms;
    double wait_ms;
    double cpu_ms;
    uint32_t missed;
};

/* One training step: when it ended, how long it took, CPU time of the whole process by
 * then, and the threads of the choice it ended on (0: unknown). The first one of a window
 * took nothing: it says when training began. */
struct step_record {
    double end_ms;
    double step_ms;
    double cpu_s;
    uint32_t n_threads;
};

struct record {
    double from_ms, until_ms;
    struct frame *frames;
    size_t n_frames, max_frames;
    struct step_record *steps;
    size_t n_steps, max_steps;
    uint32_t batch;
    uint64_t n_switches;
    uint64_t n_explored;
};

void record_clear(struct record *record);

/* False: out of memory. */
bool record_add_frame(struct record *record, const struct frame *frame);
bool record_add_step(struct record *record, const struct step_record *step);

/* Reads what a foreground tells after its window ("frame ..." and "done"), and what a
 * trainer does ("step ..." and "done BATCH SWITCHES EXPLORED").
 * Errors: ESTATE (the child has ended), EFORMAT, ENOMEM. */
cygnet_status record_read_frames(struct record *record, struct child *child,
                                 cygnet_error *err);
cygnet_status record_read_steps(struct record *record, struct child *child,
                                cygnet_error *err);

/* Writes those lines: the other side. */
void record_tell_frames(const struct record *record);
void record_tell_steps(const struct record *record);

/* Samples trained between two moments, parts of steps included, and the CPU time that
 * the trainer took between them. */
double record_samples(const struct record *record, double from_ms, double until_ms);
double record_cpu_s(const struct record *record, double from_ms, double until_ms);

/* Milliseconds of the monotonic clock. */
double record_now_ms(void);
void record_sleep_until(double ms);

#endif
