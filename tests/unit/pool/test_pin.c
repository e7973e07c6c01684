/* Workers tied to CPUs, and models that are resized and tied while they train. */
#include "base/rng.h"
#include "pool_fixture.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static struct affinity my_cpus(void)
{
    struct affinity mine;

    assert_int_equal(affinity_get(&mine, 0), 0);
    return mine;
}

/* The CPUs of a set, in order; returns how many. */
static size_t list_cpus(uint32_t cpus[AFFINITY_MAX_CPUS], const struct affinity *set)
{
    size_t n = 0;

    for (uint32_t cpu = 0; cpu < AFFINITY_MAX_CPUS; cpu++) {
        if (affinity_has(set, cpu))
            cpus[n++] = cpu;
    }
    return n;
}

static void pin(struct pool *pool, const uint32_t *cpus, size_t n)
{
    cygnet_error err;

    if (pool_pin(pool, cpus, n, &err) != CYGNET_OK)
        fail_msg("%s", err.message);
}

/* cpus  NULL: each worker runs on `home` */
static void check_places(struct pool *pool, const uint32_t *cpus, size_t n,
                         const struct affinity *home)
{
    size_t n_workers = pool_executor(pool)->n_workers;
    struct meeting m;

    check_meeting(&m, pool, (unsigned)n_workers);
    for (size_t i = 0; i < n_workers; i++) {
        struct affinity wanted = {0};

        if (cpus)
            affinity_add(&wanted, cpus[i % n]);
        assert_memory_equal(&m.seen[i], cpus ? &wanted : home, sizeof(wanted));
    }
}

static void test_pinned_workers_stay_until_unpinned(void **state)
{
    struct affinity home = my_cpus();
    uint32_t cpus[AFFINITY_MAX_CPUS];
    size_t n = list_cpus(cpus, &home);
    struct pool *pool = make_pool(3);

    (void)state;
    pin(pool, NULL, 0);
    check_places(pool, NULL, 0, &home);
    pin(pool, &cpus[n - 1], 1);
    check_places(pool, &cpus[n - 1], 1, &home);
    pin(pool, cpus, n);
    check_places(pool, cpus, n, &home);
    pin(pool, NULL, 0);
    check_places(pool, NULL, 0, &home);
    pool_destroy(pool);
}

static void test_a_destroyed_pool_gives_its_caller_the_cpus_back(void **state)
{
    struct affinity home = my_cpus(), after;
    uint32_t cpus[AFFINITY_MAX_CPUS];
    struct pool *pool = make_pool(2);

    (void)state;
    list_cpus(cpus, &home);
    pin(pool, cpus, 1);
    pool_destroy(pool);
    after = my_cpus();
    assert_memory_equal(&after, &home, sizeof(home));
}

/* A CPU that no machine like this one has. */
static uint32_t missing_cpu(void)
{
    long n_configured = sysconf(_SC_NPROCESSORS_CONF);

    assert_in_range(n_configured, 1, AFFINITY_MAX_CPUS - 1);
    return AFFINITY_MAX_CPUS - 1;
}

static void test_a_cpu_that_the_system_refuses_moves_nobody(void **state)
{
    struct affinity home = my_cpus();
    uint32_t cpus[AFFINITY_MAX_CPUS];
    size_t n = list_cpus(cpus, &home);
    struct pool *pool = make_pool(3);
    uint32_t half_wrong[] = {cpus[0], missing_cpu()};
    cygnet_error err = {0};

    (void)state;
    assert_int_equal(pool_pin(pool, half_wrong, 2, &err), CYGNET_ENOTFOUND);
    assert_int_equal(err.detail, EINVAL);
    assert_non_null(strstr(err.message, "cpu 1023 does not exist"));
    check_places(pool, NULL, 0, &home);
    pin(pool, &cpus[n - 1], 1);
    assert_int_equal(pool_pin(pool, half_wrong, 2, &err), CYGNET_ENOTFOUND);
    check_places(pool, &cpus[n - 1], 1, &home);
    pool_destroy(pool);
}

static void test_a_list_of_cpus_that_makes_no_sense_is_refused(void **state)
{
    static const uint32_t beyond[] = {AFFINITY_MAX_CPUS}, twice[] = {0, 1, 0};
    struct affinity home = my_cpus();
    struct pool *pool = make_pool(2);
    cygnet_error err;

    (void)state;
    assert_int_equal(pool_pin(pool, beyond, 1, &err), CYGNET_EINVAL);
    assert_non_null(strstr(err.message, "cpu 1024: want 0 to 1023"));
    assert_int_equal(pool_pin(pool, twice, 3, &err), CYGNET_EINVAL);
    assert_non_null(strstr(err.message, "cpu 0 is listed twice"));
    assert_int_equal(pool_pin(pool, NULL, 1, &err), CYGNET_EINVAL);
    check_places(pool, NULL, 0, &home);
    pool_destroy(pool);
}

