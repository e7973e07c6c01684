/* Training on the battery: what is borrowed, when it ends, what is said. */
#include "base/stop.h"
#include "tests/unit/fl/bench.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>
#include <string.h>

#define N_STEPS 60
#define JOULE 1000.0

/* A device on its battery whose meter counts steps: one is one read of the data.
 *
 * battery   of 40 kJ: 2000 J are lent
 * step_mj   what a step draws; most_mj: what it is known to draw at most, NaN: unknown
 * tells_at  steps since the mark from which on the meter knows what was drawn
 * act_at    the step at which `act` is called, counted from 1
 * spent_at  steps at which the budget is spent */
struct power {
    struct bench *b;
    struct loan loan;
    struct supply supply;
    struct battery battery;
    double step_mj;
    double most_mj;
    double step_ms;
    int tells_at;
    int marked;
    int act_at;
    void (*act)(struct power *power);
    int spent_at;
    bool is_measured;
};

static void read_battery(struct battery *out, void *user)
{
    *out = ((struct power *)user)->battery;
}

static void mark(void *user)
{
    struct power *power = user;

    power->marked = power->b->host.n_reads;
}

/* The meter is a gauge: external power makes it know nothing. */
static void draw(struct swan_draw *out, void *user)
{
    const struct power *power = user;
    int n = power->b->host.n_reads - power->marked;

    *out = (struct swan_draw){
        .step_mj = power->most_mj,
        .step_ms = power->step_ms,
        .drawn_mj = (double)NAN,
        .ms = n * INT64_C(1000),
        .is_measured = power->is_measured,
        .is_spent = power->spent_at > 0 && power->b->host.n_reads >= power->spent_at,
    };
    if (n >= power->tells_at && power->battery.discharging)
        out->drawn_mj = n * power->step_mj;
    (void)snprintf(out->why, sizeof(out->why), "the gauge is slow");
}

/* Whoever is killed now owes at least what has been drawn. */
static void check_ledger(const struct power *power, double drawn_mj)
{
    struct loan_options options;
    struct loan found;

    loan_options_init(&options);
    assert_int_equal(loan_open(&found, &options, &power->b->store.store, NULL, NULL),
                     CYGNET_OK);
    assert_true(loan_debt_mj(&found) >= drawn_mj - 1e-3);
}

static void on_read(void *user)
{
    struct power *power = user;
    int n = power->b->host.n_reads;

    if (power->battery.discharging && !power->act)
        check_ledger(power, n * power->step_mj);
    if (power->act && n == power->act_at)
        power->act(power);
}

static void open_loan(struct power *power)
{
    struct loan_options options;

    loan_options_init(&options);
    assert_int_equal(loan_open(&power->loan, &options, &power->b->store.store, NULL,
                               NULL),
                     CYGNET_OK);
}

static void unplug(struct power *power)
{
    power->b->host.device.charging = CYGNET_FALSE;
    power->battery.plugged = false;
    power->battery.discharging = true;
}

static void plug(struct power *power)
{
    power->b->host.device.charging = CYGNET_TRUE;
    power->battery.plugged = true;
    power->battery.discharging = false;
}

/* 60 steps of a second, on the battery. */
static void make(struct power *power, struct bench *b)
{
    *power = (struct power){
        .b = b,
        .battery = {.n = 1, .level = 0.5, .capacity_mj = 40000 * JOULE},
        .step_mj = 8 * JOULE,
        .most_mj = 10 * JOULE,
        .step_ms = 1000,
        .tells_at = 3,
        .is_measured = true,
    };
    power->supply = (struct supply){
        .loan = &power->loan,
        .battery = read_battery,
        .mark = mark,
        .draw = draw,
        .user = power,
    };
    open_loan(power);
    unplug(power);
    b->config.supply = &power->supply;
    b->host.on_read = on_read;
    b->host.user = power;
    b->host.ms_per_read = 1000;
    b->coordinator.task.epochs = N_STEPS / 3;
    b->coordinator.task.deadline_s = 6000;
}

