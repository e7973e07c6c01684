/* Traces and profiles as public texts: what they say, and hostile ones. */
#include "engine/swan/replay.h"
#include "profile_fixture.h"
#include "profile_texts.h"
#include "tests/fakes/fake_alloc.h"

#include <cygnet/swan.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_DAMAGES = 2000, TEXT_BYTES = 16384 };

#define TRACE(members) "{\"format\":1,\"profile\":" PROFILE "," members "}"

static char *replay(const char *trace)
{
    cygnet_error err;
    char *text;

    if (cygnet_swan_replay(&text, trace, strlen(trace), NULL, &err) != CYGNET_OK)
        fail_msg("%s", err.message);
    return text;
}

static void check_line(const struct json *steps, size_t i, const char *choice,
                       const char *reason, const char *why)
{
    const struct json *line = json_at(steps, i);

    assert_string_equal(word(line, "choice"), choice);
    assert_string_equal(word(line, "reason"), reason);
    if (!strstr(word(line, "why"), why))
        fail_msg("\"%s\" does not hold \"%s\"", word(line, "why"), why);
}

static void test_a_trace_is_replayed_step_by_step(void **state)
{
    char *text = replay(TRACE(
        "\"steps\":["
        "{\"at_ms\":0,\"steps_left\":10,\"ms_left\":260},"
        "{\"at_ms\":20,\"steps_left\":9,\"ms_left\":900,\"disturbance\":\"contention\","
        "\"slowdown\":3,\"contended\":[2,0],\"yields\":false},"
        "{\"at_ms\":40,\"steps_left\":8,\"disturbance\":\"thermal\",\"level\":3},"
        "{\"steps_left\":8,\"usable\":[0,1]},"
        "{\"at_ms\":90,\"usable\":[0,0]}]"));
    struct json *root = parse_text(text);
    const struct json *steps = json_member(root, "steps");

    (void)state;
    assert_int_equal(json_count(steps), 5);
    check_line(steps, 0, "2 big", "least energy", "10 steps in 0.2 s of 0.26 s");
    check_line(steps, 1, "2 LITTLE", "leave", "to the free cores of 2 LITTLE");
    check_line(steps, 2, "null", "pause", "severity is 3");
    check_line(steps, 3, "1 LITTLE", "only", "all that is possible");
    check_line(steps, 4, "null", "pause", "cores left");
    assert_float_equal((float)json_number(json_member(json_at(steps, 3), "at_ms"), -1),
                       40.0f, 1e-6f);
    json_destroy(root);
    cygnet_swan_free(text, NULL);
}

static void test_what_a_step_took_changes_the_next_decision(void **state)
{
    char *text = replay(TRACE("\"policy\":\"efficient\",\"steps\":["
                              "{\"step_ms\":30,\"step_mj\":9,\"source\":\"host\","
                              "\"cores\":[1,0]},{}]"));
    struct json *root = parse_text(text);

    (void)state;
    check_line(json_member(root, "steps"), 1, "1 big", "least energy", "9 mJ");
    json_destroy(root);
    cygnet_swan_free(text, NULL);
}

static void test_after_a_pause_no_choice_is_in_use(void **state)
{
    char *text = replay(TRACE("\"steps\":[{},{},{\"disturbance\":\"thermal\","
                              "\"level\":3},{}]"));
    struct json *root = parse_text(text);
    const struct json *steps = json_member(root, "steps");

    (void)state;
    check_line(steps, 0, "2 LITTLE", "least energy", "20 mJ");
    check_line(steps, 1, "2 LITTLE", "keep", "still the best");
    check_line(steps, 2, "null", "pause", "severity is 3");
    check_line(steps, 3, "2 LITTLE", "least energy", "20 mJ");
    json_destroy(root);
    cygnet_swan_free(text, NULL);
}

static void test_other_policies_can_be_replayed(void **state)
{
    char *greedy = replay(TRACE("\"policy\":\"greedy\",\"steps\":[{}]"));
    char *fixed = replay(TRACE("\"policy\":\"fixed\",\"fixed\":[1,1],\"steps\":[{}]"));
    struct json *root = parse_text(greedy);

    (void)state;
    check_line(json_member(root, "steps"), 0, "2 big", "greedy", "greedy");
    json_destroy(root);
    root = parse_text(fixed);
    check_line(json_member(root, "steps"), 0, "1 big + 1 LITTLE", "fixed", "fixed");
    json_destroy(root);
    cygnet_swan_free(greedy, NULL);
    cygnet_swan_free(fixed, NULL);
}

