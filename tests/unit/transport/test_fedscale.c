/* The FedScale dialect over a scripted HTTP stack: joining, and events that become
 * tasks. */
#include "fedscale_bench.h"

/* ---- Joining -------------------------------------------------------------------- */

static void test_it_pings_before_it_registers(void **state)
{
    struct bench *b = *state;

    bench_join(b);
    assert_int_equal(b->http->n_requests, 3);
    assert_called(b, 0, "CLIENT_PING");
    assert_called(b, 1, "CLIENT_REGISTER");
    assert_called(b, 2, "CLIENT_PING");
    assert_int_equal(b->http->requests[0].version, CYGNET_HTTP_2);
}

/* The wait before it, and the second before the ping behind it. */
static int64_t waited_to_join(struct bench *b, const char *id)
{
    int64_t before = b->clock.waited_ms;

    b->hello.client_id = id;
    bench_join(b);
    return b->clock.waited_ms - before - 1000;
}

static void test_clients_register_at_moments_of_their_own(void **state)
{
    struct bench *b = *state;
    int64_t one = waited_to_join(b, "one");
    int64_t other;

    bench_restart(b);
    memory_store_clear(&b->store);
    memory_store_init(&b->store);
    other = waited_to_join(b, "other");
    assert_in_range(one, 0, 999);
    assert_in_range(other, 0, 999);
    assert_int_not_equal(one, other);
}

static void test_one_that_is_known_does_not_register_again(void **state)
{
    struct bench *b = *state;

    reply_dummy(b);
    reply_train(b);
    assert_int_equal(bench_check_in(b), CYGNET_OK);
    assert_int_equal(b->http->n_requests, 2);
    assert_called(b, 1, "CLIENT_PING");
}

static void test_too_few_examples_do_not_register(void **state)
{
    struct bench *b = *state;

    b->hello.n_examples = 31;
    reply_unknown_client(b);
    assert_failed(bench_check_in(b), CYGNET_EDATA, b->err, "31 examples");
    assert_int_equal(b->http->n_requests, 1);
}

static void test_an_unclear_registration_is_followed_by_a_ping(void **state)
{
    struct bench *b = *state;

    reply_unknown_client(b);
    fake_http_fail(b->http, CYGNET_ETIMEOUT);
    assert_int_equal(bench_check_in(b), CYGNET_ETIMEOUT);
    reply_train(b);
    assert_int_equal(bench_check_in(b), CYGNET_OK);
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
    assert_int_equal(bench_check_in(b), CYGNET_OK);
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
    assert_int_equal(bench_check_in(b), CYGNET_OK);
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
    bench_join(b);
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

    bench_join(b);
    weights = bench_fetched(b);
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
    assert_int_equal(bench_check_in(b), CYGNET_OK);
    assert_int_equal(b->answer.task.kind, CYGNET_TASK_EVALUATE);
    assert_string_equal(b->answer.task.collection, "test");
    cygnet_tensors_destroy(bench_fetched(b));
}

/* Aggregators before the end of 2023. */
static void test_a_test_without_weights_is_of_the_last_ones(void **state)
{
    struct bench *b = *state;

    reply_dummy(b);
    reply_event(b, "update_model", "no_data.pickle", "weights_4.pickle");
    reply_test(b, "no_data.pickle");
    assert_int_equal(bench_check_in(b), CYGNET_OK);
    assert_int_equal(b->answer.task.kind, CYGNET_TASK_EVALUATE);
    cygnet_tensors_destroy(bench_fetched(b));
}

static void test_a_test_of_nothing_is_refused(void **state)
{
    struct bench *b = *state;

    reply_test(b, "no_data.pickle");
    assert_failed(bench_check_in(b), CYGNET_EPROTOCOL, b->err, "no weights");
}

static void test_weights_of_another_model_are_refused_at_once(void **state)
{
    struct bench *b = *state;

    reply_event(b, "update_model", "no_data.pickle", "lr_weights_4.pickle");
    assert_failed(bench_check_in(b), CYGNET_ESHAPE, b->err, "aggregator's weights");
}

