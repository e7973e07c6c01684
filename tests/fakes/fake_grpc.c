#include "tests/fakes/fake_grpc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX_BYTES 5     /* of a frame: a flag and the length */
#define FIELD_HEAD_BYTES 8 /* at most: a tag and a varint */

static size_t size_of(const struct fake_field *fields, size_t n)
{
    size_t size = PREFIX_BYTES;

    for (size_t i = 0; i < n; i++)
        size += FIELD_HEAD_BYTES + fields[i].len;
    return size;
}

static uint8_t *put_field(uint8_t *to, const struct fake_field *field)
{
    size_t rest = field->len;

    *to++ = (uint8_t)(field->number << 3 | 2);
    for (; rest > 127; rest >>= 7)
        *to++ = (uint8_t)((rest & 127) | 128);
    *to++ = (uint8_t)rest;
    memcpy(to, field->data, field->len);
    return to + field->len;
}

struct fake_reply *fake_grpc_reply(struct fake_http *http,
                                   const struct fake_field *fields, size_t n)
{
    uint8_t *frame = calloc(1, size_of(fields, n));
    uint8_t *end = frame + PREFIX_BYTES;
    struct fake_reply *reply;

    if (!frame) {
        (void)fprintf(stderr, "fake_grpc: out of memory\n");
        abort();
    }
    for (size_t i = 0; i < n; i++)
        if (fields[i].data)
            end = put_field(end, &fields[i]);
    for (int i = 0; i < 4; i++)
        frame[1 + i] = (uint8_t)((size_t)(end - frame - PREFIX_BYTES) >> (24 - 8 * i));
    reply = fake_http_reply_bytes(http, 200, frame, (size_t)(end - frame));
    fake_reply_header(reply, "content-type", "application/grpc");
    fake_reply_trailer(reply, "grpc-status", "0");
    free(frame);
    return reply;
}

struct fake_reply *fake_grpc_exception(struct fake_http *http)
{
    struct fake_reply *reply = fake_http_reply(http, 200, "");

    fake_reply_header(reply, "content-type", "application/grpc");
    fake_reply_header(reply, "grpc-status", "2");
    fake_reply_header(reply, "grpc-message", "Exception calling application: 'x'");
    return reply;
}
