/* Options and hooks: what is refused, what is defaulted, what is copied. */
#include "sdk/options.h"

#include "base/sized.h"
#include "sdk/job.h"
#include "tests/unit/sdk/sdk_test.h"

#include <cygnet/sys/coordinator.h>
#include <cygnet/sys/http.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct bench {
    cygnet_host host;
    cygnet_options given;
    cygnet_options options;
    cygnet_host own_host;
    cygnet_error err;
};

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof(*b));

    if (!b)
        return -1;
    test_host(&b->host, NULL);
    test_options(&b->given, &b->host, "/tmp/never-opened");
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;

    options_clear(&b->options);
    free(b);
    return 0;
}

static cygnet_status adopt(struct bench *b)
{
    options_clear(&b->options);
    return options_adopt(&b->options, &b->own_host, &b->given, &b->err);
}

/* EINVAL, and the message begins with the option's name. */
static void assert_refused(struct bench *b, const char *name)
{
    assert_int_equal(adopt(b), CYGNET_EINVAL);
    if (strncmp(b->err.message, name, strlen(name)) != 0 ||
        b->err.message[strlen(name)] != ':')
        fail_msg("\"%s\" does not name %s", b->err.message, name);
}

static void test_good_options_are_copied_with_their_strings(void **state)
{
    struct bench *b = *state;
    char population[] = "keyboard/en";

    b->given.population = population;
    assert_int_equal(adopt(b), CYGNET_OK);
    memset(population, 'x', sizeof(population) - 1);
    assert_string_equal(b->options.population, "keyboard/en");
    assert_string_equal(b->options.server_url, "https://cygnet.invalid");
    assert_string_equal(b->options.cache_dir, "/tmp/never-opened/cache");
    assert_null(b->options.ca_file);
    assert_ptr_equal(b->options.host, &b->own_host);
    assert_non_null(b->own_host.wall_ms);
    assert_non_null(b->own_host.mono_ms);
}

static void test_init_sets_the_documented_defaults(void **state)
{
    cygnet_options options;
    cygnet_report report;
    cygnet_host host;

    (void)state;
    memset(&options, 0xff, sizeof(options));
    cygnet_options_init(&options);
    assert_int_equal(options.struct_size, sizeof(options));
    assert_int_equal(options.charging, CYGNET_REQUIRED);
    assert_int_equal(options.idle, CYGNET_PREFERRED);
    assert_int_equal(options.unmetered, CYGNET_REQUIRED);
    assert_int_equal(options.min_battery_percent, 0);
    assert_int_equal(options.n_threads, 0);
    assert_int_equal(options.policy, CYGNET_POLICY_TASK);
    assert_int_equal(options.full_priority, 0);
    assert_int_equal(options.energy_mode, CYGNET_ENERGY_PLUGGED);
    assert_null(options.power_model);
    assert_int_equal(options.max_round_mj, 0);
    assert_int_equal(options.battery_mwh, 0);
    assert_int_equal(options.gauge_unit_ua, 0);
    assert_int_equal(options.max_model_bytes, 256 << 20);
    assert_int_equal(options.max_cache_bytes, 512 << 20);
    assert_int_equal(options.max_train_bytes, 0);
    assert_int_equal(options.allow_loopback_http, 0);
    assert_null(options.server_url);
    assert_null(options.state_dir);
    assert_null(options.job);

    memset(&report, 0xff, sizeof(report));
    cygnet_report_init(&report);
    assert_int_equal(report.struct_size, sizeof(report));
    assert_int_equal(report.outcome, CYGNET_OUTCOME_NONE);
    assert_true(isnan(report.loss_first) && isnan(report.loss_last));
    assert_string_equal(report.message, "");

    memset(&host, 0xff, sizeof(host));
    cygnet_host_init(&host);
    assert_int_equal(host.struct_size, sizeof(host));
    assert_null(host.device_state);
    assert_null(host.energy);
    assert_null(host.user);
}

