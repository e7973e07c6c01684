/* The answer to a check-in: defaults, every limit of docs/protocol.md, and what
 * is refused. */
#include "transport/native_task.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

/* A minimal task; each %-free piece below may be exchanged for another. */
static const char minimal[] =
    "{\"task\":{\"id\":\"a\",\"round\":1,\"token\":\"t\",\"deadline_s\":60,"
    "\"model\":{\"architecture\":\"lenet5\",\"classes\":10,\"weights\":"
    "{\"url\":\"/v1/blobs/x\",\"size\":100,\"sha256\":\"" HEX64 "\"}},"
    "\"training\":{\"epochs\":1,\"batch\":32,\"optimizer\":{\"name\":\"sgd\",\"lr\":0.5}}"
    ","
    "\"update\":{\"codec\":\"none\"}}}";

/* Replaces the first `from` in the minimal task; the caller frees. */
static char *with(const char *from, const char *to)
{
    const char *at = strstr(minimal, from);
    size_t size = strlen(minimal) + strlen(to) + 1;
    char *text = malloc(size);

    if (!at || !text)
        fail_msg("\"%s\" is not in the task", from);
    (void)snprintf(text, size, "%.*s%s%s", (int)(at - minimal), minimal, to,
                   at + strlen(from));
    return text;
}

static cygnet_status parse(cygnet_answer *out, const char *text, cygnet_error *err)
{
    return native_answer_parse(out, text, strlen(text), err);
}

static void test_a_minimal_task_gets_the_documented_defaults(void **state)
{
    cygnet_answer answer;
    const cygnet_task *task = &answer.task;

    (void)state;
    assert_int_equal(parse(&answer, minimal, NULL), CYGNET_OK);
    assert_true(answer.has_task);
    assert_string_equal(task->id, "a");
    assert_string_equal(task->collection, "train");
    assert_string_equal(task->selector, "");
    assert_int_equal(task->lease_s, 0);
    assert_int_equal(task->n_input_dims, 0);
    assert_int_equal(task->seed, 0);
    assert_int_equal(task->max_update_bytes, 0);
    assert_int_equal(task->charging, CYGNET_IGNORED);
    assert_int_equal(task->min_battery_percent, 0);
    assert_int_equal(task->policy, CYGNET_POLICY_SWAN);
    assert_int_equal(task->n_threads, 0);
    assert_int_equal(task->max_round_mj, 0);
    assert_true(task->momentum == 0.0f && task->weight_decay == 0.0f);
    assert_true(task->lr == 0.5f);
    assert_string_equal(task->unsupported, "");
}

static void test_a_full_task_is_read_member_by_member(void **state)
{
    static const char full[] =
        "{\"task\":{\"id\":\"digits-3\",\"round\":9007199254740991,\"token\":\"T-_9\","
        "\"lease_s\":30,\"deadline_s\":120,\"later\":{\"x\":[1]},\"model\":{"
        "\"architecture\":\"lenet5\",\"classes\":10,\"input\":[1,28,28],\"weights\":{"
        "\"url\":\"/v1/blobs/x\",\"size\":178110,\"sha256\":\"" HEX64 "\"}},"
        "\"data\":{\"collection\":\"c\",\"selector\":\"s\"},\"training\":{\"epochs\":2,"
        "\"steps\":3,\"batch\":32,\"max_examples\":7,\"seed\":12345,\"optimizer\":{"
        "\"name\":\"sgd\",\"lr\":0.25,\"momentum\":0.5,\"weight_decay\":0.125}},"
        "\"update\":{\"codec\":\"int8\",\"max_bytes\":1048576},\"eligibility\":{"
        "\"charging\":\"required\",\"idle\":\"preferred\",\"unmetered\":\"ignored\","
        "\"min_battery_percent\":20},\"execution\":{\"policy\":\"fixed\","
        "\"threads\":3,\"max_round_mj\":5000},\"requires\":[]}}";
    cygnet_answer answer;
    const cygnet_task *task = &answer.task;

    (void)state;
    assert_int_equal(parse(&answer, full, NULL), CYGNET_OK);
    assert_true(task->round == 9007199254740991u);
    assert_string_equal(task->token, "T-_9");
    assert_int_equal(task->lease_s, 30);
    assert_int_equal(task->deadline_s, 120);
    assert_int_equal(task->n_input_dims, 3);
    assert_int_equal(task->input[1], 28);
    assert_int_equal(task->weights_bytes, 178110);
    assert_string_equal(task->weights_sha256, HEX64);
    assert_string_equal(task->collection, "c");
    assert_string_equal(task->selector, "s");
    assert_int_equal(task->epochs, 2);
    assert_int_equal(task->steps, 3);
    assert_int_equal(task->batch, 32);
    assert_int_equal(task->max_examples, 7);
    assert_int_equal(task->seed, 12345);
    assert_true(task->lr == 0.25f && task->momentum == 0.5f);
    assert_true(task->weight_decay == 0.125f);
    assert_int_equal(task->max_update_bytes, 1048576);
    assert_int_equal(task->charging, CYGNET_REQUIRED);
    assert_int_equal(task->idle, CYGNET_PREFERRED);
    assert_int_equal(task->unmetered, CYGNET_IGNORED);
    assert_int_equal(task->min_battery_percent, 20);
    assert_int_equal(task->policy, CYGNET_POLICY_FIXED);
    assert_int_equal(task->n_threads, 3);
    assert_int_equal(task->max_round_mj, 5000);
}