static void assert_ended(struct bench *b, cygnet_outcome outcome, const char *words)
{
    assert_int_equal(bench_run(b), CYGNET_OK);
    if (b->report.outcome != outcome || !strstr(b->report.message, words))
        fail_msg("outcome %d: %s", (int)b->report.outcome, b->report.message);
}

static void assert_debt(const struct power *power, double mj)
{
    if (fabs(loan_debt_mj(&power->loan) - mj) > 0.1)
        fail_msg("a debt of %g mJ is not %g", loan_debt_mj(&power->loan), mj);
}

/* ---- Whether a round begins ---------------------------------------------------- */

/* A clock that is set wrong, and then right again, is nobody's charger. */
static void test_debt_outlives_restarts_and_clocks_that_jump(void **state)
{
    static const int64_t jumps_ms[] = {INT64_C(315360000000), -INT64_C(630720000000), 0};
    struct bench *b = *state;
    struct power power;

    make(&power, b);
    plug(&power);
    assert_int_equal(loan_observe(&power.loan, &power.battery, NULL), CYGNET_OK);
    assert_int_equal(loan_borrow(&power.loan, 100 * JOULE, NULL), CYGNET_OK);
    for (size_t i = 0; i < sizeof(jumps_ms) / sizeof(jumps_ms[0]); i++) {
        b->clock.wall_ms += jumps_ms[i];
        open_loan(&power);
        assert_int_equal(bench_restart(b), CYGNET_OK);
        assert_ended(b, CYGNET_OUTCOME_NOT_ELIGIBLE,
                     "the energy loan of 100 J is not paid back by charging yet");
        assert_debt(&power, 100 * JOULE);
    }
    assert_int_equal(b->coordinator.n_calls, 0);
    power.battery.full = true;
    power.battery.level = 1;
    assert_ended(b, CYGNET_OUTCOME_COMPLETED, "");
    b->clock.wall_ms += jumps_ms[0];
    open_loan(&power);
    assert_debt(&power, 0);
}

static void test_plugged_mode_wants_external_power(void **state)
{
    struct bench *b = *state;
    struct power power;

    make(&power, b);
    power.supply.loan = NULL;
    assert_ended(b, CYGNET_OUTCOME_NOT_ELIGIBLE, "charging is required and is false");
}

static void test_a_battery_that_tells_nothing_lends_nothing(void **state)
{
    struct bench *b = *state;
    struct power power;

    make(&power, b);
    power.battery.capacity_mj = (double)NAN;
    assert_ended(b, CYGNET_OUTCOME_NOT_ELIGIBLE, "level or capacity is not known");
    assert_int_equal(b->coordinator.n_calls, 0);
}

/* Some systems let no app see the battery; the app knows its level. */
static void test_the_host_s_level_and_the_app_s_capacity_are_enough(void **state)
{
    struct bench *b = *state;
    struct power power;

    make(&power, b);
    power.battery.capacity_mj = power.battery.level = (double)NAN;
    power.supply.capacity_mj = 40000 * JOULE;
    assert_ended(b, CYGNET_OUTCOME_COMPLETED, "");
    assert_debt(&power, N_STEPS * power.step_mj);
    plug(&power);
    b->host.device.battery_percent = 100;
    assert_ended(b, CYGNET_OUTCOME_COMPLETED, "");
    assert_debt(&power, 0);
}

static void test_energy_that_nothing_measures_is_not_lent(void **state)
{
    struct bench *b = *state;
    struct power power;

    make(&power, b);
    power.is_measured = false;
    assert_ended(b, CYGNET_OUTCOME_NOT_ELIGIBLE, "nothing is lent: the gauge is slow");
    plug(&power);
    assert_ended(b, CYGNET_OUTCOME_COMPLETED, "");
    assert_debt(&power, 0);
}

/* ---- While it trains ----------------------------------------------------------- */

static void test_what_was_drawn_is_owed_and_the_rest_given_back(void **state)
{
    struct bench *b = *state;
    struct power power;

    make(&power, b);
    assert_ended(b, CYGNET_OUTCOME_COMPLETED, "");
    assert_string_equal(b->report.message, "");
    assert_debt(&power, N_STEPS * power.step_mj);
    assert_ended(b, CYGNET_OUTCOME_NOT_ELIGIBLE, "the energy loan of 480 J");
    assert_int_equal(b->host.n_reads, N_STEPS);
}

