/* What local training measures for a coordinator's choice of participants, what of an
 * epoch models with batch norms see, and what is told before the first check-in. */
#include "engine/nn/model.h"
#include "fl/journal.h"
#include "tests/unit/fl/bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#define COUNT "bn1.num_batches_tracked"

static void assert_completes(struct bench *b)
{
    cygnet_status st = bench_run(b);

    if (st != CYGNET_OK)
        print_error("%s\n", b->err.message);
    assert_int_equal(st, CYGNET_OK);
    assert_int_equal(b->report.outcome, CYGNET_OUTCOME_COMPLETED);
}

/* ---- Metrics ----------------------------------------------------------------- */

/* One run of so many steps on a bench of its own. */
static cygnet_round_report metrics_of(uint32_t batch, uint32_t steps)
{
    struct bench *b = bench_create();
    cygnet_round_report metrics;

    assert_non_null(b);
    b->coordinator.task.batch = batch;
    b->coordinator.task.steps = steps;
    assert_completes(b);
    metrics = b->coordinator.last_metrics;
    assert_int_equal(metrics.outcome, CYGNET_OUTCOME_NONE);
    assert_string_equal(metrics.reason, "");
    assert_true(b->coordinator.last_report.moving_loss == metrics.moving_loss);
    assert_true(b->coordinator.last_report.last_loss_squared ==
                metrics.last_loss_squared);
    assert_int_equal(b->coordinator.last_report.unique_examples, metrics.unique_examples);
    bench_destroy(b);
    return metrics;
}

/* The order is that of the seed, so shorter trainings are the beginnings of longer
 * ones: with batches of 10 out of 20 examples, a second step's loss is what is left of
 * the epoch's mean. */
static void test_the_moving_loss_is_of_the_first_epoch_s_steps(void **state)
{
    cygnet_round_report one = metrics_of(10, 1);
    cygnet_round_report two = metrics_of(10, 2);
    cygnet_round_report five = metrics_of(10, 5);
    double second = 2.0 * two.loss_first - one.moving_loss;

    (void)state;
    assert_true(one.moving_loss == one.loss_first);
    assert_true(fabs(two.moving_loss - (0.8 * one.moving_loss + 0.2 * second)) < 1e-12);
    assert_true(fabs(second - one.moving_loss) > 1e-6);
    assert_true(five.moving_loss == two.moving_loss);
}

static void test_the_last_squared_loss_is_of_the_last_step_s_batch(void **state)
{
    cygnet_round_report whole = metrics_of(20, 3);
    cygnet_round_report one = metrics_of(10, 1);
    cygnet_round_report two = metrics_of(10, 2);
    double mean = pow(two.utility / 20.0, 2.0); /* over both batches of the epoch */

    (void)state;
    assert_true(fabs(whole.last_loss_squared - pow(whole.utility / 20.0, 2.0)) < 1e-12);
    assert_true(fabs(two.last_loss_squared - (2.0 * mean - one.last_loss_squared)) <
                1e-12);
}

static void test_unique_examples_are_bounded_by_steps_and_by_data(void **state)
{
    (void)state;
    assert_int_equal(metrics_of(8, 1).unique_examples, 8);
    assert_int_equal(metrics_of(8, 2).unique_examples, 16);
    assert_int_equal(metrics_of(8, 3).unique_examples, 20);
    assert_int_equal(metrics_of(8, 30).unique_examples, 20);
    assert_int_equal(metrics_of(30, 2).unique_examples, 20);
}

/* The metrics go with the update, also when another process sends it. */
struct kill {
    struct bench *b;
    struct memory_store kept;
};

static void kill_when_encoded(cygnet_phase phase, void *user)
{
    struct kill *k = user;

    if (phase != CYGNET_PHASE_ENCODED)
        return;
    memory_store_copy(&k->kept, &k->b->store);
    k->b->coordinator.dead = 1;
}

static void test_the_metrics_survive_a_kill(void **state)
{
    struct bench *b = *state;
    struct kill k = {.b = b};
    cygnet_round_report expected = metrics_of(8, 4);

    memory_store_init(&k.kept);
    b->coordinator.task.steps = 4;
    b->host.on_phase = kill_when_encoded;
    b->host.user = &k;
    (void)bench_run(b);
    b->host.on_phase = NULL;
    b->coordinator.dead = 0;
    memory_store_copy(&b->store, &k.kept);
    memory_store_clear(&k.kept);
    assert_int_equal(bench_restart(b), CYGNET_OK);
    assert_completes(b);
    assert_true(b->coordinator.last_metrics.moving_loss == expected.moving_loss);
    assert_true(b->coordinator.last_metrics.last_loss_squared ==
                expected.last_loss_squared);
    assert_int_equal(b->coordinator.last_metrics.unique_examples, 20);
    assert_int_equal(b->coordinator.last_metrics.steps, 4);
}

/* ---- Batch norms ------------------------------------------------------------- */

