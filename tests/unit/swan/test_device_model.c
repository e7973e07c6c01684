/* Modelled phones: what their files hold, what is refused, how steps scale. */
#include "base/json.h"
#include "swan_fixture.h"
#include "tests/fakes/device_model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_BYTES = 16384, N_DAMAGES = 2000 };

static char text[MAX_BYTES];
static struct device_model device;
static struct device_workload workload;

static size_t read_file(const char *name)
{
    char path[512];
    FILE *file;
    size_t len;

    (void)snprintf(path, sizeof(path), "%s/%s.json", DEVICES_DIR, name);
    file = fopen(path, "r");
    assert_non_null(file);
    len = fread(text, 1, MAX_BYTES, file);
    assert_in_range(len, 1, MAX_BYTES - 1);
    assert_int_equal(fclose(file), 0);
    return len;
}

static void read_device(const char *name)
{
    cygnet_error err;

    if (device_model_read(&device, DEVICES_DIR, name, &err) != CYGNET_OK)
        fail_msg("%s: %s", name, err.message);
}

static void read_workload(const char *name)
{
    cygnet_error err;

    if (device_workload_read(&workload, DEVICES_DIR, name, &err) != CYGNET_OK)
        fail_msg("%s: %s", name, err.message);
}

static double ms(uint8_t n0, uint8_t n1, uint8_t n2)
{
    const struct choice choice = {{n0, n1, n2}};

    return device_step_ms(&device, &workload, &choice);
}

static void test_every_number_of_a_phone_names_its_source(void **state)
{
    static const char *const keys[] = {"cores_and_max_khz", "capacity", "speed", "watts",
                                       "shared_watts"};

    (void)state;
    for (size_t i = 0; i < DEVICE_PHONES; i++) {
        size_t len = read_file(DEVICE_PHONE_NAMES[i]);
        struct json *root;
        const struct json *sources;

        assert_int_equal(json_parse(&root, text, len, &JSON_DEFAULT_LIMITS, NULL),
                         CYGNET_OK);
        sources = json_member(root, "sources");
        for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++)
            assert_true(strlen(json_text(json_member(sources, keys[k]), "")) > 20);
        assert_non_null(json_member(root, "modelled"));
        json_destroy(root);
    }
}

static void test_a_phone_becomes_a_soc(void **state)
{
    struct soc soc;

    (void)state;
    read_device("oneplus_8");
    assert_string_equal(device.name, "OnePlus 8");
    device_model_soc(&soc, &device);
    assert_int_equal(soc.n_cores, 8);
    assert_int_equal(soc.n_clusters, 3);
    assert_string_equal(soc.clusters[0].name, "prime");
    assert_int_equal(soc_n_usable(&soc, 1), 3);
    assert_int_equal(soc.cores[0].cluster, 2);
    assert_int_equal(soc.cores[7].cluster, 0);
    assert_int_equal(soc.cores[7].capacity, 1024);
}

static void test_convolutions_scale_and_a_hostile_model_does_not(void **state)
{
    (void)state;
    for (size_t i = 0; i < DEVICE_PHONES; i++) {
        read_device(DEVICE_PHONE_NAMES[i]);
        read_workload("dense");
        assert_true(ms(2, 0, 0) < 0.6 * ms(1, 0, 0) || device.clusters[0].n_cores < 2);
        assert_true(ms(0, 2, 0) < 0.6 * ms(0, 1, 0));
        read_workload("shuffle");
        assert_true(ms(0, 2, 4) > ms(1, 0, 0));
    }
    /* The paper's Pixel 3: four big cores are slower than one. */
    read_device("pixel_3");
    assert_true(ms(4, 0, 0) > ms(1, 0, 0));
}

static void test_power_adds_up(void **state)
{
    const struct choice choice = {{1, 0, 2}};

    (void)state;
    read_device("mi_10");
    assert_true(fabs(device_watts(&device, &choice) - (0.2 + 0.984 + 2 * 0.115)) < 1e-9);
}

static void test_noise_comes_from_the_seed_and_is_as_large_as_told(void **state)
{
    static const struct device_noise noise = {0.04, 0.05, 0};
    const struct choice choice = {{1, 3, 0}};
    struct rng one, other;
    double sum = 0, squares = 0;
    int n = 4000;

    (void)state;
    read_device("mi_10");
    read_workload("dense");
    rng_init(&one, 7, "noise", 0);
    rng_init(&other, 7, "noise", 0);
    for (int i = 0; i < n; i++) {
        struct device_step a = device_step(&device, &workload, &choice, &noise, &one);
        struct device_step b = device_step(&device, &workload, &choice, &noise, &other);
        double off = log(a.ms / ms(1, 3, 0));

        assert_true(a.ms == b.ms && a.mj == b.mj);
        sum += off;
        squares += off * off;
    }
    assert_true(fabs(sum / n) < 4 * 0.04 / sqrt(n));
    assert_true(fabs(sqrt(squares / n) - 0.04) < 0.004);
}