static void test_a_bad_server_url_is_named(void **state)
{
    static const char *const bad[] = {NULL,
                                      "",
                                      "cygnet.invalid",
                                      "ftp://a",
                                      "https://",
                                      "http://example.org",
                                      "https://user:pw@host",
                                      "http://127.0.0.1:1"};
    struct bench *b = *state;

    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        b->given.server_url = bad[i];
        assert_refused(b, "server_url");
    }
}

static void test_plain_http_passes_towards_loopback_when_allowed(void **state)
{
    struct bench *b = *state;

    b->given.allow_loopback_http = 1;
    b->given.server_url = "http://127.0.0.1:1";
    assert_int_equal(adopt(b), CYGNET_OK);
    b->given.server_url = "http://example.org";
    assert_refused(b, "server_url");
}

static void test_a_bad_population_is_named(void **state)
{
    static const char *const bad[] = {NULL,  "",     "a b", "a\n",  "\xc3\xa4", "..",
                                      "a/.", "a//b", "/a",  "../x", "a/"};
    char longest[OPTIONS_POPULATION_MAX + 2];
    struct bench *b = *state;

    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        b->given.population = bad[i];
        assert_refused(b, "population");
    }
    memset(longest, 'p', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    b->given.population = longest;
    assert_refused(b, "population");
    b->given.population = longest + 1;
    assert_int_equal(adopt(b), CYGNET_OK);
}

static void test_bad_paths_are_named(void **state)
{
    char endless[OPTIONS_PATH_MAX + 2];
    struct bench *b = *state;

    memset(endless, 'd', sizeof(endless) - 1);
    endless[sizeof(endless) - 1] = '\0';
    b->given.state_dir = "";
    assert_refused(b, "state_dir");
    b->given.state_dir = endless;
    assert_refused(b, "state_dir");
    b->given.state_dir = "/tmp/a";
    b->given.cache_dir = "";
    assert_refused(b, "cache_dir");
    b->given.cache_dir = "/tmp/a";
    assert_refused(b, "cache_dir");
    b->given.cache_dir = NULL;
    b->given.ca_file = "";
    assert_refused(b, "ca_file");
}

static void test_bad_requirements_are_named(void **state)
{
    struct bench *b = *state;

    b->given.charging = (cygnet_requirement)3;
    assert_refused(b, "charging");
    b->given.charging = CYGNET_IGNORED;
    b->given.idle = (cygnet_requirement)7;
    assert_refused(b, "idle");
    b->given.idle = CYGNET_IGNORED;
    b->given.unmetered = (cygnet_requirement)99;
    assert_refused(b, "unmetered");
}

static void test_numbers_out_of_range_are_named(void **state)
{
    struct bench *b = *state;

    b->given.min_battery_percent = -1;
    assert_refused(b, "min_battery_percent");
    b->given.min_battery_percent = 101;
    assert_refused(b, "min_battery_percent");
    b->given.min_battery_percent = 100;
    b->given.n_threads = 65;
    assert_refused(b, "n_threads");
    b->given.n_threads = 64;
    b->given.allow_loopback_http = 2;
    assert_refused(b, "allow_loopback_http");
    b->given.allow_loopback_http = 0;
    b->given.policy = (cygnet_policy)5;
    assert_refused(b, "policy");
    b->given.policy = CYGNET_POLICY_EFFICIENT;
    b->given.full_priority = -1;
    assert_refused(b, "full_priority");
    b->given.full_priority = 1;
    b->given.max_model_bytes = 0;
    assert_refused(b, "max_model_bytes");
    b->given.max_model_bytes = 1;
    b->given.max_cache_bytes = 0;
    assert_refused(b, "max_cache_bytes");
}

