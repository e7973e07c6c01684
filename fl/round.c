/* States of a round on the device, and the one way from each to the next. */
#include "fl/round.h"

#include "base/error.h"

#include <math.h>
#include <string.h>

#define BIT(phase) (1u << CYGNET_PHASE_##phase)

/* Where a round that holds a task can end: told to the coordinator, dropped, or put
 * off. */
#define ENDS (BIT(REPORTED) | BIT(IDLE) | BIT(INTERRUPTED))

/* next     the states that may be entered from here
 * durable  written to the store on entry; the others tell a restart nothing new
 * retreat  entered even if that fails */
static const struct row {
    unsigned next;
    bool durable;
    bool retreat;
} table[ROUND_N_STATES] = {
    [CYGNET_PHASE_IDLE] = {BIT(ELIGIBLE), true, true},
    [CYGNET_PHASE_ELIGIBLE] = {BIT(CHECKED_IN) | BIT(IDLE), false, false},
    [CYGNET_PHASE_CHECKED_IN] = {BIT(ASSIGNED) | BIT(REPORTED) | BIT(IDLE), false, false},
    [CYGNET_PHASE_ASSIGNED] = {BIT(FETCHED) | ENDS, true, false},
    [CYGNET_PHASE_FETCHED] = {BIT(TRAINING) | ENDS, false, false},
    [CYGNET_PHASE_TRAINING] = {BIT(TRAINED) | ENDS, true, false},
    [CYGNET_PHASE_TRAINED] = {BIT(ENCODED) | ENDS, false, false},
    [CYGNET_PHASE_ENCODED] = {BIT(UPLOADING) | ENDS, true, false},
    [CYGNET_PHASE_UPLOADING] = {ENDS, true, false},
    [CYGNET_PHASE_REPORTED] = {BIT(IDLE), true, true},
    [CYGNET_PHASE_INTERRUPTED] = {BIT(ASSIGNED) | BIT(ENCODED) | BIT(REPORTED) |
                                      BIT(IDLE),
                                  true, true},
};

bool round_allows(cygnet_phase from, cygnet_phase to)
{
    return (unsigned)from < ROUND_N_STATES && (unsigned)to < ROUND_N_STATES &&
           (table[from].next & (1u << to)) != 0;
}

/* What the record becomes in the new state. */
static void move(struct round_record *record, cygnet_phase to)
{
    struct round_record kept = {.generation = record->generation};

    if (to == CYGNET_PHASE_IDLE) {
        memcpy(kept.client_id, record->client_id, sizeof(kept.client_id));
        kept.next_check_in_ms = record->next_check_in_ms;
        kept.samples_per_s = record->samples_per_s;
        kept.last_round = record->last_round;
        kept.last_examples = record->last_examples;
        kept.last_utility = record->last_utility;
        *record = kept;
    }
    record->interrupted =
        to == CYGNET_PHASE_INTERRUPTED ? record->state : (uint32_t)CYGNET_PHASE_IDLE;
    record->state = (uint32_t)to;
}

cygnet_status round_enter(struct round *round, cygnet_phase to, cygnet_error *err)
{
    cygnet_phase from = (cygnet_phase)round->record.state;
    struct round_record before = round->record;
    cygnet_status st = CYGNET_OK;

    if (!round_allows(from, to))
        return fail(err, CYGNET_ESTATE, (int32_t)to,
                    "round: state %d cannot follow state %d", (int)to, (int)from);
    move(&round->record, to);
    if (table[to].durable)
        st = journal_save(&round->record, round->store, round->alloc, err);
    if (st != CYGNET_OK && !table[to].retreat) {
        round->record = before;
        return st;
    }
    round_publish(round);
    return st;
}

void round_publish(struct round *round)
{
    round->report.phase = (cygnet_phase)round->record.state;
    if (round->host->event)
        round->host->event(&round->report, round->host->user);
}

cygnet_phase round_reached(const struct round *round)
{
    if (round->record.state == CYGNET_PHASE_INTERRUPTED)
        return (cygnet_phase)round->record.interrupted;
    return (cygnet_phase)round->record.state;
}

bool round_has_task(const struct round *round)
{
    return round->record.task.token[0] != '\0';
}

void round_clear_report(cygnet_report *report)
{
    memset(report, 0, sizeof(*report));
    report->struct_size = sizeof(*report);
    report->loss_first = (double)NAN;
    report->loss_last = (double)NAN;
    report->accuracy = (double)NAN;
}
