/* See global.h. */
#include "global.h"

#include "../common/complain.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define MODEL_MAX_BYTES ((size_t)1 << 30)

struct global {
    atomic_int refs;
    cygnet_tensors *weights;
    char sha256[HASH_HEX + 1];
    size_t size;
};

static cygnet_status wrap(struct global **out, cygnet_tensors *weights, const void *bytes,
                          size_t len, cygnet_error *err)
{
    uint8_t digest[HASH_BYTES];
    struct global *g = calloc(1, sizeof *g);

    if (!g)
        return complain(err, CYGNET_ENOMEM, 0, "out of memory for the weights");
    atomic_init(&g->refs, 1);
    g->weights = weights;
    g->size = len;
    hash_bytes(digest, bytes, len);
    hash_hex(g->sha256, digest);
    *out = g;
    return CYGNET_OK;
}

cygnet_status global_create(struct global **out, cygnet_tensors *weights,
                            const struct files *files, cygnet_error *err)
{
    char path[FILES_PATH_MAX];
    void *bytes = NULL;
    size_t len = 0;
    cygnet_status st = cygnet_tensors_serialize(&bytes, &len, weights, err);

    *out = NULL;
    if (st == CYGNET_OK)
        st = wrap(out, weights, bytes, len, err);
    if (st != CYGNET_OK) {
        cygnet_tensors_free_bytes(weights, bytes);
        cygnet_tensors_destroy(weights);
        return st;
    }
    files_blob_path(path, files, (*out)->sha256);
    st = files_save(path, bytes, len, err);
    cygnet_tensors_free_bytes(weights, bytes);
    if (st != CYGNET_OK) {
        global_unref(*out);
        *out = NULL;
    }
    return st;
}

static cygnet_status parse(struct global **out, const void *bytes, size_t len,
                           cygnet_error *err)
{
    cygnet_tensors *weights = NULL;
    cygnet_status st =
        cygnet_tensors_parse(&weights, bytes, len, MODEL_MAX_BYTES, NULL, err);

    if (st == CYGNET_OK)
        st = wrap(out, weights, bytes, len, err);
    if (st != CYGNET_OK)
        cygnet_tensors_destroy(weights);
    return st;
}

cygnet_status global_load(struct global **out, const char *hex, const struct files *files,
                          cygnet_error *err)
{
    char path[FILES_PATH_MAX];
    void *bytes = NULL;
    size_t len = 0;
    cygnet_status st;

    *out = NULL;
    files_blob_path(path, files, hex);
    st = files_read_named(&bytes, &len, path, MODEL_MAX_BYTES, err);
    if (st == CYGNET_OK)
        st = parse(out, bytes, len, err);
    free(bytes);
    return st;
}

struct global *global_ref(struct global *g)
{
    atomic_fetch_add(&g->refs, 1);
    return g;
}

void global_unref(struct global *g)
{
    if (!g || atomic_fetch_sub(&g->refs, 1) != 1)
        return;
    cygnet_tensors_destroy(g->weights);
    free(g);
}

const cygnet_tensors *global_weights(const struct global *g)
{
    return g->weights;
}

const char *global_sha256(const struct global *g)
{
    return g->sha256;
}

size_t global_size(const struct global *g)
{
    return g->size;
}

size_t global_max_update(const struct global *g)
{
    /* Codec none is as large as the weights; other codecs add a little metadata
     * for each tensor and are smaller otherwise. */
    return g->size + g->size / 8 + ((size_t)1 << 20);
}