/* One change to the minimal task, and a word that the error must hold (NULL: the
 * change is allowed). */
struct change {
    const char *from;
    const char *to;
    const char *error;
};

#define A64 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define A128 A64 A64
#define A511                                                                             \
    "/" A128 A128 A128 A64                                                               \
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define INPUT(value) "\"classes\":10", "\"classes\":10,\"input\":" value
#define OF_TASK(member) "\"deadline_s\":60", "\"deadline_s\":60," member
#define OF_EXECUTION(member) OF_TASK("\"execution\":{" member "}")
#define OF_TRAINING(member) "\"batch\":32", "\"batch\":32," member
#define OF_SGD(member) "\"lr\":0.5", "\"lr\":0.5," member

static const struct change changes[] = {
    /* what must be there */
    {"\"id\":\"a\",", "", "id"},
    {"\"id\":\"a\"", "\"id\":\"\"", "id"},
    {"\"id\":\"a\"", "\"id\":7", "id"},
    {"\"round\":1,", "", "round"},
    {"\"token\":\"t\",", "", "token"},
    {"\"deadline_s\":60,", "", "deadline_s"},
    {"\"architecture\":\"lenet5\",", "", "architecture"},
    {"\"classes\":10,", "", "classes"},
    {"\"url\":\"/v1/blobs/x\",", "", "url"},
    {"\"size\":100,", "", "size"},
    {",\"sha256\":\"" HEX64 "\"", "", "sha256"},
    {"\"batch\":32,", "", "batch"},
    {"\"name\":\"sgd\",", "", "name"},
    {",\"lr\":0.5", "", "lr"},
    {"\"codec\":\"none\"", "", "codec"},
    {"\"epochs\":1,", "", "epochs"},
    {"\"epochs\":1", "\"epochs\":0", "epochs"},
    {"\"epochs\":1", "\"steps\":1", NULL},
    /* the table of limits, from both sides */
    {"\"round\":1", "\"round\":0", "round"},
    {"\"round\":1", "\"round\":9007199254740992", "round"},
    {"\"round\":1", "\"round\":-1", "round"},
    {"\"round\":1", "\"round\":1.5", "round"},
    {"\"round\":1", "\"round\":\"1\"", "round"},
    {"\"deadline_s\":60", "\"deadline_s\":2592000", NULL},
    {"\"deadline_s\":60", "\"deadline_s\":2592001", "deadline_s"},
    {"\"deadline_s\":60", "\"deadline_s\":0", "deadline_s"},
    {OF_TASK("\"lease_s\":2592000"), NULL},
    {OF_TASK("\"lease_s\":2592001"), "lease_s"},
    {OF_TASK("\"lease_s\":null"), NULL},
    {"\"classes\":10", "\"classes\":65536", NULL},
    {"\"classes\":10", "\"classes\":65537", "classes"},
    {"\"classes\":10", "\"classes\":1", "classes"},
    {INPUT("[1]"), NULL},
    {INPUT("[1,2,3,65536]"), NULL},
    {INPUT("[]"), "input"},
    {INPUT("[1,2,3,4,5]"), "input"},
    {INPUT("[0]"), "input"},
    {INPUT("[65537]"), "input"},
    {INPUT("[1.5]"), "input"},
    {INPUT("[-1]"), "input"},
    {INPUT("[\"1\"]"), "input"},
    {INPUT("[1e300]"), "input"},
    {INPUT("7"), "input"},
    {INPUT("null"), NULL},
    {"\"size\":100", "\"size\":0", "size"},
    {"\"size\":100", "\"size\":9007199254740991", NULL},
    {"\"size\":100", "\"size\":1e300", "size"},
    {"\"sha256\":\"0", "\"sha256\":\"A", "sha256"},
    {"\"sha256\":\"0", "\"sha256\":\"", "sha256"},
    {"\"sha256\":\"0", "\"sha256\":\"00", "sha256"},
    {"\"sha256\":\"0", "\"sha256\":\"/", "sha256"},
    {"\"epochs\":1", "\"epochs\":1000000", NULL},
    {"\"epochs\":1", "\"epochs\":1000001", "epochs"},
    {OF_TRAINING("\"steps\":1000000"), NULL},
    {OF_TRAINING("\"steps\":1000001"), "steps"},
    {"\"batch\":32", "\"batch\":65536", NULL},
    {"\"batch\":32", "\"batch\":65537", "batch"},
    {"\"batch\":32", "\"batch\":0", "batch"},
    {OF_TRAINING("\"seed\":9007199254740991"), NULL},
    {OF_TRAINING("\"seed\":-1"), "seed"},
    {OF_TRAINING("\"max_examples\":1e17"), "max_examples"},
    {"\"lr\":0.5", "\"lr\":0", NULL},
    {"\"lr\":0.5", "\"lr\":1000", NULL},
    {"\"lr\":0.5", "\"lr\":1000.5", "lr"},
    {"\"lr\":0.5", "\"lr\":-0.1", "lr"},
    {"\"lr\":0.5", "\"lr\":1e999", ""},
    {"\"lr\":0.5", "\"lr\":NaN", ""},
    {OF_SGD("\"momentum\":0.99"), NULL},
    {OF_SGD("\"momentum\":1"), "momentum"},
    {OF_SGD("\"momentum\":-0.1"), "momentum"},
    {OF_SGD("\"weight_decay\":1"), NULL},
    {OF_SGD("\"weight_decay\":1.01"), "weight_decay"},
    {"\"id\":\"a\"", "\"id\":\"" A64 "\"", NULL},
    {"\"id\":\"a\"", "\"id\":\"" A64 "a\"", "id"},
    {"\"id\":\"a\"", "\"id\":\"a\\nb\"", "id"},
    {"\"token\":\"t\"", "\"token\":\"" A64 "\"", NULL},
    {"\"token\":\"t\"", "\"token\":\"" A64 "a\"", "token"},
    {"\"token\":\"t\"", "\"token\":\"../x\"", "token"},
    {"\"token\":\"t\"", "\"token\":\"a b\"", "token"},
    {"\"token\":\"t\"", "\"token\":\"\"", "token"},
    {"\"codec\":\"none\"", "\"codec\":\"" A64 "\"", NULL},
    {"\"codec\":\"none\"", "\"codec\":\"" A64 "a\"", "codec"},
    {"\"lenet5\"", "\"" A128 "\"", NULL},
    {"\"lenet5\"", "\"" A128 "a\"", "architecture"},
    {"\"/v1/blobs/x\"", "\"" A511 "\"", NULL},
    {"\"/v1/blobs/x\"", "\"" A511 "a\"", "url"},
    {OF_TASK("\"data\":{\"collection\":\"" A128 "\"}"), NULL},
    {OF_TASK("\"data\":{\"collection\":\"" A128 "a\"}"), "collection"},
    {OF_TASK("\"data\":{\"selector\":\"" A128 "a\"}"), "selector"},
    {OF_TASK("\"data\":7"), "data"},
    {OF_TASK("\"data\":null"), NULL},
    {OF_TASK("\"eligibility\":{\"charging\":\"always\"}"), "charging"},
    {OF_TASK("\"eligibility\":{\"idle\":true}"), "idle"},
    {OF_TASK("\"eligibility\":{\"unmetered\":\"REQUIRED\"}"), "unmetered"},
    {OF_TASK("\"eligibility\":{\"min_battery_percent\":100}"), NULL},
    {OF_TASK("\"eligibility\":{\"min_battery_percent\":101}"), "min_battery_percent"},
    {OF_TASK("\"execution\":{}"), NULL},
    {OF_TASK("\"execution\":null"), NULL},
    {OF_TASK("\"execution\":\"efficient\""), "execution"},
    {OF_EXECUTION("\"policy\":\"" A64 "\""), NULL},
    {OF_EXECUTION("\"policy\":\"" A64 "a\""), "policy"},
    {OF_EXECUTION("\"policy\":\"a\\nb\""), "policy"},
    {OF_EXECUTION("\"policy\":3"), "policy"},
    {OF_EXECUTION("\"threads\":64"), NULL},
    {OF_EXECUTION("\"threads\":65"), "threads"},
    {OF_EXECUTION("\"threads\":-1"), "threads"},
    {OF_EXECUTION("\"max_round_mj\":9007199254740991"), NULL},
    {OF_EXECUTION("\"max_round_mj\":9007199254740992"), "max_round_mj"},
    {OF_EXECUTION("\"max_round_mj\":0.5"), "max_round_mj"},
    {OF_TASK("\"requires\":[\"execution\",7]"), "requires"},
    {OF_TASK("\"requires\":[7]"), "requires"},
    {OF_TASK("\"requires\":[\"\"]"), "requires"},
    {OF_TASK("\"requires\":[\"" A64 "a\"]"), "requires"},
    {OF_TASK("\"requires\":\"dp\""), "requires"},
    {OF_TASK("\"later\":[[[]]]"), NULL},
};

