/* The baseline of what is drawn: looks while nothing trains. */
#include "engine/swan/energy_idle.h"

#include "energy_fixture.h"

static void begin(struct bench *b, struct energy_idle *idle, int64_t power_uw)
{
    b->options.hook = read_figure;
    b->figure = (struct energy_figure){-1, power_uw, 0, 500};
    energy_meter_init(&b->meter, &b->options);
    energy_idle_break(idle);
}

static double idle_mw(const struct bench *b)
{
    return b->meter.tracks[ENERGY_SLOT_HOST].idle_mw;
}

static void test_looks_in_a_wait_make_a_baseline(void **state)
{
    struct bench *b = *state;
    struct energy_idle idle;
    struct energy_mark from;

    begin(b, &idle, 800000);
    assert_true(energy_idle_look(&idle, &b->meter, 0));
    assert_true(energy_idle_look(&idle, &b->meter, 1000));
    assert_true(isnan(idle_mw(b)));
    assert_false(energy_idle_look(&idle, &b->meter, 4000));
    assert_near(idle_mw(b), 800);
    b->figure.power_uw = 3800000;
    energy_meter_mark(&from, &b->meter, 5000);
    assert_near(marginal_since(b, &from, 9000).mj, 12000);
}

static void test_time_that_nobody_looked_at_is_not_idle(void **state)
{
    struct bench *b = *state;
    struct energy_idle idle;

    begin(b, &idle, 800000);
    assert_true(energy_idle_look(&idle, &b->meter, 0));
    assert_true(energy_idle_look(&idle, &b->meter, 3600000));
    assert_true(isnan(idle_mw(b)));
    assert_false(energy_idle_look(&idle, &b->meter, 3604000));
    assert_near(idle_mw(b), 800);
}

/* A counter could tell of all the time between; it was no idle time. */
static void test_a_training_between_is_not_idle(void **state)
{
    struct bench *b = *state;
    struct energy_idle idle;

    begin(b, &idle, 0);
    b->figure = (struct energy_figure){0, -1, 0, 1};
    assert_true(energy_idle_look(&idle, &b->meter, 0));
    energy_idle_break(&idle);
    b->figure.total_uj = 20000000;
    assert_true(energy_idle_look(&idle, &b->meter, 4000));
    b->figure.total_uj = 22000000;
    assert_false(energy_idle_look(&idle, &b->meter, 8000));
    assert_near(idle_mw(b), 500);
}

static void test_a_newer_baseline_replaces_the_older(void **state)
{
    struct bench *b = *state;
    struct energy_idle idle;
    int64_t now = 0;

    begin(b, &idle, 800000);
    for (; now < ENERGY_IDLE_MS; now += ENERGY_IDLE_LOOK_MS)
        (void)energy_idle_look(&idle, &b->meter, now);
    (void)energy_idle_look(&idle, &b->meter, now);
    assert_near(idle_mw(b), 800);
    b->figure.power_uw = 600000;
    for (int i = 0; i <= ENERGY_IDLE_MS / ENERGY_IDLE_LOOK_MS; i++, now += 4000)
        assert_false(energy_idle_look(&idle, &b->meter, now));
    energy_idle_break(&idle);
    for (int i = 0; i <= ENERGY_IDLE_MS / ENERGY_IDLE_LOOK_MS; i++, now += 4000)
        assert_false(energy_idle_look(&idle, &b->meter, now));
    (void)energy_idle_look(&idle, &b->meter, now);
    assert_near(idle_mw(b), 600);
}

static void test_where_nothing_can_be_read_no_looks_are_asked_for(void **state)
{
    struct bench *b = *state;
    struct energy_idle idle;

    begin(b, &idle, 800000);
    b->code = 1;
    assert_false(energy_idle_look(&idle, &b->meter, 0));
    b->options.hook = NULL;
    use_model(b);
    assert_false(energy_idle_look(&idle, &b->meter, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ENERGY_TEST(test_looks_in_a_wait_make_a_baseline),
        ENERGY_TEST(test_time_that_nobody_looked_at_is_not_idle),
        ENERGY_TEST(test_a_training_between_is_not_idle),
        ENERGY_TEST(test_a_newer_baseline_replaces_the_older),
        ENERGY_TEST(test_where_nothing_can_be_read_no_looks_are_asked_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
