/* Weights: from the cache, or over the network with resume, never used before
 * size and hash are right. */
#include "transport/native_call.h"

#include "base/crypto.h"
#include "base/error.h"

#include <stdio.h>
#include <string.h>

#define MAX_ATTEMPTS 5 /* of one fetch; each must have brought new bytes */

/* began_ms    mono time of the first attempt
 * offset      where this attempt goes on; 0: from the start
 * range_ok    its Content-Range says what we asked for
 * started     the first piece of this attempt has come
 * n_received  bytes over the network in all attempts */
struct download {
    const struct native *native;
    const cygnet_task *task;
    struct bytes body;
    int64_t began_ms;
    uint64_t offset;
    bool range_ok;
    bool started;
    uint64_t n_received;
    cygnet_progress progress;
    void *user;
    cygnet_error *err;
};

static void on_header(const char *name, const char *value, void *user)
{
    struct download *d = user;
    unsigned long long first, last, total;
    char end;

    if (strcmp(name, "content-range") != 0)
        return;
    d->range_ok =
        sscanf(value, "bytes %19llu-%19llu/%19llu%c", &first, &last, &total, &end) == 3 &&
        first == d->offset && last >= first && last < total &&
        total == d->task->weights_bytes;
}

/* A 206 must go on where we are; a 200 starts again. */
static cygnet_status begin(struct download *d, int status)
{
    d->started = true;
    if (status == 206 && (d->offset == 0 || !d->range_ok))
        return fail(d->err, CYGNET_EPROTOCOL, status,
                    "weights: the server sent another range than the one asked for");
    if (status == 200)
        bytes_reset(&d->body);
    return CYGNET_OK;
}

static cygnet_status take(int status, const void *data, size_t len, void *user)
{
    struct download *d = user;
    cygnet_status st = d->started ? CYGNET_OK : begin(d, status);

    if (st != CYGNET_OK)
        return st;
    if (len > d->task->weights_bytes - d->body.len)
        return fail(
            d->err, CYGNET_EPROTOCOL, status,
            "weights: the server sent more than the %llu bytes that the task names",
            (unsigned long long)d->task->weights_bytes);
    st = bytes_append(&d->body, data, len, d->err);
    if (st != CYGNET_OK)
        return st;
    d->n_received += len;
    if (d->progress)
        d->progress(d->n_received, d->user);
    return CYGNET_OK;
}

/* The verdict on an answer that came to its end. */
static cygnet_status judge(const struct download *d, const struct native_request *request)
{
    uint64_t size = d->task->weights_bytes;

    if (request->status == 404 || request->status == 410)
        return fail(d->err, CYGNET_EREFUSED, request->status,
                    "weights: the blob is gone (status %d)", request->status);
    if (request->status != 200 && request->status != 206)
        return native_refusal(request, "weights", d->err);
    if (d->body.len < size)
        return fail(d->err, CYGNET_ENETWORK, 0,
                    "weights: the transfer ended after %zu of %llu bytes", d->body.len,
                    (unsigned long long)size);
    return CYGNET_OK;
}

static int64_t now_ms(const struct native *native)
{
    return native->config.clock->mono_ms(native->config.clock->user);
}

/* A server that sends a byte now and then must not hold us beyond the round. */
static int64_t left_ms(const struct download *d)
{
    return (int64_t)d->task->deadline_s * 1000 - (now_ms(d->native) - d->began_ms);
}

static bool is_broken(cygnet_status st)
{
    return st == CYGNET_ENETWORK || st == CYGNET_ETIMEOUT;
}

static cygnet_status attempt(struct native *native, struct download *d, const char *url,
                             const cygnet_stop *stop)
{
    char range[48];
    char etag[SHA256_HEX + 3];
    cygnet_http_header resume[] = {{"Range", range}, {"If-Range", etag}};
    struct native_request request = {
        .method = "GET",
        .url = url,
        .headers = resume,
        .n_headers = d->body.len > 0 ? 2 : 0,
        .max_answer = d->task->weights_bytes,
        .timeout_ms = left_ms(d) > 0 ? left_ms(d) : 1,
        .stop = stop,
        .header = on_header,
        .take = take,
        .user = d,
    };
    cygnet_status st;

    d->offset = d->body.len;
    d->range_ok = false;
    d->started = false;
    (void)snprintf(range, sizeof(range), "bytes=%llu-", (unsigned long long)d->offset);
    (void)snprintf(etag, sizeof(etag), "\"%s\"", d->task->weights_sha256);
    st = native_send(native, &request, d->err);
    if (is_broken(st) && d->started && d->body.len == d->task->weights_bytes)
        st = CYGNET_OK; /* whole, whatever became of the connection afterwards */
    if (st == CYGNET_OK)
        st = judge(d, &request);
    bytes_clear(&request.answer);
    return st;
}

/* Goes on after a broken transfer as long as each attempt brings something and
 * there is time. */
static cygnet_status download(struct native *native, struct download *d,
                              const cygnet_stop *stop)
{
    char url[URL_MAX + 1];
    cygnet_status st = native_weights_url(url, native, d->task->weights_url, d->err);

    if (st != CYGNET_OK)
        return st;
    d->began_ms = now_ms(native);
    for (int i = 0; i < MAX_ATTEMPTS; i++) {
        uint64_t had = d->n_received;

        st = attempt(native, d, url, stop);
        if (!is_broken(st) || d->n_received == had || left_ms(d) <= 0)
            break;
        log_line(native->config.log, LOG_DEBUG, "weights: broke off at %zu bytes",
                 d->body.len);
    }
    return st;
}

static cygnet_status verify(const struct download *d)
{
    char found[SHA256_HEX + 1];
    cygnet_status st = sha256_hex(found, d->body.data, d->body.len, d->err);

    if (st == CYGNET_OK && strcmp(found, d->task->weights_sha256) != 0)
        st = fail(d->err, CYGNET_EHASH, 0,
                  "weights: the SHA-256 is %.12s..., the task promises %.12s...", found,
                  d->task->weights_sha256);
    return st;
}

cygnet_status native_fetch(cygnet_coordinator *c, cygnet_tensors **weights,
                           const cygnet_task *task, cygnet_progress progress, void *user,
                           const cygnet_stop *stop, cygnet_error *err)
{
    struct native *native = (struct native *)c;
    struct download d = {
        .native = native, .task = task, .progress = progress, .user = user, .err = err};
    uint64_t limit = native->config.max_model_bytes;
    cygnet_status st;

    *weights = NULL;
    if (task->weights_bytes > limit || task->weights_bytes > SIZE_MAX / 2)
        return fail(err, CYGNET_ELIMIT, 0,
                    "weights: %llu bytes, more than the limit of %llu",
                    (unsigned long long)task->weights_bytes, (unsigned long long)limit);
    bytes_init(&d.body, (size_t)task->weights_bytes, native->config.alloc);
    st = blob_cache_get(&native->cache, &d.body, task->weights_sha256,
                        task->weights_bytes, err);
    if (st == CYGNET_ENOTFOUND) {
        st = download(native, &d, stop);
        if (st == CYGNET_OK)
            st = verify(&d);
        if (st == CYGNET_OK)
            blob_cache_put(&native->cache, task->weights_sha256, d.body.data, d.body.len);
    }
    if (st == CYGNET_OK)
        st = cygnet_tensors_parse(weights, d.body.data, d.body.len, limit,
                                  native->config.alloc, err);
    bytes_clear(&d.body);
    return st;
}
