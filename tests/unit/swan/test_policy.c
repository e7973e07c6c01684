/* The policy: examples of each rule. Its properties are in test_policy_properties.c. */
#include "engine/swan/policy.h"
#include "profile_fixture.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static struct profile profile;
static struct soc phone;
static struct policy_input input;
static struct policy_decision decision;

/* A phone in which a prime core makes 10 steps a second, a big one 8, a LITTLE one 2;
 * watts 2, 1.5 and 0.2. */
static void add(size_t i, bool energies)
{
    const uint8_t *n = profile.entries[i].choice.n_cores;
    double ms = 1000 / (10.0 * n[0] + 8.0 * n[1] + 2.0 * n[2]);
    double watts = 2.0 * n[0] + 1.5 * n[1] + 0.2 * n[2];

    for (int j = 0; j < 4; j++)
        profile_add(&profile, i, ms, energies ? ms * watts : (double)NAN, ENERGY_HOST);
}

static void start(bool energies)
{
    phone = make_phone();
    profile_init(&profile, &FIXTURE_KEY, &phone, 8);
    for (size_t i = 0; i < profile.n_entries; i++)
        add(i, energies);
    profile_update(&profile);
    input = (struct policy_input){.profile = &profile,
                                  .soc = &phone,
                                  .current = -1,
                                  .steps_left = 100,
                                  .ms_left = INFINITY,
                                  .mj_left = INFINITY,
                                  .slowdown = 1,
                                  .may_upgrade = true};
}

static int32_t entry(uint8_t n0, uint8_t n1, uint8_t n2)
{
    return (int32_t)entry_of(&profile, n0, n1, n2);
}

static void check(int32_t want, enum policy_reason reason, const char *why)
{
    char name[CHOICE_TEXT_BYTES] = "pause";

    policy_decide(&decision, &input);
    if (decision.entry >= 0)
        profile_choice_text(name, &profile, (size_t)decision.entry);
    print_message("# %s: %s\n", policy_reason_name(decision.reason), decision.why);
    if (decision.entry != want || decision.reason != reason || !strstr(decision.why, why))
        fail_msg("%s for the reason \"%s\": %s", name,
                 policy_reason_name(decision.reason), decision.why);
}

static void test_without_measurements_capacity_decides(void **state)
{
    (void)state;
    start(false);
    profile_init(&profile, &FIXTURE_KEY, &phone, 8);
    check(entry(1, 3, 0), REASON_FASTEST, "nothing is measured yet");
    input.kind = CYGNET_POLICY_EFFICIENT;
    check(entry(0, 0, 1), REASON_CHEAPEST, "nothing is measured yet");
}

static void test_without_energy_the_fastest_is_taken(void **state)
{
    (void)state;
    start(false);
    check(entry(1, 3, 4), REASON_FASTEST, "no energy is known");
}

static void test_within_the_tie_the_cheapest_is_taken(void **state)
{
    (void)state;
    start(false);
    /* 1 % off, then 3 % off with quartiles that are as far apart. */
    for (int i = 0; i < PROFILE_SAMPLES; i++)
        profile_add(&profile, (size_t)entry(1, 2, 1), 24, NAN, ENERGY_UNKNOWN);
    profile_update(&profile);
    check(entry(1, 2, 1), REASON_FASTEST, "24 ms");
    for (int i = 0; i < PROFILE_SAMPLES; i++)
        profile_add(&profile, (size_t)entry(0, 3, 2), 24.5 + 4 * (i % 2 - 0.5), NAN,
                    ENERGY_UNKNOWN);
    profile_update(&profile);
    check(entry(0, 3, 2), REASON_FASTEST, "24.5 ms");
}

static void test_the_least_energy_that_finishes_in_time_is_taken(void **state)
{
    (void)state;
    start(true);
    check(entry(0, 0, 1), REASON_LEAST_ENERGY, "least energy");
    /* 100 steps: 12.5 s with 4 LITTLE. */
    input.ms_left = 20000;
    check(entry(0, 0, 3), REASON_LEAST_ENERGY, "100 steps in 16.7 s of 20 s");
    input.ms_left = 9000;
    policy_decide(&decision, &input);
    assert_true(profile.entries[decision.entry].step_ms * 100 <= 9000);
    assert_true(decision.entry < entry(1, 3, 4));
}

static void test_where_nothing_finishes_the_fastest_is_taken(void **state)
{
    (void)state;
    start(true);
    input.ms_left = 100;
    check(entry(1, 3, 4), REASON_FASTEST, "none finishes with time");
    input.ms_left = -1;
    check(entry(1, 3, 4), REASON_FASTEST, "none finishes with time");
}

static void test_a_choice_in_use_stays_while_others_are_hardly_better(void **state)
{
    (void)state;
    start(false);
    input.current = entry(1, 3, 3);
    for (int i = 0; i < PROFILE_SAMPLES; i++)
        profile_add(&profile, (size_t)input.current, 24, NAN, ENERGY_UNKNOWN);
    profile_update(&profile);
    check(entry(1, 3, 3), REASON_KEEP, "24 ms");
}

