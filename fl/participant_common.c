/* What the steps of a round share: waiting, the device's state, reports, ends. */
#include "fl/participant_inside.h"

#include "base/error.h"
#include "engine/swan/swan.h"
#include "fl/retry.h"

#include <stdio.h>
#include <string.h>

#define IDLE_WAIT_MS 1000
#define REPORT_TRIES 3
#define REPORT_WAIT_MAX_MS 2000

/* Of a wait's end the meter sees enough for a baseline; a device is not woken all
 * through a long wait for it. */
static int64_t idle_piece_ms(const struct participant *p, int64_t left_ms)
{
    const int64_t seen_ms = ENERGY_IDLE_MS + ENERGY_IDLE_LOOK_MS;

    if (!p->config.swan || !swan_has_meter(p->config.swan))
        return left_ms;
    if (left_ms > seen_ms)
        return left_ms - seen_ms;
    (void)swan_idle(p->config.swan);
    return left_ms < ENERGY_IDLE_LOOK_MS ? left_ms : ENERGY_IDLE_LOOK_MS;
}

void participant_sleep(struct participant *p, int64_t until_ms, bool wakes)
{
    const struct participant_config *config = &p->config;
    int64_t left_ms;

    while ((left_ms = until_ms - participant_mono_ms(p)) > 0 &&
           !cygnet_stopped(&p->stop)) {
        if (cygnet_stopped(config->look_again)) {
            stop_clear(config->look_again);
            if (wakes)
                return;
        }
        config->clock->wait_ms(idle_piece_ms(p, left_ms), &p->stop, config->clock->user);
    }
}

void participant_measure_idle(struct participant *p, int64_t finish_by_ms)
{
    const struct participant_config *config = &p->config;
    int64_t until_ms = participant_mono_ms(p) + ENERGY_IDLE_MS;

    if (until_ms > finish_by_ms)
        return;
    while (config->swan && swan_idle(config->swan) && participant_mono_ms(p) < until_ms &&
           !cygnet_stopped(&p->stop))
        config->clock->wait_ms(IDLE_WAIT_MS, &p->stop, config->clock->user);
}

void participant_keep_away(struct participant *p, int64_t delay_ms)
{
    p->next_ms = participant_mono_ms(p) + delay_ms;
    p->round.record.next_check_in_ms = participant_wall_ms(p) + delay_ms;
}

cygnet_status participant_look(cygnet_device_state *out, const struct participant *p,
                               cygnet_error *err)
{
    int code;

    memset(out, 0, sizeof(*out));
    out->struct_size = sizeof(*out);
    out->battery_percent = -1;
    out->thermal = -1;
    code = p->config.host->device_state(out, p->config.host->user);
    if (code != 0)
        return fail(err, CYGNET_EHOST, code, "device_state failed: %d", code);
    if (p->config.swan)
        swan_set_heat(p->config.swan, out->thermal);
    return CYGNET_OK;
}

cygnet_status participant_qualify(struct participant *p, cygnet_error *err)
{
    const cygnet_task *task = &p->round.record.task;
    cygnet_report *report = &p->round.report;
    const struct eligibility_rule asked = {task->charging, task->idle, task->unmetered,
                                           task->min_battery_percent};
    struct eligibility_rule rule = p->config.rule;
    char why[SUPPLY_WHY_BYTES];
    cygnet_device_state device;
    cygnet_status st = participant_look(&device, p, err);

    if (st != CYGNET_OK)
        return st;
    if (round_has_task(&p->round))
        rule = eligibility_combine(&rule, &asked);
    supply_see(p->config.supply, &device);
    if (supply_lends(p->config.supply))
        rule.charging = CYGNET_IGNORED;
    /* A round that has a task goes on: what it borrows itself is bounded by the loan. */
    if (eligibility_holds(why, &rule, &device) &&
        (round_has_task(&p->round) || supply_allows(why, p->config.supply)))
        return CYGNET_OK;
    report->outcome = round_has_task(&p->round) ? CYGNET_OUTCOME_INTERRUPTED
                                                : CYGNET_OUTCOME_NOT_ELIGIBLE;
    (void)snprintf(report->message, sizeof(report->message), "%s", why);
    return CYGNET_OK;
}

