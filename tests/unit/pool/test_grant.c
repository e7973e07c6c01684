/* What a pool is granted, taken away and given back in the middle of a run. */
#include "base/rng.h"
#include "pool_fixture.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    THREADS = 4,
    BATCH = 13,
    REVOCATIONS = 1000,
    FEWER_REVOCATIONS = 40,
    PAUSES = 100
};

static struct pool *make_led_pool(uint32_t n_threads, bool yields)
{
    const struct pool_options options = {.n_threads = n_threads,
                                         .has_leader = true,
                                         .yields = yields};
    struct pool *pool;

    assert_int_equal(pool_create_with(&pool, &options, NULL, NULL), CYGNET_OK);
    return pool;
}

static void grant_threads(struct pool *pool, uint32_t n)
{
    const struct pool_grant grant = {.n_threads = n};

    assert_int_equal(pool_grant(pool, &grant, NULL), CYGNET_OK);
}

static size_t my_cpus(uint32_t cpus[AFFINITY_MAX_CPUS])
{
    struct affinity mine;
    size_t n = 0;

    assert_int_equal(affinity_get(&mine, 0), 0);
    for (uint32_t cpu = 0; cpu < AFFINITY_MAX_CPUS; cpu++) {
        if (affinity_has(&mine, cpu))
            cpus[n++] = cpu;
    }
    return n;
}

/* ---- The leader -------------------------------------------------------------- */

struct whereabouts {
    struct pool *pool;
    int32_t thread;
    int scheduler;
    atomic_uint n_blocks;
};

static void note_block(void *arg, size_t block, size_t worker)
{
    struct whereabouts *w = arg;

    (void)block;
    (void)worker;
    atomic_fetch_add(&w->n_blocks, 1);
}

static void note_thread(void *arg)
{
    struct whereabouts *w = arg;
    struct nn_executor *executor = pool_executor(w->pool);

    w->thread = affinity_thread();
    w->scheduler = my_scheduler();
    executor->run(executor, note_block, w, 100);
}

static void test_calls_run_on_the_leader(void **state)
{
    struct pool *pool = make_led_pool(2, true);
    struct whereabouts w = {.pool = pool};
    int32_t threads[2];
    struct affinity before, after;

    (void)state;
    assert_int_equal(affinity_get(&before, 0), 0);
    for (unsigned i = 1; i <= 200; i++) {
        pool_call(pool, note_thread, &w, NULL, NULL);
        assert_int_equal(atomic_load(&w.n_blocks), 100 * i);
    }
    pool_threads(pool, threads);
    assert_int_equal(threads[0], w.thread);
    assert_int_not_equal(threads[0], affinity_thread());
    assert_true(pool_yields(pool));
    assert_int_equal(w.scheduler, SCHED_IDLE);
    assert_int_equal(my_scheduler(), SCHED_OTHER);
    assert_int_equal(affinity_get(&after, 0), 0);
    assert_memory_equal(&before, &after, sizeof(before));
    pool_destroy(pool);
}

struct watched {
    atomic_bool is_seen;
    pthread_t watcher;
};

static void wait_to_be_seen(void *arg)
{
    struct watched *w = arg;

    while (!atomic_load(&w->is_seen))
        sched_yield();
}

static void see(void *user)
{
    struct watched *w = user;

    w->watcher = pthread_self();
    atomic_store(&w->is_seen, true);
}

static void test_the_caller_watches_a_long_call(void **state)
{
    struct pool *pool = make_led_pool(1, false);
    struct watched w = {false};

    (void)state;
    pool_call(pool, wait_to_be_seen, &w, see, &w);
    assert_true(pthread_equal(w.watcher, pthread_self()));
    pool_destroy(pool);
}

static void test_without_a_leader_calls_run_on_the_caller(void **state)
{
    struct pool *pool = make_pool(2);
    struct whereabouts w = {.pool = pool};
    int32_t threads[2];
    const struct pool_grant grant = {.n_threads = 1};
    cygnet_error err;

    (void)state;
    pool_call(pool, note_thread, &w, NULL, NULL);
    assert_int_equal(w.thread, affinity_thread());
    assert_int_equal(w.scheduler, SCHED_OTHER);
    pool_threads(pool, threads);
    assert_int_equal(threads[0], 0);
    assert_false(pool_yields(pool));
    assert_int_equal(pool_grant(pool, &grant, &err), CYGNET_EINVAL);
    assert_non_null(strstr(err.message, "no leader"));
    pool_destroy(pool);
}

