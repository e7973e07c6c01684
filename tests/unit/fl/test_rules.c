/* Small rules: eligibility, retries, the saved record. */
#include "base/bytes.h"
#include "base/crypto.h"
#include "fl/eligibility.h"
#include "fl/journal.h"
#include "fl/retry.h"
#include "fl/supply.h"
#include "tests/fakes/memory_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

/* ---- Eligibility ----------------------------------------------------------- */

static void test_required_passes_only_when_known_to_be_true(void **state)
{
    static const struct {
        cygnet_requirement requirement;
        cygnet_tristate value;
        bool holds;
    } rows[] = {
        {CYGNET_IGNORED, CYGNET_FALSE, true},   {CYGNET_IGNORED, CYGNET_UNKNOWN, true},
        {CYGNET_PREFERRED, CYGNET_FALSE, true}, {CYGNET_PREFERRED, CYGNET_UNKNOWN, true},
        {CYGNET_REQUIRED, CYGNET_FALSE, false}, {CYGNET_REQUIRED, CYGNET_UNKNOWN, false},
        {CYGNET_REQUIRED, CYGNET_TRUE, true},
    };
    char why[ELIGIBILITY_WHY_BYTES];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct eligibility_rule rule = {.charging = rows[i].requirement};
        cygnet_device_state device = {.charging = rows[i].value, .battery_percent = -1};

        assert_int_equal(eligibility_holds(why, &rule, &device), rows[i].holds);
        rule = (struct eligibility_rule){.idle = rows[i].requirement};
        device = (cygnet_device_state){.idle = rows[i].value, .battery_percent = -1};
        assert_int_equal(eligibility_holds(why, &rule, &device), rows[i].holds);
        rule = (struct eligibility_rule){.unmetered = rows[i].requirement};
        device = (cygnet_device_state){.unmetered = rows[i].value, .battery_percent = -1};
        assert_int_equal(eligibility_holds(why, &rule, &device), rows[i].holds);
    }
}

static void test_the_failing_condition_is_named(void **state)
{
    const struct eligibility_rule rule = {CYGNET_REQUIRED, CYGNET_REQUIRED,
                                          CYGNET_REQUIRED, 50};
    cygnet_device_state device = {0, CYGNET_TRUE, CYGNET_UNKNOWN, CYGNET_FALSE, 40, -1};
    char why[ELIGIBILITY_WHY_BYTES];

    (void)state;
    assert_false(eligibility_holds(why, &rule, &device));
    assert_string_equal(why, "idle is required and is unknown");
    device.idle = CYGNET_TRUE;
    assert_false(eligibility_holds(why, &rule, &device));
    assert_string_equal(why, "unmetered is required and is false");
    device.unmetered = CYGNET_TRUE;
    assert_false(eligibility_holds(why, &rule, &device));
    assert_string_equal(why, "battery of 50 % is required and it has 40 %");
    device.battery_percent = 50;
    assert_true(eligibility_holds(why, &rule, &device));
}

static void test_unknown_battery_passes_only_on_external_power(void **state)
{
    const struct eligibility_rule rule = {.min_battery_percent = 20};
    cygnet_device_state device = {.battery_percent = -1};
    char why[ELIGIBILITY_WHY_BYTES];

    (void)state;
    assert_false(eligibility_holds(why, &rule, &device));
    device.charging = CYGNET_TRUE;
    assert_true(eligibility_holds(why, &rule, &device));
}

static void test_two_rules_combine_to_the_stricter(void **state)
{
    const struct eligibility_rule a = {CYGNET_REQUIRED, CYGNET_IGNORED, CYGNET_PREFERRED,
                                       10};
    const struct eligibility_rule b = {CYGNET_IGNORED, CYGNET_PREFERRED, CYGNET_REQUIRED,
                                       5};
    struct eligibility_rule both = eligibility_combine(&a, &b);

    (void)state;
    assert_int_equal(both.charging, CYGNET_REQUIRED);
    assert_int_equal(both.idle, CYGNET_PREFERRED);
    assert_int_equal(both.unmetered, CYGNET_REQUIRED);
    assert_int_equal(both.min_battery_percent, 10);
}

