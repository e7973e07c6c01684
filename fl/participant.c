/* The driver: what a run does, and what is left when it ends however it ends. */
#include "fl/participant.h"

#include "base/alloc.h"
#include "base/crypto.h"
#include "base/error.h"
#include "base/sized.h"
#include "fl/participant_inside.h"
#include "fl/retry.h"

#include <stdio.h>
#include <string.h>

#define LOOK_AT_DEVICE_MS INT64_C(60000)  /* between runs, when it did not qualify */
#define WINDOW_MAX_MS INT64_C(2592000000) /* 30 days: no window is longer */

/* ---- Identity and life ----------------------------------------------------- */

static cygnet_status draw_identity(struct round_record *record, uint64_t seed,
                                   cygnet_error *err)
{
    uint8_t id[CLIENT_ID_HEX / 2];
    cygnet_status st = CYGNET_OK;
    struct rng rng;

    if (seed == 0)
        st = random_bytes(id, sizeof(id), err);
    rng_init(&rng, seed, "client id", record->generation);
    for (size_t i = 0; seed != 0 && i < sizeof(id); i += 8)
        store_u64le(id + i, rng_u64(&rng));
    if (st != CYGNET_OK)
        return st;
    hex_encode(record->client_id, id, sizeof(id));
    record->generation++;
    return CYGNET_OK;
}

static cygnet_status seed_rng(struct participant *p, cygnet_error *err)
{
    uint64_t seed = p->config.seed;
    cygnet_status st = CYGNET_OK;

    if (seed == 0)
        st = random_bytes(&seed, sizeof(seed), err);
    rng_init(&p->rng, seed, "participant", 0);
    return st;
}

/* The clocks went on while no process ran; the longest time that either tells of
 * counts, so that a reboot or a changed wall clock never lengthens a round. */
static void resume_clocks(struct participant *p)
{
    const struct round_record *record = &p->round.record;
    int64_t mono = participant_mono_ms(p);
    int64_t wall = participant_wall_ms(p);
    int64_t elapsed = mono - record->assigned_mono_ms;
    int64_t away = record->next_check_in_ms > 0 ? record->next_check_in_ms - wall : 0;

    if (wall - record->assigned_wall_ms > elapsed)
        elapsed = wall - record->assigned_wall_ms;
    if (elapsed < 0)
        elapsed = 0;
    p->deadline_ms = mono + (int64_t)record->task.deadline_s * 1000 - elapsed;
    p->next_ms = away > 0 && away <= WINDOW_MAX_MS ? mono + away : mono;
}

/* A process that ended in the middle of a round was interrupted there. */
static void resume_state(struct round_record *record)
{
    if (record->state == CYGNET_PHASE_IDLE || record->state == CYGNET_PHASE_REPORTED ||
        record->state == CYGNET_PHASE_INTERRUPTED)
        return;
    record->interrupted = record->state;
    record->state = CYGNET_PHASE_INTERRUPTED;
}

static cygnet_status load(struct participant *p, cygnet_error *err)
{
    struct round *round = &p->round;
    cygnet_status st = journal_load(&round->record, round->store, round->alloc, err);

    if (st == CYGNET_ENOTFOUND) {
        st = draw_identity(&round->record, p->config.seed, err);
        if (st == CYGNET_OK)
            st = journal_save(&round->record, round->store, round->alloc, err);
    }
    if (st != CYGNET_OK)
        return st;
    resume_state(&round->record);
    resume_clocks(p);
    return CYGNET_OK;
}

static cygnet_status check_config(const struct participant_config *config,
                                  cygnet_error *err)
{
    const cygnet_host *host = config->host;

    if (!host->data_open || !host->data_read || !host->data_close || !host->device_state)
        return fail(err, CYGNET_EINVAL, 0,
                    "host: data_open, data_read, data_close and device_state are needed");
    return CYGNET_OK;
}

