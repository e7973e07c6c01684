/* One core of like ones made slower than the others, for as long as it takes: by a load
 * at the usual priority that takes part of each 2 ms, beside which training at SCHED_IDLE
 * gets the rest; or by a quota: whichever training thread is on the core may run for part
 * of each 2 ms only (cgroup v1, the controller "cpu"). */
#ifndef TESTS_BENCH_SLOW_CORE_H
#define TESTS_BENCH_SLOW_CORE_H

#include "engine/nn/executor.h"
#include "tests/bench/child.h"

#include <stdatomic.h>
#include <stdint.h>

enum slow_kind { SLOW_NOT, SLOW_LOAD, SLOW_QUOTA, N_SLOW };

/* "none", "load", "quota". */
extern const char *const slow_names[N_SLOW];

enum { SLOW_PATH_BYTES = 512, SLOW_WHY_BYTES = 160 };

/* share     of the core that training gets
 * absent    why it cannot be made slow here; "" when it can
 * executor  what slow_core_wrap gives; its blocks move their thread into the group that
 *           has the quota, or out of it
 * inside, outside  the files that take threads; -1: not open */
struct slow_core {
    struct nn_executor executor; /* first: the executor is this */
    struct nn_executor *inner;
    nn_block block;
    void *arg;
    enum slow_kind kind;
    uint32_t cpu;
    double share;
    char absent[SLOW_WHY_BYTES];
    struct child load;
    char folder[SLOW_PATH_BYTES];
    int inside, outside;
    atomic_bool has_failed;
};

/* Makes the core slow from now on, or says in `absent` why not. Only one at a time.
 * Errors: as child.h (the load did not start). End it all the same. */
cygnet_status slow_core_begin(struct slow_core *slow, enum slow_kind kind, uint32_t cpu,
                              double share, cygnet_error *err);

/* EHOST: a thread could not be moved, so what was measured is not of a slow core. */
cygnet_status slow_core_check(const struct slow_core *slow, cygnet_error *err);

/* Whose threads have ended by then. */
void slow_core_end(struct slow_core *slow);

/* What trains on the slow core has to run on this executor. One at a time; its user is
 * the slow core. */
struct nn_executor *slow_core_wrap(struct nn_executor *inner, void *user);

#endif
