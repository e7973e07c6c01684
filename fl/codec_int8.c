/* Codec "int8": one scale per row, stochastic rounding, zstd. zstd's contexts take
 * their memory from the C library: the calls that accept an allocator are not part
 * of the interface that its shared library promises to keep. */
#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/rng.h"
#include "fl/codec.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <zstd.h>

#define ZSTD_LEVEL 3

/* A tensor as a matrix: the first dimension is the rows. */
struct matrix {
    size_t n_rows;
    size_t n_columns;
};

static struct matrix as_matrix(const cygnet_tensor *t)
{
    size_t n = (size_t)(t->size_bytes / sizeof(float));
    struct matrix m;

    assert(t->n_dims >= 2);
    m.n_rows = (size_t)t->shape[0];
    m.n_columns = m.n_rows > 0 ? n / m.n_rows : 0;
    return m;
}

/* Cannot overflow: the float32 tensor of that shape exists. */
static size_t payload_bytes(struct matrix m)
{
    return m.n_rows * sizeof(float) + m.n_rows * m.n_columns;
}

static uint64_t max_bytes(const cygnet_tensor *like)
{
    return ZSTD_compressBound(payload_bytes(as_matrix(like)));
}

static void store_f32le(uint8_t *p, float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof(bits));
    store_u32le(p, bits);
}

