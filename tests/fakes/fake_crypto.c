/* base/crypto.h for builds without a library of cryptography: digests that tell texts
 * apart, but are no SHA-256. Four FNV-1a sums with unlike beginnings. */
#include "base/crypto.h"

#include <string.h>

enum { N_SUMS = SHA256_BYTES / 8 };

#define BEGINNING UINT64_C(0xCBF29CE484222325)
#define PRIME UINT64_C(0x100000001B3)

cygnet_status sha256_init(struct sha256 *h, cygnet_error *err)
{
    (void)err;
    for (uint64_t i = 0; i < N_SUMS; i++) {
        uint64_t sum = (BEGINNING ^ i) * PRIME;

        memcpy(h->state.bytes + 8 * i, &sum, 8);
    }
    return CYGNET_OK;
}

cygnet_status sha256_update(struct sha256 *h, const void *data, size_t len,
                            cygnet_error *err)
{
    const unsigned char *bytes = data;

    (void)err;
    for (size_t i = 0; i < N_SUMS; i++) {
        uint64_t sum;

        memcpy(&sum, h->state.bytes + 8 * i, 8);
        for (size_t j = 0; j < len; j++)
            sum = (sum ^ bytes[j]) * PRIME;
        memcpy(h->state.bytes + 8 * i, &sum, 8);
    }
    return CYGNET_OK;
}

cygnet_status sha256_final(uint8_t digest[SHA256_BYTES], struct sha256 *h,
                           cygnet_error *err)
{
    (void)err;
    memcpy(digest, h->state.bytes, SHA256_BYTES);
    sha256_clear(h);
    return CYGNET_OK;
}

void sha256_clear(struct sha256 *h)
{
    memset(h, 0, sizeof(*h));
}

cygnet_status sha256(uint8_t digest[SHA256_BYTES], const void *data, size_t len,
                     cygnet_error *err)
{
    struct sha256 h;

    (void)sha256_init(&h, err);
    (void)sha256_update(&h, data, len, err);
    return sha256_final(digest, &h, err);
}

void hex_encode(char *out, const void *data, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *bytes = data;

    for (size_t i = 0; i < len; i++) {
        *out++ = digits[bytes[i] >> 4];
        *out++ = digits[bytes[i] & 15];
    }
    *out = '\0';
}
