/* Telling libcurl all about one exchange. */
#include "transport/curl_exchange.h"

#include "base/error.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define CONNECT_TIMEOUT_MS 15000L /* name, TCP and TLS together */

/* A request of a smaller size is of a caller that does not know the field. */
bool curl_wants_http2(const cygnet_http_request *request)
{
    return request->struct_size >=
               offsetof(cygnet_http_request, version) + sizeof(request->version) &&
           request->version == CYGNET_HTTP_2;
}

/* Adds "text" to the list; on failure frees the list and returns NULL. */
static struct curl_slist *add_line(struct curl_slist *list, const char *text)
{
    struct curl_slist *longer = curl_slist_append(list, text);

    if (!longer)
        curl_slist_free_all(list);
    return longer;
}

cygnet_status curl_request_headers(struct curl_slist **out, const struct exchange *x)
{
    const cygnet_http_request *request = x->request;
    char *line = x->stack->line;
    bool typed = false;
    struct curl_slist *list = add_line(NULL, "Accept: */*");

    for (uint32_t i = 0; list && i < request->n_headers; i++) {
        const cygnet_http_header *h = &request->headers[i];
        int len =
            snprintf(line, CYGNET_HTTP_MAX_HEADER_BYTES + 1, "%s: %s", h->name, h->value);

        if (len < 0 || len > CYGNET_HTTP_MAX_HEADER_BYTES || strpbrk(line, "\r\n")) {
            curl_slist_free_all(list);
            return fail(x->err, CYGNET_EINVAL, 0,
                        "request header %.40s is too long or holds a line break",
                        h->name);
        }
        typed = typed || strcasecmp(h->name, "content-type") == 0;
        list = add_line(list, line);
    }
    if (list && !typed) /* libcurl would call the body a web form */
        list = add_line(list, "Content-Type:");
    *out = list;
    return list ? CYGNET_OK : fail(x->err, CYGNET_ENOMEM, 0, "request headers");
}

/* The first of `codes` that is an error; libcurl refuses an option only for lack of
 * memory or in a wrong build. */
static CURLcode first_bad(const CURLcode *codes, size_t n_codes)
{
    for (size_t i = 0; i < n_codes; i++)
        if (codes[i] != CURLE_OK)
            return codes[i];
    return CURLE_OK;
}

/* Options in a list are set in no particular order. */
#define N_CODES(codes) (sizeof(codes) / sizeof((codes)[0]))

static CURLcode set_policy(const struct curl_http *stack)
{
    CURL *easy = stack->easy;
    const CURLcode codes[] = {
        curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L),
        curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L),
        curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR,
                         stack->plain != URL_PLAIN_REFUSED ? "https,http" : "https"),
        curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L),
        /* the environment's proxies would be a surprise */
        curl_easy_setopt(easy, CURLOPT_PROXY, ""),
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L),
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L),
        curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2),
        curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS),
    };

    return first_bad(codes, N_CODES(codes));
}

/* HTTP/1.1 unless the request asks: HTTP/2 gives nothing to one exchange at a time.
 *
 * An exchange over HTTP/2 has a connection of its own: libcurl repeats a request when
 * a connection that it kept turns out to be dead, and libcurl 7.88 cannot use one in
 * cleartext a second time. */
static CURLcode set_version(CURL *easy, const cygnet_http_request *request)
{
    bool two = curl_wants_http2(request);
    bool secure = strncasecmp(request->url, "https:", 6) == 0;
    long version = !two     ? CURL_HTTP_VERSION_1_1
                   : secure ? CURL_HTTP_VERSION_2TLS
                            : CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE;
    const CURLcode codes[] = {
        curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, version),
        curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, two ? 1L : 0L),
        curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, two ? 1L : 0L),
    };

    return first_bad(codes, N_CODES(codes));
}

/* A CA file means these roots and no others. */
static CURLcode set_roots(const struct curl_http *stack)
{
    const CURLcode codes[] = {
        curl_easy_setopt(stack->easy, CURLOPT_CAINFO, stack->ca_file),
        curl_easy_setopt(stack->easy, CURLOPT_CAPATH, NULL),
    };

    return first_bad(codes, N_CODES(codes));
}

static CURLcode set_callbacks(struct exchange *x)
{
    CURL *easy = x->stack->easy;
    const CURLcode codes[] = {
        curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, x->stack->reason),
        curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, curl_on_header),
        curl_easy_setopt(easy, CURLOPT_HEADERDATA, x),
        curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, curl_on_body),
        curl_easy_setopt(easy, CURLOPT_WRITEDATA, x),
        curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L),
        curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, curl_on_progress),
        curl_easy_setopt(easy, CURLOPT_XFERINFODATA, x),
        curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, curl_on_connected),
        curl_easy_setopt(easy, CURLOPT_PREREQDATA, x),
    };

    return first_bad(codes, N_CODES(codes));
}

/* A POST by another name: the body stays in the caller's memory. */
static CURLcode set_body(CURL *easy, const cygnet_http_request *request)
{
    const CURLcode codes[] = {
        curl_easy_setopt(easy, CURLOPT_POST, 1L),
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
                         (curl_off_t)request->body_len),
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS,
                         request->body_len ? request->body : ""),
        curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method),
    };

    return first_bad(codes, N_CODES(codes));
}

static CURLcode set_method(CURL *easy, const cygnet_http_request *request)
{
    if (strcmp(request->method, "GET") == 0)
        return curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
    if (strcmp(request->method, "HEAD") == 0)
        return curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    return set_body(easy, request);
}

CURLcode curl_set_up(struct exchange *x, const char *url, struct curl_slist *headers)
{
    struct curl_http *stack = x->stack;
    CURLcode bad;

    curl_easy_reset(stack->easy);
    bad = set_policy(stack);
    if (bad == CURLE_OK)
        bad = set_version(stack->easy, x->request);
    if (bad == CURLE_OK && stack->ca_file)
        bad = set_roots(stack);
    if (bad == CURLE_OK)
        bad = set_callbacks(x);
    if (bad == CURLE_OK)
        bad = curl_easy_setopt(stack->easy, CURLOPT_URL, url);
    if (bad == CURLE_OK)
        bad = curl_easy_setopt(stack->easy, CURLOPT_HTTPHEADER, headers);
    return bad == CURLE_OK ? set_method(stack->easy, x->request) : bad;
}
