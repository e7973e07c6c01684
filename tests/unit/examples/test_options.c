/* The command line: what is taken and what is refused, in words. */
#include "examples/common/command_line.h"
#include "examples/common/options.h"
#include "examples/common/partition.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

struct wish {
    const char *name;
    bool loud;
    uint32_t count;
    uint64_t seed;
    double rate;
};

#define AT(field) offsetof(struct wish, field)

static const struct option_row table[] = {
    {"name", OPTION_TEXT, AT(name), 0, 0, NULL},
    {"loud", OPTION_FLAG, AT(loud), 0, 0, NULL},
    {"count", OPTION_U32, AT(count), 1, 9, NULL},
    {"seed", OPTION_U64, AT(seed), 0, 0, NULL},
    {"rate", OPTION_REAL, AT(rate), 0, 1, NULL},
    {NULL, OPTION_TEXT, 0, 0, 0, NULL},
};

static cygnet_status parse(struct wish *out, const char *a, const char *b,
                           cygnet_error *err)
{
    char program[] = "program";
    char first[64];
    char second[64];
    char *argv[] = {program, first, b ? second : NULL, NULL};

    memset(out, 0, sizeof(*out));
    strncpy(first, a, sizeof(first) - 1);
    first[sizeof(first) - 1] = '\0';
    if (b)
        strncpy(second, b, sizeof(second) - 1);
    second[sizeof(second) - 1] = '\0';
    return command_line_parse(out, table, b ? 3 : 2, argv, err);
}

static void test_values_follow_a_space_or_an_equals_sign(void **state)
{
    struct wish wish;

    (void)state;
    assert_int_equal(parse(&wish, "--count", "9", NULL), CYGNET_OK);
    assert_int_equal(wish.count, 9);
    assert_int_equal(parse(&wish, "--rate=0.25", "--loud", NULL), CYGNET_OK);
    assert_true(wish.rate == 0.25 && wish.loud);
    assert_int_equal(parse(&wish, "--seed=18446744073709551615", NULL, NULL), CYGNET_OK);
    assert_true(wish.seed == UINT64_MAX);
}

static void test_bad_command_lines_are_one_clear_line(void **state)
{
    static const struct {
        const char *a;
        const char *b;
        const char *message;
    } cases[] = {
        {"--nome", "x", "unknown option \"--nome\""},
        {"name", "x", "unknown option \"name\""},
        {"--", NULL, "unknown option \"--\""},
        {"--name", NULL, "--name needs a value"},
        {"--name=", NULL, "--name needs a value"},
        {"--loud=1", NULL, "--loud takes no value"},
        {"--count=0", NULL, "--count: \"0\" is not a whole number in 1..9"},
        {"--count=1x", NULL, "--count: \"1x\" is not a whole number in 1..9"},
        {"--count=-1", NULL, "--count: \"-1\" is not a whole number in 1..9"},
        {"--rate=nan", NULL, "--rate: \"nan\" is not a number in 0..1"},
        {"--rate=1.5", NULL, "--rate: \"1.5\" is not a number in 0..1"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct wish wish;
        cygnet_error err;

        assert_int_equal(parse(&wish, cases[i].a, cases[i].b, &err), CYGNET_EINVAL);
        assert_string_equal(err.message, cases[i].message);
    }
}

static void test_shapes_and_shards_are_strict(void **state)
{
    static const char *const bad_shapes[] = {"", "3x", "x3", "0x3", "3 x 3", "1x1x1x1x1"};
    static const char *const bad_shards[] = {"", "1", "2/2", "1/", "/2", "-1/2", "0/0"};
    uint32_t dims[4];
    uint32_t n;
    uint32_t shard;

    (void)state;
    assert_int_equal(option_shape(dims, &n, "--input", "3x32x28", NULL), CYGNET_OK);
    assert_int_equal(n, 3);
    assert_int_equal(dims[2], 28);
    assert_int_equal(option_shard(&shard, &n, "--shard", "1/2", NULL), CYGNET_OK);
    assert_int_equal(shard, 1);
    for (size_t i = 0; i < sizeof(bad_shapes) / sizeof(bad_shapes[0]); i++)
        assert_int_equal(option_shape(dims, &n, "--input", bad_shapes[i], NULL),
                         CYGNET_EINVAL);
    for (size_t i = 0; i < sizeof(bad_shards) / sizeof(bad_shards[0]); i++)
        assert_int_equal(option_shard(&shard, &n, "--shard", bad_shards[i], NULL),
                         CYGNET_EINVAL);
}

static void test_partitions_are_named_with_their_number(void **state)
{
    static const char *const bad[] = {"",         "dirichlet", "dirichlet:",
                                      "shards:0", "shards:x",  "dirichlet:-1"};
    struct partition_spec spec;

    (void)state;
    assert_int_equal(partition_parse(&spec, "dirichlet:0.5", NULL), CYGNET_OK);
    assert_true(spec.kind == PARTITION_DIRICHLET && spec.alpha == 0.5);
    assert_int_equal(partition_parse(&spec, "shards:2", NULL), CYGNET_OK);
    assert_true(spec.kind == PARTITION_SHARDS && spec.per_shard == 2);
    assert_int_equal(partition_parse(&spec, "iid", NULL), CYGNET_OK);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(partition_parse(&spec, bad[i], NULL), CYGNET_EINVAL);
}

static void test_only_codecs_of_this_build_are_taken(void **state)
{
    cygnet_error err;

    (void)state;
    assert_int_equal(option_codec("--codec", "int8", &err), CYGNET_OK);
    assert_int_equal(option_codec("--codec", "int9", &err), CYGNET_EINVAL);
    assert_string_equal(
        err.message, "--codec: \"int9\" is not a codec; known are none, int8, weights");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_codecs_of_this_build_are_taken),
        cmocka_unit_test(test_values_follow_a_space_or_an_equals_sign),
        cmocka_unit_test(test_bad_command_lines_are_one_clear_line),
        cmocka_unit_test(test_shapes_and_shards_are_strict),
        cmocka_unit_test(test_partitions_are_named_with_their_number),
    };
    return cmocka_run_group_tests_name("examples options", tests, NULL, NULL);
}
