/* Exploring: what is tried when, and that a modelled phone which knows nothing finds its
 * best choice in its first round and its frontier in five. */
#include "engine/swan/explore.h"
#include "profile_fixture.h"
#include "tests/bench/trial.h"

#include <math.h>

enum { N_SEEDS = 200, N_LONG_SEEDS = 20, N_STEPS = 60, N_ROUNDS = 5 };

static struct device_model phones[DEVICE_PHONES];
static struct device_workload workloads[DEVICE_WORKLOADS];
static struct profile profile;
static struct soc phone;
static struct explore explore;

static int setup_devices(void **state)
{
    cygnet_error err;

    (void)state;
    for (size_t i = 0; i < DEVICE_PHONES; i++) {
        if (device_model_read(&phones[i], DEVICES_DIR, DEVICE_PHONE_NAMES[i], &err) !=
            CYGNET_OK)
            fail_msg("%s: %s", DEVICE_PHONE_NAMES[i], err.message);
    }
    for (size_t i = 0; i < DEVICE_WORKLOADS; i++) {
        if (device_workload_read(&workloads[i], DEVICES_DIR, DEVICE_WORKLOAD_NAMES[i],
                                 &err) != CYGNET_OK)
            fail_msg("%s: %s", DEVICE_WORKLOAD_NAMES[i], err.message);
    }
    return 0;
}

/* ---- Rules ----------------------------------------------------------------- */

static void start(void)
{
    phone = make_phone();
    profile_init(&profile, &FIXTURE_KEY, &phone, 8);
    profile_update(&profile);
    explore_init(&explore);
}

static double modelled_ms(size_t entry)
{
    return device_step_ms(&phones[1], &workloads[0], &profile.entries[entry].choice);
}

static void step_with(size_t entry, double ms, double mj)
{
    profile_add(&profile, entry, ms, mj, ENERGY_HOST);
    profile_update(&profile);
    explore_step(&explore, &profile, (int32_t)entry, ms);
}

static void step(size_t entry, double ms)
{
    step_with(entry, ms, NAN);
}

static struct policy_input ask(uint64_t steps_left, double ms_left)
{
    return (struct policy_input){.profile = &profile,
                                 .soc = &phone,
                                 .current = -1,
                                 .steps_left = steps_left,
                                 .ms_left = ms_left,
                                 .mj_left = INFINITY,
                                 .slowdown = 1};
}

static int32_t next(uint64_t steps_left, double ms_left)
{
    struct policy_input in = ask(steps_left, ms_left);

    return explore_next(&explore, &in);
}

static void test_the_first_step_is_the_policys(void **state)
{
    (void)state;
    start();
    assert_int_equal(next(60, INFINITY), -1);
}

static void test_the_first_step_is_taken_twice(void **state)
{
    size_t used;

    (void)state;
    start();
    used = entry_of(&profile, 1, 3, 0);
    step(used, 3 * modelled_ms(used));
    assert_int_equal(next(60, INFINITY), used);
    step(used, modelled_ms(used));
    assert_int_not_equal(next(60, INFINITY), used);
    assert_true(profile.entries[used].step_ms == modelled_ms(used));
}

static void test_what_is_predicted_to_be_faster_is_tried(void **state)
{
    int32_t tried;

    (void)state;
    start();
    for (int i = 0; i < 2; i++)
        step(entry_of(&profile, 0, 0, 1), modelled_ms(entry_of(&profile, 0, 0, 1)));
    tried = next(60, INFINITY);
    assert_true(tried >= 0);
    assert_int_equal(profile.entries[tried].n_samples, 0);
    assert_true(profile.entries[tried].step_ms < profile.entries[0].step_ms / 2);
}

/* Everything, noiselessly, the slowest last: 10 % of a round do not pay for those. */
static void test_a_first_round_does_not_pay_for_the_slowest(void **state)
{
    size_t slowest = 0;

    (void)state;
    start();
    step(entry_of(&profile, 1, 3, 0), modelled_ms(entry_of(&profile, 1, 3, 0)));
    for (uint64_t left = N_STEPS; left > 1; left--) {
        int32_t tried = next(left, INFINITY);
        size_t used = tried >= 0 ? (size_t)tried : entry_of(&profile, 1, 3, 4);

        step(used, modelled_ms(used));
    }
    assert_int_equal(profile.entries[slowest].n_samples, 0);
    assert_false(explore_is_done(&profile));
    assert_true(profile.explored.n_lost <= EXPLORE_FIRST * N_STEPS);
    assert_int_equal(profile.explored.n_steps, N_STEPS);
}

