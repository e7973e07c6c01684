/* Random convolutions: derived gradients against central differences, in double. */
#include "layer_cases.h"
#include "slopes.h"

enum { N_CASES = 150 };

static void test_any_layers_gradient_is_the_slope(void **state)
{
    uint64_t seed = layer_seed();

    (void)state;
    for (size_t i = 0; i < N_CASES; i++) {
        struct layer_case c = layer_case_of(seed, i, true);
        struct graph graph;

        (void)layer_case_build(&graph, &c);
        check_slopes_along(&graph, c.batch);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_any_layers_gradient_is_the_slope, layer_case_say),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
