/* The built-in HTTP stack: cygnet_http over libcurl.
 *
 * One multi and one easy handle per stack, so that connections and the parsed CA
 * store are reused. The loop looks at the stop word at least every SLICE_MS.
 * What cancel guarantees: perform returns within SLICE_MS plus the time of one
 * curl_multi_perform, which never blocks: names are resolved on a thread of
 * libcurl's, and QUICK_EXIT (of the handle, since 8.20 of the multi handle, too)
 * makes libcurl leave that thread behind instead of joining it; it ends by itself when
 * getaddrinfo returns and touches nothing of ours. */
#include "transport/curl_exchange.h"

#include "base/alloc.h"
#include "base/error.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define SLICE_MS 50 /* longest wait without a look at the stop word */
#define MAX_REDIRECTS 3
#define MAX_IDLE_CONNECTIONS 2L

/* Of libcurls that may be newer than the headers we are built with. */
#define TOO_LARGE 100       /* CURLE_TOO_LARGE, since 8.6 */
#define MULTI_QUICK_EXIT 21 /* CURLMOPT_QUICK_EXIT, since 8.20 */
#define MULTI_QUICK_EXIT_SINCE 0x081400u

/* A stopwatch for stalls; nothing of it leaves this file. */
static int64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- Running ------------------------------------------------------------- */

static cygnet_status status_of(CURLcode code)
{
    if ((int)code == TOO_LARGE)
        return CYGNET_ELIMIT;
    switch (code) {
    case CURLE_OUT_OF_MEMORY:
        return CYGNET_ENOMEM;
    case CURLE_OPERATION_TIMEDOUT:
        return CYGNET_ETIMEOUT;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CRL_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_ENGINE_INITFAILED:
        return CYGNET_ETLS;
    case CURLE_UNSUPPORTED_PROTOCOL: /* HTTP/0.9: bytes that are no HTTP at all */
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_BAD_CONTENT_ENCODING:
        return CYGNET_EPROTOCOL;
    case CURLE_URL_MALFORMAT:
        return CYGNET_EINVAL;
    default:
        return CYGNET_ENETWORK;
    }
}

/* libcurl keeps a header line that does not end up to a limit of its own; before
 * 8.6 it then said that there is no memory. Of its other limits it speaks. */
static bool is_endless_line(const struct exchange *x, CURLcode code)
{
    bool large = (int)code == TOO_LARGE && !x->stack->reason[0];

    return (large || code == CURLE_OUT_OF_MEMORY) && x->n_header_bytes > 0 &&
           !x->complete;
}

/* What stands before libcurl's reason. */
static const char *preface(cygnet_status st)
{
    if (st == CYGNET_EPROTOCOL)
        return "the answer is not HTTP: ";
    return st == CYGNET_ELIMIT ? "the answer is beyond a limit: " : "";
}

/* One line of libcurl's reason behind the peer's name. */
static cygnet_status explain(struct exchange *x, const struct url *at, CURLcode code)
{
    char *reason = x->stack->reason;
    cygnet_status st = status_of(code);
    long os_error = 0;

    if (x->verdict != CYGNET_OK) {
        if (x->err && x->err->status != x->verdict)
            return fail(x->err, x->verdict, 0, "the receiver ended the exchange");
        return x->verdict;
    }
    if (is_endless_line(x, code))
        return curl_header_too_long(x);
    if (!reason[0])
        (void)snprintf(reason, CURL_ERROR_SIZE, "%s", curl_easy_strerror(code));
    reason[strcspn(reason, "\r\n")] = '\0';
    (void)curl_easy_getinfo(x->stack->easy, CURLINFO_OS_ERRNO, &os_error);
    return fail(x->err, st, st == CYGNET_ENETWORK ? (int32_t)os_error : 0,
                "%.80s port %u: %s%.140s", at->host, (unsigned)at->port, preface(st),
                reason);
}

/* Has the exchange stalled, or taken too long? */
static cygnet_status check_time(struct exchange *x, const struct url *at)
{
    int64_t now = now_ms();
    uint64_t moved = x->n_body + x->n_header_bytes + x->n_sent;
    const cygnet_http_request *request = x->request;

    if (moved != x->moved) {
        x->moved = moved;
        x->moved_ms = now;
    }
    if (request->timeout_ms > 0 && now - x->begun_ms >= request->timeout_ms)
        return fail(x->err, CYGNET_ETIMEOUT, 0,
                    "%.80s port %u: no complete answer within %lld ms", at->host,
                    (unsigned)at->port, (long long)request->timeout_ms);
    if (request->stall_ms > 0 && now - x->moved_ms >= request->stall_ms)
        return fail(x->err, CYGNET_ETIMEOUT, 0,
                    "%.80s port %u: no byte moved for %lld ms", at->host,
                    (unsigned)at->port, (long long)request->stall_ms);
    return CYGNET_OK;
}

