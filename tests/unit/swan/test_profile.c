/* Profiles: medians, energies by their source, predictions, pruning. */
#include "profile_fixture.h"

#include "engine/swan/predict.h"

#include <math.h>
#include <string.h>

enum { N_PROFILES = 2000 };

static struct profile profile;

static void start(struct soc *soc)
{
    *soc = make_phone();
    profile_init(&profile, &FIXTURE_KEY, soc, 8);
}

static void test_a_new_profile_knows_nothing(void **state)
{
    struct soc soc;

    (void)state;
    start(&soc);
    profile_update(&profile);
    assert_int_equal(profile.n_entries, 2 * 4 * 5 - 1);
    assert_false(profile_has_measurement(&profile));
    for (size_t i = 0; i < profile.n_entries; i++) {
        assert_true(isnan(profile.entries[i].step_ms));
        assert_true(isnan(profile.entries[i].step_mj));
        assert_int_equal(profile.entries[i].energy_source, ENERGY_UNKNOWN);
        assert_int_equal(profile.entries[i].pruned_by, -1);
    }
}

static void test_a_measured_time_is_the_median_of_the_newest(void **state)
{
    struct soc soc;
    struct profile_entry *e;

    (void)state;
    start(&soc);
    e = &profile.entries[3];
    profile_add(&profile, 3, 7, NAN, ENERGY_UNKNOWN);
    profile_add(&profile, 3, 9, NAN, ENERGY_UNKNOWN);
    profile_update(&profile);
    assert_float_equal(e->step_ms, 7, 1e-9);
    assert_true(isnan(e->spread_ms));
    for (int i = 0; i < 100; i++)
        profile_add(&profile, 3, i % 4 == 0 ? 1000 : 20 + i % 4, NAN, ENERGY_UNKNOWN);
    profile_update(&profile);
    assert_int_equal(e->n_samples, PROFILE_SAMPLES);
    assert_int_equal(e->n_measured, 102);
    /* Of 21, 22, 23 and 1000, four each: outliers move neither much. */
    assert_float_equal(e->step_ms, 22.5, 1e-9);
    assert_float_equal(e->spread_ms, (23 + 0.25 * 977 - 21.75) / 2, 1e-9);
}

static void test_times_that_are_none_are_ignored(void **state)
{
    static const double wrong[] = {0, -1, NAN, INFINITY};
    struct soc soc;

    (void)state;
    start(&soc);
    for (size_t i = 0; i < 4; i++)
        profile_add(&profile, 0, wrong[i], 1, ENERGY_RAPL);
    assert_int_equal(profile.entries[0].n_measured, 0);
    assert_int_equal(profile.entries[0].measured.n, 0);
}

static void test_energy_of_a_better_source_replaces_that_of_a_worse(void **state)
{
    struct soc soc;
    struct profile_entry *e;

    (void)state;
    start(&soc);
    e = &profile.entries[0];
    profile_add(&profile, 0, 10, 50, ENERGY_MODEL);
    profile_add(&profile, 0, 10, NAN, ENERGY_UNKNOWN);
    profile_add(&profile, 0, 10, 70, ENERGY_MODEL);
    profile_update(&profile);
    assert_float_equal(e->step_mj, 60, 1e-9);
    assert_float_equal(e->spread_mj, 10, 1e-9);
    assert_int_equal(e->energy_source, ENERGY_MODEL);
    profile_add(&profile, 0, 10, 90, ENERGY_RAPL);
    profile_add(&profile, 0, 10, 20, ENERGY_BATTERY);
    profile_update(&profile);
    assert_float_equal(e->step_mj, 90, 1e-9);
    assert_true(isnan(e->spread_mj));
    assert_int_equal(e->energy_source, ENERGY_RAPL);
    assert_true(e->energy_is_measured);
}

static void test_energies_of_unlike_sources_are_not_compared(void **state)
{
    struct soc soc;
    size_t little, all;

    (void)state;
    start(&soc);
    little = entry_of(&profile, 0, 0, 1);
    all = entry_of(&profile, 1, 3, 4);
    profile_add(&profile, little, 100, 1, ENERGY_MODEL);
    profile_add(&profile, all, 10, 500, ENERGY_HOST);
    profile_update(&profile);
    assert_int_equal(profile.entries[little].energy_source, ENERGY_HOST);
    assert_false(profile.entries[little].energy_is_measured);
    assert_true(profile.entries[little].step_mj > 20);
    assert_true(profile.entries[little].step_mj < 500);
}

