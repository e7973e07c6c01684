/* Structs of the engine's callers that are of an older or a newer release. */
#include <cygnet/nn.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* A caller of a later release: one field more than this build knows. */
struct later_options {
    cygnet_model_options known;
    uint64_t later;
};

struct later_sgd {
    cygnet_sgd known;
    float later;
};

static const float x[784];
static const int64_t y[1];

static cygnet_status create(const cygnet_model_options *options, cygnet_error *err)
{
    cygnet_model *model = NULL;
    cygnet_status st = cygnet_model_create(&model, options, err);

    assert_int_equal(model != NULL, st == CYGNET_OK);
    cygnet_model_destroy(model);
    return st;
}

static void test_older_model_options_get_the_defaults(void **state)
{
    cygnet_model_options options;
    cygnet_model *model = NULL;

    (void)state;
    memset(&options, 0xff, sizeof(options)); /* what lies behind the older struct */
    options.struct_size = offsetof(cygnet_model_options, n_classes);
    options.architecture = "logistic";
    assert_int_equal(cygnet_model_create(&model, &options, NULL), CYGNET_OK);
    assert_int_equal(cygnet_model_n_classes(model), 10);
    cygnet_model_destroy(model);
}

static void test_newer_model_options_are_taken_when_the_rest_is_zero(void **state)
{
    struct later_options o = {.later = 0};
    cygnet_error err = {0};

    (void)state;
    cygnet_model_options_init(&o.known);
    o.known.architecture = "logistic";
    o.known.struct_size = sizeof(o);
    assert_int_equal(create(&o.known, NULL), CYGNET_OK);
    o.later = 1;
    assert_int_equal(create(&o.known, &err), CYGNET_EINVAL);
    assert_non_null(strstr(err.message, "model options: a field is set"));
}

static void test_model_options_without_a_size_are_refused(void **state)
{
    cygnet_model_options options = {.architecture = "logistic", .n_threads = 1};
    cygnet_error err = {0};

    (void)state;
    assert_int_equal(create(&options, &err), CYGNET_EINVAL);
    assert_non_null(strstr(err.message, "_init"));
    assert_int_equal(create(NULL, &err), CYGNET_EINVAL);
}

static cygnet_status step(const cygnet_sgd *sgd, cygnet_metrics *metrics)
{
    cygnet_model_options options;
    cygnet_model *model = NULL;
    cygnet_status st;

    cygnet_model_options_init(&options);
    options.architecture = "logistic";
    assert_int_equal(cygnet_model_create(&model, &options, NULL), CYGNET_OK);
    st = cygnet_model_train_step(model, metrics, x, y, 1, sgd, NULL);
    cygnet_model_destroy(model);
    return st;
}

static void test_sgd_of_other_releases_is_read_up_to_its_end(void **state)
{
    struct later_sgd sgd = {.later = 0};
    cygnet_sgd older = {offsetof(cygnet_sgd, momentum), 0.1f, -1.0f, -1.0f};

    (void)state;
    assert_int_equal(step(&older, NULL), CYGNET_OK);
    older.struct_size = sizeof(older);
    assert_int_equal(step(&older, NULL), CYGNET_EINVAL);
    cygnet_sgd_init(&sgd.known);
    sgd.known.struct_size = sizeof(sgd);
    assert_int_equal(step(&sgd.known, NULL), CYGNET_OK);
    sgd.later = 1.0f;
    assert_int_equal(step(&sgd.known, NULL), CYGNET_EINVAL);
    assert_int_equal(step(NULL, NULL), CYGNET_EINVAL);
}

static void test_metrics_are_filled_up_to_their_size(void **state)
{
    cygnet_metrics metrics = {.struct_size = offsetof(cygnet_metrics, n), .n = 77};
    cygnet_sgd sgd;

    (void)state;
    cygnet_sgd_init(&sgd);
    assert_int_equal(step(&sgd, &metrics), CYGNET_OK);
    assert_true(metrics.loss > 0);
    assert_int_equal(metrics.struct_size, offsetof(cygnet_metrics, n));
    assert_int_equal(metrics.n, 77);
    metrics.struct_size = 0;
    assert_int_equal(step(&sgd, &metrics), CYGNET_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_older_model_options_get_the_defaults),
        cmocka_unit_test(test_newer_model_options_are_taken_when_the_rest_is_zero),
        cmocka_unit_test(test_model_options_without_a_size_are_refused),
        cmocka_unit_test(test_sgd_of_other_releases_is_read_up_to_its_end),
        cmocka_unit_test(test_metrics_are_filled_up_to_their_size),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
