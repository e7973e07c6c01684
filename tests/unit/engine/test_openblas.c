/* OpenBLAS works on one thread, whatever somebody else in the process wants. */
#include <cblas.h>
#include <cygnet/nn.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { BATCH = 32, ELEMENTS = 784 };

static float x[BATCH * ELEMENTS];
static int64_t y[BATCH];

/* The first gradient of a model on a fixed batch; the caller destroys it. */
static cygnet_tensors *gradients(int n_blas_threads)
{
    cygnet_model_options options;
    cygnet_model *model = NULL;
    cygnet_tensors *out = NULL;

    cygnet_model_options_init(&options);
    options.architecture = "mlp";
    assert_int_equal(cygnet_model_create(&model, &options, NULL), CYGNET_OK);
    openblas_set_num_threads(n_blas_threads);
    assert_int_equal(openblas_get_num_threads(), n_blas_threads);
    assert_int_equal(cygnet_model_gradients(&out, NULL, model, x, y, BATCH, NULL),
                     CYGNET_OK);
    assert_int_equal(openblas_get_num_threads(), 1);
    cygnet_model_destroy(model);
    return out;
}

static void test_a_changed_number_of_blas_threads_changes_nothing(void **state)
{
    cygnet_tensors *one, *three;

    (void)state;
    for (size_t i = 0; i < BATCH * ELEMENTS; i++)
        x[i] = (float)(i % 251) / 251.0f;
    for (size_t i = 0; i < BATCH; i++)
        y[i] = (int64_t)(i % 10);
    one = gradients(1);
    three = gradients(3);
    for (size_t i = 0; i < cygnet_tensors_count(one); i++) {
        const cygnet_tensor *t = cygnet_tensors_at(one, i);

        assert_memory_equal(t->data, cygnet_tensors_at(three, i)->data, t->size_bytes);
    }
    cygnet_tensors_destroy(one);
    cygnet_tensors_destroy(three);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_changed_number_of_blas_threads_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
