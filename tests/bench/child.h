/* Other programs that a benchmark runs beside itself, and talks to in lines. */
#ifndef TESTS_BENCH_CHILD_H
#define TESTS_BENCH_CHILD_H

#include <cygnet/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

struct child {
    const char *name; /* for messages; borrowed */
    pid_t pid;        /* 0: none */
    FILE *to;
    FILE *from;
};

/* Starts argv, whose end is NULL, with pipes to its standard input and output; it dies
 * with us. argv[0] NULL: this program itself.
 * Errors: ENOMEM (errno in detail). */
cygnet_status child_start(struct child *child, const char *name, const char *const argv[],
                          cygnet_error *err);

/* The next line without its end. False: it has nothing more to say. */
bool child_line(struct child *child, char *line, size_t size);

/* Waits for the line that begins with `word`; dropped are those before it.
 * line  receives what follows the word and one blank
 * Errors: ESTATE (the child has ended; what it said instead stands in the message). */
cygnet_status child_expect(struct child *child, const char *word, char *line, size_t size,
                           cygnet_error *err);

/* Errors: ESTATE (the child has ended). */
cygnet_status child_tell_window(struct child *child, double from_ms, double until_ms,
                                cygnet_error *err);

/* Closes the pipes and waits; kills what does not end by that if `now`. Accepts a child
 * that was never started. Returns the exit status, -1 after a signal. */
int child_end(struct child *child, bool now);

/* The child's side of child_tell_window. False: there will be none. */
bool child_read_window(double *from_ms, double *until_ms);

#endif
