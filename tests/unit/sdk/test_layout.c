/* The layout of a job's model is that of its weights. */
#include "engine/nn/model.h"
#include "sdk/layout.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static cygnet_job job_of(const char *architecture)
{
    cygnet_job job;

    cygnet_job_init(&job);
    job.architecture = architecture;
    return job;
}

static void test_a_layout_lists_the_weights_in_their_order(void **state)
{
    cygnet_job job = job_of("ds_cnn:channels=4,layers=1");
    cygnet_model_options options;
    cygnet_tensors *weights;
    cygnet_model *model;
    struct layout layout;
    uint64_t bytes = 0;
    int n_counts = 0;

    (void)state;
    assert_int_equal(layout_init(&layout, &job, 1 << 20, NULL, NULL), CYGNET_OK);
    cygnet_model_options_init(&options);
    options.architecture = job.architecture;
    assert_int_equal(model_create(&model, &options, &nn_serial_executor, NULL),
                     CYGNET_OK);
    assert_int_equal(cygnet_model_get_weights(&weights, model, NULL), CYGNET_OK);
    assert_int_equal(layout.n_tensors, cygnet_tensors_count(weights));
    for (size_t i = 0; i < layout.n_tensors; i++) {
        const cygnet_tensor *expected = cygnet_tensors_at(weights, i);
        const cygnet_tensor *t = &layout.tensors[i];

        assert_string_equal(t->name, expected->name);
        assert_ptr_not_equal(t->name, expected->name);
        assert_int_equal(t->dtype, expected->dtype);
        assert_int_equal(t->n_dims, expected->n_dims);
        assert_memory_equal(t->shape, expected->shape, t->n_dims * sizeof(t->shape[0]));
        assert_int_equal(t->size_bytes, expected->size_bytes);
        assert_null(t->data);
        n_counts += t->dtype == CYGNET_I64;
        bytes += t->size_bytes;
    }
    assert_int_equal(n_counts, 3);
    assert_int_equal(layout.bytes, bytes);
    cygnet_tensors_destroy(weights);
    cygnet_model_destroy(model);
    layout_clear(&layout);
}

static void test_a_model_on_maps_of_one_element_has_a_layout(void **state)
{
    cygnet_job job = job_of("ds_cnn:channels=4,layers=1");
    struct layout layout;

    (void)state;
    job.n_input_dims = 3;
    job.input[0] = job.input[1] = 1;
    job.input[2] = 2;
    assert_int_equal(layout_init(&layout, &job, 1 << 20, NULL, NULL), CYGNET_OK);
    layout_clear(&layout);
}

static void test_a_limit_is_kept(void **state)
{
    cygnet_job job = job_of("logistic"); /* 28 x 28 x 10 weights and 10 biases */
    struct layout layout;
    cygnet_error err;

    (void)state;
    job.n_input_dims = 1;
    job.input[0] = 784;
    assert_int_equal(layout_init(&layout, &job, 31400, NULL, &err), CYGNET_OK);
    assert_int_equal(layout.bytes, 31400);
    layout_clear(&layout);
    assert_int_equal(layout_init(&layout, &job, 31399, NULL, &err), CYGNET_EINVAL);
    assert_string_equal(err.message,
                        "job: its model has 31400 bytes; max_model_bytes is 31399");
    assert_null(layout.tensors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_layout_lists_the_weights_in_their_order),
        cmocka_unit_test(test_a_model_on_maps_of_one_element_has_a_layout),
        cmocka_unit_test(test_a_limit_is_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
