/* What goes back to the aggregator: new weights, test results, or, when this device
 * cannot do what it was asked for, weights as they came. The protocol has no way to
 * decline, and the aggregator waits for ever. */
#include "base/error.h"
#include "transport/fedscale_inside.h"

#include <math.h>
#include <string.h>

/* Weighs nothing in the aggregator's sums, and keeps it from dividing by zero should
 * nobody have tested. */
#define NO_TEST_LENGTH 1e-9

/* ---- Sending, once ------------------------------------------------------------ */

struct sending {
    cygnet_progress progress;
    void *user;
    const cygnet_stop *stop;
};

/* The event that comes back with the answer is no part of this round. */
static cygnet_status send(struct fedscale *f, struct grpc_outcome *outcome,
                          struct bytes *message, const struct sending *sending,
                          cygnet_error *err)
{
    const struct grpc_request request = {.method = FEDSCALE_COMPLETE,
                                         .message = message,
                                         .progress = sending->progress,
                                         .user = sending->user,
                                         .stop = sending->stop};
    cygnet_error event;
    cygnet_status st = fedscale_call(f, &request, outcome, &event, err);

    if (st == CYGNET_OK && event.status != CYGNET_OK)
        f->trouble = event;
    return st;
}

/* sent  whether a byte may have left, now or before */
static cygnet_status try_once(bool *sent, struct fedscale *f, struct bytes *message,
                              const struct sending *sending, cygnet_error *err)
{
    const struct fedscale_errand errand = f->errand;
    struct grpc_outcome outcome = {.sent = false};
    cygnet_status st = fedscale_spend_permit(f, errand.token, err);

    *sent = st != CYGNET_OK;
    if (st == CYGNET_OK || st == CYGNET_ESTATE) /* answered, for better or worse */
        f->errand.event = FEDSCALE_DUMMY;
    if (st != CYGNET_OK)
        return st;
    st = send(f, &outcome, message, sending, err);
    *sent = st == CYGNET_OK || outcome.sent;
    if (!*sent)
        fedscale_return_permit(f, &errand);
    return st;
}

/* The answer to the errand at hand. A connection that cannot be made now may be made
 * in a moment. */
static cygnet_status send_once(struct fedscale *f, struct bytes *message,
                               const struct sending *sending, cygnet_error *err)
{
    int64_t until_ms = fedscale_now_ms(f) + FEDSCALE_GONE_MS;
    bool sent;
    cygnet_status st = try_once(&sent, f, message, sending, err);

    while (st == CYGNET_ENETWORK && !sent && fedscale_now_ms(f) < until_ms) {
        st = fedscale_wait(f, fedscale_now_ms(f) + FEDSCALE_PAUSE_MS, sending->stop, err);
        if (st == CYGNET_OK)
            st = try_once(&sent, f, message, sending, err);
    }
    return st;
}

/* ---- Weights ------------------------------------------------------------------- */

static cygnet_status write_upload(struct bytes *message, const char *id,
                                  const struct fedscale_upload *what, cygnet_error *err)
{
    size_t mark = 0;
    cygnet_status st = fedscale_complete_begin(&mark, message, id, "upload_model", err);

    if (st == CYGNET_OK)
        st = fedscale_upload_write(message, what, err);
    if (st == CYGNET_OK)
        fedscale_complete_end(message, mark);
    return st;
}

static cygnet_status send_weights(struct fedscale *f, const struct fedscale_upload *what,
                                  const struct sending *sending, cygnet_error *err)
{
    struct bytes message;
    cygnet_status st = fedscale_begin(&message, f, err);

    if (st == CYGNET_OK)
        st = write_upload(&message, f->errand.id, what, err);
    if (st == CYGNET_OK)
        st = send_once(f, &message, sending, err);
    bytes_clear(&message);
    return st;
}

/* ---- Upload --------------------------------------------------------------------- */

