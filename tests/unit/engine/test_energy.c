/* The energy meter: package counters, the host's meter, the model, and what is made
 * of them. The battery's gauge has test_gauge.c. */
#include "engine/swan/energy.h"
#include "tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RAPL "sys/class/powercap/"
#define RANGE_UJ INT64_C(262143328850) /* 2^32 - 1 units of 61 uJ */
#define UNIT_MJ ((double)RANGE_UJ / 4294967295.0 * 1e-3)

struct bench {
    struct tree tree;
    struct soc soc;
    struct energy_model model;
    struct energy_options options;
    struct energy_meter meter;
    struct energy_figure figure; /* what the host's meter shows */
    int code;                    /* what the hook answers */
};

static int read_figure(struct energy_figure *out, void *user)
{
    const struct bench *b = user;

    *out = b->figure;
    return b->code;
}

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof(*b));

    assert_non_null(b);
    tree_init(&b->tree);
    b->options.root = b->tree.root;
    b->options.user = b;
    b->figure = (struct energy_figure){.total_uj = -1, .power_uw = -1};
    b->soc.n_clusters = 2;
    memcpy(b->soc.clusters[0].name, "big", 4);
    memcpy(b->soc.clusters[1].name, "LITTLE", 7);
    energy_model_init(&b->model, &b->soc);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;

    tree_clear(&b->tree);
    free(b);
    return 0;
}

static void put_package(struct bench *b, const char *folder, const char *name,
                        int64_t energy_uj)
{
    char path[128];

    (void)snprintf(path, sizeof(path), RAPL "%s/name", folder);
    tree_put(&b->tree, path, name);
    (void)snprintf(path, sizeof(path), RAPL "%s/max_energy_range_uj", folder);
    tree_put_number(&b->tree, path, RANGE_UJ);
    (void)snprintf(path, sizeof(path), RAPL "%s/energy_uj", folder);
    tree_put_number(&b->tree, path, energy_uj);
}

static void count(struct bench *b, const char *folder, int64_t energy_uj)
{
    char path[128];

    (void)snprintf(path, sizeof(path), RAPL "%s/energy_uj", folder);
    tree_put_number(&b->tree, path, energy_uj);
}

/* What was drawn from a mark to now. */
static struct energy_reading since(struct bench *b, const struct energy_mark *from,
                                   int64_t now_ms)
{
    struct energy_reading reading;
    struct energy_mark to;

    energy_meter_mark(&to, &b->meter, now_ms);
    energy_between(&reading, &b->meter, from, &to);
    return reading;
}

static struct energy_reading marginal_since(struct bench *b,
                                            const struct energy_mark *from,
                                            int64_t now_ms)
{
    struct energy_reading reading;
    struct energy_mark to;

    energy_meter_mark(&to, &b->meter, now_ms);
    energy_marginal(&reading, &b->meter, from, &to);
    return reading;
}

static void assert_near(double value, double want)
{
    if (!(fabs(value - want) <= 1e-9 * fabs(want)))
        fail_msg("%.12g is not %.12g", value, want);
}

static void assert_unknown(struct energy_reading reading, const char *why)
{
    assert_int_equal(reading.source, ENERGY_UNKNOWN);
    assert_true(isnan(reading.mj) && isnan(reading.spread_mj));
    assert_string_equal(reading.why, why);
}

static void assert_known(struct energy_reading reading, enum energy_source source,
                         double mj)
{
    if (reading.source != source)
        fail_msg("source %s: %s", energy_source_name(reading.source), reading.why);
    assert_near(reading.mj, mj);
}

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
    put_package(b, "intel-rapl:1", "psys", 0);
    put_package(b, "intel-rapl-mmio:0", "package-0", 0);
    energy_meter_init(&b->meter, &b->options);
    energy_meter_mark(&from, &b->meter, 0);
    count(b, "intel-rapl:0", 1000000);
    count(b, "intel-rapl:0:0", 700000);
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

/* ---- The model ------------------------------------------------------------------- */

static void use_model(struct bench *b)
{
    b->options.model = &b->model;
    energy_meter_init(&b->meter, &b->options);
}

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
#define BENCH_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_a_device_without_sources_says_so),
        BENCH_TEST(test_a_gauge_alone_is_not_used_when_plugged),
        BENCH_TEST(test_a_counter_tells_the_energy_and_its_uncertainty),
        BENCH_TEST(test_a_counter_that_turns_over_goes_on),
        BENCH_TEST(test_packages_are_summed_and_turn_over_on_their_own),
        BENCH_TEST(test_parts_the_platform_and_doubles_are_not_counted),
        BENCH_TEST(test_counters_that_only_root_reads_are_absent),
        BENCH_TEST(test_a_counter_that_was_reset_is_not_a_turn),
        BENCH_TEST(test_a_counter_that_nobody_reads_for_long_is_unknown),
        BENCH_TEST(test_a_counter_that_vanishes_makes_a_hole),
        BENCH_TEST(test_a_counter_of_a_virtual_machine_stands_still),
        BENCH_TEST(test_two_milliseconds_are_too_short_for_a_counter),
        BENCH_TEST(test_a_clock_that_goes_back_is_noticed),
        BENCH_TEST(test_garbage_in_any_file_is_never_believed),
        BENCH_TEST(test_the_host_s_energy_comes_before_the_counters),
        BENCH_TEST(test_a_failing_host_leaves_it_to_the_counters),
        BENCH_TEST(test_a_failing_host_alone_is_unknown_with_its_code),
        BENCH_TEST(test_a_host_that_shows_nothing_is_unknown),
        BENCH_TEST(test_a_host_s_counter_that_goes_back_makes_a_hole),
        BENCH_TEST(test_a_host_s_power_is_summed_up),
        BENCH_TEST(test_the_model_is_watts_of_busy_cores_times_time),
        BENCH_TEST(test_a_model_that_nobody_told_the_load_is_unknown),
        BENCH_TEST(test_a_cluster_without_watts_is_unknown_while_it_trains),
        BENCH_TEST(test_a_model_without_idle_or_spread_says_what_it_can),
        BENCH_TEST(test_a_model_is_read_from_a_profile),
        BENCH_TEST(test_a_wrong_model_is_refused_and_says_where),
        BENCH_TEST(test_marginal_energy_is_beyond_the_baseline),
        BENCH_TEST(test_without_a_baseline_marginal_energy_is_unknown),
        BENCH_TEST(test_a_little_less_than_idle_stays_below_zero),
        BENCH_TEST(test_much_less_than_idle_is_unknown_with_a_reason),
        BENCH_TEST(test_a_baseline_stays_until_another_is_measured),
        BENCH_TEST(test_the_energy_of_a_step_is_a_share_of_many),
        BENCH_TEST(test_a_step_of_a_coarse_counter_is_unknown),
    };

    return cmocka_run_group_tests_name("energy", tests, NULL, NULL);
}
