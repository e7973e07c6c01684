/* What the FedScale dialect sends, at most once, and what becomes of a task that cannot
 * be answered at once. */
#include "fedscale_bench.h"

#define PERMIT "received-due"

/* Whether the body of a request holds these bytes. */
static bool has_bytes(const struct bench *b, uint32_t at, const void *text, size_t len)
{
    const struct fake_request *request = &b->http->requests[at];

    for (size_t i = 0; i + len <= request->body_len; i++)
        if (memcmp(request->body + i, text, len) == 0)
            return true;
    return false;
}

/* Sends the weights as they came, as what training has made of them. */
static cygnet_status upload(struct bench *b)
{
    static const cygnet_round_report metrics = {.struct_size = sizeof(metrics),
                                                .steps = 20,
                                                .moving_loss = 1.5,
                                                .last_loss_squared = 4.0,
                                                .unique_examples = 100};
    cygnet_upload what = {.struct_size = sizeof(what), .metrics = &metrics};
    cygnet_receipt receipt = CYGNET_RECEIPT_REJECTED;
    cygnet_tensors *weights;
    void *data;
    size_t len;
    cygnet_status st;

    assert_int_equal(cygnet_tensors_load(&weights, GOLDEN_DIR "/weights.safetensors",
                                         1000000, NULL, NULL),
                     CYGNET_OK);
    assert_int_equal(cygnet_tensors_serialize(&data, &len, weights, NULL), CYGNET_OK);
    what.update = data;
    what.len = len;
    st = b->coordinator->upload(b->coordinator, &receipt, &b->answer.task, &what, NULL,
                                &b->err);
    assert_int_equal(receipt,
                     st == CYGNET_OK ? CYGNET_RECEIPT_ACCEPTED : CYGNET_RECEIPT_REJECTED);
    cygnet_tensors_free_bytes(weights, data);
    cygnet_tensors_destroy(weights);
    return st;
}

static cygnet_status report(struct bench *b, cygnet_outcome outcome)
{
    const cygnet_round_report what = {.struct_size = sizeof(what),
                                      .outcome = outcome,
                                      .examples = 50,
                                      .loss_sum = 12.5,
                                      .top_1 = 40,
                                      .top_5 = 49};

    return b->coordinator->report(b->coordinator, &b->answer.task, &what, NULL, &b->err);
}

/* The key and the value of train_meta_4.pickle, "1". */
static void test_an_upload_echoes_the_client_id(void **state)
{
    static const char own_id[] = "X\t\0\0\0client_idX\1\0\0\0"
                                 "1";
    struct bench *b = *state;

    bench_join(b);
    reply_dummy(b);
    assert_int_equal(upload(b), CYGNET_OK);
    assert_called(b, 3, "CLIENT_EXECUTE_COMPLETION");
    assert_true(has_bytes(b, 3, "upload_model", 12));
    assert_true(has_bytes(b, 3, own_id, sizeof(own_id) - 1));
    assert_true(has_bytes(b, 3, "moving_loss", 11));
}

/* sqrt(4) * 100, big-endian as pickle's BINFLOAT has it. */
static void test_utility_is_as_fedscale_computes_it(void **state)
{
    static const uint8_t utility[] = {'G', 0x40, 0x69, 0, 0, 0, 0, 0, 0};
    static const uint8_t moving_loss[] = {'G', 0x3f, 0xf8, 0, 0, 0, 0, 0, 0};
    struct bench *b = *state;

    bench_join(b);
    reply_dummy(b);
    assert_int_equal(upload(b), CYGNET_OK);
    assert_true(has_bytes(b, 3, utility, sizeof(utility)));
    assert_true(has_bytes(b, 3, moving_loss, sizeof(moving_loss)));
}

static void test_an_upload_goes_out_once(void **state)
{
    struct bench *b = *state;

    bench_join(b);
    reply_dummy(b);
    assert_int_equal(upload(b), CYGNET_OK);
    assert_failed(upload(b), CYGNET_ESTATE, b->err, "not sent again");
    assert_int_equal(b->http->n_requests, 4);
}

