/* FedScale's messages: those that are written byte by byte, those that are read from
 * captured and from damaged bytes. */
#include "transport/fedscale_message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct bytes text_bytes(const char *text)
{
    struct bytes bytes;

    bytes_init(&bytes, 1000, NULL);
    assert_int_equal(bytes_append(&bytes, text, strlen(text), NULL), CYGNET_OK);
    return bytes;
}

static void assert_bytes(struct bytes *got, const void *expected, size_t len)
{
    assert_int_equal(got->len, len);
    assert_memory_equal(got->data, expected, len);
    bytes_clear(got);
}

#define assert_written(got, literal) assert_bytes(got, literal, sizeof(literal) - 1)

/* ---- Writing ------------------------------------------------------------- */

static void test_a_ping_names_the_client_twice(void **state)
{
    struct bytes out;

    (void)state;
    bytes_init(&out, 1000, NULL);
    assert_int_equal(fedscale_ping_write(&out, "a1", NULL), CYGNET_OK);
    assert_written(&out, "\x0a\2a1\x12\2a1");
}

static void test_a_registration_carries_its_pickle(void **state)
{
    struct bytes info = text_bytes("pickle");
    struct bytes out;

    (void)state;
    bytes_init(&out, 1000, NULL);
    assert_int_equal(fedscale_register_write(&out, "7", &info, NULL), CYGNET_OK);
    assert_written(&out, "\x0a\1"
                         "7\x12\1"
                         "7\x1a\6pickle");
    bytes_clear(&info);
}

static void test_a_completion_carries_event_status_and_result(void **state)
{
    struct bytes result = text_bytes("R.");
    struct bytes out;

    (void)state;
    bytes_init(&out, 1000, NULL);
    assert_int_equal(fedscale_complete_write(&out, "1", "model_test", &result, NULL),
                     CYGNET_OK);
    assert_written(&out, "\x0a\1"
                         "1\x12\1"
                         "1\x1a\x0amodel_test\x20\1:\2R.");
    assert_int_equal(fedscale_complete_write(&out, "1", "client_train", NULL, NULL),
                     CYGNET_OK);
    assert_written(&out, "\x0a\1"
                         "1\x12\1"
                         "1\x1a\x0c"
                         "client_train\x20\1");
    bytes_clear(&result);
}

/* Lengths on both sides of where the varint grows. */
static void test_a_result_written_in_place_is_the_same_message(void **state)
{
    static const size_t lengths[] = {0, 1, 127, 128, 16383, 16384, 2097152};
    static uint8_t data[2097152];
    struct bytes result, copied, in_place;
    size_t mark;

    (void)state;
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 7 + (i >> 8));
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        bytes_init(&result, sizeof(data), NULL);
        bytes_init(&copied, sizeof(data) + 100, NULL);
        bytes_init(&in_place, sizeof(data) + 100, NULL);
        assert_int_equal(bytes_append(&result, data, lengths[i], NULL), 0);
        assert_int_equal(fedscale_complete_write(&copied, "x", "upload_model", &result,
                                                 NULL),
                         CYGNET_OK);
        assert_int_equal(fedscale_complete_begin(&mark, &in_place, "x", "upload_model",
                                                 NULL),
                         CYGNET_OK);
        assert_int_equal(bytes_append(&in_place, data, lengths[i], NULL), 0);
        fedscale_complete_end(&in_place, mark);
        assert_int_equal(copied.len, in_place.len);
        assert_memory_equal(copied.data, in_place.data, copied.len);
        bytes_clear(&result);
        bytes_clear(&copied);
        bytes_clear(&in_place);
    }
}

static void test_a_name_must_be_short_utf8(void **state)
{
    char longest[FEDSCALE_ID_MAX + 2];
    const char *const bad[] = {"", "\xff", "a\xc3", longest};
    struct bytes out;
    cygnet_error err;

    (void)state;
    memset(longest, 'x', sizeof(longest));
    longest[FEDSCALE_ID_MAX + 1] = '\0';
    bytes_init(&out, 1000, NULL);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(fedscale_ping_write(&out, bad[i], &err), CYGNET_EINVAL);
        assert_int_equal(out.len, 0);
    }
    longest[FEDSCALE_ID_MAX] = '\0';
    assert_int_equal(fedscale_ping_write(&out, longest, &err), CYGNET_OK);
    bytes_clear(&out);
}

static void test_a_message_beyond_its_limit_is_refused(void **state)
{
    struct bytes result = text_bytes("result");
    struct bytes out;
    size_t mark;

    (void)state;
    bytes_init(&out, 20, NULL);
    assert_int_equal(fedscale_complete_write(&out, "1", "model_test", &result, NULL),
                     CYGNET_ELIMIT);
    bytes_clear(&out);
    assert_int_equal(fedscale_complete_begin(&mark, &out, "1", "model_test", NULL),
                     CYGNET_ELIMIT);
    bytes_clear(&out);
    bytes_clear(&result);
}

/* ---- Reading ------------------------------------------------------------- */

static cygnet_status read_message(struct fedscale_response *out, const void *data,
                                  size_t len, cygnet_error *err)
{
    uint8_t *exact = malloc(len > 0 ? len : 1); /* a sanitizer sees reads beyond it */
    cygnet_status st;

    assert_non_null(exact);
    memcpy(exact, data, len);
    st = fedscale_response_read(out, exact, len, err);
    free(exact);
    return st;
}

