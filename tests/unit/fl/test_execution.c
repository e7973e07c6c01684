/* What a task says of its execution: it reaches the engine where the app leaves the
 * choice to it, and its energy budget makes the app's only stricter. */
#include "base/json.h"
#include "tests/unit/fl/bench.h"

#include "engine/swan/swan.h"
#include "fl/journal.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

static void make_engine(struct bench *b, cygnet_policy policy)
{
    const struct swan_options options = {
        .root = "/",
        .policy = policy,
        .max_threads = 1,
        .engine = "test",
    };

    assert_int_equal(swan_create(&b->config.swan, &options, NULL), CYGNET_OK);
    b->config.executor = swan_executor(b->config.swan);
}

static void free_engine(struct bench *b)
{
    participant_destroy(b->p);
    b->p = NULL;
    swan_destroy(b->config.swan);
}

/* A round, after which the engine's own explanation names the policy. */
static void check_round(struct bench *b, const char *policy)
{
    const struct memory_file *file;
    struct json *document;

    assert_int_equal(bench_run(b), CYGNET_OK);
    assert_int_equal(b->report.outcome, CYGNET_OUTCOME_COMPLETED);
    file = memory_store_find(&b->store, EXPLAIN_FILE);
    assert_non_null(file);
    assert_int_equal(json_parse(&document, file->data, file->len, &JSON_DEFAULT_LIMITS,
                                NULL),
                     CYGNET_OK);
    assert_string_equal(json_text(json_member(document, "policy"), ""), policy);
    json_destroy(document);
}

static void test_each_task_s_policy_holds_for_its_round(void **state)
{
    struct bench *b = *state;

    make_engine(b, CYGNET_POLICY_TASK);
    b->coordinator.task.policy = CYGNET_POLICY_EFFICIENT;
    check_round(b, "efficient");
    b->coordinator.task.policy = CYGNET_POLICY_FIXED;
    check_round(b, "fixed");
    b->coordinator.task.policy = CYGNET_POLICY_SWAN;
    check_round(b, "swan");
    free_engine(b);
}

static void test_the_app_s_policy_goes_first(void **state)
{
    struct bench *b = *state;

    make_engine(b, CYGNET_POLICY_GREEDY);
    b->coordinator.task.policy = CYGNET_POLICY_EFFICIENT;
    check_round(b, "greedy");
    free_engine(b);
}

static void test_a_task_s_policy_outlives_a_restart(void **state)
{
    struct bench *b = *state;

    make_engine(b, CYGNET_POLICY_TASK);
    b->coordinator.task.policy = CYGNET_POLICY_EFFICIENT;
    assert_int_equal(bench_restart(b), CYGNET_OK);
    assert_int_equal(participant_check_in(b->p, &b->report, &b->err), CYGNET_OK);
    b->coordinator.task.policy = CYGNET_POLICY_SWAN; /* of another task */
    assert_int_equal(bench_restart(b), CYGNET_OK);
    check_round(b, "efficient");
    assert_int_equal(b->coordinator.n_tasks, 1);
    free_engine(b);
}

static void test_of_two_budgets_the_stricter_holds(void **state)
{
    struct supply supply = {.budget_mj = 0};

    (void)state;
    assert_true(isinf(supply_budget_mj(&supply)));
    supply_limit(&supply, 70);
    assert_true(supply_budget_mj(&supply) == 70);
    supply.budget_mj = 50;
    assert_true(supply_budget_mj(&supply) == 50);
    supply.budget_mj = 90;
    assert_true(supply_budget_mj(&supply) == 70);
    supply_limit(&supply, 0);
    assert_true(supply_budget_mj(&supply) == 90);
    supply_limit(NULL, 70);
    assert_true(isinf(supply_budget_mj(NULL)));
}

/* A meter by which the budget is spent at the fifth step. */
static void draw(struct swan_draw *out, void *user)
{
    const struct bench *b = user;

    *out = (struct swan_draw){.step_mj = 10,
                              .step_ms = 1000,
                              .drawn_mj = b->host.n_reads * 10.0,
                              .is_measured = true,
                              .is_spent = b->host.n_reads >= 5};
}

static void test_a_task_s_budget_ends_its_training_and_no_other(void **state)
{
    struct bench *b = *state;
    struct supply supply = {.draw = draw, .user = b};

    b->config.supply = &supply;
    b->coordinator.task.epochs = 20;
    b->coordinator.task.max_round_mj = 50;
    assert_int_equal(bench_run(b), CYGNET_OK);
    assert_int_equal(b->report.outcome, CYGNET_OUTCOME_COMPLETED);
    assert_non_null(strstr(b->report.message, "the energy budget of the round is spent"));
    assert_int_equal(b->coordinator.last_update.steps, 5);
    b->coordinator.task.max_round_mj = 0;
    assert_int_equal(bench_run(b), CYGNET_OK);
    assert_int_equal(b->coordinator.last_update.steps, b->report.n_steps);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_each_task_s_policy_holds_for_its_round),
        TEST(test_the_app_s_policy_goes_first),
        TEST(test_a_task_s_policy_outlives_a_restart),
        TEST(test_of_two_budgets_the_stricter_holds),
        TEST(test_a_task_s_budget_ends_its_training_and_no_other),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