static void test_every_limit_of_the_task_table_holds(void **state)
{
    cygnet_answer answer;
    cygnet_error err;

    (void)state;
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        char *text = with(changes[i].from, changes[i].to);
        cygnet_status st = parse(&answer, text, &err);
        bool refused = st == CYGNET_EFORMAT;

        free(text);
        if (refused != (changes[i].error != NULL) || (!refused && st != CYGNET_OK))
            fail_msg("%s -> %.60s: %s %s", changes[i].from, changes[i].to,
                     cygnet_status_name(st), st ? err.message : "");
        if (refused && !strstr(err.message, changes[i].error))
            fail_msg("%s: \"%s\" does not name it", changes[i].error, err.message);
        assert_int_equal(answer.has_task, !refused);
    }
}

static void test_an_unknown_requirement_comes_back_with_the_token(void **state)
{
    cygnet_answer answer;
    char *text = with(OF_TASK("\"requires\":[\"secure_aggregation\",\"dp\"]"));

    (void)state;
    assert_int_equal(parse(&answer, text, NULL), CYGNET_OK);
    assert_string_equal(answer.task.unsupported, "secure_aggregation");
    assert_string_equal(answer.task.token, "t");
    free(text);
}

#define POLICY(name) "\"execution\":{\"policy\":\"" name "\"}"

