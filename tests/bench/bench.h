/* The commands of cygnet-bench. Each returns the program's exit status: 0 done, 1 an
 * error, 2 a bad command line. step and peak print JSON, one object a line. */
#ifndef TESTS_BENCH_BENCH_H
#define TESTS_BENCH_BENCH_H

#include "base/json.h"

#include <stdio.h>

enum { BENCH_DONE, BENCH_FAILED, BENCH_USAGE };

/* argv[0] is the command's name. */
int bench_step(int argc, char **argv);
int bench_peak(int argc, char **argv);
int bench_grad(int argc, char **argv);
int bench_explore(int argc, char **argv);
int bench_interference(int argc, char **argv);
int bench_controller(int argc, char **argv);
int bench_asymmetry(int argc, char **argv);

/* What the benchmarks run beside themselves (child.h). */
int bench_foreground(int argc, char **argv);
int bench_load(int argc, char **argv);
int bench_trainer(int argc, char **argv);

/* One line on standard error: "cygnet-bench: message". Returns `status`. */
int bench_complain(int status, const cygnet_error *err);

/* "-" is standard output, anything else a file to replace. NULL: err says why. */
FILE *bench_open(const char *path, cygnet_error *err);

/* Ends what bench_open began. */
cygnet_status bench_close(FILE *file, cygnet_error *err);

/* Writes the finished object and a newline; consumes the builder. */
cygnet_status bench_write(FILE *file, struct json_builder *row, cygnet_error *err);

#endif