static void test_an_upload_that_may_have_left_is_not_sent_again(void **state)
{
    struct bench *b = *state;

    bench_join(b);
    fake_http_fail(b->http, CYGNET_ENETWORK);
    assert_int_equal(upload(b), CYGNET_ENETWORK);
    assert_int_equal(report(b, CYGNET_OUTCOME_ABORTED), CYGNET_ESTATE);
    bench_restart(b);
    assert_int_equal(report(b, CYGNET_OUTCOME_INTERRUPTED), CYGNET_ESTATE);
    assert_int_equal(b->http->n_requests, 0);
}

static void test_an_upload_that_has_surely_not_left_may_be_declined(void **state)
{
    struct bench *b = *state;

    bench_join(b);
    assert_failed(upload(b), CYGNET_ENETWORK, b->err, "no reply is queued");
    reply_dummy(b);
    reply_dummy(b);
    assert_int_equal(report(b, CYGNET_OUTCOME_ABORTED), CYGNET_OK);
    assert_called(b, 3, "CLIENT_PING");
    assert_true(has_bytes(b, 4, "upload_model", 12));
}

static void test_nothing_is_sent_when_the_permit_cannot_be_given_up(void **state)
{
    struct bench *b = *state;

    bench_join(b);
    b->store.fail_at = b->store.n_ops + 2; /* read, then remove */
    b->store.fail_with = CYGNET_ESTORAGE;
    assert_int_equal(upload(b), CYGNET_ESTORAGE);
    assert_int_equal(b->http->n_requests, 3);
}

static void test_a_connection_that_cannot_be_made_is_tried_again(void **state)
{
    struct bench *b = *state;

    bench_join(b);
    fake_http_fail(b->http, CYGNET_ENETWORK);
    b->http->replies[3].unsent = true;
    reply_dummy(b);
    assert_int_equal(upload(b), CYGNET_OK);
    assert_int_equal(b->http->n_requests, 5);
    assert_null(memory_store_find(&b->store, PERMIT));
}

/* What was not sent is still owed, unless the aggregator has forgotten us. */
static void test_an_answer_that_did_not_leave_stays_due(void **state)
{
    struct bench *b = *state;

    bench_join(b);
    assert_int_equal(upload(b), CYGNET_ENETWORK);
    assert_in_range(b->clock.waited_ms, 10000, 12000);
    assert_non_null(memory_store_find(&b->store, PERMIT));
    reply_dummy(b);
    assert_int_equal(bench_check_in(b), CYGNET_OK);
    assert_true(b->answer.has_task);
    assert_called(b, 3, "CLIENT_PING");
    reply_dummy(b);
    assert_int_equal(upload(b), CYGNET_OK);
}

static void test_a_job_ends_with_an_answer_still_due(void **state)
{
    struct bench *b = *state;

    bench_join(b);
    assert_int_equal(upload(b), CYGNET_ENETWORK);
    assert_int_equal(bench_check_in(b), CYGNET_OK);
    assert_false(b->answer.has_task);
    assert_int_equal(b->answer.reason, CYGNET_RETRY_FINISHED);
}

static int n_answers(const struct bench *b)
{
    int n = 0;

    for (uint32_t i = 0; i < b->http->n_requests; i++)
        n += strstr(b->http->requests[i].url, "CLIENT_EXECUTE_COMPLETION") != NULL;
    return n;
}

/* A round in which the store dies after its operation `k`, and the next process.
 * Returns how many answers went out. */
static int answers_with_a_crash_after(struct bench *b, int k)
{
    int n;

    memory_store_clear(&b->store);
    memory_store_init(&b->store);
    bench_restart(b);
    b->store.dies_after = k;
    reply_dummy(b);
    reply_train(b);
    reply_dummy(b);
    if (bench_check_in(b) == CYGNET_OK)
        (void)upload(b);
    n = n_answers(b);
    b->store.dies_after = 0;
    bench_restart(b);
    for (int i = 0; i < 5; i++)
        reply_dummy(b);
    if (bench_check_in(b) == CYGNET_OK && b->answer.has_task)
        assert_int_equal(upload(b), CYGNET_OK);
    return n + n_answers(b);
}

/* Its operations: a look for an earlier task; the weights and the permit are saved; the
 * permit is read and removed. With the permit on disk there is one answer, before and
 * after. */