static void test_the_ledger_is_written_once_in_a_stretch(void **state)
{
    struct bench *b = *state;
    struct power power;
    int before;

    make(&power, b);
    plug(&power);
    power.act = unplug; /* never */
    assert_ended(b, CYGNET_OUTCOME_COMPLETED, "");
    before = b->store.n_ops;
    unplug(&power);
    power.supply.on_battery = true;
    supply_begin(&power.supply);
    for (uint64_t i = 0; i < 30; i++) {
        assert_true(supply_step(&power.supply, i));
        assert_true(supply_step(&power.supply, i));
    }
    assert_int_equal(b->store.n_ops, before + 1);
    assert_debt(&power, 30 * power.most_mj);
    supply_end(&power.supply);
}

static void test_at_the_limit_training_ends_with_what_was_learnt(void **state)
{
    struct bench *b = *state;
    struct power power;

    make(&power, b);
    power.battery.capacity_mj = 3000 * JOULE; /* 150 J are lent */
    power.tells_at = 1;
    assert_ended(b, CYGNET_OUTCOME_COMPLETED, "beyond the loan's 150.0 J");
    assert_in_range(b->coordinator.last_update.steps, 15, 18);
    assert_int_equal(b->coordinator.last_update.steps, b->host.n_reads);
    assert_debt(&power, b->host.n_reads * power.step_mj);
}

static void test_not_even_one_step_interrupts_the_round(void **state)
{
    struct bench *b = *state;
    struct power power;

    make(&power, b);
    power.battery.capacity_mj = 100 * JOULE;
    assert_ended(b, CYGNET_OUTCOME_INTERRUPTED, "10.0 J more are beyond the loan's 5.0");
    assert_int_equal(b->host.n_reads, 0);
    assert_debt(&power, 0);
}

static void test_external_power_in_the_middle_ends_the_borrowing(void **state)
{
    struct bench *b = *state;
    struct power power;

    make(&power, b);
    power.act = plug;
    power.act_at = 10;
    power.battery.capacity_mj = 3000 * JOULE; /* not enough for all steps */
    assert_ended(b, CYGNET_OUTCOME_COMPLETED, "");
    assert_string_equal(b->report.message, "");
    assert_int_equal(b->host.n_reads, N_STEPS);
    /* The gauge knows nothing any more: at most what ten or eleven steps take. */
    assert_true(loan_debt_mj(&power.loan) >= 10 * power.step_mj);
    assert_true(loan_debt_mj(&power.loan) <= 11 * power.most_mj);
}

static void test_unplugged_in_the_middle_borrows_from_there(void **state)
{
    struct bench *b = *state;
    struct power power;

    make(&power, b);
    plug(&power);
    power.act = unplug;
    power.act_at = 40;
    assert_ended(b, CYGNET_OUTCOME_COMPLETED, "");
    assert_int_equal(b->host.n_reads, N_STEPS);
    assert_debt(&power, 20 * power.step_mj);
}

static void jump(struct power *power)
{
    power->b->clock.wall_ms -= INT64_C(86400000) * 365;
}

static void test_clocks_that_jump_while_it_trains_change_nothing(void **state)
{
    struct bench *b = *state;
    struct power power;

    make(&power, b);
    power.act = jump;
    power.act_at = 20;
    assert_ended(b, CYGNET_OUTCOME_COMPLETED, "");
    assert_debt(&power, N_STEPS * power.step_mj);
}

/* ---- Energy not known yet -------------------------------------------------------- */

static void book_all(struct power *power)
{
    assert_true(loan_left_mj(&power->loan) < 1);
    check_ledger(power, 1999 * JOULE);
}

