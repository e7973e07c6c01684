/* The battery: what sysfs tells of it, and its fuel gauge as a source of energy. */
#include "energy_fixture.h"
#include "engine/swan/battery.h"

#include <stdio.h>

static struct battery battery;

static int setup(void **state)
{
    int failed = energy_setup(state);
    struct bench *b = *state;

    b->options.mode = CYGNET_ENERGY_LOAN;
    return failed;
}

static void put(struct bench *b, const char *supply, const char *key, const char *value)
{
    char path[128];

    (void)snprintf(path, sizeof(path), "sys/class/power_supply/%s/%s", supply, key);
    tree_put(&b->tree, path, value);
}

static void set(struct bench *b, const char *key, int64_t value)
{
    char text[32];

    (void)snprintf(text, sizeof(text), "%lld", (long long)value);
    put(b, "battery", key, text);
}

/* A phone that runs on its battery: 4 V. */
static void put_phone(struct bench *b)
{
    put(b, "battery", "type", "Battery");
    put(b, "battery", "present", "1");
    put(b, "battery", "status", "Discharging");
    put(b, "usb", "type", "USB");
    put(b, "usb", "online", "0");
    set(b, "voltage_now", 4000000);
}

static void put_laptop_battery(struct bench *b, const char *name, const char *status)
{
    put(b, name, "type", "Battery");
    put(b, name, "status", status);
    put(b, name, "power_now", "6000000");
    put(b, name, "energy_now", "20000000");
    put(b, name, "energy_full", "40000000");
    put(b, name, "voltage_now", "11500000");
}

static const struct battery *look(struct bench *b)
{
    battery_read(&battery, b->tree.root, b->options.gauge_unit_ua);
    return &battery;
}

static void begin(struct bench *b, struct energy_mark *from)
{
    energy_meter_init(&b->meter, &b->options);
    energy_meter_mark(from, &b->meter, 0);
}

/* The gauge's current swings about mean_ua, with a new figure every period_ms, from
 * from_ms up to to_ms; sampled every 250 ms. */
static void draw(struct bench *b, int64_t mean_ua, int64_t period_ms, int64_t from_ms,
                 int64_t to_ms)
{
    for (int64_t t = from_ms; t < to_ms; t += 250) {
        if (t % period_ms == 0)
            set(b, "current_now", mean_ua + (t / period_ms % 2 ? 1000 : -1000));
        energy_meter_sample(&b->meter, t);
    }
}

/* ---- What sysfs tells -------------------------------------------------------------- */

static void test_the_sign_of_the_current_is_the_driver_s_own(void **state)
{
    static const int64_t currents[] = {500000, -500000};
    struct bench *b = *state;

    put_phone(b);
    for (size_t i = 0; i < 2; i++) {
        set(b, "current_now", currents[i]);
        assert_true(look(b)->discharging);
        assert_near(battery.power_mw, 2000);
    }
    set(b, "power_now", -3000000);
    assert_near(look(b)->power_mw, 3000);
}

static void test_while_charging_the_gauge_tells_nothing_of_the_device(void **state)
{
    static const char *const statuses[] = {"Charging", "Full", "Not charging", "Unknown",
                                           ""};
    struct bench *b = *state;

    put_phone(b);
    set(b, "current_now", -500000);
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        put(b, "battery", "status", statuses[i]);
        assert_false(look(b)->discharging);
        assert_true(isnan(battery.power_mw));
    }
}

static void test_a_weak_charger_beside_a_sinking_battery_is_plugged(void **state)
{
    struct bench *b = *state;

    put_phone(b);
    set(b, "current_now", -500000);
    put(b, "usb", "online", "1");
    assert_true(look(b)->plugged);
    assert_false(battery.discharging);
    assert_true(isnan(battery.power_mw));
}