static void check_refused(const char *trace, cygnet_status want, const char *why)
{
    cygnet_error err = {0};
    char *text = (char *)&err;

    assert_int_equal(cygnet_swan_replay(&text, trace, strlen(trace), NULL, &err), want);
    assert_null(text);
    if (!strstr(err.message, why))
        fail_msg("\"%s\" does not hold \"%s\"", err.message, why);
}

static void test_traces_that_make_no_sense_are_refused(void **state)
{
    static const struct {
        const char *trace;
        const char *why;
    } traces[] = {
        {"", ""},
        {"[]", "want an object"},
        {"{\"format\":2}", "format"},
        {"{\"format\":1}", "profile"},
        {"{\"format\":1,\"profile\":{},\"steps\":[]}", "format"},
        {TRACE("\"steps\":5"), "want an array"},
        {TRACE("\"other\":5"), "want an array"},
        {TRACE("\"steps\":[5]"), "step 1: trace: steps: want objects"},
        {TRACE("\"policy\":\"bold\",\"steps\":[]"), "no such one: \"bold\""},
        {TRACE("\"policy\":\"fixed\",\"steps\":[]"), "fixed: want a number a cluster"},
        {TRACE("\"policy\":\"fixed\",\"fixed\":[0,0],\"steps\":[]"), "fixed"},
        {TRACE("\"policy\":\"fixed\",\"fixed\":[3,0],\"steps\":[]"), "fixed"},
        {TRACE("\"steps\":[{},{\"disturbance\":\"war\"}]"), "step 2"},
        {TRACE("\"steps\":[{\"disturbance\":7}]"), "disturbance"},
        {TRACE("\"steps\":[{\"level\":4}]"), "level"},
        {TRACE("\"steps\":[{\"slowdown\":-1}]"), "slowdown"},
        {TRACE("\"steps\":[{\"steps_left\":1.5}]"), "steps_left"},
        {TRACE("\"steps\":[{\"ms_left\":\"soon\"}]"), "ms_left"},
        {TRACE("\"steps\":[{\"usable\":[1]}]"), "usable: want a number a cluster"},
        {TRACE("\"steps\":[{\"usable\":[1,-1]}]"), "usable"},
        {TRACE("\"steps\":[{\"usable\":[1,3]}]"), "usable"},
        {TRACE("\"steps\":[{\"contended\":[0.5,0]}]"), "contended"},
        {TRACE("\"steps\":[{\"contended\":\"all\"}]"), "contended"},
        {TRACE("\"steps\":[{\"yields\":1}]"), "yields"},
        {TRACE("\"steps\":[{\"step_ms\":0}]"), "step_ms"},
        {TRACE("\"steps\":[{\"step_ms\":9,\"cores\":[0,0]}]"), "no choice"},
        {TRACE("\"steps\":[{\"step_ms\":9,\"source\":\"guess\"}]"), "source"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(traces) / sizeof(traces[0]); i++)
        check_refused(traces[i].trace, CYGNET_EFORMAT, traces[i].why);
}

static void test_a_trace_of_too_many_steps_is_refused(void **state)
{
    static char trace[sizeof(TRACE("")) + 3 * (REPLAY_MAX_STEPS + 2) + 64];
    size_t used;

    (void)state;
    (void)snprintf(trace, sizeof(trace),
                   "{\"format\":1,\"profile\":" PROFILE ",\"steps\":[");
    used = strlen(trace);
    for (int i = 0; i <= REPLAY_MAX_STEPS; i++)
        used += (size_t)snprintf(trace + used, sizeof(trace) - used, "%s{}",
                                 i > 0 ? "," : "");
    (void)snprintf(trace + used, sizeof(trace) - used, "]}");
    check_refused(trace, CYGNET_ELIMIT, "more than 10000");
}

static void test_any_damaged_byte_is_survived(void **state)
{
    static const char trace[] =
        TRACE("\"steps\":[{\"ms_left\":400,\"contended\":[1,0],\"step_ms\":20,"
              "\"step_mj\":5,\"source\":\"host\",\"disturbance\":\"none\"},{}]");
    char damaged[sizeof(trace)];
    struct rng rng;

    (void)state;
    rng_init(&rng, chosen_seed(), "damage", 0);
    for (int i = 0; i < N_DAMAGES; i++) {
        char *text;

        memcpy(damaged, trace, sizeof(trace));
        damaged[rng_below(&rng, sizeof(trace) - 1)] = (char)rng_below(&rng, 256);
        (void)cygnet_swan_replay(&text, damaged, sizeof(trace) - 1, NULL, NULL);
        cygnet_swan_free(text, NULL);
    }
}

static struct json *tell_table(const char *profile)
{
    struct json *root;
    cygnet_error err;
    char *text;

    if (cygnet_swan_profile(&text, profile, strlen(profile), NULL, &err) != CYGNET_OK)
        fail_msg("%s", err.message);
    root = parse_text(text);
    cygnet_swan_free(text, NULL);
    return root;
}

static void check_row(const struct json *rows, size_t i, const char *choice,
                      const char *pruned_by)
{
    const struct json *row = json_at(rows, i);
    bool kept = false;

    assert_string_equal(word(row, "choice"), choice);
    assert_string_equal(word(row, "pruned_by"), pruned_by);
    assert_int_equal(json_read_bool(&kept, row, "kept", true, "row", NULL), CYGNET_OK);
    assert_int_equal(kept, strcmp(pruned_by, "null") == 0);
}

static void test_a_profile_is_told_as_a_table(void **state)
{
    static const char before[] = "{\"cores\":[2,1]}";
    static const char slower[] = "{\"cores\":[2,1],\"n\":3,\"ms\":[25,25,25],"
                                 "\"energy\":{\"source\":\"host\",\"n\":3,"
                                 "\"mean_mj\":70,\"variance\":0}}";
    static const char whole[] = PROFILE;
    const char *at = strstr(whole, before);
    char profile[sizeof(PROFILE) + sizeof(slower)];
    const struct json *rows;
    struct json *root;

    (void)state;
    assert_non_null(at);
    (void)snprintf(profile, sizeof(profile), "%.*s%s%s", (int)(at - whole), whole, slower,
                   at + strlen(before));
    root = tell_table(profile);
    rows = json_member(root, "choices");
    assert_int_equal(json_count(rows), 8);
    check_row(rows, 1, "2 LITTLE", "null");
    check_row(rows, 6, "2 big + 1 LITTLE", "1 big + 2 LITTLE");
    check_row(rows, 7, "2 big + 2 LITTLE", "null");
    assert_true(json_number(json_member(json_at(rows, 1), "step_ms"), 0) == 50);
    assert_true(json_number(json_member(json_at(rows, 7), "cost_rank"), 0) == 8);
    assert_string_equal(word(json_at(rows, 0), "energy_source"), "host");
    json_destroy(root);
}

static cygnet_status tell(char **out, const cygnet_allocator *alloc)
{
    return cygnet_swan_profile(out, PROFILE, strlen(PROFILE), alloc, NULL);
}

static cygnet_status explain(char **out, const cygnet_allocator *alloc)
{
    cygnet_swan_question question;

    cygnet_swan_question_init(&question);
    return cygnet_swan_explain(out, PROFILE, strlen(PROFILE), &question, alloc, NULL);
}

static cygnet_status replay_one(char **out, const cygnet_allocator *alloc)
{
    static const char trace[] = TRACE("\"steps\":[{}]");

    return cygnet_swan_replay(out, trace, strlen(trace), alloc, NULL);
}

/* Each needs memory for what it works on and for its text. */
static void check_without_memory(cygnet_status (*call)(char **, const cygnet_allocator *))
{
    struct fake_alloc fake;
    cygnet_status st = CYGNET_ENOMEM;
    int n_refused = 0;
    char *text;

    for (; st == CYGNET_ENOMEM && n_refused < 100; n_refused++) {
        fake_alloc_init(&fake);
        fake.fail_at = n_refused + 1;
        st = call(&text, &fake.alloc);
        assert_int_equal(text == NULL, st != CYGNET_OK);
        cygnet_swan_free(text, &fake.alloc);
        assert_int_equal(fake.n_live, 0);
    }
    assert_int_equal(st, CYGNET_OK);
    assert_true(n_refused > 2);
}

static void test_without_memory_there_is_no_text(void **state)
{
    (void)state;
    check_without_memory(tell);
    check_without_memory(explain);
    check_without_memory(replay_one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_trace_is_replayed_step_by_step),
        cmocka_unit_test(test_what_a_step_took_changes_the_next_decision),
        cmocka_unit_test(test_after_a_pause_no_choice_is_in_use),
        cmocka_unit_test(test_other_policies_can_be_replayed),
        cmocka_unit_test(test_traces_that_make_no_sense_are_refused),
        cmocka_unit_test(test_a_trace_of_too_many_steps_is_refused),
        cmocka_unit_test(test_any_damaged_byte_is_survived),
        cmocka_unit_test(test_a_profile_is_told_as_a_table),
        cmocka_unit_test(test_without_memory_there_is_no_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
