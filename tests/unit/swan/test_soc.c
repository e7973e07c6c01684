/* The topology of known devices, read from their sysfs as files, and of this machine. */
#include "engine/pool/affinity.h"
#include "engine/swan/soc.h"
#include "swan_fixture.h"
#include "tests/fakes/fake_soc.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MAX_WANTED = 4 };

/* A cluster as a fixture's device has it; cpus: its CPUs as a text. */
struct wanted_cluster {
    const char *name;
    const char *cpus;
    uint32_t capacity;
    uint32_t max_mhz;
    uint32_t n_physical;
    uint32_t l2_kb;
    uint32_t l2_n_cpus;
    uint32_t l3_kb;
};

/* usable  CPUs that may be used, as a text */
struct wanted_soc {
    const char *fixture;
    const char *usable;
    struct wanted_cluster clusters[MAX_WANTED];
};

static const struct wanted_soc devices[] = {
    {"pixel_3",
     "0 1 2 3 4 5 6 7",
     {{"big", "4 5 6 7", 1024, 2803, 4, 256, 1, 2048},
      {"LITTLE", "0 1 2 3", 385, 1766, 4, 128, 1, 2048}}},
    {"galaxy_s10e",
     "0 1 2 3 4 5 6 7",
     {{"prime", "7", 1024, 2841, 1, 0, 0, 0},
      {"big", "4 5 6", 871, 2419, 3, 0, 0, 0},
      {"LITTLE", "0 1 2 3", 306, 1785, 4, 0, 0, 0}}},
    {"galaxy_s10e_exynos",
     "0 1 2 3 4 5 6 7",
     {{"prime", "6 7", 1024, 2730, 2, 0, 0, 0},
      {"big", "4 5", 866, 2310, 2, 0, 0, 0},
      {"LITTLE", "0 1 2 3", 731, 1950, 4, 0, 0, 0}}},
    {"oneplus_8",
     "0 1 2 3 4 5 6 7",
     {{"prime", "7", 1024, 2841, 1, 0, 0, 0},
      {"big", "4 5 6", 871, 2419, 3, 0, 0, 0},
      {"LITTLE", "0 1 2 3", 284, 1804, 4, 0, 0, 0}}},
    {"galaxy_tab_s6",
     "0 1 2 3",
     {{"prime", "7", 1024, 2841, 1, 512, 1, 2048},
      {"big", "4 5 6", 871, 2419, 3, 256, 1, 2048},
      {"LITTLE", "0 1 2 3", 306, 1785, 4, 128, 1, 2048}}},
    {"mi_10",
     "0 1 2 3 4 5 6",
     {{"prime", "7", 1024, 2841, 1, 0, 0, 0},
      {"big", "4 5 6", 871, 2419, 3, 256, 1, 4096},
      {"LITTLE", "0 1 2 3", 284, 1804, 4, 128, 1, 4096}}},
    {"laptop_smt",
     "0 1 2 3 4 5 6 7",
     {{"all", "0 1 2 3 4 5 6 7", 1024, 4600, 4, 256, 2, 8192}}},
    {"hybrid_i7_1260p",
     "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15",
     {{"big", "0 1 2 3 4 5 6 7", 1024, 4700, 4, 1280, 2, 18432},
      {"LITTLE", "8 9 10 11 12 13 14 15", 582, 3400, 8, 2048, 4, 18432}}},
    {"apple_m1",
     "0 1 2 3 4 5 6 7",
     {{"big", "4 5 6 7", 1024, 2988, 4, 12288, 4, 0},
      {"LITTLE", "0 1 2 3", 493, 2064, 4, 4096, 4, 0}}},
    {"vm_without_cpufreq", "0 1", {{"all", "0 1", 1024, 0, 2, 1024, 1, 32768}}},
    {"container_cpuset",
     "4 5",
     {{"all", "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15", 1024, 3500, 16, 0, 0, 0}}},
};

