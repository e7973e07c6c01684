#include "tests/fakes/loopback_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEAD_MAX 16384
#define LOOK_MS 20

/* One request as far as it has arrived. */
struct request {
    char head[HEAD_MAX + 1];
    size_t have; /* bytes in head, some of them of the body */
    size_t head_len;
    char method[16];
    char path[512];
    char *body;
    size_t body_len;
};

static bool ends(struct loopback_server *server)
{
    return atomic_load(&server->ends) != 0;
}

static bool wait_for(struct loopback_server *server, int fd)
{
    struct pollfd entry = {fd, POLLIN, 0};

    while (!ends(server))
        if (poll(&entry, 1, LOOK_MS) > 0)
            return true;
    return false;
}

/* Holds the connection and says nothing more, until the other side gives it up or
 * comes with another one. */
static void fall_silent(struct loopback_server *server, int fd)
{
    struct pollfd entries[] = {{fd, POLLRDHUP, 0}, {server->listener, POLLIN, 0}};

    (void)sem_post(&server->reached);
    while (!ends(server) && poll(entries, 2, LOOK_MS) == 0)
        ;
}

static bool receive(struct loopback_server *server, int fd, void *to, size_t len)
{
    for (size_t at = 0; at < len;) {
        ssize_t n = wait_for(server, fd) ? recv(fd, (char *)to + at, len - at, 0) : 0;

        if (n <= 0)
            return false;
        at += (size_t)n;
    }
    return true;
}

static bool send_all(int fd, const void *data, size_t len)
{
    for (size_t at = 0; at < len;) {
        ssize_t n = send(fd, (const char *)data + at, len - at, MSG_NOSIGNAL);

        if (n <= 0)
            return false;
        at += (size_t)n;
    }
    return true;
}

static bool read_head(struct loopback_server *server, int fd, struct request *r)
{
    const char *end = NULL;
    const char *length;

    for (r->have = 0; !end && r->have < HEAD_MAX;) {
        ssize_t n =
            wait_for(server, fd) ? recv(fd, r->head + r->have, HEAD_MAX - r->have, 0) : 0;

        if (n <= 0)
            return false;
        r->have += (size_t)n;
        r->head[r->have] = '\0';
        end = strstr(r->head, "\r\n\r\n");
    }
    if (!end || sscanf(r->head, "%15s %511s", r->method, r->path) != 2)
        return false;
    r->head_len = (size_t)(end + 4 - r->head);
    length = strcasestr(r->head, "\r\ncontent-length:");
    r->body_len = length && length < end ? strtoul(length + 17, NULL, 10) : 0;
    return true;
}

static bool read_body(struct loopback_server *server, int fd, struct request *r)
{
    size_t early = r->have - r->head_len;

    r->body = calloc(1, r->body_len + 1);
    if (!r->body || early > r->body_len)
        return false;
    memcpy(r->body, r->head + r->head_len, early);
    return receive(server, fd, r->body + early, r->body_len - early);
}

static bool send_answer(struct loopback_server *server, int fd, const struct request *r)
{
    struct honest_answer answer;
    bool weights = strncmp(r->path, "/v1/blobs/", 10) == 0;
    char head[256];
    int n;

    honest_answer(&answer, server->coordinator, r->method, r->path, r->body, r->body_len);
    if (weights && server->trouble == LOOPBACK_BUSY_WEIGHTS) {
        answer.status = 503;
        answer.len = 0;
    }
    n = snprintf(head, sizeof(head),
                 "HTTP/1.1 %d X\r\nContent-Length: %zu\r\nRetry-After: 60\r\n\r\n",
                 answer.status, answer.len);
    if (!send_all(fd, head, (size_t)n))
        return false;
    if (weights && server->trouble == LOOPBACK_SILENT_WEIGHTS) {
        (void)send_all(fd, answer.body, answer.len / 2);
        fall_silent(server, fd);
        return false;
    }
    if (weights && server->trouble == LOOPBACK_BUSY_WEIGHTS)
        (void)sem_post(&server->reached);
    return send_all(fd, answer.body, answer.len);
}

static bool serve_one(struct loopback_server *server, int fd)
{
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct request r = {.body = NULL};
    bool ok = read_head(server, fd, &r);

    if (ok && strcasestr(r.head, "\r\nexpect:"))
        ok = send_all(fd, go_on, strlen(go_on));
    if (ok && strcmp(r.method, "PUT") == 0 && server->trouble == LOOPBACK_SILENT_UPDATE) {
        fall_silent(server, fd);
        ok = false;
    }
    ok = ok && read_body(server, fd, &r) && send_answer(server, fd, &r);
    free(r.body);
    return ok;
}

static void *serve(void *arg)
{
    struct loopback_server *server = arg;

    while (wait_for(server, server->listener)) {
        int fd = accept(server->listener, NULL, NULL);

        while (fd >= 0 && serve_one(server, fd))
            ;
        if (fd >= 0)
            (void)close(fd);
    }
    return NULL;
}

int loopback_start(struct loopback_server *server, struct honest_coordinator *c,
                   enum loopback_trouble trouble)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);

    memset(server, 0, sizeof(*server));
    server->coordinator = c;
    server->trouble = trouble;
    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (sem_init(&server->reached, 0, 0) != 0 || server->listener < 0 ||
        bind(server->listener, (const struct sockaddr *)&at, sizeof(at)) != 0 ||
        listen(server->listener, 8) != 0 ||
        getsockname(server->listener, (struct sockaddr *)&at, &len) != 0)
        return -1;
    (void)snprintf(server->url, sizeof(server->url), "http://127.0.0.1:%u",
                   (unsigned)ntohs(at.sin_port));
    return pthread_create(&server->thread, NULL, serve, server);
}

void loopback_stop(struct loopback_server *server)
{
    atomic_store(&server->ends, 1);
    (void)pthread_join(server->thread, NULL);
    (void)close(server->listener);
    (void)sem_destroy(&server->reached);
}
