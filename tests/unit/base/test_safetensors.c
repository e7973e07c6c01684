/* Reading and writing safetensors: what is accepted, what is refused and why. */
#include "tests/unit/base/base_test.h"

#include "base/bytes.h"
#include "base/store.h"
#include "tests/fakes/fake_alloc.h"

#include <cygnet/tensors.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LIMIT ((uint64_t)1 << 20)

struct refusal {
    const char *header;
    size_t data_bytes;
    cygnet_status status;
    const char *message;
};

#define ENTRY(dtype, shape, begin, end)                                                  \
    "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" begin "," end "]}"
#define A_4 "{\"a\":" ENTRY("F32", "[1]", "0", "4") "}"

static const struct refusal refusals[] = {
    {"", 0, CYGNET_EFORMAT, "must begin with {"},
    {" " A_4, 4, CYGNET_EFORMAT, "must begin with {"},
    {"[]", 0, CYGNET_EFORMAT, "must begin with {"},
    {"{\"a\":", 0, CYGNET_EFORMAT, "JSON"},
    {"{}x", 0, CYGNET_EFORMAT, "text after the value"},
    {"{\"\xff\":1}", 0, CYGNET_EFORMAT, "UTF-8"},
    {"{\"a\":1}", 0, CYGNET_EFORMAT, "\"a\": its entry is not an object"},
    {"{\"\":" ENTRY("F32", "[1]", "0", "4") "}", 4, CYGNET_EFORMAT, "name must have"},
    {"{\"a\":" ENTRY("F32", "[1]", "0", "4") ",\"a\":" ENTRY("F32", "[1]", "4", "8") "}",
     8, CYGNET_EFORMAT, "\"a\" appears twice"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, CYGNET_EFORMAT, "\"a\": its entry"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}}", 4,
     CYGNET_EFORMAT, "\"a\": its entry"},
    {"{\"a\":" ENTRY("F8", "[1]", "0", "1") "}", 1, CYGNET_EUNSUPPORTED,
     "\"a\": dtype \"F8\""},
    {"{\"a\":{\"dtype\":1,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, CYGNET_EFORMAT,
     "\"a\": \"dtype\""},
    {"{\"a\":" ENTRY("F32", "1", "0", "4") "}", 4, CYGNET_EFORMAT, "\"a\": \"shape\""},
    {"{\"a\":" ENTRY("F32", "[-1]", "0", "4") "}", 4, CYGNET_EFORMAT, "whole numbers"},
    {"{\"a\":" ENTRY("F32", "[0.5]", "0", "2") "}", 2, CYGNET_EFORMAT, "whole numbers"},
    {"{\"a\":" ENTRY("U8", "[1,1,1,1,1,1,1,1,1]", "0", "1") "}", 1, CYGNET_ELIMIT,
     "\"a\": more than 8 dimensions"},
    {"{\"a\":" ENTRY("F32", "[4294967296,4294967296]", "0", "4") "}", 4, CYGNET_EFORMAT,
     "\"a\": its shape overflows"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, CYGNET_EFORMAT,
     "\"a\": \"data_offsets\""},
    {"{\"a\":" ENTRY("F32", "[1]", "4", "0") "}", 4, CYGNET_EFORMAT, "\"a\": its data"},
    {"{\"a\":" ENTRY("F32", "[2]", "0", "8") "}", 4, CYGNET_EFORMAT, "outside the file"},
    {"{\"a\":" ENTRY("F32", "[2]", "0", "4") "}", 4, CYGNET_EFORMAT,
     "\"a\": shape and dtype"},
    {A_4, 5, CYGNET_EFORMAT, "1 bytes behind the last tensor"},
    {"{\"a\":" ENTRY("F32", "[1]", "4", "8") "}", 8, CYGNET_EFORMAT,
     "\"a\": its data overlap or leave a hole"},
    {"{\"a\":" ENTRY("U8", "[4]", "0", "4") ",\"b\":" ENTRY("U8", "[4]", "2", "6") "}", 6,
     CYGNET_EFORMAT, "\"b\": its data overlap or leave a hole"},
    {"{\"__metadata__\":[]}", 0, CYGNET_EFORMAT, "metadata must be an object"},
    {"{\"__metadata__\":{\"k\":1}}", 0, CYGNET_EFORMAT, "metadata \"k\""},
    {"{\"a\":{\"dtype\":[[[[1]]]]}}", 0, CYGNET_ELIMIT, "deeper"},
};

