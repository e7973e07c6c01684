/* What holds of every decision, on thousands of random SoCs, profiles and loads, and
 * that a steady load is answered steadily. */
#include "engine/swan/policy.h"
#include "profile_fixture.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { N_CASES = 6000, N_LOADS = 150, N_TICKS = 2000, PROFILES_EACH = 10 };

struct round {
    struct profile profile;
    struct soc soc;
    struct policy_input in;
    struct policy_decision out;
};

static struct round r;
static struct rng rng;

static int setup(void **state)
{
    (void)state;
    rng_init(&rng, chosen_seed(), "policy", 0);
    return 0;
}

static double draw_limit(double scale)
{
    return rng_below(&rng, 2) ? (double)INFINITY
                              : scale * exp(log(1000) * (rng_uniform(&rng) - 0.3));
}

/* Once in PROFILES_EACH another SoC and profile; each time another situation. */
static void draw_case(int i)
{
    if (i % PROFILES_EACH == 0) {
        r.soc = draw_soc(&rng);
        draw_profile(&r.profile, &r.soc, &rng);
    }
    for (size_t c = 0; c < r.soc.n_cores; c++)
        r.soc.cores[c].allowed = true;
    if (rng_below(&rng, 3) == 0)
        draw_revocation(&r.soc, &rng);
    r.in = (struct policy_input){
        .profile = &r.profile,
        .soc = &r.soc,
        .kind = rng_below(&rng, 4) ? CYGNET_POLICY_SWAN : CYGNET_POLICY_EFFICIENT,
        .current = (int32_t)rng_below(&rng, r.profile.n_entries + 1) - 1,
        .steps_left = rng_below(&rng, 100),
        .ms_left = draw_limit(500),
        .mj_left = draw_limit(500),
        .disturbance = (enum disturbance)rng_below(&rng, 5),
        .slowdown = 1 + 3 * rng_uniform(&rng),
        .yields = rng_below(&rng, 2),
        .may_upgrade = rng_below(&rng, 2),
        .recovering = rng_below(&rng, 2),
        .level = rng_below(&rng, 3) ? 0 : (uint32_t)rng_below(&rng, 4)};
    for (size_t k = 0; k < r.soc.n_clusters; k++)
        r.in.contended[k] =
            rng_below(&rng, 2) ? 0 : (uint32_t)rng_below(&rng, r.soc.clusters[k].n_cores);
}

static const struct profile_entry *entry(int32_t i)
{
    return &r.profile.entries[i];
}

static bool usable(int32_t i)
{
    return choice_is_possible(&entry(i)->choice, &r.soc);
}

static bool has_current(void)
{
    return r.in.current >= 0 && usable(r.in.current);
}

static bool pruned_here(int32_t i)
{
    for (int32_t j = 0; j < (int32_t)r.profile.n_entries; j++) {
        if (usable(j) && profile_dominates(entry(j), entry(i)))
            return true;
    }
    return false;
}

static void describe_failure(const char *what)
{
    fail_msg("%s: current %" PRId32 ", entry %" PRId32 ": %s", what, r.in.current,
             r.out.entry, r.out.why);
}

static void check(bool holds, const char *what)
{
    if (!holds)
        describe_failure(what);
}

static void test_a_decision_is_possible_or_a_pause(void **state)
{
    (void)state;
    for (int i = 0; i < N_CASES; i++) {
        bool any = false;

        draw_case(i);
        r.in.kind = (cygnet_policy)rng_below(&rng, 4);
        r.in.fixed = entry((int32_t)rng_below(&rng, r.profile.n_entries))->choice;
        policy_decide(&r.out, &r.in);
        for (int32_t j = 0; j < (int32_t)r.profile.n_entries; j++)
            any = any || usable(j);
        check(r.out.entry < 0 || usable(r.out.entry), "not possible");
        check(any || r.out.entry < 0, "no core is left");
        if (r.out.entry < 0)
            check(!any || r.in.level >= 3 || !isinf(r.in.mj_left), "a needless pause");
        check((r.out.entry < 0) == (r.out.reason == REASON_PAUSE ||
                                    (r.out.reason == REASON_BUDGET && r.out.entry < 0)),
              "the reason of a pause");
        check(strlen(r.out.why) > 10 && strlen(r.out.why) < POLICY_WHY_BYTES - 1 &&
                  !strchr(r.out.why, '\n') && !strstr(r.out.why, "nan"),
              "not one clear line");
    }
}

