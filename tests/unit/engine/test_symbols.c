/* Models of symbols: what is none is refused. */
#include "fixture.h"

#include <math.h>
#include <string.h>

enum { STEPS = 4, BATCH = 2, SYMBOLS = 9 };

static void check_refused(cygnet_model *model, float symbol, const char *part)
{
    const int64_t y[BATCH] = {0, 1};
    float x[BATCH * STEPS] = {0, 8, 7, 1};
    cygnet_metrics metrics = {.struct_size = sizeof(metrics)};
    cygnet_error err = {0};

    assert_int_equal(cygnet_model_evaluate(model, &metrics, x, y, BATCH, &err),
                     CYGNET_OK);
    x[STEPS + 2] = symbol;
    assert_int_equal(cygnet_model_evaluate(model, &metrics, x, y, BATCH, &err),
                     CYGNET_EDATA);
    if (!strstr(err.message, part))
        fail_msg("\"%s\" does not say \"%s\"", err.message, part);
}

static void test_what_is_no_symbol_is_refused(void **state)
{
    struct kernels kernels;
    cygnet_model *model;

    (void)state;
    kernels_choose(&kernels);
    model = make_zoo_model("gru:symbols=9,hidden=5", &(struct shape){1, {STEPS}}, 3,
                           BATCH, &kernels, &nn_serial_executor);
    check_refused(model, SYMBOLS, "symbol 2 of example 1 is 9");
    check_refused(model, -1, "symbol 2 of example 1 is -1");
    check_refused(model, 0.5f, "want a whole number from 0 to 8");
    cygnet_model_destroy(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_no_symbol_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