static void test_the_budget_comes_before_the_deadline(void **state)
{
    (void)state;
    start(true);
    input.ms_left = 3000;
    input.mj_left = 12000; /* 4 LITTLE take 100 mJ a step, all cores 175 */
    policy_decide(&decision, &input);
    assert_int_equal(decision.reason, REASON_BUDGET);
    assert_true(profile.entries[decision.entry].step_mj * 100 <= 12000);
    input.mj_left = 99;
    check(-1, REASON_BUDGET, "99 mJ are left");
    input.mj_left = 0;
    check(-1, REASON_BUDGET, "spent");
}

static void test_greedy_takes_every_core_but_the_least_capable(void **state)
{
    (void)state;
    start(true);
    input.kind = CYGNET_POLICY_GREEDY;
    check(entry(1, 3, 0), REASON_GREEDY, "greedy");
    input.disturbance = DISTURBANCE_CONTENTION;
    input.current = entry(1, 3, 0);
    input.slowdown = 5;
    check(entry(1, 3, 0), REASON_GREEDY, "greedy");
    phone.cores[0].allowed = false;
    check(entry(0, 3, 0), REASON_GREEDY, "greedy");
    for (size_t i = 0; i < 4; i++)
        phone.cores[i].online = false;
    check(entry(0, 0, 4), REASON_GREEDY, "greedy");
}

static void test_greedy_takes_all_of_one_cluster(void **state)
{
    (void)state;
    start(true);
    phone = make_soc((const uint32_t[]){4}, 1, 1);
    profile_init(&profile, &FIXTURE_KEY, &phone, 8);
    input.kind = CYGNET_POLICY_GREEDY;
    check(3, REASON_GREEDY, "4 cores");
}

static void test_a_fixed_choice_is_taken_as_far_as_it_is_possible(void **state)
{
    (void)state;
    start(true);
    input.kind = CYGNET_POLICY_FIXED;
    input.fixed = (struct choice){{1, 2, 1}};
    check(entry(1, 2, 1), REASON_FIXED, "fixed");
    phone.cores[0].online = false;
    check(entry(0, 2, 1), REASON_FIXED, "nearest");
}

static void test_contended_cores_are_left_for_free_ones(void **state)
{
    (void)state;
    start(false);
    input.current = entry(1, 3, 0);
    input.disturbance = DISTURBANCE_CONTENTION;
    input.slowdown = 2;
    input.contended[0] = 1;
    check(entry(0, 3, 4), REASON_LEAVE, "to the free cores of 3 big + 4 LITTLE");
    input.current = entry(0, 2, 4);
    input.contended[0] = 0;
    input.contended[1] = 1;
    check(entry(0, 2, 4), REASON_LEAVE, "nobody else wants");
}

static void test_without_free_cores_contention_goes_one_down(void **state)
{
    (void)state;
    start(false);
    input.current = entry(1, 3, 4);
    input.disturbance = DISTURBANCE_CONTENTION;
    input.slowdown = 1.5;
    check(entry(1, 3, 3), REASON_DOWNGRADE, "instead of 23.8 ms");
    /* It is known where: one that shares fewer cores. */
    input.contended[0] = 1;
    input.contended[1] = 3;
    check(entry(1, 2, 4), REASON_DOWNGRADE, "1 prime + 2 big + 4 LITTLE");
    input.current = entry(0, 0, 1);
    input.contended[2] = 4;
    check(entry(0, 0, 1), REASON_ONLY, "nothing cheaper");
}

static void test_threads_that_yield_stay_where_they_lose_less(void **state)
{
    (void)state;
    start(false);
    input.current = entry(1, 3, 4);
    input.disturbance = DISTURBANCE_CONTENTION;
    input.slowdown = 1.02;
    input.yields = true;
    check(entry(1, 3, 4), REASON_KEEP, "it yields to others");
    input.slowdown = 3;
    check(entry(1, 3, 3), REASON_DOWNGRADE, "down to");
}

static void test_a_downgrade_that_would_miss_the_deadline_is_not_taken(void **state)
{
    (void)state;
    start(false);
    input.current = entry(1, 3, 4);
    input.disturbance = DISTURBANCE_CONTENTION;
    input.slowdown = 1.01;
    input.ms_left = 2450; /* 24 ms a step, and one LITTLE core less takes 25 */
    check(entry(1, 3, 4), REASON_KEEP, "would need");
}

static void test_a_deadline_goes_before_giving_way(void **state)
{
    int32_t low;

    (void)state;
    start(false);
    low = entry(0, 2, 0);
    input.current = low;
    input.disturbance = DISTURBANCE_CONTENTION;
    input.may_upgrade = false;
    input.contended[0] = 1;
    input.ms_left = 100.0 * 1.05 * profile.entries[low].step_ms;
    policy_decide(&decision, &input);
    assert_true(decision.entry <= low);
    input.slowdown = 1.2; /* now it comes too late */
    policy_decide(&decision, &input);
    assert_true(decision.entry > low);
    assert_true(profile.entries[decision.entry].step_ms <
                profile.entries[low].step_ms / 1.1);
}

