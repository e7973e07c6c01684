/* The loan ledger: what is lent, what pays it back, and what survives. */
#include "engine/swan/loan.h"

#include "base/rng.h"
#include "tests/fakes/fake_alloc.h"
#include "tests/fakes/memory_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* 40 kJ: 1 % are 400 J, the limit 2,000 J, the allowance 4,000 J. */
#define CAPACITY_MJ 40e6
#define J 1e3 /* in mJ */

struct bench {
    struct memory_store store;
    struct loan_options options;
    struct loan loan;
    cygnet_error err;
};

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof(*b));

    assert_non_null(b);
    memory_store_init(&b->store);
    loan_options_init(&b->options);
    *state = b;
    return loan_open(&b->loan, &b->options, &b->store.store, NULL, NULL) != CYGNET_OK;
}

static int teardown(void **state)
{
    struct bench *b = *state;

    memory_store_clear(&b->store);
    free(b);
    return 0;
}

static cygnet_status reopen(struct bench *b)
{
    return loan_open(&b->loan, &b->options, &b->store.store, NULL, &b->err);
}

enum power { ON_BATTERY, CHARGING, FULL };

static cygnet_status try_see(struct loan *loan, enum power power, double level)
{
    const struct battery battery = {
        .n = 1,
        .plugged = power != ON_BATTERY,
        .discharging = power == ON_BATTERY,
        .charging = power == CHARGING,
        .full = power == FULL,
        .level = level,
        .capacity_mj = CAPACITY_MJ,
    };

    return loan_observe(loan, &battery, NULL);
}

static void see(struct bench *b, enum power power, double level)
{
    assert_int_equal(try_see(&b->loan, power, level), CYGNET_OK);
}

static void borrow(struct bench *b, double mj)
{
    assert_int_equal(loan_borrow(&b->loan, mj, &b->err), CYGNET_OK);
}

static void assert_debt(struct bench *b, double mj)
{
    char why[LOAN_WHY_BYTES];

    if (!(fabs(loan_debt_mj(&b->loan) - mj) <= 0.01))
        fail_msg("%.3f mJ are owed instead of %.3f", loan_debt_mj(&b->loan), mj);
    assert_int_equal(loan_in_debt(why, &b->loan), mj > 0);
}

/* ---- Borrowing ------------------------------------------------------------------- */

static void test_nothing_is_owed_at_first(void **state)
{
    struct bench *b = *state;

    assert_debt(b, 0);
    assert_int_equal(b->loan.record.borrowed_uj, 0);
}

static void test_a_battery_that_is_not_known_lends_nothing(void **state)
{
    struct battery unknown = {.n = 1, .level = NAN, .capacity_mj = NAN};
    struct bench *b = *state;

    assert_int_equal(loan_borrow(&b->loan, J, &b->err), CYGNET_ESTATE);
    assert_int_equal(loan_observe(&b->loan, &unknown, NULL), CYGNET_OK);
    assert_int_equal(loan_borrow(&b->loan, J, &b->err), CYGNET_ESTATE);
    assert_true(loan_left_mj(&b->loan) == 0);
    unknown.level = 0.5;
    assert_int_equal(loan_observe(&b->loan, &unknown, NULL), CYGNET_OK);
    assert_int_equal(loan_borrow(&b->loan, J, &b->err), CYGNET_ESTATE);
    assert_debt(b, 0);
}

static void test_what_is_borrowed_is_owed_and_said(void **state)
{
    struct bench *b = *state;
    char why[LOAN_WHY_BYTES];

    see(b, ON_BATTERY, 0.8);
    borrow(b, 100 * J);
    borrow(b, 23.5 * J);
    assert_debt(b, 123.5 * J);
    assert_true(loan_in_debt(why, &b->loan));
    assert_string_equal(why, "the energy loan of 124 J is not paid back by charging yet");
}

static void test_no_more_than_the_limit_is_lent_per_charge(void **state)
{
    struct bench *b = *state;

    see(b, ON_BATTERY, 0.8);
    assert_true(loan_left_mj(&b->loan) == 2000 * J);
    borrow(b, 1500 * J);
    assert_true(loan_left_mj(&b->loan) == 500 * J);
    assert_int_equal(loan_borrow(&b->loan, 500.001 * J, &b->err), CYGNET_ELIMIT);
    assert_string_equal(b->err.message, "500.0 J more are beyond the loan's 2000.0 J");
    assert_debt(b, 1500 * J);
    borrow(b, 500 * J);
    assert_true(loan_left_mj(&b->loan) == 0);
    see(b, FULL, 1);
    assert_true(loan_left_mj(&b->loan) == 2000 * J);
}

