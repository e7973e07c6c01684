/* The pool of threads: every block once, no worker twice at a time, at any size. */
#include "base/rng.h"
#include "pool_fixture.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_BLOCKS = 1000 };

struct work {
    atomic_uint times[MAX_BLOCKS];
    atomic_uint inside[POOL_MAX_THREADS];
    atomic_uint clashes;
    size_t n_workers;
};

static void do_block(void *arg, size_t block, size_t worker)
{
    struct work *w = arg;

    if (worker >= w->n_workers || atomic_fetch_add(&w->inside[worker], 1) != 0)
        atomic_fetch_add(&w->clashes, 1);
    atomic_fetch_add(&w->times[block], 1);
    atomic_fetch_sub(&w->inside[worker], 1);
}

/* n_workers  that may take part */
static void check_run_by(struct pool *pool, size_t n_workers, size_t n_blocks)
{
    struct nn_executor *executor = pool_executor(pool);
    struct work *w = calloc(1, sizeof(*w));

    assert_non_null(w);
    w->n_workers = n_workers;
    executor->run(executor, do_block, w, n_blocks);
    for (size_t i = 0; i < MAX_BLOCKS; i++)
        assert_int_equal(atomic_load(&w->times[i]), i < n_blocks ? 1 : 0);
    assert_int_equal(atomic_load(&w->clashes), 0);
    free(w);
}

static void check_run(struct pool *pool, size_t n_blocks)
{
    check_run_by(pool, pool_executor(pool)->n_workers, n_blocks);
}

static void test_every_block_runs_once(void **state)
{
    (void)state;
    for (uint32_t n_threads = 1; n_threads <= 5; n_threads++) {
        struct pool *pool = make_pool(n_threads);

        for (size_t n_blocks = 0; n_blocks < 20; n_blocks++)
            check_run(pool, n_blocks);
        check_run(pool, MAX_BLOCKS);
        pool_destroy(pool);
    }
}

static void test_many_short_jobs_follow_each_other(void **state)
{
    struct pool *pool = make_pool(3);

    (void)state;
    for (int i = 0; i < 3000; i++)
        check_run(pool, 2 + (size_t)i % 7);
    pool_destroy(pool);
}

static atomic_uint sink;

/* Long enough for idle workers to stop spinning. */
static void be_busy(void)
{
    for (unsigned i = 0; i < 3000000; i++)
        atomic_fetch_add_explicit(&sink, i, memory_order_relaxed);
}

static void test_sleeping_workers_wake_for_the_next_job(void **state)
{
    struct pool *pool = make_pool(2);

    (void)state;
    for (int i = 0; i < 5; i++) {
        be_busy();
        check_run(pool, MAX_BLOCKS);
    }
    pool_destroy(pool);
}

static void test_two_threads_run_at_the_same_time(void **state)
{
    struct pool *pool = make_pool(2);
    struct meeting m;

    (void)state;
    check_meeting(&m, pool, 2);
    pool_destroy(pool);
}

/* Two workers, one of them slowed to a part of the other's speed.
 *
 * slowness  blocks that the fast one takes while the slow one is at one */
struct race {
    atomic_uint n_taken[2];
    unsigned slowness;
    unsigned n_blocks;
};

enum { FAST_WORKER, SLOW_WORKER };

static unsigned n_left(struct race *r)
{
    return r->n_blocks - atomic_load(&r->n_taken[FAST_WORKER]) -
           atomic_load(&r->n_taken[SLOW_WORKER]);
}

/* The fast one begins when the slow one has its first block, and counts a block when it
 * is through with it; the slow one counts it at once. */
static void race(void *arg, size_t block, size_t worker)
{
    struct race *r = arg;
    unsigned mine;

    (void)block;
    if (worker == FAST_WORKER) {
        while (atomic_load(&r->n_taken[SLOW_WORKER]) == 0)
            sched_yield();
        atomic_fetch_add(&r->n_taken[FAST_WORKER], 1);
        return;
    }
    mine = atomic_fetch_add(&r->n_taken[SLOW_WORKER], 1) + 1;
    while (atomic_load(&r->n_taken[FAST_WORKER]) < mine * r->slowness && n_left(r) > 0)
        sched_yield();
}

