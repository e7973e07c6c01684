/* What the device and its data do to a round: eligibility, time, hooks. */
#include "base/stop.h"
#include "tests/unit/fl/bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

static void assert_ended(struct bench *b, cygnet_status status, cygnet_outcome outcome)
{
    assert_int_equal(bench_run(b), status);
    assert_int_equal(b->report.outcome, outcome);
    assert_int_equal(b->host.n_open, 0);
}

/* ---- Eligibility ----------------------------------------------------------- */

static void test_a_device_that_does_not_qualify_asks_for_nothing(void **state)
{
    struct bench *b = *state;

    b->host.device.charging = CYGNET_UNKNOWN;
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_NOT_ELIGIBLE);
    assert_string_equal(b->report.message, "charging is required and is unknown");
    assert_int_equal(b->coordinator.n_calls, 0);
    b->host.device.charging = CYGNET_TRUE;
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_COMPLETED);
}

static void test_the_task_can_make_the_rule_stricter(void **state)
{
    struct bench *b = *state;

    b->coordinator.task.min_battery_percent = 90;
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_INTERRUPTED);
    assert_string_equal(b->report.message, "battery of 90 % is required and it has 80 %");
    assert_int_equal(b->coordinator.last_report.outcome, CYGNET_OUTCOME_INTERRUPTED);
    assert_int_equal(b->coordinator.fetch.n_calls, 0);
}

/* Loses external power when the round reaches a phase. */
struct loss {
    struct bench *b;
    cygnet_phase when;
};

static void lose_power(cygnet_phase phase, void *user)
{
    struct loss *loss = user;

    if (phase == loss->when)
        loss->b->host.device.charging = CYGNET_FALSE;
}

static void interrupt_at(struct bench *b, cygnet_phase phase)
{
    struct loss loss = {b, phase};

    b->host.on_phase = lose_power;
    b->host.user = &loss;
    b->coordinator.task.epochs = 20;
    b->host.ms_per_read = 300;
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_INTERRUPTED);
    assert_string_equal(b->report.message, "charging is required and is false");
    assert_int_equal(b->coordinator.last_report.outcome, CYGNET_OUTCOME_INTERRUPTED);
    assert_int_equal(fake_coordinator_total_accepted(&b->coordinator), 0);
    b->host.on_phase = NULL;
    b->host.device.charging = CYGNET_TRUE;
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_COMPLETED);
}

static void test_losing_power_before_fetch_interrupts(void **state)
{
    struct bench *b = *state;

    interrupt_at(b, CYGNET_PHASE_ASSIGNED);
    assert_int_equal(b->coordinator.fetch.n_calls, 1); /* of the second run */
}

static void test_losing_power_before_training_interrupts(void **state)
{
    struct bench *b = *state;

    interrupt_at(b, CYGNET_PHASE_FETCHED);
    assert_int_equal(b->host.n_reads, 60); /* of the second run */
}

static void test_losing_power_in_training_interrupts_within_a_second(void **state)
{
    struct bench *b = *state;

    interrupt_at(b, CYGNET_PHASE_TRAINING);
    assert_in_range(b->host.n_reads, 60 + 1, 60 + 4);
}

static void test_losing_power_before_upload_interrupts(void **state)
{
    struct bench *b = *state;

    interrupt_at(b, CYGNET_PHASE_ENCODED);
    assert_int_equal(b->coordinator.upload.n_calls, 1);
}

static void test_the_device_is_asked_at_most_once_a_second(void **state)
{
    struct bench *b = *state;

    b->coordinator.task.epochs = 10; /* 30 steps of 100 ms */
    b->host.ms_per_read = 100;
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_COMPLETED);
    /* before check-in, in the hello, before fetch, training and upload; and 3 */
    assert_in_range(b->host.n_looks, 7, 8);
}

static void notify_and_lose(void *user)
{
    struct bench *b = user;

    if (b->host.n_reads == 2) {
        b->host.device.unmetered = CYGNET_FALSE;
        stop_set(&b->look_again);
    }
}