static void build(struct bytes *out, const char *header, size_t data_bytes)
{
    uint8_t word[8];
    uint8_t *to;

    bytes_init(out, 1 << 20, NULL);
    store_u64le(word, strlen(header));
    assert_int_equal(bytes_append(out, word, 8, NULL), CYGNET_OK);
    assert_int_equal(bytes_append(out, header, strlen(header), NULL), CYGNET_OK);
    assert_int_equal(bytes_reserve(&to, out, data_bytes, NULL), CYGNET_OK);
    memset(to, 1, data_bytes);
    out->len += data_bytes;
}

static void test_every_malformation_is_refused_with_its_reason(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        cygnet_tensors *list = (cygnet_tensors *)(void *)&list;
        cygnet_error err = {0};
        struct bytes file;
        cygnet_status st;

        build(&file, refusals[i].header, refusals[i].data_bytes);
        st = cygnet_tensors_parse(&list, file.data, file.len, LIMIT, NULL, &err);
        bytes_clear(&file);
        assert_failed(st, refusals[i].status, err, refusals[i].message);
        assert_null(list);
    }
}

static void test_a_file_cut_anywhere_is_refused(void **state)
{
    struct bytes file;

    (void)state;
    build(&file, A_4, 4);
    for (size_t len = 0; len < file.len; len++) {
        cygnet_tensors *list;
        cygnet_error err = {0};
        uint8_t *cut = malloc(len + 1);

        assert_non_null(cut);
        memcpy(cut, file.data, len);
        assert_int_equal(cygnet_tensors_parse(&list, cut, len, LIMIT, NULL, &err),
                         CYGNET_EFORMAT);
        free(cut);
    }
    bytes_clear(&file);
}

static void test_header_and_data_limits_hold(void **state)
{
    uint8_t word[16] = {0};
    cygnet_tensors *list;
    cygnet_error err = {0};
    struct bytes file;

    (void)state;
    store_u64le(word, UINT64_MAX);
    assert_failed(cygnet_tensors_parse(&list, word, 16, LIMIT, NULL, &err), CYGNET_ELIMIT,
                  err, "a header of 18446744073709551615 bytes");
    store_u64le(word, 9);
    assert_failed(cygnet_tensors_parse(&list, word, 16, LIMIT, NULL, &err),
                  CYGNET_EFORMAT, err, "the file ends after 8");
    build(&file, A_4, 4);
    assert_failed(cygnet_tensors_parse(&list, file.data, file.len, 3, NULL, &err),
                  CYGNET_ELIMIT, err, "4 bytes of tensors, the limit is 3");
    bytes_clear(&file);
}

static void test_header_may_be_padded_and_order_is_the_datas(void **state)
{
    cygnet_tensors *list;
    cygnet_error err = {0};
    struct bytes file;

    (void)state;
    build(&file,
          "{\"b\":" ENTRY("U8", "[2]", "1", "3") ",\"a\":" ENTRY("U8", "[1]", "0", "1") //
          "}   ",
          3);
    assert_int_equal(cygnet_tensors_parse(&list, file.data, file.len, LIMIT, NULL, &err),
                     CYGNET_OK);
    assert_string_equal(cygnet_tensors_at(list, 0)->name, "a");
    assert_string_equal(cygnet_tensors_at(list, 1)->name, "b");
    cygnet_tensors_destroy(list);
    bytes_clear(&file);
}

static cygnet_tensors *load(const char *name)
{
    cygnet_tensors *list;
    cygnet_error err = {0};
    char path[1024];

    (void)snprintf(path, sizeof(path), "%s/%s", GOLDEN_DIR, name);
    if (cygnet_tensors_load(&list, path, LIMIT, NULL, &err) != CYGNET_OK)
        fail_msg("%s", err.message);
    return list;
}

static void test_python_files_of_every_dtype_are_read(void **state)
{
    static const char *const names[] = {"f64", "f32", "f16", "i64", "i32",
                                        "i16", "i8",  "u8",  "bool"};
    cygnet_tensors *list = load("mixed.safetensors");
    const cygnet_tensor *f32 = cygnet_tensors_find(list, "f32");
    const cygnet_tensor *i64 = cygnet_tensors_find(list, "i64");

    (void)state;
    assert_int_equal(cygnet_tensors_count(list), 9);
    for (size_t i = 0; i < 9; i++)
        assert_non_null(cygnet_tensors_find(list, names[i]));
    assert_int_equal(f32->n_dims, 2);
    assert_int_equal(f32->shape[1], 3);
    assert_int_equal((uintptr_t)f32->data % 64, 0);
    for (int i = 0; i < 6; i++) {
        assert_true(((const float *)f32->data)[i] == (float)i);
        assert_true(((const int64_t *)i64->data)[i] == i);
    }
    assert_string_equal(cygnet_tensors_metadata(list, "note"), "h\xc3\xa4l\"f");
    cygnet_tensors_destroy(list);
}

