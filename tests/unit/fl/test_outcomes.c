/* How a run can end: one test per path. */
#include "tests/unit/fl/bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

static void assert_ended(struct bench *b, cygnet_status expected, cygnet_outcome outcome)
{
    cygnet_status st = bench_run(b);

    if (st != expected || b->report.outcome != outcome)
        print_error("status %s (%s), outcome %d: %s\n", cygnet_status_name(st),
                    st == CYGNET_OK ? "" : b->err.message, (int)b->report.outcome,
                    b->report.message);
    assert_int_equal(st, expected);
    assert_int_equal(b->report.outcome, outcome);
    assert_int_equal(b->report.phase, CYGNET_PHASE_IDLE);
    assert_int_equal(b->host.n_open, 0);
}

/* After whatever went wrong, a run without trouble completes. */
static void assert_reusable(struct bench *b)
{
    int accepted = fake_coordinator_total_accepted(&b->coordinator);

    fake_clock_advance(&b->clock, 3600 * 1000);
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_COMPLETED);
    assert_int_equal(fake_coordinator_total_accepted(&b->coordinator), accepted + 1);
}

static void assert_aborted_for(struct bench *b, cygnet_status status, const char *words)
{
    assert_ended(b, status, CYGNET_OUTCOME_FAILED);
    assert_int_equal(b->report.status, status);
    if (!strstr(b->err.message, words))
        print_error("message: %s\n", b->err.message);
    assert_non_null(strstr(b->err.message, words));
    assert_int_equal(b->coordinator.last_report.outcome, CYGNET_OUTCOME_ABORTED);
    assert_int_equal(b->coordinator.report.n_calls, 1);
    assert_int_equal(fake_coordinator_total_accepted(&b->coordinator), 0);
}

/* ---- The happy path -------------------------------------------------------- */

static void test_a_round_runs_from_check_in_to_report(void **state)
{
    struct bench *b = *state;
    static const cygnet_phase order[] = {
        CYGNET_PHASE_ELIGIBLE, CYGNET_PHASE_CHECKED_IN, CYGNET_PHASE_ASSIGNED,
        CYGNET_PHASE_FETCHED,  CYGNET_PHASE_TRAINING,   CYGNET_PHASE_TRAINED,
        CYGNET_PHASE_ENCODED,  CYGNET_PHASE_UPLOADING,  CYGNET_PHASE_REPORTED,
        CYGNET_PHASE_IDLE,
    };

    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_COMPLETED);
    assert_int_equal(b->host.n_phases, sizeof(order) / sizeof(order[0]));
    assert_memory_equal(b->host.phases, order, sizeof(order));
    assert_int_equal(b->coordinator.last_update.examples, 20);
    assert_int_equal(b->coordinator.last_update.steps, 3);
    assert_int_equal(b->coordinator.last_update.round, 1);
    assert_int_equal(b->report.examples, 20);
    assert_int_equal(b->report.bytes_down, 1000);
    assert_true(b->report.bytes_up > 0);
    assert_true(b->report.loss_first > 0.0 && b->report.loss_last > 0.0);
    assert_true(b->coordinator.last_report.utility > 0.0);
    assert_int_equal(b->coordinator.last_report.outcome, CYGNET_OUTCOME_COMPLETED);
    assert_null(memory_store_find(&b->store, "update"));
}

static void test_the_next_check_in_tells_of_the_last_round(void **state)
{
    struct bench *b = *state;

    b->host.ms_per_read = 10;
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_COMPLETED);
    assert_true(isnan(b->coordinator.last_hello.last_utility));
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_COMPLETED);
    assert_int_equal(b->coordinator.last_hello.last_round, 1);
    assert_int_equal(b->coordinator.last_hello.n_examples, 20);
    assert_true(b->coordinator.last_hello.last_utility > 0.0);
    assert_true(b->coordinator.last_hello.samples_per_s > 0.0);
}

static void test_the_check_in_tells_what_this_build_can_do(void **state)
{
    struct bench *b = *state;

    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_COMPLETED);
    assert_string_equal(b->coordinator.last_abilities,
                        "logistic,mlp,lenet5,mcmahan_cnn,mcmahan_cifar_cnn,"
                        "resnet18,resnet34,resnet50,mobilenet_v2,ds_cnn,"
                        "mobilenet_v3_small,shufflenet_v2_x0_5,shufflenet_v2_x1_0,"
                        "shufflenet_v2_x1_5,shufflenet_v2_x2_0,squeezenet1_1,"
                        "char_lstm,gru,;none,int8,weights,");
}

