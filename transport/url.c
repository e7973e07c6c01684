/* Taking URLs apart and putting them together. */
#include "transport/url.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_host_byte(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || c == '.' || c == '-' || c == '_';
}

static bool is_ipv6_byte(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || c == ':' || c == '.';
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool is_clean(const char *text)
{
    for (; *text; text++) {
        if ((unsigned char)*text <= 0x20 || (unsigned char)*text >= 0x7f || *text == '\\')
            return false;
    }
    return true;
}

static bool ends_host(char c, bool ipv6)
{
    return c == (ipv6 ? ']' : ':') || strchr("/?#", c); /* '\0' is found, too */
}

/* Reads the host; returns the first byte behind it, NULL when it is not one. */
static const char *read_host(struct url *out, const char *text)
{
    bool ipv6 = *text == '[';
    size_t len = 0;

    if (ipv6)
        out->host[len++] = '[';
    for (text += ipv6; !ends_host(*text, ipv6); text++) {
        char c = lower(*text);

        if (!(ipv6 ? is_ipv6_byte(c) : is_host_byte(c)) || len >= URL_HOST_MAX - 1)
            return NULL;
        out->host[len++] = c;
    }
    if (ipv6 && *text++ != ']')
        return NULL;
    if (ipv6)
        out->host[len++] = ']';
    out->host[len] = '\0';
    return len > (ipv6 ? 2u : 0u) ? text : NULL;
}

/* Reads ":port" if there is one; returns the first byte behind it or NULL. */
static const char *read_port(struct url *out, const char *text)
{
    uint32_t port = 0;

    out->port = out->secure ? 443 : 80;
    if (*text != ':')
        return text;
    if (!is_digit(*++text))
        return NULL;
    for (; is_digit(*text); text++) {
        port = port * 10 + (uint32_t)(*text - '0');
        if (port > 65535)
            return NULL;
    }
    out->port = (uint16_t)port;
    return port ? text : NULL;
}

/* Copies path and query without the fragment. */
static void read_path(struct url *out, const char *text)
{
    size_t len = strcspn(text, "#");

    (void)snprintf(out->path, sizeof(out->path), "%s%.*s", *text == '/' ? "" : "/",
                   (int)len, text);
}

cygnet_status url_parse(struct url *out, const char *text, cygnet_error *err)
{
    const char *at;

    memset(out, 0, sizeof(*out));
    if (!text || strlen(text) >= URL_MAX)
        return fail(err, CYGNET_EINVAL, 0, "URL is missing or longer than %d bytes",
                    URL_MAX - 1);
    if (!is_clean(text))
        return fail(err, CYGNET_EINVAL, 0,
                    "URL holds a blank, a control character or a backslash");
    out->secure = strncasecmp(text, "https://", 8) == 0;
    if (!out->secure && strncasecmp(text, "http://", 7) != 0)
        return fail(err, CYGNET_EINVAL, 0, "URL \"%.80s\" does not begin with https://",
                    text);
    text += out->secure ? 8 : 7;
    if (memchr(text, '@', strcspn(text, "/?#")))
        return fail(err, CYGNET_EINVAL, 0,
                    "URL holds credentials; use the auth_token hook");

    at = read_host(out, text);
    if (at)
        at = read_port(out, at);
    if (!at || (*at && !strchr("/?#", *at)))
        return fail(err, CYGNET_EINVAL, 0, "URL has no valid host and port: \"%.80s\"",
                    text);
    read_path(out, at);
    return CYGNET_OK;
}

/* Bytes of base's path up to where a relative reference is put. */
static size_t base_len(const char *path, char first)
{
    size_t end = strcspn(path, "?");

    if (first == '?')
        return end;
    while (end > 0 && path[end - 1] != '/')
        end--;
    return first == '/' ? 0 : end;
}

cygnet_status url_resolve(struct url *out, const struct url *base, const char *reference,
                          cygnet_error *err)
{
    char text[URL_MAX + 1];
    int len;

    if (strstr(reference, "://") && strcspn(reference, "/?#") > 0 &&
        reference[strcspn(reference, "/?#") - 1] == ':')
        return url_parse(out, reference, err);
    if (reference[0] == '/' && reference[1] == '/')
        len = snprintf(text, sizeof(text), "%s:%s", base->secure ? "https" : "http",
                       reference);
    else
        len = snprintf(text, sizeof(text), "%s://%s:%u%.*s%s",
                       base->secure ? "https" : "http", base->host, (unsigned)base->port,
                       (int)base_len(base->path, reference[0]), base->path, reference);
    if (len < 0 || (size_t)len >= sizeof(text))
        return fail(err, CYGNET_EINVAL, 0, "URL is longer than %d bytes", URL_MAX - 1);
    return url_parse(out, text, err);
}

bool url_same_origin(const struct url *a, const struct url *b)
{
    return a->secure == b->secure && a->port == b->port && strcmp(a->host, b->host) == 0;
}

/* 127.a.b.c with plain decimal parts of at most three digits. */
static bool is_loopback_ipv4(const char *host)
{
    unsigned parts[4];
    char end;

    if (strspn(host, "0123456789.") != strlen(host) || strlen(host) > 15)
        return false;
    return sscanf(host, "%3u.%3u.%3u.%3u%c", &parts[0], &parts[1], &parts[2], &parts[3],
                  &end) == 4 &&
           host[0] != '0' && parts[0] == 127 && parts[1] < 256 && parts[2] < 256 &&
           parts[3] < 256;
}

bool url_is_loopback(const struct url *url)
{
    return strcmp(url->host, "localhost") == 0 || strcmp(url->host, "[::1]") == 0 ||
           is_loopback_ipv4(url->host);
}

cygnet_status url_check_allowed(const struct url *url, enum url_plain plain,
                                cygnet_error *err)
{
    if (url->secure || plain == URL_PLAIN_ANYWHERE ||
        (plain == URL_PLAIN_LOOPBACK && url_is_loopback(url)))
        return CYGNET_OK;
    return fail(err, CYGNET_EINVAL, 0, "plain http towards %.80s is refused%s", url->host,
                url_is_loopback(url) ? " unless loopback http is allowed" : "");
}

cygnet_status url_format(char out[URL_MAX + 1], const struct url *url, const char *path,
                         cygnet_error *err)
{
    int len = snprintf(out, URL_MAX + 1, "%s://%s:%u%s", url->secure ? "https" : "http",
                       url->host, (unsigned)url->port, path ? path : url->path);

    if (len < 0 || len > URL_MAX)
        return fail(err, CYGNET_EINVAL, 0, "URL is longer than %d bytes", URL_MAX);
    return CYGNET_OK;
}
