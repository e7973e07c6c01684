/* The native dialect (docs/protocol.md) behind the coordinator interface: its
 * messages, and the coordinator's life. Weights are native_fetch.c's. */
#include "base/alloc.h"
#include "base/crypto.h"
#include "base/error.h"
#include "transport/native_call.h"
#include "transport/native_message.h"
#include "transport/native_task.h"

#include <stdio.h>
#include <string.h>

#define PATH_BYTES 192 /* "/v1/rounds/", 20 digits, "/updates/", a token, NUL */

static const cygnet_http_header json_header = {"Content-Type", "application/json"};

static struct native *native_of(cygnet_coordinator *c)
{
    return (struct native *)c;
}

/* The URL of what belongs to the task's attempt: "updates", "leases", "reports". */
static cygnet_status attempt_url(char out[URL_MAX + 1], const struct native *native,
                                 const char *kind, const cygnet_task *task,
                                 cygnet_error *err)
{
    char path[PATH_BYTES];

    (void)snprintf(path, sizeof(path), "/v1/rounds/%llu/%s/%s",
                   (unsigned long long)task->round, kind, task->token);
    return native_url(out, native, path, err);
}

/* ---- Check-in ------------------------------------------------------------ */

static cygnet_status send_check_in(struct native *native, cygnet_answer *answer,
                                   const struct bytes *hello, const cygnet_stop *stop,
                                   cygnet_error *err)
{
    char url[URL_MAX + 1];
    struct native_request request = {
        .method = "POST",
        .url = url,
        .headers = &json_header,
        .n_headers = 1,
        .body = hello->data,
        .body_len = hello->len,
        .max_answer = NATIVE_MAX_JSON,
        .timeout_ms = NATIVE_MESSAGE_TIMEOUT_MS,
        .stop = stop,
    };
    cygnet_status st = native_url(url, native, "/v1/check-in", err);

    if (st == CYGNET_OK)
        st = native_send(native, &request, err);
    if (st == CYGNET_OK)
        st = request.status == 200 ? native_answer_parse(answer, request.answer.data,
                                                         request.answer.len, err)
                                   : native_refusal(&request, "check-in", err);
    if (st == CYGNET_OK && answer->has_task)
        st = native_weights_url(url, native, answer->task.weights_url, err);
    bytes_clear(&request.answer);
    return st;
}

static cygnet_status check_in(cygnet_coordinator *c, cygnet_answer *answer,
                              const cygnet_check_in *hello, const cygnet_stop *stop,
                              cygnet_error *err)
{
    struct native *native = native_of(c);
    struct bytes body;
    cygnet_status st;

    memset(answer, 0, sizeof(*answer));
    bytes_init(&body, NATIVE_MAX_JSON, native->config.alloc);
    st = native_check_in_write(&body, hello, err);
    if (st == CYGNET_OK)
        st = send_check_in(native, answer, &body, stop, err);
    if (st != CYGNET_OK)
        memset(answer, 0, sizeof(*answer));
    bytes_clear(&body);
    return st;
}

/* ---- Update and lease ---------------------------------------------------- */

/* Sorts the answer to an upload or a renewal. What the server said of a refusal
 * is left in err, also when the call itself has succeeded. */
static cygnet_status receive(cygnet_receipt *receipt,
                             const struct native_request *request, const char *what,
                             cygnet_error *err)
{
    cygnet_status st = CYGNET_OK;

    *receipt = CYGNET_RECEIPT_ACCEPTED;
    if (request->status == 200 || request->status == 201)
        return CYGNET_OK;
    st = native_refusal(request, what, err);
    if (request->status == 409 || request->status == 410)
        *receipt = CYGNET_RECEIPT_TOO_LATE;
    else if (request->status == 413 || request->status == 422)
        *receipt = CYGNET_RECEIPT_REJECTED;
    else
        return st;
    return CYGNET_OK;
}

/* Source: RFC 9530 (Repr-Digest). */
static cygnet_status digest_header(char out[80], const void *data, size_t len,
                                   cygnet_error *err)
{
    uint8_t digest[SHA256_BYTES];
    char text[4 * ((SHA256_BYTES + 2) / 3) + 1];
    cygnet_status st = sha256(digest, data, len, err);

    if (st != CYGNET_OK)
        return st;
    base64_encode(text, digest, sizeof(digest));
    (void)snprintf(out, 80, "sha-256=:%s:", text);
    return CYGNET_OK;
}

static cygnet_status upload(cygnet_coordinator *c, cygnet_receipt *receipt,
                            const cygnet_task *task, const cygnet_upload *what,
                            const cygnet_stop *stop, cygnet_error *err)
{
    struct native *native = native_of(c);
    char url[URL_MAX + 1];
    char digest[80];
    const cygnet_http_header headers[] = {{"Content-Type",
                                           "application/vnd.cygnet.update"},
                                          {"Repr-Digest", digest}};
    struct native_request request = {
        .method = "PUT",
        .url = url,
        .headers = headers,
        .n_headers = 2,
        .body = what->update,
        .body_len = what->len,
        .max_answer = NATIVE_MAX_JSON,
        .timeout_ms = (int64_t)task->deadline_s * 1000,
        .stop = stop,
        .sent = what->progress,
        .sent_user = what->user,
    };
    cygnet_status st = attempt_url(url, native, "updates", task, err);

    if (st == CYGNET_OK)
        st = digest_header(digest, what->update, what->len, err);
    if (st == CYGNET_OK)
        st = native_send(native, &request, err);
    if (st == CYGNET_OK)
        st = receive(receipt, &request, "update", err);
    bytes_clear(&request.answer);
    return st;
}