static void test_training_learns_and_epochs_are_told_apart(void **state)
{
    struct bench *b = *state;

    b->coordinator.task.epochs = 60;
    b->coordinator.task.lr = 0.5f;
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_COMPLETED);
    assert_int_equal(b->report.step, 180);
    assert_int_equal(b->report.examples, 20);
    assert_true(b->report.loss_last < 0.8 * b->report.loss_first);
    assert_true(b->report.accuracy > 0.8);
}

static void test_steps_win_over_epochs_and_examples_are_capped(void **state)
{
    struct bench *b = *state;

    b->coordinator.task.steps = 2;
    b->coordinator.task.max_examples = 12;
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_COMPLETED);
    assert_int_equal(b->coordinator.last_update.steps, 2);
    assert_int_equal(b->coordinator.last_update.examples, 12);
}

static void test_the_same_seed_makes_the_same_update(void **state)
{
    struct bench *b = *state;
    struct bench *other = bench_create();

    assert_non_null(other);
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_COMPLETED);
    assert_ended(other, CYGNET_OK, CYGNET_OUTCOME_COMPLETED);
    assert_true(b->coordinator.update_sum[1] == other->coordinator.update_sum[1]);
    assert_string_equal(participant_client_id(b->p), participant_client_id(other->p));
    bench_destroy(other);
}

static void test_int8_updates_are_accepted(void **state)
{
    struct bench *b = *state;

    memcpy(b->coordinator.task.codec, "int8", 5);
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_COMPLETED);
    assert_string_equal(b->coordinator.last_update.codec, "int8");
}

/* ---- The coordinator says no ----------------------------------------------- */

static void test_a_window_is_drawn_from_and_honoured(void **state)
{
    struct bench *b = *state;
    int64_t wait_ms;

    b->coordinator.no_task = 1;
    b->coordinator.retry_min_s = 10;
    b->coordinator.retry_max_s = 60;
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_DECLINED);
    wait_ms = b->report.next_check_in_ms - b->clock.wall_ms;
    assert_in_range(wait_ms, 10000, 60000);

    assert_int_equal(bench_restart(b), CYGNET_OK); /* a restart honours it too */
    fake_clock_advance(&b->clock, wait_ms - 1);
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_DECLINED);
    assert_int_equal(b->coordinator.check_in.n_calls, 1);
    b->coordinator.no_task = 0;
    fake_clock_advance(&b->clock, 1);
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_COMPLETED);
}

static void test_a_finished_population_is_an_outcome(void **state)
{
    struct bench *b = *state;

    b->coordinator.no_task = 1;
    b->coordinator.reason = CYGNET_RETRY_FINISHED;
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_FINISHED);
}

static void test_an_unknown_requirement_is_declined_with_the_reason(void **state)
{
    struct bench *b = *state;

    memcpy(b->coordinator.task.unsupported, "secure_aggregation", 19);
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_ABORTED);
    assert_int_equal(b->coordinator.last_report.outcome, CYGNET_OUTCOME_ABORTED);
    assert_non_null(strstr(b->coordinator.last_reason, "secure_aggregation"));
    b->coordinator.task.unsupported[0] = '\0';
    assert_reusable(b);
}

static void test_a_closed_round_is_too_late(void **state)
{
    struct bench *b = *state;

    b->coordinator.receipts[0] = CYGNET_RECEIPT_TOO_LATE;
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_TOO_LATE);
    assert_reusable(b);
}

static void test_a_rejected_update_is_refused_with_the_server_s_words(void **state)
{
    struct bench *b = *state;

    b->coordinator.receipts[0] = CYGNET_RECEIPT_REJECTED;
    assert_aborted_for(b, CYGNET_EREFUSED, "not wanted");
    assert_reusable(b);
}

static void test_a_lease_that_ended_ends_the_round(void **state)
{
    struct bench *b = *state;

    b->coordinator.task.lease_s = 3;
    b->coordinator.task.epochs = 10;
    b->coordinator.lease_receipt = CYGNET_RECEIPT_TOO_LATE;
    b->host.ms_per_read = 400;
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_TOO_LATE);
    assert_int_equal(b->coordinator.renew.n_calls, 1);
    assert_int_equal(b->host.n_reads, 3);
}

static void test_the_lease_is_renewed_at_a_third_of_it(void **state)
{
    struct bench *b = *state;

    b->coordinator.task.lease_s = 3;
    b->coordinator.task.epochs = 10; /* 30 steps of 200 ms */
    b->host.ms_per_read = 200;
    b->coordinator.renew.status[1] = CYGNET_ENETWORK; /* does not end the round */
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_COMPLETED);
    assert_int_equal(b->coordinator.renew.n_calls, 6);
}

/* ---- Trouble on the way ---------------------------------------------------- */

