/* Calls of FedScale's JobService, and the events that come back: every answer to every
 * call brings one. */
#include "base/error.h"
#include "transport/fedscale_inside.h"

#include <float.h>
#include <string.h>

#define GRPC_UNKNOWN 2 /* what an exception in the server's handler becomes */

/* ---- Events ---------------------------------------------------------------- */

static cygnet_status keep_weights(struct fedscale *f,
                                  const struct fedscale_response *response,
                                  cygnet_error *err)
{
    cygnet_tensors *weights;
    cygnet_status st = fedscale_weights_read(&weights, response->data, response->data_len,
                                             &f->config.layout, f->config.max_model_bytes,
                                             f->config.alloc, err);

    if (st != CYGNET_OK)
        return fail_within(err, st, "the aggregator's weights");
    cygnet_tensors_destroy(f->weights);
    f->weights = weights;
    f->paired = false;
    return CYGNET_OK;
}

static bool has_learning_rate(const struct fedscale_meta *meta)
{
    return meta->has_lr && meta->lr <= (double)FLT_MAX;
}

/* Aggregators before the end of 2023 send model_test without weights: it is then
 * about those of the last update_model. */
static cygnet_status take_errand(struct fedscale *f,
                                 const struct fedscale_response *response,
                                 cygnet_error *err)
{
    struct fedscale_meta meta;
    cygnet_status st = fedscale_meta_read(&meta, response->meta, response->meta_len,
                                          f->config.alloc, err);

    if (st != CYGNET_OK)
        return fail_within(err, st, "%s", response->name);
    if (response->event == FEDSCALE_CLIENT_TRAIN && !has_learning_rate(&meta))
        return fail(err, CYGNET_EPROTOCOL, 0,
                    "fedscale: client_train has no learning rate, or none that is a "
                    "float from 0");
    if (response->event == FEDSCALE_CLIENT_TRAIN ||
        fedscale_has_weights(response->data, response->data_len))
        st = keep_weights(f, response, err);
    return st == CYGNET_OK ? fedscale_accept(f, response->event, &meta, err) : st;
}

static cygnet_status take_event(struct fedscale *f,
                                const struct fedscale_response *response,
                                cygnet_error *err)
{
    switch (response->event) {
    case FEDSCALE_DUMMY:
        return CYGNET_OK;
    case FEDSCALE_UPDATE_MODEL:
        if (!fedscale_has_weights(response->data, response->data_len))
            return CYGNET_OK;
        return keep_weights(f, response, err);
    case FEDSCALE_MODEL_TEST:
    case FEDSCALE_CLIENT_TRAIN:
        return take_errand(f, response, err);
    case FEDSCALE_TERMINATE:
        f->finished = true;
        return CYGNET_OK;
    case FEDSCALE_UNKNOWN:
        break;
    }
    log_line(f->config.log, LOG_DEBUG, "fedscale: event \"%s\" is not known here",
             response->name);
    return CYGNET_OK;
}

/* ---- Calls ------------------------------------------------------------------ */

cygnet_status fedscale_begin(struct bytes *message, const struct fedscale *f,
                             cygnet_error *err)
{
    bytes_init(message, (size_t)(f->config.max_model_bytes + FEDSCALE_ANSWER_EXTRA),
               f->config.alloc);
    return grpc_begin(message, err);
}

cygnet_status fedscale_call(struct fedscale *f, const struct grpc_request *request,
                            struct grpc_outcome *outcome, cygnet_error *event,
                            cygnet_error *err)
{
    struct fedscale_response response;
    struct bytes answer;
    cygnet_status st;

    f->asked_ms = fedscale_now_ms(f);
    st = grpc_call(&answer, outcome, &f->grpc, request, err);
    event->status = CYGNET_OK;
    if (st == CYGNET_OK) {
        f->known = true;
        st = fedscale_response_read(&response, answer.data, answer.len, err);
    }
    if (st == CYGNET_OK)
        event->status = take_event(f, &response, event);
    bytes_clear(&answer);
    return st;
}

/* A call whose event is the point of it. */
static cygnet_status call_for_event(struct fedscale *f, const char *method,
                                    struct bytes *message, struct grpc_outcome *outcome,
                                    const cygnet_stop *stop, cygnet_error *err)
{
    const struct grpc_request request = {.method = method,
                                         .message = message,
                                         .stop = stop};
    cygnet_error event = {CYGNET_OK, 0, ""};
    cygnet_status st = fedscale_call(f, &request, outcome, &event, err);

    if (st == CYGNET_OK && event.status != CYGNET_OK) {
        st = event.status;
        if (err)
            *err = event;
    }
    return st;
}

int64_t fedscale_now_ms(const struct fedscale *f)
{
    return f->config.clock->mono_ms(f->config.clock->user);
}

cygnet_status fedscale_wait(const struct fedscale *f, int64_t until_ms,
                            const cygnet_stop *stop, cygnet_error *err)
{
    const struct clock *clock = f->config.clock;

    while (fedscale_now_ms(f) < until_ms && !cygnet_stopped(stop))
        clock->wait_ms(until_ms - fedscale_now_ms(f), stop, clock->user);
    return cygnet_stopped(stop)
               ? fail(err, CYGNET_ECANCELLED, 0, "cancelled waiting for the aggregator")
               : CYGNET_OK;
}

cygnet_status fedscale_ping(struct fedscale *f, bool *known, const cygnet_stop *stop,
                            cygnet_error *err)
{
    struct grpc_outcome outcome = {.status = GRPC_NO_STATUS};
    struct bytes message;
    cygnet_status st = fedscale_begin(&message, f, err);

    *known = false;
    if (st == CYGNET_OK)
        st = fedscale_ping_write(&message, f->id, err);
    if (st == CYGNET_OK)
        st = call_for_event(f, FEDSCALE_PING, &message, &outcome, stop, err);
    bytes_clear(&message);
    if (outcome.status == GRPC_UNKNOWN)
        return fedscale_forget(f, err);
    *known = outcome.status == 0;
    f->stale = f->stale && !*known;
    return st;
}

static cygnet_status write_register(struct bytes *message, const struct fedscale *f,
                                    uint64_t n_examples, cygnet_error *err)
{
    struct bytes info;
    cygnet_status st;

    bytes_init(&info, FEDSCALE_ANSWER_EXTRA, f->config.alloc);
    st = fedscale_info_write(&info, n_examples, err);
    if (st == CYGNET_OK)
        st = fedscale_register_write(message, f->id, &info, err);
    bytes_clear(&info);
    return st;
}

cygnet_status fedscale_register(struct fedscale *f, uint64_t n_examples,
                                const cygnet_stop *stop, cygnet_error *err)
{
    struct grpc_outcome outcome;
    struct bytes message;
    cygnet_status st = fedscale_begin(&message, f, err);

    if (st == CYGNET_OK)
        st = write_register(&message, f, n_examples, err);
    if (st == CYGNET_OK)
        st = call_for_event(f, FEDSCALE_REGISTER, &message, &outcome, stop, err);
    bytes_clear(&message);
    return st;
}