static void test_a_reading_of_noise_alone_is_unknown(void **state)
{
    struct soc soc;

    (void)state;
    start(&soc);
    profile_add(&profile, 0, 10, -3, ENERGY_BATTERY);
    profile_update(&profile);
    assert_true(isnan(profile.entries[0].step_mj));
    assert_int_equal(profile.entries[0].energy_source, ENERGY_UNKNOWN);
}

/* A device that is exactly as the model has it. */
static double true_ms(const struct choice *c)
{
    double rate = c->n_cores[0] + 0.8 * c->n_cores[1] + 0.2 * c->n_cores[2];

    return 40 * (0.03 + 1 / rate + 0.02 * (choice_n_threads(c) - 1.0));
}

static double true_mj(const struct choice *c)
{
    return true_ms(c) *
           (0.2 + 1.2 * c->n_cores[0] + 0.8 * c->n_cores[1] + 0.15 * c->n_cores[2]);
}

static void check_predictions(double ms_bound, double mj_bound)
{
    for (size_t i = 0; i < profile.n_entries; i++) {
        const struct profile_entry *e = &profile.entries[i];
        double ms = true_ms(&e->choice), mj = true_mj(&e->choice);

        assert_true(fabs(log(e->step_ms / ms)) < log(ms_bound));
        assert_true(fabs(log(e->step_mj / mj)) < log(mj_bound));
        assert_true(e->spread_ms > 0 || e->n_samples > 0);
    }
}

static void measure(size_t entry)
{
    const struct choice *c = &profile.entries[entry].choice;

    profile_add(&profile, entry, true_ms(c), true_mj(c), ENERGY_HOST);
    profile_update(&profile);
}

static void test_what_is_not_measured_is_predicted(void **state)
{
    struct soc soc;

    (void)state;
    start(&soc);
    measure(entry_of(&profile, 1, 3, 4));
    /* From one measurement and capacities: within a factor. */
    check_predictions(1.8, 2.2);
    measure(entry_of(&profile, 1, 3, 0));
    measure(entry_of(&profile, 1, 1, 0));
    measure(entry_of(&profile, 0, 0, 4));
    check_predictions(1.15, 1.2);
    measure(entry_of(&profile, 0, 3, 0));
    measure(entry_of(&profile, 0, 0, 1));
    measure(entry_of(&profile, 1, 0, 0));
    check_predictions(1.07, 1.1);
}

static void test_a_prediction_says_how_far_it_is_uncertain(void **state)
{
    struct soc soc;
    size_t near, far;
    double before;

    (void)state;
    start(&soc);
    measure(entry_of(&profile, 1, 3, 0));
    near = entry_of(&profile, 1, 2, 0);
    far = entry_of(&profile, 0, 0, 1);
    assert_true(profile.entries[near].spread_ms / profile.entries[near].step_ms <
                profile.entries[far].spread_ms / profile.entries[far].step_ms);
    before = profile.entries[far].spread_ms / profile.entries[far].step_ms;
    measure(entry_of(&profile, 0, 0, 3));
    assert_true(profile.entries[far].spread_ms / profile.entries[far].step_ms <
                before / 2);
}

static void test_one_wild_measurement_moves_predictions_little(void **state)
{
    struct soc soc;
    size_t wild = 0;

    (void)state;
    start(&soc);
    for (size_t i = 0; i < profile.n_entries; i += 4)
        measure(i);
    wild = entry_of(&profile, 1, 2, 0);
    profile_add(&profile, wild, 5 * true_ms(&profile.entries[wild].choice), NAN,
                ENERGY_UNKNOWN);
    profile_update(&profile);
    for (size_t i = 0; i < profile.n_entries; i++) {
        const struct profile_entry *e = &profile.entries[i];

        if (e->n_samples == 0)
            assert_true(fabs(log(e->step_ms / true_ms(&e->choice))) < log(1.1));
    }
}