static void count_start(void *user, uint32_t worker)
{
    atomic_uint *started = user;

    atomic_fetch_add(&started[worker], 1);
}

static void test_each_thread_is_shown_to_the_host(void **state)
{
    atomic_uint started[THREADS] = {0};
    const struct pool_options options = {.n_threads = THREADS,
                                         .has_leader = true,
                                         .started = count_start,
                                         .user = started};
    struct pool *pool;

    (void)state;
    assert_int_equal(pool_create_with(&pool, &options, NULL, NULL), CYGNET_OK);
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(atomic_load(&started[i]), 1);
    pool_destroy(pool);
}

/* ---- Taking away and giving back ---------------------------------------------- */

/* What a thread of its own does while blocks run. */
struct meddling {
    struct pool *pool;
    atomic_uint n_blocks;
    atomic_bool has_paused;
    atomic_bool has_vacated;
    atomic_uint late; /* blocks that ran when everybody was said to have left */
};

static void count_block(void *arg, size_t block, size_t worker)
{
    struct meddling *m = arg;

    (void)worker;
    while (block > 3 && !atomic_load(&m->has_paused))
        sched_yield(); /* or all might be over by then */
    atomic_fetch_add(&m->n_blocks, 1);
    if (block == 3) {
        grant_threads(m->pool, 0);
        if (pool_has_vacated(m->pool))
            atomic_fetch_add(&m->late, 1);
        atomic_store(&m->has_paused, true);
    }
    if (atomic_load(&m->has_vacated))
        atomic_fetch_add(&m->late, 1);
}

static void run_blocks(void *arg)
{
    struct meddling *m = arg;
    struct nn_executor *executor = pool_executor(m->pool);

    executor->run(executor, count_block, m, 500);
}

/* Gives back what a block took away, once nobody works any more. */
static void *give_back(void *arg)
{
    struct meddling *m = arg;

    while (!atomic_load(&m->has_paused) || !pool_has_vacated(m->pool))
        sched_yield();
    atomic_store(&m->has_vacated, true);
    for (int i = 0; i < 1000; i++)
        sched_yield();
    assert_true(atomic_load(&m->n_blocks) < 500);
    atomic_store(&m->has_vacated, false);
    grant_threads(m->pool, THREADS);
    return NULL;
}

static void test_a_run_pauses_until_it_is_granted_a_thread(void **state)
{
    struct pool *pool = make_led_pool(THREADS, false);
    struct meddling m = {.pool = pool};
    pthread_t thread;

    (void)state;
    for (uint32_t i = 0; i < PAUSES; i++) {
        grant_threads(pool, 1 + i % THREADS);
        atomic_store(&m.n_blocks, 0);
        atomic_store(&m.has_paused, false);
        assert_int_equal(pthread_create(&thread, NULL, give_back, &m), 0);
        pool_call(pool, run_blocks, &m, NULL, NULL);
        pthread_join(thread, NULL);
        assert_int_equal(atomic_load(&m.n_blocks), 500);
        assert_int_equal(atomic_load(&m.late), 0);
    }
    pool_destroy(pool);
}

/* ---- Training ---------------------------------------------------------------- */

/* An executor that meddles with the pool before blocks it draws. */
struct meddler {
    struct nn_executor executor;
    struct pool *pool;
    pthread_mutex_t mutex;
    struct rng rng;
    nn_block block;
    void *arg;
    uint32_t cpus[AFFINITY_MAX_CPUS];
    size_t n_cpus;
    atomic_int left;
    atomic_int n_failed;
};

static void meddle_with_grant(struct meddler *m)
{
    struct pool_grant grant;

    pthread_mutex_lock(&m->mutex);
    grant = (struct pool_grant){.n_threads = 1 + (uint32_t)rng_below(&m->rng, THREADS)};
    grant.group[1] = (uint8_t)rng_below(&m->rng, 2);
    grant.n_cpus = (uint32_t)rng_below(&m->rng, m->n_cpus + 1);
    if (grant.n_cpus > 2)
        grant.n_cpus = 2;
    for (uint32_t i = 0; i < grant.n_cpus; i++)
        grant.cpus[i] = m->cpus[i];
    if (pool_grant(m->pool, &grant, NULL) != CYGNET_OK)
        atomic_fetch_add(&m->n_failed, 1);
    pthread_mutex_unlock(&m->mutex);
}

