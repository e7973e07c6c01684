/* The data formats: the bundled digits, well-formed files, and a table of
 * malformed ones with the line that each is refused with. */
#include "examples/common/dataset.h"
#include "examples/common/idx.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

#define MAX_FILE 65536

struct folder {
    char path[64];
    char spec[80];
};

static int set_up(void **state)
{
    struct folder *folder = calloc(1, sizeof(*folder));

    *state = folder;
    if (!folder)
        return 1;
    snprintf(folder->path, sizeof(folder->path), "/tmp/cygnet-dataset-XXXXXX");
    return mkdtemp(folder->path) ? 0 : 1;
}

static const char *const file_names[] = {
    "train-images-idx3-ubyte",   "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",    "t10k-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz",
    "data_batch_1.bin",          "test_batch.bin"};

static int tear_down(void **state)
{
    struct folder *folder = *state;
    char path[160];

    for (size_t i = 0; i < sizeof(file_names) / sizeof(file_names[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", folder->path, file_names[i]);
        unlink(path);
    }
    rmdir(folder->path);
    free(folder);
    return 0;
}

static void put(const struct folder *folder, const char *name, const void *data,
                size_t len)
{
    char path[160];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", folder->path, name);
    file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}

static uint8_t *put_u32(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 24);
    at[1] = (uint8_t)(value >> 16);
    at[2] = (uint8_t)(value >> 8);
    at[3] = (uint8_t)value;
    return at + 4;
}

/* n images of 2 x 3; pixel p of image i is i + p. */
static size_t images(uint8_t *out, uint32_t n)
{
    uint8_t *at = put_u32(put_u32(put_u32(put_u32(out, 0x803), n), 2), 3);

    for (uint32_t i = 0; i < n; i++)
        for (uint32_t p = 0; p < 6; p++)
            *at++ = (uint8_t)(i + p);
    return (size_t)(at - out);
}

/* n labels 0..9 in turn. */
static size_t labels(uint8_t *out, uint32_t n)
{
    uint8_t *at = put_u32(put_u32(out, 0x801), n);

    for (uint32_t i = 0; i < n; i++)
        *at++ = (uint8_t)(i % 10);
    return (size_t)(at - out);
}

static size_t zip(uint8_t *out, const uint8_t *data, size_t len)
{
    z_stream z = {0};
    size_t n;

    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, 0), Z_OK);
    z.next_in = (Bytef *)(uintptr_t)data;
    z.avail_in = (uInt)len;
    z.next_out = out;
    z.avail_out = MAX_FILE;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    n = z.total_out;
    deflateEnd(&z);
    return n;
}

static struct dataset *opened(struct folder *folder, const char *kind)
{
    struct dataset *dataset;

    snprintf(folder->spec, sizeof(folder->spec), "%s:%s", kind, folder->path);
    assert_int_equal(dataset_open(&dataset, folder->spec, 0, NULL), CYGNET_OK);
    return dataset;
}

static void test_the_bundled_digits_are_1797_with_a_fifth_held_out(void **state)
{
    struct dataset *digits;
    uint32_t held[10] = {0};

    (void)state;
    assert_int_equal(dataset_open(&digits, "digits", 0, NULL), CYGNET_OK);
    assert_int_equal(digits->n_rows, 1797);
    assert_int_equal(digits->train.n, 1438);
    assert_int_equal(digits->test.n, 359);
    assert_int_equal(digits->shape.height, 8);
    for (uint32_t i = 0; i < digits->test.n; i++)
        held[digits->labels[digits->test.index[i]]]++;
    for (int label = 0; label < 10; label++)
        assert_in_range(held[label], 34, 37);
    dataset_destroy(digits);
}

static void test_both_pairs_are_used_as_given(void **state)
{
    struct folder *folder = *state;
    static uint8_t raw[MAX_FILE];
    struct dataset *dataset;

    put(folder, "train-images-idx3-ubyte", raw, images(raw, 40));
    put(folder, "train-labels-idx1-ubyte", raw, labels(raw, 40));
    put(folder, "t10k-images-idx3-ubyte", raw, images(raw, 20));
    put(folder, "t10k-labels-idx1-ubyte", raw, labels(raw, 20));
    dataset = opened(folder, "idx");
    assert_int_equal(dataset->train.n, 40);
    assert_int_equal(dataset->test.n, 20);
    assert_int_equal(dataset->test.index[0], 40);
    assert_int_equal(dataset_pixels(dataset, 41)[5], 6);
    dataset_destroy(dataset);
}

