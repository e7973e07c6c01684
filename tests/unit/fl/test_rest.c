/* A rest that the engine orders is no slowness: the fake clock runs while the engine, on
 * a machine of which nothing is seen, waits to be cool again. */
#include "engine/swan/swan.h"
#include "tests/unit/fl/bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <sched.h>

enum { READ_MS = 10, REST_S = 60, STEPS = 40 };

/* hot_at    it gets too hot in this read of the data, counted from 1
 * ends_ms   of the fake clock: then it is cool */
struct sauna {
    struct bench *b;
    struct swan *swan;
    int hot_at;
    int64_t ends_ms;
};

static void wait_until_paused(struct swan *swan, bool is_paused)
{
    while (swan_is_paused(swan) != is_paused)
        sched_yield();
}

static void heat(void *user)
{
    struct sauna *s = user;

    if (s->b->host.n_reads != s->hot_at)
        return;
    s->ends_ms = s->b->clock.mono_ms + INT64_C(1000) * REST_S;
    swan_set_heat(s->swan, 3);
    wait_until_paused(s->swan, true);
}

static void cool(void *user)
{
    struct sauna *s = user;

    if (s->ends_ms == 0 || s->b->clock.mono_ms < s->ends_ms)
        return;
    swan_set_heat(s->swan, 0);
    wait_until_paused(s->swan, false);
}

static int setup(void **state)
{
    static struct sauna s;
    struct swan_options options = {.root = "/nowhere",
                                   .max_threads = 1,
                                   .engine = "test"};
    struct bench *b;

    if (bench_setup(state) != 0)
        return -1;
    b = *state;
    s = (struct sauna){.b = b};
    if (swan_create(&s.swan, &options, NULL) != CYGNET_OK)
        return -1;
    b->config.swan = s.swan;
    b->config.executor = swan_executor(s.swan);
    b->coordinator.task.steps = STEPS;
    b->host.ms_per_read = READ_MS;
    b->host.on_read = heat;
    b->host.user = &s;
    b->clock.on_wait = cool;
    b->clock.user = &s;
    *state = &s;
    return 0;
}

static int teardown(void **state)
{
    struct sauna *s = *state;
    struct swan *swan = s->swan;

    *state = s->b;
    (void)bench_teardown(state);
    swan_destroy(swan);
    return 0;
}

static void train(struct sauna *s)
{
    assert_int_equal(bench_run(s->b), CYGNET_OK);
    assert_int_equal(s->b->report.outcome, CYGNET_OUTCOME_COMPLETED);
}

static void test_a_rest_does_not_end_the_training_early(void **state)
{
    struct sauna *s = *state;

    s->hot_at = 1;
    s->b->coordinator.task.deadline_s = REST_S + 20;
    train(s);
    assert_true(s->ends_ms > 0 && s->b->clock.mono_ms >= s->ends_ms);
    assert_int_equal(s->b->report.step, STEPS);
    assert_true(s->b->report.train_ms >= INT64_C(1000) * REST_S);
}

static void test_a_rest_before_the_speed_is_known_is_not_hopeless(void **state)
{
    struct sauna *s = *state;

    s->hot_at = 2;
    s->b->coordinator.task.deadline_s = REST_S + 5;
    train(s);
    assert_true(s->ends_ms > 0);
    assert_int_equal(s->b->report.step, STEPS);
}

static void test_the_next_check_in_tells_the_speed_without_rests(void **state)
{
    struct sauna *s = *state;
    double samples_per_s = 1000.0 / READ_MS * 20 / 3; /* 20 examples in three steps */

    s->b->coordinator.task.steps = 3;
    s->hot_at = 2;
    train(s);
    assert_true(s->ends_ms > 0);
    s->hot_at = 0;
    train(s);
    if (fabs(s->b->coordinator.last_hello.samples_per_s - samples_per_s) > 1e-6)
        fail_msg("%g", s->b->coordinator.last_hello.samples_per_s);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_rest_does_not_end_the_training_early),
        TEST(test_a_rest_before_the_speed_is_known_is_not_hopeless),
        TEST(test_the_next_check_in_tells_the_speed_without_rests),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