static void test_a_pruned_choice_is_never_gone_to(void **state)
{
    int n_gone = 0, n_quiet = 0;

    (void)state;
    for (int i = 0; i < N_CASES; i++) {
        draw_case(i);
        policy_decide(&r.out, &r.in);
        if (r.out.entry >= 0 && r.out.entry != r.in.current) {
            n_gone++;
            check(!pruned_here(r.out.entry), "pruned");
        }
        if (r.out.entry >= 0 && r.in.disturbance == DISTURBANCE_NONE && r.in.level == 0) {
            n_quiet++;
            check(!pruned_here(r.out.entry), "pruned and kept");
        }
    }
    assert_true(n_gone > N_CASES / 10 && n_quiet > N_CASES / 20);
}

static void test_a_downgrade_is_neither_costlier_nor_faster(void **state)
{
    int n_downgrades = 0, n_leaves = 0;

    (void)state;
    for (int i = 0; i < N_CASES; i++) {
        draw_case(i);
        policy_decide(&r.out, &r.in);
        if (r.out.reason == REASON_DOWNGRADE) {
            n_downgrades++;
            check(r.out.entry < r.in.current, "costlier");
            if (profile_has_measurement(&r.profile))
                check(entry(r.out.entry)->step_ms >= entry(r.in.current)->step_ms,
                      "faster");
        } else if (r.out.reason == REASON_LEAVE) {
            n_leaves++;
            check(r.out.entry <= r.in.current, "costlier");
        }
    }
    assert_true(n_downgrades > N_CASES / 100 && n_leaves > N_CASES / 100);
}

static bool finishes(int32_t i)
{
    return entry(i)->step_ms * (double)r.in.steps_left <= r.in.ms_left;
}

static bool any_finishes(void)
{
    for (int32_t j = 0; j < (int32_t)r.profile.n_entries; j++) {
        if (usable(j) && finishes(j))
            return true;
    }
    return false;
}

static void draw_timed_case(int i)
{
    do
        draw_case(i);
    while (!profile_has_measurement(&r.profile) && i++ % PROFILES_EACH != 0);
    r.in.kind = CYGNET_POLICY_SWAN;
    r.in.mj_left = INFINITY;
    r.in.ms_left = isinf(r.in.ms_left) ? 1000 : r.in.ms_left;
}

static void test_a_deadline_is_met_where_any_choice_can(void **state)
{
    int n_met = 0;

    (void)state;
    for (int i = 0; i < N_CASES; i++) {
        draw_timed_case(i);
        r.in.level = 0;
        r.in.disturbance = rng_below(&rng, 2) ? DISTURBANCE_NONE : DISTURBANCE_REVOKED;
        policy_decide(&r.out, &r.in);
        if (!profile_has_measurement(&r.profile) || r.out.entry < 0 || !any_finishes())
            continue;
        n_met++;
        check(finishes(r.out.entry), "misses a deadline that can be met");
    }
    assert_true(n_met > N_CASES / 10);
}

static void test_contention_and_mild_heat_make_no_deadline_miss(void **state)
{
    int n_left = 0;

    (void)state;
    for (int i = 0; i < N_CASES; i++) {
        double slowed;

        draw_timed_case(i);
        r.in.level = (uint32_t)rng_below(&rng, 2);
        r.in.disturbance =
            rng_below(&rng, 2) ? DISTURBANCE_CONTENTION : DISTURBANCE_THERMAL;
        policy_decide(&r.out, &r.in);
        if (!profile_has_measurement(&r.profile) || !has_current() || r.out.entry < 0)
            continue;
        slowed = r.in.disturbance == DISTURBANCE_CONTENTION ? r.in.slowdown : 1;
        if (entry(r.in.current)->step_ms * slowed * (double)r.in.steps_left <=
                r.in.ms_left &&
            r.out.entry != r.in.current) {
            n_left++;
            check(finishes(r.out.entry), "left a choice that would have finished");
        }
    }
    assert_true(n_left > N_CASES / 20);
}

