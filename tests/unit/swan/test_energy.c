/* The energy meter: package counters, and what is made of any source: baseline,
 * marginal energy, steps. test_energy_sources.c has the host's meter and the model,
 * test_gauge.c the battery. */
#include "energy_fixture.h"

#define UNIT_MJ ((double)RANGE_UJ / 4294967295.0 * 1e-3)

/* ---- No source ----------------------------------------------------------------- */

static void test_a_device_without_sources_says_so(void **state)
{
    struct bench *b = *state;
    struct energy_mark from;
    char text[ENERGY_TEXT_BYTES];

    energy_meter_init(&b->meter, &b->options);
    energy_meter_mark(&from, &b->meter, 0);
    assert_unknown(since(b, &from, 1000), "this device has no source of energy");
    energy_meter_text(text, &b->meter);
    assert_string_equal(text, "none: this device has no source of energy");
}

static void test_each_source_is_known_by_its_name(void **state)
{
    enum energy_source found = ENERGY_RAPL;

    (void)state;
    for (enum energy_source s = ENERGY_UNKNOWN; s <= ENERGY_MODEL; s++) {
        assert_true(energy_source_parse(&found, energy_source_name(s)));
        assert_int_equal(found, s);
    }
    assert_false(energy_source_parse(&found, "guess"));
    assert_false(energy_source_parse(&found, ""));
    assert_int_equal(found, ENERGY_MODEL);
}

static void test_a_gauge_alone_is_not_used_when_plugged(void **state)
{
    struct bench *b = *state;
    struct energy_mark from;

    tree_put(&b->tree, "sys/class/power_supply/battery/type", "Battery");
    tree_put(&b->tree, "sys/class/power_supply/battery/status", "Discharging");
    tree_put(&b->tree, "sys/class/power_supply/battery/power_now", "3000000");
    energy_meter_init(&b->meter, &b->options);
    energy_meter_mark(&from, &b->meter, 0);
    assert_unknown(since(b, &from, 60000), "a battery's gauge is used in loan mode only");
}

/* ---- Package counters ----------------------------------------------------------- */

static void test_a_counter_tells_the_energy_and_its_uncertainty(void **state)
{
    struct bench *b = *state;
    struct energy_reading reading;
    struct energy_mark from;
    double per_ms = 5000.0 / 2000;

    put_package(b, "intel-rapl:0", "package-0", 1000000);
    energy_meter_init(&b->meter, &b->options);
    energy_meter_mark(&from, &b->meter, 500);
    count(b, "intel-rapl:0", 6000000);
    reading = since(b, &from, 2500);
    assert_known(reading, ENERGY_RAPL, 5000);
    assert_int_equal(reading.ms, 2000);
    /* A unit and a millisecond at each end, evenly distributed. */
    assert_near(reading.spread_mj, sqrt(2 * (UNIT_MJ * UNIT_MJ + per_ms * per_ms) / 12));
}

static void test_a_counter_that_turns_over_goes_on(void **state)
{
    struct bench *b = *state;
    struct energy_mark from;

    put_package(b, "intel-rapl:0", "package-0", RANGE_UJ - 1000000);
    energy_meter_init(&b->meter, &b->options);
    energy_meter_mark(&from, &b->meter, 0);
    count(b, "intel-rapl:0", 2000000);
    assert_known(since(b, &from, 1000), ENERGY_RAPL, 3000);
}

static void test_packages_are_summed_and_turn_over_on_their_own(void **state)
{
    struct bench *b = *state;
    struct energy_mark from;
    char text[ENERGY_TEXT_BYTES];

    put_package(b, "intel-rapl:0", "package-0", 10);
    put_package(b, "intel-rapl:1", "package-1", RANGE_UJ);
    energy_meter_init(&b->meter, &b->options);
    energy_meter_text(text, &b->meter);
    assert_string_equal(text, "rapl (2 packages)");
    energy_meter_mark(&from, &b->meter, 0);
    count(b, "intel-rapl:0", 4000010);
    count(b, "intel-rapl:1", 7000000);
    assert_known(since(b, &from, 1000), ENERGY_RAPL, 11000);
}

