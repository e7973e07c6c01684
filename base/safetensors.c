/* The safetensors format, strictly: 8 bytes of header length, a JSON header, the
 * tensors' bytes without holes. docs/safetensors.md says what is refused.
 * Source: the format section of the safetensors project's README. */
#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/store.h"
#include "base/tensors.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH_BYTES 8
#define HEADER_MAX_BYTES ((size_t)16 << 20)
#define HEADER_ALIGNMENT 8
#define METADATA_KEY "__metadata__"

static const struct json_limits header_limits = {
    .max_bytes = HEADER_MAX_BYTES,
    .max_depth = 4,
    /* a tensor's entry: itself, dtype, shape, its sizes, the two offsets */
    .max_values = (size_t)CYGNET_TENSORS_MAX_COUNT * (CYGNET_TENSOR_MAX_DIMS + 6),
};

/* One tensor of the header, before its bytes are copied. */
struct entry {
    const char *name;
    cygnet_dtype dtype;
    uint32_t n_dims;
    uint64_t shape[CYGNET_TENSOR_MAX_DIMS];
    uint64_t begin;
    uint64_t end;
};

struct file_view {
    const uint8_t *data;
    uint64_t len;
};

static cygnet_status bad(const struct entry *e, const char *what, cygnet_error *err)
{
    return fail(err, CYGNET_EFORMAT, 0, "safetensors: tensor \"%.100s\": %s", e->name,
                what);
}

static bool read_size(uint64_t *out, const struct json *value)
{
    double v = json_number(value, -1);

    if (!(v >= 0) || v > (double)JSON_EXACT_MAX || v != floor(v))
        return false;
    *out = (uint64_t)v;
    return true;
}

static cygnet_status read_shape(struct entry *e, const struct json *shape,
                                cygnet_error *err)
{
    if (!json_is_array(shape))
        return bad(e, "\"shape\" must be a list", err);
    if (json_count(shape) > CYGNET_TENSOR_MAX_DIMS)
        return fail(err, CYGNET_ELIMIT, 0,
                    "safetensors: tensor \"%.100s\": more than %d dimensions", e->name,
                    CYGNET_TENSOR_MAX_DIMS);
    for (const struct json *v = json_at(shape, 0); v; v = json_next(v))
        if (!read_size(&e->shape[e->n_dims++], v))
            return bad(e, "\"shape\" must hold whole numbers", err);
    return CYGNET_OK;
}

static cygnet_status read_offsets(struct entry *e, const struct json *offsets,
                                  uint64_t n_data, cygnet_error *err)
{
    uint64_t size;

    if (json_count(offsets) != 2 || !json_is_array(offsets) ||
        !read_size(&e->begin, json_at(offsets, 0)) ||
        !read_size(&e->end, json_at(offsets, 1)))
        return bad(e, "\"data_offsets\" must be two whole numbers", err);
    if (e->begin > e->end || e->end > n_data)
        return bad(e, "its data lie outside the file", err);
    if (!tensor_size_bytes(&size, e->dtype, e->shape, e->n_dims))
        return bad(e, "its shape overflows", err);
    if (size != e->end - e->begin)
        return bad(e, "shape and dtype do not match the size of its data", err);
    return CYGNET_OK;
}

static cygnet_status read_dtype(struct entry *e, const struct json *dtype,
                                cygnet_error *err)
{
    if (!json_is_string(dtype))
        return bad(e, "\"dtype\" is missing", err);
    if (!dtype_of_name(&e->dtype, json_text(dtype, "")))
        return fail(err, CYGNET_EUNSUPPORTED, 0,
                    "safetensors: tensor \"%.100s\": dtype \"%.16s\" is not known",
                    e->name, json_text(dtype, ""));
    return CYGNET_OK;
}

