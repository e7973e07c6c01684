/* The messages of FedScale's JobService in protobuf's wire format (proto3), and no
 * more of protobuf than they need. The pickles inside are bytes here. */
#ifndef TRANSPORT_FEDSCALE_MESSAGE_H
#define TRANSPORT_FEDSCALE_MESSAGE_H

#include "base/bytes.h"

#include <stdbool.h>

#define FEDSCALE_ID_MAX 128   /* bytes of a client's name */
#define FEDSCALE_EVENT_MAX 64 /* bytes of an event's name */

#define FEDSCALE_REGISTER "/fedscale.JobService/CLIENT_REGISTER"
#define FEDSCALE_PING "/fedscale.JobService/CLIENT_PING"
#define FEDSCALE_COMPLETE "/fedscale.JobService/CLIENT_EXECUTE_COMPLETION"

/* What the server asks for. Every answer of every method carries one. */
enum fedscale_event {
    FEDSCALE_DUMMY,        /* nothing */
    FEDSCALE_UPDATE_MODEL, /* keep the weights */
    FEDSCALE_MODEL_TEST,   /* evaluate them */
    FEDSCALE_CLIENT_TRAIN, /* train them */
    FEDSCALE_TERMINATE,    /* the job is over */
    FEDSCALE_UNKNOWN       /* something else; response.name says what */
};

/* meta, data  pickles, borrowed from the bytes that were read; NULL when empty */
struct fedscale_response {
    enum fedscale_event event;
    char name[FEDSCALE_EVENT_MAX + 1];
    const uint8_t *meta;
    size_t meta_len;
    const uint8_t *data;
    size_t data_len;
};

/* Errors: EPROTOCOL (damaged, or no event). On failure *out is zeroed. */
cygnet_status fedscale_response_read(struct fedscale_response *out, const void *data,
                                     size_t len, cygnet_error *err);

/* The writers append to `out`. `id` names the client in both of its fields and is
 * UTF-8. Errors: EINVAL (id), ELIMIT, ENOMEM. */
cygnet_status fedscale_register_write(struct bytes *out, const char *id,
                                      const struct bytes *info, cygnet_error *err);
cygnet_status fedscale_ping_write(struct bytes *out, const char *id, cygnet_error *err);

/* "upload_model", "model_test" or "client_train" is done, with its result (a pickle)
 * or NULL for none. */
cygnet_status fedscale_complete_write(struct bytes *out, const char *id,
                                      const char *event, const struct bytes *result,
                                      cygnet_error *err);

/* The same for a result that is too large to be copied: between the two calls the
 * caller appends it to `out` itself.
 *
 * mark  where it begins; handed to fedscale_complete_end, which writes its length */
cygnet_status fedscale_complete_begin(size_t *mark, struct bytes *out, const char *id,
                                      const char *event, cygnet_error *err);
void fedscale_complete_end(struct bytes *out, size_t mark);

#endif
