/* The update container: golden bytes, properties of the codecs, hostile input. */
#include "base/json.h"
#include "fl/update.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A model of a matrix, a vector, a scalar and an empty tensor. */
struct pair {
    cygnet_tensors *global;
    cygnet_tensors *local;
    struct update update;
    cygnet_error err;
};

static void add(cygnet_tensors *list, const char *name, const uint64_t *shape,
                uint32_t n_dims, float base, float step)
{
    cygnet_tensor *t;
    float *values;

    assert_int_equal(cygnet_tensors_add(&t, list, name, CYGNET_F32, shape, n_dims, NULL),
                     CYGNET_OK);
    values = t->data;
    for (size_t i = 0; i < t->size_bytes / sizeof(float); i++)
        values[i] = base + step * (float)((i * 7) % 11);
}

static cygnet_tensors *make_model(float base, float step)
{
    static const uint64_t matrix[] = {3, 5}, vector[] = {4};
    cygnet_tensors *list;

    assert_int_equal(cygnet_tensors_create(&list, 1 << 16, NULL, NULL), CYGNET_OK);
    add(list, "fc.weight", matrix, 2, base, step);
    add(list, "fc.bias", vector, 1, base, -step);
    add(list, "scale", NULL, 0, base, step);
    return list;
}

static int setup(void **state)
{
    struct pair *p = calloc(1, sizeof(*p));

    if (!p)
        return -1;
    p->global = make_model(0.0f, 0.0f);
    p->local = make_model(0.25f, -0.0625f);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct pair *p = *state;

    update_clear(&p->update);
    cygnet_tensors_destroy(p->global);
    cygnet_tensors_destroy(p->local);
    free(p);
    return 0;
}

#define COUNT "bn.num_batches_tracked"

static void add_count(cygnet_tensors *list, int64_t value)
{
    cygnet_tensor *t;

    assert_int_equal(cygnet_tensors_add(&t, list, COUNT, CYGNET_I64, NULL, 0, NULL),
                     CYGNET_OK);
    memcpy(t->data, &value, sizeof(value));
}

static void set_count(cygnet_tensors *list, int64_t value)
{
    memcpy(cygnet_tensors_find(list, COUNT)->data, &value, sizeof(value));
}

static int64_t count_of(const cygnet_tensors *list)
{
    int64_t value;

    assert_int_equal(cygnet_tensors_find(list, COUNT)->dtype, CYGNET_I64);
    memcpy(&value, cygnet_tensors_find(list, COUNT)->data, sizeof(value));
    return value;
}

static cygnet_status encode(struct pair *p, const char *codec, uint64_t seed)
{
    const struct update_content content = {.local = p->local,
                                           .global = p->global,
                                           .codec = codec,
                                           .round = 3,
                                           .examples = 143,
                                           .steps = 5,
                                           .seed = seed};

    update_clear(&p->update);
    return update_encode(&p->update, &content, &p->err);
}

static cygnet_tensors *decode(struct pair *p, cygnet_update_info *info)
{
    cygnet_tensors *deltas;
    cygnet_status st = cygnet_update_decode(&deltas, info, p->update.data, p->update.len,
                                            p->global, NULL, &p->err);

    if (st != CYGNET_OK)
        print_error("%s\n", p->err.message);
    assert_int_equal(st, CYGNET_OK);
    return deltas;
}

/* ---- Properties ------------------------------------------------------------ */