static bool draws(struct meddler *m)
{
    bool is_drawn;

    pthread_mutex_lock(&m->mutex);
    is_drawn = rng_below(&m->rng, 8) == 0;
    pthread_mutex_unlock(&m->mutex);
    return is_drawn && atomic_fetch_sub(&m->left, 1) > 0;
}

static void meddle(void *arg, size_t block, size_t worker)
{
    struct meddler *m = arg;

    if (draws(m))
        meddle_with_grant(m);
    m->block(m->arg, block, worker);
}

static void run_meddled(struct nn_executor *executor, nn_block block, void *arg,
                        size_t n_blocks)
{
    struct meddler *m = (struct meddler *)executor;
    struct nn_executor *inner = pool_executor(m->pool);

    m->block = block;
    m->arg = arg;
    inner->run(inner, meddle, m, n_blocks);
}

struct lesson {
    cygnet_model *model;
    int step;
};

static void train(void *arg)
{
    static const cygnet_sgd rule = {sizeof(cygnet_sgd), 0.05f, 0.9f, 5e-4f};
    struct lesson *l = arg;
    float x[BATCH * 28 * 28];
    int64_t y[BATCH];

    hash_fill_f32(x, FIXTURE_SEED + (uint64_t)l->step, "x", BATCH * 28 * 28, 1.0);
    hash_fill_labels(y, FIXTURE_SEED + (uint64_t)l->step, BATCH, 10);
    assert_int_equal(cygnet_model_train_step(l->model, NULL, x, y, BATCH, &rule, NULL),
                     CYGNET_OK);
}

static cygnet_model *make_lenet(struct nn_executor *executor)
{
    return make_zoo_model("lenet5", &(struct shape){0}, 10, BATCH,
                          kernels_at(kernels_count() - 1), executor);
}

static void test_revocations_at_any_block_do_not_change_a_bit(void **state)
{
    struct pool *pool = make_led_pool(THREADS, false);
    struct meddler m = {{run_meddled, THREADS}, .pool = pool};
    cygnet_model *steady = make_lenet(&nn_serial_executor);
    cygnet_model *moved = make_lenet(&m.executor);

    (void)state;
    pthread_mutex_init(&m.mutex, NULL);
    rng_init(&m.rng, chosen_seed(), "revocations", 0);
    m.n_cpus = my_cpus(m.cpus);
    atomic_init(&m.left, is_emulated() ? FEWER_REVOCATIONS : REVOCATIONS);
    for (int step = 0; atomic_load(&m.left) > 0; step++) {
        train(&(struct lesson){steady, step});
        pool_call(pool, train, &(struct lesson){moved, step}, NULL, NULL);
        assert_true(same_state(steady, moved));
    }
    assert_int_equal(atomic_load(&m.n_failed), 0);
    cygnet_model_destroy(steady);
    cygnet_model_destroy(moved);
    pthread_mutex_destroy(&m.mutex);
    pool_destroy(pool);
}

/* ---- Places ------------------------------------------------------------------ */

static void check_places(struct pool *pool, size_t n, const struct affinity *wanted)
{
    int32_t threads[POOL_MAX_THREADS];
    struct affinity seen;

    pool_threads(pool, threads);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(affinity_get(&seen, threads[i]), 0);
        assert_memory_equal(&seen, wanted, sizeof(seen));
    }
}

static void test_workers_are_confined_to_what_is_granted(void **state)
{
    struct pool *pool = make_led_pool(3, false);
    struct pool_grant grant = {.n_threads = 2, .n_cpus = 1};
    struct affinity home, last = {0};
    uint32_t cpus[AFFINITY_MAX_CPUS];
    size_t n = my_cpus(cpus);

    (void)state;
    assert_int_equal(affinity_get(&home, 0), 0);
    affinity_add(&last, cpus[n - 1]);
    grant.cpus[0] = cpus[n - 1];
    assert_int_equal(pool_grant(pool, &grant, NULL), CYGNET_OK);
    check_places(pool, 3, &last); /* those without a part too */
    grant_threads(pool, 3);
    check_places(pool, 3, &home);
    pool_destroy(pool);
}

