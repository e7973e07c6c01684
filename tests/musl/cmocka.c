/* See cmocka.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "cmocka.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *running = "(none)";
static size_t number;

void print_message(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vprintf(format, args);
    va_end(args);
}

noreturn void bare_fail(const char *file, int line, const char *format, ...)
{
    va_list args;

    (void)printf("not ok %zu - %s\n# %s:%d: ", number, running, file, line);
    va_start(args, format);
    (void)vprintf(format, args);
    va_end(args);
    (void)printf("\n");
    (void)fflush(stdout);
    _Exit(1);
}

void bare_check(const char *file, int line, bool good, const char *what)
{
    if (!good)
        bare_fail(file, line, "untrue: %s", what);
}

void bare_check_int(const char *file, int line, uintmax_t a, uintmax_t b, bool equal)
{
    if ((a == b) != equal)
        bare_fail(file, line, "%#" PRIxMAX " %s %#" PRIxMAX, a, equal ? "!=" : "==", b);
}

void bare_check_range(const char *file, int line, uintmax_t v, uintmax_t low,
                      uintmax_t high)
{
    if (v < low || v > high)
        bare_fail(file, line, "%" PRIuMAX " is not in %" PRIuMAX " to %" PRIuMAX, v, low,
                  high);
}

void bare_check_string(const char *file, int line, const char *a, const char *b,
                       bool equal)
{
    if ((strcmp(a, b) == 0) != equal)
        bare_fail(file, line, "\"%s\" %s \"%s\"", a, equal ? "!=" : "==", b);
}

void bare_check_memory(const char *file, int line, const void *a, const void *b,
                       size_t size)
{
    if (memcmp(a, b, size) != 0)
        bare_fail(file, line, "%zu bytes differ", size);
}

void bare_check_near(const char *file, int line, double a, double b, double by)
{
    if (!(fabs(a - b) <= by))
        bare_fail(file, line, "%.17g is not within %g of %.17g", a, by, b);
}

static void run_one(const struct CMUnitTest *test)
{
    void *state = test->initial_state;

    running = test->name;
    number++;
    if (test->setup_func && test->setup_func(&state) != 0)
        bare_fail(__FILE__, __LINE__, "its setup failed");
    test->test_func(&state);
    if (test->teardown_func && test->teardown_func(&state) != 0)
        bare_fail(__FILE__, __LINE__, "its teardown failed");
    (void)printf("ok %zu - %s\n", number, test->name);
    (void)fflush(stdout);
}

int _cmocka_run_group_tests(const char *name, const struct CMUnitTest *tests, size_t n,
                            CMFixtureFunction setup, CMFixtureFunction teardown)
{
    void *state = NULL;

    (void)name;
    number = 0;
    (void)printf("1..%zu\n", n);
    (void)fflush(stdout);
    if (setup && setup(&state) != 0)
        bare_fail(__FILE__, __LINE__, "the setup of the group failed");
    for (size_t i = 0; i < n; i++)
        run_one(&tests[i]);
    if (teardown && teardown(&state) != 0)
        bare_fail(__FILE__, __LINE__, "the teardown of the group failed");
    return 0;
}