static void test_policies_are_known_by_name_and_others_ignored(void **state)
{
    static const struct {
        const char *member;
        cygnet_policy policy;
    } rows[] = {{POLICY("swan"), CYGNET_POLICY_SWAN},
                {POLICY("greedy"), CYGNET_POLICY_GREEDY},
                {POLICY("fixed"), CYGNET_POLICY_FIXED},
                {POLICY("efficient"), CYGNET_POLICY_EFFICIENT},
                {POLICY("task"), CYGNET_POLICY_SWAN},
                {POLICY("Greedy"), CYGNET_POLICY_SWAN},
                {POLICY("of_a_later_version"), CYGNET_POLICY_SWAN}};
    cygnet_answer answer;
    char change[128];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char *text;

        (void)snprintf(change, sizeof(change), "\"deadline_s\":60,%s", rows[i].member);
        text = with("\"deadline_s\":60", change);
        assert_int_equal(parse(&answer, text, NULL), CYGNET_OK);
        assert_int_equal(answer.task.policy, rows[i].policy);
        assert_string_equal(answer.task.unsupported, "");
        free(text);
    }
}

static void check_required(const char *from, const char *to, const char *unsupported)
{
    cygnet_answer answer;
    char *text = with(from, to);

    assert_int_equal(parse(&answer, text, NULL), CYGNET_OK);
    assert_string_equal(answer.task.unsupported, unsupported);
    free(text);
}

static void test_an_execution_that_is_required_must_be_known(void **state)
{
    (void)state;
    check_required(OF_TASK("\"requires\":[\"execution\"]"), "");
    check_required(OF_TASK(POLICY("greedy") ",\"requires\":[\"execution\"]"), "");
    check_required(OF_TASK(POLICY("new") ",\"requires\":[\"execution\"]"), "policy new");
    check_required(OF_TASK(POLICY("new") ",\"requires\":[\"execution\",\"dp\"]"),
                   "policy new");
    check_required(OF_TASK(POLICY("new") ",\"requires\":[\"dp\"]"), "dp");
    check_required(OF_TASK(POLICY("greedy") ",\"requires\":[\"execution\",\"dp\"]"),
                   "dp");
}

