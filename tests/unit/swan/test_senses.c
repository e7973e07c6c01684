/* What the senses read: own waits, what others use, frequency limits; and what they
 * make of files that are missing or nonsense. Then, which cores a choice gets. */
#include "base/rng.h"
#include "engine/swan/place.h"
#include "engine/swan/senses.h"
#include "tree.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { N_THREADS = 2 };

static const int32_t threads[N_THREADS] = {100, 101};

struct bench {
    struct tree tree;
    struct soc soc;
    struct senses *senses;
    struct controller_sight sight;
    bool in_use[SOC_MAX_CORES];
};

/* In place, as the kernel's files change under an open descriptor. */
static void put(const struct bench *b, const char *path, const char *line)
{
    char full[PATH_MAX];
    FILE *file;

    (void)snprintf(full, sizeof(full), "%s/%s", b->tree.root, path);
    file = fopen(full, "r+");
    if (!file) {
        tree_put(&b->tree, path, line);
        return;
    }
    assert_true(fprintf(file, "%s\n", line) > 0);
    assert_int_equal(fflush(file), 0);
    assert_int_equal(ftruncate(fileno(file), ftell(file)), 0);
    assert_int_equal(fclose(file), 0);
}

static void put_thread(const struct bench *b, int32_t thread, uint64_t run_ms,
                       uint64_t wait_ms, unsigned cpu)
{
    char path[64], line[256];

    (void)snprintf(path, sizeof(path), "proc/self/task/%d/schedstat", (int)thread);
    (void)snprintf(line, sizeof(line), "%" PRIu64 " %" PRIu64 " 7", run_ms * 1000000,
                   wait_ms * 1000000);
    put(b, path, line);
    (void)snprintf(path, sizeof(path), "proc/self/task/%d/stat", (int)thread);
    (void)snprintf(
        line, sizeof(line),
        "%d (a) b) 1 (c) S 1 1 1 0 -1 0 0 0 0 0 1 1 0 0 20 0 4 0 1 1 1 1 1 1 1 1 "
        "1 0 0 0 0 0 0 0 17 %u 0 5",
        (int)thread, cpu);
    put(b, path, line);
}

/* Ticks of 10 ms, of each core. */
static void put_stat(const struct bench *b, const unsigned busy[2],
                     const unsigned idle[2])
{
    char line[512];

    (void)snprintf(line, sizeof(line),
                   "cpu  1 2 3 4 5 6 7 8 9 0\n"
                   "cpu0 %u 0 0 %u 0 0 0 0 0 0\ncpu1 %u 0 0 %u 0 0 0 0 0 0\n"
                   "intr 1 2 3\n",
                   busy[0], idle[0], busy[1], idle[1]);
    put(b, "proc/stat", line);
}

static struct soc two_cores(void)
{
    struct soc soc = {.n_cores = 2, .n_clusters = 1};

    soc.clusters[0].n_cores = 2;
    for (uint32_t i = 0; i < 2; i++)
        soc.cores[i] = (struct soc_core){
            .cpu = i, .core = i, .max_khz = 2000000, .online = true, .allowed = true};
    return soc;
}

static int setup(void **state)
{
    static struct bench b;

    memset(&b, 0, sizeof(b));
    tree_init(&b.tree);
    b.soc = two_cores();
    b.in_use[0] = b.in_use[1] = true;
    *state = &b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;

    senses_close(b->senses);
    tree_clear(&b->tree);
    return 0;
}

static void open_senses(struct bench *b)
{
    assert_int_equal(senses_open(&b->senses, b->tree.root, threads, N_THREADS, NULL,
                                 NULL),
                     CYGNET_OK);
}

static void look(struct bench *b, double now_ms)
{
    b->sight.now_ms = now_ms;
    senses_look(b->senses, &b->sight, &b->soc, b->in_use);
}

static void assert_near(double value, double wanted)
{
    if (!(fabs(value - wanted) < 1e-6))
        fail_msg("%g is not %g", value, wanted);
}

static void test_waits_and_use_are_shares_of_the_time_between_looks(void **state)
{
    struct bench *b = *state;

    put_thread(b, 100, 1000, 10, 0);
    put_thread(b, 101, 500, 20, 1);
    put_stat(b, (unsigned[]){100, 50}, (unsigned[]){0, 50});
    open_senses(b);
    look(b, 1000.0);
    assert_true(isnan(b->sight.wait[0]) && isnan(b->sight.foreign[1]));
    put_thread(b, 100, 1080, 10, 0);
    put_thread(b, 101, 550, 50, 1);
    put_stat(b, (unsigned[]){108, 58}, (unsigned[]){2, 52});
    look(b, 1100.0);
    assert_near(b->sight.wait[0], 0.0);
    assert_near(b->sight.wait[1], 0.3);
    assert_near(b->sight.foreign[0], 0.8 - 0.8);
    assert_near(b->sight.foreign[1], 0.8 - 0.5);
}

