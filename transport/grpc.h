/* Unary gRPC calls over a cygnet_http (gRPC over HTTP/2, PROTOCOL-HTTP2.md of the
 * gRPC project). No streams, no compression, no retries. */
#ifndef TRANSPORT_GRPC_H
#define TRANSPORT_GRPC_H

#include "base/bytes.h"

#include <cygnet/sys/coordinator.h>
#include <cygnet/sys/http.h>
#include <stdbool.h>

#define GRPC_PREFIX_BYTES 5    /* before a message: a flag and its length */
#define GRPC_NO_STATUS (-1)    /* the server has not said how the call ended */
#define GRPC_MESSAGE_BYTES 160 /* of the server's words that are kept */

/* A server. All is borrowed for the calls.
 *
 * base_url    "http://host:port" or "https://host:port"
 * timeout_ms  of a whole call, told to the server as well; 0: none
 * stall_ms    no byte either way for so long ends a call; 0: none
 * max_answer  bytes of an answer's message */
struct grpc {
    cygnet_http *http;
    const char *base_url;
    int64_t timeout_ms;
    int64_t stall_ms;
    uint64_t max_answer;
    const cygnet_allocator *alloc;
};

/* One call.
 *
 * method    "/package.Service/METHOD"
 * message   begun with grpc_begin; the call writes its length into it
 * progress  of bytes both ways, in a total; may be NULL */
struct grpc_request {
    const char *method;
    struct bytes *message;
    cygnet_progress progress;
    void *user;
    const cygnet_stop *stop;
};

/* What is known after a call, whether it failed or not.
 *
 * status   grpc-status, or GRPC_NO_STATUS
 * sent     a byte of the request may have left; false: it has surely not
 * words    the server's grpc-message, on one line of valid UTF-8
 * up, down bytes moved */
struct grpc_outcome {
    int status;
    bool sent;
    char words[GRPC_MESSAGE_BYTES];
    uint64_t up;
    uint64_t down;
};

/* Makes an empty message, to which the caller appends. Errors: ELIMIT, ENOMEM. */
cygnet_status grpc_begin(struct bytes *message, cygnet_error *err);

/* Calls and waits.
 *
 * answer  initialised here; receives the answer's message, empty on failure; the
 *         caller clears it, also on failure
 *
 * Errors: what the HTTP stack says (ENETWORK, ETIMEOUT, ETLS, ECANCELLED, ...);
 * ENETWORK when the answer ends without saying how the call has ended;
 * EPROTOCOL when the answer is no gRPC, is compressed, or is not one whole message;
 * ELIMIT beyond max_answer. A grpc-status other than 0 is a failure, with the number
 * in err->detail: 14 is ENETWORK, 4 ETIMEOUT, 8 ELIMIT, 16 EAUTH, 13 and 15 EPROTOCOL;
 * 1, 2 and 10 ESERVER; the others, where trying again is no use, EREFUSED. */
cygnet_status grpc_call(struct bytes *answer, struct grpc_outcome *outcome,
                        const struct grpc *grpc, const struct grpc_request *request,
                        cygnet_error *err);

#endif
