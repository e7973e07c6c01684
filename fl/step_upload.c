/* From encoded to reported. One path for an update just made and for one that an
 * earlier process left: the bytes come from the store. */
#include "base/crypto.h"
#include "base/error.h"
#include "fl/participant_inside.h"
#include "fl/retry.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PUBLISH_EVERY_MS 100

struct sending {
    struct participant *p;
    struct bytes update; /* nothing in it when the results of an evaluation are sent */
    int64_t publish_ms;
};

static bool is_evaluation(const struct participant *p)
{
    return p->round.record.task.kind == CYGNET_TASK_EVALUATE;
}

static void count_up(uint64_t bytes, void *user)
{
    struct sending *sending = user;
    struct participant *p = sending->p;
    int64_t now = participant_mono_ms(p);

    p->round.report.bytes_up = bytes;
    if (now < sending->publish_ms)
        return;
    sending->publish_ms = now + PUBLISH_EVERY_MS;
    round_publish(&p->round);
}

static cygnet_status load_update(struct bytes *out, struct participant *p,
                                 cygnet_error *err)
{
    const struct round_record *record = &p->round.record;
    char hex[SHA256_HEX + 1];
    cygnet_status st = store_read(p->config.store, out, UPDATE_FILE, err);

    if (st == CYGNET_OK)
        st = sha256_hex(hex, out->data, out->len, err);
    if (st == CYGNET_ELIMIT || st == CYGNET_ENOTFOUND ||
        (st == CYGNET_OK && (out->len != record->update_bytes ||
                             memcmp(hex, record->update_sha256, sizeof(hex)) != 0)))
        st = fail(err, CYGNET_EFORMAT, 0,
                  "saved update \"%s\" is damaged: it is not the one that was encoded",
                  UPDATE_FILE);
    return st;
}

static cygnet_status send_update(cygnet_receipt *receipt, struct sending *sending,
                                 cygnet_error *err)
{
    struct participant *p = sending->p;
    cygnet_coordinator *c = p->config.coordinator;
    const cygnet_round_report metrics = participant_metrics(p, CYGNET_OUTCOME_NONE, "");
    const cygnet_upload what = {
        .struct_size = sizeof(what),
        .update = sending->update.data,
        .len = sending->update.len,
        .metrics = &metrics,
        .progress = count_up,
        .user = sending,
    };
    cygnet_status st = c->upload(c, receipt, &p->round.record.task, &what, &p->stop, err);

    if (st == CYGNET_OK)
        p->round.report.bytes_up = what.len;
    return st;
}

static cygnet_status send_results(cygnet_receipt *receipt, struct sending *sending,
                                  cygnet_error *err)
{
    struct participant *p = sending->p;
    cygnet_coordinator *c = p->config.coordinator;
    const cygnet_round_report results =
        participant_metrics(p, CYGNET_OUTCOME_EVALUATED, "");

    *receipt = CYGNET_RECEIPT_ACCEPTED;
    return c->report(c, &p->round.record.task, &results, &p->stop, err);
}

/* Sends until it is answered; the first try is made whatever the time. */
static cygnet_status send_contribution(cygnet_receipt *receipt, struct sending *sending,
                                       cygnet_error *err)
{
    struct participant *p = sending->p;
    uint32_t n_failures = 0;
    cygnet_status st;

    do {
        st = is_evaluation(p) ? send_results(receipt, sending, err)
                              : send_update(receipt, sending, err);
    } while (st != CYGNET_OK &&
             p->config.coordinator->delivery == CYGNET_DELIVERY_IDEMPOTENT &&
             participant_try_again(&st, p, ++n_failures, err));
    return st;
}

/* What a next check-in tells of this round. */
static void keep_last(struct round_record *record)
{
    record->last_round = record->task.round;
    record->last_examples = record->examples;
    record->last_utility = record->utility;
}

/* The update has been received: that is the outcome, whatever comes of the report. */
static cygnet_status close_round(struct participant *p, cygnet_outcome outcome,
                                 const char *reason, cygnet_error *err)
{
    cygnet_report *report = &p->round.report;
    cygnet_status st;

    report->outcome = outcome;
    (void)snprintf(report->message, sizeof(report->message), "%s", reason);
    if (outcome == CYGNET_OUTCOME_COMPLETED)
        keep_last(&p->round.record);
    st = round_enter(&p->round, CYGNET_PHASE_REPORTED, err);
    if (outcome != CYGNET_OUTCOME_EVALUATED) /* that was the report */
        (void)participant_report(p, outcome, reason);
    if (participant_become_idle(p, st == CYGNET_OK ? err : NULL) != CYGNET_OK &&
        st == CYGNET_OK)
        st = err->status;
    return st;
}

static cygnet_status take_receipt(struct participant *p, cygnet_receipt receipt,
                                  cygnet_error *err)
{
    switch (receipt) {
    case CYGNET_RECEIPT_ACCEPTED:
        return is_evaluation(p) ? close_round(p, CYGNET_OUTCOME_EVALUATED, "", err)
                                : close_round(p, CYGNET_OUTCOME_COMPLETED, p->early, err);
    case CYGNET_RECEIPT_TOO_LATE:
        return close_round(p, CYGNET_OUTCOME_TOO_LATE,
                           "the round closed without this update", err);
    case CYGNET_RECEIPT_REJECTED:
        break;
    }
    if (err->message[0] == '\0')
        return fail(err, CYGNET_EREFUSED, 0, "the coordinator rejected the update");
    err->status = CYGNET_EREFUSED;
    return CYGNET_EREFUSED;
}

/* Where nothing is sent twice, a call that failed has used up the one time, unless it
 * was refused for what it is before its first byte. */
static cygnet_status tell_unknown(struct participant *p, cygnet_status st,
                                  cygnet_error *err)
{
    if (p->config.coordinator->delivery != CYGNET_DELIVERY_AT_MOST_ONCE ||
        st == CYGNET_ECANCELLED ||
        (p->round.report.bytes_up == 0 && !retry_is_transient(st)))
        return st;
    return fail_within(err, st,
                       "whether it was received is not known, and it is not sent again");
}

static cygnet_status send(struct sending *sending, cygnet_error *err)
{
    struct participant *p = sending->p;
    cygnet_receipt receipt = CYGNET_RECEIPT_REJECTED;
    cygnet_status st = round_enter(&p->round, CYGNET_PHASE_UPLOADING, err);

    if (st != CYGNET_OK)
        return st;
    err->message[0] = '\0';
    st = send_contribution(&receipt, sending, err);
    return st == CYGNET_OK ? take_receipt(p, receipt, err) : tell_unknown(p, st, err);
}

cygnet_status step_upload(struct participant *p, cygnet_error *err)
{
    struct sending sending = {.p = p};
    cygnet_status st = participant_qualify(p, err);

    if (st != CYGNET_OK || p->round.report.outcome != CYGNET_OUTCOME_NONE)
        return st;
    bytes_init(&sending.update, (size_t)p->round.record.update_bytes, p->config.alloc);
    if (!is_evaluation(p))
        st = load_update(&sending.update, p, err);
    if (st == CYGNET_OK)
        st = send(&sending, err);
    bytes_clear(&sending.update);
    return st;
}
