/* The participants of the open round, in the order in which they were asked. */
#ifndef COORDINATOR_SEATS_H
#define COORDINATOR_SEATS_H

#include "rounds.h"

/* Borrowed until the next round_add_seat; NULL when there is none. */
struct seat *seat_of_client(const struct round *round, const char *id);
struct seat *seat_of_token(const struct round *round, const char *token);

/* Invited, at work or done: nobody else may have it. */
bool seat_is_taken(const struct seat *seat);

/* Somebody who has gone silent, and whose seat nobody could take. */
bool has_overdue_seat(const struct round *round);

/* Somebody from whom an update may still be hoped for in time. */
bool has_active_seat(const struct round *round);

/* Errors: ENOMEM. */
cygnet_status round_add_seat(struct round *round, const struct seat *seat,
                             cygnet_error *err);

#endif