static struct loan lend(double mj)
{
    const struct battery battery = {.n = 1, .level = 0.5, .capacity_mj = 40e6};
    struct loan_options options;
    struct loan loan;

    loan_options_init(&options);
    assert_int_equal(loan_open(&loan, &options, NULL, NULL, NULL), CYGNET_OK);
    assert_int_equal(loan_observe(&loan, &battery, NULL), CYGNET_OK);
    assert_int_equal(loan_borrow(&loan, mj, NULL), CYGNET_OK);
    return loan;
}

static void test_a_device_in_debt_is_not_eligible_and_says_how_much(void **state)
{
    struct loan loan = lend(0);
    struct supply supply = {.loan = &loan};
    char why[SUPPLY_WHY_BYTES];

    (void)state;
    assert_true(supply_allows(why, NULL));
    assert_string_equal(why, "");
    assert_true(supply_allows(why, &supply));
    loan = lend(250e3);
    assert_false(supply_allows(why, &supply));
    assert_string_equal(why, "the energy loan of 250 J is not paid back by charging yet");
    assert_int_equal(loan_give_back(&loan, 250e3, NULL), CYGNET_OK);
    assert_true(supply_allows(why, &supply));
}

/* ---- Retries --------------------------------------------------------------- */

static int64_t longest_delay(cygnet_status status, uint32_t n_failures)
{
    int64_t longest = 0;
    struct rng rng;

    rng_init(&rng, 1, "test", n_failures);
    for (int i = 0; i < 2000; i++) {
        int64_t delay = retry_delay_ms(status, n_failures, 0, &rng);

        assert_true(delay >= 0);
        longest = delay > longest ? delay : longest;
    }
    return longest;
}

static void test_back_off_doubles_up_to_a_cap_with_full_jitter(void **state)
{
    (void)state;
    assert_in_range(longest_delay(CYGNET_ENETWORK, 1), 900, 1000);
    assert_in_range(longest_delay(CYGNET_ENETWORK, 2), 1900, 2000);
    assert_in_range(longest_delay(CYGNET_ENETWORK, 5), 15000, 16000);
    assert_in_range(longest_delay(CYGNET_ENETWORK, 4000000000u), 590000, 600000);
    assert_in_range(longest_delay(CYGNET_EDATA, 1), 3000000, 3600000);
}

static void test_the_server_s_wait_is_never_undercut(void **state)
{
    struct rng rng;

    (void)state;
    rng_init(&rng, 1, "test", 0);
    for (int i = 0; i < 100; i++)
        assert_true(retry_delay_ms(CYGNET_ESERVER, 1, 30, &rng) >= 30000);
}

static void test_only_network_server_and_time_are_transient(void **state)
{
    (void)state;
    for (int s = CYGNET_EINVAL; s <= CYGNET_ESTATE; s++)
        assert_int_equal(retry_is_transient((cygnet_status)s), s == CYGNET_ENETWORK ||
                                                                   s == CYGNET_ETIMEOUT ||
                                                                   s == CYGNET_ESERVER);
}

/* ---- The record ------------------------------------------------------------ */

static struct round_record some_record(void)
{
    struct round_record record = {.state = CYGNET_PHASE_ENCODED, .generation = 2};

    memset(record.client_id, 'f', CLIENT_ID_HEX);
    memcpy(record.task.token, "token-1", 8);
    memcpy(record.task.architecture, "lenet5", 7);
    record.task.seed = UINT64_MAX - 3;
    record.task.lr = 0.25f;
    record.task.min_battery_percent = -1;
    record.task.policy = CYGNET_POLICY_EFFICIENT;
    record.task.n_threads = 3;
    record.task.max_round_mj = UINT64_MAX - 4;
    record.next_check_in_ms = INT64_MIN + 5;
    record.utility = 81.25;
    record.last_utility = 0.5;
    return record;
}