static void test_python_scalars_empty_tensors_and_empty_files_are_read(void **state)
{
    cygnet_tensors *list = load("odd_shapes.safetensors");

    (void)state;
    assert_int_equal(cygnet_tensors_find(list, "scalar")->n_dims, 0);
    assert_true(*(const float *)cygnet_tensors_find(list, "scalar")->data == 2.5f);
    assert_int_equal(cygnet_tensors_find(list, "empty")->size_bytes, 0);
    assert_int_equal(*(const int32_t *)cygnet_tensors_find(list, "after")->data, 7);
    cygnet_tensors_destroy(list);
    list = load("none.safetensors");
    assert_int_equal(cygnet_tensors_count(list), 0);
    cygnet_tensors_destroy(list);
}

static cygnet_status make_list(cygnet_tensors **out, const cygnet_allocator *alloc,
                               cygnet_error *err)
{
    static const uint64_t shape[] = {2, 3};
    cygnet_tensor *tensor;
    cygnet_status st = cygnet_tensors_create(out, LIMIT, alloc, err);

    if (st == CYGNET_OK)
        st = cygnet_tensors_set_metadata(*out, "quote", "\"\n\\", err);
    if (st == CYGNET_OK)
        st = cygnet_tensors_add(&tensor, *out, "z.first", CYGNET_U8, shape, 2, err);
    if (st == CYGNET_OK) {
        memset(tensor->data, 5, 6);
        st = cygnet_tensors_add(&tensor, *out, "a.second", CYGNET_F64, NULL, 0, err);
    }
    return st;
}

static void test_a_list_survives_the_file_in_order(void **state)
{
    char path[] = "/tmp/cygnet-test-XXXXXX";
    cygnet_tensors *list;
    cygnet_tensors *back;
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0);
    (void)close(fd);
    assert_int_equal(make_list(&list, NULL, NULL), CYGNET_OK);
    assert_int_equal(cygnet_tensors_save(list, path, NULL), CYGNET_OK);
    assert_int_equal(cygnet_tensors_load(&back, path, LIMIT, NULL, NULL), CYGNET_OK);
    assert_string_equal(cygnet_tensors_at(back, 0)->name, "z.first");
    assert_string_equal(cygnet_tensors_at(back, 1)->name, "a.second");
    assert_memory_equal(cygnet_tensors_at(back, 0)->data, "\5\5\5\5\5\5", 6);
    assert_string_equal(cygnet_tensors_metadata(back, "quote"), "\"\n\\");
    cygnet_tensors_destroy(list);
    cygnet_tensors_destroy(back);
    (void)unlink(path);
}

static void test_the_header_is_padded_to_eight_bytes(void **state)
{
    cygnet_tensors *list;
    void *bytes;
    size_t len;

    (void)state;
    assert_int_equal(make_list(&list, NULL, NULL), CYGNET_OK);
    assert_int_equal(cygnet_tensors_serialize(&bytes, &len, list, NULL), CYGNET_OK);
    assert_int_equal(load_u64le(bytes) % 8, 0);
    assert_int_equal(8 + load_u64le(bytes) + 6 + 8, len);
    cygnet_tensors_free_bytes(list, bytes);
    cygnet_tensors_destroy(list);
}

static void test_lists_refuse_names_and_sizes_outside_their_limits(void **state)
{
    static const uint64_t huge[] = {LIMIT + 1};
    char name[CYGNET_TENSOR_NAME_MAX + 2];
    cygnet_tensors *list;
    cygnet_error err = {0};

    (void)state;
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = 0;
    assert_int_equal(make_list(&list, NULL, &err), CYGNET_OK);
#define REFUSES(status, text, ...)                                                       \
    assert_failed(cygnet_tensors_add(NULL, list, __VA_ARGS__, &err), status, err, text)
    REFUSES(CYGNET_EINVAL, "1 to 255", "", CYGNET_F32, NULL, 0);
    REFUSES(CYGNET_EINVAL, "1 to 255", name, CYGNET_F32, NULL, 0);
    REFUSES(CYGNET_EINVAL, "twice", "z.first", CYGNET_F32, NULL, 0);
    REFUSES(CYGNET_EINVAL, "UTF-8", "\xc0\x80", CYGNET_F32, NULL, 0);
    REFUSES(CYGNET_EINVAL, "__metadata__", "__metadata__", CYGNET_F32, NULL, 0);
    REFUSES(CYGNET_EINVAL, "unknown dtype", "x", (cygnet_dtype)77, NULL, 0);
    REFUSES(CYGNET_EINVAL, "8 dimensions", "x", CYGNET_F32, huge, 9);
    REFUSES(CYGNET_ELIMIT, "limit of 1048576", "x", CYGNET_U8, huge, 1);
#undef REFUSES
    assert_int_equal(cygnet_tensors_count(list), 2);
    cygnet_tensors_destroy(list);
}