static void test_a_trial_books_all_until_the_meter_has_spoken(void **state)
{
    struct bench *b = *state;
    struct power power;

    make(&power, b);
    power.most_mj = (double)NAN;
    power.tells_at = 12;
    power.act = book_all;
    power.act_at = 11;
    assert_ended(b, CYGNET_OUTCOME_COMPLETED, "");
    assert_int_equal(b->host.n_reads, N_STEPS);
    /* The last stretch may be too short for the meter: then by the steps before. */
    assert_debt(&power, N_STEPS * power.step_mj);
}

static void test_a_trial_that_the_meter_leaves_open_ends(void **state)
{
    struct bench *b = *state;
    struct power power;

    make(&power, b);
    power.most_mj = (double)NAN;
    power.tells_at = 1000;
    b->coordinator.task.epochs = 100;
    assert_ended(b, CYGNET_OUTCOME_COMPLETED,
                 "not known after 60 s of training: the gauge is slow");
    assert_in_range(b->host.n_reads, 60, 62);
    assert_true(loan_left_mj(&power.loan) < 1);
}

/* ---- The ledger fails, the budget is spent ----------------------------------------- */

static void fail_store(struct power *power)
{
    power->b->store.fail_at = power->b->store.n_ops + 1;
    power->b->store.fail_with = CYGNET_ENOSPC;
}

static void test_what_cannot_be_booked_is_not_drawn(void **state)
{
    struct bench *b = *state;
    struct power power;

    make(&power, b);
    power.act = fail_store;
    power.act_at = 30; /* a stretch ends here; its settling fails, then a booking */
    power.step_mj = power.most_mj;
    assert_ended(b, CYGNET_OUTCOME_COMPLETED, "energy loan: ");
    assert_int_equal(b->host.n_reads, 30);
    assert_debt(&power, 30 * power.most_mj);
}

/* The meter's word is more than what was booked, and cannot be written at once. */
static void test_what_was_drawn_beyond_the_booking_is_owed_later(void **state)
{
    const cygnet_device_state unplugged = {.charging = CYGNET_FALSE,
                                           .battery_percent = -1};
    struct bench *b = *state;
    struct power power;

    make(&power, b);
    supply_see(&power.supply, &unplugged);
    supply_begin(&power.supply);
    for (uint64_t i = 0; i < 30; i++) {
        assert_true(supply_step(&power.supply, i));
        b->host.n_reads++;
    }
    assert_debt(&power, 30 * power.most_mj);
    power.step_mj = 12 * JOULE;
    fail_store(&power);
    supply_end(&power.supply);
    assert_debt(&power, 30 * power.most_mj);
    supply_see(&power.supply, &unplugged);
    assert_debt(&power, 30 * power.step_mj);
    supply_see(&power.supply, &unplugged);
    assert_debt(&power, 30 * power.step_mj); /* once */
}

static void test_a_spent_budget_ends_training_with_what_was_learnt(void **state)
{
    struct bench *b = *state;
    struct power power;

    make(&power, b);
    plug(&power);
    power.supply.loan = NULL;
    power.supply.budget_mj = 70 * JOULE;
    power.spent_at = 7;
    assert_ended(b, CYGNET_OUTCOME_COMPLETED, "the energy budget of the round is spent");
    assert_int_equal(b->coordinator.last_update.steps, 7);
}

/* ---- Idling --------------------------------------------------------------------------
 */

/* An app's meter that shows a watt; the engine's own clock hardly moves in a test. */
struct meter {
    struct swan *swan;
    int code;
    int n_asked;
};

static int show(struct energy_figure *out, void *user)
{
    struct meter *meter = user;

    meter->n_asked++;
    out->power_uw = 1000000;
    return meter->code;
}

static void make_engine(struct meter *meter, struct bench *b)
{
    struct swan_options options = {.root = "/", .max_threads = 1, .engine = "test"};

    *meter = (struct meter){.code = 0};
    options.energy.hook = show;
    options.energy.user = meter;
    assert_int_equal(swan_create(&meter->swan, &options, NULL), CYGNET_OK);
    b->config.swan = meter->swan;
    b->config.executor = swan_executor(meter->swan);
}

static void free_engine(struct meter *meter, struct bench *b)
{
    participant_destroy(b->p);
    b->p = NULL;
    swan_destroy(meter->swan);
}