/* Near full 400 J are forgiven: they may not be borrowed again before the next charge
 * is over. */
static void test_what_is_paid_in_part_does_not_raise_the_limit(void **state)
{
    struct bench *b = *state;

    see(b, ON_BATTERY, 0.97);
    borrow(b, 1600 * J);
    see(b, CHARGING, 0.97);
    assert_debt(b, 1200 * J);
    assert_true(loan_left_mj(&b->loan) == 400 * J);
    assert_int_equal(loan_borrow(&b->loan, 401 * J, &b->err), CYGNET_ELIMIT);
    borrow(b, 400 * J);
}

static void test_what_was_not_drawn_is_given_back_to_the_last_bit(void **state)
{
    struct bench *b = *state;

    see(b, ON_BATTERY, 0.8);
    borrow(b, 0.1);
    borrow(b, 0.2);
    borrow(b, 1000 * J);
    assert_int_equal(loan_give_back(&b->loan, 1000 * J, NULL), CYGNET_OK);
    assert_int_equal(loan_give_back(&b->loan, 0.3, NULL), CYGNET_OK);
    assert_debt(b, 0);
    assert_true(loan_left_mj(&b->loan) == 2000 * J);
    borrow(b, 900 * J);
    assert_int_equal(loan_give_back(&b->loan, 300 * J, NULL), CYGNET_OK);
    assert_debt(b, 600 * J);
    assert_true(loan_left_mj(&b->loan) == 1400 * J);
    assert_int_equal(loan_give_back(&b->loan, 600 * J, NULL), CYGNET_OK);
    borrow(b, 1);
    assert_int_equal(loan_give_back(&b->loan, 5, NULL), CYGNET_OK);
    assert_debt(b, 0);
}

static void test_unknown_and_negative_amounts_are_refused(void **state)
{
    static const double wrong[] = {NAN, -1, INFINITY, -INFINITY, 1e30};
    struct bench *b = *state;

    see(b, ON_BATTERY, 0.8);
    borrow(b, 10);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(loan_borrow(&b->loan, wrong[i], &b->err), CYGNET_EINVAL);
        assert_int_equal(loan_give_back(&b->loan, wrong[i], &b->err), CYGNET_EINVAL);
    }
    assert_debt(b, 10);
}

static void test_options_out_of_range_are_refused(void **state)
{
    static const struct loan_options wrong[] = {{0, 0.1},   {1.1, 0.1}, {NAN, 0.1},
                                                {0.1, NAN}, {0.1, -1},  {0.1, 1.5}};
    struct loan loan;

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_int_equal(loan_open(&loan, &wrong[i], NULL, NULL, NULL), CYGNET_EINVAL);
}

/* ---- Paying back ----------------------------------------------------------------- */

static void test_a_full_battery_owes_nothing(void **state)
{
    struct bench *b = *state;

    see(b, ON_BATTERY, 0.5);
    borrow(b, 1000 * J);
    see(b, FULL, 0.99);
    assert_debt(b, 0);
    see(b, ON_BATTERY, 0.5);
    borrow(b, 1000 * J);
    see(b, FULL, NAN); /* full, whatever its level is called */
    assert_debt(b, 0);
    see(b, ON_BATTERY, 0.79);
    borrow(b, 1000 * J);
    see(b, FULL, 0.8); /* held at its limit */
    assert_debt(b, 0);
}

static void test_near_full_no_more_is_owed_than_what_is_missing(void **state)
{
    struct bench *b = *state;

    see(b, ON_BATTERY, 0.96);
    borrow(b, 1000 * J);
    see(b, CHARGING, 0.975);
    assert_debt(b, 1000 * J);
    see(b, CHARGING, 0.98);
    assert_debt(b, 800 * J);
    see(b, CHARGING, 1);
    assert_debt(b, 0);
}

