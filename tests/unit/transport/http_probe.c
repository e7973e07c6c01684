/* One exchange over the libcurl stack, for test_http.py. Prints a line of JSON
 * numbers and a line with the error message.
 *
 *   http_probe [--ca FILE] [--loopback] [--method M] [--body N] [--max-body N]
 *              [--stall-ms N] [--timeout-ms N] [--cancel-ms N] [--slow-resolver]
 *              [--times N] [--http2] [--no-http2] [--anywhere] URL */
#include "base/clock.h"
#include "base/stop.h"
#include "transport/transport.h"

#include <curl/curl.h>
#include <dlfcn.h>
#include <getopt.h>
#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct probe {
    const char *ca;
    enum url_plain plain;
    cygnet_http_version version;
    const char *method;
    size_t body;
    uint64_t max_body;
    int64_t stall_ms;
    int64_t timeout_ms;
    int64_t cancel_ms; /* -1: never; 0: before it starts */
    int times;
    cygnet_stop stop;
    int64_t stopped_at_ms;
    uint64_t n_body;
    uint64_t n_headers;
    uint64_t n_sent;
    uint64_t n_trailers;
    int connected; /* sent was called */
};

static atomic_bool slow_resolver;

/* Takes libcurl's look-ups, to have one that hangs without a network. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **out);
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **out)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    void *symbol = dlsym(RTLD_NEXT, "getaddrinfo");

    if (atomic_load(&slow_resolver)) {
        (void)sleep(20);
        return EAI_AGAIN;
    }
    memcpy(&real, &symbol, sizeof(real));
    return real(node, service, hints, out);
}

static bool no_http2;

/* A libcurl that is built without HTTP/2. */
curl_version_info_data *curl_version_info(CURLversion age)
{
    static curl_version_info_data info;
    curl_version_info_data *(*real)(CURLversion);
    void *symbol = dlsym(RTLD_NEXT, "curl_version_info");

    memcpy(&real, &symbol, sizeof(real));
    info = *real(age);
    if (no_http2)
        info.features &= ~CURL_VERSION_HTTP2;
    return &info;
}

static int64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static cygnet_status on_header(const char *name, const char *value, void *user)
{
    struct probe *p = user;

    (void)name;
    (void)value;
    p->n_headers++;
    return CYGNET_OK;
}

static cygnet_status on_trailer(const char *name, const char *value, void *user)
{
    struct probe *p = user;

    (void)name;
    (void)value;
    p->n_trailers++;
    return CYGNET_OK;
}

static cygnet_status on_body(int status, const void *data, size_t len, void *user)
{
    struct probe *p = user;

    (void)status;
    (void)data;
    p->n_body += len;
    return CYGNET_OK;
}

static void on_sent(uint64_t n, void *user)
{
    struct probe *p = user;

    p->n_sent = n;
    p->connected = 1;
}

static void *cancel(void *user)
{
    struct probe *p = user;

    (void)usleep((useconds_t)p->cancel_ms * 1000);
    p->stopped_at_ms = now_ms();
    stop_set(&p->stop);
    return NULL;
}

static cygnet_status run(struct probe *p, cygnet_http *http, const char *url,
                         const void *body, int *http_status, cygnet_error *err)
{
    cygnet_http_request request = {
        .struct_size = sizeof(request),
        .method = p->method,
        .url = url,
        .body = body,
        .body_len = p->body,
        .max_body = p->max_body,
        .timeout_ms = p->timeout_ms,
        .stall_ms = p->stall_ms,
        .version = p->version,
    };
    cygnet_http_sink sink = {.header = on_header,
                             .body = on_body,
                             .sent = on_sent,
                             .user = p,
                             .trailer = on_trailer};

    p->n_body = p->n_headers = p->n_sent = p->n_trailers = 0;
    p->connected = 0;
    return http->perform(http, http_status, &request, &sink, &p->stop, err);
}

