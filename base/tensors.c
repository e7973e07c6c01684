/* The list of named tensors: ownership, limits, lookup. The file format is in
 * safetensors.c. */
#include "base/tensors.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/json_scan.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#define DATA_ALIGNMENT 64
#define METADATA_MAX_BYTES ((size_t)1 << 20)
#define METADATA_MAX_PAIRS 4096 /* each is looked for among all */

static const struct {
    const char *name;
    size_t size;
} dtypes[] = {
    [CYGNET_F32] = {"F32", 4},   [CYGNET_F64] = {"F64", 8}, [CYGNET_F16] = {"F16", 2},
    [CYGNET_BF16] = {"BF16", 2}, [CYGNET_I64] = {"I64", 8}, [CYGNET_I32] = {"I32", 4},
    [CYGNET_I16] = {"I16", 2},   [CYGNET_I8] = {"I8", 1},   [CYGNET_U8] = {"U8", 1},
    [CYGNET_BOOL] = {"BOOL", 1},
};

#define N_DTYPES (sizeof(dtypes) / sizeof(dtypes[0]))

size_t cygnet_dtype_size(cygnet_dtype dtype)
{
    return (unsigned)dtype < N_DTYPES ? dtypes[dtype].size : 0;
}

const char *cygnet_dtype_name(cygnet_dtype dtype)
{
    return (unsigned)dtype < N_DTYPES ? dtypes[dtype].name : NULL;
}

bool dtype_of_name(cygnet_dtype *out, const char *name)
{
    for (size_t i = 0; i < N_DTYPES; i++)
        if (strcmp(dtypes[i].name, name) == 0) {
            *out = (cygnet_dtype)i;
            return true;
        }
    return false;
}

bool tensor_size_bytes(uint64_t *out, cygnet_dtype dtype, const uint64_t *shape,
                       uint32_t n_dims)
{
    uint64_t size = cygnet_dtype_size(dtype);

    /* A zero anywhere makes the product zero, whatever the other factors. */
    for (uint32_t i = 0; i < n_dims; i++)
        if (shape[i] == 0)
            size = 0;
    for (uint32_t i = 0; i < n_dims && size > 0; i++) {
        if (shape[i] > UINT64_MAX / size)
            return false;
        size *= shape[i];
    }
    *out = size;
    return true;
}

/* FNV-1a, 64 bits. */
static uint64_t hash_name(const char *name, uint64_t salt)
{
    uint64_t h = 0xcbf29ce484222325u ^ salt;

    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * 0x100000001b3u;
    return h;
}

cygnet_status cygnet_tensors_create(cygnet_tensors **out, uint64_t max_bytes,
                                    const cygnet_allocator *alloc, cygnet_error *err)
{
    cygnet_tensors *list = mem_calloc(alloc, 1, sizeof(*list));

    *out = list;
    if (!list)
        return fail(err, CYGNET_ENOMEM, 0, "out of memory for a tensor list");
    list->alloc = alloc;
    list->max_bytes = max_bytes;
    return CYGNET_OK;
}

/* The bucket that holds the name, or the free one where it belongs. */
static uint32_t *bucket_of(const cygnet_tensors *list, const char *name)
{
    size_t mask = list->n_buckets - 1;
    /* The list's address makes names that collide hard to prepare. */
    uint64_t hash = hash_name(name, (uint64_t)(uintptr_t)list);
    size_t at = (size_t)(hash ^ hash >> 32) & mask;

    while (list->buckets[at] != 0 &&
           strcmp(list->items[list->buckets[at] - 1]->name, name) != 0)
        at = (at + 1) & mask;
    return &list->buckets[at];
}

const cygnet_tensor *cygnet_tensors_find(const cygnet_tensors *list, const char *name)
{
    uint32_t index = list->n_buckets ? *bucket_of(list, name) : 0;

    return index ? list->items[index - 1] : NULL;
}

/* Keeps the table at most half full. */
static bool grow_buckets(cygnet_tensors *list)
{
    size_t n = list->n_buckets ? list->n_buckets * 2 : 32;
    uint32_t *old = list->buckets;
    uint32_t *buckets;

    if (list->count * 2 < list->n_buckets)
        return true;
    buckets = mem_calloc(list->alloc, n, sizeof(*buckets));
    if (!buckets)
        return false;
    list->buckets = buckets;
    list->n_buckets = n;
    for (size_t i = 0; i < list->count; i++)
        *bucket_of(list, list->items[i]->name) = (uint32_t)i + 1;
    mem_free(list->alloc, old);
    return true;
}