static void test_a_single_zipped_pair_is_split_four_to_one_by_label(void **state)
{
    struct folder *folder = *state;
    static uint8_t raw[MAX_FILE];
    static uint8_t packed[MAX_FILE];
    struct dataset *dataset;
    uint32_t held[10] = {0};

    put(folder, "t10k-images-idx3-ubyte.gz", packed, zip(packed, raw, images(raw, 100)));
    put(folder, "t10k-labels-idx1-ubyte.gz", packed, zip(packed, raw, labels(raw, 100)));
    dataset = opened(folder, "idx");
    assert_int_equal(dataset->train.n, 80);
    assert_int_equal(dataset->test.n, 20);
    for (uint32_t i = 0; i < 20; i++)
        held[dataset->labels[dataset->test.index[i]]]++;
    for (int label = 0; label < 10; label++)
        assert_int_equal(held[label], 2);
    dataset_destroy(dataset);
}

/* ---- Malformed IDX ------------------------------------------------------ */

struct bad_idx {
    enum idx_kind kind;
    size_t len;
    cygnet_status status;
    const char *message;
};

static void assert_refused(const uint8_t *data, const struct bad_idx *bad)
{
    struct idx idx;
    cygnet_error err;

    assert_int_equal(idx_parse(&idx, bad->kind, data, bad->len, "f", &err), bad->status);
    assert_string_equal(err.message, bad->message);
    assert_null(idx.bytes);
}

