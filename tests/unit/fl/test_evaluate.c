/* Tasks that ask how good the weights are, not for an update. */
#include "base/stop.h"
#include "engine/nn/model.h"
#include "engine/swan/swan.h"
#include "fl/journal.h"
#include "tests/unit/fl/bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

static int setup(void **state)
{
    struct bench *b = bench_create();

    *state = b;
    if (!b)
        return -1;
    b->coordinator.task.kind = CYGNET_TASK_EVALUATE;
    b->coordinator.task.epochs = 0;
    memcpy(b->coordinator.task.codec, "", 1);
    memcpy(b->coordinator.task.collection, "test", 5);
    return 0;
}

static void assert_ended(struct bench *b, cygnet_status status, cygnet_outcome outcome)
{
    cygnet_status st = bench_run(b);

    if (st != status)
        print_error("%s\n", b->err.message);
    assert_int_equal(st, status);
    assert_int_equal(b->report.outcome, outcome);
    assert_int_equal(b->host.n_open, 0);
    assert_int_equal(b->coordinator.upload.n_calls, 0);
    assert_null(memory_store_find(&b->store, "update"));
}

static int n_evaluated(const struct bench *b)
{
    int sum = 0;

    for (int t = 0; t < FAKE_TOKENS; t++)
        sum += b->coordinator.evaluated[t];
    return sum;
}

/* What the engine says of the bench's weights on the fake host's data. */
static cygnet_metrics engine_metrics(struct bench *b)
{
    enum { N = 20, INPUTS = 6 };
    const cygnet_task *task = &b->coordinator.task;
    cygnet_metrics metrics = {.struct_size = sizeof(metrics)};
    cygnet_model_options options;
    cygnet_dataset_info info = {.struct_size = sizeof(info)};
    float x[N * INPUTS];
    int64_t y[N];
    uint64_t rows[N];
    const cygnet_column columns[2] = {
        {.name = "x", .dtype = CYGNET_F32, .n_dims = 1, .row_shape = {INPUTS}, .data = x},
        {.name = "y", .dtype = CYGNET_I64, .data = y}};
    const cygnet_batch batch = {sizeof(batch), N, 2, columns};
    const cygnet_host *host = &b->host.host;
    cygnet_model *model;
    void *cursor;

    for (uint64_t i = 0; i < N; i++)
        rows[i] = i;
    assert_int_equal(host->data_open(&cursor, &info, "", "", host->user), 0);
    assert_int_equal(host->data_read(cursor, rows, &batch, host->user), 0);
    host->data_close(cursor, host->user);
    cygnet_model_options_init(&options);
    options.architecture = task->architecture;
    options.n_classes = task->n_classes;
    options.n_input_dims = task->n_input_dims;
    options.input[0] = task->input[0];
    assert_int_equal(model_create(&model, &options, &nn_serial_executor, NULL),
                     CYGNET_OK);
    assert_int_equal(cygnet_model_set_weights(model, b->weights, NULL), CYGNET_OK);
    assert_int_equal(cygnet_model_evaluate(model, &metrics, x, y, N, NULL), CYGNET_OK);
    cygnet_model_destroy(model);
    return metrics;
}

/* ---- What is found ----------------------------------------------------------- */

static void test_an_evaluation_reports_what_the_engine_measures(void **state)
{
    static const cygnet_phase order[] = {
        CYGNET_PHASE_ELIGIBLE, CYGNET_PHASE_CHECKED_IN, CYGNET_PHASE_ASSIGNED,
        CYGNET_PHASE_FETCHED,  CYGNET_PHASE_TRAINING,   CYGNET_PHASE_TRAINED,
        CYGNET_PHASE_ENCODED,  CYGNET_PHASE_UPLOADING,  CYGNET_PHASE_REPORTED,
        CYGNET_PHASE_IDLE,
    };
    struct bench *b = *state;
    const cygnet_round_report *r = &b->coordinator.last_report;
    cygnet_metrics expected = engine_metrics(b);

    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_EVALUATED);
    assert_int_equal(b->host.n_phases, sizeof(order) / sizeof(order[0]));
    assert_memory_equal(b->host.phases, order, sizeof(order));
    assert_string_equal(b->host.collection, "test");
    assert_int_equal(n_evaluated(b), 1);
    assert_int_equal(b->coordinator.report.n_calls, 1);
    assert_int_equal(r->outcome, CYGNET_OUTCOME_EVALUATED);
    assert_int_equal(r->examples, 20);
    assert_int_equal(r->steps, 0);
    /* The engine's is a mean of float losses. */
    assert_true(fabs(r->loss_sum - 20.0 * expected.loss) <
                20.0 * expected.loss * 4.0 * (double)1.2e-7f);
    assert_int_equal(r->top_1, expected.correct);
    assert_int_equal(r->top_5, 20); /* of three classes */
    assert_true(r->accuracy == (double)expected.correct / 20.0);
    assert_true(isnan(r->moving_loss));
    assert_int_equal(b->report.examples, 20);
    assert_int_equal(b->report.step, 3);
    assert_true(b->report.loss_last == r->loss_sum / 20.0);
}