static void test_no_crash_makes_two_answers_of_one(void **state)
{
    static const int answers[] = {0, 0, 1, 1, 1, 1};
    struct bench *b = *state;

    for (int k = 1; k <= 6; k++)
        assert_int_equal(answers_with_a_crash_after(b, k), answers[k - 1]);
}

static void test_a_restart_goes_on_with_what_was_received(void **state)
{
    struct bench *b = *state;

    bench_join(b);
    bench_restart(b);
    cygnet_tensors_destroy(bench_fetched(b));
    reply_dummy(b);
    reply_dummy(b);
    assert_int_equal(upload(b), CYGNET_OK);
    assert_called(b, 0, "CLIENT_PING");
    assert_called(b, 1, "CLIENT_EXECUTE_COMPLETION");
    assert_true(has_bytes(b, 1, BENCH_ID, strlen(BENCH_ID)));
    assert_null(memory_store_find(&b->store, PERMIT));
}

/* Simulations count their clients. */
static void test_a_number_for_an_id_outlives_a_restart(void **state)
{
    static const char number[] = "X\t\0\0\0client_idJ\7\0\0\0";
    struct bench *b = *state;

    reply_event(b, "client_train", "train_meta_int.pickle", "weights_4.pickle");
    assert_int_equal(bench_check_in(b), CYGNET_OK);
    assert_true(b->answer.has_task);
    bench_restart(b);
    reply_dummy(b);
    reply_dummy(b);
    assert_int_equal(upload(b), CYGNET_OK);
    assert_true(has_bytes(b, 1, number, sizeof(number) - 1));
}

/* An answer that it has not asked for would end it, for everybody. */
static void test_nothing_goes_to_an_aggregator_that_does_not_know_us(void **state)
{
    struct bench *b = *state;

    bench_join(b);
    bench_restart(b);
    reply_unknown_client(b);
    assert_failed(upload(b), CYGNET_ESTATE, b->err, "no longer waits");
    assert_int_equal(report(b, CYGNET_OUTCOME_ABORTED), CYGNET_ESTATE);
    assert_int_equal(b->http->n_requests, 1);
    assert_null(memory_store_find(&b->store, PERMIT));
}

static void test_no_decline_goes_to_an_aggregator_that_does_not_know_us(void **state)
{
    struct bench *b = *state;

    bench_join(b);
    bench_restart(b);
    reply_unknown_client(b);
    assert_int_equal(report(b, CYGNET_OUTCOME_INTERRUPTED), CYGNET_ESTATE);
    assert_int_equal(b->http->n_requests, 1);
}

static void test_no_results_go_to_an_aggregator_that_does_not_know_us(void **state)
{
    struct bench *b = *state;

    reply_dummy(b);
    reply_test(b, "weights_4.pickle");
    assert_int_equal(bench_check_in(b), CYGNET_OK);
    bench_restart(b);
    reply_unknown_client(b);
    assert_int_equal(report(b, CYGNET_OUTCOME_EVALUATED), CYGNET_ESTATE);
    assert_int_equal(b->http->n_requests, 1);
}

/* It has gone on without us: the answer belongs to no round any more. */
static void test_a_ping_before_an_answer_may_bring_another_task(void **state)
{
    struct bench *b = *state;

    bench_join(b);
    bench_restart(b);
    reply_train(b);
    assert_int_equal(upload(b), CYGNET_ESTATE);
    assert_int_equal(b->http->n_requests, 1);
    assert_int_equal(bench_check_in(b), CYGNET_OK);
    assert_true(b->answer.has_task);
}

/* Not as text of the locale: that of the next process may be another. */
static void test_the_learning_rate_is_kept_bit_for_bit(void **state)
{
    static const char bits[] = "\"3fa999999999999a\"";
    struct bench *b = *state;
    const struct memory_file *file;
    bool found = false;

    bench_join(b);
    file = memory_store_find(&b->store, "received");
    assert_non_null(file);
    for (size_t i = 0; i + strlen(bits) <= file->len; i++)
        found = found || memcmp(file->data + i, bits, strlen(bits)) == 0;
    assert_true(found);
}

