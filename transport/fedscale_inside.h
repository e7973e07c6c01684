/* The FedScale dialect's inside, shared by fedscale*.c: what is known of the job, what
 * the server has given, and one call of it. */
#ifndef TRANSPORT_FEDSCALE_INSIDE_H
#define TRANSPORT_FEDSCALE_INSIDE_H

#include "transport/grpc.h"
#include "transport/transport.h"

#include <stdbool.h>

#define FEDSCALE_TOKEN_BYTES 33             /* 32 hex digits, NUL */
#define FEDSCALE_ANSWER_EXTRA (1u << 20)    /* beside the weights in one answer */
#define FEDSCALE_RECEIVED_FILE "received"   /* weights and what to do with them */
#define FEDSCALE_PERMIT_FILE "received-due" /* token of what may still be answered */
#define FEDSCALE_PAUSE_MS 1000              /* between calls; it waits for five seconds */
#define FEDSCALE_GONE_MS 10000              /* without a connection: the job is over */

/* What the server has asked for. An event is taken from its queue as it is sent and the
 * aggregator waits for the answer for ever, so it is written down before anything else.
 *
 * event  MODEL_TEST or CLIENT_TRAIN; DUMMY: nothing
 * token  names it for the round
 * id     the client that it was given to */
struct fedscale_errand {
    enum fedscale_event event;
    char token[FEDSCALE_TOKEN_BYTES];
    char id[FEDSCALE_ID_MAX + 1];
    struct fedscale_meta meta;
};

/* weights   the last ones that came and were not handed on; NULL: none
 * errand    what is to be done, or being done, with its weights
 * paired    the weights are the errand's
 * unsaved   one that could not be written down; DUMMY: none
 * stale     the errand is an old one: the server has to say that it still knows us
 *           before it is offered
 * looked    what an earlier process left has been taken up
 * known     the server has answered this process as one that it knows
 * finished  the server has ended the job
 * asked_ms  when the last call began
 * trouble   what was wrong with an event that came with the answer to an upload; for
 *           the next check-in to say */
struct fedscale {
    cygnet_coordinator face; /* first: the interface hands us a pointer to it */
    struct fedscale_config config;
    struct grpc grpc;
    char base_url[URL_MAX + 1];
    char id[FEDSCALE_ID_MAX + 1];
    cygnet_tensors *weights;
    struct fedscale_errand errand;
    struct fedscale_errand unsaved;
    bool paired;
    bool stale;
    bool looked;
    bool known;
    bool finished;
    int64_t asked_ms;
    cygnet_error trouble;
};

/* ---- fedscale_errand.c ---- */

/* Makes f->weights and the event the errand at hand, durably; else, but for EPROTOCOL,
 * the one that fedscale_give_back answers. Errors: EFORMAT (meta), EPROTOCOL, ESTORAGE,
 * ENOSPC, ENOMEM, EHOST. */
cygnet_status fedscale_accept(struct fedscale *f, enum fedscale_event event,
                              const struct fedscale_meta *meta, cygnet_error *err);

/* Lets go of the errand and the weights: they are of another job or another client.
 * Errors: ESTORAGE. */
cygnet_status fedscale_forget(struct fedscale *f, cygnet_error *err);

/* Takes up what an earlier process left unanswered; without its weights in memory.
 * Errors: ESTORAGE, ENOMEM. A damaged file is as good as none, and logged. */
cygnet_status fedscale_take_up(struct fedscale *f, cygnet_error *err);

/* The weights of the errand; the caller's. Errors: ENOTFOUND (another's or none),
 * EFORMAT, ESTORAGE, ENOMEM. */
cygnet_status fedscale_errand_weights(cygnet_tensors **out, struct fedscale *f,
                                      const char *token, cygnet_error *err);

/* Whether there still is the right to answer it. Errors: ESTATE (it is gone, so that an
 * answer may have been sent), ESTORAGE. */
cygnet_status fedscale_is_due(const struct fedscale *f, const char *token,
                              cygnet_error *err);

/* Gives that right up, durably: after OK nobody else has it, and the caller may send,
 * once. Errors: of fedscale_is_due. */
cygnet_status fedscale_spend_permit(struct fedscale *f, const char *token,
                                    cygnet_error *err);

/* Takes that back, when not a byte has left: the errand is to be done again. Best
 * effort. */
void fedscale_return_permit(struct fedscale *f, const struct fedscale_errand *errand);

/* ---- fedscale_call.c ---- */

/* A message, begun: the caller appends and calls. */
cygnet_status fedscale_begin(struct bytes *message, const struct fedscale *f,
                             cygnet_error *err);

/* Calls, and takes the event that comes with the answer.
 *
 * request  its message is begun with fedscale_begin
 * outcome  what gRPC said; filled on failure too
 * event    the failure of the event that came; CYGNET_OK: none
 * Errors: of grpc_call; EPROTOCOL (the answer). */
cygnet_status fedscale_call(struct fedscale *f, const struct grpc_request *request,
                            struct grpc_outcome *outcome, cygnet_error *event,
                            cygnet_error *err);

int64_t fedscale_now_ms(const struct fedscale *f);

/* Waits until that time of the clock. Errors: ECANCELLED. */
cygnet_status fedscale_wait(const struct fedscale *f, int64_t until_ms,
                            const cygnet_stop *stop, cygnet_error *err);

/* One ping. *known is set when the server has answered, to whether it knows us; what an
 * earlier one has asked of us is then forgotten. */
cygnet_status fedscale_ping(struct fedscale *f, bool *known, const cygnet_stop *stop,
                            cygnet_error *err);
cygnet_status fedscale_register(struct fedscale *f, uint64_t n_examples,
                                const cygnet_stop *stop, cygnet_error *err);

/* ---- fedscale_answer.c: upload and report ---- */

cygnet_status fedscale_send_update(cygnet_coordinator *c, cygnet_receipt *receipt,
                                   const cygnet_task *task, const cygnet_upload *what,
                                   const cygnet_stop *stop, cygnet_error *err);
cygnet_status fedscale_send_report(cygnet_coordinator *c, const cygnet_task *task,
                                   const cygnet_round_report *report,
                                   const cygnet_stop *stop, cygnet_error *err);

/* Answers f->unsaved, if there is one, with nothing done. Best effort: its failure is
 * not the news. */
void fedscale_give_back(struct fedscale *f, const cygnet_stop *stop);

#endif