/* Weights of which everything but the biases is zero: each example's outputs are the
 * biases, and how often a label is among the first is a matter of counting. */
static void set_biases(struct bench *b, const float *biases, size_t n)
{
    for (size_t i = 0; i < cygnet_tensors_count(b->weights); i++) {
        const cygnet_tensor *t = cygnet_tensors_at(b->weights, i);

        memset(t->data, 0, (size_t)t->size_bytes);
        if (t->n_dims == 1 && t->shape[0] == n)
            memcpy(t->data, biases, n * sizeof(float));
    }
}

static void test_ties_go_to_the_lower_class(void **state)
{
    static const float equal[3] = {1.0f, 1.0f, 1.0f};
    static const float last[3] = {0.0f, 0.0f, 2.0f};
    struct bench *b = *state;
    cygnet_metrics expected;

    set_biases(b, equal, 3);
    expected = engine_metrics(b);
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_EVALUATED);
    assert_int_equal(b->coordinator.last_report.top_1, expected.correct);
    assert_true(fabs(b->coordinator.last_report.loss_sum - 20.0 * log(3.0)) < 1e-12);
    set_biases(b, last, 3);
    expected = engine_metrics(b);
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_EVALUATED);
    assert_int_equal(b->coordinator.last_report.top_1, expected.correct);
}

static cygnet_tensors *model_weights(const cygnet_task *task)
{
    cygnet_model_options options;
    cygnet_tensors *weights;
    cygnet_model *model;

    cygnet_model_options_init(&options);
    options.architecture = task->architecture;
    options.n_classes = task->n_classes;
    options.n_input_dims = task->n_input_dims;
    options.input[0] = task->input[0];
    assert_int_equal(model_create(&model, &options, &nn_serial_executor, NULL),
                     CYGNET_OK);
    assert_int_equal(cygnet_model_get_weights(&weights, model, NULL), CYGNET_OK);
    cygnet_model_destroy(model);
    return weights;
}

static void test_the_five_largest_outputs_count_as_top_five(void **state)
{
    /* By size: classes 6, 5, 4, 3, 2, then 1, then 0. */
    static const float biases[7] = {0.0f, 1.0f, 2.0f, 3.0f, 4.0f, 5.0f, 6.0f};
    struct bench *b = *state;
    uint64_t in_five = 0, first = 0;

    cygnet_tensors_destroy(b->weights);
    b->host.n_inputs = b->host.n_classes = 7;
    b->coordinator.task.n_classes = b->coordinator.task.input[0] = 7;
    b->coordinator.weights = b->weights = model_weights(&b->coordinator.task);
    set_biases(b, biases, 7);
    for (uint64_t i = 0; i < b->host.n_examples; i++) {
        int64_t label = fake_host_label(&b->host, i);

        in_five += label >= 2;
        first += label == 6;
    }
    assert_true(in_five > 0 && in_five < 20 && first < in_five);
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_EVALUATED);
    assert_int_equal(b->coordinator.last_report.top_1, first);
    assert_int_equal(b->coordinator.last_report.top_5, in_five);
}

static void test_max_examples_bounds_an_evaluation(void **state)
{
    struct bench *b = *state;

    b->coordinator.task.max_examples = 11;
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_EVALUATED);
    assert_int_equal(b->coordinator.last_report.examples, 11);
    assert_int_equal(b->report.step, 2);
}

static void test_an_evaluation_is_not_told_as_the_last_round(void **state)
{
    struct bench *b = *state;

    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_EVALUATED);
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_EVALUATED);
    assert_int_equal(b->coordinator.last_hello.last_round, 0);
}

/* Steps of an evaluation are remembered apart from training's. */
static void test_the_engine_evaluates_with_the_same_result(void **state)
{
    struct bench *b = *state;
    struct swan_options options = {.root = "/", .max_threads = 2, .engine = "test"};
    cygnet_round_report alone;
    struct swan *swan;

    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_EVALUATED);
    alone = b->coordinator.last_report;
    assert_int_equal(swan_create(&swan, &options, NULL), CYGNET_OK);
    b->config.swan = swan;
    b->config.executor = swan_executor(swan);
    assert_int_equal(bench_restart(b), CYGNET_OK);
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_EVALUATED);
    assert_true(b->coordinator.last_report.loss_sum == alone.loss_sum);
    assert_int_equal(b->coordinator.last_report.top_1, alone.top_1);
    assert_non_null(memory_store_find(&b->store, EVALUATE_PROFILE_FILE));
    assert_null(memory_store_find(&b->store, PROFILE_FILE));
    participant_destroy(b->p);
    b->p = NULL;
    swan_destroy(swan);
}

