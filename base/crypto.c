/* SHA-256 and random bytes over mbedTLS, whose names changed between 2.28 and 3. */
#include "base/crypto.h"

#include "base/error.h"

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/sha256.h>
#include <mbedtls/version.h>

#if MBEDTLS_VERSION_NUMBER >= 0x03000000
#define sha256_starts_ret mbedtls_sha256_starts
#define sha256_update_ret mbedtls_sha256_update
#define sha256_finish_ret mbedtls_sha256_finish
#else
#define sha256_starts_ret mbedtls_sha256_starts_ret
#define sha256_update_ret mbedtls_sha256_update_ret
#define sha256_finish_ret mbedtls_sha256_finish_ret
#endif

_Static_assert(sizeof(mbedtls_sha256_context) <= sizeof(struct sha256),
               "struct sha256 must hold mbedTLS's context");

static mbedtls_sha256_context *context_of(struct sha256 *h)
{
    return (mbedtls_sha256_context *)(void *)h;
}

static cygnet_status check(int code, struct sha256 *h, cygnet_error *err)
{
    if (code == 0)
        return CYGNET_OK;
    sha256_clear(h);
    return fail(err, CYGNET_EHOST, code, "SHA-256 failed in mbedTLS");
}

cygnet_status sha256_init(struct sha256 *h, cygnet_error *err)
{
    mbedtls_sha256_init(context_of(h));
    return check(sha256_starts_ret(context_of(h), 0), h, err);
}

cygnet_status sha256_update(struct sha256 *h, const void *data, size_t len,
                            cygnet_error *err)
{
    if (len == 0)
        return CYGNET_OK;
    return check(sha256_update_ret(context_of(h), data, len), h, err);
}

cygnet_status sha256_final(uint8_t digest[SHA256_BYTES], struct sha256 *h,
                           cygnet_error *err)
{
    cygnet_status st = check(sha256_finish_ret(context_of(h), digest), h, err);

    if (st == CYGNET_OK)
        sha256_clear(h);
    return st;
}

void sha256_clear(struct sha256 *h)
{
    mbedtls_sha256_free(context_of(h));
}

cygnet_status sha256(uint8_t digest[SHA256_BYTES], const void *data, size_t len,
                     cygnet_error *err)
{
    struct sha256 h;
    cygnet_status st = sha256_init(&h, err);

    if (st == CYGNET_OK)
        st = sha256_update(&h, data, len, err);
    if (st == CYGNET_OK)
        st = sha256_final(digest, &h, err);
    return st;
}

cygnet_status sha256_hex(char hex[SHA256_HEX + 1], const void *data, size_t len,
                         cygnet_error *err)
{
    uint8_t digest[SHA256_BYTES];
    cygnet_status st = sha256(digest, data, len, err);

    if (st == CYGNET_OK)
        hex_encode(hex, digest, sizeof(digest));
    return st;
}

void hex_encode(char *out, const void *data, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *p = data;

    for (size_t i = 0; i < len; i++) {
        *out++ = digits[p[i] >> 4];
        *out++ = digits[p[i] & 15];
    }
    *out = 0;
}

void base64_encode(char *out, const void *data, size_t len)
{
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *p = data;

    for (size_t i = 0; i < len; i += 3) {
        size_t left = len - i;
        uint32_t group = (uint32_t)p[i] << 16;

        if (left > 1)
            group |= (uint32_t)p[i + 1] << 8;
        if (left > 2)
            group |= p[i + 2];
        *out++ = digits[group >> 18];
        *out++ = digits[group >> 12 & 63];
        *out++ = left > 1 ? digits[group >> 6 & 63] : '=';
        *out++ = left > 2 ? digits[group & 63] : '=';
    }
    *out = 0;
}

/* A generator that lives for one call: no state to share, lock or carry over a
 * fork. */
cygnet_status random_bytes(void *out, size_t len, cygnet_error *err)
{
    mbedtls_entropy_context entropy;
    mbedtls_ctr_drbg_context drbg;
    uint8_t *p = out;
    int code;

    mbedtls_entropy_init(&entropy);
    mbedtls_ctr_drbg_init(&drbg);
    code = mbedtls_ctr_drbg_seed(&drbg, mbedtls_entropy_func, &entropy, NULL, 0);
    while (code == 0 && len > 0) {
        size_t n =
            len < MBEDTLS_CTR_DRBG_MAX_REQUEST ? len : MBEDTLS_CTR_DRBG_MAX_REQUEST;

        code = mbedtls_ctr_drbg_random(&drbg, p, n);
        p += n;
        len -= n;
    }
    mbedtls_ctr_drbg_free(&drbg);
    mbedtls_entropy_free(&entropy);
    if (code != 0)
        return fail(err, CYGNET_EHOST, code, "mbedTLS gives no random bytes (-0x%04x)",
                    (unsigned)-code);
    return CYGNET_OK;
}