static void test_a_failed_check_in_backs_off_and_says_when(void **state)
{
    struct bench *b = *state;

    b->coordinator.check_in.status[0] = CYGNET_ENETWORK;
    assert_ended(b, CYGNET_ENETWORK, CYGNET_OUTCOME_FAILED);
    assert_int_equal(b->coordinator.report.n_calls, 0);
    assert_in_range(b->report.next_check_in_ms - b->clock.wall_ms + 1, 1, 1001);
    assert_reusable(b);
}

static void test_retry_after_is_binding(void **state)
{
    struct bench *b = *state;

    b->coordinator.check_in.status[0] = CYGNET_ESERVER;
    b->coordinator.retry_after_s = 120;
    assert_ended(b, CYGNET_ESERVER, CYGNET_OUTCOME_FAILED);
    fake_clock_advance(&b->clock, 119000);
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_DECLINED);
    assert_int_equal(b->coordinator.check_in.n_calls, 1);
    assert_reusable(b);
}

static void test_fetch_and_upload_are_tried_again(void **state)
{
    struct bench *b = *state;

    b->coordinator.fetch.status[0] = CYGNET_ENETWORK;
    b->coordinator.upload.status[0] = CYGNET_ESERVER;
    b->coordinator.upload.status[1] = CYGNET_ETIMEOUT;
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_COMPLETED);
    assert_int_equal(b->coordinator.fetch.n_calls, 2);
    assert_int_equal(b->coordinator.upload.n_calls, 3);
    assert_int_equal(fake_coordinator_total_accepted(&b->coordinator), 1);
}

static void test_a_lost_answer_to_an_upload_counts_once(void **state)
{
    struct bench *b = *state;

    b->coordinator.upload.status[0] = CYGNET_ENETWORK;
    b->coordinator.upload.lost = 1;
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_COMPLETED);
    assert_int_equal(b->coordinator.upload.n_calls, 2);
    assert_int_equal(fake_coordinator_total_accepted(&b->coordinator), 1);
}

static void test_upload_is_given_up_at_the_deadline(void **state)
{
    struct bench *b = *state;

    for (int i = 0; i < FAKE_SCRIPT; i++)
        b->coordinator.upload.status[i] = CYGNET_ENETWORK;
    b->coordinator.task.deadline_s = 40;
    assert_ended(b, CYGNET_ENETWORK, CYGNET_OUTCOME_FAILED);
    assert_true(b->clock.waited_ms <= 40000);
    assert_true(b->coordinator.upload.n_calls > 2);
    assert_null(memory_store_find(&b->store, "update"));
}

static void test_at_most_once_never_sends_twice(void **state)
{
    struct bench *b = *state;

    b->coordinator.coordinator.delivery = CYGNET_DELIVERY_AT_MOST_ONCE;
    b->coordinator.upload.status[0] = CYGNET_ENETWORK;
    b->coordinator.upload.lost = 1;
    assert_ended(b, CYGNET_ENETWORK, CYGNET_OUTCOME_FAILED);
    assert_int_equal(b->coordinator.upload.n_calls, 1);
    assert_non_null(strstr(b->report.message, "whether it was received is not known"));
    assert_int_equal(b->coordinator.last_report.outcome, CYGNET_OUTCOME_ABORTED);
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_COMPLETED);
    assert_int_equal(b->coordinator.accepted[1], 1);
    assert_int_equal(b->coordinator.accepted[2], 1);
}

static void test_what_was_refused_before_its_first_byte_was_not_received(void **state)
{
    struct bench *b = *state;

    b->coordinator.coordinator.delivery = CYGNET_DELIVERY_AT_MOST_ONCE;
    b->coordinator.upload.status[0] = CYGNET_ESHAPE;
    assert_ended(b, CYGNET_ESHAPE, CYGNET_OUTCOME_FAILED);
    assert_null(strstr(b->report.message, "not known"));
    assert_string_equal(b->report.message, "fake: as scripted");
}

static void test_a_permanent_fetch_error_aborts_the_round(void **state)
{
    struct bench *b = *state;

    b->coordinator.fetch.status[0] = CYGNET_EHASH;
    assert_aborted_for(b, CYGNET_EHASH, "scripted");
    assert_reusable(b);
}

static void test_a_report_that_fails_does_not_spoil_the_round(void **state)
{
    struct bench *b = *state;

    for (int i = 0; i < FAKE_SCRIPT; i++)
        b->coordinator.report.status[i] = CYGNET_ENETWORK;
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_COMPLETED);
    assert_int_equal(b->coordinator.report.n_calls, 3);
}

static void test_an_unknown_codec_is_refused_before_training(void **state)
{
    struct bench *b = *state;

    memcpy(b->coordinator.task.codec, "gzip", 5);
    assert_aborted_for(b, CYGNET_EUNSUPPORTED, "gzip");
    assert_int_equal(b->host.n_opens, 0);
}