static void test_none_comes_back_bit_for_bit_in_the_order_of_the_model(void **state)
{
    struct pair *p = *state;
    cygnet_update_info info = {.struct_size = sizeof(info)};
    cygnet_tensors *deltas;

    assert_int_equal(encode(p, "none", 1), CYGNET_OK);
    deltas = decode(p, &info);
    assert_int_equal(cygnet_tensors_count(deltas), cygnet_tensors_count(p->global));
    for (size_t i = 0; i < cygnet_tensors_count(deltas); i++) {
        const cygnet_tensor *d = cygnet_tensors_at(deltas, i);
        const cygnet_tensor *l = cygnet_tensors_at(p->local, i);

        assert_string_equal(d->name, l->name);
        assert_int_equal(d->n_dims, l->n_dims);
        assert_memory_equal(d->shape, l->shape, d->n_dims * sizeof(d->shape[0]));
        assert_memory_equal(d->data, l->data, (size_t)l->size_bytes);
    }
    assert_int_equal(info.round, 3);
    assert_int_equal(info.examples, 143);
    assert_int_equal(info.steps, 5);
    assert_string_equal(info.codec, "none");
    cygnet_tensors_destroy(deltas);
}

static float row_scale(const cygnet_tensor *t, size_t row)
{
    size_t n = (size_t)(t->size_bytes / sizeof(float) / t->shape[0]);
    const float *x = (const float *)t->data + row * n;
    float largest = 0.0f;

    for (size_t i = 0; i < n; i++)
        largest = fmaxf(largest, fabsf(x[i]));
    return largest / 127.0f;
}

static void test_int8_is_never_off_by_more_than_a_scale(void **state)
{
    struct pair *p = *state;

    for (uint64_t seed = 0; seed < 50; seed++) {
        cygnet_tensors *deltas;

        assert_int_equal(encode(p, "int8", seed), CYGNET_OK);
        deltas = decode(p, NULL);
        for (size_t i = 0; i < 15; i++) {
            const cygnet_tensor *exact = cygnet_tensors_at(p->local, 0);
            const float *got = cygnet_tensors_at(deltas, 0)->data;
            float off = fabsf(got[i] - ((const float *)exact->data)[i]);

            assert_true(off <= row_scale(exact, i / 5) * 1.00001f);
        }
        cygnet_tensors_destroy(deltas);
    }
}

/* The mean over many seeds is within five standard errors of the value: the rounding
 * of one draw is off by at most one scale, so its deviation is at most half of it. */
static void test_int8_is_unbiased(void **state)
{
    struct pair *p = *state;
    enum { N_SEEDS = 2000 };
    const cygnet_tensor *exact = cygnet_tensors_at(p->local, 0);
    double sums[15] = {0.0};

    for (uint64_t seed = 0; seed < N_SEEDS; seed++) {
        cygnet_tensors *deltas;
        const float *got;

        assert_int_equal(encode(p, "int8", seed), CYGNET_OK);
        deltas = decode(p, NULL);
        got = cygnet_tensors_at(deltas, 0)->data;
        for (size_t i = 0; i < 15; i++)
            sums[i] += (double)got[i];
        cygnet_tensors_destroy(deltas);
    }
    for (size_t i = 0; i < 15; i++) {
        double scale = (double)row_scale(exact, i / 5);
        double off = sums[i] / N_SEEDS - (double)((const float *)exact->data)[i];

        assert_true(fabs(off) <= 5.0 * 0.5 * scale / sqrt((double)N_SEEDS));
    }
}

static void test_int8_of_no_change_is_no_change(void **state)
{
    struct pair *p = *state;
    cygnet_tensors *deltas;

    cygnet_tensors_destroy(p->local);
    p->local = make_model(0.0f, 0.0f);
    assert_int_equal(encode(p, "int8", 1), CYGNET_OK);
    deltas = decode(p, NULL);
    for (size_t i = 0; i < 15; i++)
        assert_true(((const float *)cygnet_tensors_at(deltas, 0)->data)[i] == 0.0f);
    cygnet_tensors_destroy(deltas);
}

#define N_CHANNELS 64

/* From 1e-4 to 10, as the variances of one batch norm can be. */
static void add_variances(cygnet_tensors *list, double decay)
{
    cygnet_tensor *t;

    assert_int_equal(cygnet_tensors_add(&t, list, "bn.running_var", CYGNET_F32,
                                        &(uint64_t){N_CHANNELS}, 1, NULL),
                     CYGNET_OK);
    for (size_t i = 0; i < N_CHANNELS; i++) {
        double variance = 1e-4 * pow(1e5, (double)i / (N_CHANNELS - 1));

        ((float *)t->data)[i] = (float)(variance * decay);
    }
}