static cygnet_status read_entry(struct entry *e, const struct json *member,
                                uint64_t n_data, cygnet_error *err)
{
    size_t name_len = strlen(json_key(member));
    cygnet_status st;

    memset(e, 0, sizeof(*e));
    e->name = json_key(member);
    if (name_len == 0 || name_len > CYGNET_TENSOR_NAME_MAX)
        return bad(e, "a name must have 1 to 255 bytes", err);
    if (!json_is_object(member))
        return bad(e, "its entry is not an object", err);
    if (json_count(member) != 3)
        return bad(e, "its entry must be dtype, shape and data_offsets", err);
    st = read_dtype(e, json_member(member, "dtype"), err);
    if (st == CYGNET_OK)
        st = read_shape(e, json_member(member, "shape"), err);
    if (st == CYGNET_OK)
        st = read_offsets(e, json_member(member, "data_offsets"), n_data, err);
    return st;
}

static cygnet_status read_metadata(cygnet_tensors *list, const struct json *metadata,
                                   cygnet_error *err)
{
    cygnet_status st = CYGNET_OK;

    if (!json_is_object(metadata))
        return fail(err, CYGNET_EFORMAT, 0, "safetensors: metadata must be an object");
    for (const struct json *m = json_at(metadata, 0); m && st == CYGNET_OK;
         m = json_next(m)) {
        if (!json_is_string(m))
            return fail(err, CYGNET_EFORMAT, 0,
                        "safetensors: metadata \"%.100s\" must be a text", json_key(m));
        st = cygnet_tensors_set_metadata(list, json_key(m), json_text(m, ""), err);
    }
    return st;
}

/* By place in the file; empty tensors come before the one that starts there. */
static int compare_entries(const void *a, const void *b)
{
    const struct entry *x = a;
    const struct entry *y = b;

    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end)
        return x->end < y->end ? -1 : 1;
    return 0;
}

static cygnet_status check_layout(const struct entry *entries, size_t n, uint64_t n_data,
                                  cygnet_error *err)
{
    uint64_t at = 0;

    for (size_t i = 0; i < n; i++) {
        if (entries[i].begin != at)
            return bad(&entries[i], "its data overlap or leave a hole", err);
        at = entries[i].end;
    }
    if (at != n_data)
        return fail(err, CYGNET_EFORMAT, 0,
                    "safetensors: %" PRIu64 " bytes behind the last tensor", n_data - at);
    return CYGNET_OK;
}

static cygnet_status add_entries(cygnet_tensors *list, const struct entry *entries,
                                 size_t n, const uint8_t *data, cygnet_error *err)
{
    for (size_t i = 0; i < n; i++) {
        const struct entry *e = &entries[i];
        cygnet_tensor *tensor;
        cygnet_status st = cygnet_tensors_add(&tensor, list, e->name, e->dtype, e->shape,
                                              e->n_dims, err);

        if (st != CYGNET_OK)
            return fail_within(err, st, "safetensors");
        if (tensor->size_bytes > 0)
            memcpy(tensor->data, data + e->begin, (size_t)tensor->size_bytes);
    }
    return CYGNET_OK;
}

static cygnet_status read_entries(cygnet_tensors *list, struct entry *entries,
                                  const struct json *header, struct file_view data,
                                  cygnet_error *err)
{
    cygnet_status st = CYGNET_OK;
    size_t n = 0;

    for (const struct json *m = json_at(header, 0); m && st == CYGNET_OK;
         m = json_next(m)) {
        if (strcmp(json_key(m), METADATA_KEY) == 0)
            st = read_metadata(list, m, err);
        else
            st = read_entry(&entries[n++], m, data.len, err);
    }
    if (st != CYGNET_OK)
        return st;
    qsort(entries, n, sizeof(*entries), compare_entries);
    st = check_layout(entries, n, data.len, err);
    return st == CYGNET_OK ? add_entries(list, entries, n, data.data, err) : st;
}

static cygnet_status read_header(cygnet_tensors *list, const struct json *header,
                                 struct file_view data, cygnet_error *err)
{
    size_t n = json_count(header);
    struct entry *entries;
    cygnet_status st;

    if (n > CYGNET_TENSORS_MAX_COUNT + 1)
        return fail(err, CYGNET_ELIMIT, 0, "safetensors: more than %d tensors",
                    CYGNET_TENSORS_MAX_COUNT);
    entries = mem_alloc(list->alloc, (n + 1) * sizeof(*entries));
    if (!entries)
        return fail(err, CYGNET_ENOMEM, 0, "out of memory for a safetensors header");
    st = read_entries(list, entries, header, data, err);
    mem_free(list->alloc, entries);
    return st;
}