#define N_DEVICES (sizeof(devices) / sizeof(devices[0]))

static void add_number(char *text, size_t size, uint32_t number)
{
    size_t used = strlen(text);

    (void)snprintf(text + used, size - used, "%s%u", used > 0 ? " " : "",
                   (unsigned)number);
}

static void check_cluster(const struct soc *soc, uint32_t k,
                          const struct wanted_cluster *wanted)
{
    const struct soc_cluster *cluster = &soc->clusters[k];
    char cpus[256] = "";
    uint32_t n_cores = 0;

    for (uint32_t i = 0; i < soc->n_cores; i++) {
        if (soc->cores[i].cluster != k)
            continue;
        add_number(cpus, sizeof(cpus), soc->cores[i].cpu);
        n_cores++;
    }
    assert_string_equal(cluster->name, wanted->name);
    assert_string_equal(cpus, wanted->cpus);
    assert_int_equal(cluster->n_cores, n_cores);
    assert_int_equal(cluster->capacity, wanted->capacity);
    assert_int_equal(cluster->max_khz / 1000, wanted->max_mhz);
    assert_int_equal(soc_n_physical(soc, k), wanted->n_physical);
    assert_int_equal(cluster->l2_bytes / 1024, wanted->l2_kb);
    assert_int_equal(cluster->l2_n_cpus, wanted->l2_n_cpus);
    assert_int_equal(cluster->l3_bytes / 1024, wanted->l3_kb);
}

static void check_usable(const struct soc *soc, const char *wanted)
{
    char usable[256] = "";
    uint32_t n = 0, n_by_cluster = 0;

    for (uint32_t i = 0; i < soc->n_cores; i++) {
        if (!soc_usable(&soc->cores[i]))
            continue;
        add_number(usable, sizeof(usable), soc->cores[i].cpu);
        n++;
    }
    for (uint32_t k = 0; k < soc->n_clusters; k++)
        n_by_cluster += soc_n_usable(soc, k);
    assert_string_equal(usable, wanted);
    assert_int_equal(n_by_cluster, n);
}

static void test_known_devices_have_their_clusters(void **state)
{
    (void)state;
    for (size_t d = 0; d < N_DEVICES; d++) {
        struct fake_soc *fake = fake_soc_load(SOC_DIR, devices[d].fixture);
        struct soc soc = soc_at(fake->root);
        uint32_t k = 0;

        print_message("# %s\n", devices[d].fixture);
        for (; k < MAX_WANTED && devices[d].clusters[k].name; k++) {
            assert_true(k < soc.n_clusters);
            check_cluster(&soc, k, &devices[d].clusters[k]);
        }
        assert_int_equal(soc.n_clusters, k);
        check_usable(&soc, devices[d].usable);
        fake_soc_destroy(fake);
    }
}

static void test_siblings_share_a_physical_core(void **state)
{
    struct fake_soc *fake = fake_soc_load(SOC_DIR, "laptop_smt");
    struct soc soc = soc_at(fake->root);

    (void)state;
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(soc.cores[i].core, i);
        assert_int_equal(soc.cores[i + 4].core, i);
    }
    fake_soc_destroy(fake);
    /* Without lists of siblings, by package, cluster and core. */
    fake = fake_soc_create();
    fake_soc_add(fake, "present 0-3\n"
                       "cpu{0-3}/topology/physical_package_id 0\n"
                       "cpu{0-1}/topology/core_id 5\n"
                       "cpu{2-3}/topology/core_id 5\n"
                       "cpu{0-1}/topology/cluster_id 0\n"
                       "cpu{2-3}/topology/cluster_id 1\n");
    soc = soc_at(fake->root);
    assert_int_equal(soc.cores[1].core, 0);
    assert_int_equal(soc.cores[2].core, 2);
    assert_int_equal(soc.cores[3].core, 2);
    fake_soc_destroy(fake);
}