static void test_parts_the_platform_and_doubles_are_not_counted(void **state)
{
    struct bench *b = *state;
    struct energy_mark from;

    put_package(b, "intel-rapl:0", "package-0", 0);
    put_package(b, "intel-rapl:0:0", "core", 0);
    put_package(b, "intel-rapl:0:1", "package-0-part", 0);
    put_package(b, "intel-rapl:1", "psys", 0);
    put_package(b, "intel-rapl-mmio:0", "package-0", 0);
    energy_meter_init(&b->meter, &b->options);
    energy_meter_mark(&from, &b->meter, 0);
    count(b, "intel-rapl:0", 1000000);
    count(b, "intel-rapl:0:0", 700000);
    count(b, "intel-rapl:0:1", 700000);
    count(b, "intel-rapl:1", 3000000);
    count(b, "intel-rapl-mmio:0", 1000000);
    assert_known(since(b, &from, 1000), ENERGY_RAPL, 1000);
}

static void test_counters_that_only_root_reads_are_absent(void **state)
{
    struct bench *b = *state;
    struct energy_mark from;

    put_package(b, "intel-rapl:0", "package-0", 0);
    put_package(b, "intel-rapl:1", "package-1", 0);
    tree_lock(&b->tree, RAPL "intel-rapl:1/energy_uj");
    energy_meter_init(&b->meter, &b->options);
    energy_meter_mark(&from, &b->meter, 0);
    count(b, "intel-rapl:0", 1000000);
    assert_unknown(since(b, &from, 1000), "this device has no source of energy");
}

static void test_a_counter_that_was_reset_is_not_a_turn(void **state)
{
    struct bench *b = *state;
    struct energy_mark from;

    put_package(b, "intel-rapl:0", "package-0", 150000000000);
    energy_meter_init(&b->meter, &b->options);
    energy_meter_mark(&from, &b->meter, 0);
    count(b, "intel-rapl:0", 5000000);
    assert_unknown(since(b, &from, 1000),
                   "a counter was reset, or not read for too long");
    energy_meter_mark(&from, &b->meter, 1000);
    count(b, "intel-rapl:0", 6000000);
    assert_known(since(b, &from, 2000), ENERGY_RAPL, 1000);
}

static void test_one_reset_of_two_counters_spoils_the_sum(void **state)
{
    static const char *const reset[] = {"intel-rapl:0", "intel-rapl:1"};
    static const char *const going[] = {"intel-rapl:1", "intel-rapl:0"};
    struct bench *b = *state;

    for (size_t i = 0; i < 2; i++) {
        struct energy_mark from;

        put_package(b, reset[i], "package-0", 150000000000);
        put_package(b, going[i], "package-1", 0);
        energy_meter_init(&b->meter, &b->options);
        energy_meter_mark(&from, &b->meter, 0);
        count(b, reset[i], 0);
        count(b, going[i], 5000000);
        assert_int_equal(since(b, &from, 1000).source, ENERGY_UNKNOWN);
    }
}

/* In 300 s a counter of 262 kJ could have turned over more than once. */
static void test_a_counter_that_nobody_reads_for_long_is_unknown(void **state)
{
    struct bench *b = *state;
    struct energy_mark from;

    put_package(b, "intel-rapl:0", "package-0", 0);
    energy_meter_init(&b->meter, &b->options);
    energy_meter_mark(&from, &b->meter, 0);
    count(b, "intel-rapl:0", 9000000);
    assert_unknown(since(b, &from, 300000),
                   "a counter was reset, or not read for too long");
    count(b, "intel-rapl:0", 0);
    energy_meter_init(&b->meter, &b->options);
    energy_meter_mark(&from, &b->meter, 0);
    for (int i = 1; i <= 300; i++) {
        count(b, "intel-rapl:0", i * 30000);
        energy_meter_sample(&b->meter, i * 1000);
    }
    assert_known(since(b, &from, 300000), ENERGY_RAPL, 9000);
}

