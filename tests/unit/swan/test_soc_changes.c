/* A topology whose cores come and go, and one whose files hold anything at all. */
#include "engine/swan/choice.h"
#include "engine/swan/cpu_list.h"
#include "swan_fixture.h"
#include "tests/fakes/fake_soc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_MUTATIONS = 40, MAX_GARBAGE = 6000 };

static const char *const fixtures[] = {
    "pixel_3",
    "galaxy_s10e",
    "galaxy_s10e_exynos",
    "galaxy_tab_s6",
    "oneplus_8",
    "mi_10",
    "laptop_smt",
    "hybrid_i7_1260p",
    "apple_m1",
    "vm_without_cpufreq",
    "container_cpuset",
};

#define N_FIXTURES (sizeof(fixtures) / sizeof(fixtures[0]))

static void test_a_core_that_is_unplugged_is_not_usable(void **state)
{
    struct fake_soc *fake = fake_soc_load(SOC_DIR, "galaxy_s10e");
    struct soc soc = soc_at(fake->root);
    struct choice big = {{1, 3}};

    (void)state;
    assert_false(soc_refresh(&soc, fake->root));
    assert_true(choice_is_possible(&big, &soc));
    fake_soc_set(fake, "online", "0-3,5-6");
    assert_true(soc_refresh(&soc, fake->root));
    assert_false(soc_find(&soc, 4)->online);
    assert_false(soc_find(&soc, 7)->online);
    assert_null(soc_find(&soc, 8));
    assert_int_equal(soc_n_usable(&soc, 0), 0);
    assert_int_equal(soc_n_usable(&soc, 1), 2);
    assert_false(choice_is_possible(&big, &soc));
    assert_false(soc_refresh(&soc, fake->root));
    fake_soc_set(fake, "online", "0-7");
    assert_true(soc_refresh(&soc, fake->root));
    assert_true(choice_is_possible(&big, &soc));
    fake_soc_destroy(fake);
}

static void test_cores_without_a_list_speak_for_themselves(void **state)
{
    struct fake_soc *fake = fake_soc_load(SOC_DIR, "mi_10");
    struct soc soc = soc_at(fake->root);

    (void)state;
    fake_soc_set(fake, "online", NULL);
    assert_false(soc_refresh(&soc, fake->root));
    fake_soc_set(fake, "cpu7/online", "1");
    fake_soc_set(fake, "cpu2/online", "0");
    assert_true(soc_refresh(&soc, fake->root));
    assert_true(soc_find(&soc, 7)->online);
    assert_false(soc_find(&soc, 2)->online);
    assert_true(soc_find(&soc, 0)->online); /* has no such file */
    fake_soc_destroy(fake);
}

static void test_a_shrinking_mask_is_seen(void **state)
{
    struct fake_soc *fake = fake_soc_load(SOC_DIR, "oneplus_8");
    struct soc soc = soc_at(fake->root);

    (void)state;
    fake_soc_set(fake, "/proc/self/status",
                 "Name:\tx\nCpus_allowed_list:\t0-3\nSpeed:\t1");
    assert_true(soc_refresh(&soc, fake->root));
    assert_int_equal(soc_n_usable(&soc, 0), 0);
    assert_int_equal(soc_n_usable(&soc, 1), 0);
    assert_int_equal(soc_n_usable(&soc, 2), 4);
    fake_soc_set(fake, "/proc/self/status", "Cpus_allowed_list:\t2");
    assert_true(soc_refresh(&soc, fake->root));
    assert_int_equal(soc_n_usable(&soc, 2), 1);
    /* The thread's own word counts, where the kernel has it. */
    fake_soc_add(fake, "/proc/thread-self/status Cpus_allowed_list:\t0-7\n");
    assert_true(soc_refresh(&soc, fake->root));
    assert_int_equal(soc_n_usable(&soc, 0), 1);
    fake_soc_destroy(fake);
}

