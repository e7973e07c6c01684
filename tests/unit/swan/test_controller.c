/* What the controller makes of what is seen: disturbances told apart, also on hosts that
 * do not show all of it, and alarms that do not flutter. */
#include "engine/swan/controller.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define PROFILED_MS 10.0

/* A machine of two alike cores, and what it shows. */
struct bench {
    struct controller c;
    struct soc soc;
    struct controller_sight sight;
    double ms;
};

static const double unknown = (double)NAN;

static int setup(void **state)
{
    static struct bench b;

    memset(&b, 0, sizeof(b));
    b.soc.n_cores = 2;
    b.soc.n_clusters = 1;
    b.soc.clusters[0].n_cores = 2;
    for (uint32_t i = 0; i < 2; i++)
        b.soc.cores[i] =
            (struct soc_core){.cpu = i, .core = i, .online = true, .allowed = true};
    b.sight = (struct controller_sight){.clock = unknown, .heat = -1, .step_ms = unknown};
    for (uint32_t i = 0; i < 2; i++)
        b.sight.wait[i] = b.sight.foreign[i] = 0.0;
    controller_init(&b.c, 0.0);
    *state = &b;
    return 0;
}

/* Looks for so long; a step of step_ms ends at each. */
static void pass(struct bench *b, double ms, double step_ms)
{
    for (double end = b->ms + ms; b->ms < end - 0.5;) {
        b->ms += CONTROLLER_LOOK_MS;
        b->sight.now_ms = b->ms;
        if (step_ms > 0.0)
            controller_step(&b->c, step_ms, 0.0, PROFILED_MS);
        controller_look(&b->c, &b->sight, &b->soc, PROFILED_MS);
    }
}

static struct policy_input report(const struct bench *b)
{
    struct policy_input in = {0};

    controller_report(&in, &b->c, &b->soc);
    return in;
}

static void test_nothing_disturbs_a_quiet_machine(void **state)
{
    struct bench *b = *state;

    pass(b, 5000.0, 10.3);
    assert_int_equal(report(b).disturbance, DISTURBANCE_NONE);
    assert_true(report(b).may_upgrade);
    assert_true(controller_is_quiet(&b->c));
}

/* The decision has to come within 100 ms of the load. */
static void test_waiting_for_a_core_is_contention_within_100_ms(void **state)
{
    struct bench *b = *state;

    pass(b, 1000.0, 10.0);
    b->sight.wait[1] = 0.33;
    pass(b, 80.0, 0.0);
    assert_int_equal(report(b).disturbance, DISTURBANCE_CONTENTION);
    assert_int_equal(report(b).contended[0], 1);
    assert_false(report(b).may_upgrade);
    assert_true(controller_compare_cores(&b->c, 0, 1) < 0.0);
}

static void test_use_by_others_is_contention_on_cores_that_are_not_ours(void **state)
{
    struct bench *b = *state;

    b->sight.wait[1] = unknown; /* no thread of ours is there */
    pass(b, 1000.0, 10.0);
    b->sight.foreign[1] = 0.33;
    pass(b, 100.0, 0.0);
    assert_int_equal(report(b).disturbance, DISTURBANCE_CONTENTION);
    assert_int_equal(report(b).contended[0], 1);
}

static void test_one_burst_is_no_contention(void **state)
{
    struct bench *b = *state;

    for (int i = 0; i < 50; i++) {
        b->sight.wait[0] = 0.2;
        b->sight.foreign[0] = 0.5;
        pass(b, CONTROLLER_LOOK_MS, 10.0);
        assert_int_equal(report(b).disturbance, DISTURBANCE_NONE);
        b->sight.wait[0] = b->sight.foreign[0] = 0.0;
        pass(b, 980.0, 10.0);
        assert_int_equal(report(b).disturbance, DISTURBANCE_NONE);
    }
}

/* Ticks of 10 ms that fall to either side, as the kernel counts. */
static void test_coarse_counters_do_not_flutter(void **state)
{
    struct bench *b = *state;

    for (int i = 0; i < 500; i++) {
        b->sight.foreign[0] = i % 2 == 0 ? 0.5 : -0.5;
        pass(b, CONTROLLER_LOOK_MS, 10.0);
        assert_int_equal(report(b).disturbance, DISTURBANCE_NONE);
    }
}

static void test_slow_steps_alone_are_contention_where_nothing_else_is_seen(void **state)
{
    struct bench *b = *state;

    for (uint32_t i = 0; i < 2; i++)
        b->sight.wait[i] = b->sight.foreign[i] = unknown;
    pass(b, 1000.0, 10.0);
    assert_int_equal(report(b).disturbance, DISTURBANCE_NONE);
    pass(b, 100.0, 15.0);
    assert_int_equal(report(b).disturbance, DISTURBANCE_CONTENTION);
    pass(b, 200.0, 15.0);
    assert_true(report(b).slowdown > 1.4);
    assert_int_equal(report(b).contended[0], 0); /* which cores is not known */
}

