#include "transport/torch_storage.h"

#include "base/error.h"
#include "transport/pickle.h"

#include <string.h>

#define FORMAT_VERSION 1001
#define MAX_PART_BYTES 4096 /* of one pickle; those that PyTorch writes have 200 */
#define ID_ITEMS 5 /* "storage", class, key, device, elements; a view would follow */

/* Two pickles: a number of ten bytes, and FORMAT_VERSION. */
static const uint8_t magic[] = {0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c,
                                0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19,
                                0x2e, 0x80, 0x02, 0x4d, 0xe9, 0x03, 0x2e};

static const struct pickle_global classes[] = {
    {"torch", "FloatStorage"},
    {"torch", "LongStorage"},
};
static const cygnet_dtype dtypes[] = {CYGNET_F32, CYGNET_I64};

static const struct pickle_rules id_rules = {
    .globals = classes,
    .n_globals = sizeof(classes) / sizeof(classes[0]),
    .persistent_ids = true,
};

/* The text that is left, and what the storage's id says. */
struct blob {
    const uint8_t *data;
    size_t len;
    const cygnet_allocator *alloc;
    const struct pickle_value *key;
    int64_t n_elements;
};

static cygnet_status bad(const char *what, cygnet_error *err)
{
    return fail(err, CYGNET_EFORMAT, 0, "torch storage: %s", what);
}

static cygnet_status next_pickle(struct pickle **out, struct blob *b,
                                 const struct pickle_rules *rules, cygnet_error *err)
{
    size_t len = b->len < MAX_PART_BYTES ? b->len : MAX_PART_BYTES;
    size_t used = 0;
    cygnet_status st = pickle_load(out, b->data, len, &used, rules, b->alloc, err);

    if (st != CYGNET_OK)
        return fail_within(err, st, "torch storage");
    b->data += used;
    b->len -= used;
    return CYGNET_OK;
}

static cygnet_status pass_magic(struct blob *b, cygnet_error *err)
{
    if (b->len < sizeof(magic) || memcmp(b->data, magic, sizeof(magic)) != 0)
        return bad("does not begin as one of version 1001", err);
    b->data += sizeof(magic);
    b->len -= sizeof(magic);
    return CYGNET_OK;
}

static cygnet_status check_system(struct blob *b, cygnet_error *err)
{
    struct pickle *system;
    cygnet_status st = next_pickle(&system, b, NULL, err);
    const struct pickle_value *root, *little;
    int64_t version = 0;

    if (st != CYGNET_OK)
        return st;
    root = pickle_root(system);
    little = pickle_member(root, "little_endian");
    if (!pickle_int(&version, pickle_member(root, "protocol_version")) ||
        version != FORMAT_VERSION)
        st = bad("is not of version 1001", err);
    else if (!pickle_is(little, PICKLE_BOOL) || !little->as.truth)
        st = bad("its bytes are not little-endian", err);
    pickle_destroy(system);
    return st;
}

static cygnet_status read_id(struct torch_storage *out, struct blob *b,
                             const struct pickle_value *root, cygnet_error *err)
{
    const struct pickle_value *id =
        pickle_is(root, PICKLE_PERSISTENT) ? root->as.items[0] : NULL;

    if (!pickle_is(id, PICKLE_TUPLE) || id->n < ID_ITEMS ||
        !pickle_is_text(id->as.items[0], "storage"))
        return bad("its third part is not a storage's id", err);
    if (id->n > ID_ITEMS + 1 ||
        (id->n > ID_ITEMS && !pickle_is(id->as.items[ID_ITEMS], PICKLE_NONE)))
        return bad("it is a view of another storage", err);
    if (!pickle_is(id->as.items[1], PICKLE_GLOBAL))
        return bad("its id names no class", err);
    b->key = id->as.items[2];
    if (!pickle_is(b->key, PICKLE_STRING) || !pickle_is(id->as.items[3], PICKLE_STRING) ||
        !pickle_int(&b->n_elements, id->as.items[4]) || b->n_elements < 0)
        return bad("its id has no key, device or number of elements", err);
    out->dtype = dtypes[id->as.items[1]->global];
    out->n_elements = (uint64_t)b->n_elements;
    return CYGNET_OK;
}

static bool same_text(const struct pickle_value *a, const struct pickle_value *b)
{
    return pickle_is(a, PICKLE_STRING) && pickle_is(b, PICKLE_STRING) && a->n == b->n &&
           (a->n == 0 || memcmp(a->as.bytes, b->as.bytes, a->n) == 0);
}

/* The list of the storages that follow: this one alone. */
static cygnet_status check_keys(struct blob *b, cygnet_error *err)
{
    struct pickle *keys;
    cygnet_status st = next_pickle(&keys, b, NULL, err);
    const struct pickle_value *root;

    if (st != CYGNET_OK)
        return st;
    root = pickle_root(keys);
    if (!pickle_is(root, PICKLE_LIST) || root->n != 1 ||
        !same_text(root->as.items[0], b->key))
        st = bad("does not hold the storage that it names", err);
    pickle_destroy(keys);
    return st;
}

static cygnet_status read_elements(struct torch_storage *out, const struct blob *b,
                                   cygnet_error *err)
{
    size_t size = cygnet_dtype_size(out->dtype);

    if (b->len < 8 || load_u64le(b->data) != out->n_elements)
        return bad("two numbers of elements differ", err);
    if ((b->len - 8) % size != 0 || (b->len - 8) / size != out->n_elements)
        return bad("does not have as many bytes as its elements need", err);
    out->data = b->data + 8;
    out->size_bytes = b->len - 8;
    return CYGNET_OK;
}

cygnet_status torch_storage_read(struct torch_storage *out, const void *data, size_t len,
                                 const cygnet_allocator *alloc, cygnet_error *err)
{
    struct blob b = {.data = data, .len = len, .alloc = alloc};
    struct pickle *id = NULL;
    cygnet_status st = pass_magic(&b, err);

    if (st == CYGNET_OK)
        st = check_system(&b, err);
    if (st == CYGNET_OK)
        st = next_pickle(&id, &b, &id_rules, err);
    if (st == CYGNET_OK)
        st = read_id(out, &b, pickle_root(id), err);
    if (st == CYGNET_OK)
        st = check_keys(&b, err);
    if (st == CYGNET_OK)
        st = read_elements(out, &b, err);
    pickle_destroy(id);
    return st;
}