static void test_a_current_in_milliamperes_is_not_believed_unless_told(void **state)
{
    struct bench *b = *state;

    put_phone(b);
    set(b, "current_now", -350);
    assert_true(isnan(look(b)->power_mw));
    assert_string_equal(battery.why,
                        "the gauge shows 1.4 mW, which no device draws (wrong unit?)");
    b->options.gauge_unit_ua = 1000;
    assert_near(look(b)->power_mw, 1400);
}

static void test_no_current_and_no_voltage_are_no_power(void **state)
{
    struct bench *b = *state;

    put_phone(b);
    set(b, "current_now", 0);
    assert_true(isnan(look(b)->power_mw));
    assert_string_equal(battery.why, "the gauge tells no power");
    set(b, "current_now", 500000);
    set(b, "voltage_now", 0);
    assert_true(isnan(look(b)->power_mw));
    set(b, "voltage_now", 400000000); /* 400 V */
    assert_true(isnan(look(b)->power_mw));
}

static void test_a_mouse_is_not_our_battery(void **state)
{
    struct bench *b = *state;

    put_laptop_battery(b, "hidpp_battery_0", "Discharging");
    put(b, "hidpp_battery_0", "scope", "Device");
    assert_int_equal(look(b)->n, 0);
    assert_false(battery.discharging);
    assert_true(isnan(battery.level) && isnan(battery.capacity_mj));
}

static void test_two_batteries_are_one(void **state)
{
    struct bench *b = *state;

    put_laptop_battery(b, "BAT0", "Discharging");
    put_laptop_battery(b, "BAT1", "Unknown");
    put(b, "BAT1", "energy_now", "40000000");
    assert_int_equal(look(b)->n, 2);
    assert_true(battery.discharging);
    assert_near(battery.power_mw, 6000);
    assert_near(battery.level, 0.75);
    assert_near(battery.capacity_mj, 80e6 * 3.6);
    put(b, "BAT1", "status", "Charging");
    assert_false(look(b)->discharging);
    assert_true(battery.charging);
}

static void test_level_and_capacity_come_from_charge_or_percent(void **state)
{
    struct bench *b = *state;

    put_phone(b);
    set(b, "capacity", 40);
    assert_near(look(b)->level, 0.4);
    assert_true(isnan(battery.capacity_mj));
    set(b, "charge_full", 4000000);
    set(b, "voltage_min_design", 3800000);
    assert_near(look(b)->level, 0.4);
    assert_near(battery.capacity_mj, 4e6 * 3.6 * 3.8);
    set(b, "charge_now", 1000000);
    assert_near(look(b)->level, 0.25);
    set(b, "charge_now", 5000000); /* more than full: the percent are sounder */
    assert_near(look(b)->level, 0.4);
}

static void test_two_batteries_of_charge_have_mean_level_and_voltage(void **state)
{
    struct bench *b = *state;

    put_phone(b);
    set(b, "capacity", 40);
    set(b, "charge_now", 1000000);
    put(b, "second", "type", "Battery");
    put(b, "second", "capacity", "60");
    put(b, "second", "charge_now", "500000");
    put(b, "second", "voltage_now", "3000000");
    assert_int_equal(look(b)->n, 2);
    assert_near(battery.level, 0.5);
    assert_near(battery.volts, 3.5);
    assert_near(battery.charge_uah, 1500000);
}

static void test_full_is_full_or_held_at_its_limit(void **state)
{
    struct bench *b = *state;

    put_phone(b);
    set(b, "capacity", 80);
    assert_false(look(b)->full);
    put(b, "battery", "status", "Full");
    assert_true(look(b)->full && battery.plugged);
    put(b, "battery", "status", "Not charging");
    assert_false(look(b)->full);
    set(b, "charge_control_end_threshold", 80);
    assert_true(look(b)->full);
    set(b, "capacity", 79);
    assert_true(look(b)->full);
    set(b, "capacity", 78);
    assert_false(look(b)->full);
    set(b, "charge_control_end_threshold", 100);
    assert_false(look(b)->full);
}

