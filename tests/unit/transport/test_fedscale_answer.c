/* The FedScale dialect over a scripted HTTP stack: answers go out at most once. */
#include "fedscale_bench.h"

/* ---- Answers ------------------------------------------------------------------------
 */

static void test_an_upload_echoes_the_client_id(void **state)
{
    struct bench *b = *state;

    join(b);
    reply_dummy(b);
    assert_int_equal(upload(b), CYGNET_OK);
    assert_called(b, 3, "CLIENT_EXECUTE_COMPLETION");
    assert_true(has_bytes(b, 3, "upload_model", 12));
    assert_true(has_bytes(b, 3, "client_id", 9));
    assert_true(has_bytes(b, 3, "moving_loss", 11));
}

/* sqrt(4) * 100, big-endian as pickle's BINFLOAT has it. */
static void test_utility_is_as_fedscale_computes_it(void **state)
{
    static const uint8_t utility[] = {'G', 0x40, 0x69, 0, 0, 0, 0, 0, 0};
    static const uint8_t moving_loss[] = {'G', 0x3f, 0xf8, 0, 0, 0, 0, 0, 0};
    struct bench *b = *state;

    join(b);
    reply_dummy(b);
    assert_int_equal(upload(b), CYGNET_OK);
    assert_true(has_bytes(b, 3, utility, sizeof(utility)));
    assert_true(has_bytes(b, 3, moving_loss, sizeof(moving_loss)));
}

static void test_an_upload_goes_out_once(void **state)
{
    struct bench *b = *state;

    join(b);
    reply_dummy(b);
    assert_int_equal(upload(b), CYGNET_OK);
    assert_failed(upload(b), CYGNET_ESTATE, b->err, "not sent again");
    assert_int_equal(b->http->n_requests, 4);
}

static void test_an_upload_that_may_have_left_is_not_sent_again(void **state)
{
    struct bench *b = *state;

    join(b);
    fake_http_fail(b->http, CYGNET_ENETWORK);
    assert_int_equal(upload(b), CYGNET_ENETWORK);
    assert_int_equal(report(b, CYGNET_OUTCOME_ABORTED), CYGNET_ESTATE);
    fedscale_bench_restart(b);
    assert_int_equal(report(b, CYGNET_OUTCOME_INTERRUPTED), CYGNET_ESTATE);
    assert_int_equal(b->http->n_requests, 0);
}

/* The task is over, whatever became of its answer. */
static void test_a_task_whose_upload_failed_is_not_offered_again(void **state)
{
    struct bench *b = *state;

    join(b);
    cygnet_tensors_destroy(fetched(b));
    fake_http_fail(b->http, CYGNET_ENETWORK);
    assert_int_equal(upload(b), CYGNET_ENETWORK);
    assert_int_equal(report(b, CYGNET_OUTCOME_ABORTED), CYGNET_ESTATE);
    reply_test(b, "weights_4.pickle");
    assert_int_equal(check_in(b), CYGNET_OK);
    assert_called(b, 4, "CLIENT_PING");
    assert_int_equal(b->answer.task.kind, CYGNET_TASK_EVALUATE);
}

static void test_an_upload_that_has_surely_not_left_may_be_declined(void **state)
{
    struct bench *b = *state;

    join(b);
    fake_http_fail(b->http, CYGNET_ENETWORK);
    b->http->replies[3].unsent = true;
    assert_int_equal(upload(b), CYGNET_ENETWORK);
    reply_dummy(b);
    assert_int_equal(report(b, CYGNET_OUTCOME_ABORTED), CYGNET_OK);
    assert_true(has_bytes(b, 4, "upload_model", 12));
}

static void test_nothing_is_sent_when_the_permit_cannot_be_given_up(void **state)
{
    struct bench *b = *state;

    join(b);
    b->store.fail_at = b->store.n_ops + 2; /* read, then remove */
    b->store.fail_with = CYGNET_ESTORAGE;
    assert_int_equal(upload(b), CYGNET_ESTORAGE);
    assert_int_equal(b->http->n_requests, 3);
}

