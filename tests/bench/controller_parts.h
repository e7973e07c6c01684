/* What the files of the controller command share. Each part measures one thing, prints
 * a line or a small table, and writes JSON rows with a "measure". */
#ifndef TESTS_BENCH_CONTROLLER_PARTS_H
#define TESTS_BENCH_CONTROLLER_PARTS_H

#include "base/json.h"
#include "tests/bench/scenario.h"
#include "tests/bench/workload.h"

/* input, n_input_dims and model are in the workload too; the texts are for children
 * has_model  the user has named one
 * is_normal  overhead at the usual priority, where others on the machine would starve
 *            training at SCHED_IDLE
 * loads      that are to count, of at most so many attempts; one waits patience_s for
 *            quiet before it is left out
 * core       that is taken away or gets busy
 * file       for rows; NULL: none
 * speaks     tables go to standard output */
struct controller_options {
    struct workload_options workload;
    struct scenario_work work;
    bool has_model;
    uint32_t pairs;
    double seconds;
    bool is_normal;
    uint32_t revocations;
    uint32_t loads;
    uint32_t attempts;
    double load_s;
    double patience_s;
    uint32_t steps;
    uint32_t core;
    const char *set;
    const char *json;
    FILE *file;
    bool speaks;
};

/* Swan with nothing else running against the best fixed choice. */
cygnet_status controller_overhead(const struct controller_options *o, cygnet_error *err);

/* From a revocation in the middle of a step until nobody is on the core. */
cygnet_status controller_vacate(const struct controller_options *o, cygnet_error *err);

/* The longest blocks of models. */
cygnet_status controller_blocks(const struct controller_options *o, cygnet_error *err);

/* From a load on a core to the diagnosis and the decision; and back when it has gone. */
cygnet_status controller_react(const struct controller_options *o, cygnet_error *err);

/* A row that begins with "measure" and what is trained. */
struct json_builder *controller_row(const struct controller_options *o,
                                    const char *measure);

/* Median, 95th and 99th percentile and the largest, as NAME_p50 and so on. Sorts. */
void controller_put_times(struct json_builder *b, const char *name, double *ms, size_t n);

/* Finishes the row; without a file it is dropped. */
cygnet_status controller_write(const struct controller_options *o, struct json_builder *b,
                               cygnet_error *err);

/* "name: median 1.23, 95 % 2.34, longest 3.45 ms (n)". */
void controller_say_times(const struct controller_options *o, const char *name,
                          double *ms, size_t n);

#endif
