/* The scripted HTTP stack. */
#include "tests/fakes/fake_http.h"

#include "base/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* A test that asks for more than the fake holds is wrong: say so and stop. */
static void insist(int holds, const char *what)
{
    if (holds)
        return;
    (void)fprintf(stderr, "fake_http: %s\n", what);
    abort();
}

static char *copy(const void *data, size_t len)
{
    char *bytes = calloc(1, len + 1);

    insist(bytes != NULL, "out of memory");
    if (len > 0)
        memcpy(bytes, data, len);
    return bytes;
}

static void put_header(struct fake_header *to, const char *name, const char *value)
{
    (void)snprintf(to->name, sizeof(to->name), "%s", name);
    (void)snprintf(to->value, sizeof(to->value), "%s", value);
}

static void record(struct fake_http *fake, const cygnet_http_request *request)
{
    struct fake_request *to = &fake->requests[fake->n_requests];

    insist(fake->n_requests++ < FAKE_HTTP_MAX, "too many requests");
    insist(request->n_headers <= FAKE_HTTP_HEADERS, "too many request headers");
    (void)snprintf(to->method, sizeof(to->method), "%s", request->method);
    (void)snprintf(to->url, sizeof(to->url), "%s", request->url);
    for (uint32_t i = 0; i < request->n_headers; i++)
        put_header(&to->headers[i], request->headers[i].name, request->headers[i].value);
    to->n_headers = request->n_headers;
    to->body_len = (size_t)request->body_len;
    to->body = copy(request->body, to->body_len);
    to->max_body = request->max_body;
    to->timeout_ms = request->timeout_ms;
    to->stall_ms = request->stall_ms;
    to->version = request->version;
}

static cygnet_status give_body(const struct fake_http *fake,
                               const struct fake_reply *reply,
                               const cygnet_http_request *request,
                               const cygnet_http_sink *sink, cygnet_error *err)
{
    size_t len = reply->fail_with == CYGNET_OK ? reply->body_len : reply->cut_after;
    cygnet_status st = CYGNET_OK;

    for (size_t at = 0; st == CYGNET_OK && at < len;) {
        size_t piece = len - at < fake->piece ? len - at : fake->piece;

        if (at + piece > request->max_body)
            return fail(err, CYGNET_ELIMIT, reply->status, "too much body");
        st = sink->body(reply->status, reply->body + at, piece, sink->user);
        at += piece;
    }
    return st;
}

static cygnet_status perform(cygnet_http *http, int *http_status,
                             const cygnet_http_request *request,
                             const cygnet_http_sink *sink, const cygnet_stop *stop,
                             cygnet_error *err)
{
    struct fake_http *fake = (struct fake_http *)http;
    const struct fake_reply *reply = &fake->replies[fake->n_requests];
    cygnet_status st = CYGNET_OK;

    *http_status = 0;
    if (cygnet_stopped(stop))
        return fail(err, CYGNET_ECANCELLED, 0, "cancelled");
    if (fake->n_requests >= fake->n_replies && !fake->serve)
        return fail(err, CYGNET_ENETWORK, 0, "no reply is queued");
    record(fake, request);
    if (fake->n_requests > fake->n_replies)
        fake->serve(fake, &fake->requests[fake->n_requests - 1]);
    if (sink->sent && !reply->unsent)
        sink->sent(request->body_len, sink->user);
    *http_status = reply->status;
    for (uint32_t i = 0; st == CYGNET_OK && i < reply->n_headers; i++)
        st = sink->header(reply->headers[i].name, reply->headers[i].value, sink->user);
    if (st == CYGNET_OK)
        st = give_body(fake, reply, request, sink, err);
    for (uint32_t i = 0; st == CYGNET_OK && sink->trailer && i < reply->n_trailers; i++)
        st = sink->trailer(reply->trailers[i].name, reply->trailers[i].value, sink->user);
    if (st == CYGNET_OK && reply->fail_with != CYGNET_OK)
        st = fail(err, reply->fail_with, 0, "the exchange broke");
    return st;
}

struct fake_http *fake_http_create(void)
{
    struct fake_http *fake = calloc(1, sizeof(*fake));

    insist(fake != NULL, "out of memory");
    fake->face.struct_size = sizeof(fake->face);
    fake->face.perform = perform;
    fake->piece = 1000;
    return fake;
}

void fake_http_destroy(struct fake_http *fake)
{
    for (uint32_t i = 0; fake && i < FAKE_HTTP_MAX; i++) {
        free(fake->replies[i].body);
        free(fake->requests[i].body);
    }
    free(fake);
}

struct fake_reply *fake_http_reply_bytes(struct fake_http *fake, int status,
                                         const void *body, size_t len)
{
    struct fake_reply *reply = &fake->replies[fake->n_replies];

    insist(fake->n_replies++ < FAKE_HTTP_MAX, "too many replies");
    reply->status = status;
    reply->body = copy(body, len);
    reply->body_len = len;
    return reply;
}

struct fake_reply *fake_http_reply(struct fake_http *fake, int status, const char *body)
{
    return fake_http_reply_bytes(fake, status, body, strlen(body));
}

void fake_http_fail(struct fake_http *fake, cygnet_status status)
{
    fake_http_reply(fake, 0, "")->fail_with = status;
}

void fake_reply_header(struct fake_reply *reply, const char *name, const char *value)
{
    insist(reply->n_headers < FAKE_HTTP_HEADERS, "too many reply headers");
    put_header(&reply->headers[reply->n_headers++], name, value);
}

void fake_reply_trailer(struct fake_reply *reply, const char *name, const char *value)
{
    insist(reply->n_trailers < FAKE_HTTP_HEADERS, "too many reply trailers");
    put_header(&reply->trailers[reply->n_trailers++], name, value);
}

const char *fake_request_header(const struct fake_request *request, const char *name)
{
    for (uint32_t i = 0; i < request->n_headers; i++) {
        if (strcasecmp(request->headers[i].name, name) == 0)
            return request->headers[i].value;
    }
    return NULL;
}
