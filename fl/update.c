/* The update container: local - global, or local, through a codec, in a safetensors file
 * (docs/update-format.md). Which codecs there are is a table; what one does is in
 * codec_*.c. */
#include "fl/update.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/json.h"
#include "base/sized.h"
#include "fl/codec.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define VERSION 1
#define METADATA_MAX_BYTES (1 << 20) /* as cygnet_tensors_set_metadata */
#define METADATA_MAX_DEPTH 8
#define KIND_BYTES 32

static const struct codec *const codecs[] = {&codec_none, &codec_int8, &codec_weights};

static const struct codec *find_codec(const char *name)
{
    for (size_t i = 0; i < sizeof(codecs) / sizeof(codecs[0]); i++)
        if (strcmp(codecs[i]->name, name) == 0)
            return codecs[i];
    return NULL;
}

const char *cygnet_update_codec_name(uint32_t index)
{
    return index < sizeof(codecs) / sizeof(codecs[0]) ? codecs[index]->name : NULL;
}

bool update_codec_known(const char *name)
{
    return find_codec(name) != NULL;
}

const char *update_codec_name(uint32_t index)
{
    return index < sizeof(codecs) / sizeof(codecs[0]) ? codecs[index]->name : NULL;
}

cygnet_status update_check_weights(const cygnet_tensors *global, cygnet_error *err)
{
    for (size_t i = 0; i < cygnet_tensors_count(global); i++) {
        const cygnet_tensor *t = cygnet_tensors_at(global, i);

        if (t->dtype != CYGNET_F32 && t->dtype != CYGNET_I64)
            return fail(err, CYGNET_EUNSUPPORTED, 0,
                        "update: tensor \"%s\" is %s; updates carry F32 and I64", t->name,
                        cygnet_dtype_name(t->dtype));
    }
    return CYGNET_OK;
}

/* Counts, and what has fewer than two dimensions, are carried exactly, whatever the
 * codec: docs/update-format.md says why. */
static const struct codec *codec_of(const struct codec *codec, const cygnet_tensor *like)
{
    return like->dtype == CYGNET_I64 || like->n_dims < 2 ? &codec_none : codec;
}

static bool carries_weights(const struct codec *codec)
{
    return strcmp(codec->kind, "weights") == 0;
}

/* Most bytes of tensor data in a container for these weights. */
static uint64_t container_max_bytes(const cygnet_tensors *global,
                                    const struct codec *codec)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < cygnet_tensors_count(global); i++) {
        const cygnet_tensor *like = cygnet_tensors_at(global, i);

        sum += codec_of(codec, like)->max_bytes(like);
    }
    return sum;
}

static bool is_finite(const cygnet_tensor *like, const void *values)
{
    const float *x = values;

    for (size_t i = 0; like->dtype == CYGNET_F32 && i < like->size_bytes / sizeof(float);
         i++)
        if (!isfinite(x[i]))
            return false;
    return true;
}

static bool same_shape(const cygnet_tensor *a, const cygnet_tensor *b)
{
    return a->dtype == b->dtype && a->n_dims == b->n_dims &&
           memcmp(a->shape, b->shape, a->n_dims * sizeof(a->shape[0])) == 0;
}

/* values -= global; false: a difference is not finite, or beyond int64. */
static bool subtract_floats(float *values, const float *global, size_t n)
{
    bool finite = true;

    for (size_t i = 0; i < n; i++) {
        values[i] -= global[i];
        finite &= isfinite(values[i]) != 0;
    }
    return finite;
}

static bool subtract_integers(int64_t *values, const int64_t *global, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (global[i] < 0 ? values[i] > INT64_MAX + global[i]
                          : values[i] < INT64_MIN + global[i])
            return false;
        values[i] -= global[i];
    }
    return true;
}

