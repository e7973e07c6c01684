/* Optimisers and schedules against PyTorch (tests/golden/nn/optimizers.golden) and
 * against their formulas. Run in float and in double. */
#include "golden.h"

#include "base/stop.h"
#include "engine/nn/zoo.h"
#include "engine/pool/pool.h"

#include <math.h>
#include <string.h>

enum { N = 6, N_CLASSES = 5, ELEMENTS = 18, N_CASES = 16 };
enum { N_WEIGHTS = 7 * ELEMENTS }; /* of fc1, which has the most */

#ifdef NN_DOUBLE
static const double tolerance = 1e-9;
static const double number_tolerance = 1e-12;
#else
static const double tolerance = 1e-5;
static const double number_tolerance = 1e-6;
#endif

static const char spec[] = "mlp:hidden=7";
static const double unit = 0x1p-30; /* of the settings of a golden case */

static float images[N * ELEMENTS];
static int64_t labels[N];

static struct kernels reference_kernels;

static int set_up(void **state)
{
    (void)state;
    assert_true(kernels_class(&reference_kernels, 0));
    hash_fill_f32(images, FIXTURE_SEED, "x", N * ELEMENTS, 1.0);
    hash_fill_labels(labels, FIXTURE_SEED, N, N_CLASSES);
    return 0;
}

static cygnet_model_options default_options(cygnet_optimizer_kind kind)
{
    cygnet_model_options options;

    cygnet_model_options_init(&options);
    options.architecture = spec;
    options.n_classes = N_CLASSES;
    options.n_input_dims = 3;
    options.input[0] = 2;
    options.input[1] = options.input[2] = 3;
    options.max_batch = N;
    options.optimizer = kind;
    return options;
}

static cygnet_model *make(const cygnet_model_options *options)
{
    cygnet_model *model;
    cygnet_error err;

    if (model_create(&model, options, &nn_serial_executor, &err) != CYGNET_OK)
        fail_msg("%s", err.message);
    return model;
}

static cygnet_optimizer make_rule(cygnet_optimizer_kind kind)
{
    cygnet_optimizer rule;

    cygnet_optimizer_init(&rule, kind);
    return rule;
}

static void step(cygnet_model *model, const cygnet_optimizer *rule)
{
    cygnet_error err;

    if (cygnet_model_step(model, NULL, images, labels, N, rule, &err) != CYGNET_OK)
        fail_msg("%s", err.message);
}

/* ---- Against PyTorch ----------------------------------------------------- */

/* The settings that follow the batch and the number of steps in a case. */
static void read_settings(cygnet_optimizer *rule, cygnet_model_options *options,
                          const struct golden_case *c)
{
    double *const to[] = {&rule->lr,
                          &rule->momentum,
                          NULL, /* nesterov is no number */
                          &rule->weight_decay,
                          &rule->beta1,
                          &rule->beta2,
                          &rule->eps,
                          &rule->max_grad_norm,
                          &rule->prox_mu,
                          &options->label_smoothing};
    const size_t *from = c->params + 7;

    *options = default_options((cygnet_optimizer_kind)c->params[0]);
    *rule = make_rule(options->optimizer);
    rule->nesterov = from[2] > 0;
    for (size_t i = 0; i < sizeof(to) / sizeof(to[0]); i++) {
        if (to[i])
            *to[i] = (double)from[i] * unit;
    }
    options->clip_gradients = rule->max_grad_norm > 0;
    options->proximal = rule->prox_mu > 0;
}

static cygnet_model *make_golden_model(const cygnet_model_options *options,
                                       const struct kernels *kernels)
{
    const struct shape input = {3, {2, 3, 3}};
    struct graph graph;
    cygnet_model *model;

    graph_init(&graph, NULL);
    assert_int_equal(zoo_build(&graph, spec, &input, N_CLASSES, NULL), CYGNET_OK);
    assert_int_equal(model_assemble(&model, &graph, kernels, &nn_serial_executor, options,
                                    NULL),
                     CYGNET_OK);
    hash_weights(model, FIXTURE_SEED);
    model_take_reference(model);
    return model;
}