static float load_f32le(const uint8_t *p)
{
    uint32_t bits = load_u32le(p);
    float value;

    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* q (n), scale: one row of delta. Source: docs/update-format.md */
static float quantise_row(uint8_t *q, const float *delta, size_t n, struct rng *rng)
{
    float largest = 0.0f;
    float scale;

    for (size_t i = 0; i < n; i++)
        largest = fmaxf(largest, fabsf(delta[i]));
    scale = largest / 127.0f;
    if (!(scale > 0.0f)) {
        memset(q, 0, n);
        return 0.0f;
    }
    for (size_t i = 0; i < n; i++) {
        double u = (double)rng_uniform_f32(rng);
        double level = floor((double)delta[i] / (double)scale + u);

        q[i] = (uint8_t)(int8_t)fmin(fmax(level, -127.0), 127.0);
    }
    return scale;
}

static void quantise(uint8_t *payload, struct matrix m, const float *delta,
                     struct rng *rng)
{
    uint8_t *q = payload + m.n_rows * sizeof(float);

    for (size_t r = 0; r < m.n_rows; r++) {
        size_t at = r * m.n_columns;
        float scale = quantise_row(q + at, delta + at, m.n_columns, rng);

        store_f32le(payload + r * sizeof(float), scale);
    }
}

static void describe(struct json_builder *tensors, const cygnet_tensor *like, size_t size)
{
    json_open_object(tensors, like->name);
    json_open_array(tensors, "shape");
    for (uint32_t d = 0; d < like->n_dims; d++)
        json_put_u64(tensors, NULL, like->shape[d]);
    json_close(tensors);
    json_put_u64(tensors, "size", size);
    json_close(tensors);
}

/* Compresses the payload into `frame` and adds it to the container. */
static cygnet_status add_frame(const struct codec_writer *w, const cygnet_tensor *like,
                               uint8_t *frame, size_t room, const uint8_t *payload,
                               cygnet_error *err)
{
    size_t size = payload_bytes(as_matrix(like));
    size_t len = ZSTD_compress(frame, room, payload, size, ZSTD_LEVEL);
    cygnet_tensor *stored;
    cygnet_status st;

    if (ZSTD_isError(len))
        return fail(err, CYGNET_ENOMEM, 0, "update: zstd, tensor \"%s\": %s", like->name,
                    ZSTD_getErrorName(len));
    st = cygnet_tensors_add(&stored, w->container, like->name, CYGNET_U8,
                            &(uint64_t){len}, 1, err);
    if (st == CYGNET_OK) {
        memcpy(stored->data, frame, len);
        describe(w->tensors, like, size);
    }
    return st;
}

static cygnet_status encode(const struct codec_writer *w, const cygnet_tensor *like,
                            const void *values, size_t index, cygnet_error *err)
{
    struct matrix m = as_matrix(like);
    size_t room = ZSTD_compressBound(payload_bytes(m));
    uint8_t *payload = mem_alloc(w->alloc, payload_bytes(m) + 1);
    uint8_t *frame = mem_alloc(w->alloc, room);
    cygnet_status st;

    if (payload && frame) {
        struct rng rng;

        rng_init(&rng, w->seed, "int8", index);
        quantise(payload, m, values, &rng);
        st = add_frame(w, like, frame, room, payload, err);
    } else {
        st = fail(err, CYGNET_ENOMEM, 0, "update: no memory to encode tensor \"%s\"",
                  like->name);
    }
    mem_free(w->alloc, frame);
    mem_free(w->alloc, payload);
    return st;
}

/* The declared shape and size must be what `like` makes them. */
static cygnet_status check_declared(const struct json *tensors, const cygnet_tensor *like,
                                    size_t size, cygnet_error *err)
{
    const struct json *entry = json_member(tensors, like->name);
    const struct json *shape = json_member(entry, "shape");
    uint64_t declared = 0;
    cygnet_status st;

    if (!json_is_object(entry))
        return fail(err, CYGNET_EFORMAT, 0, "update: cygnet_codec.tensors lacks \"%s\"",
                    like->name);
    st = json_read_u64(&declared, entry, "size", 0, UINT64_C(1) << 53, true, like->name,
                       err);
    if (st != CYGNET_OK)
        return st;
    if (declared != size)
        return fail(err, CYGNET_EFORMAT, 0,
                    "update: tensor \"%s\" declares %" PRIu64 " bytes instead of %zu",
                    like->name, declared, size);
    if (!json_is_array(shape) || json_count(shape) != like->n_dims)
        return fail(err, CYGNET_ESHAPE, 0,
                    "update: tensor \"%s\" declares another number of dimensions",
                    like->name);
    for (uint32_t d = 0; d < like->n_dims; d++)
        if (json_number(json_at(shape, d), -1.0) != (double)like->shape[d])
            return fail(err, CYGNET_ESHAPE, 0,
                        "update: tensor \"%s\" declares another shape than the global "
                        "weights",
                        like->name);
    return CYGNET_OK;
}

/* One zstd frame, nothing behind it, of exactly `size` bytes. */
static cygnet_status decompress(uint8_t *payload, size_t size,
                                const cygnet_tensor *stored, cygnet_error *err)
{
    size_t len = (size_t)stored->size_bytes;
    unsigned long long declared = ZSTD_getFrameContentSize(stored->data, len);
    size_t got;

    if (declared == ZSTD_CONTENTSIZE_ERROR ||
        (declared != ZSTD_CONTENTSIZE_UNKNOWN && declared != size) ||
        ZSTD_findFrameCompressedSize(stored->data, len) != len)
        return fail(err, CYGNET_EFORMAT, 0,
                    "update: tensor \"%s\" is not one zstd frame of %zu bytes",
                    stored->name, size);
    got = ZSTD_decompress(payload, size, stored->data, len);
    if (ZSTD_isError(got))
        return fail(err, CYGNET_EFORMAT, 0, "update: zstd, tensor \"%s\": %s",
                    stored->name, ZSTD_getErrorName(got));
    if (got != size)
        return fail(err, CYGNET_EFORMAT, 0,
                    "update: tensor \"%s\" holds %zu bytes instead of %zu", stored->name,
                    got, size);
    return CYGNET_OK;
}

static cygnet_status dequantise(float *delta, struct matrix m, const uint8_t *payload,
                                const char *name, cygnet_error *err)
{
    const uint8_t *q = payload + m.n_rows * sizeof(float);

    for (size_t r = 0; r < m.n_rows; r++) {
        float scale = load_f32le(payload + r * sizeof(float));

        if (!isfinite(scale) || scale < 0.0f)
            return fail(err, CYGNET_EFORMAT, 0,
                        "update: tensor \"%s\": the scale of row %zu is negative or not "
                        "finite",
                        name, r);
        for (size_t i = r * m.n_columns; i < (r + 1) * m.n_columns; i++) {
            if (q[i] == 0x80)
                return fail(err, CYGNET_EFORMAT, 0,
                            "update: tensor \"%s\": element %zu is -128", name, i);
            delta[i] = scale * (float)(q[i] < 128 ? q[i] : q[i] - 256);
        }
    }
    return CYGNET_OK;
}

static cygnet_status decode(void *values, const struct codec_reader *r,
                            const cygnet_tensor *like, const cygnet_tensor *stored,
                            cygnet_error *err)
{
    struct matrix m = as_matrix(like);
    size_t size = payload_bytes(m);
    uint8_t *payload;
    cygnet_status st;

    if (stored->dtype != CYGNET_U8 || stored->n_dims != 1)
        return fail(err, CYGNET_ESHAPE, 0, "update: tensor \"%s\" is not a list of U8",
                    like->name);
    st = check_declared(r->tensors, like, size, err);
    if (st != CYGNET_OK)
        return st;
    payload = mem_alloc(r->alloc, size + 1);
    if (!payload)
        return fail(err, CYGNET_ENOMEM, 0, "update: no memory to decode tensor \"%s\"",
                    like->name);
    st = decompress(payload, size, stored, err);
    if (st == CYGNET_OK)
        st = dequantise(values, m, payload, like->name, err);
    mem_free(r->alloc, payload);
    return st;
}

static void parameters(struct json_builder *b, uint64_t seed)
{
    json_put_string(b, "granularity", "row");
    json_put_string(b, "rounding", "stochastic");
    json_put_u64(b, "seed", seed);
}

static const char *const stages[] = {"int8", "zstd", NULL};

const struct codec codec_int8 = {
    .name = "int8",
    .kind = "delta",
    .stages = stages,
    .parameters = parameters,
    .max_bytes = max_bytes,
    .encode = encode,
    .decode = decode,
};