static void test_a_restart_without_a_round_gets_the_task_again(void **state)
{
    struct bench *b = *state;

    bench_join(b);
    bench_restart(b);
    reply_dummy(b);
    assert_int_equal(bench_check_in(b), CYGNET_OK);
    assert_true(b->answer.has_task);
    assert_int_equal(b->http->n_requests, 1);
    assert_called(b, 0, "CLIENT_PING");
    assert_float_equal(b->answer.task.lr, 0.05f, 1e-9);
}

/* One on the same port that never asked must not be sent anything. */
static void test_a_task_of_an_aggregator_before_is_forgotten(void **state)
{
    struct bench *b = *state;

    bench_join(b);
    bench_restart(b);
    reply_unknown_client(b);
    reply_dummy(b);
    reply_test(b, "weights_4.pickle");
    assert_int_equal(bench_check_in(b), CYGNET_OK);
    assert_called(b, 1, "CLIENT_REGISTER");
    assert_int_equal(b->answer.task.kind, CYGNET_TASK_EVALUATE);
}

static void test_a_task_of_another_identity_is_not_taken_up(void **state)
{
    struct bench *b = *state;

    bench_join(b);
    b->hello.client_id = "another";
    reply_unknown_client(b);
    reply_dummy(b);
    reply_test(b, "weights_4.pickle");
    assert_int_equal(bench_check_in(b), CYGNET_OK);
    assert_called(b, 4, "CLIENT_REGISTER");
    assert_int_equal(b->answer.task.kind, CYGNET_TASK_EVALUATE);
    bench_restart(b);
    b->hello.client_id = BENCH_ID;
    reply_dummy(b);
    reply_train(b);
    assert_int_equal(bench_check_in(b), CYGNET_OK);
    assert_int_equal(b->answer.task.kind, CYGNET_TASK_TRAIN);
}

/* The task is over, whatever became of its answer. */
static void test_a_task_whose_upload_failed_is_not_offered_again(void **state)
{
    struct bench *b = *state;

    bench_join(b);
    cygnet_tensors_destroy(bench_fetched(b));
    fake_http_fail(b->http, CYGNET_ENETWORK);
    assert_int_equal(upload(b), CYGNET_ENETWORK);
    assert_int_equal(report(b, CYGNET_OUTCOME_ABORTED), CYGNET_ESTATE);
    reply_test(b, "weights_4.pickle");
    assert_int_equal(bench_check_in(b), CYGNET_OK);
    assert_called(b, 4, "CLIENT_PING");
    assert_int_equal(b->answer.task.kind, CYGNET_TASK_EVALUATE);
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
        assert_int_equal(bench_check_in(b), CYGNET_ENOSPC);
        assert_int_equal(b->http->n_requests, 2);
        assert_called(b, 1, "CLIENT_EXECUTE_COMPLETION");
        assert_true(has_bytes(b, 1, "upload_model", 12));
        assert_null(memory_store_find(&b->store, PERMIT));
        bench_restart(b);
    }
}

static void test_a_test_that_cannot_be_written_down_is_given_back(void **state)
{
    struct bench *b = *state;

    reply_test(b, "weights_4.pickle");
    reply_train(b); /* the next task is as good as any */
    b->store.fail_at = b->store.n_ops + 2;
    assert_int_equal(bench_check_in(b), CYGNET_ESTORAGE);
    assert_true(has_bytes(b, 1, "test_len", 8));
    assert_int_equal(bench_check_in(b), CYGNET_OK);
    assert_int_equal(b->answer.task.kind, CYGNET_TASK_TRAIN);
    assert_int_equal(b->http->n_requests, 2);
}

/* It may be there after all: then another process will send. */
static void test_nothing_is_given_back_while_a_permit_may_be_left(void **state)
{
    struct bench *b = *state;

    reply_train(b);
    b->store.dies_after = b->store.n_ops + 1;
    assert_int_equal(bench_check_in(b), CYGNET_ESTORAGE);
    assert_int_equal(b->http->n_requests, 1);
}