/* Weights become their change against `global`, a tensor of their type and shape. */
static cygnet_status subtract(void *values, const cygnet_tensor *global,
                              cygnet_error *err)
{
    size_t n = (size_t)(global->size_bytes / cygnet_dtype_size(global->dtype));

    if (global->dtype == CYGNET_I64 ? subtract_integers(values, global->data, n)
                                    : subtract_floats(values, global->data, n))
        return CYGNET_OK;
    return fail(err, CYGNET_ENUMERIC, 0,
                "update: the change of tensor \"%s\" is not finite", global->name);
}

/* ---- Encoding ------------------------------------------------------------ */

/* What the codec is to carry of one tensor. */
static cygnet_status take_values(void *values, const cygnet_tensor *global,
                                 const struct codec *codec, const cygnet_tensors *locals,
                                 cygnet_error *err)
{
    const cygnet_tensor *local = cygnet_tensors_find(locals, global->name);

    if (!local || !same_shape(local, global))
        return fail(
            err, CYGNET_ESHAPE, 0,
            "update: tensor \"%s\" of the global weights is missing or of another "
            "shape in the local ones",
            global->name);
    if (local->size_bytes > 0)
        memcpy(values, local->data, (size_t)local->size_bytes);
    if (!carries_weights(codec))
        return subtract(values, global, err);
    if (!is_finite(local, values))
        return fail(err, CYGNET_ENUMERIC, 0,
                    "update: tensor \"%s\" holds a value that is not finite",
                    local->name);
    return CYGNET_OK;
}

static cygnet_status encode_tensor(const struct codec *codec,
                                   const struct codec_writer *w,
                                   const struct update_content *content, size_t index,
                                   cygnet_error *err)
{
    const cygnet_tensor *global = cygnet_tensors_at(content->global, index);
    void *values = mem_alloc(w->alloc, (size_t)global->size_bytes + 1);
    cygnet_status st;

    if (!values)
        return fail(err, CYGNET_ENOMEM, 0, "update: no memory for tensor \"%s\"",
                    global->name);
    st = take_values(values, global, codec, content->local, err);
    if (st == CYGNET_OK)
        st = codec_of(codec, global)->encode(w, global, values, index, err);
    mem_free(w->alloc, values);
    return st;
}

/* Finishes a builder as one metadata text; consumes it. */
static cygnet_status attach(cygnet_tensors *container, const char *key,
                            struct json_builder *b, const cygnet_allocator *alloc,
                            cygnet_error *err)
{
    struct bytes text;
    const char *value;
    cygnet_status st;

    bytes_init(&text, METADATA_MAX_BYTES, alloc);
    st = json_build_finish(b, &text, err);
    if (st == CYGNET_OK) {
        value = bytes_text(&text);
        st = value ? cygnet_tensors_set_metadata(container, key, value, err)
                   : fail(err, CYGNET_ENOMEM, 0, "update: no memory for its metadata");
    }
    bytes_clear(&text);
    return st;
}

static cygnet_status attach_content(cygnet_tensors *container, const struct codec *codec,
                                    const struct update_content *content,
                                    cygnet_error *err)
{
    struct json_builder *b = json_build();

    json_open_object(b, NULL);
    json_put_u64(b, "version", VERSION);
    json_put_string(b, "kind", codec->kind);
    json_put_u64(b, "round", content->round);
    json_put_u64(b, "examples", content->examples);
    json_put_u64(b, "steps", content->steps);
    json_close(b);
    return attach(container, "cygnet_update", b, content->alloc, err);
}

static void open_codec(struct json_builder *b, const struct codec *codec, uint64_t seed)
{
    json_open_object(b, NULL);
    json_put_u64(b, "version", VERSION);
    json_put_string(b, "name", codec->name);
    json_open_array(b, "stages");
    for (const char *const *stage = codec->stages; *stage; stage++)
        json_put_string(b, NULL, *stage);
    json_close(b);
    json_open_object(b, "parameters");
    if (codec->parameters)
        codec->parameters(b, seed);
    json_close(b);
    json_open_object(b, "tensors");
}