static void test_notify_makes_it_look_at_once(void **state)
{
    struct bench *b = *state;

    b->host.on_read = notify_and_lose;
    b->host.user = b;
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_INTERRUPTED);
    assert_int_equal(b->host.n_reads, 2);
    assert_false(cygnet_stopped(&b->look_again));
}

/* ---- Time ------------------------------------------------------------------ */

static void test_a_round_that_cannot_be_done_in_time_is_aborted(void **state)
{
    struct bench *b = *state;

    b->coordinator.task.epochs = 100; /* 300 steps of 10 s; 600 s */
    b->coordinator.task.deadline_s = 200;
    b->host.ms_per_read = 10000;
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_ABORTED);
    assert_non_null(strstr(b->report.message, "training needs about"));
    assert_int_equal(b->coordinator.last_report.outcome, CYGNET_OUTCOME_ABORTED);
    assert_int_equal(b->host.n_reads, 3);
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_ABORTED); /* now known before a step */
    assert_int_equal(b->host.n_reads, 3);
}

static void test_a_deadline_that_slips_sends_what_was_learnt(void **state)
{
    struct bench *b = *state;

    b->coordinator.task.epochs = 0;
    b->coordinator.task.steps = 30;
    b->coordinator.task.deadline_s = 100;
    b->host.n_examples = 200;
    b->host.ms_per_read = 10000;
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_COMPLETED);
    assert_int_equal(b->coordinator.last_update.steps, 9); /* 95 s of 100 */
    assert_int_equal(b->coordinator.last_update.examples, 72);
}

static void jump(void *user)
{
    ((struct bench *)user)->clock.wall_ms += INT64_C(86400000) * 365;
}

static void test_a_jump_of_the_wall_clock_changes_nothing(void **state)
{
    struct bench *b = *state;

    b->host.on_read = jump;
    b->host.user = b;
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_COMPLETED);
}

/* ---- Hooks and data -------------------------------------------------------- */

static void assert_fails(struct bench *b, cygnet_status status, const char *words)
{
    assert_ended(b, status, CYGNET_OUTCOME_FAILED);
    if (!strstr(b->err.message, words))
        print_error("message: %s\n", b->err.message);
    assert_non_null(strstr(b->err.message, words));
}

static void test_a_hook_s_code_is_in_the_error_s_detail(void **state)
{
    struct bench *b = *state;

    b->host.open_code = 41;
    assert_fails(b, CYGNET_EHOST, "data_open");
    assert_int_equal(b->err.detail, 41);
    b->host.open_code = 0;
    b->host.read_code = 42;
    assert_fails(b, CYGNET_EHOST, "data_read");
    assert_int_equal(b->err.detail, 42);
    b->host.read_code = 0;
    b->host.device_code = 43;
    assert_fails(b, CYGNET_EHOST, "device_state");
    assert_int_equal(b->err.detail, 43);
    b->host.device_code = 0;
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_COMPLETED);
}

static void test_no_examples_is_a_data_error(void **state)
{
    struct bench *b = *state;

    b->host.n_examples = 0;
    assert_fails(b, CYGNET_EDATA, "\"train\" has no examples");
}

static void test_nan_in_the_data_names_step_and_rows(void **state)
{
    struct bench *b = *state;

    b->host.nan_at = 4;
    assert_fails(b, CYGNET_ENUMERIC, "training step ");
    assert_non_null(strstr(b->err.message, "of epoch 1"));
    assert_string_equal(b->coordinator.last_reason,
                        "NaN or infinity appeared in training");
}

static void test_a_label_out_of_range_is_told_to_the_host_only(void **state)
{
    struct bench *b = *state;

    b->host.bad_label_at = 4;
    assert_fails(b, CYGNET_EDATA, "training step ");
    assert_string_equal(b->coordinator.last_reason, "the training data is unusable");
    b->host.bad_label_at = -1;
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_COMPLETED);
}

