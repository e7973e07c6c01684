/* A coordinator without a server: rounds in a directory of their own, a clock that
 * moves when told, updates of a two-weight model. */
#ifndef TESTS_COORDINATOR_BENCH_H
#define TESTS_COORDINATOR_BENCH_H

#include "examples/coordinator/rounds.h"

#define BENCH_WEIGHTS 2
#define BENCH_LEASE_MS 10000
#define BENCH_GRACE_MS 5000
#define BENCH_DEADLINE_MS 60000

struct bench {
    struct options options;
    struct clock clock;
    int64_t now_ms;
    struct files files;
    struct tools tools;
    struct rounds *r;
    char folder[64];
};

/* Two participants of two clients, over-commitment 1, ten rounds. Change
 * b->options, then bench_start. */
void bench_init(struct bench *b);
void bench_start(struct bench *b);
void bench_restart(struct bench *b); /* as after a kill */
void bench_clear(struct bench *b);

void bench_pass(struct bench *b, int64_t ms); /* time, then a tick */
cygnet_status bench_try_tick(struct bench *b);

/* What client `n` is told; its seat, when it has the task. */
enum answer bench_check_in(struct bench *b, struct seat *seat, int n);

/* Client n has the task; the test fails when it has not. */
struct seat bench_task(struct bench *b, int n);

/* The verdict; GO: the update was counted (all deltas are `delta`). */
enum verdict bench_update(struct bench *b, const struct seat *seat, float delta,
                          uint64_t examples);

/* What the loop does with a CLOSING round. */
void bench_close(struct bench *b, double accuracy);

float bench_weight(const struct bench *b); /* the first of the global weights */

#endif