static void test_a_slow_worker_takes_fewer_blocks(void **state)
{
    static const unsigned slowness[] = {1, 3, 9, 99, 5000};
    struct pool *pool = make_pool(2);

    (void)state;
    for (size_t i = 0; i < sizeof(slowness) / sizeof(slowness[0]); i++) {
        struct race r = {.slowness = slowness[i], .n_blocks = MAX_BLOCKS};
        unsigned slow;

        pool_executor(pool)->run(pool_executor(pool), race, &r, MAX_BLOCKS);
        slow = atomic_load(&r.n_taken[SLOW_WORKER]);
        assert_int_equal(atomic_load(&r.n_taken[FAST_WORKER]) + slow, MAX_BLOCKS);
        assert_in_range(slow, 1, MAX_BLOCKS / (slowness[i] + 1) + 1);
    }
    pool_destroy(pool);
}

static void note_thread(void *arg, size_t block, size_t worker)
{
    pthread_t *ids = arg;

    assert_int_equal(worker, 0);
    ids[block] = pthread_self();
}

static void test_one_thread_is_the_caller(void **state)
{
    struct pool *pool = make_pool(1);
    struct nn_executor *executor = pool_executor(pool);
    pthread_t ids[8];

    (void)state;
    executor->run(executor, note_thread, ids, 8);
    for (size_t i = 0; i < 8; i++)
        assert_true(pthread_equal(ids[i], pthread_self()));
    pool_destroy(pool);
}

static void test_a_silly_number_of_threads_is_refused(void **state)
{
    struct pool *pool;
    cygnet_error err;

    (void)state;
    assert_int_equal(pool_create(&pool, 0, NULL, &err), CYGNET_EINVAL);
    assert_null(pool);
    assert_int_equal(pool_create(&pool, POOL_MAX_THREADS + 1, NULL, &err), CYGNET_EINVAL);
    assert_non_null(strstr(err.message, "65"));
    pool_destroy(NULL);
}

/* The linker puts this before the C library's; what is started while it counts down
 * is refused at 0. */
static int threads_granted = -1;

int __real_pthread_create(pthread_t *out, const pthread_attr_t *attributes,
                          void *(*run)(void *arg), void *arg);
int __wrap_pthread_create(pthread_t *out, const pthread_attr_t *attributes,
                          void *(*run)(void *arg), void *arg);

int __wrap_pthread_create(pthread_t *out, const pthread_attr_t *attributes,
                          void *(*run)(void *arg), void *arg)
{
    if (threads_granted == 0)
        return EAGAIN;
    threads_granted -= threads_granted > 0;
    return __real_pthread_create(out, attributes, run, arg);
}

static void test_a_thread_that_the_system_refuses_is_an_error(void **state)
{
    struct pool *pool;
    cygnet_error err = {0};

    (void)state;
    threads_granted = 1;
    assert_int_equal(pool_create(&pool, 4, NULL, &err), CYGNET_ENOMEM);
    threads_granted = -1;
    assert_null(pool);
    assert_int_equal(err.detail, EAGAIN);
    assert_non_null(strstr(err.message, "refused to start thread 3 of 4"));
    pool_destroy(make_pool(4));
}

enum { STACK_USED = 300 * 1024 };

/* Touches a large part of the stack, as a hook of the host may. */
static void use_stack(void *arg)
{
    volatile unsigned char room[STACK_USED];

    for (size_t i = 0; i < sizeof(room); i += 512)
        room[i] = (unsigned char)(i / 512);
    for (size_t i = 0; i < sizeof(room); i += 512)
        *(size_t *)arg += room[i] == (unsigned char)(i / 512);
}

static void test_stacks_are_large_on_every_system(void **state)
{
    const struct pool_options options = {.n_threads = 1, .has_leader = true};
    struct pool *pool;
    size_t n_right = 0;

    (void)state;
    assert_int_equal(pool_create_with(&pool, &options, NULL, NULL), CYGNET_OK);
    pool_call(pool, use_stack, &n_right, NULL, NULL);
    assert_int_equal(n_right, STACK_USED / 512);
    pool_destroy(pool);
}

static void wait_until_asleep(struct pool *pool, size_t n)
{
    while (pool_n_asleep(pool) != n)
        sched_yield();
}

static void test_idle_workers_go_to_sleep(void **state)
{
    struct pool *pool = make_pool(4);

    (void)state;
    for (int i = 0; i < 10; i++) {
        wait_until_asleep(pool, 3);
        check_run(pool, 100);
    }
    pool_destroy(pool);
}

static void resize(struct pool *pool, uint32_t n_threads)
{
    assert_int_equal(pool_resize(pool, n_threads, NULL), CYGNET_OK);
}