/* The errand of a token, from disk after a restart. */
static cygnet_status recall(struct fedscale *f, const char *token, cygnet_error *err)
{
    cygnet_tensors *weights;
    cygnet_status st;

    if (strcmp(f->errand.token, token) == 0)
        return CYGNET_OK;
    st = fedscale_errand_weights(&weights, f, token, err);
    cygnet_tensors_destroy(weights);
    return st;
}

/* One that an earlier process left is answered to none but the aggregator that knows us:
 * another would take it for its own round's, and end. */
static cygnet_status ask_whether_due(struct fedscale *f, const char *token,
                                     const cygnet_stop *stop, cygnet_error *err)
{
    bool known;
    cygnet_status st;

    if (!f->stale)
        return CYGNET_OK;
    st = fedscale_is_due(f, token, err);
    if (st == CYGNET_ESTATE)
        f->errand.event = FEDSCALE_DUMMY;
    if (st == CYGNET_OK)
        st = fedscale_ping(f, &known, stop, err);
    if (st == CYGNET_OK && strcmp(f->errand.token, token) != 0)
        st = fail(err, CYGNET_ESTATE, 0,
                  "the aggregator no longer waits for the answer to this task");
    return st;
}

/* The aggregator takes the root of moving_loss, and means over utility. */
static double at_least_zero(double value)
{
    return isfinite(value) && value > 0.0 ? value : 0.0;
}

/* As the stock client counts: docs/fedscale.md. */
static struct fedscale_upload describe(struct fedscale *f, const cygnet_task *task,
                                       const cygnet_round_report *metrics)
{
    double loss_squared = at_least_zero(metrics->last_loss_squared);

    return (struct fedscale_upload){
        .who = &f->errand.meta,
        .layout = &f->config.layout,
        .moving_loss = at_least_zero(metrics->moving_loss),
        .utility = at_least_zero(sqrt(loss_squared) * (double)metrics->unique_examples),
        .trained_size = metrics->steps * task->batch,
        .success = task->steps == 0 || metrics->steps >= task->steps,
        .wall_s = (double)metrics->train_ms * 1e-3,
    };
}

cygnet_status fedscale_send_update(cygnet_coordinator *c, cygnet_receipt *receipt,
                                   const cygnet_task *task, const cygnet_upload *what,
                                   const cygnet_stop *stop, cygnet_error *err)
{
    struct fedscale *f = (struct fedscale *)c;
    struct fedscale_upload upload = describe(f, task, what->metrics);
    const struct sending sending = {what->progress, what->user, stop};
    cygnet_tensors *weights;
    cygnet_status st =
        cygnet_tensors_parse(&weights, what->update, what->len, f->config.max_model_bytes,
                             f->config.alloc, err);

    if (st != CYGNET_OK)
        return st;
    upload.weights = weights;
    st = recall(f, task->token, err);
    if (st == CYGNET_OK)
        st = ask_whether_due(f, task->token, stop, err);
    if (st == CYGNET_OK)
        st = send_weights(f, &upload, &sending, err);
    cygnet_tensors_destroy(weights);
    if (st == CYGNET_OK)
        *receipt = CYGNET_RECEIPT_ACCEPTED;
    return st;
}

/* ---- Report ----------------------------------------------------------------------- */

static cygnet_status write_results(struct bytes *message, const struct fedscale *f,
                                   const char *id, const struct fedscale_results *results,
                                   cygnet_error *err)
{
    struct bytes pickle;
    cygnet_status st;

    bytes_init(&pickle, FEDSCALE_ANSWER_EXTRA, f->config.alloc);
    st = fedscale_results_write(&pickle, id, results, err);
    if (st == CYGNET_OK)
        st = fedscale_complete_write(message, id, "model_test", &pickle, err);
    bytes_clear(&pickle);
    return st;
}

