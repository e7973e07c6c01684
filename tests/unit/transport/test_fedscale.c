/* The FedScale dialect over a scripted HTTP stack: events become tasks, answers go out
 * at most once. The weights are recorded ones. */
#include "pickle_fixture.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_http.h"
#include "tests/fakes/memory_store.h"
#include "transport/transport.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define ID "0123456789abcdef"
#define PERMIT "received-due"

static const cygnet_job job = {
    .struct_size = sizeof(job),
    .architecture = "logistic",
    .n_classes = 10,
    .steps = 20,
    .batch = 30,
    .momentum = 0.9f,
    .weight_decay = 5e-4f,
    .deadline_s = 600,
    .collection = "",
    .evaluate_collection = "test",
};

struct bench {
    struct fake_http *http;
    struct fake_clock clock;
    struct memory_store store;
    cygnet_coordinator *coordinator;
    cygnet_check_in hello;
    cygnet_answer answer;
    cygnet_error err;
};

static void start(struct bench *b)
{
    const struct fedscale_config config = {
        .server_url = "fedscale://job.example:50051",
        .http = &b->http->face,
        .store = &b->store.store,
        .max_model_bytes = 1000000,
        .job = &job,
        .layout = small_layout,
        .clock = &b->clock.clock,
    };

    assert_int_equal(fedscale_coordinator_create(&b->coordinator, &config, &b->err),
                     CYGNET_OK);
}

static int set_up(void **state)
{
    static struct bench b;

    memset(&b, 0, sizeof(b));
    b.http = fake_http_create();
    fake_clock_init(&b.clock);
    memory_store_init(&b.store);
    b.hello = (cygnet_check_in){.struct_size = sizeof(b.hello),
                                .client_id = ID,
                                .n_examples = 100};
    start(&b);
    *state = &b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;

    fedscale_coordinator_destroy(b->coordinator);
    fake_http_destroy(b->http);
    memory_store_clear(&b->store);
    return 0;
}

/* Another process on the same store, and a fresh script. */
static void restart(struct bench *b)
{
    fedscale_coordinator_destroy(b->coordinator);
    fake_http_destroy(b->http);
    b->http = fake_http_create();
    start(b);
}

/* ---- The aggregator's side -------------------------------------------------- */

static void put_field(struct bytes *out, unsigned number, const void *data, size_t len)
{
    uint8_t head[8] = {(uint8_t)(number << 3 | 2)};
    size_t n = 1;

    for (size_t rest = len; n < 7; rest >>= 7) {
        head[n++] = (uint8_t)((rest & 127) | (rest > 127 ? 128 : 0));
        if (rest <= 127)
            break;
    }
    assert_int_equal(bytes_append(out, head, n, NULL), CYGNET_OK);
    assert_int_equal(bytes_append(out, data, len, NULL), CYGNET_OK);
}

static void put_file(struct bytes *out, unsigned number, const char *name)
{
    size_t len;
    uint8_t *data = golden_read(&len, name);

    put_field(out, number, data, len);
    free(data);
}

static struct fake_reply *reply_frame(struct bench *b, struct bytes *message)
{
    uint8_t *frame = malloc(message->len + 5);
    struct fake_reply *reply;

    assert_non_null(frame);
    frame[0] = 0;
    for (int i = 0; i < 4; i++)
        frame[1 + i] = (uint8_t)(message->len >> (24 - 8 * i));
    memcpy(frame + 5, message->data, message->len);
    reply = fake_http_reply_bytes(b->http, 200, frame, message->len + 5);
    fake_reply_header(reply, "content-type", "application/grpc");
    fake_reply_trailer(reply, "grpc-status", "0");
    free(frame);
    bytes_clear(message);
    return reply;
}

/* meta, data  files of recorded pickles; NULL: an empty field */
static struct fake_reply *reply_event(struct bench *b, const char *event,
                                      const char *meta, const char *data)
{
    struct bytes message;

    bytes_init(&message, 1000000, NULL);
    put_field(&message, 1, event, strlen(event));
    if (meta)
        put_file(&message, 2, meta);
    if (data)
        put_file(&message, 3, data);
    return reply_frame(b, &message);
}

static void reply_dummy(struct bench *b)
{
    reply_event(b, "dummy_event", "no_data.pickle", "no_data.pickle");
}