cygnet_status participant_create(struct participant **out,
                                 const struct participant_config *config,
                                 cygnet_error *err)
{
    struct participant *p;
    cygnet_status st = check_config(config, err);

    *out = NULL;
    if (st != CYGNET_OK)
        return st;
    p = mem_calloc(config->alloc, 1, sizeof(*p));
    if (!p)
        return fail(err, CYGNET_ENOMEM, 0, "no memory for a participant");
    p->config = *config;
    p->round.store = config->store;
    p->round.host = config->host;
    p->round.alloc = config->alloc;
    round_clear_report(&p->round.report);
    st = seed_rng(p, err);
    if (st == CYGNET_OK)
        st = load(p, err);
    if (st == CYGNET_OK)
        *out = p;
    else
        participant_destroy(p);
    return st;
}

void participant_destroy(struct participant *p)
{
    if (p)
        mem_free(p->config.alloc, p);
}

const char *participant_client_id(const struct participant *p)
{
    return p->round.record.client_id;
}

cygnet_status participant_reset_identity(struct participant *p, cygnet_error *err)
{
    struct round_record fresh = {.generation = p->round.record.generation};
    cygnet_status st = draw_identity(&fresh, p->config.seed, err);

    if (st == CYGNET_OK)
        st = store_remove(p->config.store, UPDATE_FILE, err);
    if (st == CYGNET_OK)
        st = journal_save(&fresh, p->config.store, p->config.alloc, err);
    if (st != CYGNET_OK)
        return st;
    p->round.record = fresh;
    p->next_ms = participant_mono_ms(p);
    p->n_failures = 0;
    round_clear_report(&p->round.report);
    return CYGNET_OK;
}

/* ---- What an earlier run left ---------------------------------------------- */

static void restore_report(struct participant *p)
{
    const struct round_record *record = &p->round.record;
    cygnet_report *report = &p->round.report;

    round_clear_report(report);
    if (!round_has_task(&p->round))
        return;
    report->round = record->task.round;
    report->bytes_down = record->bytes_down;
    if (round_reached(&p->round) < CYGNET_PHASE_TRAINED)
        return;
    report->step = report->n_steps = record->steps;
    report->examples = record->examples;
    report->loss_first = record->loss_first;
    report->loss_last = record->loss_last;
    report->accuracy = record->accuracy;
    report->train_ms = record->train_ms;
}

/* Goes on in `state`, or stays in it when this process was there already. */
static cygnet_status go_on_from(struct participant *p, cygnet_phase state,
                                cygnet_error *err)
{
    if (p->round.record.state == (uint32_t)state)
        return CYGNET_OK;
    return round_enter(&p->round, state, err);
}

static cygnet_status drop(struct participant *p, cygnet_outcome outcome,
                          const char *reason)
{
    participant_give_up(p, outcome, reason);
    round_clear_report(&p->round.report);
    return CYGNET_OK;
}

/* Afterwards the state is idle, assigned or encoded. */
static cygnet_status recover(struct participant *p, cygnet_error *err)
{
    restore_report(p);
    switch (round_reached(&p->round)) {
    case CYGNET_PHASE_ASSIGNED:
    case CYGNET_PHASE_FETCHED:
        if (participant_mono_ms(p) >= p->deadline_ms)
            return drop(p, CYGNET_OUTCOME_ABORTED, "the deadline passed before training");
        return go_on_from(p, CYGNET_PHASE_ASSIGNED, err);
    case CYGNET_PHASE_TRAINING:
    case CYGNET_PHASE_TRAINED:
        return drop(p, CYGNET_OUTCOME_INTERRUPTED,
                    p->round.record.task.kind == CYGNET_TASK_EVALUATE
                        ? "the client was stopped while it evaluated"
                        : "the client was stopped in training");
    case CYGNET_PHASE_UPLOADING:
        if (p->config.coordinator->delivery == CYGNET_DELIVERY_AT_MOST_ONCE)
            return drop(p, CYGNET_OUTCOME_INTERRUPTED,
                        "it may have been sent already; it is not sent again");
        return go_on_from(p, CYGNET_PHASE_ENCODED, err);
    case CYGNET_PHASE_ENCODED:
        return go_on_from(p, CYGNET_PHASE_ENCODED, err);
    default:
        return participant_become_idle(p, err);
    }
}

/* ---- How a run ends -------------------------------------------------------- */