static void check_optimizer(struct golden *g, const struct golden_case *c)
{
    cygnet_metrics metrics = {.struct_size = sizeof(metrics)};
    real losses[8], norms[8];
    size_t n_steps = c->params[6];
    cygnet_model_options options;
    cygnet_optimizer rule;
    cygnet_model *model;

    assert_int_equal(c->n_params, 17);
    assert_string_equal(c->spec, spec);
    read_settings(&rule, &options, c);
    model = make_golden_model(&options, &g->kernels);
    for (size_t i = 0; i < n_steps; i++) {
        assert_int_equal(cygnet_model_step(model, &metrics, images, labels, N, &rule,
                                           NULL),
                         CYGNET_OK);
        losses[i] = (real)metrics.loss;
        norms[i] = (real)metrics.grad_norm;
    }
    for (size_t i = 0; i < model->graph.n_tensors; i++) {
        real values[N_WEIGHTS];

        if (model->graph.tensors[i].kind != TENSOR_PARAMETER)
            continue;
        model_read_state(values, model, i);
        golden_check(g, model->graph.tensors[i].name, values, tensor_elements(model, i),
                     tolerance);
    }
    golden_check(g, "losses", losses, n_steps, number_tolerance);
    if (rule.max_grad_norm > 0)
        golden_check(g, "norms", norms, n_steps, tolerance);
    cygnet_model_destroy(model);
}

static void check_schedule(struct golden *g, const struct golden_case *c)
{
    cygnet_schedule schedule;
    real lr[32];
    size_t n = c->params[5] + 1;

    assert_true(n <= 32);
    cygnet_schedule_init(&schedule);
    schedule.kind = (cygnet_schedule_kind)c->params[0];
    schedule.lr = (double)c->params[1] * unit;
    schedule.min_lr = (double)c->params[2] * unit;
    schedule.gamma = (double)c->params[3] * unit;
    schedule.warmup_steps = c->params[4];
    schedule.total_steps = c->params[5];
    schedule.step_size = c->params[6];
    for (size_t i = 0; i < n; i++)
        lr[i] = (real)cygnet_schedule_lr(&schedule, i);
    golden_check(g, "lr", lr, n, number_tolerance);
}

static void check_case(struct golden *g, const struct golden_case *c)
{
    if (strcmp(c->kind, "optimizer") == 0)
        check_optimizer(g, c);
    else
        check_schedule(g, c);
}

static void test_reference_steps_match_pytorch(void **state)
{
    (void)state;
    golden_check_file("optimizers.golden", &reference_kernels, N_CASES, check_case);
}

static void test_chosen_steps_match_pytorch(void **state)
{
    struct kernels kernels;

    (void)state;
    kernels_choose(&kernels);
    golden_check_file("optimizers.golden", &kernels, N_CASES, check_case);
}

/* ---- Against the formulas ------------------------------------------------ */

/* fc1.weight in PyTorch's order, and its gradient at the present weights. */
static void read_weights(real w[N_WEIGHTS], real g[N_WEIGHTS], cygnet_model *model)
{
    size_t at = find_tensor(model, "fc1.weight");

    assert_int_equal(model_backward(model, NULL, images, labels, N, NULL), CYGNET_OK);
    model_read_state(w, model, at);
    model_read_gradient(g, model, at);
}

/* Plain SGD steps w1 = w0 - lr g0 and w2 = w1 - lr (g1 + mu (w1 - w0)), the
 * gradients taken from the model itself, in its own arithmetic. */