static uint32_t retry_after_s(const struct participant *p)
{
    cygnet_coordinator *c = p->config.coordinator;

    return c->retry_after_s ? c->retry_after_s(c) : 0;
}

bool participant_try_again(cygnet_status *st, struct participant *p, uint32_t n_failures,
                           cygnet_error *err)
{
    int64_t until_ms;

    if (!retry_is_transient(*st))
        return false;
    until_ms = participant_mono_ms(p) +
               retry_delay_ms(*st, n_failures, retry_after_s(p), &p->rng);
    if (until_ms >= p->deadline_ms)
        return false;
    participant_sleep(p, until_ms, false);
    if (!cygnet_stopped(&p->stop))
        return true;
    *st = fail(err, CYGNET_ECANCELLED, 0, "cancelled while waiting to try again");
    return false;
}

cygnet_round_report participant_metrics(const struct participant *p,
                                        cygnet_outcome outcome, const char *reason)
{
    const struct round_record *record = &p->round.record;

    return (cygnet_round_report){
        .struct_size = sizeof(cygnet_round_report),
        .outcome = outcome,
        .reason = reason,
        .examples = record->examples,
        .steps = record->steps,
        .loss_first = p->round.report.loss_first,
        .loss_last = p->round.report.loss_last,
        .accuracy = p->round.report.accuracy,
        .utility = record->utility,
        .train_ms = record->train_ms,
        .bytes_up = p->round.report.bytes_up,
        .bytes_down = record->bytes_down,
        .loss_sum = record->loss_sum,
        .top_1 = record->top_1,
        .top_5 = record->top_5,
        .moving_loss = record->moving_loss,
        .last_loss_squared = record->last_loss_squared,
        .unique_examples = record->unique_examples,
    };
}

static cygnet_status send_report(struct participant *p, cygnet_outcome outcome,
                                 const char *reason)
{
    const cygnet_round_report report = participant_metrics(p, outcome, reason);
    cygnet_coordinator *c = p->config.coordinator;

    return c->report(c, &p->round.record.task, &report, p->config.stop, NULL);
}

bool participant_report(struct participant *p, cygnet_outcome outcome, const char *reason)
{
    for (uint32_t n = 1; p->config.coordinator->report && n <= REPORT_TRIES; n++) {
        cygnet_status st = send_report(p, outcome, reason);
        int64_t delay_ms;

        if (st == CYGNET_OK)
            return true;
        if (!retry_is_transient(st) || n == REPORT_TRIES)
            return false;
        delay_ms = retry_delay_ms(st, n, 0, &p->rng);
        if (delay_ms > REPORT_WAIT_MAX_MS)
            delay_ms = REPORT_WAIT_MAX_MS;
        participant_sleep(p, participant_mono_ms(p) + delay_ms, false);
    }
    return false;
}

void participant_give_up(struct participant *p, cygnet_outcome outcome,
                         const char *reason)
{
    if (participant_report(p, outcome, reason))
        (void)round_enter(&p->round, CYGNET_PHASE_REPORTED, NULL);
    (void)participant_become_idle(p, NULL);
}

cygnet_status participant_become_idle(struct participant *p, cygnet_error *err)
{
    bool had_task = round_has_task(&p->round);
    cygnet_status st = CYGNET_OK;

    if (p->round.record.state != CYGNET_PHASE_IDLE)
        st = round_enter(&p->round, CYGNET_PHASE_IDLE, err);
    if (had_task && st == CYGNET_OK) /* else the record on disk still speaks of it */
        (void)store_remove(p->config.store, UPDATE_FILE, NULL);
    return st;
}