/* ---- What goes wrong --------------------------------------------------------- */

static void test_bad_data_ends_an_evaluation_and_stays_private(void **state)
{
    struct bench *b = *state;

    b->host.bad_label_at = 13;
    assert_ended(b, CYGNET_EDATA, CYGNET_OUTCOME_FAILED);
    assert_non_null(strstr(b->err.message, "example 14 has label 3"));
    assert_null(strstr(b->coordinator.last_reason, "14"));
    b->host.bad_label_at = -1;
    b->host.nan_at = 2;
    assert_ended(b, CYGNET_ENUMERIC, CYGNET_OUTCOME_FAILED);
    b->host.nan_at = -1;
    b->host.read_code = -7;
    assert_ended(b, CYGNET_EHOST, CYGNET_OUTCOME_FAILED);
    assert_int_equal(n_evaluated(b), 0);
}

static void test_outputs_at_the_end_of_float_are_summed_in_double(void **state)
{
    static const float far[3] = {0.0f, 3e38f, -3e38f};
    struct bench *b = *state;

    set_biases(b, far, 3);
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_EVALUATED);
    assert_true(isfinite(b->coordinator.last_report.loss_sum));
}

static void test_a_dialect_without_reports_cannot_ask_for_an_evaluation(void **state)
{
    struct bench *b = *state;

    b->coordinator.coordinator.report = NULL;
    assert_ended(b, CYGNET_EUNSUPPORTED, CYGNET_OUTCOME_FAILED);
    assert_int_equal(b->coordinator.fetch.n_calls, 0);
}

static void lose_power(void *user)
{
    ((struct bench *)user)->host.device.charging = CYGNET_FALSE;
}

static void test_losing_power_interrupts_an_evaluation(void **state)
{
    struct bench *b = *state;

    b->host.on_read = lose_power;
    b->host.user = b;
    b->host.ms_per_read = 1500;
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_INTERRUPTED);
    assert_string_equal(b->report.message, "charging is required and is false");
    assert_int_equal(b->host.n_reads, 1);
    assert_int_equal(n_evaluated(b), 0);
    assert_int_equal(b->coordinator.last_report.outcome, CYGNET_OUTCOME_INTERRUPTED);
}

static void test_an_evaluation_out_of_time_is_given_up(void **state)
{
    struct bench *b = *state;

    b->coordinator.task.deadline_s = 10;
    b->host.ms_per_read = 6000;
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_ABORTED);
    assert_string_equal(b->report.message, "no time is left before the deadline");
    assert_int_equal(n_evaluated(b), 0);
}

static void test_the_deadline_counts_from_the_task_a_dialect_waited_for(void **state)
{
    struct bench *b = *state;

    b->coordinator.task.deadline_s = 10;
    b->coordinator.waited_ms = 60000;
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_EVALUATED);
}

static void stop_now(void *user)
{
    stop_set(&((struct bench *)user)->stop);
}

static void test_a_cancelled_evaluation_is_reported_by_the_next_run(void **state)
{
    struct bench *b = *state;

    b->host.on_read = stop_now;
    b->host.user = b;
    assert_ended(b, CYGNET_ECANCELLED, CYGNET_OUTCOME_INTERRUPTED);
    stop_clear(&b->stop);
    b->host.on_read = NULL;
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_EVALUATED);
    assert_int_equal(b->coordinator.reported[1], 1);
    assert_int_equal(b->coordinator.evaluated[1], 0);
    assert_int_equal(b->coordinator.evaluated[2], 1);
}

/* ---- Sending, killed, at most once -------------------------------------------- */

static void test_results_are_sent_until_they_are_received(void **state)
{
    struct bench *b = *state;

    b->coordinator.report.status[0] = CYGNET_ENETWORK;
    b->coordinator.report.status[1] = CYGNET_ESERVER;
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_EVALUATED);
    assert_int_equal(n_evaluated(b), 1);
    assert_int_equal(b->coordinator.report.n_calls, 3);
}