static void test_no_try_takes_the_time_that_is_needed(void **state)
{
    size_t all, used;

    (void)state;
    start();
    all = entry_of(&profile, 1, 3, 4);
    used = entry_of(&profile, 1, 3, 0);
    step(used, 100);
    step(all, 90);
    step(all, 90);
    step(all, 90);
    /* 58 steps of 90 ms and nothing to spare but 2 %. */
    assert_int_equal(next(58, 58 * 90 * 1.02), -1);
    assert_true(next(58, 58 * 90 * 2.0) >= 0);
}

static void test_a_step_far_slower_than_predicted_is_tried_again(void **state)
{
    size_t all, rest;
    bool again = false;

    (void)state;
    start();
    all = entry_of(&profile, 1, 3, 4);
    rest = entry_of(&profile, 1, 3, 0);
    for (int i = 0; i < 4; i++) {
        step(rest, modelled_ms(rest));
        step(entry_of(&profile, 1, 2, 2), modelled_ms(entry_of(&profile, 1, 2, 2)));
        step(entry_of(&profile, 0, 3, 4), modelled_ms(entry_of(&profile, 0, 3, 4)));
    }
    step(all, 2.5 * modelled_ms(all));
    for (int i = 0; i < 5 && !again; i++) {
        int32_t tried = next(100, INFINITY);

        assert_true(tried >= 0);
        again = tried == (int32_t)all;
        step((size_t)tried, modelled_ms((size_t)tried));
    }
    assert_true(again);
}

/* All cores are tried, and disturbed: what is predicted since follows that step. */
static void test_a_surprise_is_tried_again_where_that_is_cheap(void **state)
{
    size_t rest, all;

    (void)state;
    for (int cheap = 0; cheap < 2; cheap++) {
        start();
        rest = entry_of(&profile, 1, 3, 0);
        all = entry_of(&profile, 1, 3, 4);
        step(rest, 100);
        step(rest, 100);
        assert_int_equal(next(60, INFINITY), all);
        step(all, cheap ? 145 : 170);
        assert_int_equal(next(60, INFINITY) == (int32_t)all, cheap);
    }
}

/* The worst step that was perhaps disturbed leaves the budget whole. */
static void test_a_doubtful_step_does_not_end_exploring(void **state)
{
    size_t rest, all;

    (void)state;
    start();
    rest = entry_of(&profile, 1, 3, 0);
    all = entry_of(&profile, 1, 3, 4);
    for (int i = 0; i < 4; i++)
        step(rest, 100);
    assert_int_equal(next(60, INFINITY), all);
    step(all, 600);
    assert_true(profile.entries[all].step_ms > 1.2 * profile.entries[all].model_ms);
    assert_true(next(60, INFINITY) >= 0);
}

static void test_cores_that_are_gone_are_not_tried(void **state)
{
    (void)state;
    start();
    step(0, modelled_ms(0));
    for (size_t i = 0; i < 4; i++)
        phone.cores[i].allowed = false;
    for (int i = 0; i < 20; i++) {
        int32_t tried = next(1000, INFINITY);

        if (tried < 0)
            break;
        assert_true(choice_is_possible(&profile.entries[tried].choice, &phone));
        step((size_t)tried, modelled_ms((size_t)tried));
    }
    assert_true(profile.entries[entry_of(&profile, 0, 0, 4)].n_samples > 0);
}

/* Four LITTLE cores: 100 mJ a step, and what else may take less is open. */
static struct policy_input know_the_energy(double mj_left)
{
    size_t used;
    struct policy_input in;

    start();
    used = entry_of(&profile, 0, 0, 4);
    step_with(used, modelled_ms(used), 100);
    in = ask(N_STEPS, INFINITY);
    in.mj_left = mj_left;
    return in;
}