static void test_garbage_in_any_file_is_never_believed(void **state)
{
    static const char *const keys[] = {"current_now", "voltage_now", "power_now",
                                       "charge_now",  "energy_now",  "capacity",
                                       "energy_full", "charge_full", "status",
                                       "present",     "type"};
    static const char *const garbage[] = {
        "", "abc", "-", "1e6", "99999999999999999999999", "9223372036854775807", "nan"};
    struct bench *b = *state;

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        for (size_t g = 0; g < sizeof(garbage) / sizeof(garbage[0]); g++) {
            put_phone(b);
            set(b, "current_now", 500000);
            put(b, "battery", keys[i], garbage[g]);
            (void)look(b);
            if (!isnan(battery.power_mw))
                assert_near(battery.power_mw, 2000);
            assert_false(battery.level < 0 || battery.level > 1);
        }
}

/* ---- Power summed up ----------------------------------------------------------------
 */

static void test_power_is_summed_up_while_unplugged(void **state)
{
    struct bench *b = *state;
    struct energy_reading reading;
    struct energy_mark from;
    char text[ENERGY_TEXT_BYTES];

    put_phone(b);
    set(b, "current_now", -501000);
    begin(b, &from);
    energy_meter_text(text, &b->meter);
    assert_string_equal(text, "battery");
    draw(b, -500000, 1000, 0, 60000);
    reading = since(b, &from, 60000);
    assert_known(reading, ENERGY_BATTERY, 120000);
    assert_int_equal(energy_meter_period_ms(&b->meter, ENERGY_SLOT_CURRENT), 1000);
    /* 59 changes of 4 mW about the mean, and a period at each end. */
    assert_true(reading.spread_mj > 120000.0 / 59 / sqrt(6));
    assert_true(reading.spread_mj < 1.001 * 120000.0 / 59 / sqrt(6));
}

/* Its bus is slow: what was read just before is good enough for a mark. */
static void test_a_mark_after_a_mark_does_not_read_the_gauge_again(void **state)
{
    struct bench *b = *state;
    struct energy_mark from;

    put_phone(b);
    set(b, "current_now", -501000);
    begin(b, &from);
    draw(b, -500000, 1000, 0, 60000);
    put(b, "usb", "online", "1");
    assert_known(since(b, &from, 59849), ENERGY_BATTERY, 119698.604);
    assert_int_equal(since(b, &from, 59850).source, ENERGY_UNKNOWN);
}

static void test_a_slow_gauge_wants_a_long_interval(void **state)
{
    struct bench *b = *state;
    struct energy_mark from;

    put_phone(b);
    set(b, "current_now", 499000);
    begin(b, &from);
    draw(b, 500000, 10000, 0, 25000);
    assert_unknown(since(b, &from, 25000),
                   "the figure changed 2 times in 25000 ms: too slow");
    assert_int_equal(energy_meter_period_ms(&b->meter, ENERGY_SLOT_CURRENT), 0);
    draw(b, 500000, 10000, 25250, 60000);
    assert_int_equal(since(b, &from, 60000).source, ENERGY_BATTERY);
    assert_int_equal(energy_meter_period_ms(&b->meter, ENERGY_SLOT_CURRENT), 10000);
}

static void test_a_gauge_that_stops_is_not_believed(void **state)
{
    struct bench *b = *state;
    struct energy_mark from;

    put_phone(b);
    set(b, "current_now", 499000);
    begin(b, &from);
    draw(b, 500000, 1000, 0, 20000);
    for (int64_t t = 20000; t < 40000; t += 250)
        energy_meter_sample(&b->meter, t);
    assert_unknown(since(b, &from, 40000), "the figure has not changed for 21000 ms");
    draw(b, 500000, 1000, 40000, 60000);
    assert_unknown(since(b, &from, 60000), "the figure stood still for 21250 ms");
    energy_meter_mark(&from, &b->meter, 60000);
    draw(b, 500000, 1000, 60000, 80000);
    assert_int_equal(since(b, &from, 80000).source, ENERGY_BATTERY);
}