static void test_the_proximal_term_pulls_to_the_reference(void **state)
{
    cygnet_model_options options = default_options(CYGNET_OPTIMIZER_PLAIN_SGD);
    cygnet_optimizer rule = make_rule(CYGNET_OPTIMIZER_PLAIN_SGD);
    real w[3][N_WEIGHTS], g[3][N_WEIGHTS];
    cygnet_model *model;

    (void)state;
    options.proximal = 1;
    rule.lr = 0.5, rule.prox_mu = 0.25;
    model = make(&options);
    read_weights(w[0], g[0], model);
    step(model, &rule);
    read_weights(w[1], g[1], model);
    step(model, &rule);
    read_weights(w[2], g[2], model);
    for (size_t i = 0; i < N_WEIGHTS; i++) {
        real pulled = g[1][i] + (real)0.25 * (w[1][i] - w[0][i]);

        assert_true(w[1][i] == w[0][i] - (real)0.5 * g[0][i]); /* nothing to pull at */
        assert_true(w[2][i] == w[1][i] - (real)0.5 * pulled);
    }
    cygnet_model_destroy(model);
}

static void test_a_new_reference_ends_the_pull(void **state)
{
    cygnet_model_options options = default_options(CYGNET_OPTIMIZER_PLAIN_SGD);
    cygnet_optimizer rule = make_rule(CYGNET_OPTIMIZER_PLAIN_SGD), pulled = rule;
    cygnet_model *model, *twin, *held;

    (void)state;
    options.proximal = 1;
    pulled.prox_mu = 0.5;
    model = make(&options), twin = make(&options), held = make(&options);
    step(model, &rule), step(twin, &rule), step(held, &rule);
    assert_int_equal(cygnet_model_set_reference(model, NULL), CYGNET_OK);
    step(model, &pulled), step(twin, &rule), step(held, &pulled);
    assert_true(same_state(model, twin));
    assert_false(same_state(held, twin));
    cygnet_model_destroy(model);
    cygnet_model_destroy(twin);
    cygnet_model_destroy(held);
}

static void test_set_weights_sets_the_reference(void **state)
{
    cygnet_model_options options = default_options(CYGNET_OPTIMIZER_PLAIN_SGD);
    cygnet_optimizer rule = make_rule(CYGNET_OPTIMIZER_PLAIN_SGD), pulled = rule;
    cygnet_model *model, *twin;
    cygnet_tensors *weights;

    (void)state;
    options.proximal = 1;
    pulled.prox_mu = 0.5;
    model = make(&options), twin = make(&options);
    step(model, &rule), step(twin, &rule);
    assert_int_equal(cygnet_model_get_weights(&weights, model, NULL), CYGNET_OK);
    assert_int_equal(cygnet_model_set_weights(model, weights, NULL), CYGNET_OK);
    step(model, &pulled), step(twin, &rule);
    assert_true(same_state(model, twin));
    cygnet_tensors_destroy(weights);
    cygnet_model_destroy(model);
    cygnet_model_destroy(twin);
}

/* More elements than a piece of the kernels, and no multiple: a pull to where the
 * weights are takes another way to the same bits. */
static void test_a_pull_to_the_present_changes_no_bit(void **state)
{
    cygnet_model_options options = default_options(CYGNET_OPTIMIZER_ADAM);
    cygnet_optimizer rule = make_rule(CYGNET_OPTIMIZER_ADAM), pulled = rule;
    cygnet_model *model, *twin;

    (void)state;
    options.architecture = "mlp:hidden=999";
    options.proximal = 1;
    pulled.prox_mu = 1;
    model = make(&options), twin = make(&options);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(cygnet_model_set_reference(model, NULL), CYGNET_OK);
        step(model, &pulled);
        step(twin, &rule);
        assert_true(same_state(model, twin));
    }
    cygnet_model_destroy(model);
    cygnet_model_destroy(twin);
}