enum { BATCH = 13, MODEL_THREADS = 4, STEPS = 60, FEWER_STEPS = 12 };

static cygnet_model *make_lenet(uint32_t n_threads)
{
    cygnet_model_options options;
    cygnet_model *model;

    cygnet_model_options_init(&options);
    options.architecture = "lenet5";
    options.max_batch = BATCH;
    options.n_threads = n_threads;
    assert_int_equal(cygnet_model_create(&model, &options, NULL), CYGNET_OK);
    return model;
}

static void train(cygnet_model *model, int step)
{
    static const cygnet_sgd rule = {sizeof(cygnet_sgd), 0.05f, 0.9f, 5e-4f};
    static float x[BATCH * 28 * 28];
    int64_t y[BATCH];

    hash_fill_f32(x, FIXTURE_SEED + (uint64_t)step, "x", BATCH * 28 * 28, 1.0);
    hash_fill_labels(y, FIXTURE_SEED + (uint64_t)step, BATCH, 10);
    assert_int_equal(cygnet_model_train_step(model, NULL, x, y, BATCH, &rule, NULL),
                     CYGNET_OK);
}

/* A size, and now and then other CPUs: one, two or any. */
static void disturb(cygnet_model *model, struct rng *rng, const uint32_t *cpus, size_t n)
{
    uint32_t size = 1 + (uint32_t)rng_below(rng, MODEL_THREADS);

    assert_int_equal(cygnet_model_set_threads(model, size, NULL), CYGNET_OK);
    if (rng_below(rng, 3) > 0)
        return;
    n = n < 2 ? n : 2;
    n = (size_t)rng_below(rng, n + 1);
    assert_int_equal(cygnet_model_pin(model, cpus, n, NULL), CYGNET_OK);
}

static void test_sizes_and_cpus_do_not_change_a_bit_of_training(void **state)
{
    struct affinity home = my_cpus();
    uint32_t cpus[AFFINITY_MAX_CPUS];
    size_t n = list_cpus(cpus, &home);
    cygnet_model *steady = make_lenet(1), *moved = make_lenet(MODEL_THREADS);
    int n_steps = is_emulated() ? FEWER_STEPS : STEPS;
    struct rng rng;

    (void)state;
    rng_init(&rng, chosen_seed(), "disturbances", 0);
    for (int step = 0; step < n_steps; step++) {
        disturb(moved, &rng, cpus, n);
        train(steady, step);
        train(moved, step);
        assert_true(same_state(steady, moved));
    }
    cygnet_model_destroy(steady);
    cygnet_model_destroy(moved);
}

static void test_a_model_refuses_what_its_pool_refuses(void **state)
{
    uint32_t beyond = AFFINITY_MAX_CPUS;
    cygnet_model *model = make_lenet(2);
    cygnet_error err;

    (void)state;
    assert_int_equal(cygnet_model_set_threads(model, 0, &err), CYGNET_EINVAL);
    assert_int_equal(cygnet_model_set_threads(model, 3, &err), CYGNET_EINVAL);
    assert_non_null(strstr(err.message, "n_threads is 3: want 1 to 2"));
    assert_int_equal(cygnet_model_pin(model, &beyond, 1, &err), CYGNET_EINVAL);
    beyond = missing_cpu();
    assert_int_equal(cygnet_model_pin(model, &beyond, 1, &err), CYGNET_ENOTFOUND);
    train(model, 0);
    cygnet_model_destroy(model);
}

static void test_a_model_on_a_foreign_executor_has_no_threads_to_set(void **state)
{
    cygnet_model *model = make_zoo_model("lenet5", &(struct shape){0}, 10, BATCH,
                                         kernels_reference(), &nn_serial_executor);
    cygnet_error err;

    (void)state;
    assert_int_equal(cygnet_model_set_threads(model, 1, &err), CYGNET_EUNSUPPORTED);
    assert_int_equal(cygnet_model_pin(model, NULL, 0, &err), CYGNET_EUNSUPPORTED);
    cygnet_model_destroy(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pinned_workers_stay_until_unpinned),
        cmocka_unit_test(test_a_destroyed_pool_gives_its_caller_the_cpus_back),
        cmocka_unit_test(test_a_cpu_that_the_system_refuses_moves_nobody),
        cmocka_unit_test(test_a_list_of_cpus_that_makes_no_sense_is_refused),
        cmocka_unit_test(test_sizes_and_cpus_do_not_change_a_bit_of_training),
        cmocka_unit_test(test_a_model_refuses_what_its_pool_refuses),
        cmocka_unit_test(test_a_model_on_a_foreign_executor_has_no_threads_to_set),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