static void check_refused(const char *bytes, cygnet_status want, const char *why)
{
    struct device_model before = device;
    cygnet_error err = {0};

    assert_int_equal(device_model_parse(&device, bytes, strlen(bytes), &err), want);
    if (!strstr(err.message, why))
        fail_msg("\"%s\" does not hold \"%s\"", err.message, why);
    assert_memory_equal(&before, &device, sizeof(device));
}

#define CLUSTER(capacity, speed)                                                         \
    "{\"name\":\"big\",\"cores\":2,\"capacity\":" capacity                               \
    ",\"max_khz\":1,\"speed\":" speed ",\"watts\":1}"
#define DEVICE(clusters)                                                                 \
    "{\"format\":1,\"name\":\"n\",\"soc\":\"s\",\"shared_watts\":0,"                     \
    "\"clusters\":" clusters "}"

static void test_files_that_make_no_sense_are_refused(void **state)
{
    char long_text[64];

    (void)state;
    check_refused("", CYGNET_EFORMAT, "");
    check_refused("[]", CYGNET_EFORMAT, "want an object");
    check_refused("{\"format\":2}", CYGNET_EFORMAT, "format");
    check_refused(DEVICE("[]"), CYGNET_EFORMAT, "want 1 to 8");
    check_refused(DEVICE("{}"), CYGNET_EFORMAT, "want 1 to 8");
    check_refused(DEVICE("[1]"), CYGNET_EFORMAT, "want objects");
    check_refused(DEVICE("[" CLUSTER("0", "1") "]"), CYGNET_EFORMAT, "capacity");
    check_refused(DEVICE("[" CLUSTER("9", "0") "]"), CYGNET_EFORMAT, "speed");
    check_refused(DEVICE("[" CLUSTER("9", "null") "]"), CYGNET_EFORMAT, "speed");
    check_refused(DEVICE("[" CLUSTER("9", "1") "," CLUSTER("10", "1") "]"),
                  CYGNET_EFORMAT, "most capable first");
    memset(long_text, '[', sizeof(long_text));
    long_text[sizeof(long_text) - 1] = '\0';
    check_refused(long_text, CYGNET_ELIMIT, "");
}

static void test_an_unknown_workload_is_not_found(void **state)
{
    struct device_workload before;
    cygnet_error err;
    size_t len = read_file("workloads");

    (void)state;
    memset(&workload, 0, sizeof(workload));
    before = workload;
    assert_int_equal(device_workload_parse(&workload, "transformer", text, len, &err),
                     CYGNET_ENOTFOUND);
    assert_non_null(strstr(err.message, "transformer"));
    assert_int_equal(device_workload_parse(&workload, "dense", "{\"format\":1}", 12,
                                           &err),
                     CYGNET_EFORMAT);
    assert_memory_equal(&before, &workload, sizeof(workload));
}

static void test_any_damaged_byte_is_survived(void **state)
{
    struct rng rng;

    (void)state;
    rng_init(&rng, chosen_seed(), "damage", 0);
    for (int i = 0; i < N_DAMAGES; i++) {
        size_t len = read_file("mi_10");

        text[rng_below(&rng, len)] = (char)rng_below(&rng, 256);
        (void)device_model_parse(&device, text, len, NULL);
        len = read_file("workloads");
        text[rng_below(&rng, len)] = (char)rng_below(&rng, 256);
        (void)device_workload_parse(&workload, "shuffle", text, len, NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_number_of_a_phone_names_its_source),
        cmocka_unit_test(test_a_phone_becomes_a_soc),
        cmocka_unit_test(test_convolutions_scale_and_a_hostile_model_does_not),
        cmocka_unit_test(test_power_adds_up),
        cmocka_unit_test(test_noise_comes_from_the_seed_and_is_as_large_as_told),
        cmocka_unit_test(test_files_that_make_no_sense_are_refused),
        cmocka_unit_test(test_an_unknown_workload_is_not_found),
        cmocka_unit_test(test_any_damaged_byte_is_survived),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