static bool grow_items(cygnet_tensors *list)
{
    size_t cap = list->cap ? list->cap * 2 : 16;
    cygnet_tensor **items;

    if (list->count < list->cap)
        return true;
    items = mem_resize(list->alloc, list->items, cap * sizeof(cygnet_tensor *));
    if (!items)
        return false;
    list->items = items;
    list->cap = cap;
    return true;
}

static cygnet_status check_new(const cygnet_tensors *list, const char *name,
                               cygnet_dtype dtype, uint32_t n_dims, cygnet_error *err)
{
    size_t len = strlen(name);

    if (len == 0 || len > CYGNET_TENSOR_NAME_MAX)
        return fail(err, CYGNET_EINVAL, 0, "a tensor's name must have 1 to %d bytes",
                    CYGNET_TENSOR_NAME_MAX);
    if (name[json_invalid_utf8(name)] != 0)
        return fail(err, CYGNET_EINVAL, 0, "a tensor's name is not UTF-8");
    if (strcmp(name, "__metadata__") == 0)
        return fail(err, CYGNET_EINVAL, 0, "\"__metadata__\" cannot name a tensor");
    if (cygnet_dtype_size(dtype) == 0)
        return fail(err, CYGNET_EINVAL, 0, "tensor \"%.100s\": unknown dtype %d", name,
                    (int)dtype);
    if (n_dims > CYGNET_TENSOR_MAX_DIMS)
        return fail(err, CYGNET_EINVAL, 0, "tensor \"%.100s\": more than %d dimensions",
                    name, CYGNET_TENSOR_MAX_DIMS);
    if (list->count == CYGNET_TENSORS_MAX_COUNT)
        return fail(err, CYGNET_ELIMIT, 0, "more than %d tensors",
                    CYGNET_TENSORS_MAX_COUNT);
    if (cygnet_tensors_find(list, name))
        return fail(err, CYGNET_EINVAL, 0, "tensor \"%.100s\" appears twice", name);
    return CYGNET_OK;
}

static void free_item(const cygnet_allocator *alloc, cygnet_tensor *tensor)
{
    if (!tensor)
        return;
    mem_free_aligned(alloc, tensor->data);
    mem_free(alloc, tensor);
}

/* The tensor, its name behind it, and its zeroed data. NULL: out of memory. */
static cygnet_tensor *make_item(const cygnet_allocator *alloc, const char *name,
                                uint64_t size)
{
    size_t name_size = strlen(name) + 1;
    cygnet_tensor *tensor = mem_calloc(alloc, 1, sizeof(*tensor) + name_size);

    if (!tensor)
        return NULL;
    tensor->name = memcpy((char *)(tensor + 1), name, name_size);
    tensor->size_bytes = size;
    if (size == 0)
        return tensor;
    tensor->data = mem_alloc_aligned(alloc, (size_t)size, DATA_ALIGNMENT);
    if (!tensor->data) {
        mem_free(alloc, tensor);
        return NULL;
    }
    memset(tensor->data, 0, (size_t)size);
    return tensor;
}

cygnet_status cygnet_tensors_add(cygnet_tensor **out, cygnet_tensors *list,
                                 const char *name, cygnet_dtype dtype,
                                 const uint64_t *shape, uint32_t n_dims,
                                 cygnet_error *err)
{
    cygnet_status st = check_new(list, name, dtype, n_dims, err);
    cygnet_tensor *tensor = NULL;
    uint64_t size;

    if (out)
        *out = NULL;
    if (st != CYGNET_OK)
        return st;
    if (!tensor_size_bytes(&size, dtype, shape, n_dims) ||
        size > list->max_bytes - list->bytes)
        return fail(err, CYGNET_ELIMIT, 0,
                    "tensor \"%.100s\": more than the limit of %" PRIu64 " bytes in all",
                    name, list->max_bytes);
    if (grow_buckets(list) && grow_items(list))
        tensor = make_item(list->alloc, name, size);
    if (!tensor)
        return fail(err, CYGNET_ENOMEM, 0, "out of memory for tensor \"%.100s\"", name);
    tensor->dtype = dtype;
    tensor->n_dims = n_dims;
    if (n_dims > 0)
        memcpy(tensor->shape, shape, n_dims * sizeof(*shape));
    list->items[list->count] = tensor;
    *bucket_of(list, name) = (uint32_t)++list->count;
    list->bytes += size;
    if (out)
        *out = tensor;
    return CYGNET_OK;
}

