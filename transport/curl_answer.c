/* What comes back in one exchange, header by header and piece by piece, held
 * against the limits and handed to the sink. */
#include "transport/curl_exchange.h"

#include "base/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ALL_HEADER_BYTES (1u << 18) /* of one perform: 1xx and trailers too */
#define MAX_DROPPED_BODY (1u << 16)     /* of a redirect that is followed */

static bool is_followed(const struct exchange *x)
{
    bool safe =
        strcmp(x->request->method, "GET") == 0 || strcmp(x->request->method, "HEAD") == 0;

    return safe && (x->status == 301 || x->status == 302 || x->status == 303 ||
                    x->status == 307 || x->status == 308);
}

static cygnet_status begin_answer(struct exchange *x, const char *line)
{
    const char *blank = strchr(line, ' ');

    if (curl_wants_http2(x->request) && strncmp(line, "HTTP/2", 6) != 0)
        return fail(x->err, CYGNET_EPROTOCOL, 0,
                    "the server speaks %.8s where HTTP/2 is needed", line);
    x->status = blank ? (int)strtol(blank + 1, NULL, 10) : 0;
    x->drop = x->status < 200 || is_followed(x);
    x->complete = false;
    x->n_headers = 0;
    x->location[0] = '\0';
    return CYGNET_OK;
}

static cygnet_status check_length(struct exchange *x, const char *value)
{
    unsigned long long len = strtoull(value, NULL, 10);

    if (x->drop || strcmp(x->request->method, "HEAD") == 0 || len <= x->request->max_body)
        return CYGNET_OK;
    return fail(x->err, CYGNET_ELIMIT, x->status,
                "the answer is %llu bytes, more than the limit of %llu", len,
                (unsigned long long)x->request->max_body);
}

/* Splits "Name: value" in place, the name in lower case. NULL: not a header. */
static char *split(char *line)
{
    char *colon = strchr(line, ':');
    char *value;
    size_t len;

    if (!colon || colon == line)
        return NULL;
    *colon = '\0';
    for (char *c = line; *c; c++) {
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c - 'A' + 'a');
    }
    value = colon + 1 + strspn(colon + 1, " \t");
    len = strlen(value);
    while (len > 0 && (value[len - 1] == ' ' || value[len - 1] == '\t'))
        value[--len] = '\0';
    return value;
}

static cygnet_status take_trailer(struct exchange *x, const char *name, const char *value)
{
    return x->drop || !x->sink->trailer ? CYGNET_OK
                                        : x->sink->trailer(name, value, x->sink->user);
}

static cygnet_status take_header(struct exchange *x, char *line)
{
    char *value = split(line);
    cygnet_status st = CYGNET_OK;

    if (!value)
        return CYGNET_OK;
    if (++x->n_headers > CYGNET_HTTP_MAX_HEADERS)
        return fail(x->err, CYGNET_ELIMIT, x->status,
                    "the answer has more than %d header lines", CYGNET_HTTP_MAX_HEADERS);
    if (x->complete)
        return take_trailer(x, line, value);
    if (strcmp(line, "content-length") == 0)
        st = check_length(x, value);
    if (strcmp(line, "location") == 0)
        (void)snprintf(x->location, sizeof(x->location), "%s", value);
    if (st == CYGNET_OK && !x->drop && x->sink->header)
        st = x->sink->header(line, value, x->sink->user);
    return st;
}

cygnet_status curl_header_too_long(const struct exchange *x)
{
    return fail(x->err, CYGNET_ELIMIT, x->status,
                "a header line of the answer is longer than %d bytes",
                CYGNET_HTTP_MAX_HEADER_BYTES);
}

static cygnet_status take_line(struct exchange *x, const char *data, size_t len)
{
    char *line = x->stack->line;

    while (len > 0 && (data[len - 1] == '\r' || data[len - 1] == '\n'))
        len--;
    if (len > CYGNET_HTTP_MAX_HEADER_BYTES)
        return curl_header_too_long(x);
    memcpy(line, data, len);
    line[len] = '\0';
    if (strncmp(line, "HTTP/", 5) == 0)
        return begin_answer(x, line);
    if (len == 0)
        x->complete = true;
    return take_header(x, line);
}

size_t curl_on_header(char *data, size_t size, size_t n, void *user)
{
    struct exchange *x = user;

    x->n_header_bytes += size * n;
    if (x->n_header_bytes > MAX_ALL_HEADER_BYTES)
        x->verdict = fail(x->err, CYGNET_ELIMIT, x->status,
                          "the headers of the answer are more than %u bytes",
                          MAX_ALL_HEADER_BYTES);
    else
        x->verdict = take_line(x, data, size * n);
    return x->verdict == CYGNET_OK ? size * n : 0;
}

size_t curl_on_body(char *data, size_t size, size_t n, void *user)
{
    struct exchange *x = user;
    size_t len = size * n;
    uint64_t limit = x->drop ? MAX_DROPPED_BODY : x->request->max_body;

    x->n_body += len;
    if (x->n_body > limit)
        x->verdict = fail(x->err, CYGNET_ELIMIT, x->status,
                          "the %s is larger than the limit of %llu bytes",
                          x->drop ? "redirect" : "answer", (unsigned long long)limit);
    else if (!x->drop && x->sink->body)
        x->verdict = x->sink->body(x->status, data, len, x->sink->user);
    return x->verdict == CYGNET_OK ? len : 0;
}

void curl_count_sent(struct exchange *x, curl_off_t sent)
{
    if (sent <= 0 || (uint64_t)sent <= x->n_sent || (uint64_t)sent > x->request->body_len)
        return;
    x->n_sent = (uint64_t)sent;
    if (x->sink->sent)
        x->sink->sent(x->n_sent, x->sink->user);
}

int curl_on_progress(void *user, curl_off_t total_down, curl_off_t down,
                     curl_off_t total_up, curl_off_t up)
{
    (void)total_down;
    (void)down;
    (void)total_up;
    curl_count_sent(user, up);
    return 0;
}

/* libcurl repeats a request, body and all, when the server refuses its stream: over
 * HTTP/2 that is promised not to happen. */
int curl_on_connected(void *user, char *peer, char *own, int peer_port, int own_port)
{
    struct exchange *x = user;

    (void)peer;
    (void)own;
    (void)peer_port;
    (void)own_port;
    if (x->begun && curl_wants_http2(x->request)) {
        x->verdict = fail(x->err, CYGNET_ENETWORK, 0,
                          "the server refused the request, which is sent only once");
        return CURL_PREREQFUNC_ABORT;
    }
    x->begun = true;
    if (x->sink->sent)
        x->sink->sent(0, x->sink->user);
    return CURL_PREREQFUNC_OK;
}
