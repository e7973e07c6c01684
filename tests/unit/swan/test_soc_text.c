/* The topology as JSON through the public header. */
#include "base/json.h"
#include "swan_fixture.h"
#include "tests/fakes/fake_alloc.h"
#include "tests/fakes/fake_soc.h"

#include <cygnet/swan.h>
#include <stdlib.h>
#include <string.h>

static struct json *read_soc(const char *root)
{
    struct json *json;
    cygnet_error err;
    char *text;

    if (cygnet_swan_soc(&text, root, NULL, &err) != CYGNET_OK)
        fail_msg("%s", err.message);
    assert_int_equal(json_parse(&json, text, strlen(text), &JSON_DEFAULT_LIMITS, NULL),
                     CYGNET_OK);
    cygnet_swan_free(text, NULL);
    return json;
}

static const struct json *find(const struct json *json, const char *list, size_t index)
{
    const struct json *item = json_at(json_member(json, list), index);

    assert_non_null(item);
    return item;
}

static void check_number(const struct json *object, const char *key, double wanted)
{
    assert_true(json_number(json_member(object, key), -1.0) == wanted);
}

static void test_a_phone_is_described_in_full(void **state)
{
    struct fake_soc *fake = fake_soc_load(SOC_DIR, "mi_10");
    struct json *json = read_soc(fake->root);
    const struct json *big = find(json, "clusters", 1), *six = find(json, "cores", 6);
    const struct json *prime = find(json, "cores", 7);
    bool value = true;

    (void)state;
    assert_int_equal(strlen(json_text(json_member(json, "fingerprint"), "")), 64);
    assert_int_equal(json_count(json_member(json, "clusters")), 3);
    assert_int_equal(json_count(json_member(json, "cores")), 8);
    assert_string_equal(json_text(json_member(big, "name"), ""), "big");
    check_number(big, "capacity", 871);
    check_number(big, "max_khz", 2419200);
    check_number(big, "n_cores", 3);
    check_number(big, "n_physical", 3);
    check_number(big, "n_usable", 3);
    check_number(big, "l2_bytes", 256 * 1024);
    check_number(big, "l3_n_cpus", 7);
    check_number(six, "limit_khz", 1574400);
    assert_true(json_is_null(json_member(six, "khz")));
    assert_string_equal(json_text(json_member(prime, "cluster"), ""), "prime");
    check_number(prime, "cpu", 7);
    assert_int_equal(json_read_bool(&value, prime, "online", true, "core", NULL),
                     CYGNET_OK);
    assert_false(value);
    assert_int_equal(json_read_bool(&value, prime, "allowed", true, "core", NULL),
                     CYGNET_OK);
    assert_true(value);
    assert_int_equal(json_read_bool(&value, prime, "usable", true, "core", NULL),
                     CYGNET_OK);
    assert_false(value);
    json_destroy(json);
    fake_soc_destroy(fake);
}

static void test_this_machine_is_the_root_that_is_left_out(void **state)
{
    struct json *mine = read_soc(NULL), *root = read_soc("/");

    (void)state;
    assert_string_equal(json_text(json_member(mine, "fingerprint"), "a"),
                        json_text(json_member(root, "fingerprint"), "b"));
    assert_int_equal(json_count(json_member(mine, "cores")),
                     json_count(json_member(root, "cores")));
    json_destroy(mine);
    json_destroy(root);
}

static void test_the_largest_machine_fits_its_text(void **state)
{
    struct fake_soc *fake = fake_soc_create();
    struct json *json;

    (void)state;
    fake_soc_add(fake, "present 0-255\n"
                       "cpu{0-255}/cpufreq/cpuinfo_max_freq 3500000\n"
                       "cpu{0-255}/cpufreq/scaling_max_freq 3500000\n"
                       "cpu{0-255}/cpufreq/scaling_cur_freq 1234567\n");
    json = read_soc(fake->root);
    assert_int_equal(json_count(json_member(json, "cores")), 256);
    json_destroy(json);
    fake_soc_destroy(fake);
}

static void check_failure(const char *root, cygnet_status wanted, const char *says)
{
    char *text = (char *)1;
    cygnet_error err;

    assert_int_equal(cygnet_swan_soc(&text, root, NULL, &err), wanted);
    assert_null(text);
    assert_int_equal(err.status, wanted);
    assert_non_null(strstr(err.message, says));
}

static void test_failures_give_no_text(void **state)
{
    struct fake_soc *fake = fake_soc_create();
    char *long_root = calloc(1, 5001);

    (void)state;
    fake_soc_add(fake, "present what\n");
    check_failure(fake->root, CYGNET_EFORMAT, "not a list of CPUs");
    fake_soc_set(fake, "present", "0-300");
    check_failure(fake->root, CYGNET_ELIMIT, "301 cores");
    assert_non_null(long_root);
    memset(long_root, 'x', 5000);
    check_failure(long_root, CYGNET_EINVAL, "too long");
    free(long_root);
    fake_soc_destroy(fake);
}

static void test_memory_that_is_refused_is_an_error(void **state)
{
    struct fake_alloc fake;
    cygnet_status st = CYGNET_ENOMEM;
    char *text;

    (void)state;
    for (long fail_at = 1; st == CYGNET_ENOMEM; fail_at++) {
        cygnet_error err;

        fake_alloc_init(&fake);
        fake.fail_at = fail_at;
        st = cygnet_swan_soc(&text, NULL, &fake.alloc, &err);
        assert_int_equal(text != NULL, st == CYGNET_OK);
        cygnet_swan_free(text, &fake.alloc);
        assert_int_equal(fake.n_live, 0);
    }
    assert_int_equal(st, CYGNET_OK);
    assert_true(fake.n_requests > 0);
    cygnet_swan_free(NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_phone_is_described_in_full),
        cmocka_unit_test(test_this_machine_is_the_root_that_is_left_out),
        cmocka_unit_test(test_the_largest_machine_fits_its_text),
        cmocka_unit_test(test_failures_give_no_text),
        cmocka_unit_test(test_memory_that_is_refused_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