static void test_metadata_is_bounded_and_replaced_by_key(void **state)
{
    cygnet_tensors *list;
    cygnet_error err = {0};
    cygnet_status st = CYGNET_OK;
    char key[16];
    int n = 0;

    (void)state;
    assert_int_equal(cygnet_tensors_create(&list, LIMIT, NULL, &err), CYGNET_OK);
    for (; st == CYGNET_OK && n < 5000; n++) {
        (void)snprintf(key, sizeof(key), "k%d", n);
        st = cygnet_tensors_set_metadata(list, key, "v", &err);
    }
    assert_failed(st, CYGNET_ELIMIT, err, "4096 metadata pairs");
    assert_int_equal(n, 4097);
    assert_int_equal(cygnet_tensors_set_metadata(list, "k7", "other", &err), CYGNET_OK);
    assert_string_equal(cygnet_tensors_metadata(list, "k7"), "other");
    assert_failed(cygnet_tensors_set_metadata(list, "k7", "\xff", &err), CYGNET_EINVAL,
                  err, "UTF-8");
    cygnet_tensors_destroy(list);
}

/* Makes, serialises and parses a list; whatever was made is destroyed. */
static cygnet_status round_trip(const cygnet_allocator *alloc, cygnet_error *err)
{
    cygnet_tensors *list = NULL;
    cygnet_tensors *back = NULL;
    void *bytes = NULL;
    size_t len;
    cygnet_status st = make_list(&list, alloc, err);

    if (st == CYGNET_OK)
        st = cygnet_tensors_serialize(&bytes, &len, list, err);
    if (st == CYGNET_OK)
        st = cygnet_tensors_parse(&back, bytes, len, LIMIT, alloc, err);
    if (list)
        cygnet_tensors_free_bytes(list, bytes);
    cygnet_tensors_destroy(list);
    cygnet_tensors_destroy(back);
    return st;
}

static void test_every_refused_allocation_is_reported_and_nothing_leaks(void **state)
{
    struct fake_alloc fake;
    long n;

    (void)state;
    fake_alloc_init(&fake);
    assert_int_equal(round_trip(&fake.alloc, NULL), CYGNET_OK);
    assert_int_equal(fake.n_live, 0);
    n = fake.n_requests;
    assert_true(n > 5);
    for (long k = 1; k <= n; k++) {
        cygnet_error err = {0};

        fake_alloc_init(&fake);
        fake.fail_at = k;
        assert_failed(round_trip(&fake.alloc, &err), CYGNET_ENOMEM, err, "memory");
        assert_int_equal(fake.n_live, 0);
    }
}

static void test_loading_names_the_file_that_is_missing(void **state)
{
    cygnet_tensors *list;
    cygnet_error err = {0};

    (void)state;
    assert_failed(cygnet_tensors_load(&list, GOLDEN_DIR "/absent", LIMIT, NULL, &err),
                  CYGNET_ENOTFOUND, err, "absent");
    assert_null(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_malformation_is_refused_with_its_reason),
        cmocka_unit_test(test_a_file_cut_anywhere_is_refused),
        cmocka_unit_test(test_header_and_data_limits_hold),
        cmocka_unit_test(test_header_may_be_padded_and_order_is_the_datas),
        cmocka_unit_test(test_python_files_of_every_dtype_are_read),
        cmocka_unit_test(test_python_scalars_empty_tensors_and_empty_files_are_read),
        cmocka_unit_test(test_a_list_survives_the_file_in_order),
        cmocka_unit_test(test_the_header_is_padded_to_eight_bytes),
        cmocka_unit_test(test_lists_refuse_names_and_sizes_outside_their_limits),
        cmocka_unit_test(test_metadata_is_bounded_and_replaced_by_key),
        cmocka_unit_test(test_every_refused_allocation_is_reported_and_nothing_leaks),
        cmocka_unit_test(test_loading_names_the_file_that_is_missing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
