/* What the clients' event lines tell of the rounds of a job whose coordinator tells
 * nothing. */
#ifndef FLEET_PROGRESS_H
#define FLEET_PROGRESS_H

#include "status.h"

#define PROGRESS_MAX_ROUNDS 100000u

struct progress;

/* Errors: ENOMEM. */
cygnet_status progress_create(struct progress **out, uint32_t n_clients,
                              cygnet_error *err);
void progress_destroy(struct progress *progress);

/* Takes in what has been added to a client's log; one that is not there yet holds
 * nothing. `now_s` is when. Errors: ENOMEM. */
cygnet_status progress_read(struct progress *progress, uint32_t client, const char *log,
                            double now_s, cygnet_error *err);

/* Rounds as the clients count them: one ends when a client begins the next or, with
 * `finished`, now. `out` is replaced. Errors: ENOMEM. */
cygnet_status progress_status(struct status *out, const struct progress *progress,
                              bool finished, cygnet_error *err);

#endif
