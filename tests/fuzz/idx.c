/* Fuzz target: any bytes as an IDX file of images and of labels, gzip or not. A
 * file that is taken must hold exactly what its header says. */
#include "examples/common/idx.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void parse_as(enum idx_kind kind, const uint8_t *data, size_t len)
{
    struct idx idx;
    cygnet_error err;
    uint64_t sum = 0;

    if (idx_parse(&idx, kind, data, len, "fuzz", &err) != CYGNET_OK) {
        if (idx.bytes || err.message[0] == '\0')
            abort();
        return;
    }
    /* reads every byte: a short allocation is a sanitizer's finding */
    for (size_t i = 0; i < (size_t)idx.n * idx.height * idx.width; i++)
        sum += idx.bytes[i];
    if (idx.n == 0 || idx.n > IDX_MAX_ROWS || sum > 255u * (uint64_t)IDX_MAX_BYTES)
        abort();
    idx_clear(&idx);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    parse_as(IDX_IMAGES, data, len);
    parse_as(IDX_LABELS, data, len);
    return 0;
}
