/* The threads a client trains with: an executor from the client's creation on, whose
 * threads start with the first run, since creating a client starts none. */
#ifndef SDK_TEAM_H
#define SDK_TEAM_H

#include "engine/nn/executor.h"

#include <cygnet/alloc.h>
#include <cygnet/status.h>
#include <stdint.h>

struct pool;

/* executor  first: what fl/ is given; valid while the team is */
struct team {
    struct nn_executor executor;
    struct pool *pool;
    const cygnet_allocator *alloc;
};

/* Cannot fail. The team must stay where it is. */
void team_init(struct team *team, uint32_t n_threads, const cygnet_allocator *alloc);

/* Starts the threads, if more than the caller's is wanted and they do not run yet.
 * Errors: ENOMEM. */
cygnet_status team_start(struct team *team, cygnet_error *err);

/* Ends the threads. Accepts a zeroed team. */
void team_clear(struct team *team);

#endif
