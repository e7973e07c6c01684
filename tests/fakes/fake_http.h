/* A scripted HTTP stack: hands out queued replies and remembers the requests. It
 * cuts bodies into pieces, breaks off where told, and keeps the contract of
 * cygnet_http (max_body, stop word). */
#ifndef TESTS_FAKE_HTTP_H
#define TESTS_FAKE_HTTP_H

#include <cygnet/sys/http.h>
#include <stdbool.h>

#define FAKE_HTTP_MAX 32    /* replies and requests */
#define FAKE_HTTP_HEADERS 8 /* of one message */
#define FAKE_HTTP_TEXT 1024 /* bytes of a header or URL */

struct fake_header {
    char name[64];
    char value[FAKE_HTTP_TEXT];
};

/* status     HTTP status of the answer
 * fail_with  not OK: the exchange ends so, after `cut_after` bytes of the body
 * trailers   arrive behind the body, also before the exchange ends with fail_with
 * unsent     the exchange fails before a byte of the request has left */
struct fake_reply {
    int status;
    struct fake_header headers[FAKE_HTTP_HEADERS];
    uint32_t n_headers;
    struct fake_header trailers[FAKE_HTTP_HEADERS];
    uint32_t n_trailers;
    char *body;
    size_t body_len;
    cygnet_status fail_with;
    size_t cut_after;
    bool unsent;
};

struct fake_request {
    char method[16];
    char url[FAKE_HTTP_TEXT];
    struct fake_header headers[FAKE_HTTP_HEADERS];
    uint32_t n_headers;
    char *body; /* NUL-terminated copy */
    size_t body_len;
    uint64_t max_body;
    int64_t timeout_ms;
    int64_t stall_ms;
    cygnet_http_version version;
};

/* serve  asked for a reply (which it queues) to a request that none is queued for;
 *        may be NULL: such a request fails
 * user   for whoever sets serve */
struct fake_http {
    cygnet_http face;
    void (*serve)(struct fake_http *fake, const struct fake_request *request);
    void *user;
    struct fake_reply replies[FAKE_HTTP_MAX];
    struct fake_request requests[FAKE_HTTP_MAX];
    uint32_t n_replies;
    uint32_t n_requests;
    size_t piece; /* bytes of a piece of body; 1000 at first */
};

struct fake_http *fake_http_create(void);
void fake_http_destroy(struct fake_http *fake);

/* Queues an answer, with a copy of the body. What is returned may be changed until
 * it is used. */
struct fake_reply *fake_http_reply(struct fake_http *fake, int status, const char *body);
struct fake_reply *fake_http_reply_bytes(struct fake_http *fake, int status,
                                         const void *body, size_t len);

/* Queues an exchange that fails without an answer. */
void fake_http_fail(struct fake_http *fake, cygnet_status status);

void fake_reply_header(struct fake_reply *reply, const char *name, const char *value);
void fake_reply_trailer(struct fake_reply *reply, const char *name, const char *value);

/* The value of a request's header; NULL when it was not sent. */
const char *fake_request_header(const struct fake_request *request, const char *name);

#endif
