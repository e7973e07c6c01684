/* Decisions explained through the public header: what is taken, and why not another. */
#include "engine/swan/profile.h"
#include "profile_fixture.h"
#include "profile_texts.h"
#include "tests/fakes/fake_soc.h"

#include <cygnet/swan.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct profile profile;

static cygnet_swan_question ask(cygnet_policy policy)
{
    cygnet_swan_question question;

    cygnet_swan_question_init(&question);
    question.policy = policy;
    return question;
}

static struct json *explain(const char *text, const cygnet_swan_question *question)
{
    struct json *root;
    cygnet_error err;
    char *answer;

    if (cygnet_swan_explain(&answer, text, strlen(text), question, NULL, &err) !=
        CYGNET_OK)
        fail_msg("%s", err.message);
    root = parse_text(answer);
    cygnet_swan_free(answer, NULL);
    return root;
}

/* With ten steps left. */
static struct json *explain_in(cygnet_policy policy, double seconds)
{
    cygnet_swan_question question = ask(policy);

    question.steps_left = 10;
    question.seconds_left = seconds;
    return explain(PROFILE, &question);
}

static const char *why_not(const struct json *root, const char *choice)
{
    const struct json *others = json_member(root, "others");

    for (const struct json *v = json_at(others, 0); v; v = json_next(v)) {
        if (strcmp(word(v, "choice"), choice) == 0)
            return word(v, "why_not");
    }
    return "not of the frontier";
}

static void check_choice(const struct json *root, const char *choice, const char *reason)
{
    assert_string_equal(word(root, "choice"), choice);
    assert_string_equal(word(root, "reason"), reason);
}

static void test_a_decision_is_explained_beside_what_was_not_taken(void **state)
{
    struct json *root = explain_in(CYGNET_POLICY_SWAN, 0.26);

    (void)state;
    check_choice(root, "2 big", "least energy");
    assert_string_equal(why_not(root, "2 LITTLE"), "needs 0.5 s, and 0.26 s are left");
    assert_string_equal(why_not(root, "2 big + 2 LITTLE"),
                        "takes 8.3 % more energy, in 25.0 % less time");
    json_destroy(root);
}

static void test_what_takes_less_energy_may_be_too_close_to_the_deadline(void **state)
{
    struct json *root = explain_in(CYGNET_POLICY_SWAN, 0.51);

    (void)state;
    check_choice(root, "1 big + 2 LITTLE", "least energy");
    assert_string_equal(why_not(root, "2 LITTLE"),
                        "needs 0.5 s of 0.51 s: not enough to spare");
    json_destroy(root);
}

/* The deadline, which the choice misses too, is no reason against another. */
static void test_what_misses_the_deadline_too_is_slower(void **state)
{
    struct json *root = explain_in(CYGNET_POLICY_SWAN, 0.1);

    (void)state;
    check_choice(root, "2 big + 2 LITTLE", "fastest");
    assert_string_equal(why_not(root, "2 big"), "takes 33.3 % more time");
    json_destroy(root);
}

static void test_efficient_has_no_deadline(void **state)
{
    struct json *root = explain_in(CYGNET_POLICY_EFFICIENT, 0.1);

    (void)state;
    check_choice(root, "2 LITTLE", "least energy");
    assert_string_equal(why_not(root, "2 big"),
                        "takes 200.0 % more energy, in 60.0 % less time");
    json_destroy(root);
}

static void test_greedy_goes_by_cores_alone(void **state)
{
    struct json *root = explain_in(CYGNET_POLICY_GREEDY, 0.1);

    (void)state;
    check_choice(root, "2 big", "greedy");
    assert_string_equal(why_not(root, "2 LITTLE"), "leaves cores idle that greedy takes");
    assert_string_equal(why_not(root, "2 big + 2 LITTLE"),
                        "takes cores of the slowest cluster too");
    json_destroy(root);
}

/* ---- A device ---------------------------------------------------------------- */

/* Speeds add up and powers go with the square of the capacities. Free it with free. */
static char *measure(const char *root, bool energies)
{
    struct profile_key key = {"model", "", "engine"};
    struct bytes text;
    struct soc soc;
    char *copy;

    assert_int_equal(soc_read(&soc, root, NULL), CYGNET_OK);
    memcpy(key.soc, soc.fingerprint, sizeof(key.soc));
    profile_init(&profile, &key, &soc, soc.n_cores);
    for (size_t i = 0; i < profile.n_entries; i++) {
        double speed = 0, watts = 0;

        for (size_t k = 0; k < soc.n_clusters; k++) {
            double n = profile.entries[i].choice.n_cores[k];

            speed += n * soc.clusters[k].capacity;
            watts += n * pow(soc.clusters[k].capacity, 2);
        }
        profile_add(&profile, i, 1e5 / speed, energies ? watts / speed : (double)NAN,
                    ENERGY_HOST);
    }
    bytes_init(&text, PROFILE_MAX_BYTES, NULL);
    assert_int_equal(profile_write(&text, &profile, NULL), CYGNET_OK);
    copy = malloc(text.len + 1);
    assert_non_null(copy);
    memcpy(copy, bytes_text(&text), text.len + 1);
    bytes_clear(&text);
    return copy;
}