static int probe(struct probe *p, const char *url)
{
    cygnet_http *http = NULL;
    cygnet_error err = {0};
    pthread_t thread;
    int http_status = 0;
    int64_t late_ms;
    void *body = p->body ? calloc(1, p->body) : NULL;
    cygnet_status st = curl_http_create(&http, p->ca, p->plain, NULL, &err);

    if (p->cancel_ms == 0) {
        p->stopped_at_ms = now_ms();
        stop_set(&p->stop);
    }
    if (p->cancel_ms > 0 && pthread_create(&thread, NULL, cancel, p) != 0)
        return 1;
    for (int i = 0; st == CYGNET_OK && i < p->times; i++)
        st = run(p, http, url, body, &http_status, &err);
    late_ms = now_ms();
    if (p->cancel_ms > 0)
        (void)pthread_join(thread, NULL);
    late_ms -= p->stopped_at_ms;
    curl_http_destroy(http);
    free(body);
    (void)printf("{\"status\": \"%s\", \"http\": %d, \"body\": %llu, \"headers\": %llu, "
                 "\"sent\": %llu, \"trailers\": %llu, \"connected\": %d, \"late_ms\": "
                 "%lld, \"destroyed_ms\": %lld}\n%s\n",
                 cygnet_status_name(st), http_status, (unsigned long long)p->n_body,
                 (unsigned long long)p->n_headers, (unsigned long long)p->n_sent,
                 (unsigned long long)p->n_trailers, p->connected,
                 (long long)(p->cancel_ms >= 0 ? late_ms : 0),
                 (long long)(p->cancel_ms >= 0 ? now_ms() - p->stopped_at_ms : 0),
                 st == CYGNET_OK ? "" : err.message);
    return 0;
}

/* Takes one option; 0 when there is no such one. */
static int take(struct probe *p, int option)
{
    long long n = optarg ? strtoll(optarg, NULL, 10) : 0;

    switch (option) {
    case 'c':
        p->ca = optarg;
        break;
    case 'l':
        p->plain = URL_PLAIN_LOOPBACK;
        break;
    case 'a':
        p->plain = URL_PLAIN_ANYWHERE;
        break;
    case '2':
        p->version = CYGNET_HTTP_2;
        break;
    case '1':
        no_http2 = true;
        break;
    case 'm':
        p->method = optarg;
        break;
    case 'b':
        p->body = (size_t)n;
        break;
    case 'x':
        p->max_body = (uint64_t)n;
        break;
    case 's':
        p->stall_ms = n;
        break;
    case 't':
        p->timeout_ms = n;
        break;
    case 'k':
        p->cancel_ms = n;
        break;
    case 'r':
        atomic_store(&slow_resolver, true);
        break;
    case 'n':
        p->times = (int)n;
        break;
    default:
        return 0;
    }
    return 1;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"ca", required_argument, NULL, 'c'},
                                            {"loopback", no_argument, NULL, 'l'},
                                            {"method", required_argument, NULL, 'm'},
                                            {"body", required_argument, NULL, 'b'},
                                            {"max-body", required_argument, NULL, 'x'},
                                            {"stall-ms", required_argument, NULL, 's'},
                                            {"timeout-ms", required_argument, NULL, 't'},
                                            {"cancel-ms", required_argument, NULL, 'k'},
                                            {"slow-resolver", no_argument, NULL, 'r'},
                                            {"http2", no_argument, NULL, '2'},
                                            {"no-http2", no_argument, NULL, '1'},
                                            {"anywhere", no_argument, NULL, 'a'},
                                            {"times", required_argument, NULL, 'n'},
                                            {NULL, 0, NULL, 0}};
    struct probe p = {.method = "GET",
                      .max_body = 1 << 20,
                      .stall_ms = 10000,
                      .timeout_ms = 20000,
                      .cancel_ms = -1,
                      .times = 1};
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (!take(&p, option))
            return 2;
    }
    return optind < argc ? probe(&p, argv[optind]) : 2;
}