/* What the coordinator may know of a failure: nothing about an example. */
static const char *public_reason(const cygnet_error *err)
{
    switch (err->status) {
    case CYGNET_EDATA:
        return "the training data is unusable";
    case CYGNET_ENUMERIC:
        return "NaN or infinity appeared in training";
    case CYGNET_EHOST:
        return "a host hook failed";
    default:
        return err->message;
    }
}

/* Cancelled: the task is put off, for the next run to decide. */
static void put_off(struct participant *p)
{
    p->round.report.outcome = CYGNET_OUTCOME_INTERRUPTED;
    if (!round_has_task(&p->round))
        (void)participant_become_idle(p, NULL);
    else if (p->round.record.state != CYGNET_PHASE_INTERRUPTED)
        (void)round_enter(&p->round, CYGNET_PHASE_INTERRUPTED, NULL);
}

static void fall(struct participant *p, const cygnet_error *err)
{
    cygnet_report *report = &p->round.report;
    cygnet_coordinator *c = p->config.coordinator;
    uint32_t wait_s =
        c->retry_after_s && retry_is_transient(err->status) ? c->retry_after_s(c) : 0;

    report->status = err->status;
    (void)snprintf(report->message, sizeof(report->message), "%s", err->message);
    if (err->status == CYGNET_ECANCELLED) {
        put_off(p);
        return;
    }
    if (report->outcome == CYGNET_OUTCOME_NONE)
        report->outcome = CYGNET_OUTCOME_FAILED;
    if (wait_s > 0)
        participant_keep_away(p, (int64_t)wait_s * 1000);
    if (round_has_task(&p->round))
        participant_give_up(p, CYGNET_OUTCOME_ABORTED, public_reason(err));
    else
        (void)participant_become_idle(p, NULL);
}

/* An outcome other than the coordinator's own word ends the task too. */
static void settle(struct participant *p)
{
    cygnet_report *report = &p->round.report;
    char reason[CYGNET_ERROR_MESSAGE_BYTES];

    if (report->outcome == CYGNET_OUTCOME_NONE)
        return;
    if (!round_has_task(&p->round)) {
        (void)participant_become_idle(p, NULL);
        return;
    }
    memcpy(reason, report->message, sizeof(reason));
    if (report->outcome == CYGNET_OUTCOME_INTERRUPTED)
        (void)round_enter(&p->round, CYGNET_PHASE_INTERRUPTED, NULL);
    participant_give_up(p, report->outcome, reason);
}

/* When another run makes sense: what the server asked for, or else the back-off. */
static void plan_next(struct participant *p)
{
    int64_t now = participant_mono_ms(p);
    int64_t delay_ms = 0;

    switch (p->round.report.outcome) {
    case CYGNET_OUTCOME_FAILED:
        delay_ms = retry_delay_ms(p->round.report.status, ++p->n_failures, 0, &p->rng);
        break;
    case CYGNET_OUTCOME_ABORTED:
    case CYGNET_OUTCOME_TOO_LATE:
        delay_ms = retry_delay_ms(CYGNET_ESERVER, ++p->n_failures, 0, &p->rng);
        break;
    case CYGNET_OUTCOME_NOT_ELIGIBLE:
    case CYGNET_OUTCOME_INTERRUPTED:
        delay_ms = LOOK_AT_DEVICE_MS;
        break;
    default:
        p->n_failures = 0;
    }
    p->again_ms = now + delay_ms > p->next_ms ? now + delay_ms : p->next_ms;
    p->round.report.next_check_in_ms =
        p->again_ms > now ? participant_wall_ms(p) + (p->again_ms - now) : 0;
}

static void give_report(cygnet_report *out, struct participant *p)
{
    p->round.report.phase = (cygnet_phase)p->round.record.state;
    sized_give(out, &p->round.report, sizeof(p->round.report));
}

/* ---- Runs ------------------------------------------------------------------ */

static bool undecided(const struct participant *p)
{
    return p->round.report.outcome == CYGNET_OUTCOME_NONE;
}

/* Up to a task in hand. */
static cygnet_status obtain(struct participant *p, cygnet_error *err)
{
    cygnet_status st;

    if (cygnet_stopped(p->config.stop))
        return fail(err, CYGNET_ECANCELLED, 0, "cancelled before the run began");
    st = recover(p, err);
    if (st == CYGNET_OK && p->round.record.state == CYGNET_PHASE_IDLE)
        st = step_check_in(p, err);
    return st;
}

