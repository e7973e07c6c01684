/* Blobs kept under their SHA-256 in a store, bounded; the least recently used go.
 * Only a convenience: whatever fails here costs a download and no more. */
#ifndef TRANSPORT_BLOB_CACHE_H
#define TRANSPORT_BLOB_CACHE_H

#include "base/crypto.h"
#include "base/log.h"
#include "base/store.h"

struct blob_cache {
    struct store *store; /* NULL: nothing is kept */
    uint64_t max_bytes;
    const struct log *log;
};

/* Fills *out (empty, its max bounds the read) with the blob of that hash and
 * size, verified. An entry of another size or hash is dropped.
 * Errors: ENOTFOUND when it must be fetched (an everyday answer: err is left
 * alone), ENOMEM. On failure *out is empty. */
cygnet_status blob_cache_get(struct blob_cache *cache, struct bytes *out,
                             const char hex[SHA256_HEX + 1], uint64_t size,
                             cygnet_error *err);

/* Keeps a verified blob, after making room. Failures go to the debug log. */
void blob_cache_put(struct blob_cache *cache, const char hex[SHA256_HEX + 1],
                    const void *data, size_t len);

#endif