/* Borrowed at 50 %; the user himself draws 20 % on top. */
static void test_a_charge_pays_beyond_own_use_and_the_allowance(void **state)
{
    struct bench *b = *state;

    see(b, ON_BATTERY, 0.50);
    borrow(b, 800 * J); /* 2 % */
    see(b, ON_BATTERY, 0.28);
    see(b, CHARGING, 0.48); /* what he has drawn himself */
    assert_debt(b, 800 * J);
    see(b, CHARGING, 0.58); /* and the allowance */
    assert_debt(b, 800 * J);
    see(b, CHARGING, 0.59);
    assert_debt(b, 400 * J);
    see(b, CHARGING, 0.60);
    assert_debt(b, 0);
}

static void test_what_an_old_loan_left_over_does_not_pay_a_new_one(void **state)
{
    struct bench *b = *state;

    see(b, ON_BATTERY, 0.30);
    borrow(b, 800 * J);
    see(b, CHARGING, 0.80);
    assert_debt(b, 0);
    see(b, ON_BATTERY, 0.55);
    borrow(b, 400 * J);
    see(b, CHARGING, 0.56);
    assert_debt(b, 400 * J);
}

static void test_use_between_two_charges_is_replaced_first(void **state)
{
    struct bench *b = *state;

    see(b, ON_BATTERY, 0.50);
    borrow(b, 800 * J);
    see(b, CHARGING, 0.55);
    see(b, ON_BATTERY, 0.30);
    see(b, CHARGING, 0.58);
    assert_debt(b, 800 * J);
    see(b, CHARGING, 0.70);
    assert_debt(b, 0);
}

static void test_a_gauge_that_flickers_pays_nothing(void **state)
{
    struct bench *b = *state;

    b->options.allowance = 0;
    assert_int_equal(reopen(b), CYGNET_OK);
    see(b, ON_BATTERY, 1);
    borrow(b, 300 * J); /* less than a percent: the level does not show it */
    for (int i = 0; i < 100; i++)
        see(b, ON_BATTERY, i % 2 ? 0.99 : 1);
    assert_debt(b, 300 * J);
}

static void test_swinging_levels_on_the_charger_pay_no_more_than_their_peak(void **state)
{
    struct bench *b = *state;

    see(b, ON_BATTERY, 0.50);
    borrow(b, 1200 * J); /* 3 % */
    for (int i = 0; i < 100; i++)
        see(b, CHARGING, i % 2 ? 0.57 : 0.58);
    assert_debt(b, 800 * J); /* 58 % are 1 % above 47 % and the allowance */
}

static void test_a_charge_that_nobody_saw_counts(void **state)
{
    struct bench *b = *state;

    see(b, ON_BATTERY, 0.40);
    borrow(b, 400 * J);
    assert_int_equal(reopen(b), CYGNET_OK);
    assert_debt(b, 400 * J);
    see(b, ON_BATTERY, 0.80);
    assert_debt(b, 0);
}

static void test_an_empty_battery_pays_nothing(void **state)
{
    struct bench *b = *state;

    see(b, ON_BATTERY, 0.05);
    borrow(b, 400 * J);
    see(b, ON_BATTERY, 0);
    assert_int_equal(reopen(b), CYGNET_OK);
    see(b, CHARGING, 0.03);
    assert_debt(b, 400 * J);
}

static void test_a_level_that_is_not_told_changes_nothing(void **state)
{
    static const double levels[] = {NAN, -0.5, 1.5, INFINITY};
    struct bench *b = *state;

    see(b, ON_BATTERY, 0.40);
    borrow(b, 400 * J);
    for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
        see(b, CHARGING, levels[i]);
    assert_debt(b, 400 * J);
    assert_true(b->loan.record.level == 0.40);
}

static void test_without_a_store_it_works_in_memory(void **state)
{
    struct bench *b = *state;

    assert_int_equal(loan_open(&b->loan, &b->options, NULL, NULL, NULL), CYGNET_OK);
    see(b, ON_BATTERY, 0.40);
    borrow(b, 400 * J);
    assert_debt(b, 400 * J);
    see(b, FULL, 1);
    assert_debt(b, 0);
    assert_int_equal(b->store.n_ops, 1); /* the read of setup */
}

/* ---- The record ------------------------------------------------------------------ */

