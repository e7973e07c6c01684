/* URLs, strictly: the few forms the protocol needs and nothing that two parsers
 * could read differently. Not a general URL library. */
#ifndef TRANSPORT_URL_H
#define TRANSPORT_URL_H

#include <cygnet/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define URL_MAX 2047     /* bytes of a whole URL */
#define URL_HOST_MAX 253 /* RFC 1035 */

/* Where http:// may lead. The first two are the values of a host's option
 * allow_loopback_http. */
enum url_plain { URL_PLAIN_REFUSED = 0, URL_PLAIN_LOOPBACK = 1, URL_PLAIN_ANYWHERE = 2 };

/* An absolute URL, taken apart.
 *
 * host  lower case, IPv6 with its brackets
 * path  with the query, begins with '/' */
struct url {
    bool secure;
    uint16_t port;
    char host[URL_HOST_MAX + 1];
    char path[URL_MAX + 1];
};

/* "http(s)://host[:port][/path][?query]". A fragment is dropped; credentials,
 * blanks, control characters and non-ASCII hosts are refused. Errors: EINVAL. */
cygnet_status url_parse(struct url *out, const char *text, cygnet_error *err);

/* Resolves what a Location header holds: an absolute URL, "//host/path", "/path",
 * "name" or "?query" beside base's path. Errors: EINVAL. */
cygnet_status url_resolve(struct url *out, const struct url *base, const char *reference,
                          cygnet_error *err);

/* Scheme, host and port are the same. */
bool url_same_origin(const struct url *a, const struct url *b);

/* 127.0.0.0/8 in dotted form, [::1] or localhost. */
bool url_is_loopback(const struct url *url);

/* https always; http as far as `plain` goes. Errors: EINVAL. */
cygnet_status url_check_allowed(const struct url *url, enum url_plain plain,
                                cygnet_error *err);

/* Writes the URL with `path` in place of its own; NULL: its own. Errors: EINVAL
 * when it is too long. */
cygnet_status url_format(char out[URL_MAX + 1], const struct url *url, const char *path,
                         cygnet_error *err);

#endif