static void test_at_most_once_results_are_never_sent_again(void **state)
{
    struct bench *b = *state;

    b->coordinator.coordinator.delivery = CYGNET_DELIVERY_AT_MOST_ONCE;
    b->coordinator.report.lost = 1;
    b->coordinator.report.status[0] = CYGNET_ENETWORK;
    assert_ended(b, CYGNET_ENETWORK, CYGNET_OUTCOME_FAILED);
    assert_non_null(strstr(b->report.message, "whether it was received is not known"));
    assert_int_equal(b->coordinator.evaluated[1], 1);
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_EVALUATED);
    assert_int_equal(b->coordinator.evaluated[1], 1);
    assert_int_equal(b->coordinator.evaluated[2], 1);
}

struct kill {
    struct bench *b;
    cygnet_phase when;
    struct memory_store kept;
};

static void kill_at(cygnet_phase phase, void *user)
{
    struct kill *k = user;

    if (phase != k->when || k->b->coordinator.dead)
        return;
    memory_store_copy(&k->kept, &k->b->store);
    k->b->coordinator.dead = 1;
}

/* A process that ends in a phase, and the next one on what it left. */
static void run_killed_at(struct bench *b, cygnet_phase when)
{
    struct kill k = {.b = b, .when = when};

    memory_store_init(&k.kept);
    b->host.on_phase = kill_at;
    b->host.user = &k;
    (void)bench_run(b);
    assert_int_equal(b->coordinator.dead, 1);
    b->host.on_phase = NULL;
    b->coordinator.dead = 0;
    memory_store_copy(&b->store, &k.kept);
    memory_store_clear(&k.kept);
    assert_int_equal(bench_restart(b), CYGNET_OK);
}

static void test_results_that_a_kill_left_are_sent_without_evaluating_again(void **state)
{
    struct bench *b = *state;
    cygnet_round_report first;

    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_EVALUATED);
    first = b->coordinator.last_report;
    run_killed_at(b, CYGNET_PHASE_ENCODED);
    b->host.n_reads = 0;
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_EVALUATED);
    assert_int_equal(b->host.n_reads, 0);
    assert_int_equal(b->coordinator.evaluated[2], 1);
    assert_int_equal(b->coordinator.last_report.examples, 20);
    assert_int_equal(b->coordinator.last_report.top_1, first.top_1);
    assert_int_equal(b->coordinator.last_report.top_5, first.top_5);
    assert_true(b->coordinator.last_report.loss_sum == first.loss_sum);
}

static void test_a_kill_while_evaluating_is_reported(void **state)
{
    struct bench *b = *state;

    run_killed_at(b, CYGNET_PHASE_TRAINING);
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_EVALUATED);
    assert_int_equal(b->coordinator.reported[1], 1);
    assert_int_equal(b->coordinator.evaluated[1], 0);
    assert_int_equal(b->coordinator.evaluated[2], 1);
}

static void test_a_kill_while_sending_sends_again_only_where_that_is_harmless(
    void **state)
{
    struct bench *b = *state;

    run_killed_at(b, CYGNET_PHASE_UPLOADING);
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_EVALUATED);
    assert_int_equal(b->coordinator.evaluated[1], 1);

    b->coordinator.coordinator.delivery = CYGNET_DELIVERY_AT_MOST_ONCE;
    run_killed_at(b, CYGNET_PHASE_UPLOADING);
    assert_ended(b, CYGNET_OK, CYGNET_OUTCOME_EVALUATED);
    assert_int_equal(b->coordinator.evaluated[2], 0);
    assert_int_equal(b->coordinator.reported[2], 1);
    assert_int_equal(b->coordinator.evaluated[3], 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, bench_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_an_evaluation_reports_what_the_engine_measures),
        TEST(test_ties_go_to_the_lower_class),
        TEST(test_the_five_largest_outputs_count_as_top_five),
        TEST(test_max_examples_bounds_an_evaluation),
        TEST(test_an_evaluation_is_not_told_as_the_last_round),
        TEST(test_the_engine_evaluates_with_the_same_result),
        TEST(test_bad_data_ends_an_evaluation_and_stays_private),
        TEST(test_outputs_at_the_end_of_float_are_summed_in_double),
        TEST(test_a_dialect_without_reports_cannot_ask_for_an_evaluation),
        TEST(test_losing_power_interrupts_an_evaluation),
        TEST(test_an_evaluation_out_of_time_is_given_up),
        TEST(test_the_deadline_counts_from_the_task_a_dialect_waited_for),
        TEST(test_a_cancelled_evaluation_is_reported_by_the_next_run),
        TEST(test_results_are_sent_until_they_are_received),
        TEST(test_at_most_once_results_are_never_sent_again),
        TEST(test_results_that_a_kill_left_are_sent_without_evaluating_again),
        TEST(test_a_kill_while_evaluating_is_reported),
        TEST(test_a_kill_while_sending_sends_again_only_where_that_is_harmless),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
