/* The bytes of a gRPC answer: one message behind its prefix, in any pieces; and the
 * words that come with a status. */
#ifndef TRANSPORT_GRPC_FRAME_H
#define TRANSPORT_GRPC_FRAME_H

#include "base/bytes.h"

#include <stdbool.h>

/* message  as far as it has arrived
 * max      bytes of the longest one that is accepted */
struct grpc_frame {
    uint8_t prefix[5];
    size_t n_prefix;
    uint32_t len;
    uint64_t max;
    struct bytes *message;
};

/* Cannot fail. `message` is initialised here and cleared by the caller. */
void grpc_frame_init(struct grpc_frame *frame, struct bytes *message, uint64_t max,
                     const cygnet_allocator *alloc);

/* Takes in the next piece. Errors: EPROTOCOL (compressed, or a second message),
 * ELIMIT, ENOMEM. */
cygnet_status grpc_frame_take(struct grpc_frame *frame, const void *data, size_t len,
                              cygnet_error *err);

/* The message is there to its last byte. */
bool grpc_frame_is_whole(const struct grpc_frame *frame);

/* Writes a percent-encoded grpc-message into out, cut where it does not fit; what
 * is no UTF-8 as '?', control characters as blanks. */
void grpc_words_decode(char *out, size_t size, const char *encoded);

#endif