static void test_a_counter_that_vanishes_makes_a_hole(void **state)
{
    struct bench *b = *state;
    struct energy_mark from;

    put_package(b, "intel-rapl:0", "package-0", 0);
    energy_meter_init(&b->meter, &b->options);
    energy_meter_mark(&from, &b->meter, 0);
    tree_remove(&b->tree, RAPL "intel-rapl:0/energy_uj");
    energy_meter_sample(&b->meter, 2000);
    count(b, "intel-rapl:0", 3000000);
    assert_unknown(since(b, &from, 4000), "a package's counter cannot be read");
    energy_meter_mark(&from, &b->meter, 4000);
    count(b, "intel-rapl:0", 5000000);
    assert_known(since(b, &from, 5000), ENERGY_RAPL, 2000);
}

static void test_a_counter_that_is_gone_from_the_start_says_so(void **state)
{
    struct bench *b = *state;
    struct energy_mark from;

    put_package(b, "intel-rapl:0", "package-0", 0);
    energy_meter_init(&b->meter, &b->options);
    tree_remove(&b->tree, RAPL "intel-rapl:0/energy_uj");
    energy_meter_mark(&from, &b->meter, 0);
    assert_unknown(since(b, &from, 1000), "a package's counter cannot be read");
}

static void test_a_counter_of_a_virtual_machine_stands_still(void **state)
{
    struct bench *b = *state;
    struct energy_mark from;

    put_package(b, "intel-rapl:0", "package-0", 0);
    energy_meter_init(&b->meter, &b->options);
    energy_meter_mark(&from, &b->meter, 0);
    assert_unknown(since(b, &from, 60000), "the counter stands still");
}

static void test_two_milliseconds_are_too_short_for_a_counter(void **state)
{
    struct bench *b = *state;
    struct energy_mark from;

    put_package(b, "intel-rapl:0", "package-0", 0);
    energy_meter_init(&b->meter, &b->options);
    energy_meter_mark(&from, &b->meter, 0);
    count(b, "intel-rapl:0", 20000);
    assert_unknown(since(b, &from, 2), "2 ms are too short for a figure of every 1 ms");
    assert_unknown(since(b, &from, 0), "the interval is empty");
}

static void test_a_clock_that_goes_back_is_noticed(void **state)
{
    struct bench *b = *state;
    struct energy_mark from;

    put_package(b, "intel-rapl:0", "package-0", 0);
    energy_meter_init(&b->meter, &b->options);
    energy_meter_mark(&from, &b->meter, 5000);
    energy_meter_sample(&b->meter, 3000);
    count(b, "intel-rapl:0", 2000000);
    assert_unknown(since(b, &from, 7000), "the clock went back");
}

/* A night at 5 mW is neither idling nor training of the seconds around it. */
static void test_a_device_that_slept_makes_a_hole(void **state)
{
    struct bench *b = *state;
    struct energy_mark from;

    put_package(b, "intel-rapl:0", "package-0", 0);
    energy_meter_init(&b->meter, &b->options);
    energy_meter_mark(&from, &b->meter, 0);
    assert_true(energy_mark_holds(&from, &b->meter));
    count(b, "intel-rapl:0", 150000000);
    energy_meter_slept(&b->meter, 30001000);
    assert_false(energy_mark_holds(&from, &b->meter));
    assert_unknown(since(b, &from, 30001000), "the device has slept on the way");
    assert_false(energy_mark_holds(&from, &b->meter));
    energy_meter_mark(&from, &b->meter, 30001000);
    count(b, "intel-rapl:0", 151000000);
    assert_known(since(b, &from, 30002000), ENERGY_RAPL, 1000);
    assert_true(energy_mark_holds(&from, &b->meter));
}