static void set(size_t i, double ms, double mj)
{
    profile.entries[i].step_ms = ms;
    profile.entries[i].step_mj = mj;
}

static bool dominates(size_t a, size_t b)
{
    return profile_dominates(&profile.entries[a], &profile.entries[b]);
}

static void test_the_pruning_rule(void **state)
{
    struct soc soc;

    (void)state;
    start(&soc);
    set(0, 10, 5);
    set(1, 10, 5); /* the same, costlier */
    set(2, 9, 5);
    set(3, 11, NAN);
    set(4, 12, NAN);
    set(5, NAN, NAN);
    assert_true(dominates(0, 1));
    assert_false(dominates(1, 0));
    assert_false(dominates(0, 2));
    assert_false(dominates(2, 0)); /* costs more */
    assert_false(dominates(0, 3)); /* its energy may be less */
    assert_false(dominates(3, 0));
    assert_true(dominates(3, 4)); /* energy of both unknown: left out */
    assert_false(dominates(4, 5));
    assert_false(dominates(0, 0));
}

static void check_frontier(const struct profile *p)
{
    for (size_t i = 0; i < p->n_entries; i++) {
        const struct profile_entry *e = &p->entries[i];

        if (e->pruned_by >= 0) {
            assert_int_equal(p->entries[e->pruned_by].pruned_by, -1);
            assert_true(profile_dominates(&p->entries[e->pruned_by], e));
            continue;
        }
        for (size_t j = 0; j < p->n_entries; j++)
            assert_false(profile_dominates(&p->entries[j], e));
    }
}

static void test_what_is_pruned_is_worse_and_what_stays_is_not(void **state)
{
    struct rng rng;

    (void)state;
    rng_init(&rng, chosen_seed(), "profiles", 0);
    for (int i = 0; i < N_PROFILES; i++) {
        struct soc soc = draw_soc(&rng);

        draw_profile(&profile, &soc, &rng);
        check_frontier(&profile);
    }
}

static void test_a_prediction_is_made_of_whatever_was_measured(void **state)
{
    struct rng rng;

    (void)state;
    rng_init(&rng, chosen_seed(), "predictions", 0);
    for (int i = 0; i < N_PROFILES; i++) {
        struct soc soc = draw_soc(&rng);
        bool known;

        draw_profile(&profile, &soc, &rng);
        known = profile_has_measurement(&profile);
        for (size_t j = 0; j < profile.n_entries; j++) {
            const struct profile_entry *e = &profile.entries[j];

            assert_int_equal(isfinite(e->step_ms), known);
            assert_int_equal(isnan(e->step_mj), e->energy_source == ENERGY_UNKNOWN);
            assert_true(!known || e->step_ms > 0);
            assert_true(isnan(e->step_mj) || e->step_mj > 0);
        }
    }
}

static void test_updating_twice_changes_nothing(void **state)
{
    static struct profile before;
    struct rng rng;

    (void)state;
    rng_init(&rng, chosen_seed(), "twice", 0);
    for (int i = 0; i < N_PROFILES / 10; i++) {
        struct soc soc = draw_soc(&rng);

        draw_profile(&profile, &soc, &rng);
        memcpy(&before, &profile, sizeof(before));
        profile_update(&profile);
        assert_memory_equal(&before, &profile, sizeof(before));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_new_profile_knows_nothing),
        cmocka_unit_test(test_a_measured_time_is_the_median_of_the_newest),
        cmocka_unit_test(test_times_that_are_none_are_ignored),
        cmocka_unit_test(test_energy_of_a_better_source_replaces_that_of_a_worse),
        cmocka_unit_test(test_energies_of_unlike_sources_are_not_compared),
        cmocka_unit_test(test_a_reading_of_noise_alone_is_unknown),
        cmocka_unit_test(test_what_is_not_measured_is_predicted),
        cmocka_unit_test(test_a_prediction_says_how_far_it_is_uncertain),
        cmocka_unit_test(test_one_wild_measurement_moves_predictions_little),
        cmocka_unit_test(test_the_pruning_rule),
        cmocka_unit_test(test_what_is_pruned_is_worse_and_what_stays_is_not),
        cmocka_unit_test(test_a_prediction_is_made_of_whatever_was_measured),
        cmocka_unit_test(test_updating_twice_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
