/* Who trains beside the foreground: the scenarios of interference and controller, by
 * name.
 *
 *   alone         nobody
 *   pytorch       PyTorch on all cores; pytorch-idle: at SCHED_IDLE
 *   greedy        the library on all cores; greedy-idle: at SCHED_IDLE
 *   fixed-T       T threads at SCHED_IDLE, wherever the system puts them;
 *                 fixed-T-placed: held on cores, the most capable first;
 *                 fixed-T-core-C: all on core C
 *   swan          the Swan engine as it is by default */
#ifndef TESTS_BENCH_SCENARIO_H
#define TESTS_BENCH_SCENARIO_H

#include "tests/bench/record.h"

enum { SCENARIO_NAME_BYTES = 32, SCENARIO_MAX = 24, SCENARIO_WORD_BYTES = 160 };

/* What all of them train, as texts for the command line; borrowed. */
struct scenario_work {
    const char *model;
    const char *input;
    char batch[16];
    const char *python;
    const char *program; /* pytorch_trainer.py */
};

/* engine  "cygnet", "pytorch 2.13.0"; "" for nobody
 * absent  why it is not there; "" when it is */
struct scenario {
    char name[SCENARIO_NAME_BYTES];
    struct child child;
    char engine[SCENARIO_WORD_BYTES];
    char absent[SCENARIO_WORD_BYTES];
};

/* Names of a list with commas; NULL: all, with fixed choices of one thread and of as
 * many as there are cores, in all ways of holding them.
 * Errors: EINVAL (unknown, twice, too many). */
cygnet_status scenario_parse(struct scenario out[SCENARIO_MAX], size_t *n,
                             const char *list, cygnet_error *err);

bool scenario_is_alone(const struct scenario *scenario);
bool scenario_is_fixed(const struct scenario *scenario);

/* Starts the trainer and waits until it is ready; a PyTorch that is not installed is
 * `absent`. Errors: as child_start and child_expect. */
cygnet_status scenario_start(struct scenario *scenario, const struct scenario_work *work,
                             cygnet_error *err);

/* Ends the trainers. */
void scenario_end(struct scenario *scenarios, size_t n);

/* One window: the trainer's steps, and the foreground's frames where there is one. A
 * lead-in of lead_ms comes before it.
 * record      of its own for each window; cleared by the caller
 * foreground  NULL: none
 * Errors: as child.h and record.h. */
cygnet_status scenario_run(struct record *record, struct scenario *scenario,
                           struct child *foreground, double lead_ms, double window_ms,
                           cygnet_error *err);

#endif
