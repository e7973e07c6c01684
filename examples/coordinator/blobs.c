/* GET /v1/blobs/<sha256>: weights, whole or from an offset. */
#include "request.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The part of a file that is asked for. */
struct span {
    uint64_t size; /* of the file */
    uint64_t first;
    uint64_t len;
    bool partial;
};

static const char *header(const struct request *q, const char *name)
{
    return MHD_lookup_connection_value(q->connection, MHD_HEADER_KIND, name);
}

static bool parse_offset(uint64_t *out, const char **text)
{
    char *end;

    if (**text < '0' || **text > '9')
        return false;
    *out = strtoull(*text, &end, 10);
    *text = end;
    return true;
}

/* "bytes=N-" and "bytes=N-M" (RFC 9110, section 14). Other forms are ignored,
 * which the RFC allows. False: the range lies outside the file. */
static bool parse_range(struct span *span, const char *text)
{
    uint64_t first;
    uint64_t last = span->size - 1;

    if (strncmp(text, "bytes=", 6) != 0)
        return true;
    text += 6;
    if (!parse_offset(&first, &text) || *text++ != '-')
        return true;
    if (*text && (!parse_offset(&last, &text) || *text || last < first))
        return true;
    if (first >= span->size)
        return false;
    if (last >= span->size)
        last = span->size - 1;
    *span = (struct span){span->size, first, last - first + 1, true};
    return true;
}

static void count_bytes(struct rounds *r, const char *sha256, uint64_t len)
{
    pthread_mutex_lock(&r->lock);
    if (r->phase == PHASE_OPEN && strcmp(r->round.row.base, sha256) == 0)
        r->round.row.bytes_down += len;
    pthread_mutex_unlock(&r->lock);
}

/* Consumes fd. */
static enum MHD_Result send_span(struct request *q, int fd, const struct span *span)
{
    struct MHD_Response *response =
        MHD_create_response_from_fd_at_offset64(span->len, fd, span->first);
    char text[80];
    enum MHD_Result result;

    if (!response) {
        close(fd);
        return MHD_NO;
    }
    snprintf(text, sizeof text, "\"%s\"", q->sha256);
    MHD_add_response_header(response, MHD_HTTP_HEADER_ETAG, text);
    MHD_add_response_header(response, MHD_HTTP_HEADER_ACCEPT_RANGES, "bytes");
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE,
                            "application/octet-stream");
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL,
                            "max-age=31536000, immutable");
    if (span->partial) {
        snprintf(text, sizeof text, "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, span->first,
                 span->first + span->len - 1, span->size);
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_RANGE, text);
    }
    if (q->visit)
        visit_allow_download(q->visit);
    result = MHD_queue_response(q->connection,
                                span->partial ? MHD_HTTP_PARTIAL_CONTENT : MHD_HTTP_OK,
                                response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result send_file(struct request *q, int fd, struct span *span)
{
    const char *range = header(q, MHD_HTTP_HEADER_RANGE);
    const char *if_range = header(q, MHD_HTTP_HEADER_IF_RANGE);
    bool same = !if_range ||
                (if_range[0] == '"' && strncmp(if_range + 1, q->sha256, HASH_HEX) == 0 &&
                 strcmp(if_range + 1 + HASH_HEX, "\"") == 0);

    if (range && same && span->size && !parse_range(span, range)) {
        close(fd);
        return reply_error(q, MHD_HTTP_RANGE_NOT_SATISFIABLE, "range",
                           "the range begins behind the end");
    }
    count_bytes(q->rounds, q->sha256, span->len);
    return send_span(q, fd, span);
}

enum MHD_Result blob_get(struct request *q)
{
    const char *etag = header(q, MHD_HTTP_HEADER_IF_NONE_MATCH);
    char path[FILES_PATH_MAX];
    struct stat info;
    struct span span;
    int fd;

    files_blob_path(path, q->rounds->files, q->sha256);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &info) != 0) {
        if (fd >= 0)
            close(fd);
        return reply_error(q, MHD_HTTP_NOT_FOUND, "no_blob", "there is no such blob");
    }
    if (etag && strstr(etag, q->sha256)) {
        close(fd);
        return reply_empty(q, MHD_HTTP_NOT_MODIFIED);
    }
    span = (struct span){(uint64_t)info.st_size, 0, (uint64_t)info.st_size, false};
    return send_file(q, fd, &span);
}