/* Splits the file into header text and data. */
static cygnet_status split(struct file_view *header, struct file_view *data,
                           const void *file, size_t len, cygnet_error *err)
{
    const uint8_t *p = file;
    uint64_t n;

    if (len < LENGTH_BYTES)
        return fail(err, CYGNET_EFORMAT, 0, "safetensors: shorter than 8 bytes");
    n = load_u64le(p);
    if (n > HEADER_MAX_BYTES)
        return fail(err, CYGNET_ELIMIT, 0,
                    "safetensors: a header of %" PRIu64 " bytes, the limit is %zu", n,
                    HEADER_MAX_BYTES);
    if (n > len - LENGTH_BYTES)
        return fail(err, CYGNET_EFORMAT, 0,
                    "safetensors: the header says %" PRIu64
                    " bytes, the file ends after %zu",
                    n, len - LENGTH_BYTES);
    if (n == 0 || p[LENGTH_BYTES] != '{')
        return fail(err, CYGNET_EFORMAT, 0, "safetensors: the header must begin with {");
    *header = (struct file_view){p + LENGTH_BYTES, n};
    *data = (struct file_view){p + LENGTH_BYTES + n, len - LENGTH_BYTES - n};
    return CYGNET_OK;
}

cygnet_status cygnet_tensors_parse(cygnet_tensors **out, const void *data, size_t len,
                                   uint64_t max_bytes, const cygnet_allocator *alloc,
                                   cygnet_error *err)
{
    struct file_view text = {NULL, 0};
    struct file_view rest = {NULL, 0};
    struct json *header = NULL;
    cygnet_tensors *list = NULL;
    cygnet_status st = split(&text, &rest, data, len, err);

    *out = NULL;
    if (st == CYGNET_OK && rest.len > max_bytes)
        st = fail(err, CYGNET_ELIMIT, 0,
                  "safetensors: %" PRIu64 " bytes of tensors, the limit is %" PRIu64,
                  rest.len, max_bytes);
    if (st == CYGNET_OK) {
        st = json_parse(&header, text.data, (size_t)text.len, &header_limits, err);
        if (st != CYGNET_OK)
            st = fail_within(err, st, "safetensors header");
    }
    if (st == CYGNET_OK)
        st = cygnet_tensors_create(&list, max_bytes, alloc, err);
    if (st == CYGNET_OK)
        st = read_header(list, header, rest, err);
    json_destroy(header);
    if (st != CYGNET_OK) {
        cygnet_tensors_destroy(list);
        return st;
    }
    *out = list;
    return CYGNET_OK;
}

cygnet_status cygnet_tensors_load(cygnet_tensors **out, const char *path,
                                  uint64_t max_bytes, const cygnet_allocator *alloc,
                                  cygnet_error *err)
{
    const uint64_t overhead = LENGTH_BYTES + HEADER_MAX_BYTES;
    struct bytes raw;
    cygnet_status st;

    *out = NULL;
    bytes_init(&raw, max_bytes < SIZE_MAX - overhead ? max_bytes + overhead : SIZE_MAX,
               alloc);
    st = file_read(&raw, path, err);
    if (st == CYGNET_OK) {
        st = cygnet_tensors_parse(out, raw.data, raw.len, max_bytes, alloc, err);
        if (st != CYGNET_OK)
            st = fail_within(err, st, "%.120s", path);
    }
    bytes_clear(&raw);
    return st;
}

static void build_metadata(struct json_builder *b, const cygnet_tensors *list)
{
    if (!list->metadata)
        return;
    json_open_object(b, METADATA_KEY);
    for (const struct tensors_pair *p = list->metadata; p; p = p->next)
        json_put_string(b, p->key, p->value);
    json_close(b);
}