static void test_one_slow_step_is_forgiven(void **state)
{
    struct bench *b = *state;

    b->sight.wait[0] = b->sight.wait[1] = unknown;
    b->sight.foreign[0] = b->sight.foreign[1] = unknown;
    for (int i = 0; i < 20; i++) {
        pass(b, CONTROLLER_LOOK_MS, 17.0);
        assert_int_equal(report(b).disturbance, DISTURBANCE_NONE);
        pass(b, 400.0, 10.0);
    }
}

static void test_a_long_step_need_not_end_to_be_known_as_slow(void **state)
{
    struct bench *b = *state;

    b->sight.wait[0] = b->sight.wait[1] = unknown;
    b->sight.foreign[0] = b->sight.foreign[1] = unknown;
    b->sight.step_ms = 1.4 * PROFILED_MS;
    pass(b, CONTROLLER_LOOK_MS, 0.0);
    assert_int_equal(report(b).disturbance, DISTURBANCE_NONE);
    b->sight.step_ms = 1.6 * PROFILED_MS;
    pass(b, CONTROLLER_LOOK_MS, 0.0);
    assert_int_equal(report(b).disturbance, DISTURBANCE_CONTENTION);
}

static void test_a_lowered_frequency_is_heat(void **state)
{
    struct bench *b = *state;

    b->sight.clock = 1.0;
    pass(b, 1000.0, 10.0);
    assert_int_equal(report(b).disturbance, DISTURBANCE_NONE);
    b->sight.clock = 0.8;
    pass(b, 40.0, 12.5);
    assert_int_equal(report(b).disturbance, DISTURBANCE_THERMAL);
    assert_int_equal(report(b).level, 1);
    b->sight.clock = 0.5;
    pass(b, 40.0, 20.0);
    assert_int_equal(report(b).level, 2);
}

static void test_the_host_knows_better_how_hot_it_is(void **state)
{
    struct bench *b = *state;

    b->sight.clock = 0.5;
    b->sight.heat = 0;
    pass(b, 100.0, 10.0);
    assert_int_equal(report(b).disturbance, DISTURBANCE_NONE);
    b->sight.heat = 3;
    pass(b, 20.0, 10.0);
    assert_int_equal(report(b).disturbance, DISTURBANCE_THERMAL);
    assert_int_equal(report(b).level, 3);
}

static void test_slow_steps_on_cores_that_nobody_wants_are_heat(void **state)
{
    struct bench *b = *state;

    pass(b, 1000.0, 10.0);
    pass(b, 200.0, 15.0);
    assert_int_equal(report(b).disturbance, DISTURBANCE_THERMAL);
    assert_int_equal(report(b).level, 1);
}

static void test_slow_steps_of_a_cool_machine_are_the_new_normal(void **state)
{
    struct bench *b = *state;

    b->sight.clock = 1.0;
    pass(b, 1000.0, 10.0);
    pass(b, 200.0, 15.0);
    assert_int_equal(report(b).disturbance, DISTURBANCE_NONE);
    assert_false(controller_is_quiet(&b->c));
    pass(b, 6000.0, 15.0);
    assert_true(controller_is_quiet(&b->c));
}

static void test_cores_taken_away_are_a_revocation(void **state)
{
    struct bench *b = *state;

    b->sight.wait[0] = 0.5;
    b->sight.revoked = true;
    pass(b, CONTROLLER_LOOK_MS, 10.0);
    assert_int_equal(report(b).disturbance, DISTURBANCE_REVOKED);
    b->sight.revoked = false;
    b->sight.wait[0] = 0.0;
    pass(b, 1000.0, 10.0);
    assert_int_equal(report(b).disturbance, DISTURBANCE_NONE);
}

static void test_a_slow_data_hook_is_told_from_slow_steps(void **state)
{
    struct bench *b = *state;

    for (int i = 0; i < 20; i++) {
        controller_step(&b->c, 10.0, 30.0, PROFILED_MS);
        pass(b, CONTROLLER_LOOK_MS, 0.0);
    }
    assert_int_equal(report(b).disturbance, DISTURBANCE_DATA);
    assert_true(controller_is_quiet(&b->c)); /* the steps themselves are as profiled */
    assert_true(report(b).slowdown < 1.01);
}

static void test_it_has_to_be_quiet_for_a_while_before_an_upgrade(void **state)
{
    struct bench *b = *state;

    b->sight.wait[0] = 0.5;
    pass(b, 1000.0, 10.0);
    b->sight.wait[0] = 0.0;
    pass(b, 1400.0, 10.0);
    assert_false(report(b).may_upgrade);
    pass(b, 400.0, 10.0);
    assert_true(report(b).may_upgrade);
}