static void test_variances_of_any_magnitude_are_exact_in_every_codec(void **state)
{
    struct pair *p = *state;
    const char *codec;

    add_variances(p->global, 1.0);
    add_variances(p->local, 0.81);
    for (uint32_t c = 0; (codec = cygnet_update_codec_name(c)) != NULL; c++) {
        const float *global = cygnet_tensors_find(p->global, "bn.running_var")->data;
        const float *local = cygnet_tensors_find(p->local, "bn.running_var")->data;
        cygnet_tensors *deltas;
        const float *got;

        assert_int_equal(encode(p, codec, 1), CYGNET_OK);
        deltas = decode(p, NULL);
        got = cygnet_tensors_find(deltas, "bn.running_var")->data;
        for (size_t i = 0; i < N_CHANNELS; i++)
            assert_true(got[i] == local[i] - global[i] && got[i] < 0.0f);
        cygnet_tensors_destroy(deltas);
    }
}

static void test_int8_stores_vectors_and_scalars_as_none_does(void **state)
{
    static const char *const names[] = {"fc.bias", "scale"};
    struct pair *p = *state;
    const char *says;

    assert_int_equal(encode(p, "int8", 1), CYGNET_OK);
    says = cygnet_tensors_metadata(p->update.container, "cygnet_codec");
    assert_non_null(strstr(says, "\"fc.weight\""));
    for (size_t i = 0; i < 2; i++) {
        const cygnet_tensor *stored = cygnet_tensors_find(p->update.container, names[i]);
        const cygnet_tensor *exact = cygnet_tensors_find(p->local, names[i]);

        assert_int_equal(stored->dtype, CYGNET_F32);
        assert_int_equal(stored->n_dims, exact->n_dims);
        assert_int_equal(stored->size_bytes, exact->size_bytes);
        assert_memory_equal(stored->data, exact->data, (size_t)exact->size_bytes);
        assert_null(strstr(says, names[i]));
    }
}

static void test_counts_are_exact_in_every_codec(void **state)
{
    /* Beyond float's 2^24 and double's 2^53. */
    static const int64_t global[] = {40, 0, (INT64_C(1) << 60) + 1, 5, INT64_MIN};
    static const int64_t delta[] = {3, (INT64_C(1) << 55) + 1, 1, -5, INT64_MAX};
    struct pair *p = *state;
    const char *codec;

    add_count(p->global, 0);
    add_count(p->local, 0);
    for (size_t i = 0; i < sizeof(delta) / sizeof(delta[0]); i++) {
        set_count(p->global, global[i]);
        set_count(p->local, global[i] + delta[i]);
        for (uint32_t c = 0; (codec = cygnet_update_codec_name(c)) != NULL; c++) {
            cygnet_tensors *deltas;

            assert_int_equal(encode(p, codec, 1), CYGNET_OK);
            deltas = decode(p, NULL);
            assert_true(count_of(deltas) == delta[i]);
            cygnet_tensors_destroy(deltas);
        }
    }
}

static void test_a_change_of_a_count_that_does_not_fit_is_refused(void **state)
{
    struct pair *p = *state;

    add_count(p->global, -1);
    add_count(p->local, INT64_MAX);
    assert_int_equal(encode(p, "none", 1), CYGNET_ENUMERIC);
    assert_non_null(strstr(p->err.message, COUNT));
    set_count(p->global, 1);
    set_count(p->local, INT64_MIN);
    assert_int_equal(encode(p, "int8", 1), CYGNET_ENUMERIC);
}

