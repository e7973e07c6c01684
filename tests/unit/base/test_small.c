/* The small parts: allocator, arena, bytes, RNG, hashes and their text forms. */
#include "tests/unit/base/base_test.h"

#include "base/alloc.h"
#include "base/arena.h"
#include "base/bytes.h"
#include "base/crypto.h"
#include "base/log.h"
#include "base/rng.h"
#include "base/sysfs.h"
#include "tests/fakes/fake_alloc.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void test_overflowing_and_empty_requests_are_refused(void **state)
{
    (void)state;
    assert_null(mem_alloc(NULL, 0));
    assert_null(mem_calloc(NULL, SIZE_MAX / 2, 3));
    assert_null(mem_alloc_aligned(NULL, SIZE_MAX - 8, 64));
}

static void test_aligned_memory_is_aligned_and_returned(void **state)
{
    struct fake_alloc fake;

    (void)state;
    fake_alloc_init(&fake);
    for (size_t alignment = 1; alignment <= 4096; alignment *= 2) {
        void *p = mem_alloc_aligned(&fake.alloc, 100, alignment);

        assert_non_null(p);
        assert_int_equal((uintptr_t)p % alignment, 0);
        memset(p, 1, 100);
        mem_free_aligned(&fake.alloc, p);
    }
    assert_int_equal(fake.n_live, 0);
}

static void test_an_arena_stops_at_its_maximum(void **state)
{
    struct fake_alloc fake;
    struct arena *arena;

    (void)state;
    fake_alloc_init(&fake);
    arena = arena_create(10000, &fake.alloc);
    assert_non_null(arena);
    assert_string_equal(arena_strdup(arena, "text"), "text");
    assert_non_null(arena_alloc(arena, 9000));
    assert_null(arena_alloc(arena, 2000));
    assert_null(arena_alloc_array(arena, SIZE_MAX / 2, 3));
    assert_in_range(arena_used(arena), 9005, 10000);
    assert_true(arena_held(arena) > arena_used(arena));
    assert_int_equal(arena_held(NULL), 0);
    arena_destroy(arena);
    assert_int_equal(fake.n_live, 0);
}

static void test_bytes_keep_their_content_when_refused(void **state)
{
    struct bytes bytes;
    cygnet_error err = {0};

    (void)state;
    bytes_init(&bytes, 8, NULL);
    assert_string_equal(bytes_text(&bytes), "");
    assert_int_equal(bytes_printf(&bytes, &err, "%d%s", 123, "ab"), CYGNET_OK);
    assert_failed(bytes_append(&bytes, "wxyz", 4, &err), CYGNET_ELIMIT, err,
                  "limit of 8 bytes");
    assert_failed(bytes_printf(&bytes, &err, "%s", "wxyz"), CYGNET_ELIMIT, err, "8");
    assert_string_equal(bytes_text(&bytes), "123ab");
    assert_int_equal(bytes_append(&bytes, "xyz", 3, &err), CYGNET_OK);
    assert_string_equal(bytes_text(&bytes), "123abxyz");
    bytes_clear(&bytes);
}

static void test_bytes_are_given_as_a_text(void **state)
{
    struct fake_alloc fake;
    struct bytes bytes;
    char *text = NULL;

    (void)state;
    fake_alloc_init(&fake);
    bytes_init(&bytes, 64, &fake.alloc);
    fake.fail_at = 1;
    assert_int_equal(bytes_give(&text, &bytes, NULL), CYGNET_ENOMEM);
    assert_null(text);
    assert_int_equal(bytes_give(&text, &bytes, NULL), CYGNET_OK);
    assert_string_equal(text, "");
    mem_free(&fake.alloc, text);
    assert_int_equal(bytes_append(&bytes, "swan", 4, NULL), CYGNET_OK);
    assert_int_equal(bytes_give(&text, &bytes, NULL), CYGNET_OK);
    assert_string_equal(text, "swan");
    assert_int_equal(bytes.len, 0);
    bytes_clear(&bytes);
    mem_free(&fake.alloc, text);
    assert_int_equal(fake.n_live, 0);
}

static void test_little_endian_words_round_trip(void **state)
{
    uint8_t raw[9];

    (void)state;
    store_u64le(raw + 1, 0x0102030405060708u);
    assert_int_equal(raw[1], 8);
    assert_true(load_u64le(raw + 1) == 0x0102030405060708u);
    store_u32le(raw + 1, 0xF1020304u);
    assert_int_equal(raw[4], 0xF1);
    assert_true(load_u32le(raw + 1) == 0xF1020304u);
}

