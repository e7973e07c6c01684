/* See server.h. Limits are stated here and in docs/coordinator.md. */
#include "server.h"

#include "../common/complain.h"
#include "listen.h"
#include "request.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define THREADS 4
#define CONNECTIONS 2048
#define HEADER_BYTES ((size_t)32 * 1024) /* request line and headers; then 431, 414 */
#define JSON_BYTES ((size_t)1 << 20)
#define BODIES_BYTES ((size_t)1 << 30) /* of all requests at one time; then 503 */
#define DOWNLOAD_LIMIT_MS (3600L * 1000)
#define DRAIN_LIMIT_MS 2000

/* A connection, from accept to close. `since_ms` is the last progress. */
struct visit {
    struct visit *next;
    struct visit *previous;
    int fd;
    int64_t since_ms;
    atomic_bool downloading;
};

struct server {
    struct rounds *rounds;
    struct MHD_Daemon *daemon;
    char *cert;
    char *key;
    pthread_mutex_t lock; /* of visits, n_requests and n_body_bytes */
    struct visit visits;  /* head of a ring */
    size_t n_requests;    /* being answered */
    size_t n_body_bytes;
    char complaint[200]; /* what libmicrohttpd said last */
    atomic_bool started;
};

/* A request with what its route still has to check. */
struct pending {
    struct request request;
    struct server *server;
    handler handle;
    size_t max_body;
    size_t cap;
    size_t reserved;
    bool too_large;
    bool overloaded;
};

/* ---- Connections -------------------------------------------------------- */

static void visit_progress(struct server *s, struct visit *visit)
{
    pthread_mutex_lock(&s->lock);
    visit->since_ms = rounds_now_ms(s->rounds);
    visit->downloading = false;
    pthread_mutex_unlock(&s->lock);
}

void visit_allow_download(struct visit *visit)
{
    visit->downloading = true;
}

static void visit_open(struct server *s, struct MHD_Connection *connection, void **slot)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct visit *visit = calloc(1, sizeof *visit);

    *slot = visit;
    if (!visit)
        return;
    visit->fd = info ? info->connect_fd : -1;
    visit->since_ms = rounds_now_ms(s->rounds);
    pthread_mutex_lock(&s->lock);
    visit->next = &s->visits;
    visit->previous = s->visits.previous;
    s->visits.previous->next = visit;
    s->visits.previous = visit;
    pthread_mutex_unlock(&s->lock);
}

static void visit_close(struct server *s, struct visit *visit)
{
    if (!visit)
        return;
    pthread_mutex_lock(&s->lock);
    visit->previous->next = visit->next;
    visit->next->previous = visit->previous;
    pthread_mutex_unlock(&s->lock);
    free(visit);
}

static void on_connection(void *user, struct MHD_Connection *connection, void **slot,
                          enum MHD_ConnectionNotificationCode code)
{
    if (code == MHD_CONNECTION_NOTIFY_STARTED)
        visit_open(user, connection, slot);
    else
        visit_close(user, *slot);
}

void server_sweep(struct server *s)
{
    int64_t now = rounds_now_ms(s->rounds);
    int64_t limit = (int64_t)s->rounds->options->request_timeout_s * 1000;

    /* The lock keeps visit_close, and with it the reuse of the descriptor, out. */
    pthread_mutex_lock(&s->lock);
    for (struct visit *v = s->visits.next; v != &s->visits; v = v->next)
        if (now - v->since_ms > (v->downloading ? DOWNLOAD_LIMIT_MS : limit))
            shutdown(v->fd, SHUT_RDWR);
    pthread_mutex_unlock(&s->lock);
}

/* ---- Routes ------------------------------------------------------------- */

static bool take_word(char *out, size_t size, const char **path, const char *allowed)
{
    size_t n = strspn(*path, allowed);

    if (n == 0 || n >= size)
        return false;
    memcpy(out, *path, n);
    out[n] = '\0';
    *path += n;
    return true;
}