static void test_plugging_in_on_the_way_makes_it_unknown(void **state)
{
    struct bench *b = *state;
    struct energy_mark from;

    put_phone(b);
    set(b, "current_now", 499000);
    begin(b, &from);
    draw(b, 500000, 1000, 0, 20000);
    put(b, "usb", "online", "1");
    energy_meter_sample(&b->meter, 20000);
    put(b, "usb", "online", "0");
    draw(b, 500000, 1000, 20250, 40000);
    assert_unknown(since(b, &from, 40000), "the device is on external power");
}

/* The minute on the charger is not taken for a gauge that stands still. */
static void test_a_hole_is_over_when_it_is_over(void **state)
{
    struct bench *b = *state;
    struct energy_mark from;

    put_phone(b);
    set(b, "current_now", 499000);
    begin(b, &from);
    draw(b, 500000, 1000, 0, 20000);
    put(b, "usb", "online", "1");
    energy_meter_sample(&b->meter, 20000);
    put(b, "usb", "online", "0");
    energy_meter_mark(&from, &b->meter, 80250);
    draw(b, 500000, 1000, 80500, 100000);
    assert_int_equal(since(b, &from, 100000).source, ENERGY_BATTERY);
}

static void test_one_early_change_does_not_shorten_the_period(void **state)
{
    static const int64_t changes_ms[] = {1000, 2000, 3000, 3250, 4250, 5250};
    struct bench *b = *state;
    struct energy_mark from;

    put_phone(b);
    set(b, "current_now", 500000);
    begin(b, &from);
    for (int i = 0; i < 6; i++) {
        set(b, "current_now", 500001 + i);
        energy_meter_sample(&b->meter, changes_ms[i]);
    }
    assert_int_equal(energy_meter_period_ms(&b->meter, ENERGY_SLOT_CURRENT), 1000);
}

static void test_unplugging_on_the_way_makes_it_unknown(void **state)
{
    struct bench *b = *state;
    struct energy_mark from;

    put_phone(b);
    put(b, "battery", "status", "Charging");
    set(b, "current_now", 499000);
    begin(b, &from);
    put(b, "battery", "status", "Discharging");
    draw(b, 500000, 1000, 250, 40000);
    assert_unknown(since(b, &from, 40000), "the device is on external power");
    energy_meter_mark(&from, &b->meter, 40000);
    draw(b, 500000, 1000, 40250, 80000);
    assert_int_equal(since(b, &from, 80000).source, ENERGY_BATTERY);
}

static void test_plugged_in_the_model_answers(void **state)
{
    struct soc soc = {.n_clusters = 1};
    struct bench *b = *state;
    struct energy_model model;
    struct energy_mark from;
    struct energy_reading reading;
    struct energy_mark to;

    memcpy(soc.clusters[0].name, "all", 4);
    energy_model_init(&model, &soc);
    model.core_w[0] = 2;
    b->options.model = &model;
    put_phone(b);
    put(b, "usb", "online", "1");
    begin(b, &from);
    energy_meter_load(&b->meter, (uint8_t[SOC_MAX_CLUSTERS]){1}, 0);
    energy_meter_mark(&from, &b->meter, 0);
    energy_meter_mark(&to, &b->meter, 5000);
    energy_marginal(&reading, &b->meter, &from, &to);
    assert_known(reading, ENERGY_MODEL, 10000);
}

static void test_a_status_that_says_nothing_is_not_taken_for_unplugged(void **state)
{
    struct bench *b = *state;
    struct energy_mark from;

    put_phone(b);
    put(b, "battery", "status", "Unknown");
    begin(b, &from);
    assert_unknown(since(b, &from, 40000), "the battery does not say that it runs down");
}