/* Two of our threads on one core wait for each other: that is nobody else. */
static void test_own_threads_are_not_others(void **state)
{
    struct bench *b = *state;

    put_thread(b, 100, 0, 0, 0);
    put_thread(b, 101, 0, 0, 0);
    open_senses(b);
    look(b, 1000.0);
    put_thread(b, 100, 50, 50, 0);
    put_thread(b, 101, 50, 50, 0);
    look(b, 1100.0);
    assert_near(b->sight.wait[0], 0.0);
    assert_true(isnan(b->sight.wait[1]));
    assert_true(isnan(b->sight.foreign[0])); /* there is no proc/stat */
}

/* A thread of ours that cannot be looked at may be whoever is busy. */
static void test_others_are_unknown_without_what_the_threads_took(void **state)
{
    struct bench *b = *state;

    put_thread(b, 100, 0, 0, 0);
    put_stat(b, (unsigned[]){100, 50}, (unsigned[]){0, 50});
    open_senses(b); /* thread 101 has no files */
    for (unsigned i = 0; i < 3; i++) {
        put_thread(b, 100, 50 * i, 0, 0);
        put_stat(b, (unsigned[]){110 + 10 * i, 60 + 10 * i}, (unsigned[]){0, 50});
        look(b, 1000.0 + 100.0 * i);
        assert_true(isnan(b->sight.foreign[0]) && isnan(b->sight.foreign[1]));
    }
    assert_near(b->sight.wait[0], 0.0);
}

static void test_without_files_everything_is_unknown(void **state)
{
    struct bench *b = *state;

    open_senses(b);
    for (int i = 0; i < 3; i++) {
        look(b, 1000.0 + 20.0 * i);
        for (uint32_t k = 0; k < 2; k++)
            assert_true(isnan(b->sight.wait[k]) && isnan(b->sight.foreign[k]));
        assert_true(isnan(b->sight.clock));
    }
}

static void test_the_lowest_limit_of_the_cores_in_use_counts(void **state)
{
    struct bench *b = *state;

    tree_put_number(&b->tree, "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq",
                    1500000);
    tree_put_number(&b->tree, "sys/devices/system/cpu/cpu1/cpufreq/scaling_max_freq",
                    1000000);
    open_senses(b);
    look(b, 1000.0);
    assert_near(b->sight.clock, 0.5);
    b->in_use[1] = false;
    look(b, 1020.0);
    assert_near(b->sight.clock, 0.75);
}

/* Bytes of any kind in place of the files: no crash, and no share that is no number. */
static void test_nonsense_in_the_files_is_survived(void **state)
{
    static const char *const files[] = {"proc/stat", "proc/self/task/100/stat",
                                        "proc/self/task/100/schedstat"};
    struct bench *b = *state;
    struct rng rng;

    rng_init(&rng, 1, "nonsense", 0);
    put_thread(b, 100, 0, 0, 0);
    put_stat(b, (unsigned[]){1, 1}, (unsigned[]){1, 1});
    open_senses(b);
    for (int i = 0; i < 300; i++) {
        char line[200];
        size_t n = (size_t)rng_below(&rng, sizeof(line) - 1);

        for (size_t k = 0; k < n; k++)
            line[k] = (char)(rng_below(&rng, 4) ? "cpu 0123456789()"[rng_below(&rng, 16)]
                                                : 1 + (int)rng_below(&rng, 120));
        line[n] = '\0';
        put(b, files[rng_below(&rng, 3)], line);
        look(b, 1000.0 + 20.0 * i);
        for (uint32_t k = 0; k < 2; k++)
            assert_true(isnan(b->sight.wait[k]) || isfinite(b->sight.wait[k]));
    }
}

static void test_this_machine_is_seen(void **state)
{
    struct bench *b = *state;
    int32_t self[1] = {(int32_t)getpid()};
    struct soc soc;

    assert_int_equal(soc_read(&soc, "/", NULL), CYGNET_OK);
    assert_int_equal(senses_open(&b->senses, "/", self, 1, NULL, NULL), CYGNET_OK);
    b->sight.now_ms = 0.0;
    senses_look(b->senses, &b->sight, &soc, b->in_use);
    b->sight.now_ms = 100.0;
    senses_look(b->senses, &b->sight, &soc, b->in_use);
    for (uint32_t i = 0; i < soc.n_cores; i++)
        assert_true(isnan(b->sight.wait[i]) || b->sight.wait[i] >= 0.0);
}

/* ---- Places ------------------------------------------------------------------ */

/* Four LITTLE cores 0-3 and two big ones 4 and 5, the big ones siblings 6 and 7. */
static struct soc eight_cores(void)
{
    static const uint32_t clusters[] = {1, 1, 1, 1, 0, 0, 0, 0};
    static const uint32_t cores[] = {0, 1, 2, 3, 4, 5, 4, 5};
    struct soc soc = {.n_cores = 8, .n_clusters = 2};