#define DIGITS "0123456789"
#define TOKEN_LETTERS DIGITS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-"

/* "/v1/rounds/{round}/{kind}/{token}" */
static bool match_round(struct request *q, const char *path, const char *kind)
{
    char round[17];
    size_t n = strlen(kind);

    if (strncmp(path, "/v1/rounds/", 11) != 0)
        return false;
    path += 11;
    if (!take_word(round, sizeof round, &path, DIGITS) || *path != '/' ||
        strncmp(path + 1, kind, n) != 0 || path[n + 1] != '/')
        return false;
    path += n + 2;
    q->round = strtoull(round, NULL, 10);
    return take_word(q->token, sizeof q->token, &path, TOKEN_LETTERS) && *path == '\0';
}

static bool match_blob(struct request *q, const char *path, const char *unused)
{
    (void)unused;
    if (strncmp(path, "/v1/blobs/", 10) != 0 || !hash_is_hex(path + 10))
        return false;
    memcpy(q->sha256, path + 10, sizeof q->sha256);
    return true;
}

static bool match_exact(struct request *q, const char *path, const char *whole)
{
    (void)q;
    return strcmp(path, whole) == 0;
}

enum body { BODY_NONE, BODY_JSON, BODY_UPDATE };

struct route {
    bool (*match)(struct request *q, const char *path, const char *argument);
    const char *argument;
    const char *method;
    enum body body;
    handler handle;
};

static const struct route routes[] = {
    {match_exact, "/v1/check-in", "POST", BODY_JSON, check_in_post},
    {match_round, "updates", "PUT", BODY_UPDATE, update_put},
    {match_round, "leases", "POST", BODY_JSON, lease_post},
    {match_round, "reports", "POST", BODY_JSON, report_post},
    {match_blob, NULL, "GET", BODY_NONE, blob_get},
    {match_exact, "/v1/status", "GET", BODY_NONE, status_get},
};

static const struct route *find_route(struct request *q, const char *path)
{
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++)
        if (routes[i].match(q, path, routes[i].argument))
            return &routes[i];
    return NULL;
}

static bool method_fits(const struct route *route, const char *method)
{
    return strcmp(method, route->method) == 0 ||
           (strcmp(method, "HEAD") == 0 && strcmp(route->method, "GET") == 0);
}

/* ---- Bodies ------------------------------------------------------------- */

static size_t body_limit(struct rounds *r, enum body body)
{
    size_t limit;

    if (body != BODY_UPDATE)
        return body == BODY_JSON ? JSON_BYTES : 0;
    pthread_mutex_lock(&r->lock);
    limit = global_max_update(r->global);
    pthread_mutex_unlock(&r->lock);
    return limit;
}

static bool reserve(struct pending *p, size_t bytes)
{
    struct server *s = p->server;
    bool fits;

    pthread_mutex_lock(&s->lock);
    fits = bytes <= BODIES_BYTES - s->n_body_bytes;
    if (fits) {
        s->n_body_bytes += bytes;
        p->reserved += bytes;
    }
    pthread_mutex_unlock(&s->lock);
    return fits;
}

static bool grow(struct pending *p, size_t needed)
{
    size_t cap = p->cap ? 2 * p->cap : 4096;
    char *body;

    while (cap < needed)
        cap *= 2;
    if (cap > p->max_body + 1)
        cap = p->max_body + 1;
    if (!reserve(p, cap - p->cap))
        return false;
    body = realloc(p->request.body, cap);
    if (!body)
        return false;
    p->request.body = body;
    p->cap = cap;
    return true;
}

/* Too much is read to its end, within reason, so that the answer arrives. */
static enum MHD_Result take_body(struct pending *p, const char *data, size_t *len)
{
    struct request *q = &p->request;
    size_t total = q->len + *len;