static void test_before_training_the_meter_sees_the_device_idle(void **state)
{
    struct bench *b = *state;
    struct meter meter;

    make_engine(&meter, b);
    assert_ended(b, CYGNET_OUTCOME_COMPLETED, "");
    assert_int_equal(b->clock.waited_ms, ENERGY_IDLE_MS);
    meter.code = 1; /* shows nothing: nothing to wait for */
    assert_ended(b, CYGNET_OUTCOME_COMPLETED, "");
    assert_in_range(b->clock.waited_ms, ENERGY_IDLE_MS, ENERGY_IDLE_MS + 1000);
    free_engine(&meter, b);
}

static void test_no_time_to_see_the_device_idle_is_no_reason_to_wait(void **state)
{
    struct bench *b = *state;
    struct meter meter;

    make_engine(&meter, b);
    b->coordinator.task.deadline_s = 15; /* less what the upload needs */
    assert_ended(b, CYGNET_OUTCOME_COMPLETED, "");
    assert_int_equal(b->clock.waited_ms, 0);
    free_engine(&meter, b);
}

struct waits {
    struct bench *b;
    int n;
};

static void count_wait(void *user)
{
    struct waits *waits = user;

    waits->n++;
    waits->b->coordinator.reason = CYGNET_RETRY_FINISHED; /* the next answer */
}

/* Waits an hour for the coordinator. */
static int wait_an_hour(struct bench *b)
{
    struct waits waits = {.b = b};

    b->coordinator.no_task = 1;
    b->coordinator.retry_min_s = b->coordinator.retry_max_s = 3600;
    b->clock.on_wait = count_wait;
    b->clock.user = &waits;
    assert_int_equal(bench_restart(b), CYGNET_OK);
    assert_int_equal(participant_run_until(b->p, 0, &b->report, &b->err), CYGNET_OK);
    assert_int_equal(b->report.outcome, CYGNET_OUTCOME_FINISHED);
    assert_int_equal(b->clock.waited_ms, 3600 * 1000);
    return waits.n;
}

/* The device is not woken up for an hour, only towards its end. */
static void test_the_end_of_a_wait_is_looked_at(void **state)
{
    struct bench *b = *state;
    struct meter meter;
    int before;

    make_engine(&meter, b);
    before = meter.n_asked;
    assert_int_equal(wait_an_hour(b), 6);
    assert_int_equal(meter.n_asked, before + 5);
    free_engine(&meter, b);
}

static void test_without_a_meter_a_wait_is_one(void **state)
{
    struct bench *b = *state;

    assert_int_equal(wait_an_hour(b), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_debt_outlives_restarts_and_clocks_that_jump),
        TEST(test_plugged_mode_wants_external_power),
        TEST(test_a_battery_that_tells_nothing_lends_nothing),
        TEST(test_the_host_s_level_and_the_app_s_capacity_are_enough),
        TEST(test_energy_that_nothing_measures_is_not_lent),
        TEST(test_what_was_drawn_is_owed_and_the_rest_given_back),
        TEST(test_the_ledger_is_written_once_in_a_stretch),
        TEST(test_at_the_limit_training_ends_with_what_was_learnt),
        TEST(test_not_even_one_step_interrupts_the_round),
        TEST(test_external_power_in_the_middle_ends_the_borrowing),
        TEST(test_unplugged_in_the_middle_borrows_from_there),
        TEST(test_clocks_that_jump_while_it_trains_change_nothing),
        TEST(test_a_trial_books_all_until_the_meter_has_spoken),
        TEST(test_a_trial_that_the_meter_leaves_open_ends),
        TEST(test_what_cannot_be_booked_is_not_drawn),
        TEST(test_what_was_drawn_beyond_the_booking_is_owed_later),
        TEST(test_a_spent_budget_ends_training_with_what_was_learnt),
        TEST(test_before_training_the_meter_sees_the_device_idle),
        TEST(test_no_time_to_see_the_device_idle_is_no_reason_to_wait),
        TEST(test_the_end_of_a_wait_is_looked_at),
        TEST(test_without_a_meter_a_wait_is_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
