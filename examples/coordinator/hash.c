/* See hash.h. */
#include "hash.h"

#include <mbedtls/base64.h>
#include <mbedtls/sha256.h>
#include <mbedtls/version.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

void hash_bytes(uint8_t digest[HASH_BYTES], const void *data, size_t len)
{
#if MBEDTLS_VERSION_MAJOR >= 3
    (void)mbedtls_sha256(data, len, digest, 0);
#else
    (void)mbedtls_sha256_ret(data, len, digest, 0);
#endif
}

void hash_hex(char hex[HASH_HEX + 1], const uint8_t digest[HASH_BYTES])
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < HASH_BYTES; i++) {
        hex[2 * i] = digits[digest[i] >> 4];
        hex[2 * i + 1] = digits[digest[i] & 15];
    }
    hex[HASH_HEX] = '\0';
}

int hash_is_hex(const char *text)
{
    return strspn(text, "0123456789abcdef") == HASH_HEX && text[HASH_HEX] == '\0';
}

int hash_from_repr_digest(uint8_t digest[HASH_BYTES], const char *header)
{
    static const char key[] = "sha-256=:";
    uint8_t bytes[HASH_BYTES + 1];
    size_t n = 0;
    const char *begin = strstr(header, key);
    const char *end;

    if (!begin)
        return 0;
    begin += sizeof key - 1;
    end = strchr(begin, ':');
    if (!end ||
        mbedtls_base64_decode(bytes, sizeof bytes, &n, (const unsigned char *)begin,
                              (size_t)(end - begin)) != 0)
        return 0;
    if (n != HASH_BYTES)
        return 0;
    memcpy(digest, bytes, HASH_BYTES);
    return 1;
}

uint64_t hash_draw(uint64_t seed, const char *purpose, uint64_t round, uint64_t attempt,
                   const char *id)
{
    char words[256];
    uint8_t digest[HASH_BYTES];
    uint64_t value = 0;
    int n = snprintf(words, sizeof words, "cygnet %s %llu %llu %llu %s", purpose,
                     (unsigned long long)seed, (unsigned long long)round,
                     (unsigned long long)attempt, id);

    hash_bytes(digest, words, (size_t)n < sizeof words ? (size_t)n : sizeof words - 1);
    for (int i = 7; i >= 0; i--)
        value = value << 8 | digest[i];
    return value;
}

int hash_random(void *out, size_t len)
{
    return getrandom(out, len, 0) == (ssize_t)len;
}