static void test_an_unknown_architecture_is_refused(void **state)
{
    struct bench *b = *state;

    memcpy(b->coordinator.task.architecture, "oracle", 7);
    assert_aborted_for(b, CYGNET_EUNSUPPORTED, "oracle");
}

static void test_a_model_over_the_limit_is_refused_unfetched(void **state)
{
    struct bench *b = *state;

    b->coordinator.task.weights_bytes = (1 << 20) + 1;
    assert_aborted_for(b, CYGNET_ELIMIT, "limit");
    assert_int_equal(b->coordinator.fetch.n_calls, 0);
}

static void test_a_task_out_of_range_is_a_protocol_error(void **state)
{
    struct bench *b = *state;

    b->coordinator.task.batch = 0;
    assert_aborted_for(b, CYGNET_EPROTOCOL, "out of range");
}

static void test_an_update_over_the_task_s_limit_is_not_sent(void **state)
{
    struct bench *b = *state;

    b->coordinator.task.max_update_bytes = 64;
    assert_aborted_for(b, CYGNET_ELIMIT, "the task allows 64");
    assert_int_equal(b->coordinator.upload.n_calls, 0);
}

static void test_weights_of_another_shape_name_the_tensor(void **state)
{
    struct bench *b = *state;

    b->coordinator.task.n_classes = 4;
    assert_aborted_for(b, CYGNET_ESHAPE, cygnet_tensors_at(b->weights, 0)->name);
}

static void test_weights_of_another_model_are_a_shape_error(void **state)
{
    struct bench *b = *state;
    cygnet_tensors *list;
    uint64_t shape[2] = {3, 6};

    assert_int_equal(cygnet_tensors_create(&list, 4096, NULL, NULL), CYGNET_OK);
    assert_int_equal(cygnet_tensors_add(NULL, list, "stranger", CYGNET_F32, shape, 2,
                                        NULL),
                     CYGNET_OK);
    b->coordinator.weights = list;
    assert_ended(b, CYGNET_ESHAPE, CYGNET_OUTCOME_FAILED);
    assert_int_equal(b->coordinator.last_report.outcome, CYGNET_OUTCOME_ABORTED);
    b->coordinator.weights = b->weights;
    cygnet_tensors_destroy(list);
    assert_reusable(b);
}

static void test_weights_of_a_narrow_type_are_unsupported(void **state)
{
    struct bench *b = *state;
    cygnet_tensors *list;

    assert_int_equal(cygnet_tensors_create(&list, 4096, NULL, NULL), CYGNET_OK);
    assert_int_equal(cygnet_tensors_add(NULL, list, "steps", CYGNET_I32, NULL, 0, NULL),
                     CYGNET_OK);
    b->coordinator.weights = list;
    assert_aborted_for(b, CYGNET_EUNSUPPORTED, "\"steps\" is I32");
    cygnet_tensors_destroy(list);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_round_runs_from_check_in_to_report),
        TEST(test_the_next_check_in_tells_of_the_last_round),
        TEST(test_the_check_in_tells_what_this_build_can_do),
        TEST(test_training_learns_and_epochs_are_told_apart),
        TEST(test_steps_win_over_epochs_and_examples_are_capped),
        TEST(test_the_same_seed_makes_the_same_update),
        TEST(test_int8_updates_are_accepted),
        TEST(test_a_window_is_drawn_from_and_honoured),
        TEST(test_a_finished_population_is_an_outcome),
        TEST(test_an_unknown_requirement_is_declined_with_the_reason),
        TEST(test_a_closed_round_is_too_late),
        TEST(test_a_rejected_update_is_refused_with_the_server_s_words),
        TEST(test_a_lease_that_ended_ends_the_round),
        TEST(test_the_lease_is_renewed_at_a_third_of_it),
        TEST(test_a_failed_check_in_backs_off_and_says_when),
        TEST(test_retry_after_is_binding),
        TEST(test_fetch_and_upload_are_tried_again),
        TEST(test_a_lost_answer_to_an_upload_counts_once),
        TEST(test_upload_is_given_up_at_the_deadline),
        TEST(test_at_most_once_never_sends_twice),
        TEST(test_what_was_refused_before_its_first_byte_was_not_received),
        TEST(test_a_permanent_fetch_error_aborts_the_round),
        TEST(test_a_report_that_fails_does_not_spoil_the_round),
        TEST(test_an_unknown_codec_is_refused_before_training),
        TEST(test_an_unknown_architecture_is_refused),
        TEST(test_a_model_over_the_limit_is_refused_unfetched),
        TEST(test_a_task_out_of_range_is_a_protocol_error),
        TEST(test_an_update_over_the_task_s_limit_is_not_sent),
        TEST(test_weights_of_another_shape_name_the_tensor),
        TEST(test_weights_of_another_model_are_a_shape_error),
        TEST(test_weights_of_a_narrow_type_are_unsupported),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