static double power(int32_t i)
{
    return entry(i)->step_mj / entry(i)->step_ms;
}

static void test_heat_never_costs_more_and_bounds_the_power(void **state)
{
    int n_costs = 0, n_bounded = 0, n_coolest = 0;

    (void)state;
    for (int i = 0; i < N_CASES; i++) {
        double most = 0;

        draw_case(i);
        r.in.disturbance = DISTURBANCE_THERMAL;
        r.in.level = 1 + (uint32_t)rng_below(&rng, 2);
        policy_decide(&r.out, &r.in);
        if (r.out.entry < 0)
            continue;
        if (has_current() && !pruned_here(r.in.current)) {
            n_costs++;
            check(r.out.entry <= r.in.current, "costlier in heat");
        }
        if (r.in.level < 2 || isnan(entry(r.out.entry)->step_mj) ||
            r.out.entry == r.in.current)
            continue;
        for (int32_t j = 0; j < (int32_t)r.profile.n_entries; j++) {
            if (usable(j) && !pruned_here(j))
                most = fmax(most, power(j));
        }
        for (int32_t j = 0; j < r.out.entry; j++) {
            if (usable(j) && !pruned_here(j) && power(r.out.entry) > most / 3)
                check(power(j) * 1.06 >= power(r.out.entry), "a cooler one was there");
        }
        n_bounded += power(r.out.entry) <= most / 3;
        n_coolest += power(r.out.entry) > most / 3;
    }
    assert_true(n_costs > N_CASES / 20 && n_bounded > N_CASES / 20 && n_coolest > 0);
}

/* A decision made anew has nothing to lose: by brute force nothing is better. */
static void test_swan_finds_the_least_energy_that_finishes(void **state)
{
    int n_found = 0;

    (void)state;
    for (int i = 0; i < N_CASES; i++) {
        double least = INFINITY;

        draw_timed_case(i);
        r.in.level = 0;
        r.in.disturbance = DISTURBANCE_NONE;
        r.in.current = -1;
        policy_decide(&r.out, &r.in);
        if (r.out.reason != REASON_LEAST_ENERGY)
            continue;
        for (int32_t j = 0; j < (int32_t)r.profile.n_entries; j++) {
            double ms = entry(j)->step_ms;
            double steps = (double)r.in.steps_left;

            steps = steps > 0 ? 1.05 * steps + 2 : 0;
            if (entry(j)->n_samples == 0)
                ms += 2 * entry(j)->spread_ms;
            if (usable(j) && !pruned_here(j) && ms * steps <= r.in.ms_left)
                least = fmin(least, entry(j)->step_mj);
        }
        if (isinf(least))
            continue;
        n_found++;
        check(entry(r.out.entry)->step_mj <= least * 1.0500001, "not the least");
    }
    assert_true(n_found > N_CASES / 20);
}

static void test_the_same_question_has_the_same_answer(void **state)
{
    static struct round before;
    struct policy_decision again;

    (void)state;
    for (int i = 0; i < N_CASES / 10; i++) {
        draw_case(i);
        memcpy(&before, &r, sizeof(before));
        memset(&r.out, 0, sizeof(r.out));
        memset(&again, 0, sizeof(again));
        policy_decide(&r.out, &r.in);
        policy_decide(&again, &r.in);
        assert_memory_equal(&again, &r.out, sizeof(again));
        assert_memory_equal(&before.profile, &r.profile, sizeof(before.profile));
        assert_memory_equal(&before.in, &r.in, sizeof(before.in));
    }
}

/* A load that stays on some cores, and a controller that reports it while it shares them
 * and grants an upgrade after a quiet time, which doubles when an upgrade has failed. */
struct steady {
    uint32_t wanted[SOC_MAX_CLUSTERS];
    double slowdown;
    bool tells;    /* which cores it wants is known */
    bool recovers; /* upgrades go one by one */
    uint32_t quiet, wait;
    bool went_up;
    int n_switches;
};

static bool is_shared(const struct steady *s, int32_t i)
{
    for (size_t k = 0; k < r.soc.n_clusters; k++) {
        if (entry(i)->choice.n_cores[k] + s->wanted[k] > r.soc.clusters[k].n_cores)
            return true;
    }
    return false;
}

