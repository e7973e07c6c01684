/* Checks of the stand-in for cmocka that must not hold: each ends a process of its own
 * with status 1 and a line "not ok". */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TEXT_BYTES = 512 };

static int way;

enum { N_WAYS = 14 };

static void fails_in_a_way(void **state)
{
    switch (way) {
    case 0:
        fail_msg("tired after %d", 3);
        break;
    case 1:
        assert_true(1 > 2);
        break;
    case 2:
        assert_false(2 > 1);
        break;
    case 3:
        assert_null(state);
        break;
    case 4:
        assert_non_null((void *)0);
        break;
    case 5:
        assert_int_equal(-1, 1);
        break;
    case 6:
        assert_int_not_equal(7, 7);
        break;
    case 7:
        assert_in_range(2, 3, 5);
        break;
    case 8:
        assert_in_range(6, 3, 5);
        break;
    case 9:
        assert_string_equal("a", "b");
        break;
    case 10:
        assert_string_not_equal("a", "a");
        break;
    case 11:
        assert_memory_equal("ab", "ac", 2);
        break;
    case 12:
        assert_float_equal(1.0, 1.2, 0.1);
        break;
    case 13:
        assert_float_equal(0.0 / 0.0, 1.0, 0.1);
        break;
    default:
        break;
    }
}

static void holds(void **state)
{
    (void)state;
    assert_true(2 > 1);
}

static int refuse(void **state)
{
    (void)state;
    return 1;
}

/* The status of a process that runs one test, and what it printed. */
static int run_apart(char text[TEXT_BYTES], const struct CMUnitTest *test)
{
    size_t n = 0;
    ssize_t got;
    int ends[2], status = 0;
    pid_t child;

    assert_int_equal(pipe(ends), 0);
    (void)fflush(stdout);
    child = fork();
    if (child == 0) {
        (void)dup2(ends[1], STDOUT_FILENO);
        _Exit(_cmocka_run_group_tests("apart", test, 1, NULL, NULL));
    }
    (void)close(ends[1]);
    while ((got = read(ends[0], text + n, TEXT_BYTES - 1 - n)) > 0)
        n += (size_t)got;
    (void)close(ends[0]);
    text[n] = '\0';
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void check_fails(const struct CMUnitTest *test)
{
    char text[TEXT_BYTES];

    if (run_apart(text, test) != 1 || !strstr(text, "\nnot ok 1 - "))
        fail_msg("%s, way %d: %s", test->name, way, text);
}

static void test_what_must_fail_fails(void **state)
{
    static const struct CMUnitTest test = cmocka_unit_test(fails_in_a_way);

    (void)state;
    for (way = 0; way < N_WAYS; way++)
        check_fails(&test);
}

static void test_a_refused_fixture_fails(void **state)
{
    static const struct CMUnitTest before = cmocka_unit_test_setup(holds, refuse);
    static const struct CMUnitTest after =
        cmocka_unit_test_setup_teardown(holds, NULL, refuse);

    (void)state;
    check_fails(&before);
    check_fails(&after);
}

static void test_what_holds_passes(void **state)
{
    static const struct CMUnitTest test = cmocka_unit_test(holds);
    char text[TEXT_BYTES];

    (void)state;
    assert_int_equal(run_apart(text, &test), 0);
    assert_string_equal(text, "1..1\nok 1 - holds\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_must_fail_fails),
        cmocka_unit_test(test_a_refused_fixture_fails),
        cmocka_unit_test(test_what_holds_passes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