/* Sums over all that is trained: of squared gradients, and of squared ways from b. */
static void sum_up(double *gradients, double *ways, const cygnet_model *a,
                   const cygnet_model *b)
{
    real g[N_WEIGHTS], w[N_WEIGHTS], w0[N_WEIGHTS];

    *gradients = *ways = 0;
    for (size_t i = 0; i < a->graph.n_tensors; i++) {
        if (!model_is_trained(a, i))
            continue;
        model_read_gradient(g, a, i);
        model_read_state(w, a, i);
        model_read_state(w0, b, i);
        for (size_t e = 0; e < tensor_elements(a, i); e++) {
            *gradients += (double)g[e] * (double)g[e];
            *ways += ((double)w[e] - (double)w0[e]) * ((double)w[e] - (double)w0[e]);
        }
    }
}

static void test_a_clipped_step_goes_as_far_as_it_may(void **state)
{
    cygnet_model_options options = default_options(CYGNET_OPTIMIZER_PLAIN_SGD);
    cygnet_optimizer rule = make_rule(CYGNET_OPTIMIZER_PLAIN_SGD);
    cygnet_metrics metrics = {.struct_size = sizeof(metrics)};
    cygnet_model *model, *before;
    double gradients, ways;

    (void)state;
    options.clip_gradients = 1;
    rule.lr = 0.5, rule.max_grad_norm = 0.125;
    model = make(&options), before = make(&options);
    assert_int_equal(cygnet_model_step(model, &metrics, images, labels, N, &rule, NULL),
                     CYGNET_OK);
    sum_up(&gradients, &ways, model, before);
    assert_true(metrics.grad_norm > 0.125);
    assert_true(fabs(metrics.grad_norm - sqrt(gradients)) < 1e-12);
    /* torch's 1e-6 beside the norm, and roundings of weights below 1 */
    assert_true(fabs(sqrt(ways) - 0.5 * 0.125) < 1e-6);
    cygnet_model_destroy(model);
    cygnet_model_destroy(before);
}

static void test_a_wide_clip_changes_no_bit(void **state)
{
    cygnet_model_options options = default_options(CYGNET_OPTIMIZER_ADAM);
    cygnet_optimizer rule = make_rule(CYGNET_OPTIMIZER_ADAM), wide = rule;
    cygnet_metrics metrics = {.struct_size = sizeof(metrics)};
    cygnet_model *model, *twin;

    (void)state;
    options.clip_gradients = 1;
    wide.max_grad_norm = 1e6;
    model = make(&options), twin = make(&options);
    for (int i = 0; i < 3; i++) {
        step(model, &wide);
        assert_int_equal(cygnet_model_step(twin, &metrics, images, labels, N, &rule,
                                           NULL),
                         CYGNET_OK);
    }
    assert_true(same_state(model, twin));
    assert_true(metrics.grad_norm == 0);
    cygnet_model_destroy(model);
    cygnet_model_destroy(twin);
}

static void test_train_step_is_a_step_of_sgd(void **state)
{
    const cygnet_sgd sgd = {sizeof(sgd), 0.0625f, 0.875f, 0.0625f};
    cygnet_model_options options = default_options(CYGNET_OPTIMIZER_SGD);
    cygnet_optimizer rule = make_rule(CYGNET_OPTIMIZER_SGD);
    cygnet_model *model = make(&options), *twin = make(&options);

    (void)state;
    rule.lr = 0.0625, rule.momentum = 0.875, rule.weight_decay = 0.0625;
    for (int i = 0; i < 3; i++) {
        step(model, &rule);
        assert_int_equal(cygnet_model_train_step(twin, NULL, images, labels, N, &sgd,
                                                 NULL),
                         CYGNET_OK);
    }
    assert_true(same_state(model, twin));
    cygnet_model_destroy(model);
    cygnet_model_destroy(twin);
}