    for (uint32_t i = 0; i < 8; i++) {
        soc.cores[i] = (struct soc_core){.cpu = i,
                                         .cluster = clusters[i],
                                         .core = cores[i],
                                         .online = true,
                                         .allowed = true};
        soc.clusters[clusters[i]].n_cores++;
    }
    return soc;
}

static void check_cpus(const struct pool_grant *grant, uint32_t n, const uint32_t *cpus)
{
    assert_int_equal(grant->n_threads, n);
    assert_int_equal(grant->n_cpus, n);
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(grant->cpus[i], cpus[i]);
}

static void test_whole_cores_come_before_siblings(void **state)
{
    const struct choice two = {{2, 1}}, three = {{3, 0}};
    struct pool_grant grant, none = {0};
    struct soc soc = eight_cores();
    struct controller c;

    (void)state;
    controller_init(&c, 0.0);
    place_choice(&grant, &two, PLACEMENT_MASK, &soc, &c, &none);
    check_cpus(&grant, 3, (const uint32_t[]){4, 5, 0});
    assert_int_equal(grant.group[1], 0);
    assert_int_equal(grant.group[2], 1);
    place_choice(&grant, &three, PLACEMENT_MASK, &soc, &c, &none);
    check_cpus(&grant, 3, (const uint32_t[]){4, 5, 6});
    soc.cores[4].online = false; /* then its sibling 6 is a whole core */
    place_choice(&grant, &(struct choice){{2, 0}}, PLACEMENT_MASK, &soc, &c, &none);
    check_cpus(&grant, 2, (const uint32_t[]){5, 6});
    place_choice(&grant, &three, PLACEMENT_MASK, &soc, &c, &none);
    check_cpus(&grant, 3, (const uint32_t[]){5, 6, 7});
}

static void test_cores_that_others_want_come_last(void **state)
{
    const struct choice choice = {{1, 2}};
    struct pool_grant grant, before = {0};
    struct soc soc = eight_cores();
    struct controller c;

    (void)state;
    controller_init(&c, 0.0);
    c.foreigns[4].is_high = true;
    c.waits[1].is_high = true;
    place_choice(&grant, &choice, PLACEMENT_MASK, &soc, &c, &before);
    check_cpus(&grant, 3, (const uint32_t[]){5, 0, 2});
}

static void test_threads_stay_where_they_are(void **state)
{
    const struct choice choice = {{1, 2}};
    struct pool_grant grant, before = {.n_threads = 2, .n_cpus = 2, .cpus = {7, 3}};
    struct soc soc = eight_cores();
    struct controller c;

    (void)state;
    controller_init(&c, 0.0);
    place_choice(&grant, &choice, PLACEMENT_MASK, &soc, &c, &before);
    check_cpus(&grant, 3, (const uint32_t[]){7, 0, 3});
    before = grant;
    place_choice(&grant, &choice, PLACEMENT_MASK, &soc, &c, &before);
    assert_true(place_equal(&grant, &before));
    soc.cores[7].online = false;
    place_choice(&grant, &choice, PLACEMENT_MASK, &soc, &c, &before);
    check_cpus(&grant, 3, (const uint32_t[]){4, 0, 3});
    assert_false(place_equal(&grant, &before));
}

static void test_without_masks_only_the_number_is_granted(void **state)
{
    const struct choice choice = {{1, 2}};
    struct pool_grant grant, none = {0};
    struct soc soc = eight_cores();
    struct controller c;

    (void)state;
    controller_init(&c, 0.0);
    place_choice(&grant, &choice, PLACEMENT_NONE, &soc, &c, &none);
    assert_int_equal(grant.n_threads, 3);
    assert_int_equal(grant.n_cpus, 0);
}

/* The system lets a step run somewhere, whatever its files say. */
static void test_a_thread_is_left_where_no_core_is(void **state)
{
    const struct choice choice = {{1, 2}};
    struct pool_grant grant, none = {0};
    struct soc soc = eight_cores();
    struct controller c;

    (void)state;
    controller_init(&c, 0.0);
    for (uint32_t i = 0; i < soc.n_cores; i++)
        soc.cores[i].allowed = false;
    place_choice(&grant, &choice, PLACEMENT_MASK, &soc, &c, &none);
    assert_int_equal(grant.n_threads, 1);
    assert_int_equal(grant.n_cpus, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_waits_and_use_are_shares_of_the_time_between_looks),
        TEST(test_own_threads_are_not_others),
        TEST(test_others_are_unknown_without_what_the_threads_took),
        TEST(test_without_files_everything_is_unknown),
        TEST(test_the_lowest_limit_of_the_cores_in_use_counts),
        TEST(test_nonsense_in_the_files_is_survived),
        TEST(test_this_machine_is_seen),
        cmocka_unit_test(test_whole_cores_come_before_siblings),
        cmocka_unit_test(test_cores_that_others_want_come_last),
        cmocka_unit_test(test_threads_stay_where_they_are),
        cmocka_unit_test(test_without_masks_only_the_number_is_granted),
        cmocka_unit_test(test_a_thread_is_left_where_no_core_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