static void test_a_ledger_comes_back_as_it_was(void **state)
{
    struct bench *b = *state;
    struct loan before;

    see(b, ON_BATTERY, 0.40);
    borrow(b, 400 * J);
    see(b, ON_BATTERY, 0.30);
    before = b->loan;
    assert_int_equal(reopen(b), CYGNET_OK);
    assert_int_equal(b->loan.record.debt_uj, before.record.debt_uj);
    assert_int_equal(b->loan.record.borrowed_uj, before.record.borrowed_uj);
    assert_int_equal(b->loan.record.surplus_uj, before.record.surplus_uj);
    assert_true(b->loan.record.level == before.record.level);
    assert_true(b->loan.record.capacity_mj == before.record.capacity_mj);
    assert_int_equal(loan_borrow(&b->loan, J, &b->err), CYGNET_ESTATE);
}

static void test_observing_writes_only_what_matters(void **state)
{
    struct bench *b = *state;
    int n;

    for (int i = 0; i < 50; i++)
        see(b, ON_BATTERY, 0.9 - 0.01 * i);
    assert_int_equal(b->store.n_ops, 1);
    borrow(b, 400 * J);
    n = b->store.n_ops;
    for (int i = 0; i < 100; i++)
        see(b, ON_BATTERY, 0.41 - 0.0002 * i);
    assert_in_range(b->store.n_ops - n, 1, 2);
}

static struct memory_file *some_ledger(struct bench *b)
{
    struct memory_file *file;

    see(b, ON_BATTERY, 0.40);
    borrow(b, 400 * J);
    file = memory_store_find(&b->store, LOAN_FILE);
    assert_non_null(file);
    return file;
}

static void test_every_damaged_byte_is_noticed_and_kept(void **state)
{
    struct bench *b = *state;
    struct memory_file *file = some_ledger(b);

    for (size_t i = 0; i < file->len; i++) {
        file->data[i] ^= 0x10;
        assert_int_equal(reopen(b), CYGNET_EFORMAT);
        file->data[i] ^= 0x10;
    }
    assert_int_equal(reopen(b), CYGNET_OK);
    assert_debt(b, 400 * J);
}

static void test_every_other_length_is_noticed(void **state)
{
    struct bench *b = *state;
    struct memory_file *file = some_ledger(b);
    size_t whole = file->len;

    for (file->len = 0; file->len < whole; file->len++)
        assert_int_equal(reopen(b), CYGNET_EFORMAT);
    file->len = whole + 1; /* the fake keeps a spare byte behind */
    assert_int_equal(reopen(b), CYGNET_EFORMAT);
}

static void test_impossible_fields_are_noticed_behind_a_right_checksum(void **state)
{
    struct bench *b = *state;

    see(b, ON_BATTERY, 0.40);
    b->loan.record.borrowed_uj = -5000000;
    borrow(b, J);
    assert_int_equal(reopen(b), CYGNET_EFORMAT);
    assert_string_equal(b->err.message,
                        "saved state \"loan\" is damaged: a field is out of range");
    assert_int_equal(store_remove(&b->store.store, LOAN_FILE, NULL), CYGNET_OK);
    assert_int_equal(reopen(b), CYGNET_OK);
    see(b, ON_BATTERY, 0.40);
    borrow(b, 400 * J);
    b->loan.record.level = 7;
    assert_int_equal(loan_give_back(&b->loan, J, NULL), CYGNET_OK);
    assert_int_equal(reopen(b), CYGNET_EFORMAT);
}

/* ---- Faults ---------------------------------------------------------------------- */

/* A life with the loan, step by step; drawn: what training has taken. */
struct life {
    size_t step;
    double drawn_mj;
};

#define N_STEPS 11

static cygnet_status do_step(struct loan *loan, struct life *life)
{
    static const double draws[N_STEPS] = {0, 300 * J, 0, 200 * J, 0, 0, 0, 0, 0, 0, 0};
    cygnet_status st = CYGNET_OK;

    switch (life->step) {
    case 0:
        st = try_see(loan, ON_BATTERY, 0.90);
        break;
    case 1:
        st = loan_borrow(loan, 300 * J, NULL);
        break;
    case 2:
        st = try_see(loan, ON_BATTERY, 0.88);
        break;
    case 3:
        st = loan_borrow(loan, 500 * J, NULL);
        break;
    case 4:
        st = loan_give_back(loan, 300 * J, NULL);
        break;
    case 5:
        st = try_see(loan, ON_BATTERY, 0.80);
        break;
    default:
        st = try_see(loan, CHARGING, 0.93 + 0.015 * (double)(life->step - 6));
    }
    if (st == CYGNET_OK)
        life->drawn_mj += draws[life->step++];
    return st;
}