static void test_a_resized_pool_uses_that_many_workers(void **state)
{
    static const uint32_t sizes[] = {2, 5, 1, 4, 3, 5, 1, 2, 5};
    struct pool *pool = make_pool(5);
    struct meeting m;

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        resize(pool, sizes[i]);
        assert_int_equal(pool_executor(pool)->n_workers, 5);
        check_run_by(pool, sizes[i], MAX_BLOCKS);
        check_meeting(&m, pool, sizes[i]); /* all of them, or this does not end */
        check_run_by(pool, sizes[i], MAX_BLOCKS);
    }
    pool_destroy(pool);
}

static void test_workers_that_are_not_wanted_sleep_on(void **state)
{
    struct pool *pool = make_pool(4);

    (void)state;
    resize(pool, 2);
    wait_until_asleep(pool, 3);
    for (size_t i = 0; i < 300; i++) {
        check_run_by(pool, 2, 2 + i % 5);
        assert_true(pool_n_asleep(pool) >= 2);
    }
    pool_destroy(pool);
}

static void test_wake_ups_go_to_workers_that_are_wanted(void **state)
{
    struct pool *pool = make_pool(6);
    struct meeting m;

    (void)state;
    resize(pool, 3);
    for (int i = 0; i < 200; i++) {
        wait_until_asleep(pool, 5);
        check_meeting(&m, pool, 2); /* one wake-up, which must not be lost */
    }
    pool_destroy(pool);
}

static void be_slow(void *arg, size_t block, size_t worker)
{
    struct work *w = arg;

    (void)block;
    if (worker >= w->n_workers)
        atomic_fetch_add(&w->clashes, 1);
    sched_yield();
}

static void test_workers_still_awake_take_no_block_of_a_smaller_pool(void **state)
{
    struct pool *pool = make_pool(3);
    struct nn_executor *executor = pool_executor(pool);
    struct work w = {.n_workers = 2};
    struct meeting m;

    (void)state;
    for (int i = 0; i < 500; i++) {
        resize(pool, 3);
        check_meeting(&m, pool, 3);
        resize(pool, 2);
        executor->run(executor, be_slow, &w, 20);
    }
    assert_int_equal(atomic_load(&w.clashes), 0);
    pool_destroy(pool);
}

static void test_a_pool_of_changing_size_runs_every_block_once(void **state)
{
    struct pool *pool = make_pool(6);
    struct rng rng;

    (void)state;
    rng_init(&rng, chosen_seed(), "pool sizes", 0);
    for (int i = 0; i < 1000; i++) {
        uint32_t size = 1 + (uint32_t)rng_below(&rng, 6);

        resize(pool, size);
        for (uint64_t runs = rng_below(&rng, 4); runs > 0; runs--)
            check_run_by(pool, size, (size_t)rng_below(&rng, 20));
    }
    pool_destroy(pool);
}

static void test_a_size_beyond_the_first_is_refused(void **state)
{
    struct pool *pool = make_pool(3);
    cygnet_error err;

    (void)state;
    assert_int_equal(pool_resize(pool, 0, &err), CYGNET_EINVAL);
    assert_int_equal(pool_resize(pool, 4, &err), CYGNET_EINVAL);
    assert_non_null(strstr(err.message, "n_threads is 4: want 1 to 3"));
    check_run_by(pool, 3, MAX_BLOCKS);
    pool_destroy(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_block_runs_once),
        cmocka_unit_test(test_many_short_jobs_follow_each_other),
        cmocka_unit_test(test_sleeping_workers_wake_for_the_next_job),
        cmocka_unit_test(test_two_threads_run_at_the_same_time),
        cmocka_unit_test(test_a_slow_worker_takes_fewer_blocks),
        cmocka_unit_test(test_one_thread_is_the_caller),
        cmocka_unit_test(test_a_silly_number_of_threads_is_refused),
        cmocka_unit_test(test_a_thread_that_the_system_refuses_is_an_error),
        cmocka_unit_test(test_stacks_are_large_on_every_system),
        cmocka_unit_test(test_idle_workers_go_to_sleep),
        cmocka_unit_test(test_a_resized_pool_uses_that_many_workers),
        cmocka_unit_test(test_workers_that_are_not_wanted_sleep_on),
        cmocka_unit_test(test_wake_ups_go_to_workers_that_are_wanted),
        cmocka_unit_test(test_workers_still_awake_take_no_block_of_a_smaller_pool),
        cmocka_unit_test(test_a_pool_of_changing_size_runs_every_block_once),
        cmocka_unit_test(test_a_size_beyond_the_first_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