/* Weights that come between are for later. */
static void test_a_task_keeps_the_weights_it_came_with(void **state)
{
    struct bench *b = *state;
    const cygnet_tensor *wanted;
    cygnet_tensors *weights, *again;

    bench_join(b);
    weights = bench_fetched(b);
    wanted = cygnet_tensors_at(weights, 0);
    bench_restart(b);
    reply_weights_without(b, wanted);
    assert_int_equal(bench_check_in(b), CYGNET_OK);
    again = bench_fetched(b);
    assert_memory_equal(cygnet_tensors_at(again, 0)->data, wanted->data,
                        wanted->size_bytes);
    cygnet_tensors_destroy(again);
    cygnet_tensors_destroy(weights);
}

static void test_results_after_a_restart_name_the_client(void **state)
{
    struct bench *b = *state;

    reply_dummy(b);
    reply_test(b, "weights_4.pickle");
    assert_int_equal(bench_check_in(b), CYGNET_OK);
    bench_restart(b);
    reply_dummy(b);
    reply_dummy(b);
    assert_int_equal(report(b, CYGNET_OUTCOME_EVALUATED), CYGNET_OK);
    assert_called(b, 0, "CLIENT_PING");
    assert_true(has_bytes(b, 1, BENCH_ID, strlen(BENCH_ID)));
}

static void test_a_task_with_an_upload_after_a_restart_is_this_clients(void **state)
{
    struct bench *b = *state;

    bench_join(b);
    bench_restart(b);
    reply_dummy(b);
    reply_train(b);
    assert_int_equal(upload(b), CYGNET_OK);
    assert_int_equal(bench_check_in(b), CYGNET_OK);
    assert_true(b->answer.has_task);
    reply_dummy(b);
    assert_int_equal(upload(b), CYGNET_OK);
    assert_true(has_bytes(b, 2, BENCH_ID, strlen(BENCH_ID)));
}

/* The round of the upload may end badly here, for instance on a full disk. */
static void test_a_report_of_an_earlier_task_leaves_the_next_one(void **state)
{
    struct bench *b = *state;
    cygnet_answer earlier;

    bench_join(b);
    earlier = b->answer;
    reply_train(b);
    assert_int_equal(upload(b), CYGNET_OK);
    assert_int_not_equal(report(b, CYGNET_OUTCOME_ABORTED), CYGNET_OK);
    assert_int_equal(bench_check_in(b), CYGNET_OK);
    assert_true(b->answer.has_task);
    assert_string_not_equal(earlier.task.token, b->answer.task.token);
}

/* It is not a task that comes back with each check-in. */
static void test_a_task_without_a_learning_rate_is_none(void **state)
{
    struct bench *b = *state;

    reply_event(b, "client_train", "lr_test_meta.pickle", "weights_4.pickle");
    assert_failed(bench_check_in(b), CYGNET_EPROTOCOL, b->err, "no learning rate");
    assert_null(memory_store_find(&b->store, PERMIT));
    reply_dummy(b);
    reply_train(b);
    assert_int_equal(bench_check_in(b), CYGNET_OK);
    assert_true(b->answer.has_task);
}

static void test_a_decline_sends_the_weights_as_they_came(void **state)
{
    struct bench *b = *state;
    cygnet_tensors *weights;

    bench_join(b);
    weights = bench_fetched(b);
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

    bench_join(b);
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
    assert_int_equal(bench_check_in(b), CYGNET_OK);
    reply_dummy(b);
    assert_int_equal(report(b, CYGNET_OUTCOME_EVALUATED), CYGNET_OK);
    assert_true(has_bytes(b, 2, "test_len", 8));
    assert_int_equal(report(b, CYGNET_OUTCOME_EVALUATED), CYGNET_ESTATE);
}

/* 1e-9: neither a sum changed nor a division by zero. */
static void test_a_test_that_is_declined_weighs_nothing(void **state)
{
    static const uint8_t nothing[] = {'G',  0x3e, 0x11, 0x2e, 0x0b,
                                      0xe8, 0x26, 0xd6, 0x95};
    struct bench *b = *state;

    reply_dummy(b);
    reply_test(b, "weights_4.pickle");
    assert_int_equal(bench_check_in(b), CYGNET_OK);
    reply_dummy(b);
    assert_int_equal(report(b, CYGNET_OUTCOME_INTERRUPTED), CYGNET_OK);
    assert_true(has_bytes(b, 2, nothing, sizeof(nothing)));
}