/* Source: the known-answer vectors of Random123, philox4x32 10 rounds. */
static void test_philox_gives_the_published_answers(void **state)
{
    static const uint32_t vectors[][10] = {
        {0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
        {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff,
         0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
        {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0,
         0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1},
    };

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        uint32_t out[4];

        philox4x32(out, vectors[i], vectors[i] + 4);
        assert_memory_equal(out, vectors[i] + 6, sizeof(out));
    }
}

static void test_streams_repeat_and_differ_by_name_and_index(void **state)
{
    struct rng a, b, c, d;

    (void)state;
    rng_init(&a, 1, "x", 0);
    rng_init(&b, 1, "x", 0);
    rng_init(&c, 1, "x", 1);
    rng_init(&d, 1, "y", 0);
    for (int i = 0; i < 9; i++) {
        uint64_t draw = rng_u64(&a);

        assert_true(draw == rng_u64(&b));
        assert_true(draw != rng_u64(&c));
        assert_true(draw != rng_u64(&d));
    }
}

/* Means within five standard errors of the law's. */
static void test_distributions_have_their_means(void **state)
{
    enum { N = 20000 };
    double uniform = 0, normal = 0, square = 0, gamma = 0, small = 0;
    struct rng rng;

    (void)state;
    rng_init(&rng, 3, "means", 0);
    for (int i = 0; i < N; i++) {
        double x = rng_normal(&rng);

        normal += x / N;
        square += x * x / N;
        uniform += rng_uniform(&rng) / N;
        gamma += rng_gamma(&rng, 3.0) / N;
        small += rng_gamma(&rng, 0.5) / N;
        assert_true(rng_below(&rng, 7) < 7);
    }
    assert_true(fabs(uniform - 0.5) < 5 * sqrt(1.0 / 12 / N));
    assert_true(fabs(normal) < 5 * sqrt(1.0 / N));
    assert_true(fabs(square - 1) < 5 * sqrt(2.0 / N));
    assert_true(fabs(gamma - 3) < 5 * sqrt(3.0 / N));
    assert_true(fabs(small - 0.5) < 5 * sqrt(0.5 / N));
}

static void test_shuffling_keeps_every_item(void **state)
{
    uint64_t items[100];
    uint64_t sum = 0;
    struct rng rng;

    (void)state;
    for (uint64_t i = 0; i < 100; i++)
        items[i] = i;
    rng_init(&rng, 3, "shuffle", 0);
    rng_shuffle(&rng, items, 100);
    for (int i = 0; i < 100; i++)
        sum |= (uint64_t)(items[i] != (uint64_t)i);
    assert_int_equal(sum, 1);
    for (uint64_t want = 0; want < 100; want++) {
        int seen = 0;

        for (int i = 0; i < 100; i++)
            seen += items[i] == want;
        assert_int_equal(seen, 1);
    }
}

static void test_sha256_gives_the_published_answers(void **state)
{
    char hex[SHA256_HEX + 1];
    struct sha256 h;
    uint8_t digest[SHA256_BYTES];

    (void)state;
    assert_int_equal(sha256_hex(hex, "abc", 3, NULL), CYGNET_OK);
    assert_string_equal(
        hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_int_equal(sha256_init(&h, NULL), CYGNET_OK);
    assert_int_equal(sha256_update(&h, "a", 1, NULL), CYGNET_OK);
    assert_int_equal(sha256_update(&h, "bc", 2, NULL), CYGNET_OK);
    assert_int_equal(sha256_final(digest, &h, NULL), CYGNET_OK);
    hex_encode(hex, digest, sizeof(digest));
    assert_memory_equal(hex, "ba7816bf", 8);
}

/* Source: RFC 4648, section 10. */
static void test_base64_gives_the_published_answers(void **state)
{
    static const char *const texts[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"}};
    char out[16];

    (void)state;
    for (size_t i = 0; i < 7; i++) {
        base64_encode(out, texts[i][0], strlen(texts[i][0]));
        assert_string_equal(out, texts[i][1]);
    }
}

static void test_random_bytes_do_not_repeat(void **state)
{
    uint8_t a[100] = {0};
    uint8_t b[100] = {0};

    (void)state;
    assert_int_equal(random_bytes(a, sizeof(a), NULL), CYGNET_OK);
    assert_int_equal(random_bytes(b, sizeof(b), NULL), CYGNET_OK);
    assert_memory_not_equal(a, b, sizeof(a));
}

/* More than one request of the generator (1024 bytes) and a last, shorter one. */
static void test_random_bytes_fill_all_that_is_asked_for_and_no_more(void **state)
{
    enum { N = 2500 };
    uint8_t raw[N + 1] = {0};
    unsigned ones = 0;

    (void)state;
    raw[N] = 0xA5;
    assert_int_equal(random_bytes(raw, N, NULL), CYGNET_OK);
    assert_int_equal(raw[N], 0xA5);
    assert_int_equal(random_bytes(raw, 0, NULL), CYGNET_OK);
    for (size_t at = 0; at < N; at += 20) {
        static const uint8_t zeros[20] = {0};

        assert_memory_not_equal(raw + at, zeros, 20);
    }
    for (size_t bit = 0; bit < 8 * N; bit++)
        ones += raw[bit / 8] >> bit % 8 & 1;
    assert_in_range(ones, 4 * N - 600, 4 * N + 600); /* over eight standard errors */
}

static void keep_line(enum log_level level, const char *message, void *user)
{
    assert_int_equal(level, LOG_WARN);
    (void)strncpy(user, message, 15);
}

static void test_log_lines_reach_the_writer_and_silence_is_accepted(void **state)
{
    char line[16] = "";
    struct log log = {keep_line, line};

    (void)state;
    log_line(NULL, LOG_WARN, "nobody");
    log_line(&(struct log){0}, LOG_WARN, "nobody");
    log_line(&log, LOG_WARN, "%d rounds", 3);
    assert_string_equal(line, "3 rounds");
}

static void test_errors_are_put_into_context(void **state)
{
    cygnet_error err = {0};

    (void)state;
    assert_int_equal((fail)(&err, CYGNET_EFORMAT, 3, "bad %d", 7), CYGNET_EFORMAT);
    assert_int_equal(fail_within(&err, CYGNET_EFORMAT, "file %s", "x"), CYGNET_EFORMAT);
    assert_string_equal(err.message, "file x: bad 7");
    assert_int_equal(err.detail, 3);
    assert_int_equal((fail)(NULL, CYGNET_ENOMEM, 0, "none"), CYGNET_ENOMEM);
    assert_string_equal(cygnet_status_name(CYGNET_ESTATE), "ESTATE");
    assert_string_equal(cygnet_status_name((cygnet_status)99), "UNKNOWN");
}

/* A file of one line; the caller removes it. */
static void write_line(char path[32], const char *line)
{
    FILE *file;

    memcpy(path, "/tmp/cygnet-line-XXXXXX", 24);
    file = fdopen(mkstemp(path), "w");
    assert_non_null(file);
    assert_true(fputs(line, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void test_only_a_whole_number_is_read_as_one(void **state)
{
    static const struct {
        const char *line;
        bool good;
        int64_t value;
    } rows[] = {
        {"262143328850\n", true, 262143328850},
        {"-5\nignored\n", true, -5},
        {"9223372036854775807", true, INT64_MAX},
        {"9223372036854775808\n", false, 0},
        {"12 uJ\n", false, 0},
        {"\n", false, 0},
        {"", false, 0},
        {"1e6\n", false, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int64_t value = 0;
        char path[32];

        write_line(path, rows[i].line);
        assert_int_equal(sysfs_int64(&value, AT_FDCWD, path), rows[i].good);
        assert_true(value == rows[i].value);
        assert_int_equal(unlink(path), 0);
        assert_false(sysfs_int64(&value, AT_FDCWD, path));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_overflowing_and_empty_requests_are_refused),
        cmocka_unit_test(test_aligned_memory_is_aligned_and_returned),
        cmocka_unit_test(test_an_arena_stops_at_its_maximum),
        cmocka_unit_test(test_bytes_keep_their_content_when_refused),
        cmocka_unit_test(test_bytes_are_given_as_a_text),
        cmocka_unit_test(test_little_endian_words_round_trip),
        cmocka_unit_test(test_philox_gives_the_published_answers),
        cmocka_unit_test(test_streams_repeat_and_differ_by_name_and_index),
        cmocka_unit_test(test_distributions_have_their_means),
        cmocka_unit_test(test_shuffling_keeps_every_item),
        cmocka_unit_test(test_sha256_gives_the_published_answers),
        cmocka_unit_test(test_base64_gives_the_published_answers),
        cmocka_unit_test(test_random_bytes_do_not_repeat),
        cmocka_unit_test(test_random_bytes_fill_all_that_is_asked_for_and_no_more),
        cmocka_unit_test(test_log_lines_reach_the_writer_and_silence_is_accepted),
        cmocka_unit_test(test_errors_are_put_into_context),
        cmocka_unit_test(test_only_a_whole_number_is_read_as_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