static void check_l2(struct fake_soc *fake, const char *size, uint64_t wanted)
{
    fake_soc_set(fake, "cpu0/cache/index2/size", size);
    assert_int_equal(soc_at(fake->root).clusters[0].l2_bytes, wanted);
}

static void test_a_cache_without_a_size_is_unknown(void **state)
{
    struct fake_soc *fake = fake_soc_create();

    (void)state;
    fake_soc_add(fake, "present 0\ncpu0/cache/index2/level 2\n");
    assert_int_equal(soc_at(fake->root).clusters[0].l2_bytes, 0);
    check_l2(fake, "512K", 512 * 1024);
    check_l2(fake, "65536", 65536);
    check_l2(fake, "512KB", 0);
    check_l2(fake, "-512K", 0);
    check_l2(fake, "4294967296K", 0);
    check_l2(fake, "K", 0);
    fake_soc_destroy(fake);
}

static void test_frequencies_are_read_as_they_are_now(void **state)
{
    struct fake_soc *fake = fake_soc_load(SOC_DIR, "pixel_3");

    (void)state;
    assert_int_equal(soc_read_khz(5, fake->root), 825600);
    assert_int_equal(soc_read_khz_limit(5, fake->root), 2803200);
    fake_soc_set(fake, "cpu5/cpufreq/scaling_max_freq", "1228800");
    assert_int_equal(soc_read_khz_limit(5, fake->root), 1228800);
    fake_soc_set(fake, "cpu5/cpufreq/scaling_cur_freq", "<unknown>");
    assert_int_equal(soc_read_khz(5, fake->root), 0);
    fake_soc_set(fake, "cpu5/cpufreq/scaling_max_freq", NULL);
    assert_int_equal(soc_read_khz_limit(5, fake->root), 0);
    assert_int_equal(soc_read_khz(99, fake->root), 0);
    fake_soc_destroy(fake);
}

static void test_favoured_cores_stay_with_their_like(void **state)
{
    struct fake_soc *fake = fake_soc_create();
    struct soc soc;

    (void)state;
    fake_soc_add(fake, "present 0-3\n"
                       "cpu{0-1}/cpufreq/cpuinfo_max_freq 5200000\n"
                       "cpu{2-3}/cpufreq/cpuinfo_max_freq 5000000\n");
    soc = soc_at(fake->root);
    assert_int_equal(soc.n_clusters, 1);
    assert_int_equal(soc.cores[0].capacity, 1024);
    assert_int_equal(soc.cores[3].capacity, 984);
    /* At 12 % they still do, beyond not; a chain of small steps is no excuse. */
    fake_soc_set(fake, "cpu3/cpufreq/cpuinfo_max_freq", "4590000");
    assert_int_equal(soc_at(fake->root).n_clusters, 1);
    fake_soc_set(fake, "cpu3/cpufreq/cpuinfo_max_freq", "4560000");
    soc = soc_at(fake->root);
    assert_int_equal(soc.n_clusters, 2);
    assert_int_equal(soc.clusters[0].n_cores, 3);
    fake_soc_destroy(fake);
}

static void test_hybrid_kinds_stay_apart_at_one_frequency(void **state)
{
    struct fake_soc *fake = fake_soc_create();
    struct soc soc;

    (void)state;
    fake_soc_add(fake, "present 0-5\n"
                       "/sys/devices/cpu_lowpower/cpus 0\n"
                       "/sys/devices/cpu_atom/cpus 1-3\n"
                       "/sys/devices/cpu_core/cpus 4-5\n");
    soc = soc_at(fake->root);
    assert_int_equal(soc.n_clusters, 3);
    assert_int_equal(soc.clusters[0].capacity, 1024);
    assert_int_equal(soc.clusters[1].capacity, 805);
    assert_int_equal(soc.cores[4].cluster, 0);
    assert_int_equal(soc.cores[1].cluster + soc.cores[0].cluster, 3);
    fake_soc_destroy(fake);
}

