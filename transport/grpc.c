/* Unary gRPC: what goes into the HTTP request, and what its answer means. */
#include "transport/grpc.h"

#include "base/error.h"
#include "transport/grpc_frame.h"
#include "transport/url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_BYTES 24
#define MAX_TIMEOUT_MS 99999999 /* grpc-timeout has eight digits */

/* One call on its way.
 *
 * is_grpc   the content-type says so
 * verdict   what a callback has ended the exchange with */
struct call {
    const struct grpc_request *request;
    struct grpc_outcome *outcome;
    struct grpc_frame frame;
    bool is_grpc;
    cygnet_status verdict;
    cygnet_error *err;
};

cygnet_status grpc_begin(struct bytes *message, cygnet_error *err)
{
    static const uint8_t prefix[GRPC_PREFIX_BYTES];

    bytes_reset(message);
    return bytes_append(message, prefix, sizeof(prefix), err);
}

/* Big-endian, behind a flag that says "not compressed". */
static cygnet_status write_prefix(struct bytes *message, cygnet_error *err)
{
    size_t len = message->len - GRPC_PREFIX_BYTES;

    if (len > UINT32_MAX)
        return fail(err, CYGNET_ELIMIT, 0, "a message of %zu bytes is too long for gRPC",
                    len);
    message->data[0] = 0;
    for (int i = 0; i < 4; i++)
        message->data[1 + i] = (uint8_t)(len >> (24 - 8 * i));
    return CYGNET_OK;
}

/* ---- The answer ---------------------------------------------------------- */

/* Codes go up to 16 today; others may come. */
static cygnet_status take_status(struct call *call, const char *value)
{
    size_t digits = strspn(value, "0123456789");

    if (digits == 0 || digits > 4 || value[digits])
        return call->verdict = fail(call->err, CYGNET_EPROTOCOL, 0,
                                    "grpc-status \"%.20s\" is no number", value);
    call->outcome->status = (int)strtol(value, NULL, 10);
    return CYGNET_OK;
}

static bool is_grpc_type(const char *type)
{
    size_t len = strlen("application/grpc");

    return strncmp(type, "application/grpc", len) == 0 &&
           (type[len] == '\0' || type[len] == '+' || type[len] == ';');
}

static cygnet_status on_trailer(const char *name, const char *value, void *user)
{
    struct call *call = user;

    if (strcmp(name, "grpc-status") == 0)
        return take_status(call, value);
    if (strcmp(name, "grpc-message") == 0)
        grpc_words_decode(call->outcome->words, sizeof(call->outcome->words), value);
    return CYGNET_OK;
}

static cygnet_status on_header(const char *name, const char *value, void *user)
{
    struct call *call = user;

    call->outcome->sent = true; /* there is no answer to nothing */
    if (strcmp(name, "content-type") == 0)
        call->is_grpc = is_grpc_type(value);
    return on_trailer(name, value, user); /* an answer may have nothing but trailers */
}

static void tell_progress(const struct call *call)
{
    const struct grpc_request *request = call->request;

    if (request->progress)
        request->progress(call->outcome->up + call->outcome->down, request->user);
}

static cygnet_status on_body(int http_status, const void *data, size_t len, void *user)
{
    struct call *call = user;

    if (http_status != 200 || !call->is_grpc)
        return CYGNET_OK; /* a page of somebody else's */
    call->outcome->down += len;
    tell_progress(call);
    call->verdict = grpc_frame_take(&call->frame, data, len, call->err);
    return call->verdict;
}

static void on_sent(uint64_t bytes, void *user)
{
    struct call *call = user;

    call->outcome->sent = true;
    call->outcome->up = bytes;
    tell_progress(call);
}

/* ---- What it means ------------------------------------------------------- */

/* By grpc-status. */
static const struct {
    const char *name;
    cygnet_status meaning;
} codes[] = {
    {"OK", CYGNET_OK},
    {"CANCELLED", CYGNET_ESERVER},
    {"UNKNOWN", CYGNET_ESERVER},
    {"INVALID_ARGUMENT", CYGNET_EREFUSED},
    {"DEADLINE_EXCEEDED", CYGNET_ETIMEOUT},
    {"NOT_FOUND", CYGNET_EREFUSED},
    {"ALREADY_EXISTS", CYGNET_EREFUSED},
    {"PERMISSION_DENIED", CYGNET_EREFUSED},
    {"RESOURCE_EXHAUSTED", CYGNET_ELIMIT},
    {"FAILED_PRECONDITION", CYGNET_EREFUSED},
    {"ABORTED", CYGNET_ESERVER},
    {"OUT_OF_RANGE", CYGNET_EREFUSED},
    {"UNIMPLEMENTED", CYGNET_EREFUSED},
    {"INTERNAL", CYGNET_EPROTOCOL},
    {"UNAVAILABLE", CYGNET_ENETWORK},
    {"DATA_LOSS", CYGNET_EPROTOCOL},
    {"UNAUTHENTICATED", CYGNET_EAUTH},
};