    if (q->visit)
        visit_progress(p->server, q->visit);
    if (total > p->max_body)
        p->too_large = true;
    else if (!p->overloaded && total + 1 > p->cap && !grow(p, total + 1))
        p->overloaded = true;
    if (!p->too_large && !p->overloaded) {
        memcpy(q->body + q->len, data, *len);
        q->body[total] = '\0';
    }
    q->len = total;
    *len = 0;
    return total > 4 * p->max_body + JSON_BYTES ? MHD_NO : MHD_YES;
}

static void on_completed(void *user, struct MHD_Connection *connection, void **slot,
                         enum MHD_RequestTerminationCode code)
{
    struct pending *p = *slot;
    struct server *s = user;

    (void)connection;
    (void)code;
    if (!p)
        return;
    if (p->request.visit)
        visit_progress(s, p->request.visit);
    pthread_mutex_lock(&s->lock);
    s->n_body_bytes -= p->reserved;
    s->n_requests--;
    pthread_mutex_unlock(&s->lock);
    free(p->request.body);
    free(p);
    *slot = NULL;
}

/* ---- Dispatch ----------------------------------------------------------- */

static bool declares_too_much(const struct pending *p)
{
    const char *text = MHD_lookup_connection_value(p->request.connection, MHD_HEADER_KIND,
                                                   MHD_HTTP_HEADER_CONTENT_LENGTH);

    return text && strtoull(text, NULL, 10) > p->max_body;
}

static enum MHD_Result too_large(struct pending *p)
{
    return reply_error(&p->request, MHD_HTTP_CONTENT_TOO_LARGE, "too_large",
                       "the body is larger than this server takes");
}

/* The headers are here. Answers at once what needs no body to be refused. */
static enum MHD_Result begin(struct pending *p, const char *path, const char *method)
{
    struct request *q = &p->request;
    const struct route *route = find_route(q, path);

    if (!route)
        return reply_error(q, MHD_HTTP_NOT_FOUND, "not_found", "there is no such path");
    if (!method_fits(route, method))
        return reply_error(q, MHD_HTTP_METHOD_NOT_ALLOWED, "method_not_allowed",
                           "the path is used with another method");
    p->handle = route->handle;
    p->max_body = body_limit(q->rounds, route->body);
    return declares_too_much(p) ? too_large(p) : MHD_YES;
}

static struct pending *pending_create(struct server *s, struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct pending *p = calloc(1, sizeof *p);

    if (!p)
        return NULL;
    p->server = s;
    p->request.rounds = s->rounds;
    p->request.connection = connection;
    p->request.visit = info ? info->socket_context : NULL;
    pthread_mutex_lock(&s->lock);
    s->n_requests++;
    pthread_mutex_unlock(&s->lock);
    if (p->request.visit)
        visit_progress(s, p->request.visit);
    return p;
}

static enum MHD_Result on_request(void *user, struct MHD_Connection *connection,
                                  const char *path, const char *method,
                                  const char *version, const char *data, size_t *len,
                                  void **slot)
{
    struct pending *p = *slot;

    (void)version;
    if (!p) {
        p = pending_create(user, connection);
        *slot = p;
        return p ? begin(p, path, method) : MHD_NO;
    }
    if (*len > 0)
        return take_body(p, data, len);
    if (p->too_large)
        return too_large(p);
    if (p->overloaded)
        return reply_error(&p->request, MHD_HTTP_SERVICE_UNAVAILABLE, "overloaded",
                           "too many uploads at once");
    return p->handle(&p->request);
}

/* ---- Start and end ------------------------------------------------------ */

/* libmicrohttpd's own words: kept while starting, else dropped, because a
 * client's broken handshake is no news. */
static void on_complaint(void *user, const char *format, va_list args)
{
    struct server *s = user;

    if (s->started)
        return;
    vsnprintf(s->complaint, sizeof s->complaint, format, args);
    s->complaint[strcspn(s->complaint, "\n")] = '\0';
}

