/* SHA-256 and random bytes, from mbedTLS (2.28 and 3.x). */
#ifndef BASE_CRYPTO_H
#define BASE_CRYPTO_H

#include <cygnet/status.h>
#include <stddef.h>
#include <stdint.h>

#define SHA256_BYTES 32
#define SHA256_HEX 64

/* An incremental hash in the caller's memory. */
struct sha256 {
    union {
        uint64_t align;
        unsigned char bytes[256];
    } state;
};

cygnet_status sha256_init(struct sha256 *h, cygnet_error *err);
cygnet_status sha256_update(struct sha256 *h, const void *data, size_t len,
                            cygnet_error *err);
/* Writes the digest and clears h. */
cygnet_status sha256_final(uint8_t digest[SHA256_BYTES], struct sha256 *h,
                           cygnet_error *err);
/* Gives up a hash that will not be finished. */
void sha256_clear(struct sha256 *h);

/* In one go. */
cygnet_status sha256(uint8_t digest[SHA256_BYTES], const void *data, size_t len,
                     cygnet_error *err);
cygnet_status sha256_hex(char hex[SHA256_HEX + 1], const void *data, size_t len,
                         cygnet_error *err);

/* Lower-case hex with a NUL; out holds 2 * len + 1 bytes. */
void hex_encode(char *out, const void *data, size_t len);

/* Base64 (RFC 4648) with a NUL; out holds 4 * ((len + 2) / 3) + 1 bytes. */
void base64_encode(char *out, const void *data, size_t len);

/* From CTR_DRBG, seeded anew by each call with the system's entropy; fit for keys.
 * Errors: EHOST. */
cygnet_status random_bytes(void *out, size_t len, cygnet_error *err);

#endif