static cygnet_status take_part(struct participant *p, cygnet_error *err)
{
    cygnet_status st = obtain(p, err);

    if (st == CYGNET_OK && undecided(p) && p->round.record.state == CYGNET_PHASE_ASSIGNED)
        st = step_learn(p, err);
    if (st == CYGNET_OK && undecided(p))
        st = step_upload(p, err);
    return st;
}

/* Called wherever a run blocks, so that a notify is answered there as well. */
static int watch(void *user)
{
    struct participant *p = user;

    if (!undecided(p) || !cygnet_stopped(p->config.look_again))
        return 0;
    stop_clear(p->config.look_again);
    p->watch_status = participant_qualify(p, &p->watch_error);
    if (p->watch_status == CYGNET_OK && undecided(p))
        return 0;
    stop_set(&p->stop);
    return 1;
}

static void begin_watch(struct participant *p)
{
    stop_clear(&p->stop);
    p->stop.also = p->config.stop;
    p->stop.watch = watch;
    p->stop.user = p;
    p->stop.owner = pthread_self();
    p->watch_status = CYGNET_OK;
}

/* A call that was stopped because of the device has not been cancelled. */
static cygnet_status end_watch(struct participant *p, cygnet_status st, cygnet_error *err)
{
    bool tripped = atomic_load(&p->stop.word) != 0;

    p->stop.watch = NULL;
    stop_clear(&p->stop);
    if (!tripped || st != CYGNET_ECANCELLED || cygnet_stopped(p->config.stop))
        return st;
    if (p->watch_status != CYGNET_OK)
        *err = p->watch_error;
    return p->watch_status;
}

static cygnet_status run(struct participant *p,
                         cygnet_status (*work)(struct participant *, cygnet_error *),
                         cygnet_report *report, cygnet_error *err)
{
    cygnet_error own = {CYGNET_OK, 0, ""};
    cygnet_status st;

    round_clear_report(&p->round.report);
    begin_watch(p);
    st = end_watch(p, work(p, &own), &own);
    if (st != CYGNET_OK) {
        own.status = st;
        fall(p, &own);
        if (err)
            *err = own;
    } else {
        settle(p);
    }
    plan_next(p);
    give_report(report, p);
    return st;
}

cygnet_status participant_check_in(struct participant *p, cygnet_report *report,
                                   cygnet_error *err)
{
    return run(p, obtain, report, err);
}

cygnet_status participant_run_once(struct participant *p, cygnet_report *report,
                                   cygnet_error *err)
{
    return run(p, take_part, report, err);
}

/* Between two runs; notify ends a wait for the device, not one for the server. */
static cygnet_status rest(struct participant *p, cygnet_report *report, cygnet_error *err)
{
    cygnet_outcome outcome = p->round.report.outcome;

    participant_sleep(p, p->next_ms, false);
    participant_sleep(p, p->again_ms,
                      outcome == CYGNET_OUTCOME_NOT_ELIGIBLE ||
                          outcome == CYGNET_OUTCOME_INTERRUPTED);
    if (!cygnet_stopped(p->config.stop))
        return CYGNET_OK;
    p->round.report.status = CYGNET_ECANCELLED;
    give_report(report, p);
    return fail(err, CYGNET_ECANCELLED, 0, "cancelled between two rounds");
}

cygnet_status participant_run_until(struct participant *p, uint64_t max_rounds,
                                    cygnet_report *report, cygnet_error *err)
{
    uint64_t n_completed = 0;
    cygnet_status st;

    do {
        st = participant_run_once(p, report, err);
        n_completed += p->round.report.outcome == CYGNET_OUTCOME_COMPLETED;
        if ((st != CYGNET_OK && !retry_is_transient(st)) ||
            p->round.report.outcome == CYGNET_OUTCOME_FINISHED ||
            (max_rounds > 0 && n_completed >= max_rounds))
            return st;
        st = rest(p, report, err);
    } while (st == CYGNET_OK);
    return st;
}