static void test_nothing_is_tried_where_the_energy_budget_decides(void **state)
{
    struct policy_input in = know_the_energy(INFINITY);
    struct policy_decision decision;

    (void)state;
    assert_true(explore_next(&explore, &in) >= 0);
    in = know_the_energy(N_STEPS * 20.0);
    policy_decide(&decision, &in);
    assert_int_equal(decision.reason, REASON_BUDGET);
    assert_true(decision.entry >= 0);
    assert_int_equal(explore_next(&explore, &in), -1);
}

static void test_nothing_is_tried_where_the_policy_would_pause(void **state)
{
    struct policy_input in = know_the_energy(0);
    struct policy_decision decision;

    (void)state;
    policy_decide(&decision, &in);
    assert_int_equal(decision.entry, -1);
    assert_int_equal(explore_next(&explore, &in), -1);
}

/* What a try takes beyond the base is at most half of what the budget has to spare. */
static void test_no_try_takes_the_energy_that_is_needed(void **state)
{
    struct policy_input in = know_the_energy(INFINITY);
    const struct profile_entry *base, *tried;
    double mj;
    int32_t next_one = explore_next(&explore, &in);

    (void)state;
    for (int i = 0; i < 5 && next_one == explore.base; i++) {
        step_with((size_t)next_one, modelled_ms((size_t)next_one), 80);
        next_one = explore_next(&explore, &in);
    }
    assert_true(next_one >= 0 && next_one != explore.base);
    base = &profile.entries[explore.base];
    tried = &profile.entries[next_one];
    mj = tried->step_mj * exp(2 * tried->model_sd) - base->step_mj;
    assert_true(mj > 0);
    in.mj_left = (1.05 * N_STEPS + 2) * base->step_mj + 2.1 * mj;
    assert_int_equal(explore_next(&explore, &in), next_one);
    in.mj_left -= 0.2 * mj;
    assert_int_not_equal(explore_next(&explore, &in), next_one);
}

/* Where `efficient` knows no energy it takes the cheapest; it is not for its speed. */
static void test_nothing_is_better_than_the_cheapest(void **state)
{
    size_t other;
    struct policy_input in;
    int32_t fastest, cheap;

    (void)state;
    start();
    other = entry_of(&profile, 0, 1, 0);
    for (int i = 0; i < 3; i++) {
        step(0, modelled_ms(0));
        step(other, modelled_ms(other));
    }
    in = ask(N_STEPS, INFINITY);
    fastest = explore_next(&explore, &in);
    in.kind = CYGNET_POLICY_EFFICIENT;
    cheap = explore_next(&explore, &in);
    assert_int_equal(explore.base, 0);
    assert_true(fastest >= 0 && cheap >= 0);
    assert_true(cheap < fastest);
}

/* `efficient` takes its time. */
static void test_the_base_is_that_of_the_policy_that_asks(void **state)
{
    struct policy_input in;

    (void)state;
    start();
    for (size_t i = 0; i < profile.n_entries; i++)
        step_with(i, modelled_ms(i), 100 + (double)i);
    in = ask(N_STEPS, N_STEPS * profile.entries[0].step_ms / 2);
    (void)explore_next(&explore, &in);
    assert_int_not_equal(explore.base, 0);
    in.kind = CYGNET_POLICY_EFFICIENT;
    (void)explore_next(&explore, &in);
    assert_int_equal(explore.base, 0);
}

static void test_when_the_frontier_is_measured_nothing_is_tried(void **state)
{
    (void)state;
    start();
    for (size_t i = 0; i < profile.n_entries; i++) {
        for (int j = 0; j < 3; j++)
            step(i, modelled_ms(i));
    }
    assert_true(explore_is_done(&profile));
    assert_int_equal(next(1000, INFINITY), -1);
}

/* ---- The bars -------------------------------------------------------------- */

struct tally {
    int n, n_regret, n_lost, n_incomplete, n_missing, n_late;
    double regret, lost;
};

static void add(struct tally *t, const struct trial *trial)
{
    struct trial_result r;

    trial_run(&r, trial);
    t->n++;
    t->n_regret += r.regret > 0.10;
    t->n_lost += r.lost > 0.10;
    t->n_late += r.n_late > 0;
    t->n_incomplete += trial->n_rounds == N_ROUNDS && r.complete == 0;
    t->n_missing += trial->n_rounds == N_ROUNDS && r.missing > TRIAL_TOLERANCE;
    t->regret += r.regret;
    t->lost += r.lost;
}