static cygnet_status renew(cygnet_coordinator *c, cygnet_receipt *receipt,
                           uint32_t *lease_s, const cygnet_task *task,
                           const cygnet_stop *stop, cygnet_error *err)
{
    struct native *native = native_of(c);
    char url[URL_MAX + 1];
    struct native_request request = {
        .method = "POST",
        .url = url,
        .max_answer = NATIVE_MAX_JSON,
        .timeout_ms = NATIVE_BEAT_TIMEOUT_MS,
        .stop = stop,
    };
    cygnet_status st = attempt_url(url, native, "leases", task, err);

    if (st == CYGNET_OK)
        st = native_send(native, &request, err);
    if (st == CYGNET_OK)
        st = receive(receipt, &request, "lease", err);
    if (st == CYGNET_OK && *receipt == CYGNET_RECEIPT_ACCEPTED)
        st = native_lease_read(lease_s, request.answer.data, request.answer.len, err);
    bytes_clear(&request.answer);
    return st;
}

/* ---- Report -------------------------------------------------------------- */

static cygnet_status send_report(struct native *native, const cygnet_task *task,
                                 const struct bytes *body, const cygnet_stop *stop,
                                 cygnet_error *err)
{
    char url[URL_MAX + 1];
    struct native_request request = {
        .method = "POST",
        .url = url,
        .headers = &json_header,
        .n_headers = 1,
        .body = body->data,
        .body_len = body->len,
        .max_answer = NATIVE_MAX_JSON,
        .timeout_ms = NATIVE_BEAT_TIMEOUT_MS,
        .stop = stop,
    };
    cygnet_status st = attempt_url(url, native, "reports", task, err);

    if (st == CYGNET_OK)
        st = native_send(native, &request, err);
    if (st == CYGNET_OK && request.status != 200 && request.status != 204)
        st = native_refusal(&request, "report", err);
    bytes_clear(&request.answer);
    return st;
}

static cygnet_status report(cygnet_coordinator *c, const cygnet_task *task,
                            const cygnet_round_report *what, const cygnet_stop *stop,
                            cygnet_error *err)
{
    struct native *native = native_of(c);
    struct bytes body;
    cygnet_status st;

    bytes_init(&body, NATIVE_MAX_JSON, native->config.alloc);
    st = native_report_write(&body, what, err);
    if (st == CYGNET_OK)
        st = send_report(native, task, &body, stop, err);
    bytes_clear(&body);
    return st;
}

/* ---- Lifecycle ----------------------------------------------------------- */

static uint32_t retry_after_s(cygnet_coordinator *c)
{
    return native_of(c)->retry_after_s;
}

static cygnet_status read_server_url(struct native *native, cygnet_error *err)
{
    struct url *server = &native->server;
    size_t len;
    cygnet_status st = url_parse(server, native->config.server_url, err);

    if (st == CYGNET_OK)
        st = url_check_allowed(server, native->config.allow_loopback_http, err);
    if (st == CYGNET_OK && strchr(server->path, '?'))
        st = fail(err, CYGNET_EINVAL, 0, "URL has a query");
    if (st != CYGNET_OK)
        return fail_within(err, st, "server_url");
    len = strlen(server->path);
    while (len > 0 && server->path[len - 1] == '/')
        server->path[--len] = '\0';
    return CYGNET_OK;
}

cygnet_status native_coordinator_create(cygnet_coordinator **out,
                                        const struct native_config *config,
                                        cygnet_error *err)
{
    struct native *native = mem_calloc(config->alloc, 1, sizeof(*native));
    cygnet_status st;

    *out = NULL;
    if (!native)
        return fail(err, CYGNET_ENOMEM, 0, "coordinator");
    native->face = (cygnet_coordinator){
        .struct_size = sizeof(native->face),
        .delivery = CYGNET_DELIVERY_IDEMPOTENT,
        .check_in = check_in,
        .fetch = native_fetch,
        .upload = upload,
        .renew = renew,
        .report = report,
        .retry_after_s = retry_after_s,
    };
    native->config = *config;
    native->cache =
        (struct blob_cache){config->cache, config->max_cache_bytes, config->log};
    st = read_server_url(native, err);
    if (st != CYGNET_OK) {
        native_coordinator_destroy(&native->face);
        return st;
    }
    *out = &native->face;
    return CYGNET_OK;
}

void native_coordinator_destroy(cygnet_coordinator *coordinator)
{
    struct native *native = (struct native *)coordinator;

    if (!native)
        return;
    explicit_bzero(native->authorization, sizeof(native->authorization));
    mem_free(native->config.alloc, native);
}