/* Debts after each step of a life without faults. */
static void live(double debts[N_STEPS + 1])
{
    struct loan_options options;
    struct life life = {0};
    struct loan loan;

    loan_options_init(&options);
    assert_int_equal(loan_open(&loan, &options, NULL, NULL, NULL), CYGNET_OK);
    debts[0] = 0;
    while (life.step < N_STEPS) {
        assert_int_equal(do_step(&loan, &life), CYGNET_OK);
        debts[life.step] = loan_debt_mj(&loan);
    }
}

static void assert_same(double a, double b, int k)
{
    if (!(fabs(a - b) <= 0.01))
        fail_msg("k = %d: %.3f mJ are owed instead of %.3f", k, a, b);
}

/* Goes on from where it was, seeing the battery first as every start does. */
static void finish(struct bench *b, struct life *life, int k)
{
    if (life->step > 0 && life->step <= 5)
        see(b, ON_BATTERY, life->step <= 2 ? 0.90 : 0.88);
    while (life->step < N_STEPS)
        assert_int_equal(do_step(&b->loan, life), CYGNET_OK);
    assert_same(loan_debt_mj(&b->loan), 400 * J, k);
    see(b, CHARGING, 1);
    assert_debt(b, 0);
}

static void test_killed_after_any_operation_the_debt_is_there(void **state)
{
    struct bench *b = *state;
    double debts[N_STEPS + 1];
    bool all = false;

    live(debts);
    for (int k = 1; !all; k++) {
        struct memory_store next;
        struct life life = {0};

        memory_store_clear(&b->store);
        memory_store_init(&b->store);
        b->store.dies_after = k;
        assert_int_equal(reopen(b), CYGNET_OK);
        while (life.step < N_STEPS && do_step(&b->loan, &life) == CYGNET_OK)
            ;
        all = life.step == N_STEPS;
        memory_store_init(&next);
        memory_store_copy(&next, &b->store);
        memory_store_copy(&b->store, &next);
        memory_store_clear(&next);
        assert_int_equal(reopen(b), CYGNET_OK);
        assert_same(loan_debt_mj(&b->loan), debts[life.step], k);
        assert_true(life.step > 5 || loan_debt_mj(&b->loan) >= life.drawn_mj);
        finish(b, &life, k);
    }
}

static void test_an_operation_that_fails_changes_nothing_and_is_made_up_for(void **state)
{
    struct bench *b = *state;
    double debts[N_STEPS + 1];
    bool failed = true;

    live(debts);
    for (int k = 2; failed; k++) {
        struct life life = {0};

        memory_store_clear(&b->store);
        memory_store_init(&b->store);
        b->store.fail_at = k;
        b->store.fail_with = CYGNET_ENOSPC;
        assert_int_equal(reopen(b), CYGNET_OK);
        failed = false;
        while (life.step < N_STEPS) {
            if (do_step(&b->loan, &life) == CYGNET_ENOSPC) {
                failed = true;
                assert_same(loan_debt_mj(&b->loan), debts[life.step], k);
            }
        }
        assert_same(loan_debt_mj(&b->loan), debts[N_STEPS], k);
    }
}

static void test_no_memory_and_no_store_are_said_on_opening(void **state)
{
    struct bench *b = *state;
    struct fake_alloc fake;

    (void)some_ledger(b);
    fake_alloc_init(&fake);
    fake.fail_at = 1;
    assert_int_equal(loan_open(&b->loan, &b->options, &b->store.store, &fake.alloc,
                               &b->err),
                     CYGNET_ENOMEM);
    assert_int_equal(fake.n_live, 0);
    b->store.fail_at = b->store.n_ops + 1;
    assert_int_equal(reopen(b), CYGNET_ESTORAGE);
}

/* ---- At random ------------------------------------------------------------------- */

