/* The client's energy: the app's meter, the power model, the loan in the state folder. */
#include "tests/unit/sdk/sdk_test.h"

#include <cygnet/sys/coordinator.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* code  what the meter answers; n_asked: how often it was asked */
struct bench {
    char folder[SANDBOX_BYTES];
    cygnet_host host;
    cygnet_options options;
    cygnet_client *client;
    cygnet_error err;
    int code;
    int n_asked;
};

static int show(cygnet_energy_figure *figure, void *user)
{
    struct bench *b = user;

    assert_int_equal(figure->struct_size, sizeof(*figure));
    assert_true(figure->total_uj == -1 && figure->power_uw == -1);
    assert_true(figure->resolution_uj == 0 && figure->period_ms == 0);
    figure->power_uw = 1500000;
    b->n_asked++;
    return b->code;
}

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof(*b));

    if (!b)
        return -1;
    sandbox_make(b->folder);
    test_host(&b->host, NULL);
    test_options(&b->options, &b->host, b->folder);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;

    cygnet_client_destroy(b->client);
    sandbox_remove(b->folder);
    free(b);
    return 0;
}

static void assert_created(struct bench *b)
{
    if (cygnet_client_create(&b->client, &b->options, &b->err) != CYGNET_OK)
        fail_msg("create: %s", b->err.message);
}

static void assert_refused(struct bench *b, cygnet_status status, const char *words)
{
    assert_int_equal(cygnet_client_create(&b->client, &b->options, &b->err), status);
    assert_null(b->client);
    if (!strstr(b->err.message, words))
        fail_msg("\"%s\" does not say \"%s\"", b->err.message, words);
}

static void test_the_app_s_meter_is_asked_and_may_fail(void **state)
{
    struct bench *b = *state;

    b->host.energy = show;
    b->host.user = b;
    b->host.device_state = NULL;
    assert_created(b);
    assert_true(b->n_asked > 0);
    cygnet_client_destroy(b->client);
    b->code = 5;
    assert_created(b);
}

static void test_a_bad_power_model_is_named(void **state)
{
    struct bench *b = *state;

    b->options.power_model = "{";
    assert_refused(b, CYGNET_EINVAL, "power_model: ");
    b->options.power_model = "[]";
    assert_refused(b, CYGNET_EINVAL, "power_model: model: is not an object");
    b->options.power_model = "{\"core_w\": {\"no such cluster\": 1}}";
    assert_refused(b, CYGNET_EINVAL, "the SoC has no cluster \"no such cluster\"");
    b->options.power_model = "{\"idle_w\": -1}";
    assert_refused(b, CYGNET_EINVAL, "idle_w");
    b->options.power_model = "{\"idle_w\": 0.3, \"spread\": 0.2}";
    assert_created(b);
}

static void test_a_damaged_ledger_is_refused_and_left_alone(void **state)
{
    struct bench *b = *state;

    sandbox_write(b->folder, "loan", "this is no ledger");
    b->options.energy_mode = CYGNET_ENERGY_LOAN;
    assert_refused(b, CYGNET_EFORMAT, "state_dir");
    assert_non_null(strstr(b->err.message, "\"loan\" is damaged"));
    b->options.energy_mode = CYGNET_ENERGY_PLUGGED;
    assert_created(b);
    cygnet_client_destroy(b->client);
    b->options.energy_mode = CYGNET_ENERGY_LOAN;
    assert_refused(b, CYGNET_EFORMAT, "state_dir");
}

static int on_battery(cygnet_device_state *state, void *user)
{
    (void)user;
    state->charging = CYGNET_FALSE;
    state->unmetered = CYGNET_TRUE;
    state->battery_percent = 80;
    return 0;
}

/* Only the app tells of a battery here; that it can be booked from is known by its size,
 * and that its energy is measured by the app's meter. */
static void assert_not_eligible(struct bench *b, const char *words)
{
    cygnet_report report;

    cygnet_report_init(&report);
    assert_created(b);
    assert_int_equal(cygnet_client_check_in(b->client, &report, &b->err), CYGNET_OK);
    assert_int_equal(report.outcome, CYGNET_OUTCOME_NOT_ELIGIBLE);
    if (!strstr(report.message, words))
        fail_msg("\"%s\" does not say \"%s\"", report.message, words);
    cygnet_client_destroy(b->client);
    b->client = NULL;
}

static void test_on_the_battery_the_mode_decides(void **state)
{
    struct bench *b = *state;

    b->host.device_state = on_battery;
    b->host.energy = show;
    b->host.user = b;
    b->options.battery_mwh = 10000;
    assert_not_eligible(b, "charging is required and is false");
    b->options.energy_mode = CYGNET_ENERGY_LOAN;
    b->options.min_battery_percent = 90;
    assert_not_eligible(b, "battery of 90 % is required and it has 80 %");
}

int main(void)
{
#define BENCH_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_the_app_s_meter_is_asked_and_may_fail),
        BENCH_TEST(test_a_bad_power_model_is_named),
        BENCH_TEST(test_a_damaged_ledger_is_refused_and_left_alone),
        BENCH_TEST(test_on_the_battery_the_mode_decides),
    };

    return cmocka_run_group_tests_name("sdk energy", tests, NULL, NULL);
}