static void test_truncated_and_overlong_idx_files_are_refused(void **state)
{
    static uint8_t raw[MAX_FILE];
    size_t len = images(raw, 10);
    const struct bad_idx cases[] = {
        {IDX_IMAGES, 0, CYGNET_EFORMAT,
         "f: truncated or damaged before its 16 header bytes end"},
        {IDX_IMAGES, 15, CYGNET_EFORMAT,
         "f: truncated or damaged before its 16 header bytes end"},
        {IDX_IMAGES, 16, CYGNET_EFORMAT, "f: truncated: 0 bytes of 60 are there"},
        {IDX_IMAGES, len - 1, CYGNET_EFORMAT, "f: truncated: 59 bytes of 60 are there"},
        {IDX_IMAGES, len + 1, CYGNET_EFORMAT,
         "f: damaged or longer than the 60 bytes its header promises"},
        {IDX_LABELS, len, CYGNET_EFORMAT,
         "f: magic number is 0x00000803, expected 0x00000801 (labels)"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_refused(raw, &cases[i]);
}

static void test_idx_headers_beyond_the_limits_are_refused(void **state)
{
    static const struct {
        uint32_t dims[3];
        struct bad_idx bad;
    } cases[] = {
        {{0, 8, 8}, {IDX_IMAGES, 16, CYGNET_EFORMAT, "f: says that it is empty"}},
        {{1, 0, 8}, {IDX_IMAGES, 16, CYGNET_EFORMAT, "f: says that it is empty"}},
        {{4294967295u, 8, 8},
         {IDX_IMAGES, 16, CYGNET_ELIMIT,
          "f: 4294967295 x 8 x 8 is more than 1048576 rows of 1024 x 1024"}},
        {{1, 1025, 8},
         {IDX_IMAGES, 16, CYGNET_ELIMIT,
          "f: 1 x 1025 x 8 is more than 1048576 rows of 1024 x 1024"}},
        {{1048576, 1024, 1024},
         {IDX_IMAGES, 16, CYGNET_ELIMIT,
          "f: 1099511627776 bytes are more than 536870912"}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint8_t raw[16];
        uint8_t *at = put_u32(raw, 0x803);

        for (int d = 0; d < 3; d++)
            at = put_u32(at, cases[i].dims[d]);
        assert_refused(raw, &cases[i].bad);
    }
}

static void test_a_decompression_bomb_is_stopped_at_the_promised_size(void **state)
{
    static uint8_t raw[MAX_FILE];
    static uint8_t packed[MAX_FILE];
    struct bad_idx bad = {IDX_IMAGES, 0, CYGNET_EFORMAT,
                          "f: damaged or longer than the 60 bytes its header promises"};

    (void)state;
    images(raw, 10);
    bad.len = zip(packed, raw, sizeof(raw));
    assert_refused(packed, &bad);
}

static void test_damaged_gzip_is_refused(void **state)
{
    static uint8_t raw[MAX_FILE];
    static uint8_t packed[MAX_FILE];
    size_t len = zip(packed, raw, images(raw, 10));
    struct bad_idx cut = {IDX_IMAGES, len - 4, CYGNET_EFORMAT,
                          "f: damaged or longer than the 60 bytes its header promises"};
    struct bad_idx flipped = cut;
    struct bad_idx extra = cut;

    (void)state;
    assert_refused(packed, &cut);
    packed[len] = 0;
    extra.len = len + 1;
    assert_refused(packed, &extra);
    packed[len - 5] ^= 0x40; /* the checksum */
    flipped.len = len;
    assert_refused(packed, &flipped);
}

/* ---- Folders ------------------------------------------------------------ */

static void assert_not_opened(struct folder *folder, const char *kind,
                              cygnet_status status, const char *ending)
{
    struct dataset *dataset;
    cygnet_error err;
    char want[256];

    snprintf(folder->spec, sizeof(folder->spec), "%s:%s", kind, folder->path);
    assert_int_equal(dataset_open(&dataset, folder->spec, 0, &err), status);
    assert_null(dataset);
    snprintf(want, sizeof(want), "%s%s", folder->path, ending);
    assert_non_null(strstr(err.message, want));
}

static void test_missing_and_half_pairs_are_named(void **state)
{
    struct folder *folder = *state;
    static uint8_t raw[MAX_FILE];

    assert_not_opened(folder, "idx", CYGNET_ENOTFOUND,
                      ": has no {train,t10k}-{images-idx3,labels-idx1}-ubyte[.gz]");
    put(folder, "train-images-idx3-ubyte", raw, images(raw, 10));
    assert_not_opened(folder, "idx", CYGNET_ENOTFOUND,
                      ": train-labels-idx1-ubyte[.gz] is missing beside its other half");
}

static void test_counts_that_differ_are_refused(void **state)
{
    struct folder *folder = *state;
    static uint8_t raw[MAX_FILE];

    put(folder, "train-images-idx3-ubyte", raw, images(raw, 10));
    put(folder, "train-labels-idx1-ubyte", raw, labels(raw, 9));
    assert_not_opened(folder, "idx", CYGNET_EFORMAT,
                      "/train-labels-idx1-ubyte: has 9 labels, but ");
}

static void test_a_label_out_of_range_is_refused_with_its_row(void **state)
{
    struct folder *folder = *state;
    static uint8_t raw[MAX_FILE];
    size_t len;

    put(folder, "train-images-idx3-ubyte", raw, images(raw, 10));
    len = labels(raw, 10);
    raw[8 + 7] = 10;
    put(folder, "train-labels-idx1-ubyte", raw, len);
    assert_not_opened(folder, "idx", CYGNET_EDATA,
                      ": row 7 has label 10, but labels must be below 10");
}

static void test_cifar_batches_are_read_planar(void **state)
{
    struct folder *folder = *state;
    static uint8_t raw[10 * 3073];
    struct dataset *dataset;

    for (int i = 0; i < 10; i++) {
        raw[i * 3073] = (uint8_t)i;
        memset(raw + i * 3073 + 1, i, 1024);
        memset(raw + i * 3073 + 1025, 100 + i, 2048);
    }
    put(folder, "data_batch_1.bin", raw, sizeof(raw));
    put(folder, "test_batch.bin", raw, 3073 * 4);
    dataset = opened(folder, "cifar10");
    assert_int_equal(dataset->train.n, 10);
    assert_int_equal(dataset->test.n, 4);
    assert_int_equal(dataset->shape.channels, 3);
    assert_int_equal(dataset->labels[9], 9);
    assert_int_equal(dataset_pixels(dataset, 9)[1023], 9);
    assert_int_equal(dataset_pixels(dataset, 9)[1024], 109);
    dataset_destroy(dataset);
}

static void test_a_truncated_cifar_batch_is_refused(void **state)
{
    struct folder *folder = *state;
    static uint8_t raw[3073];

    put(folder, "data_batch_1.bin", raw, sizeof(raw) - 1);
    assert_not_opened(
        folder, "cifar10", CYGNET_EFORMAT,
        "/data_batch_1.bin: 3072 bytes are not whole rows of 3073: truncated?");
}

static void test_arrays_have_the_models_shape(void **state)
{
    struct dataset *digits;
    float *x;
    int64_t *y;

    (void)state;
    assert_int_equal(dataset_open(&digits, "digits", 0, NULL), CYGNET_OK);
    assert_int_equal(dataset_arrays(&x, &y, digits, &digits->test,
                                    (struct image_shape){1, 28, 28}, NULL),
                     CYGNET_OK);
    for (size_t i = 0; i < (size_t)digits->test.n * 784; i++)
        assert_true(x[i] >= -1.0f && x[i] <= 1.0f);
    assert_int_equal(y[0], digits->labels[digits->test.index[0]]);
    free(x);
    free(y);
    dataset_destroy(digits);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_bundled_digits_are_1797_with_a_fifth_held_out),
        IN_FOLDER(test_both_pairs_are_used_as_given),
        IN_FOLDER(test_a_single_zipped_pair_is_split_four_to_one_by_label),
        cmocka_unit_test(test_truncated_and_overlong_idx_files_are_refused),
        cmocka_unit_test(test_idx_headers_beyond_the_limits_are_refused),
        cmocka_unit_test(test_a_decompression_bomb_is_stopped_at_the_promised_size),
        cmocka_unit_test(test_damaged_gzip_is_refused),
        IN_FOLDER(test_missing_and_half_pairs_are_named),
        IN_FOLDER(test_counts_that_differ_are_refused),
        IN_FOLDER(test_a_label_out_of_range_is_refused_with_its_row),
        IN_FOLDER(test_cifar_batches_are_read_planar),
        IN_FOLDER(test_a_truncated_cifar_batch_is_refused),
        cmocka_unit_test(test_arrays_have_the_models_shape),
    };
    return cmocka_run_group_tests_name("examples dataset", tests, NULL, NULL);
}
