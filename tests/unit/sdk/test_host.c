/* The Linux defaults, read from trees that look like machines. */
#include "sdk/host_linux.h"
#include "tests/unit/sdk/sdk_test.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define SUPPLIES "sys/class/power_supply/"

struct bench {
    char root[SANDBOX_BYTES];
    cygnet_device_state device;
};

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof(*b));

    if (!b)
        return -1;
    sandbox_make(b->root);
    b->device =
        (cygnet_device_state){.struct_size = sizeof(b->device), .battery_percent = -1};
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;

    sandbox_remove(b->root);
    free(b);
    return 0;
}

static void put(struct bench *b, const char *supply, const char *key, const char *value)
{
    char name[128];
    char line[64];

    (void)snprintf(name, sizeof(name), SUPPLIES "%s/%s", supply, key);
    (void)snprintf(line, sizeof(line), "%s\n", value);
    sandbox_write(b->root, name, line);
}

static void put_battery(struct bench *b, const char *name, const char *status,
                        const char *capacity)
{
    put(b, name, "type", "Battery");
    put(b, name, "present", "1");
    put(b, name, "status", status);
    put(b, name, "capacity", capacity);
}

static void put_charger(struct bench *b, const char *name, const char *type,
                        const char *online)
{
    put(b, name, "type", type);
    put(b, name, "online", online);
}

static void assert_power(struct bench *b, cygnet_tristate charging, int percent)
{
    linux_read_device(&b->device, b->root);
    assert_int_equal(b->device.charging, charging);
    assert_int_equal(b->device.battery_percent, percent);
    assert_int_equal(b->device.unmetered, CYGNET_UNKNOWN);
}

static void test_a_plugged_phone_charges(void **state)
{
    struct bench *b = *state;

    put_battery(b, "battery", "Charging", "40");
    put_charger(b, "usb", "USB_PD", "1");
    put_charger(b, "wireless", "Wireless", "0");
    assert_power(b, CYGNET_TRUE, 40);
}

static void test_an_unplugged_phone_does_not_charge(void **state)
{
    struct bench *b = *state;

    put_battery(b, "battery", "Discharging", "39");
    put_charger(b, "usb", "USB", "0");
    assert_power(b, CYGNET_FALSE, 39);
}

static void test_a_full_battery_counts_as_charging(void **state)
{
    struct bench *b = *state;

    put_battery(b, "battery", "Full", "100");
    assert_power(b, CYGNET_TRUE, 100);
}

static void test_a_laptop_held_at_its_charge_limit_is_on_external_power(void **state)
{
    struct bench *b = *state;

    put_battery(b, "BAT0", "Not charging", "80");
    put_charger(b, "AC", "Mains", "1");
    assert_power(b, CYGNET_TRUE, 80);
}

static void test_a_laptop_with_two_batteries_tells_their_mean(void **state)
{
    struct bench *b = *state;

    put_battery(b, "BAT0", "Discharging", "10");
    put_battery(b, "BAT1", "Not charging", "91");
    put_charger(b, "AC", "Mains", "0");
    assert_power(b, CYGNET_FALSE, 50);
}

static void test_a_battery_of_unclear_status_alone_tells_nothing(void **state)
{
    struct bench *b = *state;

    put_battery(b, "BAT0", "Unknown", "55");
    assert_power(b, CYGNET_UNKNOWN, 55);
}

static void test_a_desktop_with_a_mouse_is_on_external_power(void **state)
{
    struct bench *b = *state;

    put_battery(b, "hidpp_battery_0", "Discharging", "5");
    put(b, "hidpp_battery_0", "scope", "Device");
    assert_power(b, CYGNET_TRUE, -1);
}

static void test_a_desktop_with_no_supply_at_all_is_on_external_power(void **state)
{
    struct bench *b = *state;

    sandbox_write(b->root, SUPPLIES ".keep", "");
    assert_power(b, CYGNET_TRUE, -1);
}