/* A DS-CNN on 1x1 maps: a batch of one example has no variance. */
static void use_batch_norms(struct bench *b)
{
    cygnet_task *task = &b->coordinator.task;
    cygnet_model_options options;
    cygnet_model *model;

    memcpy(task->architecture, "ds_cnn:channels=4,layers=1", 27);
    task->n_classes = 2;
    task->n_input_dims = 3;
    task->input[0] = task->input[1] = 1;
    task->input[2] = 2;
    b->host.n_inputs = b->host.n_classes = 2;
    cygnet_model_options_init(&options);
    options.architecture = task->architecture;
    options.n_classes = task->n_classes;
    options.n_input_dims = task->n_input_dims;
    memcpy(options.input, task->input, sizeof(options.input));
    assert_int_equal(model_create(&model, &options, &nn_serial_executor, &b->err),
                     CYGNET_OK);
    cygnet_tensors_destroy(b->weights);
    assert_int_equal(cygnet_model_get_weights(&b->weights, model, NULL), CYGNET_OK);
    cygnet_model_destroy(model);
    b->coordinator.weights = b->weights;
}

/* What the update on disk says of the number of batches, when it is there. */
struct counting {
    struct bench *b;
    int64_t n_batches;
};

static void read_count(cygnet_phase phase, void *user)
{
    struct counting *c = user;
    const struct memory_file *file;
    cygnet_tensors *deltas;

    if (phase != CYGNET_PHASE_ENCODED)
        return;
    file = memory_store_find(&c->b->store, UPDATE_FILE);
    assert_int_equal(cygnet_update_decode(&deltas, NULL, file->data, file->len,
                                          c->b->weights, NULL, &c->b->err),
                     CYGNET_OK);
    memcpy(&c->n_batches, cygnet_tensors_find(deltas, COUNT)->data, sizeof(c->n_batches));
    cygnet_tensors_destroy(deltas);
}

static int64_t batches_of_a_round(struct bench *b)
{
    struct counting c = {.b = b};

    b->host.on_phase = read_count;
    b->host.user = &c;
    assert_completes(b);
    return c.n_batches;
}

static void test_counted_batches_travel_in_every_codec(void **state)
{
    struct bench *b = *state;

    use_batch_norms(b);
    for (uint32_t i = 0; cygnet_update_codec_name(i); i++) {
        memcpy(b->coordinator.task.codec, cygnet_update_codec_name(i),
               strlen(cygnet_update_codec_name(i)) + 1);
        assert_int_equal(batches_of_a_round(b), 3);
    }
}

static void test_batch_norms_leave_out_a_last_batch_of_one(void **state)
{
    struct bench *b = *state;

    use_batch_norms(b);
    b->host.n_examples = 17;
    b->coordinator.task.epochs = 2;
    assert_int_equal(batches_of_a_round(b), 4);
    assert_int_equal(b->report.examples, 16);
    assert_int_equal(b->report.step, 4);
    assert_int_equal(b->report.n_steps, 4);
    b->host.n_examples = 18;
    assert_int_equal(batches_of_a_round(b), 6);
    assert_int_equal(b->report.examples, 18);
}

static void test_other_models_train_on_a_last_batch_of_one(void **state)
{
    struct bench *b = *state;

    b->host.n_examples = 17;
    assert_completes(b);
    assert_int_equal(b->report.examples, 17);
    assert_int_equal(b->report.step, 3);
}

/* ---- Before the first check-in ------------------------------------------------ */

static void test_examples_are_counted_once_where_the_coordinator_asks(void **state)
{
    struct bench *b = *state;

    b->coordinator.coordinator.min_examples = 20;
    b->config.collection = "mine";
    b->coordinator.no_task = 1;
    assert_int_equal(bench_run(b), CYGNET_OK);
    assert_int_equal(b->coordinator.last_hello.n_examples, 20);
    assert_string_equal(b->host.collection, "mine");
    assert_int_equal(b->host.n_open, 0);
    b->coordinator.no_task = 0;
    assert_completes(b);
    assert_int_equal(b->host.n_opens, 2); /* to count, and to train */
}

static void test_too_few_examples_are_refused_before_the_check_in(void **state)
{
    struct bench *b = *state;

    b->coordinator.coordinator.min_examples = 21;
    assert_int_equal(bench_run(b), CYGNET_EDATA);
    assert_string_equal(b->err.message, "the coordinator takes devices with 21 examples "
                                        "or more; collection \"\" has 20");
    assert_int_equal(b->coordinator.n_calls, 0);
    assert_int_equal(b->host.n_open, 0);
    b->host.n_examples = 21; /* the user has made one more */
    assert_completes(b);
}

static void test_a_dialect_of_an_older_header_asks_for_no_count(void **state)
{
    struct bench *b = *state;

    b->coordinator.coordinator.min_examples = 21;
    b->coordinator.coordinator.struct_size = offsetof(cygnet_coordinator, min_examples);
    assert_completes(b);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_moving_loss_is_of_the_first_epoch_s_steps),
        TEST(test_the_last_squared_loss_is_of_the_last_step_s_batch),
        TEST(test_unique_examples_are_bounded_by_steps_and_by_data),
        TEST(test_the_metrics_survive_a_kill),
        TEST(test_counted_batches_travel_in_every_codec),
        TEST(test_batch_norms_leave_out_a_last_batch_of_one),
        TEST(test_other_models_train_on_a_last_batch_of_one),
        TEST(test_examples_are_counted_once_where_the_coordinator_asks),
        TEST(test_too_few_examples_are_refused_before_the_check_in),
        TEST(test_a_dialect_of_an_older_header_asks_for_no_count),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
