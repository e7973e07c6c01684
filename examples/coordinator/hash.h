/* SHA-256 in the forms the coordinator needs. */
#ifndef COORDINATOR_HASH_H
#define COORDINATOR_HASH_H

#include <stddef.h>
#include <stdint.h>

#define HASH_BYTES 32
#define HASH_HEX 64

void hash_bytes(uint8_t digest[HASH_BYTES], const void *data, size_t len);
void hash_hex(char hex[HASH_HEX + 1], const uint8_t digest[HASH_BYTES]);
int hash_is_hex(const char *text); /* exactly 64 lower-case hex digits */

/* The digest of a `sha-256=:<base64>:` member of a Repr-Digest header (RFC 9530,
 * section 3); 0 when there is none. */
int hash_from_repr_digest(uint8_t digest[HASH_BYTES], const char *header);

/* A number drawn from (seed, purpose, round, attempt, id): the same words give
 * the same number, and without the seed it cannot be predicted. */
uint64_t hash_draw(uint64_t seed, const char *purpose, uint64_t round, uint64_t attempt,
                   const char *id);

/* Fills `out` from the operating system's entropy; 0 on failure. */
int hash_random(void *out, size_t len);

#endif