static cygnet_status explain_status(const struct call *call)
{
    const struct grpc_outcome *outcome = call->outcome;
    size_t code = (size_t)outcome->status;
    bool known = code < sizeof(codes) / sizeof(codes[0]);

    return fail(call->err, known ? codes[code].meaning : CYGNET_EPROTOCOL,
                outcome->status, "the server answered grpc-status %d%s%s%s%s",
                outcome->status, known ? " " : "", known ? codes[code].name : "",
                outcome->words[0] ? ": " : "", outcome->words);
}

/* An answer of something on the way that speaks no gRPC. */
static cygnet_status explain_http(const struct call *call, int http_status)
{
    cygnet_status st = CYGNET_EPROTOCOL;

    if (http_status == 401)
        st = CYGNET_EAUTH;
    else if (http_status == 429 || http_status >= 500)
        st = CYGNET_ESERVER;
    else if (http_status >= 400)
        st = CYGNET_EREFUSED;
    return fail(call->err, st, http_status, "the server answered HTTP %d and no gRPC",
                http_status);
}

static cygnet_status explain_answer(const struct call *call, int http_status)
{
    const struct grpc_outcome *outcome = call->outcome;

    if (outcome->status > 0)
        return explain_status(call);
    if (http_status != 200 || !call->is_grpc)
        return explain_http(call, http_status);
    if (outcome->status == GRPC_NO_STATUS) /* a server that is killed leaves this too */
        return fail(call->err, CYGNET_ENETWORK, 0,
                    "the answer ends without a grpc-status");
    if (!grpc_frame_is_whole(&call->frame))
        return fail(call->err, CYGNET_EPROTOCOL, 0,
                    "the answer is not one whole message");
    return CYGNET_OK;
}

/* A server that has said how the call ended may break off the rest of the exchange,
 * for instance when it does not read the request to its end. */
static bool has_ended(const struct call *call, cygnet_status st)
{
    return st == CYGNET_OK || (st == CYGNET_ENETWORK && call->verdict == CYGNET_OK &&
                               call->outcome->status != GRPC_NO_STATUS);
}

/* ---- The call ------------------------------------------------------------ */

static void write_timeout(char out[TIMEOUT_BYTES], int64_t timeout_ms)
{
    if (timeout_ms <= MAX_TIMEOUT_MS)
        (void)snprintf(out, TIMEOUT_BYTES, "%lldm", (long long)timeout_ms);
    else if (timeout_ms / 1000 <= MAX_TIMEOUT_MS)
        (void)snprintf(out, TIMEOUT_BYTES, "%lldS", (long long)(timeout_ms / 1000));
    else
        (void)snprintf(out, TIMEOUT_BYTES, "%dS", MAX_TIMEOUT_MS);
}

/* The longest body that can be a good answer; the frame says what is wrong with one
 * that is longer. */
static uint64_t longest_body(const struct grpc *grpc)
{
    uint64_t slack = 4096;

    return grpc->max_answer < UINT64_MAX - slack ? grpc->max_answer + slack : UINT64_MAX;
}

static cygnet_status exchange(struct call *call, int *http_status,
                              const struct grpc *grpc)
{
    const struct grpc_request *request = call->request;
    char url[URL_MAX + 1];
    char timeout[TIMEOUT_BYTES];
    const cygnet_http_header headers[] = {
        {"content-type", "application/grpc"},
        {"te", "trailers"},
        {"grpc-timeout", timeout},
    };
    cygnet_http_sink sink = {.header = on_header,
                             .body = on_body,
                             .sent = on_sent,
                             .user = call,
                             .trailer = on_trailer};
    cygnet_http_request http = {
        .struct_size = sizeof(http),
        .method = "POST",
        .url = url,
        .headers = headers,
        .n_headers = grpc->timeout_ms > 0 ? 3 : 2,
        .body = request->message->data,
        .body_len = request->message->len,
        .max_body = longest_body(grpc),
        .timeout_ms = grpc->timeout_ms,
        .stall_ms = grpc->stall_ms,
        .version = CYGNET_HTTP_2,
    };
    int len = snprintf(url, sizeof(url), "%s%s", grpc->base_url, request->method);

    if (len < 0 || len > URL_MAX)
        return fail(call->err, CYGNET_EINVAL, 0, "URL is longer than %d bytes", URL_MAX);
    write_timeout(timeout, grpc->timeout_ms);
    return grpc->http->perform(grpc->http, http_status, &http, &sink, request->stop,
                               call->err);
}

cygnet_status grpc_call(struct bytes *answer, struct grpc_outcome *outcome,
                        const struct grpc *grpc, const struct grpc_request *request,
                        cygnet_error *err)
{
    struct call call = {.request = request, .outcome = outcome, .err = err};
    int http_status = 0;
    cygnet_status st;

    memset(outcome, 0, sizeof(*outcome));
    outcome->status = GRPC_NO_STATUS;
    grpc_frame_init(&call.frame, answer, grpc->max_answer, grpc->alloc);
    st = write_prefix(request->message, err);
    if (st == CYGNET_OK)
        st = exchange(&call, &http_status, grpc);
    if (has_ended(&call, st))
        st = explain_answer(&call, http_status);
    if (st == CYGNET_OK)
        return CYGNET_OK;
    bytes_reset(answer);
    return fail_within(err, st, "%.80s", request->method);
}