static void test_another_optimizer_is_declined_by_name(void **state)
{
    cygnet_answer answer;
    char *text = with("\"sgd\",\"lr\":0.5", "\"adam\",\"momentum\":[0.9,2]");

    (void)state;
    assert_int_equal(parse(&answer, text, NULL), CYGNET_OK);
    assert_string_equal(answer.task.unsupported, "optimizer adam");
    free(text);
}

static void test_a_retry_window_is_read(void **state)
{
    static const struct {
        const char *text;
        cygnet_retry_reason reason;
    } cases[] = {{"{\"retry\":{\"min_s\":1,\"max_s\":3,\"reason\":\"busy\"}}",
                  CYGNET_RETRY_BUSY},
                 {"{\"retry\":{\"min_s\":1,\"max_s\":3}}", CYGNET_RETRY_BUSY},
                 {"{\"retry\":{\"min_s\":1,\"max_s\":3,\"reason\":\"new\"}}",
                  CYGNET_RETRY_BUSY},
                 {"{\"retry\":{\"min_s\":1,\"max_s\":3,\"reason\":\"finished\"}}",
                  CYGNET_RETRY_FINISHED},
                 {"{\"retry\":{\"min_s\":1,\"max_s\":3,\"reason\":\"stay_away\"}}",
                  CYGNET_RETRY_STAY_AWAY}};
    cygnet_answer answer;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(parse(&answer, cases[i].text, NULL), CYGNET_OK);
        assert_false(answer.has_task);
        assert_int_equal(answer.reason, cases[i].reason);
        assert_int_equal(answer.retry_min_s, 1);
        assert_int_equal(answer.retry_max_s, 3);
    }
}

static void test_what_is_no_answer_is_refused_in_one_line(void **state)
{
    static const char *const bad[] = {
        "",
        "null",
        "[]",
        "{",
        "<html><body>Welcome</body></html>",
        "\xff\xfe",
        "{}",
        "{\"task\":null}",
        "{\"task\":[]}",
        "{\"retry\":{}}",
        "{\"retry\":{\"min_s\":3,\"max_s\":1}}",
        "{\"retry\":{\"min_s\":0,\"max_s\":2592001}}",
        "{\"retry\":{\"min_s\":0,\"max_s\":1},\"task\":{}}",
        "{\"retry\":{\"min_s\":0,\"max_s\":1}} trailing",
        "{\"retry\":{\"min_s\":0,\"max_s\":1},\"retry\":{\"min_s\":0,\"max_s\":1}}"};
    cygnet_answer answer;
    cygnet_error err;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cygnet_status st = parse(&answer, bad[i], &err);

        if (st != CYGNET_EFORMAT && st != CYGNET_EPROTOCOL)
            fail_msg("%s: %s", bad[i], cygnet_status_name(st));
        assert_non_null(strstr(err.message, "answer to the check-in"));
        assert_null(strchr(err.message, '\n'));
    }
}

static void test_json_bombs_are_refused(void **state)
{
    size_t size = (1 << 20) + 2;
    char *text = malloc(size);
    cygnet_answer answer;
    cygnet_error err;

    (void)state;
    memset(text, '[', size);
    assert_int_equal(native_answer_parse(&answer, text, 100000, &err), CYGNET_ELIMIT);
    memset(text, ' ', size);
    memcpy(text, "{}", 2);
    assert_int_equal(native_answer_parse(&answer, text, size, &err), CYGNET_ELIMIT);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_minimal_task_gets_the_documented_defaults),
        cmocka_unit_test(test_a_full_task_is_read_member_by_member),
        cmocka_unit_test(test_every_limit_of_the_task_table_holds),
        cmocka_unit_test(test_an_unknown_requirement_comes_back_with_the_token),
        cmocka_unit_test(test_policies_are_known_by_name_and_others_ignored),
        cmocka_unit_test(test_an_execution_that_is_required_must_be_known),
        cmocka_unit_test(test_another_optimizer_is_declined_by_name),
        cmocka_unit_test(test_a_retry_window_is_read),
        cmocka_unit_test(test_what_is_no_answer_is_refused_in_one_line),
        cmocka_unit_test(test_json_bombs_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
