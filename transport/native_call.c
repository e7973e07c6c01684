/* Sending one request of the native dialect and understanding its status. */
#include "transport/native_call.h"

#include "base/error.h"
#include "transport/native_message.h"
#include "transport/native_task.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_REQUEST_HEADERS 8

/* ---- Addresses ----------------------------------------------------------- */

cygnet_status native_url(char out[URL_MAX + 1], const struct native *native,
                         const char *path, cygnet_error *err)
{
    char whole[URL_MAX + 1];
    int len = snprintf(whole, sizeof(whole), "%s%s", native->server.path, path);

    if (len < 0 || len > URL_MAX)
        return fail(err, CYGNET_EINVAL, 0, "URL is longer than %d bytes", URL_MAX);
    return url_format(out, &native->server, whole, err);
}

cygnet_status native_weights_url(char out[URL_MAX + 1], const struct native *native,
                                 const char *reference, cygnet_error *err)
{
    static const char where[] = "task.model.weights.url";
    bool absolute = strncasecmp(reference, "https://", 8) == 0 ||
                    strncasecmp(reference, "http://", 7) == 0;
    struct url url;

    if (!absolute && (reference[0] != '/' || reference[1] == '/'))
        return fail(err, CYGNET_EPROTOCOL, 0, "%s is neither a path nor an http URL",
                    where);
    if (!absolute && native_url(out, native, reference, NULL) != CYGNET_OK)
        return fail(err, CYGNET_EPROTOCOL, 0, "%s is too long", where);
    if (url_parse(&url, absolute ? reference : out, NULL) != CYGNET_OK)
        return fail(err, CYGNET_EPROTOCOL, 0, "%s is not a valid URL", where);
    if (!url_same_origin(&url, &native->server))
        return fail(err, CYGNET_EPROTOCOL, 0, "%s is on another origin, %.80s; refused",
                    where, url.host);
    return url_format(out, &url, NULL, err);
}

/* ---- Credentials --------------------------------------------------------- */

static bool is_token(const char *token)
{
    for (; *token; token++) {
        if ((unsigned char)*token <= 0x20 || (unsigned char)*token >= 0x7f)
            return false;
    }
    return true;
}

/* Asks the host for its token; an empty one means that it has none. */
static cygnet_status ask_token(struct native *native, int refresh, cygnet_error *err)
{
    char *token = native->authorization + strlen("Bearer ");
    int code;

    memcpy(native->authorization, "Bearer ", sizeof("Bearer "));
    native->has_token = false;
    code = native->config.auth_token(token, NATIVE_TOKEN_BYTES, refresh,
                                     native->config.auth_user);
    token[NATIVE_TOKEN_BYTES - 1] = '\0';
    if (code != 0)
        return fail(err, CYGNET_EHOST, code, "the auth_token hook failed (%d)", code);
    if (!is_token(token))
        return fail(err, CYGNET_EHOST, 0,
                    "the auth_token hook gave a token with blanks or control characters");
    native->has_token = token[0] != '\0';
    return CYGNET_OK;
}

/* ---- One exchange -------------------------------------------------------- */

struct receiver {
    struct native *native;
    struct native_request *request;
    cygnet_error *err;
    uint32_t retry_after_s;
};

/* Seconds only: a date would need clocks that agree. */
static uint32_t seconds_of(const char *value)
{
    size_t digits = strspn(value, "0123456789");

    if (digits == 0 || value[digits])
        return 0;
    if (digits > 9)
        return NATIVE_MAX_SECONDS;
    return (uint32_t)(strtoul(value, NULL, 10) < NATIVE_MAX_SECONDS
                          ? strtoul(value, NULL, 10)
                          : NATIVE_MAX_SECONDS);
}

static cygnet_status on_header(const char *name, const char *value, void *user)
{
    struct receiver *r = user;

    if (strcmp(name, "retry-after") == 0)
        r->retry_after_s = seconds_of(value);
    if (r->request->header)
        r->request->header(name, value, r->request->user);
    return CYGNET_OK;
}

