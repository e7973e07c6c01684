/* Steps that break off: what is stopped, and gradients that are not finite. With
 * separate_update nothing has changed; without it the weights have to be set again. */
#include "fixture.h"

#include "base/stop.h"
#include "engine/nn/zoo.h"

#include <stdlib.h>
#include <string.h>

enum { N = 9, IMAGE = 12 * 12 };

static float images[N * IMAGE];
static int64_t labels[N];

static const cygnet_sgd momentum_rule = {sizeof(cygnet_sgd), 0.05f, 0.9f, 5e-4f};

static int set_up(void **state)
{
    (void)state;
    hash_fill_f32(images, FIXTURE_SEED, "x", N * IMAGE, 1.0);
    hash_fill_labels(labels, FIXTURE_SEED, N, 10);
    return 0;
}

static void train(cygnet_model *model, uint32_t n)
{
    assert_int_equal(cygnet_model_train_step(model, NULL, images, labels, n,
                                             &momentum_rule, NULL),
                     CYGNET_OK);
}

/* Sets the stop word when its n-th job comes. */
struct stopping {
    struct nn_executor executor;
    struct cygnet_stop stop;
    int left;
};

static void run_and_stop(struct nn_executor *executor, nn_block block, void *arg,
                         size_t n_blocks)
{
    struct stopping *s = (struct stopping *)executor;

    if (s->left-- == 0)
        stop_set(&s->stop);
    nn_serial_executor.run(&nn_serial_executor, block, arg, n_blocks);
}

/* lenet5 on small images, hashed weights. */
static cygnet_model *make_stoppable(struct nn_executor *executor, bool separate)
{
    const struct shape small = {3, {1, 12, 12}};
    cygnet_model_options options;
    struct graph graph;
    cygnet_model *model;

    cygnet_model_options_init(&options);
    options.max_batch = N;
    options.separate_update = separate;
    graph_init(&graph, NULL);
    assert_int_equal(zoo_build(&graph, "lenet5", &small, 10, NULL), CYGNET_OK);
    assert_int_equal(model_assemble(&model, &graph, kernels_reference(), executor,
                                    &options, NULL),
                     CYGNET_OK);
    hash_weights(model, FIXTURE_SEED);
    return model;
}

/* Calls `check` with a model whose step was stopped at its n-th job, for each n. */
static void stop_everywhere(bool separate,
                            void (*check)(cygnet_model *model, cygnet_status st))
{
    cygnet_status st = CYGNET_ECANCELLED;

    for (int at = 0; st == CYGNET_ECANCELLED; at++) {
        struct stopping s = {.executor = {run_and_stop, 1}, .left = at};
        cygnet_model *model = make_stoppable(&s.executor, separate);

        model_set_stop(model, &s.stop);
        st =
            cygnet_model_train_step(model, NULL, images, labels, N, &momentum_rule, NULL);
        model_set_stop(model, NULL);
        check(model, st);
        cygnet_model_destroy(model);
        assert_true(at < 200);
    }
    assert_int_equal(st, CYGNET_OK);
}

/* The optimiser's state, too: the next step shows it. */
static void check_untouched(cygnet_model *model, cygnet_status st)
{
    cygnet_model *twin = make_stoppable(&nn_serial_executor, true);

    if (st == CYGNET_OK)
        train(twin, N);
    assert_true(same_state(model, twin));
    train(model, N);
    train(twin, N);
    assert_true(same_state(model, twin));
    cygnet_model_destroy(twin);
}

static void test_a_stopped_separate_step_changes_nothing_wherever_it_is(void **state)
{
    (void)state;
    stop_everywhere(true, check_untouched);
}

/* Nothing that needs the weights works. */
static void check_torn(cygnet_model *model)
{
    cygnet_metrics metrics = {.struct_size = sizeof(metrics)};
    cygnet_tensors *out = NULL;
    float logits[N * 10];
    cygnet_error err = {0};

    assert_int_equal(cygnet_model_train_step(model, NULL, images, labels, N,
                                             &momentum_rule, &err),
                     CYGNET_EINVAL);
    assert_non_null(strstr(err.message, "broke off"));
    assert_int_equal(cygnet_model_evaluate(model, &metrics, images, labels, N, NULL),
                     CYGNET_EINVAL);
    assert_int_equal(cygnet_model_logits(model, logits, images, N, NULL), CYGNET_EINVAL);
    assert_int_equal(cygnet_model_gradients(&out, NULL, model, images, labels, N, NULL),
                     CYGNET_EINVAL);
    assert_int_equal(cygnet_model_get_weights(&out, model, NULL), CYGNET_EINVAL);
    assert_null(out);
}

