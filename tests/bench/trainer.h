/* Training through the Swan engine, as a round of the library does it. */
#ifndef TESTS_BENCH_TRAINER_H
#define TESTS_BENCH_TRAINER_H

#include "engine/swan/swan.h"
#include "tests/bench/record.h"
#include "tests/bench/workload.h"

enum { ANY_CORE = 65535, TRAINER_WARM_UP = 3 /* steps */ };

/* policy     "swan", "greedy", "fixed", "efficient"
 * root       what the engine reads of the system below
 * threads    most of them; 0: as many as there are cores
 * core       that the whole process stays on; ANY_CORE: none
 * is_normal  threads at the usual priority, not SCHED_IDLE
 * is_placed  threads are held on their cores
 * shared     NULL, or what is trained: on an executor that leads to this trainer's
 *            whenever it trains. Borrowed; workload names it all the same
 * wrap       NULL, or makes the executor that the workload is created on; not with a
 *            shared one */
struct trainer_options {
    struct workload_options workload;
    const char *policy;
    const char *root;
    uint32_t threads;
    uint32_t core;
    bool is_normal;
    bool is_placed;
    struct workload *shared;
    struct nn_executor *(*wrap)(struct nn_executor *inner, void *user);
    void *user;
};

/* own      trained unless a workload is shared
 * profile  what the engine has learnt in earlier trainings
 * record   steps of the present or last training
 * status   of the first step that failed; err says why */
struct trainer {
    const struct trainer_options *options;
    struct swan *swan;
    struct workload own;
    struct workload *workload;
    struct bytes profile;
    struct record record;
    cygnet_status status;
    cygnet_error *err;
};

/* Swan with all cores and placed threads, no model. */
void trainer_options_init(struct trainer_options *options);

/* Options and err are borrowed. After an error close it all the same.
 * Errors: EINVAL, ENOTFOUND (no such core), ENOMEM, as workload_init. */
cygnet_status trainer_open(struct trainer *t, const struct trainer_options *options,
                           cygnet_error *err);
void trainer_close(struct trainer *t);

/* A few steps outside of a training, on the calling thread. */
cygnet_status trainer_warm_up(struct trainer *t);

/* Begins a training with the profile of those before. */
cygnet_status trainer_begin(struct trainer *t);

/* One step, or a short sleep where training rests. steps_left 0: unknown. */
cygnet_status trainer_step(struct trainer *t, uint64_t steps_left);

/* Ends it and keeps the profile. */
cygnet_status trainer_end(struct trainer *t);

#endif