static void test_what_cannot_be_read_stays(void **state)
{
    static const char *const bad[] = {"", "0-", "none"};
    struct fake_soc *fake = fake_soc_load(SOC_DIR, "galaxy_tab_s6");
    struct soc soc = soc_at(fake->root), was = soc;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char line[64];

        (void)snprintf(line, sizeof(line), "Cpus_allowed_list:\t%s", bad[i]);
        fake_soc_set(fake, "online", bad[i]);
        fake_soc_set(fake, "/proc/self/status", line);
        assert_false(soc_refresh(&soc, fake->root));
        assert_memory_equal(&soc, &was, sizeof(soc));
    }
    fake_soc_set(fake, "/proc/self/status", NULL);
    assert_false(soc_refresh(&soc, fake->root));
    fake_soc_destroy(fake);
}

static void test_an_offline_core_is_as_its_frequency_domain(void **state)
{
    struct fake_soc *fake = fake_soc_load(SOC_DIR, "pixel_3");
    struct soc whole = soc_at(fake->root), soc;
    static const char *const gone[] = {
        "cpu_capacity",     "cpufreq/cpuinfo_max_freq",      "cpufreq/related_cpus",
        "topology/core_id", "topology/thread_siblings_list",
    };

    (void)state;
    /* The kernel takes these away with the core: of a big one here, first in its
     * domain, whose neighbour below is small. */
    for (size_t i = 0; i < sizeof(gone) / sizeof(gone[0]); i++) {
        char path[64];

        (void)snprintf(path, sizeof(path), "cpu4/%s", gone[i]);
        fake_soc_set(fake, path, NULL);
    }
    fake_soc_set(fake, "online", "0-3,5-7");
    soc = soc_at(fake->root);
    assert_int_equal(soc.n_clusters, 2);
    assert_int_equal(soc.cores[4].cluster, 0);
    assert_int_equal(soc.cores[4].capacity, 1024);
    assert_int_equal(soc.cores[4].max_khz, 2803200);
    assert_false(soc.cores[4].online);
    assert_string_equal(soc.fingerprint, whole.fingerprint);
    fake_soc_destroy(fake);
}

static void test_the_fingerprint_is_of_what_does_not_change(void **state)
{
    struct fake_soc *fake = fake_soc_load(SOC_DIR, "pixel_3");
    struct soc soc = soc_at(fake->root), other;

    (void)state;
    assert_int_equal(strlen(soc.fingerprint), SOC_FINGERPRINT_BYTES - 1);
    fake_soc_set(fake, "online", "0-5");
    fake_soc_set(fake, "/proc/self/status", "Cpus_allowed_list:\t1");
    fake_soc_set(fake, "cpu5/cpufreq/scaling_max_freq", "825600");
    other = soc_at(fake->root);
    assert_string_equal(soc.fingerprint, other.fingerprint);
    fake_soc_set(fake, "cpu5/cpufreq/cpuinfo_max_freq", "2800000");
    other = soc_at(fake->root);
    assert_string_not_equal(soc.fingerprint, other.fingerprint);
    fake_soc_destroy(fake);
}

static void test_fixtures_have_fingerprints_of_their_own(void **state)
{
    char seen[N_FIXTURES][SOC_FINGERPRINT_BYTES];

    (void)state;
    for (size_t i = 0; i < N_FIXTURES; i++) {
        struct fake_soc *fake = fake_soc_load(SOC_DIR, fixtures[i]);
        struct soc soc = soc_at(fake->root);

        memcpy(seen[i], soc.fingerprint, sizeof(seen[i]));
        fake_soc_destroy(fake);
    }
    /* Two pairs of phones have one SoC: index 3 as 1, 5 as 4. */
    assert_string_equal(seen[3], seen[1]);
    assert_string_equal(seen[5], seen[4]);
    for (size_t i = 0; i < N_FIXTURES; i++) {
        for (size_t j = 0; j < i; j++)
            assert_int_equal(strcmp(seen[i], seen[j]) == 0,
                             (i == 3 && j == 1) || (i == 5 && j == 4));
    }
}