/* The result of the only transfer; CURLE_OK when it has not ended. */
static CURLcode result_of(CURLM *multi)
{
    CURLcode code = CURLE_OK;
    CURLMsg *message;
    int left;

    while ((message = curl_multi_info_read(multi, &left)) != NULL) {
        if (message->msg == CURLMSG_DONE)
            code = message->data.result;
    }
    return code;
}

static cygnet_status drive(struct exchange *x, const struct url *at)
{
    CURLM *multi = x->stack->multi;
    CURLMcode bad = CURLM_OK;
    CURLcode code;
    int running = 1;
    cygnet_status st = CYGNET_OK;

    while (st == CYGNET_OK && bad == CURLM_OK && running) {
        if (cygnet_stopped(x->stop))
            return fail(x->err, CYGNET_ECANCELLED, 0, "cancelled");
        bad = curl_multi_perform(multi, &running);
        if (bad == CURLM_OK && running)
            st = check_time(x, at);
        if (st == CYGNET_OK && bad == CURLM_OK && running)
            bad = curl_multi_poll(multi, NULL, 0, SLICE_MS, NULL);
    }
    if (st != CYGNET_OK)
        return st;
    if (bad != CURLM_OK)
        return fail(x->err, bad == CURLM_OUT_OF_MEMORY ? CYGNET_ENOMEM : CYGNET_ENETWORK,
                    0, "libcurl: %.120s", curl_multi_strerror(bad));
    code = result_of(multi);
    return code == CURLE_OK ? CYGNET_OK : explain(x, at, code);
}

/* One request and its answer, without following anything. */
static cygnet_status exchange_once(struct exchange *x, const struct url *at)
{
    struct curl_http *stack = x->stack;
    struct curl_slist *headers = NULL;
    char url[URL_MAX + 1];
    curl_off_t sent = 0;
    cygnet_status st = url_format(url, at, NULL, x->err);

    x->status = 0;
    x->drop = false;
    x->begun = false;
    x->n_body = 0;
    x->n_sent = 0;
    stack->reason[0] = '\0';
    if (st == CYGNET_OK)
        st = curl_request_headers(&headers, x);
    if (st != CYGNET_OK)
        return st;
    if (curl_set_up(x, url, headers) != CURLE_OK ||
        curl_multi_add_handle(stack->multi, stack->easy) != CURLM_OK) {
        st = fail(x->err, CYGNET_ENOMEM, 0, "libcurl refused the request");
    } else {
        st = drive(x, at);
        if (curl_easy_getinfo(stack->easy, CURLINFO_SIZE_UPLOAD_T, &sent) == CURLE_OK)
            curl_count_sent(x, sent); /* the last call of on_progress may be early */
        (void)curl_multi_remove_handle(stack->multi, stack->easy);
    }
    curl_slist_free_all(headers);
    return st;
}

/* Where the redirect in x leads, if we may go there. */
static cygnet_status follow(struct url *at, const struct exchange *x, int n_followed)
{
    struct url to;
    cygnet_status st = CYGNET_OK;

    if (n_followed >= MAX_REDIRECTS)
        return fail(x->err, CYGNET_EPROTOCOL, x->status,
                    "the server redirects more than %d times", MAX_REDIRECTS);
    if (url_resolve(&to, at, x->location, NULL) != CYGNET_OK)
        st = fail(x->err, CYGNET_EPROTOCOL, x->status,
                  "the server redirects to something that is no URL");
    else if (!url_same_origin(&to, at))
        st = fail(x->err, CYGNET_EPROTOCOL, x->status,
                  "the server redirects to another origin, %s://%.80s:%u; refused",
                  to.secure ? "https" : "http", to.host, (unsigned)to.port);
    if (st == CYGNET_OK)
        *at = to;
    return st;
}

static cygnet_status check_version(const cygnet_http_request *request, cygnet_error *err)
{
    const curl_version_info_data *info = curl_version_info(CURLVERSION_NOW);

    if (!curl_wants_http2(request) || (info->features & CURL_VERSION_HTTP2))
        return CYGNET_OK;
    return fail(err, CYGNET_EUNSUPPORTED, 0, "libcurl %.20s is built without HTTP/2",
                info->version);
}