static void test_energy_options_out_of_range_are_named(void **state)
{
    static char endless[OPTIONS_POWER_MODEL_MAX + 2];
    struct bench *b = *state;

    b->given.energy_mode = (cygnet_energy_mode)2;
    assert_refused(b, "energy_mode");
    b->given.energy_mode = CYGNET_ENERGY_LOAN;
    memset(endless, ' ', sizeof(endless) - 1);
    b->given.power_model = endless;
    assert_refused(b, "power_model");
    b->given.power_model = endless + 1;
    b->given.battery_mwh = 1000001;
    assert_refused(b, "battery_mwh");
    b->given.battery_mwh = 1000000;
    b->given.gauge_unit_ua = 1000001;
    assert_refused(b, "gauge_unit_ua");
    b->given.gauge_unit_ua = 1000;
    b->given.max_round_mj = UINT64_MAX;
    assert_int_equal(adopt(b), CYGNET_OK);
    assert_string_equal(b->options.power_model, endless + 1);
    assert_ptr_not_equal(b->options.power_model, endless + 1);
}

static void test_a_job_is_copied_with_its_strings(void **state)
{
    struct bench *b = *state;
    char architecture[] = "lenet5", collection[] = "mine";
    cygnet_job job;

    cygnet_job_init(&job);
    job.architecture = architecture;
    job.collection = collection;
    job.max_examples = 7;
    b->given.job = &job;
    assert_int_equal(adopt(b), CYGNET_OK);
    memset(architecture, 'x', 3);
    memset(collection, 'x', 3);
    memset(&job, 0xff, sizeof(job));
    assert_string_equal(b->options.job->architecture, "lenet5");
    assert_string_equal(b->options.job->collection, "mine");
    assert_string_equal(b->options.job->evaluate_collection, "test");
    assert_int_equal(b->options.job->max_examples, 7);
}

static void test_a_job_out_of_range_is_named(void **state)
{
    struct bench *b = *state;
    cygnet_job job, good;

    cygnet_job_init(&job);
    b->given.job = &job;
    assert_refused(b, "job.architecture");
    job.architecture = "lenet5";
    good = job;
    job.struct_size = 0;
    assert_refused(b, "job");
    job = good;
    job.batch = 0;
    assert_refused(b, "job.batch");
    job = good;
    job.steps = job.epochs = 0;
    assert_refused(b, "job.epochs");
    job = good;
    job.n_input_dims = 5;
    assert_refused(b, "job.n_input_dims");
    job.n_input_dims = 1;
    assert_refused(b, "job.input");
    job = good;
    job.n_classes = 0;
    assert_refused(b, "job.n_classes");
    job = good;
    job.momentum = 1.0f;
    assert_refused(b, "job.momentum");
    job = good;
    job.weight_decay = (float)NAN;
    assert_refused(b, "job.weight_decay");
    job = good;
    job.deadline_s = 0;
    assert_refused(b, "job.deadline_s");
    job = good;
    job.collection = NULL;
    assert_refused(b, "job.collection");
    assert_int_equal((b->given.job = &good, adopt(b)), CYGNET_OK);
}

static void test_hooks_without_a_default_are_needed(void **state)
{
    struct bench *b = *state;
    cygnet_host good = b->host;

    b->host.data_open = NULL;
    assert_refused(b, "host");
    b->host = good;
    b->host.data_read = NULL;
    assert_refused(b, "host");
    assert_non_null(strstr(b->err.message, "data_read"));
    b->host = good;
    b->host.data_close = NULL;
    assert_refused(b, "host");
    b->given.host = NULL;
    assert_refused(b, "host");
}

static void test_own_parts_must_be_whole(void **state)
{
    struct bench *b = *state;
    cygnet_coordinator coordinator = {.struct_size = sizeof(coordinator)};
    cygnet_http http = {.struct_size = sizeof(http)};
    cygnet_allocator allocator = {NULL, NULL, NULL};

    b->given.http = &http;
    assert_refused(b, "http");
    http.struct_size = 0;
    assert_refused(b, "http");
    b->given.http = NULL;
    b->given.coordinator = &coordinator;
    assert_refused(b, "coordinator");
    coordinator.struct_size = 8;
    assert_refused(b, "coordinator");
    b->given.coordinator = NULL;
    b->given.allocator = &allocator;
    assert_refused(b, "allocator");
}