/* Whatever the files say, a SoC that is read makes sense. */
static void check_soc(const struct soc *soc)
{
    uint32_t n = 0;

    assert_in_range(soc->n_cores, 1, SOC_MAX_CORES);
    assert_in_range(soc->n_clusters, 1, SOC_MAX_CLUSTERS);
    for (uint32_t k = 0; k < soc->n_clusters; k++) {
        assert_in_range(soc->clusters[k].n_cores, 1, SOC_MAX_CORES);
        assert_in_range(strlen(soc->clusters[k].name), 1, SOC_NAME_BYTES - 1);
        assert_true(k == 0 || soc->clusters[k].capacity <= soc->clusters[k - 1].capacity);
        n += soc->clusters[k].n_cores;
    }
    assert_int_equal(n, soc->n_cores);
    for (uint32_t i = 0; i < soc->n_cores; i++) {
        const struct soc_core *core = &soc->cores[i];

        assert_true(i == 0 || core->cpu > soc->cores[i - 1].cpu);
        assert_in_range(core->capacity, 1, 1024);
        assert_true(core->cluster < soc->n_clusters);
        assert_true(core->capacity <= soc->clusters[core->cluster].capacity);
    }
    assert_int_equal(strlen(soc->fingerprint), SOC_FINGERPRINT_BYTES - 1);
}

/* Reads what there is; an error must be one that soc_read documents. */
static void read_any(const char *root)
{
    struct choice list[CHOICE_MAX];
    struct soc soc;
    cygnet_error err;
    cygnet_status st = soc_read(&soc, root, &err);

    if (st != CYGNET_OK) {
        assert_true(st == CYGNET_EFORMAT || st == CYGNET_ELIMIT);
        assert_in_range(strlen(err.message), 1, sizeof(err.message) - 1);
        return;
    }
    check_soc(&soc);
    assert_in_range(choice_list(list, &soc, 64), 1, CHOICE_MAX);
    (void)soc_refresh(&soc, root);
    check_soc(&soc);
    (void)soc_read_khz(0, root);
    (void)soc_read_khz_limit(0, root);
}

static void fill_all(struct fake_soc *fake, const void *text, size_t len)
{
    for (size_t i = 0; i < fake->n_files; i++) {
        char path[FAKE_SOC_PATH_BYTES + 1];

        (void)snprintf(path, sizeof(path), "/%s", fake->files[i]);
        fake_soc_put(fake, path, text, len);
    }
}

static void test_garbage_in_every_file_is_survived(void **state)
{
    static const char *const garbage[] = {
        "",
        "\n",
        "-1\n",
        "0\n",
        "99999999999999999999\n",
        "0-\n",
        "5-2\n",
        ",\n",
        "0-4294967295\n",
        "0-3,\n",
        "K\n",
        "1e5\n",
        "0 \n",
        "\xff\xfe\x80\n",
        "4294967295\n",
        "0x7\n",
        "Cpus_allowed_list:\t\n",
        "Cpus_allowed_list:\t0-7\n",
        "Cpus_allowed_list:",
        "1023\n",
    };
    struct fake_soc *fake = fake_soc_load(SOC_DIR, "pixel_3");
    char long_text[MAX_GARBAGE];

    (void)state;
    for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
        fill_all(fake, garbage[i], strlen(garbage[i]));
        read_any(fake->root);
        /* The same with a list of cores that is good, so that all else is read. */
        fake_soc_set(fake, "present", "0-7");
        read_any(fake->root);
    }
    memset(long_text, '9', sizeof(long_text));
    fill_all(fake, long_text, sizeof(long_text));
    read_any(fake->root);
    fill_all(fake, "0-7\0 1\n", 7);
    read_any(fake->root);
    fake_soc_destroy(fake);
}