static cygnet_status read_tls(struct server *s, cygnet_error *err)
{
    const struct options *o = s->rounds->options;
    cygnet_status st;

    if (o->plain_http)
        return CYGNET_OK;
    st = read_pem(&s->cert, o->tls_cert, "BEGIN CERTIFICATE", err);
    return st == CYGNET_OK ? read_pem(&s->key, o->tls_key, "PRIVATE KEY", err) : st;
}

static cygnet_status start_daemon(struct server *s, int fd, cygnet_error *err)
{
    const struct options *o = s->rounds->options;
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ERROR_LOG;
    struct MHD_OptionItem tls[] = {{MHD_OPTION_HTTPS_MEM_CERT, 0, s->cert},
                                   {MHD_OPTION_HTTPS_MEM_KEY, 0, s->key},
                                   {MHD_OPTION_END, 0, NULL}};
    struct MHD_OptionItem none[] = {{MHD_OPTION_END, 0, NULL}};

    if (!o->plain_http)
        flags |= MHD_USE_TLS;
    s->daemon =
        MHD_start_daemon(flags, 0, NULL, NULL, on_request, s, MHD_OPTION_EXTERNAL_LOGGER,
                         on_complaint, s, MHD_OPTION_LISTEN_SOCKET, fd,
                         MHD_OPTION_THREAD_POOL_SIZE, (unsigned)THREADS,
                         MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS,
                         MHD_OPTION_CONNECTION_MEMORY_LIMIT, HEADER_BYTES,
                         MHD_OPTION_CONNECTION_TIMEOUT, o->request_timeout_s,
                         MHD_OPTION_NOTIFY_COMPLETED, on_completed, s,
                         MHD_OPTION_NOTIFY_CONNECTION, on_connection, s, MHD_OPTION_ARRAY,
                         o->plain_http ? none : tls, MHD_OPTION_END);
    s->started = s->daemon != NULL;
    if (s->started)
        return CYGNET_OK;
    close(fd);
    return complain(err, o->plain_http ? CYGNET_ENETWORK : CYGNET_ETLS, 0,
                    "cannot start the server%s%s%s%s: %s", o->plain_http ? "" : " with ",
                    o->plain_http ? "" : o->tls_cert, o->plain_http ? "" : " and ",
                    o->plain_http ? "" : o->tls_key,
                    s->complaint[0] ? s->complaint : "libmicrohttpd refused");
}

cygnet_status server_create(struct server **out, uint16_t *port, struct rounds *rounds,
                            cygnet_error *err)
{
    struct server *s = calloc(1, sizeof *s);
    int fd = -1;
    cygnet_status st;

    *out = NULL;
    if (!s)
        return complain(err, CYGNET_ENOMEM, 0, "out of memory for the server");
    s->rounds = rounds;
    s->visits.next = s->visits.previous = &s->visits;
    pthread_mutex_init(&s->lock, NULL);
    st = read_tls(s, err);
    if (st == CYGNET_OK)
        st = listen_on(&fd, rounds->options, err);
    if (st == CYGNET_OK) {
        *port = bound_port(fd);
        st = start_daemon(s, fd, err);
    }
    if (st == CYGNET_OK)
        *out = s;
    else
        server_destroy(s);
    return st;
}

/* libmicrohttpd cuts connections when it stops: whoever is being answered gets
 * the time to hear it. */
static void drain(struct server *s)
{
    const struct timespec pause = {.tv_nsec = 10000000};
    int64_t until = rounds_now_ms(s->rounds) + DRAIN_LIMIT_MS;
    size_t n_requests;

    do {
        nanosleep(&pause, NULL);
        pthread_mutex_lock(&s->lock);
        n_requests = s->n_requests;
        pthread_mutex_unlock(&s->lock);
    } while (n_requests && rounds_now_ms(s->rounds) < until);
}

void server_destroy(struct server *s)
{
    if (!s)
        return;
    if (s->daemon) {
        drain(s);
        MHD_stop_daemon(s->daemon);
    }
    pthread_mutex_destroy(&s->lock);
    free(s->cert);
    free(s->key);
    free(s);
}