static void test_a_restart_goes_on_with_what_was_received(void **state)
{
    struct bench *b = *state;

    join(b);
    fedscale_bench_restart(b);
    cygnet_tensors_destroy(fetched(b));
    reply_dummy(b);
    assert_int_equal(upload(b), CYGNET_OK);
    assert_true(has_bytes(b, 0, ID, strlen(ID)));
    assert_null(memory_store_find(&b->store, PERMIT));
}

static void test_a_restart_without_a_round_gets_the_task_again(void **state)
{
    struct bench *b = *state;

    join(b);
    fedscale_bench_restart(b);
    assert_int_equal(check_in(b), CYGNET_OK);
    assert_true(b->answer.has_task);
    assert_int_equal(b->http->n_requests, 0);
    assert_float_equal(b->answer.task.lr, 0.05f, 1e-9);
}

/* On a full disk: a task that cannot be kept is not done, but its job goes on. */
static void test_a_task_that_cannot_be_written_down_is_given_back(void **state)
{
    for (int k = 1; k <= 2; k++) { /* the weights, the permit */
        struct bench *b = *state;

        reply_train(b);
        reply_dummy(b);
        b->store.fail_at = b->store.n_ops + 1 + k; /* a read comes first */
        b->store.fail_with = CYGNET_ENOSPC;
        assert_int_equal(check_in(b), CYGNET_ENOSPC);
        assert_int_equal(b->http->n_requests, 2);
        assert_called(b, 1, "CLIENT_EXECUTE_COMPLETION");
        assert_true(has_bytes(b, 1, "upload_model", 12));
        assert_null(memory_store_find(&b->store, PERMIT));
        fedscale_bench_restart(b);
    }
}

static void test_a_test_that_cannot_be_written_down_is_given_back(void **state)
{
    struct bench *b = *state;

    reply_test(b, "weights_4.pickle");
    reply_train(b); /* the next task is as good as any */
    b->store.fail_at = b->store.n_ops + 2;
    assert_int_equal(check_in(b), CYGNET_ESTORAGE);
    assert_true(has_bytes(b, 1, "test_len", 8));
    assert_int_equal(check_in(b), CYGNET_OK);
    assert_int_equal(b->answer.task.kind, CYGNET_TASK_TRAIN);
    assert_int_equal(b->http->n_requests, 2);
}

/* It may be there after all: then another process will send. */
static void test_nothing_is_given_back_while_a_permit_may_be_left(void **state)
{
    struct bench *b = *state;

    reply_train(b);
    b->store.dies_after = b->store.n_ops + 1;
    assert_int_equal(check_in(b), CYGNET_ESTORAGE);
    assert_int_equal(b->http->n_requests, 1);
}

static void test_a_decline_sends_the_weights_as_they_came(void **state)
{
    struct bench *b = *state;
    cygnet_tensors *weights;

    join(b);
    weights = fetched(b);
    reply_dummy(b);
    assert_int_equal(report(b, CYGNET_OUTCOME_INTERRUPTED), CYGNET_OK);
    for (size_t i = 0; i < small_layout.n; i++) {
        const cygnet_tensor *t = cygnet_tensors_at(weights, i);

        if (t->dtype == CYGNET_F32)
            assert_true(has_bytes(b, 3, t->data, (size_t)t->size_bytes));
    }
    cygnet_tensors_destroy(weights);
}

static void test_a_completed_round_has_nothing_to_report(void **state)
{
    struct bench *b = *state;

    join(b);
    reply_dummy(b);
    assert_int_equal(upload(b), CYGNET_OK);
    assert_int_equal(report(b, CYGNET_OUTCOME_COMPLETED), CYGNET_OK);
    assert_int_equal(b->http->n_requests, 4);
}

static void test_results_of_a_test_go_out_once(void **state)
{
    struct bench *b = *state;

    reply_dummy(b);
    reply_test(b, "weights_4.pickle");
    assert_int_equal(check_in(b), CYGNET_OK);
    reply_dummy(b);
    assert_int_equal(report(b, CYGNET_OUTCOME_EVALUATED), CYGNET_OK);
    assert_true(has_bytes(b, 2, "test_len", 8));
    assert_int_equal(report(b, CYGNET_OUTCOME_EVALUATED), CYGNET_ESTATE);
}