static void test_an_unknown_event_is_passed_over(void **state)
{
    struct bench *b = *state;

    reply_event(b, "make_coffee", NULL, NULL);
    reply_train(b);
    assert_int_equal(bench_check_in(b), CYGNET_OK);
    assert_true(b->answer.has_task);
}

static void test_the_largest_limit_lets_everything_through(void **state)
{
    struct bench *b = *state;

    b->max_model_bytes = UINT64_MAX;
    bench_restart(b);
    reply_long_dummy(b, 3000000);
    reply_train(b);
    assert_int_equal(bench_check_in(b), CYGNET_OK);
    cygnet_tensors_destroy(bench_fetched(b));
    b->max_model_bytes = 1000000;
    bench_restart(b);
    reply_long_dummy(b, 3000000);
    assert_int_equal(bench_check_in(b), CYGNET_ELIMIT);
}

static void test_terminate_ends_the_job(void **state)
{
    struct bench *b = *state;

    reply_dummy(b);
    reply_event(b, "terminate_executor", "lr_test_meta.pickle", "no_data.pickle");
    assert_int_equal(bench_check_in(b), CYGNET_OK);
    assert_false(b->answer.has_task);
    assert_int_equal(b->answer.reason, CYGNET_RETRY_FINISHED);
}

static void test_an_aggregator_that_has_gone_ends_the_job(void **state)
{
    struct bench *b = *state;

    reply_dummy(b);
    for (int i = 0; i < 15; i++)
        fake_http_fail(b->http, CYGNET_ENETWORK);
    assert_int_equal(bench_check_in(b), CYGNET_OK);
    assert_int_equal(b->answer.reason, CYGNET_RETRY_FINISHED);
    assert_in_range(b->clock.waited_ms, 10000, 13000);
}

static void test_one_that_was_never_there_is_an_error(void **state)
{
    struct bench *b = *state;

    fake_http_fail(b->http, CYGNET_ENETWORK);
    assert_int_equal(bench_check_in(b), CYGNET_ENETWORK);
}

static void test_a_connection_lost_for_a_moment_is_no_end(void **state)
{
    struct bench *b = *state;

    reply_dummy(b);
    fake_http_fail(b->http, CYGNET_ENETWORK);
    fake_http_fail(b->http, CYGNET_ENETWORK);
    reply_train(b);
    assert_int_equal(bench_check_in(b), CYGNET_OK);
    assert_true(b->answer.has_task);
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
    assert_int_equal(create(b, "fedscales://h", &bench_job), CYGNET_OK);
    assert_int_equal(create(b, "fedscale://[::1]:29500/", &bench_job), CYGNET_OK);
    assert_failed(create(b, "fedscale://h:1/path", &bench_job), CYGNET_EINVAL, b->err,
                  "path");
    assert_failed(create(b, "fedscale://", &bench_job), CYGNET_EINVAL, b->err,
                  "server_url");
    assert_failed(create(b, "https://h", &bench_job), CYGNET_EINVAL, b->err,
                  "fedscale://");
    assert_failed(create(b, "fedscale://h:1", NULL), CYGNET_EINVAL, b->err, "job");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_it_pings_before_it_registers),
        BENCH_TEST(test_clients_register_at_moments_of_their_own),
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
        BENCH_TEST(test_the_largest_limit_lets_everything_through),
        BENCH_TEST(test_terminate_ends_the_job),
        BENCH_TEST(test_an_aggregator_that_has_gone_ends_the_job),
        BENCH_TEST(test_one_that_was_never_there_is_an_error),
        BENCH_TEST(test_a_connection_lost_for_a_moment_is_no_end),
        BENCH_TEST(test_addresses),
    };

    return cmocka_run_group_tests_name("transport fedscale", tests, NULL, NULL);
}
