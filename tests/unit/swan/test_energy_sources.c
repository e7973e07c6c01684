/* The energy meter: the host's own meter and the power model. */
#include "energy_fixture.h"

/* ---- The host's meter ------------------------------------------------------------ */

static void test_the_host_s_energy_comes_before_the_counters(void **state)
{
    struct bench *b = *state;
    struct energy_reading reading;
    struct energy_mark from;

    put_package(b, "intel-rapl:0", "package-0", 0);
    b->options.hook = read_figure;
    b->figure = (struct energy_figure){500, -1, 12000, 10};
    energy_meter_init(&b->meter, &b->options);
    energy_meter_mark(&from, &b->meter, 0);
    count(b, "intel-rapl:0", 1000000);
    b->figure.total_uj = 2000500;
    reading = since(b, &from, 1000);
    assert_known(reading, ENERGY_HOST, 2000);
    /* Steps of 12 mJ, and 10 ms at 2 W. */
    assert_near(reading.spread_mj, sqrt((12.0 * 12.0 + 20.0 * 20.0) / 6));
}

static void test_a_failing_host_leaves_it_to_the_counters(void **state)
{
    struct bench *b = *state;
    struct energy_mark from;

    put_package(b, "intel-rapl:0", "package-0", 0);
    b->options.hook = read_figure;
    b->figure = (struct energy_figure){0, -1, 0, 1};
    energy_meter_init(&b->meter, &b->options);
    energy_meter_mark(&from, &b->meter, 0);
    b->code = 7;
    energy_meter_sample(&b->meter, 500);
    b->code = 0;
    count(b, "intel-rapl:0", 1000000);
    b->figure.total_uj = 2000000;
    assert_known(since(b, &from, 1000), ENERGY_RAPL, 1000);
}

static void test_a_failing_host_alone_is_unknown_with_its_code(void **state)
{
    struct bench *b = *state;
    struct energy_mark from;

    b->options.hook = read_figure;
    b->figure.total_uj = 0;
    energy_meter_init(&b->meter, &b->options);
    energy_meter_mark(&from, &b->meter, 0);
    b->code = -7;
    b->figure.total_uj = 1000000;
    assert_unknown(since(b, &from, 1000), "the host's meter failed: -7");
}

static void test_a_host_that_shows_nothing_is_unknown(void **state)
{
    struct bench *b = *state;
    struct energy_mark from;

    b->options.hook = read_figure;
    energy_meter_init(&b->meter, &b->options);
    energy_meter_mark(&from, &b->meter, 0);
    assert_unknown(since(b, &from, 1000),
                   "the host's meter shows neither energy nor power");
}

/* A gauge behind a slow bus is no faster while it fails. */
static void test_a_source_that_fails_is_not_asked_more_often(void **state)
{
    struct bench *b = *state;

    b->options.hook = read_figure;
    b->code = 7;
    energy_meter_init(&b->meter, &b->options);
    for (int64_t ms = 0; ms <= 5000; ms += 20)
        energy_meter_sample(&b->meter, ms);
    assert_in_range(b->n_asked, 15, 25);
}

static void test_a_period_beyond_all_reason_is_no_period(void **state)
{
    static const int64_t periods[] = {INT64_MAX, INT64_MAX / 4, INT64_MIN};
    struct bench *b = *state;
    struct energy_mark from;

    b->options.hook = read_figure;
    b->figure = (struct energy_figure){.total_uj = -1, .power_uw = 1000000};
    for (size_t i = 0; i < sizeof(periods) / sizeof(periods[0]); i++) {
        b->figure.period_ms = periods[i];
        energy_meter_init(&b->meter, &b->options);
        energy_meter_mark(&from, &b->meter, 0);
        assert_unknown(since(b, &from, 4000),
                       "the figure changed 0 times in 4000 ms: too slow");
        assert_unknown(since(b, &from, 10000),
                       "nobody has looked at the power for 6000 ms");
    }
}

static void test_a_host_s_counter_that_goes_back_makes_a_hole(void **state)
{
    struct bench *b = *state;
    struct energy_mark from;

    b->options.hook = read_figure;
    b->figure = (struct energy_figure){9000000, -1, 0, 1};
    energy_meter_init(&b->meter, &b->options);
    energy_meter_mark(&from, &b->meter, 0);
    b->figure.total_uj = 1000;
    assert_unknown(since(b, &from, 1000), "the host's counter went back or began anew");
    energy_meter_mark(&from, &b->meter, 1000);
    b->figure.total_uj = 51000;
    assert_known(since(b, &from, 2000), ENERGY_HOST, 50);
}

