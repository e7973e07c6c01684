/* One request of the native dialect and its answer: addresses, credentials,
 * Retry-After, and what each HTTP status means. Shared by native.c (messages) and
 * native_fetch.c (weights). */
#ifndef TRANSPORT_NATIVE_CALL_H
#define TRANSPORT_NATIVE_CALL_H

#include "base/bytes.h"
#include "transport/blob_cache.h"
#include "transport/transport.h"
#include "transport/url.h"

#include <stdbool.h>

#define NATIVE_TOKEN_BYTES 4096         /* of a bearer token, with NUL */
#define NATIVE_MAX_JSON (1u << 20)      /* answers in JSON */
#define NATIVE_MAX_ERROR (1u << 16)     /* kept of an error answer */
#define NATIVE_MESSAGE_TIMEOUT_MS 60000 /* check-in */
#define NATIVE_BEAT_TIMEOUT_MS 10000    /* lease and report: small, and often */
#define NATIVE_STALL_MS 30000           /* no byte either way, in any request */

/* server  its path is the prefix of every request, without a '/' at the end */
struct native {
    cygnet_coordinator face; /* first: the interface hands us a pointer to it */
    struct native_config config;
    struct url server;
    struct blob_cache cache;
    uint32_t retry_after_s;
    bool has_token;
    char authorization[sizeof("Bearer ") + NATIVE_TOKEN_BYTES];
};

/* What to ask, filled by the caller; then what came back.
 *
 * header  sees each header line of the answer; may be NULL
 * take    gets the body of a 200 or 206; NULL: it goes to `answer`
 * sent    progress of the request body; may be NULL
 * status  HTTP status, 0 before there was one
 * answer  the body, or the first bytes of an error's; clear with bytes_clear */
struct native_request {
    const char *method;
    const char *url;
    const cygnet_http_header *headers;
    uint32_t n_headers;
    const void *body;
    size_t body_len;
    uint64_t max_answer;
    int64_t timeout_ms;
    const cygnet_stop *stop;
    void (*header)(const char *name, const char *value, void *user);
    cygnet_status (*take)(int status, const void *data, size_t len, void *user);
    void *user;
    cygnet_progress sent;
    void *sent_user;
    int status;
    struct bytes answer;
};

/* Writes the URL of a path below the server's prefix. Errors: EINVAL. */
cygnet_status native_url(char out[URL_MAX + 1], const struct native *native,
                         const char *path, cygnet_error *err);

/* Writes the URL that a task names: a path, or absolute on the same origin.
 * Errors: EPROTOCOL. */
cygnet_status native_weights_url(char out[URL_MAX + 1], const struct native *native,
                                 const char *reference, cygnet_error *err);

/* Sends the request, with the host's token if it has one; after a 401 asks the
 * host for another and sends it once more. Any HTTP status is CYGNET_OK.
 * Errors: of cygnet_http.perform and `take`, EHOST, ENOMEM. */
cygnet_status native_send(struct native *native, struct native_request *request,
                          cygnet_error *err);

/* The failure that the answer's status stands for, with the server's own words.
 * Never CYGNET_OK. what  "check-in" */
cygnet_status native_refusal(const struct native_request *request, const char *what,
                             cygnet_error *err);

/* Behind cygnet_coordinator.fetch. */
cygnet_status native_fetch(cygnet_coordinator *c, cygnet_tensors **weights,
                           const cygnet_task *task, cygnet_progress progress, void *user,
                           const cygnet_stop *stop, cygnet_error *err);

#endif
