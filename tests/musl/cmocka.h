/* The part of cmocka's interface that tests of the bare build use, for C libraries that
 * systems have no cmocka for (musl). Prints TAP. The first check that fails ends the
 * program with status 1, and the plan then says that tests are missing.
 *
 * As with cmocka, <setjmp.h>, <stdarg.h>, <stddef.h> and <stdint.h> come first. */
#ifndef TESTS_MUSL_CMOCKA_H
#define TESTS_MUSL_CMOCKA_H

#include <stdbool.h>
#include <stdnoreturn.h>

typedef void (*CMUnitTestFunction)(void **state);
typedef int (*CMFixtureFunction)(void **state);

struct CMUnitTest {
    const char *name;
    CMUnitTestFunction test_func;
    CMFixtureFunction setup_func;
    CMFixtureFunction teardown_func;
    void *initial_state;
};

#define cmocka_unit_test(f) cmocka_unit_test_setup_teardown(f, NULL, NULL)
#define cmocka_unit_test_setup(f, setup) cmocka_unit_test_setup_teardown(f, setup, NULL)
#define cmocka_unit_test_setup_teardown(f, setup, teardown)                              \
    {                                                                                    \
#f, f, setup, teardown, NULL                                                     \
    }

/* How many failed. */
#define cmocka_run_group_tests(tests, setup, teardown)                                   \
    cmocka_run_group_tests_name(#tests, tests, setup, teardown)
#define cmocka_run_group_tests_name(name, tests, setup, teardown)                        \
    _cmocka_run_group_tests(name, tests, sizeof(tests) / sizeof((tests)[0]), setup,      \
                            teardown)

int _cmocka_run_group_tests(const char *name, const struct CMUnitTest *tests, size_t n,
                            CMFixtureFunction setup, CMFixtureFunction teardown);

void print_message(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Where a check stands in the source. */
#define BARE_HERE __FILE__, __LINE__

noreturn void bare_fail(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void bare_check(const char *file, int line, bool good, const char *what);
void bare_check_int(const char *file, int line, uintmax_t a, uintmax_t b, bool equal);
void bare_check_range(const char *file, int line, uintmax_t v, uintmax_t low,
                      uintmax_t high);
void bare_check_string(const char *file, int line, const char *a, const char *b,
                       bool equal);
void bare_check_memory(const char *file, int line, const void *a, const void *b,
                       size_t size);
void bare_check_near(const char *file, int line, double a, double b, double by);

#define fail_msg(...) bare_fail(BARE_HERE, __VA_ARGS__)
#define assert_true(c) bare_check(BARE_HERE, (c) ? true : false, #c)
#define assert_false(c) bare_check(BARE_HERE, (c) ? false : true, "not " #c)
#define assert_null(p) bare_check(BARE_HERE, (p) == NULL, #p " is NULL")
#define assert_non_null(p) bare_check(BARE_HERE, (p) != NULL, #p " is not NULL")
#define assert_int_equal(a, b)                                                           \
    bare_check_int(BARE_HERE, (uintmax_t)(a), (uintmax_t)(b), true)
#define assert_int_not_equal(a, b)                                                       \
    bare_check_int(BARE_HERE, (uintmax_t)(a), (uintmax_t)(b), false)
#define assert_in_range(v, low, high)                                                    \
    bare_check_range(BARE_HERE, (uintmax_t)(v), (uintmax_t)(low), (uintmax_t)(high))
#define assert_string_equal(a, b) bare_check_string(BARE_HERE, a, b, true)
#define assert_string_not_equal(a, b) bare_check_string(BARE_HERE, a, b, false)
#define assert_memory_equal(a, b, size) bare_check_memory(BARE_HERE, a, b, size)
#define assert_float_equal(a, b, by)                                                     \
    bare_check_near(BARE_HERE, (double)(a), (double)(b), (double)(by))

#endif