/* Whole again, optimiser state and all. */
static void check_mended(cygnet_model *model)
{
    cygnet_model *fresh = make_stoppable(&nn_serial_executor, false);
    cygnet_tensors *weights;

    assert_int_equal(cygnet_model_get_weights(&weights, fresh, NULL), CYGNET_OK);
    assert_int_equal(cygnet_model_set_weights(model, weights, NULL), CYGNET_OK);
    for (int i = 0; i < 2; i++) {
        assert_true(same_state(model, fresh));
        train(model, N);
        train(fresh, N);
    }
    assert_true(same_state(model, fresh));
    cygnet_tensors_destroy(weights);
    cygnet_model_destroy(fresh);
}

static int n_torn, n_untouched;

/* Stopped on its way forward it is as it was; later it is torn. */
static void check_torn_or_untouched(cygnet_model *model, cygnet_status st)
{
    cygnet_model *fresh = make_stoppable(&nn_serial_executor, false);

    if (st == CYGNET_ECANCELLED && model_check_whole(model, NULL) != CYGNET_OK) {
        check_torn(model);
        n_torn++;
    } else if (st == CYGNET_ECANCELLED) {
        assert_int_equal(n_torn, 0); /* first all that leave it whole */
        assert_true(same_state(model, fresh));
        n_untouched++;
    }
    check_mended(model);
    cygnet_model_destroy(fresh);
}

static void test_a_stopped_step_tears_a_model_once_it_goes_back(void **state)
{
    (void)state;
    n_torn = n_untouched = 0;
    stop_everywhere(false, check_torn_or_untouched);
    assert_true(n_untouched > 1 && n_torn > 3); /* jobs forward, and jobs back */
}

static void scale_weights(cygnet_model *model, const char *name, real factor)
{
    size_t at = find_tensor(model, name), n = tensor_elements(model, at);
    real *w = malloc(n * sizeof(*w));

    assert_non_null(w);
    model_read_state(w, model, at);
    for (size_t i = 0; i < n; i++)
        w[i] *= factor;
    model_write_state(model, at, w);
    free(w);
}

/* fc2 makes next to nothing of large values, and fc3 something of that: forward all
 * is well. Back, fc2's gradient is large weights times large values. */
static void break_gradient(cygnet_model *model)
{
    scale_weights(model, "fc1.weight", 1e6f);
    scale_weights(model, "fc2.weight", 1e-36f);
    scale_weights(model, "fc2.bias", 1e-36f);
    scale_weights(model, "fc3.weight", 1e37f);
}

static void check_bad_gradient(bool separate)
{
    cygnet_model *model = make_stoppable(&nn_serial_executor, separate);
    cygnet_model *twin = make_stoppable(&nn_serial_executor, separate);
    cygnet_error err = {0};

    break_gradient(model);
    break_gradient(twin);
    assert_int_equal(cygnet_model_train_step(model, NULL, images, labels, N,
                                             &momentum_rule, &err),
                     CYGNET_ENUMERIC);
    assert_non_null(strstr(err.message, "the gradient of fc2.weight"));
    if (separate)
        assert_true(same_state(model, twin));
    else
        check_torn(model);
    check_mended(model);
    cygnet_model_destroy(model);
    cygnet_model_destroy(twin);
}

static void test_a_gradient_that_is_not_finite_is_refused(void **state)
{
    (void)state;
    check_bad_gradient(true);
    check_bad_gradient(false);
}

/* What is found in the batch or in the loss comes before any update. */
static void test_a_bad_loss_does_not_tear(void **state)
{
    cygnet_model *model = make_stoppable(&nn_serial_executor, false);
    cygnet_model *twin = make_stoppable(&nn_serial_executor, false);

    (void)state;
    scale_weights(model, "fc3.weight", 1e30f);
    scale_weights(model, "fc2.weight", 1e30f);
    scale_weights(twin, "fc3.weight", 1e30f);
    scale_weights(twin, "fc2.weight", 1e30f);
    assert_int_equal(cygnet_model_train_step(model, NULL, images, labels, N,
                                             &momentum_rule, NULL),
                     CYGNET_ENUMERIC);
    assert_true(same_state(model, twin));
    assert_int_equal(model_check_whole(model, NULL), CYGNET_OK);
    check_mended(model);
    cygnet_model_destroy(model);
    cygnet_model_destroy(twin);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_stopped_separate_step_changes_nothing_wherever_it_is),
        cmocka_unit_test(test_a_stopped_step_tears_a_model_once_it_goes_back),
        cmocka_unit_test(test_a_gradient_that_is_not_finite_is_refused),
        cmocka_unit_test(test_a_bad_loss_does_not_tear),
    };

    return cmocka_run_group_tests(tests, set_up, NULL);
}