static void test_an_empty_battery_bay_is_no_battery(void **state)
{
    struct bench *b = *state;

    put_battery(b, "BAT1", "Discharging", "0");
    put(b, "BAT1", "present", "0");
    put_charger(b, "AC", "Mains", "1");
    assert_power(b, CYGNET_TRUE, -1);
}

static void test_without_sys_nothing_is_known(void **state)
{
    assert_power(*state, CYGNET_UNKNOWN, -1);
}

static void test_nonsense_in_the_files_is_not_believed(void **state)
{
    struct bench *b = *state;

    put_battery(b, "BAT0", "Discharging", "250");
    put_charger(b, "AC", "Mains", "yes");
    assert_power(b, CYGNET_FALSE, -1);
}

static void assert_idle(struct bench *b, const char *text, cygnet_tristate idle)
{
    b->device.idle = CYGNET_UNKNOWN;
    sandbox_write(b->root, "proc/pressure/cpu", text);
    linux_read_device(&b->device, b->root);
    assert_int_equal(b->device.idle, idle);
}

static void test_cpu_pressure_tells_whether_the_device_is_in_use(void **state)
{
    struct bench *b = *state;

    assert_idle(b, "some avg10=0.00 avg60=9.00 avg300=9.00 total=1\n", CYGNET_TRUE);
    assert_idle(b, "some avg10=9.99 avg60=0.00 avg300=0.00 total=1\n", CYGNET_TRUE);
    assert_idle(b, "some avg10=10.00 avg60=0.00 avg300=0.00 total=1\n", CYGNET_FALSE);
    assert_idle(b, "some avg10=100.00 avg60=0.00 avg300=0.00 total=1\n", CYGNET_FALSE);
}

static void test_missing_or_odd_pressure_is_unknown(void **state)
{
    struct bench *b = *state;

    linux_read_device(&b->device, b->root);
    assert_int_equal(b->device.idle, CYGNET_UNKNOWN);
    assert_idle(b, "", CYGNET_UNKNOWN);
    assert_idle(b, "some avg60=1.00\n", CYGNET_UNKNOWN);
}

static void test_default_clocks_go_forward(void **state)
{
    cygnet_host host;
    int64_t first;

    (void)state;
    cygnet_host_init(&host);
    linux_fill_host(&host);
    first = host.mono_ms(host.user);
    assert_true(first > 0);
    assert_true(host.mono_ms(host.user) >= first);
    assert_true(host.wall_ms(host.user) > INT64_C(1600000000000));
}

static void test_own_hooks_are_kept(void **state)
{
    cygnet_host given;
    cygnet_host host;

    (void)state;
    test_host(&given, NULL);
    host = given;
    linux_fill_host(&host);
    assert_true(host.device_state == given.device_state);
    assert_true(host.data_open == given.data_open);
}

int main(void)
{
#define BENCH_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_a_plugged_phone_charges),
        BENCH_TEST(test_an_unplugged_phone_does_not_charge),
        BENCH_TEST(test_a_full_battery_counts_as_charging),
        BENCH_TEST(test_a_laptop_held_at_its_charge_limit_is_on_external_power),
        BENCH_TEST(test_a_laptop_with_two_batteries_tells_their_mean),
        BENCH_TEST(test_a_battery_of_unclear_status_alone_tells_nothing),
        BENCH_TEST(test_a_desktop_with_a_mouse_is_on_external_power),
        BENCH_TEST(test_a_desktop_with_no_supply_at_all_is_on_external_power),
        BENCH_TEST(test_an_empty_battery_bay_is_no_battery),
        BENCH_TEST(test_without_sys_nothing_is_known),
        BENCH_TEST(test_nonsense_in_the_files_is_not_believed),
        BENCH_TEST(test_cpu_pressure_tells_whether_the_device_is_in_use),
        BENCH_TEST(test_missing_or_odd_pressure_is_unknown),
        cmocka_unit_test(test_default_clocks_go_forward),
        cmocka_unit_test(test_own_hooks_are_kept),
    };

    return cmocka_run_group_tests_name("sdk host", tests, NULL, NULL);
}