/* Changes up to eight bytes, or cuts the text short. */
static void mutate(char *text, size_t *len, struct rng *rng)
{
    static const char likely[] = "0123456789-,: \n\tKM";
    uint64_t n = 1 + rng_below(rng, 8);

    if (*len > 0 && rng_below(rng, 8) == 0)
        *len = (size_t)rng_below(rng, *len);
    for (uint64_t i = 0; i<n && * len> 0; i++) {
        char *byte = &text[rng_below(rng, *len)];

        *byte = rng_below(rng, 3) > 0 ? likely[rng_below(rng, sizeof(likely) - 1)]
                                      : (char)rng_below(rng, 256);
    }
}

static void mutate_some(struct fake_soc *fake, struct rng *rng)
{
    uint64_t n = 1 + rng_below(rng, 4);

    for (uint64_t i = 0; i < n; i++) {
        size_t index = (size_t)rng_below(rng, fake->n_files), len;
        char path[FAKE_SOC_PATH_BYTES + 1];
        char *text = fake_soc_get(fake, index, &len);

        mutate(text, &len, rng);
        (void)snprintf(path, sizeof(path), "/%s", fake->files[index]);
        fake_soc_put(fake, path, text, len);
        free(text);
    }
}

static void test_mutated_fixtures_are_survived(void **state)
{
    struct rng rng;

    (void)state;
    rng_init(&rng, chosen_seed(), "mutations", 0);
    for (size_t f = 0; f < N_FIXTURES; f++) {
        struct fake_soc *fake = fake_soc_load(SOC_DIR, fixtures[f]);

        /* Damage adds up; the list of cores is made good again, or that is all that
         * is ever refused. */
        for (int i = 0; i < N_MUTATIONS; i++) {
            mutate_some(fake, &rng);
            read_any(fake->root);
            fake_soc_set(fake, "present", "0-7");
            if (rng_below(&rng, 2) > 0)
                fake_soc_set(fake, "online", "0-7");
        }
        fake_soc_destroy(fake);
    }
}

/* text  parsed: good or not, and then how many CPUs and the highest */
struct list_case {
    const char *text;
    bool good;
    size_t count;
    uint64_t highest;
};

static void test_lists_of_cpus_are_read_strictly(void **state)
{
    static const struct list_case cases[] = {
        {"0-3,7\n", true, 5, 7},
        {"", true, 0, 0},
        {"\n", true, 0, 0},
        {"0 1 2 3 \n", true, 4, 3},
        {"5", true, 1, 5},
        {"0-3,2-4", true, 5, 4},
        {"1023-1030", true, 1, 1030},
        {"0-4294967295", true, 1024, 4294967295u},
        {"4294967296", false, 0, 0},
        {"3-1", false, 0, 0},
        {"1,", false, 0, 0},
        {",1", false, 0, 0},
        {"1,,2", false, 0, 0},
        {"1-", false, 0, 0},
        {"-1", false, 0, 0},
        {"0x3", false, 0, 0},
        {"1-2-3", false, 0, 0},
        {"a", false, 0, 0},
        {"1;2", false, 0, 0},
        {"99999999999999999999", false, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct affinity set;
        uint64_t highest;
        bool good = cpu_list_parse(&set, &highest, cases[i].text);

        print_message("# \"%.*s\"\n", (int)strcspn(cases[i].text, "\n"), cases[i].text);
        assert_int_equal(good, cases[i].good);
        if (!good)
            continue;
        assert_int_equal(cpu_list_count(&set), cases[i].count);
        assert_int_equal(highest, cases[i].highest);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_core_that_is_unplugged_is_not_usable),
        cmocka_unit_test(test_cores_without_a_list_speak_for_themselves),
        cmocka_unit_test(test_a_shrinking_mask_is_seen),
        cmocka_unit_test(test_what_cannot_be_read_stays),
        cmocka_unit_test(test_an_offline_core_is_as_its_frequency_domain),
        cmocka_unit_test(test_the_fingerprint_is_of_what_does_not_change),
        cmocka_unit_test(test_fixtures_have_fingerprints_of_their_own),
        cmocka_unit_test(test_garbage_in_every_file_is_survived),
        cmocka_unit_test(test_mutated_fixtures_are_survived),
        cmocka_unit_test(test_lists_of_cpus_are_read_strictly),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