static void test_more_steps_than_clusters_are_merged(void **state)
{
    struct fake_soc *fake = fake_soc_create();
    struct soc soc;
    char path[64], khz[16];

    (void)state;
    fake_soc_add(fake, "present 0-19\n");
    for (unsigned i = 0; i < 20; i++) {
        (void)snprintf(path, sizeof(path), "cpu%u/cpufreq/cpuinfo_max_freq", i);
        (void)snprintf(khz, sizeof(khz), "%u", 5000000u >> i);
        fake_soc_set(fake, path, khz);
    }
    soc = soc_at(fake->root);
    assert_in_range(soc.n_clusters, 1, SOC_MAX_CLUSTERS);
    for (uint32_t i = 1; i < soc.n_cores; i++)
        assert_true(soc.cores[i].cluster >= soc.cores[i - 1].cluster);
    fake_soc_destroy(fake);
}

static void test_four_kinds_of_cores_have_names(void **state)
{
    struct fake_soc *fake = fake_soc_create();
    struct soc soc;

    (void)state;
    fake_soc_add(fake, "present 0-3\n"
                       "cpu0/cpu_capacity 200\n"
                       "cpu1/cpu_capacity 600\n"
                       "cpu2/cpu_capacity 800\n"
                       "cpu3/cpu_capacity 1024\n");
    soc = soc_at(fake->root);
    assert_int_equal(soc.n_clusters, 4);
    assert_string_equal(soc.clusters[0].name, "prime");
    assert_string_equal(soc.clusters[1].name, "big1");
    assert_string_equal(soc.clusters[2].name, "big2");
    assert_string_equal(soc.clusters[3].name, "LITTLE");
    fake_soc_destroy(fake);
}

static void test_equal_capacities_of_unlike_cores_are_not_believed(void **state)
{
    struct fake_soc *fake = fake_soc_create();
    struct soc soc;

    (void)state;
    fake_soc_add(fake, "present 0-3\n"
                       "cpu{0-3}/cpu_capacity 1024\n"
                       "cpu{0-1}/cpufreq/cpuinfo_max_freq 1800000\n"
                       "cpu{2-3}/cpufreq/cpuinfo_max_freq 2800000\n");
    soc = soc_at(fake->root);
    assert_int_equal(soc.n_clusters, 2);
    assert_int_equal(soc.clusters[1].capacity, 658);
    fake_soc_destroy(fake);
}

static void test_without_sysfs_the_cpus_of_the_process_are_one_cluster(void **state)
{
    struct fake_soc *fake = fake_soc_create();
    struct soc soc = soc_at(fake->root);

    (void)state;
    assert_int_equal(soc.n_clusters, 1);
    assert_int_equal(soc.n_cores, affinity_n_cpus());
    assert_string_equal(soc.clusters[0].name, "all");
    fake_soc_add(fake, "/proc/self/status Cpus_allowed_list:\t2-4,9\n");
    soc = soc_at(fake->root);
    assert_int_equal(soc.n_cores, 4);
    assert_int_equal(soc.cores[3].cpu, 9);
    assert_int_equal(soc_n_usable(&soc, 0), 4);
    fake_soc_destroy(fake);
}

static void test_more_cores_than_the_limit_are_refused(void **state)
{
    struct fake_soc *fake = fake_soc_create();
    struct soc soc;
    cygnet_error err;

    (void)state;
    fake_soc_set(fake, "present", "0-255");
    assert_int_equal(soc_at(fake->root).n_cores, 256);
    fake_soc_set(fake, "present", "0-256");
    assert_int_equal(soc_read(&soc, fake->root, &err), CYGNET_ELIMIT);
    assert_non_null(strstr(err.message, "257 cores are more than 256"));
    fake_soc_set(fake, "present", "0,1024");
    assert_int_equal(soc_read(&soc, fake->root, &err), CYGNET_ELIMIT);
    assert_non_null(strstr(err.message, "cpu 1024 is beyond cpu 1023"));
    fake_soc_destroy(fake);
}