static cygnet_status on_body(int http_status, const void *data, size_t len, void *user)
{
    struct receiver *r = user;
    struct native_request *request = r->request;
    size_t room = NATIVE_MAX_ERROR;

    if (http_status == 200 || http_status == 206)
        return request->take ? request->take(http_status, data, len, request->user)
                             : bytes_append(&request->answer, data, len, r->err);
    if (room > request->answer.max)
        room = request->answer.max;
    room -= request->answer.len < room ? request->answer.len : room;
    return bytes_append(&request->answer, data, len < room ? len : room, r->err);
}

static void on_sent(uint64_t n, void *user)
{
    const struct receiver *r = user;

    if (r->request->sent)
        r->request->sent(n, r->request->sent_user);
}

static uint32_t gather_headers(cygnet_http_header out[MAX_REQUEST_HEADERS],
                               const struct native *native,
                               const struct native_request *request)
{
    uint32_t n = 0;

    for (; n < request->n_headers && n < MAX_REQUEST_HEADERS - 1; n++)
        out[n] = request->headers[n];
    if (native->has_token)
        out[n++] = (cygnet_http_header){"Authorization", native->authorization};
    return n;
}

static cygnet_status exchange(struct native *native, struct native_request *request,
                              cygnet_error *err)
{
    struct receiver receiver = {.native = native, .request = request, .err = err};
    cygnet_http_sink sink = {.header = on_header,
                             .body = on_body,
                             .sent = on_sent,
                             .user = &receiver};
    cygnet_http_header headers[MAX_REQUEST_HEADERS];
    cygnet_http_request http = {
        .struct_size = sizeof(http),
        .method = request->method,
        .url = request->url,
        .headers = headers,
        .n_headers = gather_headers(headers, native, request),
        .body = request->body,
        .body_len = request->body_len,
        .max_body = request->max_answer > NATIVE_MAX_ERROR ? request->max_answer
                                                           : NATIVE_MAX_ERROR,
        .timeout_ms = request->timeout_ms,
        .stall_ms = NATIVE_STALL_MS,
    };
    cygnet_status st;

    bytes_reset(&request->answer);
    request->status = 0;
    st = native->config.http->perform(native->config.http, &request->status, &http, &sink,
                                      request->stop, err);
    /* A refusal with an endless page is a refusal still. */
    if (st == CYGNET_ELIMIT && request->status >= 400)
        st = CYGNET_OK;
    if (st == CYGNET_OK && (request->status == 429 || request->status == 503))
        native->retry_after_s = receiver.retry_after_s;
    return st;
}

cygnet_status native_send(struct native *native, struct native_request *request,
                          cygnet_error *err)
{
    bool asks = native->config.auth_token != NULL;
    cygnet_status st = CYGNET_OK;

    native->retry_after_s = 0;
    bytes_init(&request->answer, request->take ? NATIVE_MAX_ERROR : NATIVE_MAX_JSON,
               native->config.alloc);
    if (asks && !native->has_token)
        st = ask_token(native, 0, err);
    if (st == CYGNET_OK)
        st = exchange(native, request, err);
    if (st == CYGNET_OK && request->status == 401 && asks) {
        st = ask_token(native, 1, err);
        if (st == CYGNET_OK)
            st = exchange(native, request, err);
    }
    return st;
}

/* ---- What a status means ------------------------------------------------- */

static cygnet_status status_of_http(int status)
{
    if (status == 401)
        return CYGNET_EAUTH;
    if (status == 408 || status == 425 || status == 429 || status >= 500)
        return CYGNET_ESERVER;
    return status >= 400 ? CYGNET_EREFUSED : CYGNET_EPROTOCOL;
}

cygnet_status native_refusal(const struct native_request *request, const char *what,
                             cygnet_error *err)
{
    char words[NATIVE_ERROR_TEXT_BYTES];

    native_error_read(words, request->answer.data, request->answer.len);
    return fail(err, status_of_http(request->status), request->status,
                "%s: the server answered %d%s%s", what, request->status,
                words[0] ? ": " : "", words);
}