static cygnet_status send_results(struct fedscale *f,
                                  const struct fedscale_results *results,
                                  const struct sending *sending, cygnet_error *err)
{
    struct bytes message;
    cygnet_status st = fedscale_begin(&message, f, err);

    if (st == CYGNET_OK)
        st = write_results(&message, f, f->errand.id, results, err);
    if (st == CYGNET_OK)
        st = send_once(f, &message, sending, err);
    bytes_clear(&message);
    return st;
}

static cygnet_status decline_training(struct fedscale *f, const char *token,
                                      const struct sending *sending, cygnet_error *err)
{
    struct fedscale_upload what = {.who = &f->errand.meta, .layout = &f->config.layout};
    cygnet_tensors *weights;
    cygnet_status st = fedscale_errand_weights(&weights, f, token, err);

    what.weights = weights;
    if (st == CYGNET_OK)
        st = ask_whether_due(f, token, sending->stop, err);
    if (st == CYGNET_OK)
        st = send_weights(f, &what, sending, err);
    cygnet_tensors_destroy(weights);
    if (st == CYGNET_OK)
        log_line(f->config.log, LOG_DEBUG,
                 "fedscale: the weights went back as they came");
    return st;
}

cygnet_status fedscale_send_report(cygnet_coordinator *c, const cygnet_task *task,
                                   const cygnet_round_report *report,
                                   const cygnet_stop *stop, cygnet_error *err)
{
    struct fedscale *f = (struct fedscale *)c;
    const struct sending sending = {.stop = stop};
    struct fedscale_results results = {.test_len = NO_TEST_LENGTH};
    bool is_tested = report->outcome == CYGNET_OUTCOME_EVALUATED && report->examples > 0;
    cygnet_status st;

    if (task->kind == CYGNET_TASK_TRAIN)
        return report->outcome == CYGNET_OUTCOME_COMPLETED
                   ? CYGNET_OK
                   : decline_training(f, task->token, &sending, err);
    if (is_tested)
        results = (struct fedscale_results){.top_1 = (double)report->top_1,
                                            .top_5 = (double)report->top_5,
                                            .test_loss = report->loss_sum,
                                            .test_len = (double)report->examples};
    st = recall(f, task->token, err);
    if (st == CYGNET_OK)
        st = ask_whether_due(f, task->token, stop, err);
    return st == CYGNET_OK ? send_results(f, &results, &sending, err) : st;
}

/* ---- Not even begun ---------------------------------------------------------------- */

static cygnet_status write_nothing_done(struct bytes *message, const struct fedscale *f,
                                        const struct fedscale_errand *errand)
{
    const struct fedscale_upload upload = {.who = &errand->meta,
                                           .weights = f->weights,
                                           .layout = &f->config.layout};
    const struct fedscale_results results = {.test_len = NO_TEST_LENGTH};

    return errand->event == FEDSCALE_CLIENT_TRAIN
               ? write_upload(message, errand->id, &upload, NULL)
               : write_results(message, f, errand->id, &results, NULL);
}

/* No other process can know of it once there is surely no permit for it on disk. */
void fedscale_give_back(struct fedscale *f, const cygnet_stop *stop)
{
    const struct fedscale_errand errand = f->unsaved;
    const struct sending sending = {.stop = stop};
    struct grpc_outcome outcome;
    struct bytes message;
    cygnet_status st;

    f->unsaved.event = FEDSCALE_DUMMY;
    if (errand.event == FEDSCALE_DUMMY || !f->weights)
        return;
    st = fedscale_begin(&message, f, NULL);
    if (st == CYGNET_OK)
        st = write_nothing_done(&message, f, &errand);
    if (st == CYGNET_OK)
        st = store_remove(f->config.store, FEDSCALE_PERMIT_FILE, NULL);
    if (st == CYGNET_OK)
        st = send(f, &outcome, &message, &sending, NULL);
    bytes_clear(&message);
    if (st == CYGNET_OK)
        log_line(f->config.log, LOG_DEBUG,
                 "fedscale: given back, as it could not be written down");
}