static void check_refused(struct fake_soc *fake, const char *says)
{
    struct soc soc;
    cygnet_error err;

    assert_int_equal(soc_read(&soc, fake->root, &err), CYGNET_EFORMAT);
    assert_int_equal(err.status, CYGNET_EFORMAT);
    if (!strstr(err.message, says))
        fail_msg("\"%s\" does not hold \"%s\"", err.message, says);
}

static void test_contradictions_are_named(void **state)
{
    struct fake_soc *fake = fake_soc_load(SOC_DIR, "pixel_3");

    (void)state;
    fake_soc_set(fake, "present", "0-");
    check_refused(fake, "cpu/present: not a list of CPUs");
    fake_soc_set(fake, "present", "0-7");
    fake_soc_set(fake, "online", "8-15");
    check_refused(fake, "cpu/online: names no core");
    fake_soc_set(fake, "online", "0-7");
    fake_soc_set(fake, "/proc/self/status", "Cpus_allowed_list:\t8");
    check_refused(fake, "Cpus_allowed_list names no core");
    fake_soc_destroy(fake);
}

static void test_this_machine_agrees_with_the_system(void **state)
{
    struct soc soc = soc_at("/");
    struct affinity mine;
    uint32_t n_usable = 0;

    (void)state;
    assert_int_equal(affinity_get(&mine, 0), 0);
    assert_true(soc.n_cores >= (uint32_t)sysconf(_SC_NPROCESSORS_ONLN));
    for (uint32_t i = 0; i < soc.n_cores; i++) {
        assert_int_equal(soc.cores[i].allowed, affinity_has(&mine, soc.cores[i].cpu));
        n_usable += soc_usable(&soc.cores[i]);
    }
    if (n_usable == 0)
        fail_msg("none of %u cores is usable", (unsigned)soc.n_cores);
    assert_false(soc_refresh(&soc, "/"));
}

static void test_a_mask_of_this_thread_is_seen_at_once(void **state)
{
    struct soc soc = soc_at("/");
    struct affinity home, one = {{0}};
    size_t n_before = affinity_n_cpus();
    uint32_t first = 0;

    (void)state;
    assert_int_equal(affinity_get(&home, 0), 0);
    while (!affinity_has(&home, first))
        first++;
    affinity_add(&one, first);
    assert_int_equal(affinity_set(0, &one), 0);
    assert_int_equal(soc_refresh(&soc, "/"), n_before > 1);
    for (uint32_t i = 0; i < soc.n_cores; i++)
        assert_int_equal(soc.cores[i].allowed, soc.cores[i].cpu == first);
    assert_int_equal(affinity_set(0, &home), 0);
    (void)soc_refresh(&soc, "/");
    for (uint32_t i = 0; i < soc.n_cores; i++)
        assert_int_equal(soc.cores[i].allowed, affinity_has(&home, soc.cores[i].cpu));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_devices_have_their_clusters),
        cmocka_unit_test(test_siblings_share_a_physical_core),
        cmocka_unit_test(test_a_cache_without_a_size_is_unknown),
        cmocka_unit_test(test_frequencies_are_read_as_they_are_now),
        cmocka_unit_test(test_favoured_cores_stay_with_their_like),
        cmocka_unit_test(test_hybrid_kinds_stay_apart_at_one_frequency),
        cmocka_unit_test(test_more_steps_than_clusters_are_merged),
        cmocka_unit_test(test_four_kinds_of_cores_have_names),
        cmocka_unit_test(test_equal_capacities_of_unlike_cores_are_not_believed),
        cmocka_unit_test(test_without_sysfs_the_cpus_of_the_process_are_one_cluster),
        cmocka_unit_test(test_more_cores_than_the_limit_are_refused),
        cmocka_unit_test(test_contradictions_are_named),
        cmocka_unit_test(test_this_machine_agrees_with_the_system),
        cmocka_unit_test(test_a_mask_of_this_thread_is_seen_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