static void test_a_mark_holds_while_one_source_is_there(void **state)
{
    struct bench *b = *state;
    struct energy_mark from;

    put_package(b, "intel-rapl:0", "package-0", 0);
    b->options.hook = read_figure;
    b->figure.total_uj = 0;
    energy_meter_init(&b->meter, &b->options);
    energy_meter_mark(&from, &b->meter, 0);
    b->code = 1;
    energy_meter_sample(&b->meter, 1000);
    b->code = 0;
    energy_meter_sample(&b->meter, 2000);
    assert_true(energy_mark_holds(&from, &b->meter));
    tree_remove(&b->tree, RAPL "intel-rapl:0/energy_uj");
    energy_meter_sample(&b->meter, 3000);
    assert_false(energy_mark_holds(&from, &b->meter));
}

static void test_garbage_in_any_file_is_never_believed(void **state)
{
    static const char *const files[] = {RAPL "intel-rapl:0/energy_uj",
                                        RAPL "intel-rapl:0/max_energy_range_uj"};
    static const char *const garbage[] = {"",      "abc", "-1",
                                          "12 13", "1e6", "99999999999999999999999999",
                                          "0x10",  " "};
    struct bench *b = *state;

    for (size_t i = 0; i < 2 * sizeof(garbage) / sizeof(garbage[0]); i++) {
        struct energy_mark from;

        put_package(b, "intel-rapl:0", "package-0", 0);
        tree_put(&b->tree, files[i % 2], garbage[i / 2]);
        energy_meter_init(&b->meter, &b->options);
        energy_meter_mark(&from, &b->meter, 0);
        tree_put(&b->tree, files[i % 2], garbage[i / 2]);
        assert_int_equal(since(b, &from, 1000).source, ENERGY_UNKNOWN);
    }
}

/* ---- Marginal energy --------------------------------------------------------------- */

/* Idle for 10 s at idle_mw, then 10 s at mw: marginal energy of the latter. */
static struct energy_reading train(struct bench *b, double idle_mw, double mw,
                                   int64_t resolution_uj)
{
    struct energy_mark marks[2];

    b->options.hook = read_figure;
    b->figure = (struct energy_figure){0, -1, resolution_uj, 1};
    energy_meter_init(&b->meter, &b->options);
    energy_meter_mark(&marks[0], &b->meter, 0);
    b->figure.total_uj = (int64_t)(idle_mw * 1e4);
    energy_meter_mark(&marks[1], &b->meter, 10000);
    assert_true(energy_meter_idle(&b->meter, &marks[0], &marks[1]));
    b->figure.total_uj += (int64_t)(mw * 1e4);
    return marginal_since(b, &marks[1], 20000);
}

static void test_marginal_energy_is_beyond_the_baseline(void **state)
{
    struct energy_reading reading = train(*state, 800, 3000, 60000);
    double idle = sqrt((60.0 * 60 + 0.8 * 0.8) / 6);
    double busy = sqrt((60.0 * 60 + 3.0 * 3.0) / 6);

    assert_known(reading, ENERGY_HOST, 22000);
    assert_near(reading.spread_mj, sqrt(idle * idle + busy * busy));
}

static void test_without_a_baseline_marginal_energy_is_unknown(void **state)
{
    struct bench *b = *state;
    struct energy_mark from;

    put_package(b, "intel-rapl:0", "package-0", 0);
    energy_meter_init(&b->meter, &b->options);
    energy_meter_mark(&from, &b->meter, 0);
    count(b, "intel-rapl:0", 1000000);
    assert_unknown(marginal_since(b, &from, 1000), "no idle power has been measured");
    assert_false(energy_meter_idle(&b->meter, &from, &from));
}

static void test_a_little_less_than_idle_stays_below_zero(void **state)
{
    struct energy_reading reading = train(*state, 1000, 990, 600000);
    struct energy_reading step;

    assert_known(reading, ENERGY_HOST, -100);
    assert_true(reading.spread_mj > 50);
    energy_per_step(&step, &reading, 10);
    assert_int_equal(step.source, ENERGY_UNKNOWN);
}

static void test_much_less_than_idle_is_unknown_with_a_reason(void **state)
{
    assert_unknown(train(*state, 1000, 500, 60000),
                   "5e+03 mJ less than when idle: the baseline is not true");
}