static void reply_train(struct bench *b)
{
    reply_event(b, "client_train", "train_meta_4.pickle", "weights_4.pickle");
}

static void reply_test(struct bench *b, const char *data)
{
    reply_event(b, "model_test", "lr_test_meta.pickle", data);
}

static void reply_unknown_client(struct bench *b)
{
    struct fake_reply *reply = fake_http_reply(b->http, 200, "");

    fake_reply_header(reply, "content-type", "application/grpc");
    fake_reply_header(reply, "grpc-status", "2");
    fake_reply_header(reply, "grpc-message", "Exception calling application: 'x'");
}

static void assert_called(const struct bench *b, uint32_t at, const char *method)
{
    const char *slash;

    assert_true(at < b->http->n_requests);
    slash = strrchr(b->http->requests[at].url, '/');
    assert_string_equal(slash + 1, method);
}

/* Whether the body of a request holds these bytes. */
static bool has_bytes(const struct bench *b, uint32_t at, const void *text, size_t len)
{
    const struct fake_request *request = &b->http->requests[at];

    for (size_t i = 0; i + len <= request->body_len; i++)
        if (memcmp(request->body + i, text, len) == 0)
            return true;
    return false;
}

/* ---- The round's side --------------------------------------------------------- */

static cygnet_status check_in(struct bench *b)
{
    return b->coordinator->check_in(b->coordinator, &b->answer, &b->hello, NULL, &b->err);
}