static void test_results_after_a_restart_are_the_same_client_s(void **state)
{
    struct bench *b = *state;

    reply_test(b, "weights_4.pickle");
    assert_int_equal(check_in(b), CYGNET_OK);
    fedscale_bench_restart(b);
    reply_dummy(b);
    assert_int_equal(report(b, CYGNET_OUTCOME_EVALUATED), CYGNET_OK);
    assert_true(has_bytes(b, 0, ID, strlen(ID)));
}

/* 1e-9: neither a sum changed nor a division by zero. */
static void test_a_test_that_is_declined_weighs_nothing(void **state)
{
    static const uint8_t nothing[] = {'G',  0x3e, 0x11, 0x2e, 0x0b,
                                      0xe8, 0x26, 0xd6, 0x95};
    struct bench *b = *state;

    reply_dummy(b);
    reply_test(b, "weights_4.pickle");
    assert_int_equal(check_in(b), CYGNET_OK);
    reply_dummy(b);
    assert_int_equal(report(b, CYGNET_OUTCOME_INTERRUPTED), CYGNET_OK);
    assert_true(has_bytes(b, 2, nothing, sizeof(nothing)));
}

/* Every reply is an event, that to an upload too. */
static void test_the_reply_to_an_upload_may_bring_the_next_task(void **state)
{
    struct bench *b = *state;
    char token[CYGNET_TOKEN_MAX + 1];

    join(b);
    memcpy(token, b->answer.task.token, sizeof(token));
    reply_train(b);
    assert_int_equal(upload(b), CYGNET_OK);
    fake_clock_advance(&b->clock, 1000);
    assert_int_equal(check_in(b), CYGNET_OK);
    assert_true(b->answer.has_task);
    assert_int_equal(b->answer.waited_ms, 0);
    assert_string_not_equal(token, b->answer.task.token);
    assert_int_equal(b->http->n_requests, 4);
}

static void test_a_bad_event_with_an_upload_is_told_later(void **state)
{
    struct bench *b = *state;

    join(b);
    reply_event(b, "update_model", "no_data.pickle", "lr_weights_4.pickle");
    assert_int_equal(upload(b), CYGNET_OK);
    assert_int_equal(check_in(b), CYGNET_ESHAPE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_an_upload_echoes_the_client_id),
        BENCH_TEST(test_utility_is_as_fedscale_computes_it),
        BENCH_TEST(test_an_upload_goes_out_once),
        BENCH_TEST(test_an_upload_that_may_have_left_is_not_sent_again),
        BENCH_TEST(test_a_task_whose_upload_failed_is_not_offered_again),
        BENCH_TEST(test_an_upload_that_has_surely_not_left_may_be_declined),
        BENCH_TEST(test_nothing_is_sent_when_the_permit_cannot_be_given_up),
        BENCH_TEST(test_a_restart_goes_on_with_what_was_received),
        BENCH_TEST(test_a_restart_without_a_round_gets_the_task_again),
        BENCH_TEST(test_a_task_that_cannot_be_written_down_is_given_back),
        BENCH_TEST(test_a_test_that_cannot_be_written_down_is_given_back),
        BENCH_TEST(test_nothing_is_given_back_while_a_permit_may_be_left),
        BENCH_TEST(test_a_decline_sends_the_weights_as_they_came),
        BENCH_TEST(test_a_completed_round_has_nothing_to_report),
        BENCH_TEST(test_results_of_a_test_go_out_once),
        BENCH_TEST(test_results_after_a_restart_are_the_same_client_s),
        BENCH_TEST(test_a_test_that_is_declined_weighs_nothing),
        BENCH_TEST(test_the_reply_to_an_upload_may_bring_the_next_task),
        BENCH_TEST(test_a_bad_event_with_an_upload_is_told_later),
    };

    return cmocka_run_group_tests_name("transport fedscale_answer", tests, NULL, NULL);
}