static void test_weights_travel_whole_and_decode_to_their_change(void **state)
{
    struct pair *p = *state;
    cygnet_update_info info = {.struct_size = sizeof(info)};
    cygnet_tensors *deltas;
    float *global;

    global = cygnet_tensors_find(p->global, "fc.bias")->data;
    global[1] = 8.0f;
    assert_int_equal(encode(p, "weights", 1), CYGNET_OK);
    assert_memory_equal(cygnet_tensors_find(p->update.container, "fc.bias")->data,
                        cygnet_tensors_find(p->local, "fc.bias")->data,
                        4 * sizeof(float));
    deltas = decode(p, &info);
    assert_string_equal(info.codec, "weights");
    assert_true(((float *)cygnet_tensors_find(deltas, "fc.bias")->data)[1] ==
                0.25f + 0.0625f * 7.0f - 8.0f);
    cygnet_tensors_destroy(deltas);

    ((float *)cygnet_tensors_find(p->local, "scale")->data)[0] = (float)NAN;
    assert_int_equal(encode(p, "weights", 1), CYGNET_ENUMERIC);
    assert_non_null(strstr(p->err.message, "scale"));
}

/* ---- Golden vectors -------------------------------------------------------- */

static size_t read_golden(unsigned char *out, size_t size, const char *name)
{
    char path[512];
    size_t len;
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/tests/golden/update/%s",
                   getenv("CYGNET_SOURCE_ROOT"), name);
    file = fopen(path, "rb");
    if (!file)
        print_error("cannot open %s\n", path);
    assert_non_null(file);
    len = fread(out, 1, size, file);
    (void)fclose(file);
    return len;
}

static void test_none_makes_the_golden_bytes(void **state)
{
    struct pair *p = *state;
    static unsigned char golden[8192];
    size_t len = read_golden(golden, sizeof(golden), "none.safetensors");

    assert_int_equal(encode(p, "none", 12345), CYGNET_OK);
    assert_int_equal(p->update.len, len);
    assert_memory_equal(p->update.data, golden, len);
}

static void assert_golden(struct pair *p, const char *codec, const char *file)
{
    static unsigned char golden[8192];
    size_t len = read_golden(golden, sizeof(golden), file);

    assert_int_equal(encode(p, codec, 12345), CYGNET_OK);
    assert_int_equal(p->update.len, len);
    assert_memory_equal(p->update.data, golden, len);
}

static void test_counts_and_weights_make_the_golden_bytes(void **state)
{
    struct pair *p = *state;

    add_count(p->global, 40);
    add_count(p->local, 43);
    assert_golden(p, "none", "none_counts.safetensors");
    assert_golden(p, "weights", "weights.safetensors");
}

/* zstd's output may differ between its versions; what it holds may not. The expected
 * values are those of tests/reference/make_update.py, written independently. */
static void test_int8_makes_the_golden_values(void **state)
{
    struct pair *p = *state;
    static unsigned char golden[8192];
    size_t len = read_golden(golden, sizeof(golden), "int8.f32");
    cygnet_tensors *deltas;

    assert_int_equal(encode(p, "int8", 12345), CYGNET_OK);
    deltas = decode(p, NULL);
    assert_int_equal(len, (15 + 4 + 1) * sizeof(float));
    assert_memory_equal(cygnet_tensors_at(deltas, 0)->data, golden, 15 * sizeof(float));
    assert_memory_equal(cygnet_tensors_at(deltas, 1)->data, golden + 60,
                        4 * sizeof(float));
    assert_memory_equal(cygnet_tensors_at(deltas, 2)->data, golden + 76, sizeof(float));
    cygnet_tensors_destroy(deltas);
}

/* ---- What is refused ------------------------------------------------------- */