static cygnet_status perform(cygnet_http *http, int *http_status,
                             const cygnet_http_request *request,
                             const cygnet_http_sink *sink, const cygnet_stop *stop,
                             cygnet_error *err)
{
    struct curl_http *stack = (struct curl_http *)http;
    struct exchange x = {
        .stack = stack, .request = request, .sink = sink, .stop = stop, .err = err};
    struct url at;
    cygnet_status st;

    *http_status = 0;
    if (err)
        err->status = CYGNET_OK;
    st = check_version(request, err);
    if (st == CYGNET_OK)
        st = url_parse(&at, request->url, err);
    if (st == CYGNET_OK)
        st = url_check_allowed(&at, stack->plain, err);
    x.begun_ms = x.moved_ms = now_ms();
    for (int n_followed = 0; st == CYGNET_OK; n_followed++) {
        st = exchange_once(&x, &at);
        if (st != CYGNET_OK || !x.drop || !x.location[0])
            break;
        st = follow(&at, &x, n_followed);
    }
    *http_status = x.status;
    return st;
}

/* ---- Lifecycle ----------------------------------------------------------- */

static cygnet_status check_build(cygnet_error *err)
{
    const curl_version_info_data *info = curl_version_info(CURLVERSION_NOW);
    const int wanted =
        CURL_VERSION_SSL | CURL_VERSION_ASYNCHDNS | CURL_VERSION_THREADSAFE;

    if ((info->features & wanted) == wanted)
        return CYGNET_OK;
    return fail(err, CYGNET_EUNSUPPORTED, 0,
                "libcurl %.20s lacks TLS, a threaded resolver or thread-safe start-up",
                info->version);
}

static cygnet_status check_ca_file(const char *path, cygnet_error *err)
{
    FILE *file = path ? fopen(path, "rb") : NULL;

    if (path && !file)
        return fail(err, CYGNET_EINVAL, 0, "the CA file %.160s cannot be read", path);
    if (file)
        (void)fclose(file);
    return CYGNET_OK;
}

static cygnet_status open_handles(struct curl_http *stack, const char *ca_file)
{
    /* Thread-safe and counted, as check_build has made sure. */
    stack->global = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
    if (!stack->global)
        return CYGNET_ENOMEM;
    stack->multi = curl_multi_init();
    stack->easy = curl_easy_init();
    if (ca_file)
        stack->ca_file = mem_strdup(stack->alloc, ca_file);
    if (!stack->multi || !stack->easy || (ca_file && !stack->ca_file))
        return CYGNET_ENOMEM;
    (void)curl_multi_setopt(stack->multi, CURLMOPT_MAXCONNECTS, MAX_IDLE_CONNECTIONS);
    if (curl_version_info(CURLVERSION_NOW)->version_num >= MULTI_QUICK_EXIT_SINCE)
        (void)curl_multi_setopt(stack->multi, (CURLMoption)MULTI_QUICK_EXIT, 1L);
    return CYGNET_OK;
}

cygnet_status curl_http_create(cygnet_http **out, const char *ca_file,
                               enum url_plain plain, const cygnet_allocator *alloc,
                               cygnet_error *err)
{
    struct curl_http *stack;
    cygnet_status st = check_build(err);

    *out = NULL;
    if (st == CYGNET_OK)
        st = check_ca_file(ca_file, err);
    if (st != CYGNET_OK)
        return st;
    stack = mem_calloc(alloc, 1, sizeof(*stack));
    if (!stack)
        return fail(err, CYGNET_ENOMEM, 0, "HTTP stack");
    stack->face.struct_size = sizeof(stack->face);
    stack->face.perform = perform;
    stack->alloc = alloc;
    stack->plain = plain;
    if (open_handles(stack, ca_file) != CYGNET_OK) {
        curl_http_destroy(&stack->face);
        return fail(err, CYGNET_ENOMEM, 0, "HTTP stack");
    }
    *out = &stack->face;
    return CYGNET_OK;
}

void curl_http_destroy(cygnet_http *http)
{
    struct curl_http *stack = (struct curl_http *)http;

    if (!stack)
        return;
    curl_easy_cleanup(stack->easy);
    (void)curl_multi_cleanup(stack->multi);
    if (stack->global)
        curl_global_cleanup();
    mem_free(stack->alloc, stack->ca_file);
    mem_free(stack->alloc, stack);
}