static void test_a_host_s_power_is_summed_up(void **state)
{
    struct bench *b = *state;
    struct energy_reading reading;
    struct energy_mark from;

    b->options.hook = read_figure;
    b->figure = (struct energy_figure){-1, 2000000, 0, 100};
    energy_meter_init(&b->meter, &b->options);
    energy_meter_mark(&from, &b->meter, 0);
    energy_meter_sample(&b->meter, 500);
    b->figure.power_uw = 4000000;
    energy_meter_sample(&b->meter, 1000);
    reading = since(b, &from, 2000);
    /* A second at 2 W, until the new figure showed, and one at 4 W. */
    assert_known(reading, ENERGY_HOST, 6000);
    assert_near(reading.spread_mj, 3 * 100 / sqrt(6));
}

/* 1 W and 3 W in turns of a second; 20 changes. */
static void test_a_power_that_swings_is_less_sure(void **state)
{
    struct bench *b = *state;
    struct energy_reading reading;
    struct energy_mark from;

    b->options.hook = read_figure;
    b->figure = (struct energy_figure){-1, 3000000, 0, 1000};
    energy_meter_init(&b->meter, &b->options);
    energy_meter_mark(&from, &b->meter, 0);
    for (int64_t i = 1; i < 20; i++) {
        b->figure.power_uw = i % 2 ? 1000000 : 3000000;
        energy_meter_sample(&b->meter, 1000 * i);
    }
    b->figure.power_uw = 3000000;
    reading = since(b, &from, 20000);
    assert_known(reading, ENERGY_HOST, 40000);
    assert_near(reading.spread_mj, sqrt(20.0 * 20.0 * 1e6 / 20 + 2000.0 * 2000.0 / 6));
}

static void test_a_power_with_a_told_period_may_stay_the_same(void **state)
{
    struct bench *b = *state;
    struct energy_mark from;

    b->options.hook = read_figure;
    b->figure = (struct energy_figure){-1, 3000000, 0, 100};
    energy_meter_init(&b->meter, &b->options);
    energy_meter_mark(&from, &b->meter, 0);
    b->figure.power_uw = 2000000;
    for (int64_t t = 1000; t <= 30000; t += 1000)
        energy_meter_sample(&b->meter, t);
    b->figure.power_uw = 1000000;
    assert_known(since(b, &from, 31000), ENERGY_HOST, 3000 + 30 * 2000);
}

/* Asleep for a minute, and the power is what it was before: by chance. */
static void test_a_power_that_nobody_looked_at_is_unknown(void **state)
{
    struct bench *b = *state;
    struct energy_mark from;

    b->options.hook = read_figure;
    b->figure = (struct energy_figure){-1, 3000000, 0, 100};
    energy_meter_init(&b->meter, &b->options);
    energy_meter_mark(&from, &b->meter, 0);
    energy_meter_sample(&b->meter, 5000);
    assert_known(since(b, &from, 10000), ENERGY_HOST, 30000);
    energy_meter_sample(&b->meter, 70000);
    assert_unknown(since(b, &from, 71000), "nobody has looked at the power for 60000 ms");
    energy_meter_mark(&from, &b->meter, 71000);
    assert_known(since(b, &from, 72000), ENERGY_HOST, 3000);
}

static void test_a_host_that_changes_what_it_shows_makes_a_hole(void **state)
{
    struct bench *b = *state;
    struct energy_mark from;

    b->options.hook = read_figure;
    b->figure = (struct energy_figure){-1, 3000000, 0, 100};
    energy_meter_init(&b->meter, &b->options);
    energy_meter_mark(&from, &b->meter, 0);
    b->figure.total_uj = 5000;
    assert_unknown(since(b, &from, 1000), "the host's counter went back or began anew");
    energy_meter_mark(&from, &b->meter, 1000);
    b->figure.total_uj = -1;
    assert_unknown(since(b, &from, 2000),
                   "the host's meter shows power instead of energy");
}

/* ---- The model ------------------------------------------------------------------- */