static void test_a_record_comes_back_as_it_was_written(void **state)
{
    struct round_record record = some_record(), read;
    struct memory_store store;

    (void)state;
    memory_store_init(&store);
    assert_int_equal(journal_save(&record, &store.store, NULL, NULL), CYGNET_OK);
    assert_int_equal(journal_load(&read, &store.store, NULL, NULL), CYGNET_OK);
    assert_int_equal(read.state, record.state);
    assert_string_equal(read.client_id, record.client_id);
    assert_memory_equal(&read.task, &record.task, sizeof(read.task));
    assert_int_equal(read.next_check_in_ms, record.next_check_in_ms);
    assert_memory_equal(&read.utility, &record.utility, sizeof(double));
    assert_memory_equal(&read.last_utility, &record.last_utility, sizeof(double));
    memory_store_clear(&store);
}

/* As an earlier version wrote it: without the fields that came last. */
static void shorten(struct memory_file *file, size_t n_bytes)
{
    size_t body = file->len - SHA256_BYTES - n_bytes;

    store_u32le(file->data + 8, (uint32_t)(body - 12));
    assert_int_equal(sha256(file->data + body, file->data, body, NULL), CYGNET_OK);
    file->len = body + SHA256_BYTES;
}

static void test_a_record_of_an_earlier_version_lacks_what_came_later(void **state)
{
    struct round_record record = some_record(), read;
    struct memory_store store;

    (void)state;
    memory_store_init(&store);
    assert_int_equal(journal_save(&record, &store.store, NULL, NULL), CYGNET_OK);
    shorten(memory_store_find(&store, JOURNAL_FILE),
            (4 + 4 + 8) + (4 + 6 * 8)); /* execution, evaluation */
    assert_int_equal(journal_load(&read, &store.store, NULL, NULL), CYGNET_OK);
    assert_memory_equal(&read.last_utility, &record.last_utility, sizeof(double));
    assert_string_equal(read.task.token, record.task.token);
    assert_int_equal(read.task.policy, CYGNET_POLICY_SWAN);
    assert_int_equal(read.task.n_threads, 0);
    assert_int_equal(read.task.max_round_mj, 0);
    assert_int_equal(read.task.kind, CYGNET_TASK_TRAIN);
    memory_store_clear(&store);
}

static void test_every_damaged_byte_of_a_record_is_noticed(void **state)
{
    struct round_record record = some_record(), read;
    struct memory_store store;
    struct memory_file *file;
    cygnet_error err;

    (void)state;
    memory_store_init(&store);
    assert_int_equal(journal_save(&record, &store.store, NULL, NULL), CYGNET_OK);
    file = memory_store_find(&store, JOURNAL_FILE);
    assert_non_null(file);
    for (size_t i = 0; i < file->len; i++) {
        file->data[i] ^= 0x10;
        assert_int_equal(journal_load(&read, &store.store, NULL, &err), CYGNET_EFORMAT);
        file->data[i] ^= 0x10;
    }
    memory_store_clear(&store);
}

static void test_every_truncation_of_a_record_is_noticed(void **state)
{
    struct round_record record = some_record(), read;
    struct memory_store store;
    struct memory_file *file;
    size_t whole;

    (void)state;
    memory_store_init(&store);
    assert_int_equal(journal_save(&record, &store.store, NULL, NULL), CYGNET_OK);
    file = memory_store_find(&store, JOURNAL_FILE);
    assert_non_null(file);
    whole = file->len;
    for (file->len = 0; file->len < whole; file->len++)
        assert_int_equal(journal_load(&read, &store.store, NULL, NULL), CYGNET_EFORMAT);
    memory_store_clear(&store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_required_passes_only_when_known_to_be_true),
        cmocka_unit_test(test_the_failing_condition_is_named),
        cmocka_unit_test(test_unknown_battery_passes_only_on_external_power),
        cmocka_unit_test(test_two_rules_combine_to_the_stricter),
        cmocka_unit_test(test_a_device_in_debt_is_not_eligible_and_says_how_much),
        cmocka_unit_test(test_back_off_doubles_up_to_a_cap_with_full_jitter),
        cmocka_unit_test(test_the_server_s_wait_is_never_undercut),
        cmocka_unit_test(test_only_network_server_and_time_are_transient),
        cmocka_unit_test(test_a_record_comes_back_as_it_was_written),
        cmocka_unit_test(test_a_record_of_an_earlier_version_lacks_what_came_later),
        cmocka_unit_test(test_every_damaged_byte_of_a_record_is_noticed),
        cmocka_unit_test(test_every_truncation_of_a_record_is_noticed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