static uint64_t seed_of_run(void)
{
    const char *text = getenv("CYGNET_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 10) : 20220613;

    print_message("# CYGNET_SEED=%" PRIu64 "\n", seed);
    return seed;
}

/* A phone at random: its true level, and whether it charges. */
static double live_on(struct rng *rng, double level, bool charging)
{
    level += (charging ? 0.03 : -0.03) * rng_uniform(rng);
    return level < 0 ? 0 : level > 1 ? 1 : level;
}

/* Of two ledgers of the same life, one is opened anew again and again. */
static void test_restarts_change_nothing_in_a_long_life(void **state)
{
    struct bench *b = *state;
    struct loan steady;
    double level = 0.5;
    bool charging = false;
    struct rng rng;
    uint64_t n_debts = 0, n_paid = 0;

    rng_init(&rng, seed_of_run(), "loan", 0);
    assert_int_equal(loan_open(&steady, &b->options, NULL, NULL, NULL), CYGNET_OK);
    for (int i = 0; i < 20000; i++) {
        double mj = 500 * J * rng_uniform(&rng);
        int64_t before;

        if (rng_uniform(&rng) < 0.03)
            charging = !charging;
        if (rng_uniform(&rng) < 0.2)
            assert_int_equal(reopen(b), CYGNET_OK);
        level = live_on(&rng, level, charging);
        before = steady.record.debt_uj;
        see(b, charging ? CHARGING : ON_BATTERY, level);
        assert_int_equal(try_see(&steady, charging ? CHARGING : ON_BATTERY, level),
                         CYGNET_OK);
        if (!charging && steady.record.debt_uj != before)
            fail_msg("step %d: paid without charging", i);
        n_paid += steady.record.debt_uj < before;
        if (!charging && rng_uniform(&rng) < 0.02)
            assert_int_equal(loan_borrow(&steady, mj, NULL),
                             loan_borrow(&b->loan, mj, NULL));
        n_debts += steady.record.debt_uj > 0;
        assert_same(loan_debt_mj(&b->loan), loan_debt_mj(&steady), i);
        assert_true(steady.record.debt_uj >= 0 &&
                    steady.record.debt_uj <= steady.record.borrowed_uj);
        assert_true(loan_debt_mj(&steady) <= 2000 * J);
    }
    assert_in_range(n_debts, 1000, 19000);
    assert_in_range(n_paid, 20, 19000);
}

int main(void)
{
#define BENCH_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_nothing_is_owed_at_first),
        BENCH_TEST(test_a_battery_that_is_not_known_lends_nothing),
        BENCH_TEST(test_what_is_borrowed_is_owed_and_said),
        BENCH_TEST(test_no_more_than_the_limit_is_lent_per_charge),
        BENCH_TEST(test_what_is_paid_in_part_does_not_raise_the_limit),
        BENCH_TEST(test_what_was_not_drawn_is_given_back_to_the_last_bit),
        BENCH_TEST(test_unknown_and_negative_amounts_are_refused),
        BENCH_TEST(test_options_out_of_range_are_refused),
        BENCH_TEST(test_a_full_battery_owes_nothing),
        BENCH_TEST(test_near_full_no_more_is_owed_than_what_is_missing),
        BENCH_TEST(test_a_charge_pays_beyond_own_use_and_the_allowance),
        BENCH_TEST(test_what_an_old_loan_left_over_does_not_pay_a_new_one),
        BENCH_TEST(test_use_between_two_charges_is_replaced_first),
        BENCH_TEST(test_a_gauge_that_flickers_pays_nothing),
        BENCH_TEST(test_swinging_levels_on_the_charger_pay_no_more_than_their_peak),
        BENCH_TEST(test_a_charge_that_nobody_saw_counts),
        BENCH_TEST(test_an_empty_battery_pays_nothing),
        BENCH_TEST(test_a_level_that_is_not_told_changes_nothing),
        BENCH_TEST(test_without_a_store_it_works_in_memory),
        BENCH_TEST(test_a_ledger_comes_back_as_it_was),
        BENCH_TEST(test_observing_writes_only_what_matters),
        BENCH_TEST(test_every_damaged_byte_is_noticed_and_kept),
        BENCH_TEST(test_every_other_length_is_noticed),
        BENCH_TEST(test_impossible_fields_are_noticed_behind_a_right_checksum),
        BENCH_TEST(test_killed_after_any_operation_the_debt_is_there),
        BENCH_TEST(test_an_operation_that_fails_changes_nothing_and_is_made_up_for),
        BENCH_TEST(test_no_memory_and_no_store_are_said_on_opening),
        BENCH_TEST(test_restarts_change_nothing_in_a_long_life),
    };

    return cmocka_run_group_tests_name("loan", tests, NULL, NULL);
}
