/* What an HTTP stack must supply. The built-in libcurl one implements this same
 * interface, so a host can bring its own (OkHttp, NSURLSession, a fake).
 *
 * Stability: sys tier. It may change in a minor release.
 */
#ifndef CYGNET_SYS_HTTP_H
#define CYGNET_SYS_HTTP_H

#include <cygnet/status.h>
#include <cygnet/sys/stop.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CYGNET_HTTP_MAX_HEADERS 64        /* header lines of one answer */
#define CYGNET_HTTP_MAX_HEADER_BYTES 8192 /* one header line */

typedef struct cygnet_http_header {
    const char *name;
    const char *value;
} cygnet_http_header;

/* Which HTTP a request needs.
 *
 * CYGNET_HTTP_2  HTTP/2 or nothing: agreed upon in the TLS handshake (ALPN), and
 *                begun with prior knowledge in cleartext */
typedef enum cygnet_http_version {
    CYGNET_HTTP_ANY = 0, /* whatever the stack likes */
    CYGNET_HTTP_2 = 2
} cygnet_http_version;

/* One exchange. All pointers are borrowed for the call.
 *
 * method      "GET", "PUT", "POST", "HEAD", "PATCH"
 * url         absolute http(s) URL
 * headers     sent as given; the stack adds Host, Content-Length and the like
 * body        n_body bytes; NULL with 0 for none
 * max_body    answer bodies beyond this end the exchange with ELIMIT
 * timeout_ms  for the whole exchange; 0: none
 * stall_ms    no byte either way for so long ends it with ETIMEOUT; 0: none
 * version     one that the stack cannot do is EUNSUPPORTED before anything is sent,
 *             one that the server does not speak EPROTOCOL; the request goes out at
 *             most once when it is CYGNET_HTTP_2 */
typedef struct cygnet_http_request {
    uint32_t struct_size;
    const char *method;
    const char *url;
    const cygnet_http_header *headers;
    uint32_t n_headers;
    const void *body;
    uint64_t body_len;
    uint64_t max_body;
    int64_t timeout_ms;
    int64_t stall_ms;
    cygnet_http_version version;
} cygnet_http_request;

/* Where the answer goes. Called on the performing thread, in this order: header
 * for each header line, then body for each piece, then trailer for each header line
 * behind the body. A non-OK return ends the exchange and is what perform answers.
 *
 * header   name in lower case, value trimmed; at most CYGNET_HTTP_MAX_HEADERS
 * body     status is the final HTTP status
 * sent     progress of the request body, in a total; may be NULL. First with 0 (or
 *          more) before a byte of the request leaves: an exchange that fails without
 *          it has sent nothing
 * trailer  as header, together with which it counts; may be NULL */
typedef struct cygnet_http_sink {
    cygnet_status (*header)(const char *name, const char *value, void *user);
    cygnet_status (*body)(int http_status, const void *data, size_t len, void *user);
    void (*sent)(uint64_t body_bytes, void *user);
    void *user;
    cygnet_status (*trailer)(const char *name, const char *value, void *user);
} cygnet_http_sink;

/* An HTTP stack. `perform` gets the stack itself.
 *
 * Requirements on perform: verifies certificate and host name; follows no
 * redirect to another origin and at most three in all; no cookies; does not
 * decompress; any HTTP status is CYGNET_OK with *http_status set. On failure
 * *http_status is the status when its line had arrived, else 0. Network
 * trouble is ENETWORK, TLS trouble ETLS with a message that says what is wrong
 * with the certificate. Blocks. Looks at *stop at least every 100 ms wherever
 * it is (resolving, connecting, transferring) and returns ECANCELLED when it is
 * set. One exchange at a time per stack. */
typedef struct cygnet_http {
    uint32_t struct_size;
    cygnet_status (*perform)(struct cygnet_http *http, int *http_status,
                             const cygnet_http_request *request,
                             const cygnet_http_sink *sink, const cygnet_stop *stop,
                             cygnet_error *err);
} cygnet_http;

#ifdef __cplusplus
}
#endif
#endif