static void test_groups_of_cpus_have_their_own_workers(void **state)
{
    struct pool *pool = make_led_pool(3, false);
    struct pool_grant grant = {.n_threads = 2, .n_cpus = 2, .group = {0, 1}};
    struct affinity one, seen, both = {0};
    uint32_t cpus[AFFINITY_MAX_CPUS];
    int32_t threads[3];

    (void)state;
    grant.n_cpus = my_cpus(cpus) < 2 ? 1 : 2;
    pool_threads(pool, threads);
    memcpy(grant.cpus, cpus, grant.n_cpus * sizeof(cpus[0]));
    assert_int_equal(pool_grant(pool, &grant, NULL), CYGNET_OK);
    for (size_t i = 0; i < 3; i++) {
        one = (struct affinity){0};
        affinity_add(&both, cpus[i % grant.n_cpus]);
        affinity_add(&one, cpus[i % grant.n_cpus]);
        assert_int_equal(affinity_get(&seen, threads[i]), 0);
        assert_memory_equal(&seen, i < 2 ? &one : &both, sizeof(seen));
    }
    pool_destroy(pool);
}

static void test_a_changed_mask_is_not_taken_for_home(void **state)
{
    struct pool *pool = make_led_pool(2, false);
    struct pool_grant grant = {.n_threads = 2, .n_cpus = 1};
    struct affinity home, first = {0};
    uint32_t cpus[AFFINITY_MAX_CPUS];
    int32_t threads[2];

    (void)state;
    my_cpus(cpus);
    assert_int_equal(affinity_get(&home, 0), 0);
    affinity_add(&first, cpus[0]);
    grant.cpus[0] = cpus[0];
    pool_threads(pool, threads);
    assert_int_equal(affinity_set(threads[1], &first), 0); /* as the system might */
    assert_int_equal(pool_grant(pool, &grant, NULL), CYGNET_OK);
    grant_threads(pool, 2);
    check_places(pool, 2, &home);
    pool_destroy(pool);
}

static void test_a_cpu_that_is_not_there_leaves_threads_unconfined(void **state)
{
    struct pool *pool = make_led_pool(2, false);
    struct pool_grant grant = {.n_threads = 1, .n_cpus = 1};
    struct whereabouts w = {.pool = pool};
    struct affinity home;
    cygnet_error err;

    (void)state;
    assert_int_equal(affinity_get(&home, 0), 0);
    grant.cpus[0] = AFFINITY_MAX_CPUS - 1;
    assert_int_equal(pool_grant(pool, &grant, &err), CYGNET_ENOTFOUND);
    assert_int_equal(err.detail, EINVAL);
    check_places(pool, 2, &home);
    pool_call(pool, note_thread, &w, NULL, NULL);
    assert_int_equal(atomic_load(&w.n_blocks), 100);
    pool_destroy(pool);
}

static void test_a_grant_that_makes_no_sense_is_refused(void **state)
{
    struct pool *pool = make_led_pool(2, false);
    struct pool_grant grant = {.n_threads = 3};
    cygnet_error err;

    (void)state;
    assert_int_equal(pool_grant(pool, &grant, &err), CYGNET_EINVAL);
    assert_non_null(strstr(err.message, "n_threads is 3: want 0 to 2"));
    grant = (struct pool_grant){.n_threads = 1, .n_cpus = 2};
    assert_int_equal(pool_grant(pool, &grant, &err), CYGNET_EINVAL);
    assert_non_null(strstr(err.message, "cpu 0 is listed twice"));
    pool_destroy(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls_run_on_the_leader),
        cmocka_unit_test(test_the_caller_watches_a_long_call),
        cmocka_unit_test(test_without_a_leader_calls_run_on_the_caller),
        cmocka_unit_test(test_each_thread_is_shown_to_the_host),
        cmocka_unit_test(test_a_run_pauses_until_it_is_granted_a_thread),
        cmocka_unit_test(test_revocations_at_any_block_do_not_change_a_bit),
        cmocka_unit_test(test_workers_are_confined_to_what_is_granted),
        cmocka_unit_test(test_groups_of_cpus_have_their_own_workers),
        cmocka_unit_test(test_a_changed_mask_is_not_taken_for_home),
        cmocka_unit_test(test_a_cpu_that_is_not_there_leaves_threads_unconfined),
        cmocka_unit_test(test_a_grant_that_makes_no_sense_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