static void build_entry(struct json_builder *b, const cygnet_tensor *t, uint64_t begin)
{
    json_open_object(b, t->name);
    json_put_string(b, "dtype", cygnet_dtype_name(t->dtype));
    json_open_array(b, "shape");
    for (uint32_t i = 0; i < t->n_dims; i++)
        json_put_u64(b, NULL, t->shape[i]);
    json_close(b);
    json_open_array(b, "data_offsets");
    json_put_u64(b, NULL, begin);
    json_put_u64(b, NULL, begin + t->size_bytes);
    json_close(b);
    json_close(b);
}

static cygnet_status build_header(struct bytes *out, const cygnet_tensors *list,
                                  cygnet_error *err)
{
    struct json_builder *b = json_build();
    uint64_t at = 0;

    json_open_object(b, NULL);
    build_metadata(b, list);
    for (size_t i = 0; i < list->count; i++) {
        build_entry(b, list->items[i], at);
        at += list->items[i]->size_bytes;
    }
    json_close(b);
    return json_build_finish(b, out, err);
}

/* What stands before the tensors' bytes: the header's length, the header, and
 * spaces up to a multiple of 8. */
static cygnet_status build_front(struct bytes *out, const cygnet_tensors *list,
                                 cygnet_error *err)
{
    static const uint8_t room[LENGTH_BYTES] = {0};
    cygnet_status st;

    bytes_init(out, LENGTH_BYTES + HEADER_MAX_BYTES, list->alloc);
    st = bytes_append(out, room, sizeof(room), err);
    if (st == CYGNET_OK)
        st = build_header(out, list, err);
    while (st == CYGNET_OK && out->len % HEADER_ALIGNMENT != 0)
        st = bytes_append(out, " ", 1, err);
    if (st == CYGNET_OK)
        store_u64le(out->data, out->len - LENGTH_BYTES);
    return st;
}

static void copy_data(uint8_t *to, const cygnet_tensors *list)
{
    for (size_t i = 0; i < list->count; i++) {
        const cygnet_tensor *t = list->items[i];

        if (t->size_bytes > 0)
            memcpy(to, t->data, (size_t)t->size_bytes);
        to += t->size_bytes;
    }
}

cygnet_status cygnet_tensors_serialize(void **out, size_t *out_len,
                                       const cygnet_tensors *list, cygnet_error *err)
{
    struct bytes front;
    cygnet_status st = build_front(&front, list, err);

    *out = NULL;
    *out_len = 0;
    if (st == CYGNET_OK && list->bytes > SIZE_MAX - front.len)
        st = fail(err, CYGNET_ENOMEM, 0, "safetensors: more than can be addressed");
    if (st == CYGNET_OK) {
        size_t len = front.len + (size_t)list->bytes;

        *out = mem_alloc(list->alloc, len);
        if (!*out)
            st = fail(err, CYGNET_ENOMEM, 0, "out of memory for %zu bytes of safetensors",
                      len);
        else
            *out_len = len;
    }
    if (st == CYGNET_OK) {
        memcpy(*out, front.data, front.len);
        copy_data((uint8_t *)*out + front.len, list);
    }
    bytes_clear(&front);
    return st;
}

void cygnet_tensors_free_bytes(const cygnet_tensors *list, void *bytes)
{
    mem_free(list->alloc, bytes);
}

struct whole {
    const struct bytes *front;
    const cygnet_tensors *list;
};

/* Straight from the list: no second copy of the weights in memory. */
static int write_whole(int fd, const void *content)
{
    const struct whole *whole = content;
    int result = file_write_all(fd, whole->front->data, whole->front->len);

    for (size_t i = 0; i < whole->list->count && result == 0; i++) {
        const cygnet_tensor *t = whole->list->items[i];

        result = file_write_all(fd, t->data, (size_t)t->size_bytes);
    }
    return result;
}

cygnet_status cygnet_tensors_save(const cygnet_tensors *list, const char *path,
                                  cygnet_error *err)
{
    struct bytes front;
    const struct whole whole = {&front, list};
    cygnet_status st = build_front(&front, list, err);

    if (st == CYGNET_OK)
        st = file_replace_by(path, write_whole, &whole, err);
    bytes_clear(&front);
    return st;
}
