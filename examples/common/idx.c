/* IDX files, plain or gzip. The decompressed size is known from the header
 * before memory is sized, so a decompression bomb is a few bytes too many. */
#include "idx.h"
#include "complain.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define CHUNK (1u << 30) /* zlib counts in 32 bits */

struct source {
    z_stream zip;
    const uint8_t *next;
    size_t left;
    bool zipped;
    bool ended; /* the gzip stream has ended */
};

static bool source_init(struct source *source, const void *data, size_t len)
{
    memset(source, 0, sizeof(*source));
    source->next = data;
    source->left = len;
    source->zipped = len >= 2 && source->next[0] == 0x1f && source->next[1] == 0x8b;
    return !source->zipped || inflateInit2(&source->zip, 15 + 16) == Z_OK;
}

static void source_clear(struct source *source)
{
    if (source->zipped)
        inflateEnd(&source->zip);
}

/* One turn of inflate; false when it makes no progress or the data is damaged. */
static bool inflate_some(struct source *source, uint8_t *out, size_t size, size_t *got)
{
    z_stream *zip = &source->zip;
    uInt offered = source->left > CHUNK ? CHUNK : (uInt)source->left;
    uInt room = size > CHUNK ? CHUNK : (uInt)size;
    Bytef *input;
    int answer;

    memcpy(&input, &source->next, sizeof(input)); /* zlib reads only */
    zip->next_in = input;
    zip->avail_in = offered;
    zip->next_out = out;
    zip->avail_out = room;
    answer = inflate(zip, Z_NO_FLUSH);
    *got = room - zip->avail_out;
    source->next += offered - zip->avail_in;
    source->left -= offered - zip->avail_in;
    source->ended = answer == Z_STREAM_END;
    return source->ended || (answer == Z_OK && (*got > 0 || offered > zip->avail_in));
}

/* Reads up to size bytes; fewer means the end or damage. */
static size_t source_read(struct source *source, void *out, size_t size)
{
    size_t done = 0;
    size_t got;

    if (!source->zipped) {
        done = size < source->left ? size : source->left;
        if (done > 0)
            memcpy(out, source->next, done);
        source->next += done;
        source->left -= done;
        return done;
    }
    while (done < size && !source->ended) {
        if (!inflate_some(source, (uint8_t *)out + done, size - done, &got))
            return done + got;
        done += got;
    }
    return done;
}

/* True when nothing follows; for gzip also that its checksum was right. */
static bool source_at_end(struct source *source)
{
    uint8_t extra;

    if (source_read(source, &extra, 1) != 0 || source->left > 0)
        return false;
    return !source->zipped || source->ended;
}

static uint32_t big_endian(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static cygnet_status check_size(const struct idx *idx, const char *name,
                                cygnet_error *err)
{
    uint64_t bytes = (uint64_t)idx->n * idx->height * idx->width;

    if (idx->n == 0 || idx->height == 0 || idx->width == 0)
        return complain(err, CYGNET_EFORMAT, 0, "%s: says that it is empty", name);
    if (idx->n > IDX_MAX_ROWS || idx->height > IDX_MAX_SIDE || idx->width > IDX_MAX_SIDE)
        return complain(err, CYGNET_ELIMIT, 0,
                        "%s: %u x %u x %u is more than %u rows of %u x %u", name, idx->n,
                        idx->height, idx->width, IDX_MAX_ROWS, IDX_MAX_SIDE,
                        IDX_MAX_SIDE);
    if (bytes > IDX_MAX_BYTES)
        return complain(err, CYGNET_ELIMIT, 0, "%s: %llu bytes are more than %zu", name,
                        (unsigned long long)bytes, IDX_MAX_BYTES);
    return CYGNET_OK;
}

static cygnet_status read_header(struct idx *out, struct source *source,
                                 enum idx_kind kind, const char *name, cygnet_error *err)
{
    uint8_t raw[16] = {0};
    size_t need = kind == IDX_IMAGES ? 16 : 8;
    uint32_t magic = kind == IDX_IMAGES ? 0x803 : 0x801;

    if (source_read(source, raw, need) != need)
        return complain(err, CYGNET_EFORMAT, 0,
                        "%s: truncated or damaged before its %zu header bytes end", name,
                        need);
    if (big_endian(raw) != magic)
        return complain(err, CYGNET_EFORMAT, 0,
                        "%s: magic number is 0x%08x, expected 0x%08x (%s)", name,
                        big_endian(raw), magic, kind == IDX_IMAGES ? "images" : "labels");
    out->n = big_endian(raw + 4);
    out->height = kind == IDX_IMAGES ? big_endian(raw + 8) : 1;
    out->width = kind == IDX_IMAGES ? big_endian(raw + 12) : 1;
    return check_size(out, name, err);
}

static cygnet_status read_body(struct idx *out, struct source *source, const char *name,
                               cygnet_error *err)
{
    size_t size = (size_t)out->n * out->height * out->width;
    size_t got;

    /* a plain file cannot hold more than it has: do not size for a lie */
    if (!source->zipped && source->left < size)
        return complain(err, CYGNET_EFORMAT, 0,
                        "%s: truncated: %zu bytes of %zu are there", name, source->left,
                        size);
    out->bytes = malloc(size);
    if (!out->bytes)
        return complain(err, CYGNET_ENOMEM, 0, "%s: no memory for %zu bytes", name, size);
    got = source_read(source, out->bytes, size);
    if (got != size)
        return complain(err, CYGNET_EFORMAT, 0,
                        "%s: truncated or damaged: %zu bytes of %zu are there", name, got,
                        size);
    if (!source_at_end(source))
        return complain(err, CYGNET_EFORMAT, 0,
                        "%s: damaged or longer than the %zu bytes its header promises",
                        name, size);
    return CYGNET_OK;
}

cygnet_status idx_parse(struct idx *out, enum idx_kind kind, const void *data, size_t len,
                        const char *name, cygnet_error *err)
{
    struct source source;
    cygnet_status st;

    memset(out, 0, sizeof(*out));
    if (!source_init(&source, data, len))
        return complain(err, CYGNET_ENOMEM, 0, "%s: no memory to decompress", name);
    st = read_header(out, &source, kind, name, err);
    if (st == CYGNET_OK)
        st = read_body(out, &source, name, err);
    source_clear(&source);
    if (st != CYGNET_OK)
        idx_clear(out);
    return st;
}

void idx_clear(struct idx *idx)
{
    free(idx->bytes);
    memset(idx, 0, sizeof(*idx));
}