static void test_the_frontier_is_that_of_the_cores_that_may_be_used(void **state)
{
    struct fake_soc *fake = fake_soc_load(SOC_DIR, "galaxy_s10e");
    char *text = measure(fake->root, true);
    cygnet_swan_question question = ask(CYGNET_POLICY_EFFICIENT);
    struct json *root = explain(text, &question);

    (void)state;
    check_choice(root, "1 LITTLE", "least energy");
    assert_string_equal(why_not(root, "1 prime + 1 LITTLE"), "not of the frontier");
    assert_non_null(strstr(why_not(root, "1 big + 4 LITTLE"), "more energy"));
    json_destroy(root);

    fake_soc_set(fake, "online", "0-3,7");
    question.root = fake->root;
    root = explain(text, &question);
    check_choice(root, "1 LITTLE", "least energy");
    assert_non_null(strstr(why_not(root, "1 prime + 1 LITTLE"), "more energy"));
    assert_string_equal(why_not(root, "1 big + 4 LITTLE"),
                        "its cores may not be used now");
    json_destroy(root);
    free(text);
    fake_soc_destroy(fake);
}

static void test_where_no_core_is_left_there_is_nothing_to_choose(void **state)
{
    struct fake_soc *fake = fake_soc_load(SOC_DIR, "galaxy_s10e");
    char *text = measure(fake->root, true);
    cygnet_swan_question question = ask(CYGNET_POLICY_SWAN);
    struct json *root;

    (void)state;
    fake_soc_set(fake, "isolated", "0-7");
    question.root = fake->root;
    root = explain(text, &question);
    check_choice(root, "null", "pause");
    assert_int_equal(json_count(json_member(root, "others")), 0);
    json_destroy(root);
    free(text);
    fake_soc_destroy(fake);
}

static void test_without_energy_efficient_takes_the_cheapest(void **state)
{
    struct fake_soc *fake = fake_soc_load(SOC_DIR, "galaxy_s10e");
    char *text = measure(fake->root, false);
    cygnet_swan_question question = ask(CYGNET_POLICY_EFFICIENT);
    struct json *root;

    (void)state;
    question.root = fake->root;
    root = explain(text, &question);
    check_choice(root, "1 LITTLE", "cheapest");
    assert_string_equal(why_not(root, "1 big + 4 LITTLE"),
                        "costs the user more, and no energy is known");
    json_destroy(root);
    free(text);
    fake_soc_destroy(fake);
}

/* ---- Refusals ---------------------------------------------------------------- */

static void check_refused(const char *text, const cygnet_swan_question *question,
                          cygnet_status want, const char *says)
{
    cygnet_error err = {0};
    char *answer = (char *)&err;

    assert_int_equal(cygnet_swan_explain(&answer, text, strlen(text), question, NULL,
                                         &err),
                     want);
    assert_null(answer);
    if (!strstr(err.message, says))
        fail_msg("\"%s\" does not hold \"%s\"", err.message, says);
}

static void test_questions_that_make_no_sense_are_refused(void **state)
{
    cygnet_swan_question question = ask(CYGNET_POLICY_FIXED);

    (void)state;
    check_refused(PROFILE, &question, CYGNET_EINVAL, "swan, greedy or efficient");
    question = ask(CYGNET_POLICY_SWAN);
    question.seconds_left = NAN;
    check_refused(PROFILE, &question, CYGNET_EINVAL, "initialised");
    question = ask(CYGNET_POLICY_SWAN);
    question.struct_size = 0;
    check_refused(PROFILE, &question, CYGNET_EINVAL, "initialised");
    question = ask(CYGNET_POLICY_SWAN);
    check_refused("{", &question, CYGNET_EFORMAT, "");
}

static void test_a_profile_of_another_device_is_refused(void **state)
{
    struct fake_soc *fake = fake_soc_load(SOC_DIR, "galaxy_s10e");
    cygnet_swan_question question = ask(CYGNET_POLICY_SWAN);

    (void)state;
    question.root = fake->root;
    check_refused(PROFILE, &question, CYGNET_ENOTFOUND, "another SoC");
    fake_soc_destroy(fake);
}

static void test_a_device_that_makes_no_sense_is_refused(void **state)
{
    struct fake_soc *fake = fake_soc_load(SOC_DIR, "galaxy_s10e");
    cygnet_swan_question question = ask(CYGNET_POLICY_SWAN);

    (void)state;
    fake_soc_set(fake, "present", "all of them");
    question.root = fake->root;
    check_refused(PROFILE, &question, CYGNET_EFORMAT, "present");
    fake_soc_destroy(fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_decision_is_explained_beside_what_was_not_taken),
        cmocka_unit_test(test_what_takes_less_energy_may_be_too_close_to_the_deadline),
        cmocka_unit_test(test_what_misses_the_deadline_too_is_slower),
        cmocka_unit_test(test_efficient_has_no_deadline),
        cmocka_unit_test(test_greedy_goes_by_cores_alone),
        cmocka_unit_test(test_the_frontier_is_that_of_the_cores_that_may_be_used),
        cmocka_unit_test(test_where_no_core_is_left_there_is_nothing_to_choose),
        cmocka_unit_test(test_without_energy_efficient_takes_the_cheapest),
        cmocka_unit_test(test_questions_that_make_no_sense_are_refused),
        cmocka_unit_test(test_a_profile_of_another_device_is_refused),
        cmocka_unit_test(test_a_device_that_makes_no_sense_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