#define assert_damaged(literal, words)                                                   \
    do {                                                                                 \
        struct fedscale_response r;                                                      \
        cygnet_error e = {0};                                                            \
        assert_int_equal(read_message(&r, literal, sizeof(literal) - 1, &e),             \
                         CYGNET_EPROTOCOL);                                              \
        assert_non_null(strstr(e.message, words));                                       \
        assert_null(r.data);                                                             \
    } while (0)

/* As the stock server answers a ping when nothing is due. */
static void test_a_captured_answer_is_read(void **state)
{
    static const uint8_t captured[] =
        "\x0a\x0b"
        "dummy_event\x12\x10\x80\x04\x95\x05\0\0\0\0\0\0\0\x8c\x01N\x94.\x1a\x10\x80\x04"
        "\x95\x05\0\0\0\0\0\0\0\x8c\x01N\x94.";
    struct fedscale_response r;

    (void)state;
    assert_int_equal(fedscale_response_read(&r, captured, sizeof(captured) - 1, NULL),
                     CYGNET_OK);
    assert_int_equal(r.event, FEDSCALE_DUMMY);
    assert_string_equal(r.name, "dummy_event");
    assert_ptr_equal(r.meta, captured + 15);
    assert_int_equal(r.meta_len, 16);
    assert_ptr_equal(r.data, captured + 33);
    assert_int_equal(r.data_len, 16);
}

static void test_every_event_is_known_by_its_name(void **state)
{
    struct fedscale_response r;

    (void)state;
    assert_int_equal(fedscale_response_read(&r, "\x0a\x0cupdate_model", 14, NULL), 0);
    assert_int_equal(r.event, FEDSCALE_UPDATE_MODEL);
    assert_int_equal(fedscale_response_read(&r, "\x0a\x0amodel_test", 12, NULL), 0);
    assert_int_equal(r.event, FEDSCALE_MODEL_TEST);
    assert_int_equal(fedscale_response_read(&r,
                                            "\x0a\x0c"
                                            "client_train",
                                            14, NULL),
                     0);
    assert_int_equal(r.event, FEDSCALE_CLIENT_TRAIN);
    assert_int_equal(fedscale_response_read(&r, "\x0a\x12terminate_executor", 20, NULL),
                     0);
    assert_int_equal(r.event, FEDSCALE_TERMINATE);
    assert_int_equal(fedscale_response_read(&r, "\x0a\3new", 5, NULL), 0);
    assert_int_equal(r.event, FEDSCALE_UNKNOWN);
    assert_string_equal(r.name, "new");
    assert_null(r.meta);
    assert_null(r.data);
}

static void test_fields_of_a_later_version_are_skipped(void **state)
{
    static const uint8_t message[] = "\x20\xff\xff\x03" /* 4: a number */
                                     "\x29"
                                     "12345678" /* 5: 64 bits */
                                     "\x35"
                                     "1234"                       /* 6: 32 bits */
                                     "\x3a\3abc"                  /* 7: bytes */
                                     "\xfa\xff\xff\xff\x0f\1x"    /* 2^29 - 1 */
                                     "\x0a\3old\x1a\1d\x0a\3new"; /* the last counts */
    struct fedscale_response r;

    (void)state;
    assert_int_equal(fedscale_response_read(&r, message, sizeof(message) - 1, NULL),
                     CYGNET_OK);
    assert_string_equal(r.name, "new");
    assert_int_equal(r.data_len, 1);
}

static void test_a_message_cut_anywhere_is_refused_or_lacks_its_end(void **state)
{
    static const uint8_t whole[] = "\x0a\3abc\x12\4meta\x1a\4data";
    struct fedscale_response r;

    (void)state;
    for (size_t len = 0; len < sizeof(whole) - 1; len++) {
        cygnet_status st = read_message(&r, whole, len, NULL);

        /* only between two fields a shorter message is one */
        assert_int_equal(st, len == 5 || len == 11 ? CYGNET_OK : CYGNET_EPROTOCOL);
    }
}

static void test_damage_is_named(void **state)
{
    (void)state;
    assert_damaged("", "no event");
    assert_damaged("\x12\1m", "no event");
    assert_damaged("\x0a\0", "no usable name");
    assert_damaged("\x0a\3a\0b", "no usable name");
    assert_damaged("\x0a\2\xc3(", "UTF-8");
    assert_damaged(
        "\x0a\x41xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
        "xx",
        "no usable name");
    assert_damaged("\x08\1", "another kind");
    assert_damaged("\x11"
                   "12345678",
                   "another kind");
    assert_damaged("\x1d"
                   "1234",
                   "another kind");
    assert_damaged("\0\1", "no valid number");
    assert_damaged("\x82\x80\x80\x80\x10\1x", "no valid number");
    assert_damaged("\x23\x24", "no known kind");
    assert_damaged("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\1x", "longer than");
    assert_damaged("\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\2", "too large");
    assert_damaged("\x20\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\1", "too large");
    assert_damaged("\x20\x80", "cut off");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_ping_names_the_client_twice),
        cmocka_unit_test(test_a_registration_carries_its_pickle),
        cmocka_unit_test(test_a_completion_carries_event_status_and_result),
        cmocka_unit_test(test_a_result_written_in_place_is_the_same_message),
        cmocka_unit_test(test_a_name_must_be_short_utf8),
        cmocka_unit_test(test_a_message_beyond_its_limit_is_refused),
        cmocka_unit_test(test_a_captured_answer_is_read),
        cmocka_unit_test(test_every_event_is_known_by_its_name),
        cmocka_unit_test(test_fields_of_a_later_version_are_skipped),
        cmocka_unit_test(test_a_message_cut_anywhere_is_refused_or_lacks_its_end),
        cmocka_unit_test(test_damage_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
