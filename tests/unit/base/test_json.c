/* Strict JSON: grammar, limits, typed readers, building. */
#include "tests/unit/base/base_test.h"

#include "base/json.h"

static cygnet_status parse(struct json **out, const char *text, cygnet_error *err)
{
    return json_parse(out, text, strlen(text), &JSON_DEFAULT_LIMITS, err);
}

static void test_texts_outside_the_grammar_are_refused(void **state)
{
    static const char *const texts[][2] = {
        {"", "ends early"},
        {"{", "needs a name"},
        {"[1,]", "unexpected"},
        {"{\"a\":1,}", "needs a name"},
        {"{a:1}", "needs a name"},
        {"[1 2]", "expected"},
        {"[1]x", "after the value"},
        {"NaN", "unexpected"},
        {"[Infinity]", "unexpected"},
        {"[01]", "expected"},
        {"[1.]", "broken number"},
        {"[-]", "broken number"},
        {"[1e999]", "out of range"},
        {"[+1]", "unexpected"},
        {"'a'", "unexpected"},
        {"\"\\u0000\"", "NUL"},
        {"\"\\ud800\"", "surrogate"},
        {"\"\\udc00\"", "surrogate"},
        {"\"\\x\"", "escape"},
        {"\"\t\"", "control character"},
        {"\"\xc0\x80\"", "UTF-8"},
        {"\"\xed\xa0\x80\"", "UTF-8"},
        {"\"\xf5\x80\x80\x80\"", "UTF-8"},
        {"\"abc", "ends in a string"},
        {"\xef\xbb\xbf{}", "unexpected"},
        {"{\"a\":1,\"\\u0061\":2}", "\"a\" appears twice"},
        {"[1111111111222222222233333333334444444444555555555566666666667]", "over-long"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct json *doc = NULL;
        cygnet_error err = {0};

        assert_failed(parse(&doc, texts[i][0], &err), CYGNET_EFORMAT, err, texts[i][1]);
        assert_null(doc);
    }
}

static void test_an_embedded_nul_is_refused(void **state)
{
    struct json *doc;
    cygnet_error err = {0};

    (void)state;
    assert_failed(json_parse(&doc, "{}\0", 3, &JSON_DEFAULT_LIMITS, &err), CYGNET_EFORMAT,
                  err, "after the value");
}

static void test_each_limit_is_held_exactly(void **state)
{
    const struct json_limits limits = {.max_bytes = 16, .max_depth = 2, .max_values = 4};
    struct json *doc;
    cygnet_error err = {0};

    (void)state;
    assert_int_equal(json_parse(&doc, "[[1,2]]", 7, &limits, &err), CYGNET_OK);
    json_destroy(doc);
    assert_failed(json_parse(&doc, "[[1,2,3]]", 9, &limits, &err), CYGNET_ELIMIT, err,
                  "more than 4 values");
    assert_failed(json_parse(&doc, "[[[]]]", 6, &limits, &err), CYGNET_ELIMIT, err,
                  "deeper than 2");
    assert_failed(json_parse(&doc, "                 ", 17, &limits, &err), CYGNET_ELIMIT,
                  err, "more than 16 bytes");
}

static void test_typed_readers_check_type_range_and_presence(void **state)
{
    struct json *doc;
    cygnet_error err = {0};
    uint64_t u = 7;
    double d = 7;
    char text[4] = "old";
    bool flag = false;

    (void)state;
    assert_int_equal(parse(&doc,
                           "{\"n\":5,\"f\":1.5,\"s\":\"long\",\"z\":null,\"t\":true}",
                           &err),
                     CYGNET_OK);
    assert_int_equal(json_read_u64(&u, doc, "n", 0, 5, true, "task", &err), CYGNET_OK);
    assert_int_equal(u, 5);
    assert_failed(json_read_u64(&u, doc, "n", 6, 9, true, "task", &err), CYGNET_EFORMAT,
                  err, "task");
    assert_failed(json_read_u64(&u, doc, "f", 0, 9, true, "task", &err), CYGNET_EFORMAT,
                  err, "\"f\"");
    assert_failed(json_read_u64(&u, doc, "z", 0, 9, true, "task", &err), CYGNET_EFORMAT,
                  err, "\"z\"");
    assert_int_equal(json_read_u64(&u, doc, "z", 0, 9, false, "task", &err), CYGNET_OK);
    assert_int_equal(u, 5);
    assert_int_equal(json_read_double(&d, doc, "f", 1, 2, true, "task", &err), CYGNET_OK);
    assert_true(d == 1.5);
    assert_failed(json_read_string(text, sizeof(text), doc, "s", true, "task", &err),
                  CYGNET_EFORMAT, err, "longer than 3 bytes");
    assert_int_equal(json_read_bool(&flag, doc, "t", true, "task", &err), CYGNET_OK);
    assert_true(flag);
    assert_failed(json_read_bool(&flag, doc, "n", true, "task", &err), CYGNET_EFORMAT,
                  err, "true or false");
    json_destroy(doc);
}

/* 2^53 + 1 would come out of a double as 2^53, so both are refused. */
static void test_whole_numbers_are_exact_or_refused_both_ways(void **state)
{
    static const char *const beyond[] = {"{\"n\":9007199254740992}",
                                         "{\"n\":9007199254740993}",
                                         "{\"n\":18446744073709551615}", "{\"n\":1e300}",
                                         "{\"n\":-1}"};
    struct json *doc;
    cygnet_error err = {0};
    uint64_t u = 7;

    (void)state;
    assert_int_equal(parse(&doc, "{\"n\":9007199254740991}", &err), CYGNET_OK);
    assert_int_equal(json_read_u64(&u, doc, "n", 0, UINT64_MAX, true, "it", &err),
                     CYGNET_OK);
    assert_true(u == JSON_EXACT_MAX);
    json_destroy(doc);
    for (size_t i = 0; i < sizeof(beyond) / sizeof(beyond[0]); i++) {
        assert_int_equal(parse(&doc, beyond[i], &err), CYGNET_OK);
        assert_failed(json_read_u64(&u, doc, "n", 0, UINT64_MAX, true, "it", &err),
                      CYGNET_EFORMAT, err, "whole number");
        json_destroy(doc);
    }
    assert_true(u == JSON_EXACT_MAX);
}

static void test_numbers_that_a_reader_would_round_are_not_built(void **state)
{
    struct json_builder *b = json_build();
    struct bytes out;
    cygnet_error err = {0};

    (void)state;
    bytes_init(&out, 4096, NULL);
    json_open_object(b, NULL);
    json_put_u64(b, "seed", JSON_EXACT_MAX + 1);
    json_close(b);
    assert_failed(json_build_finish(b, &out, &err), CYGNET_ELIMIT, err, "2^53");
    assert_int_equal(out.len, 0);
    bytes_clear(&out);
}

static void test_what_is_built_can_be_read_back(void **state)
{
    struct json_builder *b = json_build();
    struct bytes out;
    cygnet_error err = {0};

    (void)state;
    bytes_init(&out, 4096, NULL);
    json_open_object(b, NULL);
    json_put_u64(b, "max", JSON_EXACT_MAX);
    json_put_string(b, "cut", "caf\xc3");
    json_open_array(b, "list");
    json_put_double(b, NULL, 0.5);
    json_put_null(b, NULL);
    json_close(b);
    json_put_bool(b, "yes", true);
    json_close(b);
    assert_int_equal(json_build_finish(b, &out, &err), CYGNET_OK);
    assert_string_equal(bytes_text(&out), "{\"max\":9007199254740991,\"cut\":\"caf?\","
                                          "\"list\":[0.5,null],\"yes\":true}");
    bytes_clear(&out);
}

static void test_unbalanced_building_is_reported(void **state)
{
    struct json_builder *b = json_build();
    struct bytes out;
    cygnet_error err = {0};

    (void)state;
    bytes_init(&out, 4096, NULL);
    json_open_object(b, NULL);
    assert_int_equal(json_build_finish(b, &out, &err), CYGNET_ESTATE);
    assert_int_equal(out.len, 0);
    assert_int_equal(json_build_finish(NULL, &out, &err), CYGNET_ENOMEM);
    bytes_clear(&out);
}

/* Nothing of it is left: a leak fails under a sanitizer or valgrind. */
static void test_what_is_built_can_be_discarded(void **state)
{
    struct json_builder *b = json_build();

    (void)state;
    json_open_object(b, NULL);
    json_open_array(b, "list");
    json_put_string(b, NULL, "of one");
    json_build_discard(b);
    json_build_discard(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts_outside_the_grammar_are_refused),
        cmocka_unit_test(test_an_embedded_nul_is_refused),
        cmocka_unit_test(test_each_limit_is_held_exactly),
        cmocka_unit_test(test_typed_readers_check_type_range_and_presence),
        cmocka_unit_test(test_whole_numbers_are_exact_or_refused_both_ways),
        cmocka_unit_test(test_numbers_that_a_reader_would_round_are_not_built),
        cmocka_unit_test(test_what_is_built_can_be_read_back),
        cmocka_unit_test(test_unbalanced_building_is_reported),
        cmocka_unit_test(test_what_is_built_can_be_discarded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