/* ---- Charge counted -------------------------------------------------------------------
 */

/* The counter falls by step_uah every period_ms; nothing tells the current. */
static void fall(struct bench *b, int64_t *charge_uah, int64_t step_uah,
                 int64_t period_ms, int64_t from_ms, int64_t to_ms)
{
    for (int64_t t = from_ms; t < to_ms; t += 250) {
        if (t % period_ms == 0) {
            *charge_uah -= step_uah;
            set(b, "charge_counter", *charge_uah);
        }
        energy_meter_sample(&b->meter, t);
    }
}

static void test_a_counter_of_charge_is_energy_at_the_voltage(void **state)
{
    struct bench *b = *state;
    int64_t charge = -390000; /* a counter may be below 0 */
    struct energy_reading reading;
    struct energy_mark from;

    put_phone(b);
    set(b, "charge_counter", charge);
    begin(b, &from);
    fall(b, &charge, 100, 1000, 1000, 41000);
    reading = since(b, &from, 41000);
    assert_known(reading, ENERGY_BATTERY, 40 * 100 * 3.6 * 4);
    assert_near(reading.spread_mj, 100 * 3.6 * 4 / sqrt(6));
}

static void test_charge_left_at_the_voltage_of_its_time(void **state)
{
    struct bench *b = *state;
    struct energy_mark from;

    put_phone(b);
    set(b, "charge_counter", 3000000);
    begin(b, &from);
    for (int64_t i = 1; i <= 4; i++) {
        set(b, "charge_counter", 3000000 - 1000 * i);
        set(b, "voltage_now", 4000000 - 100000 * i);
        energy_meter_sample(&b->meter, 10000 * i);
    }
    /* From 4.0 V down to 3.6 V. */
    assert_known(since(b, &from, 40000), ENERGY_BATTERY, 4000 * 3.6 * 3.8);
}

static void test_a_counter_of_energy_needs_no_voltage(void **state)
{
    struct bench *b = *state;
    struct energy_mark from;

    put(b, "battery", "type", "Battery");
    put(b, "battery", "status", "Discharging");
    set(b, "energy_now", 20000000);
    begin(b, &from);
    for (int64_t i = 1; i <= 10; i++) {
        set(b, "energy_now", 20000000 - 10000 * i);
        energy_meter_sample(&b->meter, 10000 * i);
    }
    assert_known(since(b, &from, 100000), ENERGY_BATTERY, 100000 * 3.6);
}

static void test_a_coarse_counter_is_too_slow(void **state)
{
    struct bench *b = *state;
    int64_t charge = 3000000;
    struct energy_mark from;

    put_phone(b);
    set(b, "charge_counter", charge);
    begin(b, &from);
    fall(b, &charge, 10000, 60000, 1000, 120000);
    assert_unknown(since(b, &from, 120000),
                   "the figure changed 1 times in 120000 ms: too slow");
}

static void test_a_count_that_is_corrected_makes_a_hole(void **state)
{
    static const int64_t corrections[] = {100, -800000};
    struct bench *b = *state;

    for (size_t i = 0; i < 2; i++) {
        struct energy_mark from;
        int64_t charge = 3000000;

        put_phone(b);
        set(b, "charge_counter", charge);
        begin(b, &from);
        fall(b, &charge, 100, 1000, 1000, 20000);
        charge += corrections[i];
        fall(b, &charge, 0, 1000, 20000, 21000);
        fall(b, &charge, 100, 1000, 21000, 40000);
        assert_int_equal(since(b, &from, 40000).source, ENERGY_UNKNOWN);
        assert_string_equal(b->meter.tracks[ENERGY_SLOT_CHARGE].why,
                            "the gauge has corrected its count");
    }
}