static void test_encoding_names_what_it_cannot_carry(void **state)
{
    struct pair *p = *state;
    cygnet_tensor *t;

    assert_int_equal(encode(p, "gzip", 1), CYGNET_EUNSUPPORTED);
    assert_non_null(strstr(p->err.message, "gzip"));
    assert_int_equal(cygnet_tensors_add(NULL, p->local, "more", CYGNET_F32, NULL, 0,
                                        NULL),
                     CYGNET_OK);
    assert_int_equal(encode(p, "none", 1), CYGNET_ESHAPE);
    assert_int_equal(cygnet_tensors_add(&t, p->global, "count", CYGNET_I32, NULL, 0,
                                        NULL),
                     CYGNET_OK);
    assert_int_equal(encode(p, "none", 1), CYGNET_EUNSUPPORTED);
    assert_non_null(strstr(p->err.message, "\"count\" is I32"));
}

static void test_a_change_that_is_not_finite_is_not_encoded(void **state)
{
    struct pair *p = *state;

    ((float *)cygnet_tensors_find(p->local, "fc.bias")->data)[2] = (float)INFINITY;
    assert_int_equal(encode(p, "none", 1), CYGNET_ENUMERIC);
    assert_non_null(strstr(p->err.message, "fc.bias"));
}

/* Decodes a container whose tensors and metadata are those of `list`. */
static cygnet_status decode_list(struct pair *p, const cygnet_tensors *list)
{
    cygnet_tensors *deltas;
    void *data;
    size_t len;
    cygnet_status st;

    assert_int_equal(cygnet_tensors_serialize(&data, &len, list, NULL), CYGNET_OK);
    st = cygnet_update_decode(&deltas, NULL, data, len, p->global, NULL, &p->err);
    cygnet_tensors_free_bytes(list, data);
    if (st == CYGNET_OK)
        cygnet_tensors_destroy(deltas);
    else
        assert_null(deltas);
    return st;
}

static void set(cygnet_tensors *list, const char *key, const char *value)
{
    assert_int_equal(cygnet_tensors_set_metadata(list, key, value, NULL), CYGNET_OK);
}

static void test_metadata_that_is_not_understood_is_refused(void **state)
{
    static const struct {
        const char *key;
        const char *value;
        cygnet_status expected;
    } rows[] = {
        {"cygnet_update", "{", CYGNET_EFORMAT},
        {"cygnet_update", "[]", CYGNET_EFORMAT},
        {"cygnet_update", "{\"version\":2,\"kind\":\"delta\"}", CYGNET_EUNSUPPORTED},
        {"cygnet_update",
         "{\"version\":1,\"kind\":\"weights\",\"round\":1,\"examples\":1,\"steps\":1}",
         CYGNET_EUNSUPPORTED},
        {"cygnet_update", "{\"version\":1,\"kind\":\"delta\",\"round\":1,\"steps\":1}",
         CYGNET_EFORMAT},
        {"cygnet_update",
         "{\"version\":1,\"kind\":\"delta\",\"round\":1,\"examples\":-1,\"steps\":1}",
         CYGNET_EFORMAT},
        {"cygnet_codec", "{\"version\":1,\"name\":\"weights\",\"stages\":[]}",
         CYGNET_EUNSUPPORTED}, /* of a container of deltas */
        {"cygnet_codec", "{\"version\":1,\"name\":\"rot13\",\"stages\":[]}",
         CYGNET_EUNSUPPORTED},
        {"cygnet_codec", "{\"version\":9,\"name\":\"none\",\"stages\":[]}",
         CYGNET_EUNSUPPORTED},
        {"cygnet_codec", "{\"version\":1,\"name\":\"none\",\"stages\":[\"zstd\"]}",
         CYGNET_EUNSUPPORTED},
        {"cygnet_codec", "{\"version\":1,\"name\":\"int8\",\"stages\":[\"int8\"]}",
         CYGNET_EUNSUPPORTED},
        {"cygnet_codec",
         "{\"version\":1,\"name\":\"int8\",\"stages\":[\"int8\",\"zstd\"]}",
         CYGNET_ESHAPE},
    };
    struct pair *p = *state;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(encode(p, "none", 1), CYGNET_OK);
        assert_int_equal(decode_list(p, p->update.container), CYGNET_OK);
        set(p->update.container, rows[i].key, rows[i].value);
        assert_int_equal(decode_list(p, p->update.container), rows[i].expected);
        assert_true(p->err.message[0] != '\0');
    }
}