size_t cygnet_tensors_count(const cygnet_tensors *list)
{
    return list->count;
}

const cygnet_tensor *cygnet_tensors_at(const cygnet_tensors *list, size_t index)
{
    return index < list->count ? list->items[index] : NULL;
}

static struct tensors_pair *find_pair(const cygnet_tensors *list, const char *key)
{
    for (struct tensors_pair *p = list->metadata; p; p = p->next)
        if (strcmp(p->key, key) == 0)
            return p;
    return NULL;
}

const char *cygnet_tensors_metadata(const cygnet_tensors *list, const char *key)
{
    const struct tensors_pair *pair = find_pair(list, key);

    return pair ? pair->value : NULL;
}

static struct tensors_pair *make_pair(const cygnet_allocator *alloc, const char *key,
                                      const char *value)
{
    size_t key_size = strlen(key) + 1;
    size_t value_size = strlen(value) + 1;
    struct tensors_pair *pair = mem_alloc(alloc, sizeof(*pair) + key_size + value_size);

    if (!pair)
        return NULL;
    pair->next = NULL;
    pair->key = memcpy((char *)(pair + 1), key, key_size);
    pair->value = memcpy((char *)(pair + 1) + key_size, value, value_size);
    return pair;
}

static size_t pair_bytes(const char *key, const char *value)
{
    return strlen(key) + strlen(value);
}

/* Puts the pair where one of the same key stood, else at the end. */
static void put_pair(cygnet_tensors *list, struct tensors_pair *pair)
{
    struct tensors_pair **at = &list->metadata;
    struct tensors_pair *old;

    while (*at && strcmp((*at)->key, pair->key) != 0)
        at = &(*at)->next;
    old = *at;
    if (old) {
        list->metadata_bytes -= pair_bytes(old->key, old->value);
        pair->next = old->next;
        mem_free(list->alloc, old);
    }
    *at = pair;
    list->n_pairs += !old;
    list->metadata_bytes += pair_bytes(pair->key, pair->value);
}

cygnet_status cygnet_tensors_set_metadata(cygnet_tensors *list, const char *key,
                                          const char *value, cygnet_error *err)
{
    const struct tensors_pair *old = find_pair(list, key);
    size_t kept = list->metadata_bytes - (old ? pair_bytes(old->key, old->value) : 0);
    struct tensors_pair *pair;

    if (key[json_invalid_utf8(key)] != 0 || value[json_invalid_utf8(value)] != 0)
        return fail(err, CYGNET_EINVAL, 0, "metadata \"%.64s\" is not UTF-8", key);
    if (pair_bytes(key, value) > METADATA_MAX_BYTES - kept)
        return fail(err, CYGNET_ELIMIT, 0, "more than %zu bytes of metadata",
                    METADATA_MAX_BYTES);
    if (!old && list->n_pairs == METADATA_MAX_PAIRS)
        return fail(err, CYGNET_ELIMIT, 0, "more than %d metadata pairs",
                    METADATA_MAX_PAIRS);
    pair = make_pair(list->alloc, key, value);
    if (!pair)
        return fail(err, CYGNET_ENOMEM, 0, "out of memory for metadata");
    put_pair(list, pair);
    return CYGNET_OK;
}

void cygnet_tensors_destroy(cygnet_tensors *list)
{
    if (!list)
        return;
    for (size_t i = 0; i < list->count; i++)
        free_item(list->alloc, list->items[i]);
    while (list->metadata) {
        struct tensors_pair *next = list->metadata->next;

        mem_free(list->alloc, list->metadata);
        list->metadata = next;
    }
    mem_free(list->alloc, list->items);
    mem_free(list->alloc, list->buckets);
    mem_free(list->alloc, list);
}