static void note_switch(struct steady *s)
{
    s->went_up = r.out.entry > r.in.current;
    s->n_switches++;
    r.in.current = r.out.entry;
    s->quiet = 0;
}

static void tick(struct steady *s)
{
    bool shared = is_shared(s, r.in.current);

    if (shared && s->went_up)
        s->wait *= 2;
    if (shared)
        s->went_up = false;
    s->quiet = shared ? 0 : s->quiet + 1;
    r.in.disturbance = shared ? DISTURBANCE_CONTENTION : DISTURBANCE_NONE;
    r.in.slowdown = shared ? s->slowdown : 1;
    r.in.recovering = s->recovers;
    r.in.may_upgrade = s->quiet >= s->wait;
    if (s->tells)
        memcpy(r.in.contended, s->wanted, sizeof(s->wanted));
    policy_decide(&r.out, &r.in);
    if (r.out.entry != r.in.current)
        note_switch(s);
}

/* Everything measured: what is left is the load. */
static void draw_steady(struct steady *s, bool tells)
{
    *s = (struct steady){.tells = tells, .recovers = rng_below(&rng, 2), .wait = 10};
    do {
        r.soc = draw_soc(&rng);
        draw_profile(&r.profile, &r.soc, &rng);
    } while (!profile_has_measurement(&r.profile));
    r.in = (struct policy_input){.profile = &r.profile,
                                 .soc = &r.soc,
                                 .current = -1,
                                 .ms_left = INFINITY,
                                 .mj_left = INFINITY,
                                 .slowdown = 1};
    policy_decide(&r.out, &r.in);
    r.in.current = r.out.entry;
    r.in.yields = rng_below(&rng, 2);
    s->slowdown = 1.2 + 3 * rng_uniform(&rng);
    for (size_t k = 0; k < r.soc.n_clusters; k++)
        s->wanted[k] = (uint32_t)rng_below(&rng, r.soc.clusters[k].n_cores + 1);
}

static void test_a_steady_load_on_known_cores_is_left_for_good(void **state)
{
    (void)state;
    for (int i = 0; i < N_LOADS; i++) {
        struct steady s;
        int settled;

        draw_steady(&s, true);
        for (int t = 0; t < N_TICKS / 2; t++)
            tick(&s);
        settled = s.n_switches;
        for (int t = 0; t < N_TICKS / 2; t++)
            tick(&s);
        check(s.n_switches == settled, "does not settle");
        check(s.n_switches <= (int)r.profile.n_entries, "wanders");
    }
}

/* It is not known where the load is: back-off bounds what is tried. */
static void test_a_steady_load_on_unknown_cores_is_tried_ever_less(void **state)
{
    (void)state;
    for (int i = 0; i < N_LOADS; i++) {
        struct steady s;
        int before;

        draw_steady(&s, false);
        for (int t = 0; t < N_TICKS; t++)
            tick(&s);
        before = s.n_switches;
        for (int t = 0; t < N_TICKS; t++)
            tick(&s);
        check(s.n_switches - before <= 2 + (before + 1) / 2, "keeps oscillating");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_a_decision_is_possible_or_a_pause, setup),
        cmocka_unit_test_setup(test_a_pruned_choice_is_never_gone_to, setup),
        cmocka_unit_test_setup(test_a_downgrade_is_neither_costlier_nor_faster, setup),
        cmocka_unit_test_setup(test_a_deadline_is_met_where_any_choice_can, setup),
        cmocka_unit_test_setup(test_contention_and_mild_heat_make_no_deadline_miss,
                               setup),
        cmocka_unit_test_setup(test_heat_never_costs_more_and_bounds_the_power, setup),
        cmocka_unit_test_setup(test_swan_finds_the_least_energy_that_finishes, setup),
        cmocka_unit_test_setup(test_the_same_question_has_the_same_answer, setup),
        cmocka_unit_test_setup(test_a_steady_load_on_known_cores_is_left_for_good, setup),
        cmocka_unit_test_setup(test_a_steady_load_on_unknown_cores_is_tried_ever_less,
                               setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