static void test_a_container_without_metadata_is_refused(void **state)
{
    struct pair *p = *state;

    assert_int_equal(decode_list(p, p->local), CYGNET_EFORMAT);
    assert_non_null(strstr(p->err.message, "cygnet_update"));
}

static void test_missing_extra_and_misshapen_tensors_are_named(void **state)
{
    struct pair *p = *state;
    cygnet_tensors *global = p->global;

    assert_int_equal(encode(p, "none", 1), CYGNET_OK);
    p->global = make_model(0.0f, 0.0f);
    assert_int_equal(cygnet_tensors_add(NULL, p->global, "head", CYGNET_F32, NULL, 0,
                                        NULL),
                     CYGNET_OK);
    assert_int_equal(decode_list(p, p->update.container), CYGNET_ESHAPE);
    assert_non_null(strstr(p->err.message, "\"head\" is missing"));
    cygnet_tensors_destroy(p->global);

    p->global = global;
    assert_int_equal(cygnet_tensors_add(NULL, p->update.container, "tail", CYGNET_F32,
                                        NULL, 0, NULL),
                     CYGNET_ELIMIT); /* a container has no room for more */
}

static void test_values_that_are_not_finite_are_refused(void **state)
{
    struct pair *p = *state;
    float *values;

    assert_int_equal(encode(p, "none", 1), CYGNET_OK);
    values = cygnet_tensors_find(p->update.container, "fc.weight")->data;
    values[3] = (float)NAN;
    assert_int_equal(decode_list(p, p->update.container), CYGNET_ENUMERIC);
    assert_non_null(strstr(p->err.message, "fc.weight"));
}

static void test_a_count_of_another_type_is_refused(void **state)
{
    struct pair *p = *state;
    cygnet_tensors *counting = p->global;

    add_count(counting, 40);
    p->global = make_model(0.0f, 0.0f);
    assert_int_equal(cygnet_tensors_add(NULL, p->global, COUNT, CYGNET_F32, NULL, 0,
                                        NULL),
                     CYGNET_OK);
    assert_int_equal(cygnet_tensors_add(NULL, p->local, COUNT, CYGNET_F32, NULL, 0, NULL),
                     CYGNET_OK);
    assert_int_equal(encode(p, "none", 1), CYGNET_OK);
    cygnet_tensors_destroy(p->global);
    p->global = counting;
    assert_int_equal(decode_list(p, p->update.container), CYGNET_ESHAPE);
    assert_non_null(strstr(p->err.message, "is F32, not I64"));
}

static void test_an_int8_payload_that_lies_is_refused(void **state)
{
    struct pair *p = *state;
    const cygnet_tensor *stored;

    assert_int_equal(encode(p, "int8", 1), CYGNET_OK);
    stored = cygnet_tensors_find(p->update.container, "fc.weight");
    ((uint8_t *)stored->data)[0] ^= 0xff; /* zstd's magic */
    assert_int_equal(decode_list(p, p->update.container), CYGNET_EFORMAT);
    ((uint8_t *)stored->data)[0] ^= 0xff;
    assert_int_equal(decode_list(p, p->update.container), CYGNET_OK);
    set(p->update.container, "cygnet_codec",
        "{\"version\":1,\"name\":\"int8\",\"stages\":[\"int8\",\"zstd\"],\"tensors\":"
        "{\"fc.weight\":{\"shape\":[3,5],\"size\":99999999}}}");
    assert_int_equal(decode_list(p, p->update.container), CYGNET_EFORMAT);
    assert_non_null(strstr(p->err.message, "instead of 27"));
    set(p->update.container, "cygnet_codec",
        "{\"version\":1,\"name\":\"int8\",\"stages\":[\"int8\",\"zstd\"],\"tensors\":"
        "{\"fc.weight\":{\"shape\":[5,3],\"size\":27}}}");
    assert_int_equal(decode_list(p, p->update.container), CYGNET_ESHAPE);
}