static void test_a_baseline_stays_until_another_is_measured(void **state)
{
    struct bench *b = *state;
    struct energy_mark marks[2];

    (void)train(b, 1000, 3000, 1000);
    energy_meter_mark(&marks[0], &b->meter, 20000);
    b->code = 1;
    energy_meter_mark(&marks[1], &b->meter, 21000);
    b->code = 0;
    assert_true(energy_meter_idle(&b->meter, &marks[0], &marks[1]));
    energy_meter_mark(&marks[0], &b->meter, 22000);
    b->figure.total_uj += 3000000;
    assert_known(marginal_since(b, &marks[0], 23000), ENERGY_HOST, 2000);
}

static void test_the_energy_of_a_step_is_a_share_of_many(void **state)
{
    struct energy_reading reading = train(*state, 1000, 3000, 60000);
    struct energy_reading step;

    energy_per_step(&step, &reading, 400);
    assert_known(step, ENERGY_HOST, 50);
    assert_near(step.spread_mj, reading.spread_mj / 400);
    energy_per_step(&step, &reading, 0);
    assert_unknown(step, "no step has ended");
}

/* Steps of 60 J tell nothing of 20 J. */
static void test_a_step_of_a_coarse_counter_is_unknown(void **state)
{
    struct energy_reading reading = train(*state, 1000, 3000, 60000000);
    struct energy_reading step;

    assert_int_equal(reading.source, ENERGY_HOST);
    energy_per_step(&step, &reading, 400);
    assert_unknown(step, "2e+04 +- 3.46e+04 mJ: more steps are needed");
    energy_per_step(&reading, &step, 400);
    assert_unknown(reading, step.why);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ENERGY_TEST(test_a_device_without_sources_says_so),
        ENERGY_TEST(test_each_source_is_known_by_its_name),
        ENERGY_TEST(test_a_gauge_alone_is_not_used_when_plugged),
        ENERGY_TEST(test_a_counter_tells_the_energy_and_its_uncertainty),
        ENERGY_TEST(test_a_counter_that_turns_over_goes_on),
        ENERGY_TEST(test_packages_are_summed_and_turn_over_on_their_own),
        ENERGY_TEST(test_parts_the_platform_and_doubles_are_not_counted),
        ENERGY_TEST(test_counters_that_only_root_reads_are_absent),
        ENERGY_TEST(test_a_counter_that_was_reset_is_not_a_turn),
        ENERGY_TEST(test_one_reset_of_two_counters_spoils_the_sum),
        ENERGY_TEST(test_a_counter_that_nobody_reads_for_long_is_unknown),
        ENERGY_TEST(test_a_counter_that_vanishes_makes_a_hole),
        ENERGY_TEST(test_a_counter_that_is_gone_from_the_start_says_so),
        ENERGY_TEST(test_a_counter_of_a_virtual_machine_stands_still),
        ENERGY_TEST(test_two_milliseconds_are_too_short_for_a_counter),
        ENERGY_TEST(test_a_clock_that_goes_back_is_noticed),
        ENERGY_TEST(test_a_device_that_slept_makes_a_hole),
        ENERGY_TEST(test_a_mark_holds_while_one_source_is_there),
        ENERGY_TEST(test_garbage_in_any_file_is_never_believed),
        ENERGY_TEST(test_marginal_energy_is_beyond_the_baseline),
        ENERGY_TEST(test_without_a_baseline_marginal_energy_is_unknown),
        ENERGY_TEST(test_a_little_less_than_idle_stays_below_zero),
        ENERGY_TEST(test_much_less_than_idle_is_unknown_with_a_reason),
        ENERGY_TEST(test_a_baseline_stays_until_another_is_measured),
        ENERGY_TEST(test_the_energy_of_a_step_is_a_share_of_many),
        ENERGY_TEST(test_a_step_of_a_coarse_counter_is_unknown),
    };

    return cmocka_run_group_tests_name("energy", tests, NULL, NULL);
}