/* The tensors and cygnet_codec, which are made together. */
static cygnet_status fill(cygnet_tensors *container, const struct codec *codec,
                          const struct update_content *content, cygnet_error *err)
{
    struct codec_writer w = {container, json_build(), content->seed, content->alloc};
    cygnet_status st = CYGNET_OK;
    cygnet_status ended;

    open_codec(w.tensors, codec, content->seed);
    for (size_t i = 0; i < cygnet_tensors_count(content->global) && st == CYGNET_OK; i++)
        st = encode_tensor(codec, &w, content, i, err);
    json_close(w.tensors);
    json_close(w.tensors);
    ended = attach(container, "cygnet_codec", w.tensors, content->alloc,
                   st == CYGNET_OK ? err : NULL);
    return st == CYGNET_OK ? ended : st;
}

static cygnet_status check_content(const struct codec *codec,
                                   const struct update_content *content,
                                   cygnet_error *err)
{
    if (!codec)
        return fail(err, CYGNET_EUNSUPPORTED, 0, "update: codec \"%.32s\" is not known",
                    content->codec);
    if (cygnet_tensors_count(content->local) != cygnet_tensors_count(content->global))
        return fail(err, CYGNET_ESHAPE, 0,
                    "update: the local weights have %zu tensors, the global ones %zu",
                    cygnet_tensors_count(content->local),
                    cygnet_tensors_count(content->global));
    return update_check_weights(content->global, err);
}

cygnet_status update_encode(struct update *out, const struct update_content *content,
                            cygnet_error *err)
{
    const struct codec *codec = find_codec(content->codec);
    cygnet_status st = check_content(codec, content, err);

    memset(out, 0, sizeof(*out));
    if (st != CYGNET_OK)
        return st;
    st = cygnet_tensors_create(&out->container,
                               container_max_bytes(content->global, codec),
                               content->alloc, err);
    if (st == CYGNET_OK)
        st = fill(out->container, codec, content, err);
    if (st == CYGNET_OK)
        st = attach_content(out->container, codec, content, err);
    if (st == CYGNET_OK)
        st = cygnet_tensors_serialize(&out->data, &out->len, out->container, err);
    if (st == CYGNET_OK && content->max_bytes > 0 && out->len > content->max_bytes)
        st = fail(err, CYGNET_ELIMIT, 0,
                  "update: %zu bytes with codec \"%s\"; the task allows %" PRIu64,
                  out->len, codec->name, content->max_bytes);
    if (st != CYGNET_OK)
        update_clear(out);
    return st;
}

void update_clear(struct update *update)
{
    if (update->data)
        cygnet_tensors_free_bytes(update->container, update->data);
    cygnet_tensors_destroy(update->container);
    memset(update, 0, sizeof(*update));
}

/* ---- Decoding: nothing here is trusted ------------------------------------ */

/* One metadata text, parsed within limits that fit a model of n_tensors. */
static cygnet_status parse_metadata(struct json **out, const cygnet_tensors *container,
                                    const char *key, size_t n_tensors, cygnet_error *err)
{
    const struct json_limits limits = {METADATA_MAX_BYTES, METADATA_MAX_DEPTH,
                                       64 + (size_t)2 * (CYGNET_TENSOR_MAX_DIMS + 4) *
                                                n_tensors};
    const char *text = cygnet_tensors_metadata(container, key);
    cygnet_status st;

    *out = NULL;
    if (!text)
        return fail(err, CYGNET_EFORMAT, 0, "update: no \"%s\" in the metadata", key);
    st = json_parse(out, text, strlen(text), &limits, err);
    return st == CYGNET_OK ? st : fail_within(err, st, "update: %s", key);
}