/* The container of int8 with fc.bias made into bytes. */
static cygnet_tensors *with_bias_of_bytes(const cygnet_tensors *container)
{
    cygnet_tensors *list;
    cygnet_tensor *t;

    assert_int_equal(cygnet_tensors_create(&list, 1 << 16, NULL, NULL), CYGNET_OK);
    for (size_t i = 0; i < cygnet_tensors_count(container); i++) {
        const cygnet_tensor *from = cygnet_tensors_at(container, i);
        int is_bias = strcmp(from->name, "fc.bias") == 0;

        assert_int_equal(cygnet_tensors_add(&t, list, from->name,
                                            is_bias ? CYGNET_U8 : from->dtype,
                                            is_bias ? &from->size_bytes : from->shape,
                                            from->n_dims, NULL),
                         CYGNET_OK);
        memcpy(t->data, from->data, (size_t)from->size_bytes);
    }
    set(list, "cygnet_codec", cygnet_tensors_metadata(container, "cygnet_codec"));
    set(list, "cygnet_update", cygnet_tensors_metadata(container, "cygnet_update"));
    return list;
}

static void test_an_int8_vector_that_is_not_exact_is_refused(void **state)
{
    struct pair *p = *state;
    cygnet_tensors *bytes;

    assert_int_equal(encode(p, "int8", 1), CYGNET_OK);
    bytes = with_bias_of_bytes(p->update.container);
    assert_int_equal(decode_list(p, bytes), CYGNET_ESHAPE);
    assert_non_null(strstr(p->err.message, "\"fc.bias\" is U8, not F32"));
    cygnet_tensors_destroy(bytes);
    ((float *)cygnet_tensors_find(p->update.container, "fc.bias")->data)[2] = (float)NAN;
    assert_int_equal(decode_list(p, p->update.container), CYGNET_ENUMERIC);
    assert_non_null(strstr(p->err.message, "fc.bias"));
}

static void test_every_truncation_is_refused(void **state)
{
    struct pair *p = *state;
    cygnet_tensors *deltas;

    assert_int_equal(encode(p, "int8", 1), CYGNET_OK);
    for (size_t len = 0; len < p->update.len; len++)
        assert_int_not_equal(cygnet_update_decode(&deltas, NULL, p->update.data, len,
                                                  p->global, NULL, NULL),
                             CYGNET_OK);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_none_comes_back_bit_for_bit_in_the_order_of_the_model),
        TEST(test_int8_is_never_off_by_more_than_a_scale),
        TEST(test_int8_is_unbiased),
        TEST(test_int8_of_no_change_is_no_change),
        TEST(test_variances_of_any_magnitude_are_exact_in_every_codec),
        TEST(test_int8_stores_vectors_and_scalars_as_none_does),
        TEST(test_counts_are_exact_in_every_codec),
        TEST(test_a_change_of_a_count_that_does_not_fit_is_refused),
        TEST(test_weights_travel_whole_and_decode_to_their_change),
        TEST(test_none_makes_the_golden_bytes),
        TEST(test_counts_and_weights_make_the_golden_bytes),
        TEST(test_int8_makes_the_golden_values),
        TEST(test_encoding_names_what_it_cannot_carry),
        TEST(test_a_change_that_is_not_finite_is_not_encoded),
        TEST(test_metadata_that_is_not_understood_is_refused),
        TEST(test_a_container_without_metadata_is_refused),
        TEST(test_missing_extra_and_misshapen_tensors_are_named),
        TEST(test_values_that_are_not_finite_are_refused),
        TEST(test_a_count_of_another_type_is_refused),
        TEST(test_an_int8_payload_that_lies_is_refused),
        TEST(test_an_int8_vector_that_is_not_exact_is_refused),
        TEST(test_every_truncation_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