static void test_upgrades_that_fail_are_tried_ever_later(void **state)
{
    struct bench *b = *state;
    double quiet_ms = controller_quiet_ms(&b->c);

    b->sight.foreign[0] = unknown;
    for (int i = 0; i < 4; i++) {
        controller_switched(&b->c, true);
        pass(b, 100.0, 10.0);
        controller_switched(&b->c, false);
        assert_true(controller_quiet_ms(&b->c) == 2.0 * quiet_ms);
        quiet_ms = controller_quiet_ms(&b->c);
    }
    for (int i = 0; i < 10; i++) {
        controller_switched(&b->c, true);
        controller_switched(&b->c, false);
    }
    assert_true(controller_quiet_ms(&b->c) == 60000.0);
    pass(b, 61000.0, 10.0); /* the back-off itself is no new beginning */
    controller_switched(&b->c, true);
    assert_true(controller_quiet_ms(&b->c) == 60000.0);
    pass(b, 61000.0, 10.0); /* an upgrade that stands is */
    controller_switched(&b->c, false);
    assert_true(controller_quiet_ms(&b->c) == 1500.0);
}

static void test_where_others_are_seen_it_tries_again_soon(void **state)
{
    struct bench *b = *state;

    pass(b, 100.0, 10.0);
    for (int i = 0; i < 10; i++) {
        controller_switched(&b->c, true);
        controller_switched(&b->c, false);
    }
    assert_true(controller_quiet_ms(&b->c) == 3000.0);
    b->soc.cores[1].allowed = false; /* nobody asks about a core that is not usable */
    b->sight.foreign[1] = unknown;
    pass(b, 100.0, 10.0);
    assert_true(controller_quiet_ms(&b->c) == 3000.0);
    b->sight.foreign[0] = unknown;
    pass(b, 100.0, 10.0);
    assert_true(controller_quiet_ms(&b->c) == 60000.0);
}

/* Down at once, up one by one with time to see, until the policy goes no further. */
static void test_recovering_ends_where_the_policy_stays(void **state)
{
    struct bench *b = *state;

    pass(b, 1000.0, 10.0);
    controller_decided(&b->c, 3, 2); /* cheaper and as good: nothing drove it */
    assert_false(report(b).recovering);
    b->sight.wait[0] = 0.5;
    pass(b, 200.0, 10.0);
    controller_decided(&b->c, 2, 1);
    controller_decided(&b->c, 1, 0);
    assert_true(report(b).recovering);
    b->sight.wait[0] = 0.0;
    pass(b, 1000.0, 10.0);
    controller_decided(&b->c, 0, 0); /* it may not go up yet */
    assert_true(report(b).recovering);
    pass(b, 1000.0, 10.0);
    assert_true(report(b).may_upgrade);
    controller_decided(&b->c, 0, 1);
    pass(b, 100.0, 10.0);
    assert_false(report(b).may_upgrade);
    pass(b, 120.0, 10.0);
    assert_true(report(b).may_upgrade && report(b).recovering);
    controller_decided(&b->c, 1, 1);
    assert_false(report(b).recovering);
}

static void test_each_disturbance_has_a_name(void **state)
{
    (void)state;
    assert_string_equal(disturbance_name(DISTURBANCE_NONE), "none");
    assert_string_equal(disturbance_name(DISTURBANCE_CONTENTION), "contention");
    assert_string_equal(disturbance_name(DISTURBANCE_THERMAL), "thermal");
    assert_string_equal(disturbance_name(DISTURBANCE_REVOKED), "revoked");
    assert_string_equal(disturbance_name(DISTURBANCE_DATA), "data");
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_nothing_disturbs_a_quiet_machine),
        TEST(test_waiting_for_a_core_is_contention_within_100_ms),
        TEST(test_use_by_others_is_contention_on_cores_that_are_not_ours),
        TEST(test_one_burst_is_no_contention),
        TEST(test_coarse_counters_do_not_flutter),
        TEST(test_slow_steps_alone_are_contention_where_nothing_else_is_seen),
        TEST(test_one_slow_step_is_forgiven),
        TEST(test_a_long_step_need_not_end_to_be_known_as_slow),
        TEST(test_a_lowered_frequency_is_heat),
        TEST(test_the_host_knows_better_how_hot_it_is),
        TEST(test_slow_steps_on_cores_that_nobody_wants_are_heat),
        TEST(test_slow_steps_of_a_cool_machine_are_the_new_normal),
        TEST(test_cores_taken_away_are_a_revocation),
        TEST(test_a_slow_data_hook_is_told_from_slow_steps),
        TEST(test_it_has_to_be_quiet_for_a_while_before_an_upgrade),
        TEST(test_upgrades_that_fail_are_tried_ever_later),
        TEST(test_where_others_are_seen_it_tries_again_soon),
        TEST(test_recovering_ends_where_the_policy_stays),
        TEST(test_each_disturbance_has_a_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