static void test_upgrades_wait_and_go_one_by_one_after_a_disturbance(void **state)
{
    (void)state;
    start(false);
    input.current = entry(0, 0, 4);
    input.may_upgrade = false;
    check(entry(0, 0, 4), REASON_KEEP, "until it is quiet");
    input.may_upgrade = input.recovering = true;
    policy_decide(&decision, &input);
    assert_int_equal(decision.reason, REASON_UPGRADE);
    assert_in_range(decision.entry, entry(0, 0, 4) + 1, entry(0, 2, 0));
    input.recovering = false;
    check(entry(1, 3, 4), REASON_FASTEST, "fastest");
    input.may_upgrade = false;
    input.ms_left = 3000;
    check(entry(1, 3, 4), REASON_FASTEST, "fastest");
}

static void test_an_upgrade_does_not_go_to_cores_that_others_want(void **state)
{
    (void)state;
    start(false);
    input.current = entry(0, 0, 4);
    input.contended[0] = 1;
    check(entry(0, 3, 4), REASON_FASTEST, "3 big + 4 LITTLE");
}

static double watts_of(int32_t i)
{
    return profile.entries[i].step_mj / profile.entries[i].step_ms;
}

static void test_heat_bounds_the_power_and_then_pauses(void **state)
{
    double most;

    (void)state;
    start(true);
    most = watts_of(entry(1, 3, 4));
    input.ms_left = 2400;
    input.current = entry(1, 3, 4);
    input.disturbance = DISTURBANCE_THERMAL;
    /* Level 1 does not make a deadline miss. */
    input.level = 1;
    check(entry(1, 3, 4), REASON_KEEP, "severity 1");
    input.ms_left = 5000;
    policy_decide(&decision, &input);
    assert_int_equal(decision.reason, REASON_COOL);
    assert_true(watts_of(decision.entry) <= most * 2 / 3);
    input.ms_left = 2400;
    input.level = 2;
    policy_decide(&decision, &input);
    assert_int_equal(decision.reason, REASON_COOL);
    assert_true(watts_of(decision.entry) <= most / 3);
    input.level = 3;
    check(-1, REASON_PAUSE, "severity is 3");
}

static void test_revoked_cores_leave_the_best_of_the_rest(void **state)
{
    (void)state;
    start(false);
    input.current = entry(1, 3, 4);
    input.disturbance = DISTURBANCE_REVOKED;
    input.may_upgrade = false;
    for (size_t i = 0; i < 4; i++)
        phone.cores[i].allowed = false;
    check(entry(0, 0, 4), REASON_FASTEST, "4 LITTLE");
    for (size_t i = 4; i < 7; i++)
        phone.cores[i].allowed = false;
    check(entry(0, 0, 1), REASON_ONLY, "all that is possible");
    phone.cores[7].online = false;
    check(-1, REASON_PAUSE, "cores left");
}

static void test_a_slow_data_hook_changes_nothing(void **state)
{
    (void)state;
    start(false);
    input.current = entry(0, 2, 0);
    input.disturbance = DISTURBANCE_DATA;
    check(entry(0, 2, 0), REASON_KEEP, "data hook");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_measurements_capacity_decides),
        cmocka_unit_test(test_without_energy_the_fastest_is_taken),
        cmocka_unit_test(test_within_the_tie_the_cheapest_is_taken),
        cmocka_unit_test(test_the_least_energy_that_finishes_in_time_is_taken),
        cmocka_unit_test(test_where_nothing_finishes_the_fastest_is_taken),
        cmocka_unit_test(test_a_choice_in_use_stays_while_others_are_hardly_better),
        cmocka_unit_test(test_the_budget_comes_before_the_deadline),
        cmocka_unit_test(test_greedy_takes_every_core_but_the_least_capable),
        cmocka_unit_test(test_greedy_takes_all_of_one_cluster),
        cmocka_unit_test(test_a_fixed_choice_is_taken_as_far_as_it_is_possible),
        cmocka_unit_test(test_contended_cores_are_left_for_free_ones),
        cmocka_unit_test(test_without_free_cores_contention_goes_one_down),
        cmocka_unit_test(test_threads_that_yield_stay_where_they_lose_less),
        cmocka_unit_test(test_a_downgrade_that_would_miss_the_deadline_is_not_taken),
        cmocka_unit_test(test_a_deadline_goes_before_giving_way),
        cmocka_unit_test(test_upgrades_wait_and_go_one_by_one_after_a_disturbance),
        cmocka_unit_test(test_an_upgrade_does_not_go_to_cores_that_others_want),
        cmocka_unit_test(test_heat_bounds_the_power_and_then_pauses),
        cmocka_unit_test(test_revoked_cores_leave_the_best_of_the_rest),
        cmocka_unit_test(test_a_slow_data_hook_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