/* Every reply is an event, that to an upload too. */
static void test_the_reply_to_an_upload_may_bring_the_next_task(void **state)
{
    struct bench *b = *state;
    char token[CYGNET_TOKEN_MAX + 1];

    bench_join(b);
    memcpy(token, b->answer.task.token, sizeof(token));
    reply_train(b);
    assert_int_equal(upload(b), CYGNET_OK);
    fake_clock_advance(&b->clock, 1000);
    assert_int_equal(bench_check_in(b), CYGNET_OK);
    assert_true(b->answer.has_task);
    assert_int_equal(b->answer.waited_ms, 0);
    assert_string_not_equal(token, b->answer.task.token);
    assert_int_equal(b->http->n_requests, 4);
}

static void test_a_bad_event_with_an_upload_is_told_later(void **state)
{
    struct bench *b = *state;

    bench_join(b);
    reply_event(b, "update_model", "no_data.pickle", "lr_weights_4.pickle");
    assert_int_equal(upload(b), CYGNET_OK);
    assert_int_equal(bench_check_in(b), CYGNET_ESHAPE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_an_upload_echoes_the_client_id),
        BENCH_TEST(test_utility_is_as_fedscale_computes_it),
        BENCH_TEST(test_an_upload_goes_out_once),
        BENCH_TEST(test_an_upload_that_may_have_left_is_not_sent_again),
        BENCH_TEST(test_an_upload_that_has_surely_not_left_may_be_declined),
        BENCH_TEST(test_nothing_is_sent_when_the_permit_cannot_be_given_up),
        BENCH_TEST(test_no_crash_makes_two_answers_of_one),
        BENCH_TEST(test_a_restart_goes_on_with_what_was_received),
        BENCH_TEST(test_a_number_for_an_id_outlives_a_restart),
        BENCH_TEST(test_nothing_goes_to_an_aggregator_that_does_not_know_us),
        BENCH_TEST(test_no_decline_goes_to_an_aggregator_that_does_not_know_us),
        BENCH_TEST(test_no_results_go_to_an_aggregator_that_does_not_know_us),
        BENCH_TEST(test_a_ping_before_an_answer_may_bring_another_task),
        BENCH_TEST(test_the_learning_rate_is_kept_bit_for_bit),
        BENCH_TEST(test_a_restart_without_a_round_gets_the_task_again),
        BENCH_TEST(test_a_connection_that_cannot_be_made_is_tried_again),
        BENCH_TEST(test_an_answer_that_did_not_leave_stays_due),
        BENCH_TEST(test_a_job_ends_with_an_answer_still_due),
        BENCH_TEST(test_a_task_of_an_aggregator_before_is_forgotten),
        BENCH_TEST(test_a_task_of_another_identity_is_not_taken_up),
        BENCH_TEST(test_a_task_whose_upload_failed_is_not_offered_again),
        BENCH_TEST(test_a_task_that_cannot_be_written_down_is_given_back),
        BENCH_TEST(test_a_test_that_cannot_be_written_down_is_given_back),
        BENCH_TEST(test_nothing_is_given_back_while_a_permit_may_be_left),
        BENCH_TEST(test_a_task_keeps_the_weights_it_came_with),
        BENCH_TEST(test_results_after_a_restart_name_the_client),
        BENCH_TEST(test_a_task_with_an_upload_after_a_restart_is_this_clients),
        BENCH_TEST(test_a_report_of_an_earlier_task_leaves_the_next_one),
        BENCH_TEST(test_a_task_without_a_learning_rate_is_none),
        BENCH_TEST(test_a_decline_sends_the_weights_as_they_came),
        BENCH_TEST(test_a_completed_round_has_nothing_to_report),
        BENCH_TEST(test_results_of_a_test_go_out_once),
        BENCH_TEST(test_a_test_that_is_declined_weighs_nothing),
        BENCH_TEST(test_the_reply_to_an_upload_may_bring_the_next_task),
        BENCH_TEST(test_a_bad_event_with_an_upload_is_told_later),
    };

    return cmocka_run_group_tests_name("transport fedscale_answer", tests, NULL, NULL);
}
