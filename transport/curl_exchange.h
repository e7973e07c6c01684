/* What the files of the built-in HTTP stack share; they are the only ones that know
 * libcurl. curl_http.c runs an exchange, curl_setup.c tells libcurl about it, and
 * curl_answer.c takes in what comes back. */
#ifndef TRANSPORT_CURL_EXCHANGE_H
#define TRANSPORT_CURL_EXCHANGE_H

#include "transport/transport.h"
#include "transport/url.h"

#include <curl/curl.h>
#include <stdbool.h>

struct curl_http {
    cygnet_http face; /* first: perform gets a pointer to it */
    const cygnet_allocator *alloc;
    CURLM *multi;
    CURL *easy;
    char *ca_file;
    enum url_plain plain;
    bool global;
    char line[CYGNET_HTTP_MAX_HEADER_BYTES + 1];
    char reason[CURL_ERROR_SIZE];
};

/* One perform, over all its redirects.
 *
 * status    of the answer that is coming in, 0 before its first line
 * drop      the answer is a redirect that will be followed, or 1xx
 * complete  its headers have ended; what follows are trailers
 * begun     the request has begun to leave
 * verdict   what a callback has ended the exchange with
 * moved     bytes both ways, to notice a stall */
struct exchange {
    struct curl_http *stack;
    const cygnet_http_request *request;
    const cygnet_http_sink *sink;
    const cygnet_stop *stop;
    cygnet_error *err;
    int status;
    bool drop;
    bool complete;
    bool begun;
    uint32_t n_headers;
    uint64_t n_body;
    uint64_t n_header_bytes;
    uint64_t n_sent;
    uint64_t moved;
    int64_t moved_ms;
    int64_t begun_ms;
    cygnet_status verdict;
    char location[URL_MAX + 1];
};

/* ---- curl_setup.c -------------------------------------------------------- */

bool curl_wants_http2(const cygnet_http_request *request);

/* The request's headers as libcurl wants them; the caller frees the list.
 * Errors: EINVAL, ENOMEM. */
cygnet_status curl_request_headers(struct curl_slist **out, const struct exchange *x);

/* Sets every option of the stack's easy handle. */
CURLcode curl_set_up(struct exchange *x, const char *url, struct curl_slist *headers);

/* ---- curl_answer.c ------------------------------------------------------- */

/* libcurl's callbacks; `user` is the exchange. One that refuses leaves its verdict
 * there. */
size_t curl_on_header(char *data, size_t size, size_t n, void *user);
size_t curl_on_body(char *data, size_t size, size_t n, void *user);
int curl_on_progress(void *user, curl_off_t total_down, curl_off_t down,
                     curl_off_t total_up, curl_off_t up);
int curl_on_connected(void *user, char *peer, char *own, int peer_port, int own_port);

/* Tells the sink that so many bytes of the body are gone. */
void curl_count_sent(struct exchange *x, curl_off_t sent);

cygnet_status curl_header_too_long(const struct exchange *x);

#endif