static cygnet_tensors *fetched(struct bench *b)
{
    cygnet_tensors *weights;

    assert_int_equal(b->coordinator->fetch(b->coordinator, &weights, &b->answer.task,
                                           NULL, NULL, NULL, &b->err),
                     CYGNET_OK);
    return weights;
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

/* Up to a task in hand. */
static void join(struct bench *b)
{
    reply_unknown_client(b);
    reply_dummy(b);
    reply_train(b);
    assert_int_equal(check_in(b), CYGNET_OK);
    assert_true(b->answer.has_task);
}

/* ---- Joining -------------------------------------------------------------------- */

static void test_it_pings_before_it_registers(void **state)
{
    struct bench *b = *state;

    join(b);
    assert_int_equal(b->http->n_requests, 3);
    assert_called(b, 0, "CLIENT_PING");
    assert_called(b, 1, "CLIENT_REGISTER");
    assert_called(b, 2, "CLIENT_PING");
    assert_int_equal(b->http->requests[0].version, CYGNET_HTTP_2);
}

static void test_one_that_is_known_does_not_register_again(void **state)
{
    struct bench *b = *state;

    reply_dummy(b);
    reply_train(b);
    assert_int_equal(check_in(b), CYGNET_OK);
    assert_int_equal(b->http->n_requests, 2);
    assert_called(b, 1, "CLIENT_PING");
}

static void test_too_few_examples_do_not_register(void **state)
{
    struct bench *b = *state;

    b->hello.n_examples = 31;
    reply_unknown_client(b);
    assert_failed(check_in(b), CYGNET_EDATA, b->err, "31 examples");
    assert_int_equal(b->http->n_requests, 1);
}

static void test_an_unclear_registration_is_followed_by_a_ping(void **state)
{
    struct bench *b = *state;

    reply_unknown_client(b);
    fake_http_fail(b->http, CYGNET_ETIMEOUT);
    assert_int_equal(check_in(b), CYGNET_ETIMEOUT);
    reply_train(b);
    assert_int_equal(check_in(b), CYGNET_OK);
    assert_called(b, 2, "CLIENT_PING");
    assert_int_equal(b->http->n_requests, 3);
}

static void test_pings_are_a_second_apart(void **state)
{
    struct bench *b = *state;

    reply_dummy(b);
    reply_dummy(b);
    reply_dummy(b);
    reply_train(b);
    assert_int_equal(check_in(b), CYGNET_OK);
    assert_int_equal(b->clock.waited_ms, 3000);
    assert_int_equal(b->answer.waited_ms, 3000);
}

/* Each wait takes ten seconds here: six fit into the minute. */
static void be_slow(void *user)
{
    fake_clock_advance(user, 9000);
}

static void test_a_check_in_ends_without_an_event(void **state)
{
    struct bench *b = *state;

    b->clock.on_wait = be_slow;
    b->clock.user = &b->clock;
    for (int i = 0; i < 7; i++)
        reply_dummy(b);
    assert_int_equal(check_in(b), CYGNET_OK);
    assert_int_equal(b->http->n_requests, 7);
    assert_false(b->answer.has_task);
    assert_int_equal(b->answer.reason, CYGNET_RETRY_BUSY);
    assert_int_equal(b->answer.retry_max_s, 0);
}

/* ---- Events ---------------------------------------------------------------------- */

static void test_client_train_becomes_a_task(void **state)
{
    struct bench *b = *state;
    const cygnet_task *task = &b->answer.task;

    b->hello.last_round = 6;
    join(b);
    assert_int_equal(task->kind, CYGNET_TASK_TRAIN);
    assert_int_equal(task->round, 7);
    assert_string_equal(task->architecture, "logistic");
    assert_string_equal(task->codec, "weights");
    assert_int_equal(task->steps, 20);
    assert_int_equal(task->batch, 30);
    assert_int_equal(task->deadline_s, 600);
    assert_float_equal(task->lr, 0.05f, 1e-9);
    assert_float_equal(task->momentum, 0.9f, 0.0);
    assert_int_equal(strlen(task->token), 32);
}

static void test_fetch_gives_the_weights_that_came(void **state)
{
    struct bench *b = *state;
    cygnet_tensors *weights, *wanted;

    join(b);
    weights = fetched(b);
    assert_int_equal(cygnet_tensors_load(&wanted, GOLDEN_DIR "/weights.safetensors",
                                         1000000, NULL, NULL),
                     CYGNET_OK);
    for (size_t i = 0; i < small_layout.n; i++) {
        const cygnet_tensor *want =
            cygnet_tensors_find(wanted, small_layout.items[i].name);
        const cygnet_tensor *have = cygnet_tensors_at(weights, i);

        assert_string_equal(have->name, small_layout.items[i].name);
        assert_memory_equal(have->data, want->data, want->size_bytes);
    }
    cygnet_tensors_destroy(wanted);
    cygnet_tensors_destroy(weights);
}

static void test_model_test_becomes_an_evaluation(void **state)
{
    struct bench *b = *state;

    reply_dummy(b);
    reply_test(b, "weights_4.pickle");
    assert_int_equal(check_in(b), CYGNET_OK);
    assert_int_equal(b->answer.task.kind, CYGNET_TASK_EVALUATE);
    assert_string_equal(b->answer.task.collection, "test");
    cygnet_tensors_destroy(fetched(b));
}

/* Aggregators before the end of 2023. */
static void test_a_test_without_weights_is_of_the_last_ones(void **state)
{
    struct bench *b = *state;

    reply_dummy(b);
    reply_event(b, "update_model", "no_data.pickle", "weights_4.pickle");
    reply_test(b, "no_data.pickle");
    assert_int_equal(check_in(b), CYGNET_OK);
    assert_int_equal(b->answer.task.kind, CYGNET_TASK_EVALUATE);
    cygnet_tensors_destroy(fetched(b));
}

static void test_a_test_of_nothing_is_refused(void **state)
{
    struct bench *b = *state;

    reply_test(b, "no_data.pickle");
    assert_failed(check_in(b), CYGNET_EPROTOCOL, b->err, "no weights");
}

static void test_weights_of_another_model_are_refused_at_once(void **state)
{
    struct bench *b = *state;

    reply_event(b, "update_model", "no_data.pickle", "lr_weights_4.pickle");
    assert_failed(check_in(b), CYGNET_ESHAPE, b->err, "aggregator's weights");
}

static void test_an_unknown_event_is_passed_over(void **state)
{
    struct bench *b = *state;

    reply_event(b, "make_coffee", NULL, NULL);
    reply_train(b);
    assert_int_equal(check_in(b), CYGNET_OK);
    assert_true(b->answer.has_task);
}

static void test_terminate_ends_the_job(void **state)
{
    struct bench *b = *state;

    reply_dummy(b);
    reply_event(b, "terminate_executor", "lr_test_meta.pickle", "no_data.pickle");
    assert_int_equal(check_in(b), CYGNET_OK);
    assert_false(b->answer.has_task);
    assert_int_equal(b->answer.reason, CYGNET_RETRY_FINISHED);
}

static void test_an_aggregator_that_has_gone_ends_the_job(void **state)
{
    struct bench *b = *state;

    reply_dummy(b);
    for (int i = 0; i < 15; i++)
        fake_http_fail(b->http, CYGNET_ENETWORK);
    assert_int_equal(check_in(b), CYGNET_OK);
    assert_int_equal(b->answer.reason, CYGNET_RETRY_FINISHED);
    assert_in_range(b->clock.waited_ms, 10000, 13000);
}

static void test_one_that_was_never_there_is_an_error(void **state)
{
    struct bench *b = *state;

    fake_http_fail(b->http, CYGNET_ENETWORK);
    assert_int_equal(check_in(b), CYGNET_ENETWORK);
}

static void test_a_connection_lost_for_a_moment_is_no_end(void **state)
{
    struct bench *b = *state;

    reply_dummy(b);
    fake_http_fail(b->http, CYGNET_ENETWORK);
    fake_http_fail(b->http, CYGNET_ENETWORK);
    reply_train(b);
    assert_int_equal(check_in(b), CYGNET_OK);
    assert_true(b->answer.has_task);
}

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
    restart(b);
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
    restart(b);
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
    restart(b);
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
        restart(b);
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
    restart(b);
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

/* ---- Options --------------------------------------------------------------------------
 */

static cygnet_status create(struct bench *b, const char *url, const cygnet_job *with)
{
    const struct fedscale_config config = {.server_url = url,
                                           .http = &b->http->face,
                                           .store = &b->store.store,
                                           .job = with,
                                           .layout = small_layout,
                                           .clock = &b->clock.clock};
    cygnet_coordinator *c;
    cygnet_status st = fedscale_coordinator_create(&c, &config, &b->err);

    fedscale_coordinator_destroy(c);
    return st;
}

static void test_addresses(void **state)
{
    struct bench *b = *state;

    assert_true(fedscale_is_url("fedscale://h:1"));
    assert_true(fedscale_is_url("fedscales://h:1"));
    assert_false(fedscale_is_url("https://h:1"));
    assert_false(fedscale_is_url(NULL));
    assert_int_equal(create(b, "fedscales://h", &job), CYGNET_OK);
    assert_int_equal(create(b, "fedscale://[::1]:29500/", &job), CYGNET_OK);
    assert_failed(create(b, "fedscale://h:1/path", &job), CYGNET_EINVAL, b->err, "path");
    assert_failed(create(b, "fedscale://", &job), CYGNET_EINVAL, b->err, "server_url");
    assert_failed(create(b, "https://h", &job), CYGNET_EINVAL, b->err, "fedscale://");
    assert_failed(create(b, "fedscale://h:1", NULL), CYGNET_EINVAL, b->err, "job");
}

#define BENCH_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_it_pings_before_it_registers),
        BENCH_TEST(test_one_that_is_known_does_not_register_again),
        BENCH_TEST(test_too_few_examples_do_not_register),
        BENCH_TEST(test_an_unclear_registration_is_followed_by_a_ping),
        BENCH_TEST(test_pings_are_a_second_apart),
        BENCH_TEST(test_a_check_in_ends_without_an_event),
        BENCH_TEST(test_client_train_becomes_a_task),
        BENCH_TEST(test_fetch_gives_the_weights_that_came),
        BENCH_TEST(test_model_test_becomes_an_evaluation),
        BENCH_TEST(test_a_test_without_weights_is_of_the_last_ones),
        BENCH_TEST(test_a_test_of_nothing_is_refused),
        BENCH_TEST(test_weights_of_another_model_are_refused_at_once),
        BENCH_TEST(test_an_unknown_event_is_passed_over),
        BENCH_TEST(test_terminate_ends_the_job),
        BENCH_TEST(test_an_aggregator_that_has_gone_ends_the_job),
        BENCH_TEST(test_one_that_was_never_there_is_an_error),
        BENCH_TEST(test_a_connection_lost_for_a_moment_is_no_end),
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
        BENCH_TEST(test_addresses),
    };

    return cmocka_run_group_tests_name("transport fedscale", tests, NULL, NULL);
}
