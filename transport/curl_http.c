/* The built-in HTTP stack: cygnet_http over libcurl, and the only file that knows
 * libcurl.
 *
 * One multi and one easy handle per stack, so that connections and the parsed CA
 * store are reused. The loop looks at the stop word at least every SLICE_MS.
 * What cancel guarantees: perform returns within SLICE_MS plus the time of one
 * curl_multi_perform, which never blocks: names are resolved on a thread of
 * libcurl's, and CURLOPT_QUICK_EXIT makes libcurl leave that thread behind
 * instead of joining it; it ends by itself when getaddrinfo returns and touches
 * nothing of ours. */
#include "transport/transport.h"

#include "base/alloc.h"
#include "base/error.h"
#include "transport/url.h"

#include <curl/curl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define SLICE_MS 50               /* longest wait without a look at the stop word */
#define CONNECT_TIMEOUT_MS 15000L /* name, TCP and TLS together */
#define MAX_REDIRECTS 3
#define MAX_IDLE_CONNECTIONS 2L
#define MAX_ALL_HEADER_BYTES (1u << 18) /* of one perform: 1xx and trailers too */
#define MAX_DROPPED_BODY (1u << 16)     /* of a redirect that is followed */

struct curl_http {
    cygnet_http face; /* first: perform gets a pointer to it */
    const cygnet_allocator *alloc;
    CURLM *multi;
    CURL *easy;
    char *ca_file;
    int allow_loopback_http;
    bool global;
    char line[CYGNET_HTTP_MAX_HEADER_BYTES + 1];
    char reason[CURL_ERROR_SIZE];
};

/* One perform, over all its redirects.
 *
 * status    of the answer that is coming in, 0 before its first line
 * drop      the answer is a redirect that will be followed, or 1xx
 * complete  its headers have ended; what follows are trailers
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

/* A stopwatch for stalls; nothing of it leaves this file. */
static int64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static bool is_followed(const struct exchange *x)
{
    bool safe =
        strcmp(x->request->method, "GET") == 0 || strcmp(x->request->method, "HEAD") == 0;

    return safe && (x->status == 301 || x->status == 302 || x->status == 303 ||
                    x->status == 307 || x->status == 308);
}

/* ---- Callbacks ----------------------------------------------------------- */

static void begin_answer(struct exchange *x, const char *line)
{
    const char *blank = strchr(line, ' ');

    x->status = blank ? (int)strtol(blank + 1, NULL, 10) : 0;
    x->drop = x->status < 200 || is_followed(x);
    x->complete = false;
    x->n_headers = 0;
    x->location[0] = '\0';
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

static cygnet_status take_header(struct exchange *x, char *line)
{
    char *value = split(line);
    cygnet_status st = CYGNET_OK;

    if (!value)
        return CYGNET_OK;
    if (++x->n_headers > CYGNET_HTTP_MAX_HEADERS)
        return fail(x->err, CYGNET_ELIMIT, x->status,
                    "the answer has more than %d header lines", CYGNET_HTTP_MAX_HEADERS);
    if (strcmp(line, "content-length") == 0)
        st = check_length(x, value);
    if (strcmp(line, "location") == 0)
        (void)snprintf(x->location, sizeof(x->location), "%s", value);
    if (st == CYGNET_OK && !x->drop && x->sink->header)
        st = x->sink->header(line, value, x->sink->user);
    return st;
}

static cygnet_status header_too_long(const struct exchange *x)
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
        return header_too_long(x);
    memcpy(line, data, len);
    line[len] = '\0';
    if (strncmp(line, "HTTP/", 5) == 0) {
        begin_answer(x, line);
        return CYGNET_OK;
    }
    if (len == 0)
        x->complete = true;
    return x->complete ? CYGNET_OK : take_header(x, line);
}

static size_t on_header(char *data, size_t size, size_t n, void *user)
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

static size_t on_body(char *data, size_t size, size_t n, void *user)
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

static void count_sent(struct exchange *x, curl_off_t sent)
{
    if (sent <= 0 || (uint64_t)sent <= x->n_sent || (uint64_t)sent > x->request->body_len)
        return;
    x->n_sent = (uint64_t)sent;
    if (x->sink->sent)
        x->sink->sent(x->n_sent, x->sink->user);
}