static void test_the_model_is_watts_of_busy_cores_times_time(void **state)
{
    struct bench *b = *state;
    struct energy_reading reading;
    struct energy_mark from;

    b->model.core_w[0] = 1.5;
    b->model.core_w[1] = 0.25;
    b->model.idle_w = 0.5;
    b->model.spread = 0.2;
    use_model(b);
    energy_meter_load(&b->meter, (uint8_t[SOC_MAX_CLUSTERS]){2, 0}, 0);
    energy_meter_mark(&from, &b->meter, 1000);
    energy_meter_load(&b->meter, (uint8_t[SOC_MAX_CLUSTERS]){1, 4}, 2000);
    reading = marginal_since(b, &from, 4000);
    assert_known(reading, ENERGY_MODEL, 3000 + 2 * 2500);
    assert_near(reading.spread_mj, 0.2 * 8000);
    reading = since(b, &from, 4000);
    assert_known(reading, ENERGY_MODEL, 8000 + 3 * 500);
    assert_near(reading.spread_mj, 0.2 * 9500);
}

static void test_a_model_that_nobody_told_the_load_is_unknown(void **state)
{
    struct bench *b = *state;
    struct energy_mark from;

    b->model.core_w[0] = 1.5;
    use_model(b);
    energy_meter_mark(&from, &b->meter, 0);
    energy_meter_load(&b->meter, (uint8_t[SOC_MAX_CLUSTERS]){1}, 500);
    assert_unknown(marginal_since(b, &from, 1000),
                   "it is not known which cores have trained");
}

static void test_a_cluster_without_watts_is_unknown_while_it_trains(void **state)
{
    struct bench *b = *state;
    struct energy_mark from;

    b->model.core_w[0] = 1.5;
    use_model(b);
    energy_meter_load(&b->meter, (uint8_t[SOC_MAX_CLUSTERS]){1}, 0);
    energy_meter_mark(&from, &b->meter, 0);
    energy_meter_load(&b->meter, (uint8_t[SOC_MAX_CLUSTERS]){1, 1}, 1000);
    energy_meter_load(&b->meter, (uint8_t[SOC_MAX_CLUSTERS]){1}, 2000);
    assert_unknown(marginal_since(b, &from, 3000),
                   "the model has no watts for cluster LITTLE");
    energy_meter_mark(&from, &b->meter, 3000);
    assert_known(marginal_since(b, &from, 4000), ENERGY_MODEL, 1500);
    energy_meter_load(&b->meter, (uint8_t[SOC_MAX_CLUSTERS]){0, 0, 1}, 4000);
    assert_unknown(marginal_since(b, &from, 5000),
                   "the model has no watts for cluster ?");
}

static void test_a_model_without_idle_or_spread_says_what_it_can(void **state)
{
    struct bench *b = *state;
    struct energy_reading reading, step;
    struct energy_mark from;

    b->model.core_w[0] = 2;
    use_model(b);
    energy_meter_load(&b->meter, (uint8_t[SOC_MAX_CLUSTERS]){1}, 0);
    energy_meter_mark(&from, &b->meter, 0);
    reading = marginal_since(b, &from, 1000);
    assert_known(reading, ENERGY_MODEL, 2000);
    assert_true(isnan(reading.spread_mj));
    energy_per_step(&step, &reading, 10);
    assert_known(step, ENERGY_MODEL, 200);
    assert_unknown(since(b, &from, 1000), "the model does not tell the idle power");
}

static void test_steps_of_no_core_are_unknown(void **state)
{
    struct bench *b = *state;
    struct energy_reading reading, step;
    struct energy_mark from;

    use_model(b);
    energy_meter_load(&b->meter, (uint8_t[SOC_MAX_CLUSTERS]){0}, 0);
    energy_meter_mark(&from, &b->meter, 0);
    reading = marginal_since(b, &from, 1000);
    assert_known(reading, ENERGY_MODEL, 0);
    energy_per_step(&step, &reading, 10);
    assert_int_equal(step.source, ENERGY_UNKNOWN);
}

static void test_the_model_goes_on_after_the_clock_went_back(void **state)
{
    struct bench *b = *state;
    struct energy_mark from;

    b->model.core_w[0] = 2;
    use_model(b);
    energy_meter_load(&b->meter, (uint8_t[SOC_MAX_CLUSTERS]){1}, 5000);
    energy_meter_mark(&from, &b->meter, 5000);
    energy_meter_sample(&b->meter, 3000);
    assert_unknown(marginal_since(b, &from, 7000), "the clock went back");
    energy_meter_mark(&from, &b->meter, 7000);
    assert_known(marginal_since(b, &from, 8000), ENERGY_MODEL, 2000);
}