static cygnet_status read_content(cygnet_update_info *info, char kind[KIND_BYTES],
                                  const struct json *root, cygnet_error *err)
{
    static const char where[] = "update: cygnet_update";
    uint64_t version = 0;
    cygnet_status st =
        json_read_u64(&version, root, "version", 0, JSON_EXACT_MAX, true, where, err);

    if (st == CYGNET_OK && version != VERSION)
        return fail(err, CYGNET_EUNSUPPORTED, 0, "%s: version %" PRIu64 " is not known",
                    where, version);
    if (st == CYGNET_OK)
        st = json_read_string(kind, KIND_BYTES, root, "kind", true, where, err);
    if (st == CYGNET_OK)
        st = json_read_u64(&info->round, root, "round", 0, JSON_EXACT_MAX, true, where,
                           err);
    if (st == CYGNET_OK)
        st = json_read_u64(&info->examples, root, "examples", 0, JSON_EXACT_MAX, true,
                           where, err);
    if (st == CYGNET_OK)
        st = json_read_u64(&info->steps, root, "steps", 0, JSON_EXACT_MAX, true, where,
                           err);
    return st;
}

static bool stages_match(const struct codec *codec, const struct json *stages)
{
    size_t n = 0;

    for (; codec->stages[n]; n++)
        if (strcmp(json_text(json_at(stages, n), ""), codec->stages[n]) != 0)
            return false;
    return json_is_array(stages) && json_count(stages) == n;
}

static cygnet_status read_codec(const struct codec **out, cygnet_update_info *info,
                                const char *kind, const struct json *root,
                                cygnet_error *err)
{
    static const char where[] = "update: cygnet_codec";
    uint64_t version = 0;
    cygnet_status st =
        json_read_u64(&version, root, "version", 0, JSON_EXACT_MAX, true, where, err);

    if (st == CYGNET_OK && version != VERSION)
        return fail(err, CYGNET_EUNSUPPORTED, 0, "%s: version %" PRIu64 " is not known",
                    where, version);
    if (st == CYGNET_OK)
        st = json_read_string(info->codec, sizeof(info->codec), root, "name", true, where,
                              err);
    if (st != CYGNET_OK)
        return st;
    *out = find_codec(info->codec);
    if (!*out)
        return fail(err, CYGNET_EUNSUPPORTED, 0, "%s: codec \"%s\" is not known", where,
                    info->codec);
    if (!stages_match(*out, json_member(root, "stages")))
        return fail(err, CYGNET_EUNSUPPORTED, 0, "%s: not the stages of codec \"%s\"",
                    where, info->codec);
    if (strcmp((*out)->kind, kind) != 0)
        return fail(err, CYGNET_EUNSUPPORTED, 0,
                    "%s: codec \"%s\" does not carry kind \"%s\"", where, info->codec,
                    kind);
    return CYGNET_OK;
}

/* Exactly the tensors of `global`. Names are unique on both sides. */
static cygnet_status check_names(const cygnet_tensors *container,
                                 const cygnet_tensors *global, cygnet_error *err)
{
    for (size_t i = 0; i < cygnet_tensors_count(global); i++) {
        const char *name = cygnet_tensors_at(global, i)->name;

        if (!cygnet_tensors_find(container, name))
            return fail(err, CYGNET_ESHAPE, 0, "update: tensor \"%s\" is missing", name);
    }
    for (size_t i = 0; i < cygnet_tensors_count(container); i++) {
        const char *name = cygnet_tensors_at(container, i)->name;

        if (!cygnet_tensors_find(global, name))
            return fail(err, CYGNET_ESHAPE, 0,
                        "update: tensor \"%s\" is not one of the model's", name);
    }
    return CYGNET_OK;
}