static int on_progress(void *user, curl_off_t total_down, curl_off_t down,
                       curl_off_t total_up, curl_off_t up)
{
    (void)total_down;
    (void)down;
    (void)total_up;
    count_sent(user, up);
    return 0;
}

/* ---- Setting up ---------------------------------------------------------- */

/* Adds "text" to the list; on failure frees the list and returns NULL. */
static struct curl_slist *add_line(struct curl_slist *list, const char *text)
{
    struct curl_slist *longer = curl_slist_append(list, text);

    if (!longer)
        curl_slist_free_all(list);
    return longer;
}

static cygnet_status request_headers(struct curl_slist **out, const struct exchange *x)
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
                         stack->allow_loopback_http ? "https,http" : "https"),
        curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L),
        curl_easy_setopt(easy, CURLOPT_HTTP_VERSION,
                         (long)CURL_HTTP_VERSION_1_1), /* one at a time */
        /* the environment's proxies would be a surprise */
        curl_easy_setopt(easy, CURLOPT_PROXY, ""),
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L),
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L),
        curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2),
        curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS),
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
        curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header),
        curl_easy_setopt(easy, CURLOPT_HEADERDATA, x),
        curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body),
        curl_easy_setopt(easy, CURLOPT_WRITEDATA, x),
        curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L),
        curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, on_progress),
        curl_easy_setopt(easy, CURLOPT_XFERINFODATA, x),
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

static CURLcode set_up(struct exchange *x, const char *url, struct curl_slist *headers)
{
    struct curl_http *stack = x->stack;
    CURLcode bad;

    curl_easy_reset(stack->easy);
    bad = set_policy(stack);
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

/* ---- Running ------------------------------------------------------------- */

static cygnet_status status_of(CURLcode code)
{
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

/* libcurl keeps a header line that does not end up to a limit of its own, and then
 * says that there is no memory. */
static bool is_endless_line(const struct exchange *x, CURLcode code)
{
#if LIBCURL_VERSION_NUM >= 0x080600
    if (code == CURLE_TOO_LARGE)
        return !x->complete;
#endif
    return code == CURLE_OUT_OF_MEMORY && x->n_header_bytes > 0 && !x->complete;
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
        return header_too_long(x);
    if (!reason[0])
        (void)snprintf(reason, CURL_ERROR_SIZE, "%s", curl_easy_strerror(code));
    reason[strcspn(reason, "\r\n")] = '\0';
    (void)curl_easy_getinfo(x->stack->easy, CURLINFO_OS_ERRNO, &os_error);
    return fail(x->err, st, st == CYGNET_ENETWORK ? (int32_t)os_error : 0,
                "%.80s port %u: %s%.140s", at->host, (unsigned)at->port,
                st == CYGNET_EPROTOCOL ? "the answer is not HTTP: " : "", reason);
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
    x->n_body = 0;
    x->n_sent = 0;
    stack->reason[0] = '\0';
    if (st == CYGNET_OK)
        st = request_headers(&headers, x);
    if (st != CYGNET_OK)
        return st;
    if (set_up(x, url, headers) != CURLE_OK ||
        curl_multi_add_handle(stack->multi, stack->easy) != CURLM_OK) {
        st = fail(x->err, CYGNET_ENOMEM, 0, "libcurl refused the request");
    } else {
        st = drive(x, at);
        if (curl_easy_getinfo(stack->easy, CURLINFO_SIZE_UPLOAD_T, &sent) == CURLE_OK)
            count_sent(x, sent); /* the last call of on_progress may be early */
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
    st = url_parse(&at, request->url, err);
    if (st == CYGNET_OK)
        st = url_check_allowed(&at, stack->allow_loopback_http, err);
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
    return CYGNET_OK;
}

cygnet_status curl_http_create(cygnet_http **out, const char *ca_file,
                               int allow_loopback_http, const cygnet_allocator *alloc,
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
    stack->allow_loopback_http = allow_loopback_http;
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
