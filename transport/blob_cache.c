/* The bounded, content-addressed cache of blobs. */
#include "transport/blob_cache.h"

#include "base/error.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define FOLDER "blobs"
#define NAME_BYTES (sizeof(FOLDER) + 1 + SHA256_HEX)
#define MAX_EVICTIONS 4096 /* a damaged store must not keep us here for ever */

static void name_of(char out[NAME_BYTES], const char *file)
{
    (void)snprintf(out, NAME_BYTES, "%s/%.*s", FOLDER, SHA256_HEX, file);
}

/* ---- Reading ------------------------------------------------------------- */

static cygnet_status read_verified(struct blob_cache *cache, struct bytes *out,
                                   const char *hex, const char *name)
{
    char found[SHA256_HEX + 1];
    cygnet_status st = store_read(cache->store, out, name, NULL);

    if (st == CYGNET_OK)
        st = sha256_hex(found, out->data, out->len, NULL);
    if (st == CYGNET_OK && strcmp(found, hex) != 0)
        st = CYGNET_EHASH;
    return st;
}

cygnet_status blob_cache_get(struct blob_cache *cache, struct bytes *out,
                             const char hex[SHA256_HEX + 1], uint64_t size,
                             cygnet_error *err)
{
    char name[NAME_BYTES];
    uint64_t found = 0;
    cygnet_status st;

    name_of(name, hex);
    if (!cache->store || store_size(cache->store, &found, name, NULL) != CYGNET_OK)
        return CYGNET_ENOTFOUND;
    st = found == size ? read_verified(cache, out, hex, name) : CYGNET_EHASH;
    if (st == CYGNET_OK) {
        store_touch(cache->store, name);
        return CYGNET_OK;
    }
    bytes_clear(out);
    if (st == CYGNET_ENOMEM)
        return fail(err, st, 0, "out of memory while reading a cached blob");
    log_line(cache->log, LOG_DEBUG, "cached blob %.16s... is unusable; fetching it again",
             hex);
    (void)store_remove(cache->store, name, NULL);
    return CYGNET_ENOTFOUND;
}

/* ---- Making room --------------------------------------------------------- */

struct census {
    struct store *store;
    uint64_t total;
    int64_t oldest_ms;
    char oldest[NAME_BYTES];
};

static cygnet_status count_blob(const char *file, void *user)
{
    struct census *census = user;
    char name[NAME_BYTES];
    uint64_t size = 0;
    int64_t age_ms = 0;

    if (strlen(file) != SHA256_HEX)
        return CYGNET_OK; /* not one of ours */
    name_of(name, file);
    if (store_size(census->store, &size, name, NULL) != CYGNET_OK)
        return CYGNET_OK;
    census->total += size;
    if (store_age(census->store, &age_ms, name, NULL) != CYGNET_OK)
        age_ms = 0;
    if (!census->oldest[0] || age_ms < census->oldest_ms) {
        census->oldest_ms = age_ms;
        memcpy(census->oldest, name, sizeof(name));
    }
    return CYGNET_OK;
}

/* Drops the least recently used blobs until `len` more bytes fit. */
static cygnet_status make_room(struct blob_cache *cache, uint64_t len, cygnet_error *err)
{
    if (len > cache->max_bytes)
        return fail(err, CYGNET_ELIMIT, 0, "blob is larger than the whole cache");
    for (int i = 0; i < MAX_EVICTIONS; i++) {
        struct census census = {.store = cache->store};
        cygnet_status st = store_list(cache->store, FOLDER, count_blob, &census, err);

        if (st == CYGNET_ENOTFOUND)
            return CYGNET_OK;
        if (st != CYGNET_OK || census.total <= cache->max_bytes - len)
            return st;
        st = store_remove(cache->store, census.oldest, err);
        if (st != CYGNET_OK)
            return st;
    }
    return fail(err, CYGNET_ESTORAGE, 0, "cache holds too many files");
}

static cygnet_status keep(struct blob_cache *cache, const char *hex, const void *data,
                          size_t len, cygnet_error *err)
{
    struct store_file *file = NULL;
    char name[NAME_BYTES];
    cygnet_status st = make_room(cache, len, err);

    name_of(name, hex);
    if (st == CYGNET_OK)
        st = store_create(cache->store, &file, name, err);
    if (st != CYGNET_OK)
        return st;
    st = store_write(file, data, len, err);
    if (st == CYGNET_OK)
        return store_commit(file, err);
    store_abandon(file);
    return st;
}

void blob_cache_put(struct blob_cache *cache, const char hex[SHA256_HEX + 1],
                    const void *data, size_t len)
{
    cygnet_error err = {0};

    if (cache->store && keep(cache, hex, data, len, &err) != CYGNET_OK)
        log_line(cache->log, LOG_DEBUG, "blob %.16s... is not cached: %s", hex,
                 err.message);
}
