/* Any bytes as the body of a gRPC answer, in pieces of any length, and as the words
 * of a status. The first byte chooses the pieces. */
#include "base/json_scan.h"
#include "transport/grpc_frame.h"

#include <stdlib.h>
#include <string.h>

#define MAX_MESSAGE 5000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Returns whether it was taken; *message is the caller's to clear. */
static bool take(struct bytes *message, const uint8_t *data, size_t size, size_t piece)
{
    struct grpc_frame frame;
    cygnet_status st = CYGNET_OK;

    grpc_frame_init(&frame, message, MAX_MESSAGE, NULL);
    for (size_t at = 0; st == CYGNET_OK && at < size; at += piece)
        st = grpc_frame_take(&frame, data + at, size - at < piece ? size - at : piece,
                             NULL);
    if (message->len > MAX_MESSAGE || message->cap > MAX_MESSAGE)
        abort();
    return st == CYGNET_OK && grpc_frame_is_whole(&frame);
}

static void check_words(const uint8_t *data, size_t size)
{
    char *encoded = malloc(size + 1);
    char words[64];

    if (!encoded)
        abort();
    if (size > 0)
        memcpy(encoded, data, size);
    encoded[size] = '\0';
    grpc_words_decode(words, sizeof(words), encoded);
    if (json_invalid_utf8(words) != strlen(words) || strpbrk(words, "\r\n"))
        abort();
    free(encoded);
}

/* The pieces that it comes in change nothing. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes whole, pieces;
    size_t piece = size > 0 ? 1u + data[0] % 7u : 1;

    if (size > 0) {
        data++;
        size--;
    }
    if (take(&whole, data, size, size + 1) != take(&pieces, data, size, piece))
        abort();
    if (whole.len > 0 && pieces.len == whole.len &&
        memcmp(whole.data, pieces.data, whole.len) != 0)
        abort();
    bytes_clear(&whole);
    bytes_clear(&pieces);
    check_words(data, size);
    return 0;
}
