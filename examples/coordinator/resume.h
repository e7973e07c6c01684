/* What rounds.c and resume.c share: the state between two rounds, and the state
 * that an earlier process left. */
#ifndef COORDINATOR_RESUME_H
#define COORDINATOR_RESUME_H

#include "rounds.h"

/* Sets the deadline anew: time in which no coordinator ran does not count. */
void round_start_clock(struct rounds *r);

/* Forgets the last round's seats, sum and files; WAITING for the given attempt,
 * or FINISHED. */
void round_prepare(struct rounds *r, uint64_t round, uint64_t attempt);

cygnet_status history_add(struct rounds *r, const struct round_row *row,
                          cygnet_error *err);

#endif