static cygnet_status decode_tensor(cygnet_tensors *deltas, const struct codec *codec,
                                   const struct codec_reader *r,
                                   const cygnet_tensor *like, const cygnet_tensor *stored,
                                   cygnet_error *err)
{
    cygnet_tensor *delta;
    cygnet_status st = cygnet_tensors_add(&delta, deltas, like->name, like->dtype,
                                          like->shape, like->n_dims, err);

    if (st == CYGNET_OK)
        st = codec_of(codec, like)->decode(delta->data, r, like, stored, err);
    if (st == CYGNET_OK && !is_finite(like, delta->data))
        st = fail(err, CYGNET_ENUMERIC, 0,
                  "update: tensor \"%s\" holds a value that is not finite", like->name);
    return st == CYGNET_OK && carries_weights(codec) ? subtract(delta->data, like, err)
                                                     : st;
}

static cygnet_status decode_tensors(cygnet_tensors *deltas, const struct codec *codec,
                                    const struct codec_reader *r,
                                    const cygnet_tensors *container,
                                    const cygnet_tensors *global, cygnet_error *err)
{
    cygnet_status st = check_names(container, global, err);

    for (size_t i = 0; i < cygnet_tensors_count(global) && st == CYGNET_OK; i++) {
        const cygnet_tensor *like = cygnet_tensors_at(global, i);

        st = decode_tensor(deltas, codec, r, like,
                           cygnet_tensors_find(container, like->name), err);
    }
    return st;
}

/* As cygnet_update_decode, of a container whose safetensors form is checked. */
static cygnet_status decode_container(cygnet_tensors *deltas, cygnet_update_info *info,
                                      const cygnet_tensors *container,
                                      const cygnet_tensors *global,
                                      const cygnet_allocator *alloc, cygnet_error *err)
{
    size_t n = cygnet_tensors_count(global);
    struct json *content = NULL, *coding = NULL;
    const struct codec *codec = NULL;
    char kind[KIND_BYTES] = "";
    cygnet_status st = parse_metadata(&content, container, "cygnet_update", n, err);

    if (st == CYGNET_OK)
        st = read_content(info, kind, content, err);
    if (st == CYGNET_OK)
        st = parse_metadata(&coding, container, "cygnet_codec", n, err);
    if (st == CYGNET_OK)
        st = read_codec(&codec, info, kind, coding, err);
    if (st == CYGNET_OK) {
        const struct codec_reader r = {json_member(coding, "tensors"), alloc};

        assert(codec);
        st = decode_tensors(deltas, codec, &r, container, global, err);
    }
    json_destroy(coding);
    json_destroy(content);
    return st;
}

/* Limits on a container before it is known which codec made it. */
static void decode_limits(uint64_t *container_bytes, uint64_t *delta_bytes,
                          const cygnet_tensors *global)
{
    *container_bytes = 0;
    for (size_t i = 0; i < sizeof(codecs) / sizeof(codecs[0]); i++) {
        uint64_t bytes = container_max_bytes(global, codecs[i]);

        if (bytes > *container_bytes)
            *container_bytes = bytes;
    }
    *delta_bytes = container_max_bytes(global, &codec_none);
}

cygnet_status cygnet_update_decode(cygnet_tensors **out, cygnet_update_info *info,
                                   const void *data, size_t len,
                                   const cygnet_tensors *global,
                                   const cygnet_allocator *alloc, cygnet_error *err)
{
    cygnet_update_info found = {.struct_size = sizeof(found)};
    uint64_t container_bytes, delta_bytes;
    cygnet_tensors *container = NULL;
    cygnet_status st = update_check_weights(global, err);

    *out = NULL;
    if (st != CYGNET_OK)
        return st;
    decode_limits(&container_bytes, &delta_bytes, global);
    st = cygnet_tensors_parse(&container, data, len, container_bytes, alloc, err);
    if (st == CYGNET_OK)
        st = cygnet_tensors_create(out, delta_bytes, alloc, err);
    if (st == CYGNET_OK)
        st = decode_container(*out, &found, container, global, alloc, err);
    cygnet_tensors_destroy(container);
    if (st == CYGNET_OK) {
        sized_give(info, &found, sizeof(found));
    } else {
        cygnet_tensors_destroy(*out);
        *out = NULL;
    }
    return st;
}