/* More elements than a block and than a piece of the kernels, and no multiple. */
static void check_threads(double max_grad_norm)
{
    cygnet_model_options options = default_options(CYGNET_OPTIMIZER_ADAMW);
    cygnet_optimizer rule = make_rule(CYGNET_OPTIMIZER_ADAMW);
    struct pool *pool;
    cygnet_model *model, *twin;

    options.architecture = "mlp:hidden=999";
    options.clip_gradients = max_grad_norm > 0;
    options.proximal = 1;
    rule.max_grad_norm = max_grad_norm, rule.prox_mu = 0.1;
    assert_int_equal(pool_create(&pool, 3, NULL, NULL), CYGNET_OK);
    assert_int_equal(model_create(&model, &options, pool_executor(pool), NULL),
                     CYGNET_OK);
    twin = make(&options);
    for (int i = 0; i < 4; i++) {
        step(model, &rule);
        step(twin, &rule);
        assert_true(same_state(model, twin));
    }
    cygnet_model_destroy(model);
    cygnet_model_destroy(twin);
    pool_destroy(pool);
}

static void test_threads_do_not_change_a_bit(void **state)
{
    (void)state;
    check_threads(0.01);
    check_threads(0); /* all of it may be done as the gradients come */
}

/* ---- State --------------------------------------------------------------- */

static void test_set_weights_begins_adam_anew(void **state)
{
    cygnet_model_options options = default_options(CYGNET_OPTIMIZER_ADAM);
    cygnet_optimizer rule = make_rule(CYGNET_OPTIMIZER_ADAM);
    cygnet_model *model = make(&options), *fresh = make(&options);
    cygnet_tensors *weights;

    (void)state;
    assert_int_equal(cygnet_model_get_weights(&weights, fresh, NULL), CYGNET_OK);
    step(model, &rule), step(model, &rule);
    assert_false(same_state(model, fresh));
    assert_int_equal(cygnet_model_set_weights(model, weights, NULL), CYGNET_OK);
    for (int i = 0; i < 2; i++) {
        step(model, &rule);
        step(fresh, &rule);
        assert_true(same_state(model, fresh));
    }
    cygnet_tensors_destroy(weights);
    cygnet_model_destroy(model);
    cygnet_model_destroy(fresh);
}

static void test_a_failed_step_is_no_step_of_adam(void **state)
{
    cygnet_model_options options = default_options(CYGNET_OPTIMIZER_ADAM);
    cygnet_optimizer rule = make_rule(CYGNET_OPTIMIZER_ADAM);
    cygnet_model *model = make(&options), *twin = make(&options);
    struct cygnet_stop stop = {0};

    (void)state;
    stop_set(&stop);
    step(model, &rule), step(twin, &rule);
    model_set_stop(model, &stop);
    assert_int_equal(cygnet_model_step(model, NULL, images, labels, N, &rule, NULL),
                     CYGNET_ECANCELLED);
    model_set_stop(model, NULL);
    step(model, &rule), step(twin, &rule);
    assert_true(same_state(model, twin));
    cygnet_model_destroy(model);
    cygnet_model_destroy(twin);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference_steps_match_pytorch),
        cmocka_unit_test(test_chosen_steps_match_pytorch),
        cmocka_unit_test(test_the_proximal_term_pulls_to_the_reference),
        cmocka_unit_test(test_a_new_reference_ends_the_pull),
        cmocka_unit_test(test_set_weights_sets_the_reference),
        cmocka_unit_test(test_a_pull_to_the_present_changes_no_bit),
        cmocka_unit_test(test_a_clipped_step_goes_as_far_as_it_may),
        cmocka_unit_test(test_a_wide_clip_changes_no_bit),
        cmocka_unit_test(test_train_step_is_a_step_of_sgd),
        cmocka_unit_test(test_threads_do_not_change_a_bit),
        cmocka_unit_test(test_set_weights_begins_adam_anew),
        cmocka_unit_test(test_a_failed_step_is_no_step_of_adam),
    };

    return cmocka_run_group_tests(tests, set_up, NULL);
}