/* The current has a new figure every 250 ms, the count one every 10 s. */
static void test_of_two_sums_the_surer_one_answers(void **state)
{
    struct bench *b = *state;
    struct energy_reading reading;
    struct energy_mark from;

    put_phone(b);
    set(b, "current_now", 499000);
    set(b, "charge_counter", 1000000);
    begin(b, &from);
    for (int64_t t = 0; t < 60000; t += 250) {
        set(b, "current_now", t / 250 % 2 ? 501000 : 499000);
        set(b, "charge_counter", 1000000 - t / 10000 * 2000);
        energy_meter_sample(&b->meter, t);
    }
    reading = since(b, &from, 60000);
    assert_known(reading, ENERGY_BATTERY, 120000);
    assert_true(reading.spread_mj < 0.01 * 120000);
}

static void test_of_two_sums_the_surer_one_may_be_the_count(void **state)
{
    struct bench *b = *state;
    struct energy_reading reading;
    struct energy_mark from;

    put_phone(b);
    set(b, "current_now", 300000);
    set(b, "charge_counter", 1000000);
    begin(b, &from);
    for (int64_t t = 250; t <= 60000; t += 250) {
        set(b, "current_now", t / 10000 % 2 ? 700000 : 300000);
        set(b, "charge_counter", 1000000 - t / 250 * 40);
        energy_meter_sample(&b->meter, t);
    }
    reading = since(b, &from, 60000);
    assert_known(reading, ENERGY_BATTERY, 240 * 40 * 3.6 * 4);
    assert_true(reading.spread_mj < 0.01 * reading.mj);
}

int main(void)
{
#define BENCH_TEST(name) cmocka_unit_test_setup_teardown(name, setup, energy_teardown)
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_the_sign_of_the_current_is_the_driver_s_own),
        BENCH_TEST(test_while_charging_the_gauge_tells_nothing_of_the_device),
        BENCH_TEST(test_a_weak_charger_beside_a_sinking_battery_is_plugged),
        BENCH_TEST(test_a_current_in_milliamperes_is_not_believed_unless_told),
        BENCH_TEST(test_no_current_and_no_voltage_are_no_power),
        BENCH_TEST(test_a_mouse_is_not_our_battery),
        BENCH_TEST(test_two_batteries_are_one),
        BENCH_TEST(test_level_and_capacity_come_from_charge_or_percent),
        BENCH_TEST(test_two_batteries_of_charge_have_mean_level_and_voltage),
        BENCH_TEST(test_full_is_full_or_held_at_its_limit),
        BENCH_TEST(test_garbage_in_any_file_is_never_believed),
        BENCH_TEST(test_power_is_summed_up_while_unplugged),
        BENCH_TEST(test_a_mark_after_a_mark_does_not_read_the_gauge_again),
        BENCH_TEST(test_a_slow_gauge_wants_a_long_interval),
        BENCH_TEST(test_a_gauge_that_stops_is_not_believed),
        BENCH_TEST(test_plugging_in_on_the_way_makes_it_unknown),
        BENCH_TEST(test_a_hole_is_over_when_it_is_over),
        BENCH_TEST(test_one_early_change_does_not_shorten_the_period),
        BENCH_TEST(test_unplugging_on_the_way_makes_it_unknown),
        BENCH_TEST(test_plugged_in_the_model_answers),
        BENCH_TEST(test_a_status_that_says_nothing_is_not_taken_for_unplugged),
        BENCH_TEST(test_a_counter_of_charge_is_energy_at_the_voltage),
        BENCH_TEST(test_charge_left_at_the_voltage_of_its_time),
        BENCH_TEST(test_a_counter_of_energy_needs_no_voltage),
        BENCH_TEST(test_a_coarse_counter_is_too_slow),
        BENCH_TEST(test_a_count_that_is_corrected_makes_a_hole),
        BENCH_TEST(test_of_two_sums_the_surer_one_answers),
        BENCH_TEST(test_of_two_sums_the_surer_one_may_be_the_count),
    };

    return cmocka_run_group_tests_name("gauge", tests, NULL, NULL);
}
