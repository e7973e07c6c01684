/* Taking in a gRPC answer; knows nothing of HTTP. */
#include "transport/grpc_frame.h"

#include "base/error.h"
#include "base/json_scan.h"

#include <string.h>

void grpc_frame_init(struct grpc_frame *frame, struct bytes *message, uint64_t max,
                     const cygnet_allocator *alloc)
{
    memset(frame, 0, sizeof(*frame));
    frame->max = max;
    frame->message = message;
    bytes_init(message, 0, alloc);
}

static uint32_t load_u32be(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static cygnet_status read_prefix(struct grpc_frame *frame, cygnet_error *err)
{
    if (frame->prefix[0] != 0)
        return fail(err, CYGNET_EPROTOCOL, 0, "the answer is %s",
                    frame->prefix[0] == 1 ? "compressed, which was not offered"
                                          : "no gRPC message");
    frame->len = load_u32be(frame->prefix + 1);
    if (frame->len > frame->max)
        return fail(err, CYGNET_ELIMIT, 0,
                    "the answer is %lu bytes, more than the limit of %llu",
                    (unsigned long)frame->len, (unsigned long long)frame->max);
    frame->message->max = frame->len;
    return CYGNET_OK;
}

cygnet_status grpc_frame_take(struct grpc_frame *frame, const void *data, size_t len,
                              cygnet_error *err)
{
    const uint8_t *at = data;
    cygnet_status st = CYGNET_OK;

    while (len > 0 && frame->n_prefix < sizeof(frame->prefix)) {
        frame->prefix[frame->n_prefix++] = *at++;
        len--;
        if (frame->n_prefix == sizeof(frame->prefix))
            st = read_prefix(frame, err);
    }
    if (st != CYGNET_OK || len == 0)
        return st;
    if (len > frame->len - frame->message->len)
        return fail(err, CYGNET_EPROTOCOL, 0, "bytes follow the answer's one message");
    return bytes_append(frame->message, at, len, err);
}

bool grpc_frame_is_whole(const struct grpc_frame *frame)
{
    return frame->n_prefix == sizeof(frame->prefix) && frame->message->len == frame->len;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte at *at, which moves on; an escape that is none stands for itself. */
static unsigned char next_byte(const char **at)
{
    const char *p = *at;
    int high = p[0] == '%' ? hex_digit(p[1]) : -1;
    int low = high >= 0 ? hex_digit(p[2]) : -1;

    *at += low >= 0 ? 3 : 1;
    return (unsigned char)(low >= 0 ? high * 16 + low : p[0]);
}

void grpc_words_decode(char *out, size_t size, const char *encoded)
{
    size_t len = 0;

    while (*encoded && len + 1 < size) {
        unsigned char c = next_byte(&encoded);

        out[len++] = c < 0x20 || c == 0x7f ? ' ' : (char)c;
    }
    out[len] = '\0';
    while (*(out += json_invalid_utf8(out)))
        *out = '?';
}