static void test_an_older_shorter_struct_gets_defaults_for_its_missing_tail(void **state)
{
    struct bench *b = *state;
    cygnet_allocator garbage = {NULL, NULL, NULL};

    b->given.allocator = &garbage; /* beyond the end that struct_size states */
    b->given.coordinator = (void *)&garbage;
    b->given.struct_size = (uint32_t)SIZED_UP_TO(cygnet_options, host);
    assert_int_equal(adopt(b), CYGNET_OK);
    assert_null(b->options.allocator);
    assert_null(b->options.coordinator);
    assert_int_equal(b->options.struct_size, sizeof(cygnet_options));
}

static void test_a_newer_longer_struct_passes_while_its_tail_is_unused(void **state)
{
    struct bench *b = *state;
    struct {
        cygnet_options known;
        uint64_t unknown;
    } newer = {b->given, 0};

    newer.known.struct_size = sizeof(newer);
    assert_int_equal(options_adopt(&b->options, &b->own_host, &newer.known, &b->err),
                     CYGNET_OK);
    options_clear(&b->options);
    newer.unknown = 1;
    assert_int_equal(options_adopt(&b->options, &b->own_host, &newer.known, &b->err),
                     CYGNET_EINVAL);
    assert_non_null(strstr(b->err.message, "options: a field is set"));
}

static void test_a_size_that_no_release_had_is_refused(void **state)
{
    static const uint32_t bad[] = {0,        4,         8, sizeof(cygnet_options) - 4,
                                   1u << 20, UINT32_MAX};
    struct bench *b = *state;

    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        b->given.struct_size = bad[i];
        assert_refused(b, "options");
    }
    b->given.struct_size = sizeof(b->given);
    b->host.struct_size = 0;
    assert_refused(b, "host");
    b->host.struct_size = offsetof(cygnet_host, user);
    assert_refused(b, "host");
}

static void test_state_dir_follows_xdg(void **state)
{
    struct bench *b = *state;

    b->given.state_dir = NULL;
    b->given.population = "a/b";
    assert_int_equal(setenv("XDG_STATE_HOME", "/xdg", 1), 0);
    assert_int_equal(adopt(b), CYGNET_OK);
    assert_string_equal(b->options.state_dir, "/xdg/cygnet/a+b");
    assert_string_equal(b->options.cache_dir, "/xdg/cygnet/a+b/cache");

    assert_int_equal(setenv("XDG_STATE_HOME", "relative", 1), 0);
    assert_int_equal(setenv("HOME", "/me", 1), 0);
    assert_int_equal(adopt(b), CYGNET_OK);
    assert_string_equal(b->options.state_dir, "/me/.local/state/cygnet/a+b");

    assert_int_equal(unsetenv("HOME"), 0);
    assert_refused(b, "state_dir");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_init_sets_the_documented_defaults),
#define BENCH_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        BENCH_TEST(test_good_options_are_copied_with_their_strings),
        BENCH_TEST(test_a_bad_server_url_is_named),
        BENCH_TEST(test_plain_http_passes_towards_loopback_when_allowed),
        BENCH_TEST(test_a_bad_population_is_named),
        BENCH_TEST(test_bad_paths_are_named),
        BENCH_TEST(test_bad_requirements_are_named),
        BENCH_TEST(test_numbers_out_of_range_are_named),
        BENCH_TEST(test_energy_options_out_of_range_are_named),
        BENCH_TEST(test_a_job_is_copied_with_its_strings),
        BENCH_TEST(test_a_job_out_of_range_is_named),
        BENCH_TEST(test_hooks_without_a_default_are_needed),
        BENCH_TEST(test_own_parts_must_be_whole),
        BENCH_TEST(test_an_older_shorter_struct_gets_defaults_for_its_missing_tail),
        BENCH_TEST(test_a_newer_longer_struct_passes_while_its_tail_is_unused),
        BENCH_TEST(test_a_size_that_no_release_had_is_refused),
        BENCH_TEST(test_state_dir_follows_xdg),
    };

    return cmocka_run_group_tests_name("sdk options", tests, NULL, NULL);
}
