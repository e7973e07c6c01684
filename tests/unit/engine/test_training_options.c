/* What options say of a training: what is trained, how fast, with what memory. */
#include "fixture.h"

#include "engine/nn/training.h"

#include <math.h>
#include <string.h>

enum { N = 6, SIDE = 12, ELEMENTS = SIDE * SIDE };

static float images[N * ELEMENTS];
static int64_t labels[N];

static struct kernels reference_kernels;

static int set_up(void **state)
{
    (void)state;
    assert_true(kernels_class(&reference_kernels, 0));
    hash_fill_f32(images, FIXTURE_SEED, "x", N * ELEMENTS, 1.0);
    hash_fill_labels(labels, FIXTURE_SEED, N, 10);
    return 0;
}

static cygnet_model_options lenet_options(void)
{
    cygnet_model_options options;

    cygnet_model_options_init(&options);
    options.architecture = "lenet5";
    options.n_input_dims = 3;
    options.input[0] = 1;
    options.input[1] = options.input[2] = SIDE;
    options.max_batch = N;
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

static void step(cygnet_model *model, const cygnet_optimizer *rule)
{
    cygnet_error err;

    if (cygnet_model_step(model, NULL, images, labels, N, rule, &err) != CYGNET_OK)
        fail_msg("%s", err.message);
}

/* SGD with everything that one step of it may have. */
static cygnet_optimizer heavy_rule(void)
{
    cygnet_optimizer rule;

    cygnet_optimizer_init(&rule, CYGNET_OPTIMIZER_SGD);
    rule.lr = 0.25, rule.momentum = 0.5, rule.weight_decay = 0.125;
    return rule;
}

static bool same_tensor(const cygnet_model *a, const cygnet_model *b, const char *name)
{
    size_t at = find_tensor(a, name);
    size_t n = layout_elements(&a->graph.tensors[at].layout);

    return memcmp(model_value(a, at), model_value(b, find_tensor(b, name)),
                  n * sizeof(real)) == 0;
}

/* ---- Frozen parameters --------------------------------------------------- */

/* One step of a model with `frozen`: those named stay as they were, every other one
 * moves just as without. */
static void check_frozen(const char *frozen, const char *const *names, size_t n_names)
{
    cygnet_model_options options = lenet_options();
    cygnet_optimizer rule = heavy_rule();
    cygnet_model *before = make(&options), *free_one = make(&options), *model;
    cygnet_tensors *gradients;

    options.frozen = frozen;
    model = make(&options);
    assert_int_equal(cygnet_model_gradients(&gradients, NULL, model, images, labels, N,
                                            NULL),
                     CYGNET_OK);
    assert_int_equal(cygnet_tensors_count(gradients), 10 - n_names);
    step(model, &rule), step(free_one, &rule);
    for (size_t i = 0; i < model->graph.n_tensors; i++) {
        const char *name = model->graph.tensors[i].name;
        bool is_frozen = false;

        if (model->graph.tensors[i].kind != TENSOR_PARAMETER)
            continue;
        for (size_t k = 0; k < n_names; k++)
            is_frozen |= strcmp(name, names[k]) == 0;
        assert_true(same_tensor(model, is_frozen ? before : free_one, name));
        assert_true((cygnet_tensors_find(gradients, name) == NULL) == is_frozen);
        assert_true((model->program.of[i].state[0] < 0) == is_frozen);
    }
    cygnet_tensors_destroy(gradients);
    cygnet_model_destroy(model);
    cygnet_model_destroy(before);
    cygnet_model_destroy(free_one);
}

static void test_frozen_parameters_stay_bit_by_bit(void **state)
{
    static const char *const front[] = {"conv1.weight", "conv1.bias", "conv2.weight",
                                        "conv2.bias",   "fc1.weight", "fc1.bias"};
    static const char *const middle[] = {"conv2.weight", "conv2.bias", "fc3.bias"};

    (void)state;
    check_frozen("conv1,conv2,fc1", front, 6);
    check_frozen("fc3.bias,conv2", middle, 3);
    check_frozen("", front, 0);
}

static void test_a_frozen_front_is_not_gone_back_through(void **state)
{
    cygnet_model_options options = lenet_options();
    cygnet_model *all = make(&options), *head;
    const struct program *p;

    (void)state;
    options.frozen = "conv1,conv2,fc1,fc2";
    head = make(&options);
    p = &head->program;
    for (size_t i = p->backward.begin; i < p->backward.end; i++)
        assert_true(p->calls[i].node >= head->graph.nodes + head->graph.n_nodes - 2);
    assert_int_equal(p->of[find_tensor(head, "conv1.weight")].grad, -1);
    assert_true(cygnet_model_planned_bytes(head) <
                cygnet_model_planned_bytes(all) - 2 * sizeof(real) * 400 * 16);
    assert_int_equal(cygnet_model_n_parameters(head), 84 * 10 + 10);
    cygnet_model_destroy(all);
    cygnet_model_destroy(head);
}

static void test_a_model_may_be_frozen_altogether(void **state)
{
    cygnet_model_options options = lenet_options();
    cygnet_optimizer rule = heavy_rule();
    cygnet_model *before = make(&options), *model;

    (void)state;
    options.frozen = "conv1,conv2,fc1,fc2,fc3";
    options.clip_gradients = 1;
    rule.max_grad_norm = 1;
    model = make(&options);
    step(model, &rule);
    assert_true(same_state(model, before));
    assert_int_equal(cygnet_model_n_parameters(model), 0);
    cygnet_model_destroy(before);
    cygnet_model_destroy(model);
}

static void test_a_frozen_batch_norm_goes_on_counting(void **state)
{
    const struct shape input = {3, {1, SIDE, SIDE}};
    cygnet_model_options options = lenet_options();
    cygnet_optimizer rule = heavy_rule();
    struct graph graph;
    cygnet_model *model;

    (void)state;
    options.frozen = "norm";
    graph_init(&graph, NULL);
    (void)graph_cross_entropy(
        &graph,
        graph_linear(&graph, "head",
                     graph_batch_norm2d(&graph, "norm", graph_input(&graph, &input)),
                     10));
    assert_int_equal(model_assemble(&model, &graph, &reference_kernels,
                                    &nn_serial_executor, &options, NULL),
                     CYGNET_OK);
    step(model, &rule);
    assert_true(*model_counter(model, find_tensor(model, "norm.num_batches_tracked")) ==
                1);
    assert_true(model_value(model, find_tensor(model, "norm.running_mean"))[0] != 0);
    assert_true(model_value(model, find_tensor(model, "norm.weight"))[0] == 1);
    cygnet_model_destroy(model);
}

/* A layer used twice, on what is trained and on the input: the second use has
 * nothing to go back for, though the first one's gradient is made. */
static void test_a_frozen_layer_used_twice_is_judged_by_its_input(void **state)
{
    const struct shape input = {1, {10}};
    cygnet_model_options options = lenet_options();
    struct graph graph;
    union op_params params;
    int x, twice[3], in[3];

    (void)state;
    options.frozen = "shared";
    graph_init(&graph, NULL);
    x = graph_input(&graph, &input);
    twice[0] = graph_linear(&graph, "shared", graph_linear(&graph, "first", x, 10), 10);
    memcpy(in, graph.nodes[1].in, sizeof(in));
    params = graph.nodes[1].params;
    in[0] = x;
    twice[1] = graph_node(&graph, OP_LINEAR, "again", &params, in, 3);
    twice[2] = graph_add(&graph, "sum", twice[0], twice[1]);
    assert_true(graph_cross_entropy(&graph, twice[2]) >= 0);
    assert_int_equal(training_apply(&graph, &options, NULL), CYGNET_OK);
    assert_true(graph.tensors[twice[0]].needs_grad);
    assert_false(graph.tensors[twice[1]].needs_grad);
    graph_clear(&graph);
}

static void test_a_prefix_is_of_whole_components(void **state)
{
    cygnet_model_options options = lenet_options();
    cygnet_model *model;

    (void)state;
    options.architecture = "mlp:hidden=3,layers=10";
    options.frozen = "fc1";
    model = make(&options);
    assert_true(model->graph.tensors[find_tensor(model, "fc1.weight")].frozen);
    assert_true(model->graph.tensors[find_tensor(model, "fc1.bias")].frozen);
    assert_false(model->graph.tensors[find_tensor(model, "fc10.weight")].frozen);
    cygnet_model_destroy(model);
}

/* ---- Groups -------------------------------------------------------------- */

static void test_learning_rates_follow_the_longest_prefix(void **state)
{
    static const cygnet_lr_multiplier multipliers[] = {{"fc1.bias", 0}, {"fc1", 0.5}};
    cygnet_model_options options = lenet_options();
    cygnet_optimizer rule = heavy_rule(), half = rule;
    cygnet_model *before = make(&options), *plain = make(&options);
    cygnet_model *slow = make(&options), *model;

    (void)state;
    options.lr_multipliers = multipliers;
    options.n_lr_multipliers = 2;
    half.lr /= 2;
    model = make(&options);
    step(model, &rule), step(plain, &rule), step(slow, &half);
    assert_true(same_tensor(model, slow, "fc1.weight"));
    assert_true(same_tensor(model, before, "fc1.bias"));
    assert_true(same_tensor(model, plain, "fc2.weight"));
    assert_false(same_tensor(slow, plain, "fc1.weight"));
    cygnet_model_destroy(before);
    cygnet_model_destroy(plain);
    cygnet_model_destroy(slow);
    cygnet_model_destroy(model);
}

static void check_decay_of_vectors(cygnet_optimizer_kind kind)
{
    cygnet_model_options options = lenet_options();
    cygnet_optimizer all, matrices, none;
    cygnet_model *model, *decayed, *free_one;

    options.optimizer = kind;
    cygnet_optimizer_init(&all, kind);
    all.weight_decay = 0.5;
    matrices = none = all;
    matrices.decay_norms_and_biases = 0;
    none.weight_decay = 0;
    model = make(&options), decayed = make(&options), free_one = make(&options);
    step(model, &matrices), step(decayed, &all), step(free_one, &none);
    assert_true(same_tensor(model, decayed, "conv2.weight"));
    assert_true(same_tensor(model, free_one, "conv2.bias"));
    assert_false(same_tensor(decayed, free_one, "conv2.weight"));
    assert_false(same_tensor(decayed, free_one, "conv2.bias"));
    cygnet_model_destroy(model);
    cygnet_model_destroy(decayed);
    cygnet_model_destroy(free_one);
}

static void test_norms_and_biases_can_be_spared_the_decay(void **state)
{
    (void)state;
    check_decay_of_vectors(CYGNET_OPTIMIZER_SGD);
    check_decay_of_vectors(CYGNET_OPTIMIZER_ADAMW);
}

/* ---- Smoothed labels ----------------------------------------------------- */

static void test_an_evaluation_does_not_smooth(void **state)
{
    cygnet_model_options options = lenet_options();
    cygnet_metrics a = {.struct_size = sizeof(a)}, b = a, smooth = a;
    cygnet_model *plain = make(&options), *model;
    cygnet_optimizer rule = heavy_rule();

    (void)state;
    options.label_smoothing = 0.5;
    model = make(&options);
    assert_int_equal(cygnet_model_evaluate(plain, &a, images, labels, N, NULL),
                     CYGNET_OK);
    assert_int_equal(cygnet_model_evaluate(model, &b, images, labels, N, NULL),
                     CYGNET_OK);
    assert_int_equal(cygnet_model_step(model, &smooth, images, labels, N, &rule, NULL),
                     CYGNET_OK);
    assert_true(a.loss == b.loss);
    assert_true(smooth.loss != a.loss);
    cygnet_model_destroy(plain);
    cygnet_model_destroy(model);
}

/* With the labels smoothed away altogether only the mean of the outputs counts: the
 * loss of equal outputs is ln K and their gradient 0. */
static void test_labels_smoothed_away_do_not_matter(void **state)
{
    const real z[PANEL] = {2, 2, 2, 2};
    const int64_t label[1] = {3};
    real loss, dz[PANEL];

    (void)state;
    reference_kernels.cross_entropy_forward(&loss, z, label, 1, 1, 4);
    reference_kernels.cross_entropy_backward(dz, z, label, 1, 1, 1, 4);
    assert_true(fabs((double)loss - log(4)) < (double)REAL_EPSILON);
    for (size_t c = 0; c < 4; c++)
        assert_true(dz[c] == 0);
}

/* ---- Memory -------------------------------------------------------------- */

static uint64_t planned(const cygnet_model_options *options)
{
    cygnet_model *model = make(options);
    uint64_t bytes = model->program.arena_bytes;

    cygnet_model_destroy(model);
    return bytes;
}

/* logistic: 10 x 144 weights and 10 biases, padded: whole cache lines. */
static void test_memory_is_planned_for_what_the_optimiser_remembers(void **state)
{
    const uint64_t copy = padded(10) * (padded(ELEMENTS) + 1) * sizeof(float);
    cygnet_model_options options = lenet_options();
    uint64_t plain;

    (void)state;
    options.architecture = "logistic";
    options.optimizer = CYGNET_OPTIMIZER_PLAIN_SGD;
    plain = planned(&options);
    options.optimizer = CYGNET_OPTIMIZER_SGD;
    assert_int_equal(planned(&options), plain + copy);
    options.optimizer = CYGNET_OPTIMIZER_ADAM;
    assert_int_equal(planned(&options), plain + 2 * copy);
    options.optimizer = CYGNET_OPTIMIZER_ADAMW;
    options.proximal = 1;
    assert_int_equal(planned(&options), plain + 3 * copy);
    options.frozen = "linear.weight";
    assert_int_equal(planned(&options), plain + 3 * 64); /* of the bias alone */
}

/* ---- Refusals ------------------------------------------------------------ */

static void check_create(const cygnet_model_options *options, const char *message)
{
    cygnet_model *model;
    cygnet_error err = {0};

    assert_int_equal(model_create(&model, options, &nn_serial_executor, &err),
                     CYGNET_EINVAL);
    assert_null(model);
    if (!strstr(err.message, message))
        fail_msg("\"%s\" does not say \"%s\"", err.message, message);
}

static void test_options_that_make_no_sense_are_refused(void **state)
{
    static const cygnet_lr_multiplier unknown = {"fc7", 2}, negative = {"fc1", -1};
    static const cygnet_lr_multiplier nameless = {NULL, 1};
    const cygnet_model_options good = lenet_options();
    cygnet_model_options o;

    (void)state;
    o = good, o.frozen = "fc1,fc", check_create(&o, "frozen: no parameter's name begins");
    o = good, o.frozen = "fc1,,fc2", check_create(&o, "begins with \"\"");
    o = good, o.frozen = "fc1,", check_create(&o, "begins with \"\"");
    o = good, o.label_smoothing = 1.5, check_create(&o, "label_smoothing is 1.5");
    o = good, o.label_smoothing = NAN, check_create(&o, "label_smoothing");
    o = good, o.optimizer = (cygnet_optimizer_kind)4, check_create(&o, "optimizer 4");
    o = good, o.n_lr_multipliers = 1, check_create(&o, "lr_multipliers: 1");
    o.lr_multipliers = &unknown, check_create(&o, "begins with \"fc7\"");
    o.lr_multipliers = &negative, check_create(&o, "fc1 times -1");
    o.lr_multipliers = &nameless, check_create(&o, "begins with \"\"");
}

/* A step that must be refused with that message, and change nothing. */
static void check_step(cygnet_model *model, const cygnet_optimizer *rule,
                       const char *message)
{
    cygnet_model_options options = lenet_options();
    cygnet_model *fresh = make(&options);
    cygnet_error err = {0};

    assert_int_equal(cygnet_model_step(model, NULL, images, labels, N, rule, &err),
                     CYGNET_EINVAL);
    if (!strstr(err.message, message))
        fail_msg("\"%s\" does not say \"%s\"", err.message, message);
    assert_true(same_state(model, fresh));
    cygnet_model_destroy(fresh);
}

static void test_a_step_needs_what_was_planned(void **state)
{
    cygnet_model_options options = lenet_options();
    cygnet_model *sgd = make(&options), *adam, *plain;
    cygnet_optimizer rule = heavy_rule(), r;

    (void)state;
    options.optimizer = CYGNET_OPTIMIZER_ADAM;
    adam = make(&options);
    options.optimizer = CYGNET_OPTIMIZER_PLAIN_SGD;
    plain = make(&options);
    check_step(adam, &rule, "remembers a velocity, the model's options planned for two");
    check_step(plain, &rule, "options planned for nothing");
    cygnet_optimizer_init(&r, CYGNET_OPTIMIZER_ADAMW);
    check_step(sgd, &r, "remembers two moments");
    r = rule, r.max_grad_norm = 1, check_step(sgd, &r, "clip_gradients");
    r = rule, r.prox_mu = 1, check_step(sgd, &r, "proximal");
    assert_int_equal(cygnet_model_set_reference(sgd, NULL), CYGNET_EINVAL);
    rule.momentum = 0; /* remembers nothing: any plan will do */
    step(adam, &rule), step(plain, &rule), step(sgd, &rule);
    assert_true(same_state(adam, plain) && same_state(sgd, plain));
    cygnet_model_destroy(sgd);
    cygnet_model_destroy(adam);
    cygnet_model_destroy(plain);
}

static void test_settings_that_make_no_sense_are_refused(void **state)
{
    cygnet_model_options options = lenet_options();
    cygnet_model *model = make(&options);
    const cygnet_optimizer good = heavy_rule();
    cygnet_optimizer r;

    (void)state;
    r = good, r.lr = NAN, check_step(model, &r, "lr is nan");
    r = good, r.momentum = -1, check_step(model, &r, "momentum is -1");
    r = good, r.weight_decay = INFINITY, check_step(model, &r, "weight_decay is inf");
    r = good, r.beta1 = 1, check_step(model, &r, "beta1 is 1");
    r = good, r.beta2 = 1, check_step(model, &r, "beta2 is 1");
    r = good, r.eps = 0, check_step(model, &r, "eps is 0: want more than 0");
    r = good, r.max_grad_norm = -1, check_step(model, &r, "max_grad_norm is -1");
    r = good, r.prox_mu = -1, check_step(model, &r, "prox_mu is -1");
    r = good, r.nesterov = 1, r.momentum = 0, check_step(model, &r, "nesterov");
    r = good, r.kind = CYGNET_OPTIMIZER_PLAIN_SGD, check_step(model, &r, "plain SGD");
    r = good, r.kind = (cygnet_optimizer_kind)-1, check_step(model, &r, "kind -1");
    r = good, r.struct_size = 0, check_step(model, &r, "_init");
    check_step(model, NULL, "no optimizer settings");
    cygnet_model_destroy(model);
}

static void test_older_optimizer_settings_get_the_defaults(void **state)
{
    cygnet_model_options options = lenet_options();
    cygnet_model *model, *twin;
    cygnet_optimizer older, rule;

    (void)state;
    options.optimizer = CYGNET_OPTIMIZER_ADAMW;
    model = make(&options), twin = make(&options);
    cygnet_optimizer_init(&rule, CYGNET_OPTIMIZER_ADAMW);
    memset(&older, 0xff, sizeof(older)); /* what lies behind the older struct */
    older.struct_size = offsetof(cygnet_optimizer, momentum);
    older.kind = CYGNET_OPTIMIZER_ADAMW;
    older.lr = rule.lr;
    step(model, &older), step(twin, &rule);
    assert_true(same_state(model, twin));
    cygnet_model_destroy(model);
    cygnet_model_destroy(twin);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frozen_parameters_stay_bit_by_bit),
        cmocka_unit_test(test_a_frozen_front_is_not_gone_back_through),
        cmocka_unit_test(test_a_model_may_be_frozen_altogether),
        cmocka_unit_test(test_a_frozen_batch_norm_goes_on_counting),
        cmocka_unit_test(test_a_frozen_layer_used_twice_is_judged_by_its_input),
        cmocka_unit_test(test_a_prefix_is_of_whole_components),
        cmocka_unit_test(test_learning_rates_follow_the_longest_prefix),
        cmocka_unit_test(test_norms_and_biases_can_be_spared_the_decay),
        cmocka_unit_test(test_an_evaluation_does_not_smooth),
        cmocka_unit_test(test_labels_smoothed_away_do_not_matter),
        cmocka_unit_test(test_memory_is_planned_for_what_the_optimiser_remembers),
        cmocka_unit_test(test_options_that_make_no_sense_are_refused),
        cmocka_unit_test(test_a_step_needs_what_was_planned),
        cmocka_unit_test(test_settings_that_make_no_sense_are_refused),
        cmocka_unit_test(test_older_optimizer_settings_get_the_defaults),
    };

    return cmocka_run_group_tests(tests, set_up, NULL);
}