static struct tally run_trials(struct trial trial, uint64_t n_seeds)
{
    struct tally tally = {0};

    for (uint64_t seed = 0; seed < n_seeds; seed++) {
        for (size_t p = 0; p < DEVICE_PHONES; p++) {
            trial.device = &phones[p];
            trial.workload = &workloads[(seed + p) % DEVICE_WORKLOADS];
            trial.seed = seed * DEVICE_PHONES + p;
            add(&tally, &trial);
        }
    }
    print_message("# modelled: %d devices, regret %.2f %% (%d above 10 %%), lost %.2f %% "
                  "(%d above 10 %%), incomplete %d, missing %d, late %d\n",
                  tally.n, 100 * tally.regret / tally.n, tally.n_regret,
                  100 * tally.lost / tally.n, tally.n_lost, tally.n_incomplete,
                  tally.n_missing, tally.n_late);
    return tally;
}

/* One device in two hundred may have bad luck: a disturbed step in a hundred is not seen.
 */
static void test_a_cold_device_finds_its_fastest_choice_in_a_round(void **state)
{
    struct trial trial = {.wild_share = 0.01,
                          .deadline = INFINITY,
                          .n_rounds = 1,
                          .n_steps = N_STEPS};
    struct tally t = run_trials(trial, N_SEEDS);

    (void)state;
    assert_true(t.regret / t.n < 0.01 && t.lost / t.n < 0.06);
    assert_true(t.n_regret <= t.n / 200 && t.n_lost <= t.n / 200);
}

static void test_the_frontier_is_complete_within_five_rounds(void **state)
{
    struct trial trial = {.wild_share = 0.01,
                          .deadline = INFINITY,
                          .n_rounds = N_ROUNDS,
                          .n_steps = N_STEPS};
    struct tally t = run_trials(trial, N_LONG_SEEDS);

    (void)state;
    assert_true(t.n_incomplete <= t.n / 50 && t.n_missing <= t.n / 20);
}

static void test_exploring_makes_no_deadline_miss(void **state)
{
    struct trial trial = {.energies = true,
                          .deadline = 1.3,
                          .n_rounds = N_ROUNDS,
                          .n_steps = N_STEPS};
    struct tally t = run_trials(trial, N_LONG_SEEDS);

    (void)state;
    assert_int_equal(t.n_late, 0);
    assert_true(t.regret / t.n < 0.1);
    /* Disturbed steps may be too many at the very end. */
    trial.wild_share = 0.01;
    t = run_trials(trial, N_LONG_SEEDS);
    assert_true(t.n_late <= t.n / 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_first_step_is_the_policys),
        cmocka_unit_test(test_the_first_step_is_taken_twice),
        cmocka_unit_test(test_what_is_predicted_to_be_faster_is_tried),
        cmocka_unit_test(test_a_first_round_does_not_pay_for_the_slowest),
        cmocka_unit_test(test_no_try_takes_the_time_that_is_needed),
        cmocka_unit_test(test_a_step_far_slower_than_predicted_is_tried_again),
        cmocka_unit_test(test_a_surprise_is_tried_again_where_that_is_cheap),
        cmocka_unit_test(test_a_doubtful_step_does_not_end_exploring),
        cmocka_unit_test(test_cores_that_are_gone_are_not_tried),
        cmocka_unit_test(test_nothing_is_tried_where_the_energy_budget_decides),
        cmocka_unit_test(test_nothing_is_tried_where_the_policy_would_pause),
        cmocka_unit_test(test_no_try_takes_the_energy_that_is_needed),
        cmocka_unit_test(test_nothing_is_better_than_the_cheapest),
        cmocka_unit_test(test_the_base_is_that_of_the_policy_that_asks),
        cmocka_unit_test(test_when_the_frontier_is_measured_nothing_is_tried),
        cmocka_unit_test(test_a_cold_device_finds_its_fastest_choice_in_a_round),
        cmocka_unit_test(test_the_frontier_is_complete_within_five_rounds),
        cmocka_unit_test(test_exploring_makes_no_deadline_miss),
    };

    return cmocka_run_group_tests(tests, setup_devices, NULL);
}
