/* Names and the version. */
#include <cygnet/cygnet.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void test_each_phase_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (int a = CYGNET_PHASE_IDLE; a <= CYGNET_PHASE_INTERRUPTED; a++) {
        assert_non_null(cygnet_phase_name((cygnet_phase)a));
        assert_string_not_equal(cygnet_phase_name((cygnet_phase)a), "unknown");
        for (int b = CYGNET_PHASE_IDLE; b < a; b++)
            assert_string_not_equal(cygnet_phase_name((cygnet_phase)a),
                                    cygnet_phase_name((cygnet_phase)b));
    }
}

static void test_each_outcome_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (int a = CYGNET_OUTCOME_NONE; a <= CYGNET_OUTCOME_EVALUATED; a++) {
        assert_non_null(cygnet_outcome_name((cygnet_outcome)a));
        assert_string_not_equal(cygnet_outcome_name((cygnet_outcome)a), "unknown");
        for (int b = CYGNET_OUTCOME_NONE; b < a; b++)
            assert_string_not_equal(cygnet_outcome_name((cygnet_outcome)a),
                                    cygnet_outcome_name((cygnet_outcome)b));
    }
}

/* As the wire and the documents write them. */
static void test_names_are_the_enumerators_in_lower_case(void **state)
{
    (void)state;
    assert_string_equal(cygnet_phase_name(CYGNET_PHASE_CHECKED_IN), "checked_in");
    assert_string_equal(cygnet_outcome_name(CYGNET_OUTCOME_NOT_ELIGIBLE), "not_eligible");
    assert_string_equal(cygnet_outcome_name(CYGNET_OUTCOME_TOO_LATE), "too_late");
}

static void test_values_of_a_later_release_are_unknown(void **state)
{
    (void)state;
    assert_string_equal(cygnet_phase_name((cygnet_phase)11), "unknown");
    assert_string_equal(cygnet_outcome_name((cygnet_outcome)10), "unknown");
    assert_string_equal(cygnet_outcome_name((cygnet_outcome)-1), "unknown");
}

static void test_the_version_is_that_of_the_header_and_of_the_build(void **state)
{
    char expected[32];

    (void)state;
    (void)snprintf(expected, sizeof(expected), "%d.%d.%d", CYGNET_VERSION_MAJOR,
                   CYGNET_VERSION_MINOR, CYGNET_VERSION_PATCH);
    assert_string_equal(cygnet_version(), expected);
    assert_string_equal(cygnet_version(), PROJECT_VERSION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_phase_has_a_name_of_its_own),
        cmocka_unit_test(test_each_outcome_has_a_name_of_its_own),
        cmocka_unit_test(test_names_are_the_enumerators_in_lower_case),
        cmocka_unit_test(test_values_of_a_later_release_are_unknown),
        cmocka_unit_test(test_the_version_is_that_of_the_header_and_of_the_build),
    };

    return cmocka_run_group_tests_name("sdk names", tests, NULL, NULL);
}