static cygnet_status read_model(struct bench *b, const char *text, cygnet_error *err)
{
    struct json *document;
    cygnet_status st =
        json_parse(&document, text, strlen(text), &JSON_DEFAULT_LIMITS, err);

    assert_int_equal(st, CYGNET_OK);
    st = energy_model_read(&b->model, document, &b->soc, "power", err);
    json_destroy(document);
    return st;
}

static void test_the_model_s_cores_do_not_train_while_the_device_sleeps(void **state)
{
    struct bench *b = *state;
    struct energy_mark from;

    b->model.core_w[0] = 2;
    use_model(b);
    energy_meter_load(&b->meter, (uint8_t[SOC_MAX_CLUSTERS]){1}, 0);
    energy_meter_mark(&from, &b->meter, 0);
    energy_meter_slept(&b->meter, 3600000);
    assert_unknown(marginal_since(b, &from, 3601000), "the device has slept on the way");
    energy_meter_mark(&from, &b->meter, 3601000);
    assert_known(marginal_since(b, &from, 3602000), ENERGY_MODEL, 2000);
}

static void test_a_model_is_read_from_a_profile(void **state)
{
    struct bench *b = *state;
    cygnet_error err;

    assert_int_equal(read_model(b,
                                "{\"core_w\":{\"LITTLE\":0.3,\"big\":1.25},"
                                "\"idle_w\":0.5,\"spread\":0.25}",
                                &err),
                     CYGNET_OK);
    assert_near(b->model.core_w[0], 1.25);
    assert_near(b->model.core_w[1], 0.3);
    assert_near(b->model.idle_w, 0.5);
    assert_near(b->model.spread, 0.25);
    assert_int_equal(read_model(b, "{\"core_w\":{\"big\":2}}", &err), CYGNET_OK);
    assert_true(isnan(b->model.core_w[1]) && isnan(b->model.idle_w));
}

static void test_a_wrong_model_is_refused_and_says_where(void **state)
{
    static const char *const wrong[] = {
        "[]",
        "{\"core_w\":3}",
        "{\"core_w\":{\"prime\":3}}",
        "{\"core_w\":{\"big\":-1}}",
        "{\"core_w\":{\"big\":\"1\"}}",
        "{\"idle_w\":1e9}",
        "{\"spread\":2}",
    };
    struct bench *b = *state;
    cygnet_error err;

    b->model.idle_w = 42;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(read_model(b, wrong[i], &err), CYGNET_EFORMAT);
        assert_non_null(strstr(err.message, "power"));
        assert_near(b->model.idle_w, 42); /* as it was */
    }
    assert_int_equal(read_model(b, wrong[2], &err), CYGNET_EFORMAT);
    assert_string_equal(err.message, "power: core_w: the SoC has no cluster \"prime\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ENERGY_TEST(test_the_host_s_energy_comes_before_the_counters),
        ENERGY_TEST(test_a_failing_host_leaves_it_to_the_counters),
        ENERGY_TEST(test_a_failing_host_alone_is_unknown_with_its_code),
        ENERGY_TEST(test_a_host_that_shows_nothing_is_unknown),
        ENERGY_TEST(test_a_source_that_fails_is_not_asked_more_often),
        ENERGY_TEST(test_a_period_beyond_all_reason_is_no_period),
        ENERGY_TEST(test_a_host_s_counter_that_goes_back_makes_a_hole),
        ENERGY_TEST(test_a_host_s_power_is_summed_up),
        ENERGY_TEST(test_a_power_that_swings_is_less_sure),
        ENERGY_TEST(test_a_power_with_a_told_period_may_stay_the_same),
        ENERGY_TEST(test_a_power_that_nobody_looked_at_is_unknown),
        ENERGY_TEST(test_a_host_that_changes_what_it_shows_makes_a_hole),
        ENERGY_TEST(test_the_model_is_watts_of_busy_cores_times_time),
        ENERGY_TEST(test_a_model_that_nobody_told_the_load_is_unknown),
        ENERGY_TEST(test_a_cluster_without_watts_is_unknown_while_it_trains),
        ENERGY_TEST(test_a_model_without_idle_or_spread_says_what_it_can),
        ENERGY_TEST(test_steps_of_no_core_are_unknown),
        ENERGY_TEST(test_the_model_goes_on_after_the_clock_went_back),
        ENERGY_TEST(test_the_model_s_cores_do_not_train_while_the_device_sleeps),
        ENERGY_TEST(test_a_model_is_read_from_a_profile),
        ENERGY_TEST(test_a_wrong_model_is_refused_and_says_where),
    };

    return cmocka_run_group_tests_name("energy sources", tests, NULL, NULL);
}
