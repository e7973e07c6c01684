/* The pool of threads: every block once, no worker twice at a time. */
#include "engine/pool/pool.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

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

static struct pool *make_pool(uint32_t n_threads)
{
    struct pool *pool;

    assert_int_equal(pool_create(&pool, n_threads, NULL, NULL), CYGNET_OK);
    return pool;
}

static void check_run(struct pool *pool, size_t n_blocks)
{
    struct nn_executor *executor = pool_executor(pool);
    struct work *w = calloc(1, sizeof(*w));

    assert_non_null(w);
    w->n_workers = executor->n_workers;
    executor->run(executor, do_block, w, n_blocks);
    for (size_t i = 0; i < MAX_BLOCKS; i++)
        assert_int_equal(atomic_load(&w->times[i]), i < n_blocks ? 1 : 0);
    assert_int_equal(atomic_load(&w->clashes), 0);
    free(w);
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

struct meeting {
    atomic_uint here;
};

/* Returns only when both blocks run at the same time. */
static void meet(void *arg, size_t block, size_t worker)
{
    struct meeting *m = arg;

    (void)block;
    (void)worker;
    atomic_fetch_add(&m->here, 1);
    while (atomic_load(&m->here) < 2)
        continue;
}

static void test_two_threads_run_at_the_same_time(void **state)
{
    struct pool *pool = make_pool(2);
    struct nn_executor *executor = pool_executor(pool);
    struct meeting m = {0};

    (void)state;
    executor->run(executor, meet, &m, 2);
    assert_int_equal(atomic_load(&m.here), 2);
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

/* Of all threads that are started from now on with default attributes. */
static void set_default_stack(size_t bytes)
{
    pthread_attr_t attr;

    assert_int_equal(pthread_getattr_default_np(&attr), 0);
    assert_int_equal(pthread_attr_setstacksize(&attr, bytes), 0);
    assert_int_equal(pthread_setattr_default_np(&attr), 0);
    assert_int_equal(pthread_attr_destroy(&attr), 0);
}

static void test_a_thread_that_the_system_refuses_is_an_error(void **state)
{
    size_t usual, beyond_any_address_space = SIZE_MAX / 4;
    struct pool *pool;
    cygnet_error err = {0};
    pthread_attr_t attr;

    (void)state;
    assert_int_equal(pthread_getattr_default_np(&attr), 0);
    assert_int_equal(pthread_attr_getstacksize(&attr, &usual), 0);
    assert_int_equal(pthread_attr_destroy(&attr), 0);
    set_default_stack(beyond_any_address_space);
    assert_int_equal(pool_create(&pool, 3, NULL, &err), CYGNET_ENOMEM);
    set_default_stack(usual);
    assert_null(pool);
    assert_int_not_equal(err.detail, 0);
    assert_non_null(strstr(err.message, "refused to start thread 2 of 3"));
    pool_destroy(make_pool(3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_block_runs_once),
        cmocka_unit_test(test_many_short_jobs_follow_each_other),
        cmocka_unit_test(test_sleeping_workers_wake_for_the_next_job),
        cmocka_unit_test(test_two_threads_run_at_the_same_time),
        cmocka_unit_test(test_one_thread_is_the_caller),
        cmocka_unit_test(test_a_silly_number_of_threads_is_refused),
        cmocka_unit_test(test_a_thread_that_the_system_refuses_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
