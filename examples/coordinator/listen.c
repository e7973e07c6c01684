/* See listen.h. */
#include "listen.h"

#include "../common/complain.h"
#include "files.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PEM_BYTES ((size_t)1 << 20)

cygnet_status read_pem(char **out, const char *path, const char *mark, cygnet_error *err)
{
    void *bytes = NULL;
    size_t len = 0;
    cygnet_status st = files_read(&bytes, &len, path, PEM_BYTES, err);

    *out = NULL;
    if (st != CYGNET_OK)
        return st;
    *out = calloc(1, len + 1);
    if (*out)
        memcpy(*out, bytes, len);
    free(bytes);
    if (!*out)
        return complain(err, CYGNET_ENOMEM, 0, "out of memory for %s", path);
    if (!strstr(*out, mark))
        return complain(err, CYGNET_EINVAL, 0, "%s holds no PEM \"%s\"", path, mark);
    return CYGNET_OK;
}

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static cygnet_status parse_address(union address *out, const struct options *o,
                                   cygnet_error *err)
{
    *out = (union address){0};
    if (inet_pton(AF_INET, o->host, &out->v4.sin_addr) == 1) {
        out->v4.sin_family = AF_INET;
        out->v4.sin_port = htons(o->port);
    } else if (inet_pton(AF_INET6, o->host, &out->v6.sin6_addr) == 1) {
        out->v6.sin6_family = AF_INET6;
        out->v6.sin6_port = htons(o->port);
    } else {
        return complain(err, CYGNET_EINVAL, 0, "--listen: %s is not a numeric address",
                        o->host);
    }
    return CYGNET_OK;
}

cygnet_status listen_on(int *out, const struct options *o, cygnet_error *err)
{
    union address address;
    int on = 1;
    cygnet_status st = parse_address(&address, o, err);

    if (st != CYGNET_OK)
        return st;
    *out = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (*out >= 0)
        (void)setsockopt(*out, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (*out < 0 || bind(*out, &address.any, sizeof address) != 0 ||
        listen(*out, 512) != 0) {
        int number = errno;
        if (*out >= 0)
            close(*out);
        return complain(err, CYGNET_ENETWORK, number, "cannot listen on %s:%u: %s",
                        o->host, (unsigned)o->port, strerror(number));
    }
    return CYGNET_OK;
}

uint16_t bound_port(int fd)
{
    union address address = {0};
    socklen_t len = sizeof address;

    if (getsockname(fd, &address.any, &len) != 0)
        return 0;
    return ntohs(address.any.sa_family == AF_INET6 ? address.v6.sin6_port
                                                   : address.v4.sin_port);
}