static void test_labels_that_were_not_written_are_noticed(void **state)
{
    struct bench *b = *state;

    b->host.skip_labels = 1;
    assert_fails(b, CYGNET_EDATA, "unwritten");
}

/* ---- Running on and on ----------------------------------------------------- */

static void test_run_until_counts_accepted_updates(void **state)
{
    struct bench *b = *state;

    b->coordinator.check_in.status[1] = CYGNET_ENETWORK;
    assert_int_equal(bench_restart(b), CYGNET_OK);
    assert_int_equal(participant_run_until(b->p, 3, &b->report, &b->err), CYGNET_OK);
    assert_int_equal(fake_coordinator_total_accepted(&b->coordinator), 3);
    assert_int_equal(b->coordinator.check_in.n_calls, 4);
}

static void finish_later(void *user)
{
    struct bench *b = user;

    b->coordinator.reason = CYGNET_RETRY_FINISHED;
}

static void test_run_until_waits_out_the_window_and_ends_when_finished(void **state)
{
    struct bench *b = *state;

    b->coordinator.no_task = 1;
    b->coordinator.retry_min_s = b->coordinator.retry_max_s = 30;
    b->clock.on_wait = finish_later;
    b->clock.user = b;
    assert_int_equal(bench_restart(b), CYGNET_OK);
    assert_int_equal(participant_run_until(b->p, 0, &b->report, &b->err), CYGNET_OK);
    assert_int_equal(b->report.outcome, CYGNET_OUTCOME_FINISHED);
    assert_int_equal(b->clock.waited_ms, 30000);
}

static void test_run_until_returns_permanent_errors(void **state)
{
    struct bench *b = *state;

    b->coordinator.check_in.status[0] = CYGNET_ETLS;
    assert_int_equal(bench_restart(b), CYGNET_OK);
    assert_int_equal(participant_run_until(b->p, 0, &b->report, &b->err), CYGNET_ETLS);
    assert_int_equal(b->clock.waited_ms, 0);
}

static void cancel_wait(void *user)
{
    stop_set(&((struct bench *)user)->stop);
}

static void test_cancel_ends_a_wait_between_rounds(void **state)
{
    struct bench *b = *state;

    b->coordinator.no_task = 1;
    b->coordinator.retry_min_s = b->coordinator.retry_max_s = 3000;
    b->clock.on_wait = cancel_wait;
    b->clock.user = b;
    assert_int_equal(bench_restart(b), CYGNET_OK);
    assert_int_equal(participant_run_until(b->p, 0, &b->report, &b->err),
                     CYGNET_ECANCELLED);
    assert_int_equal(b->clock.waited_ms, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_device_that_does_not_qualify_asks_for_nothing),
        TEST(test_the_task_can_make_the_rule_stricter),
        TEST(test_losing_power_before_fetch_interrupts),
        TEST(test_losing_power_before_training_interrupts),
        TEST(test_losing_power_in_training_interrupts_within_a_second),
        TEST(test_losing_power_before_upload_interrupts),
        TEST(test_the_device_is_asked_at_most_once_a_second),
        TEST(test_notify_makes_it_look_at_once),
        TEST(test_a_round_that_cannot_be_done_in_time_is_aborted),
        TEST(test_a_deadline_that_slips_sends_what_was_learnt),
        TEST(test_a_jump_of_the_wall_clock_changes_nothing),
        TEST(test_a_hook_s_code_is_in_the_error_s_detail),
        TEST(test_no_examples_is_a_data_error),
        TEST(test_nan_in_the_data_names_step_and_rows),
        TEST(test_a_label_out_of_range_is_told_to_the_host_only),
        TEST(test_labels_that_were_not_written_are_noticed),
        TEST(test_run_until_counts_accepted_updates),
        TEST(test_run_until_waits_out_the_window_and_ends_when_finished),
        TEST(test_run_until_returns_permanent_errors),
        TEST(test_cancel_ends_a_wait_between_rounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
