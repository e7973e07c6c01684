/* A pool on a system without CPU masks and without a class that gives way: built from
 * the pool's portable branch. */
#include "pool_fixture.h"

#include <errno.h>
#include <string.h>

static struct pool *make_led_pool(uint32_t n_threads)
{
    const struct pool_options options = {.n_threads = n_threads,
                                         .has_leader = true,
                                         .yields = true};
    struct pool *pool;

    assert_int_equal(pool_create_with(&pool, &options, NULL, NULL), CYGNET_OK);
    return pool;
}

struct seen {
    struct pool *pool;
    atomic_uint by[POOL_MAX_THREADS];
};

static void note_worker(void *arg, size_t block, size_t worker)
{
    struct seen *s = arg;

    (void)block;
    atomic_fetch_add(&s->by[worker], 1);
}

static void run_blocks(void *arg)
{
    struct seen *s = arg;
    struct nn_executor *executor = pool_executor(s->pool);

    executor->run(executor, note_worker, s, 300);
}

static void test_threads_are_granted_even_where_cpus_cannot_be(void **state)
{
    struct pool *pool = make_led_pool(3);
    const struct pool_grant grant = {.n_threads = 1, .n_cpus = 1};
    struct seen s = {.pool = pool};
    cygnet_error err;

    (void)state;
    assert_int_equal(pool_grant(pool, &grant, &err), CYGNET_EUNSUPPORTED);
    assert_int_equal(err.detail, ENOSYS);
    assert_non_null(strstr(err.message, "refused to pin"));
    pool_call(pool, run_blocks, &s, NULL, NULL);
    assert_int_equal(atomic_load(&s.by[0]), 300);
    assert_true(pool_has_vacated(pool));
    pool_destroy(pool);
}

static void test_threads_that_cannot_give_way_say_so(void **state)
{
    struct pool *pool = make_led_pool(2);

    (void)state;
    assert_false(pool_yields(pool));
    pool_destroy(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads_are_granted_even_where_cpus_cannot_be),
        cmocka_unit_test(test_threads_that_cannot_give_way_say_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
