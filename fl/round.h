/* The round's state machine (docs/round.md). Its states are cygnet_phase: each says
 * what has happened. */
#ifndef FL_ROUND_H
#define FL_ROUND_H

#include "fl/journal.h"

#include <stdbool.h>

#define ROUND_N_STATES (CYGNET_PHASE_INTERRUPTED + 1)

/* record  what is persisted; record.state is changed by round_enter only
 * report  what is published; the steps fill its counters */
struct round {
    struct round_record record;
    cygnet_report report;
    struct store *store;
    const cygnet_host *host;
    const cygnet_allocator *alloc;
};

/* The transition table. */
bool round_allows(cygnet_phase from, cygnet_phase to);

/* The only place that changes the state: validates, persists where a restart has to
 * know, publishes. Entering `interrupted` remembers the state before it; entering
 * `idle` forgets the task.
 * Errors: ESTATE (not in the table), ESTORAGE, ENOSPC, ENOMEM. After ESTATE nothing
 * has changed. When the record could not be written, steps forward do not happen,
 * but reported, idle and interrupted are entered all the same, for they say what
 * has happened already; the record on disk is then the older one. */
cygnet_status round_enter(struct round *round, cygnet_phase to, cygnet_error *err);

/* Hands the report to the host's event hook. */
void round_publish(struct round *round);

/* The state that a restart or an interruption has to go on from. */
cygnet_phase round_reached(const struct round *round);

bool round_has_task(const struct round *round);

/* A report of nothing. */
void round_clear_report(cygnet_report *report);

#endif
