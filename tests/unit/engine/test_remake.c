/* Models within a limit of memory: what is made again is what it was, bit by bit, and
 * the limit is held or the message says by how much it is missed. */
#include "fixture.h"

#include "engine/nn/zoo.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 8, N_STEPS = 3, N_VALUES = 3 * 64 * 64 };

static float images[BATCH * N_VALUES];
static int64_t labels[BATCH];

static const cygnet_sgd rule = {sizeof(cygnet_sgd), 0.05f, 0.9f, 5e-4f};

static int set_up(void **state)
{
    (void)state;
    hash_fill_f32(images, FIXTURE_SEED, "x", BATCH * N_VALUES, 1.0);
    hash_fill_labels(labels, FIXTURE_SEED, BATCH, 10);
    return 0;
}

/* ---- An allocator that counts -------------------------------------------- */

/* fail_at  the request that is refused, counted from 1; 0: none */
struct counting {
    uint64_t live;
    int calls;
    int fail_at;
};

enum { HEADER = 64 };

static void *counting_resize(void *ptr, size_t size, void *user)
{
    struct counting *c = user;
    size_t old = 0;
    char *block = ptr ? (char *)ptr - HEADER : NULL;

    if (++c->calls == c->fail_at)
        return NULL;
    if (block)
        memcpy(&old, block, sizeof(old));
    block = realloc(block, size + HEADER);
    assert_non_null(block);
    memcpy(block, &size, sizeof(size));
    c->live += size - old;
    return block + HEADER;
}

static void counting_release(void *ptr, void *user)
{
    struct counting *c = user;
    char *block = (char *)ptr - HEADER;
    size_t old;

    memcpy(&old, block, sizeof(old));
    c->live -= old;
    free(block);
}

/* ---- Limits -------------------------------------------------------------- */

struct limited {
    cygnet_model *model;
    cygnet_error err;
    cygnet_status st;
};

static cygnet_model_options limited_options(const char *spec, uint64_t max_bytes,
                                            const cygnet_allocator *alloc)
{
    cygnet_model_options options;

    cygnet_model_options_init(&options);
    options.architecture = spec;
    options.n_input_dims = 3;
    options.input[0] = 3;
    options.input[1] = options.input[2] = 64;
    options.max_batch = BATCH;
    options.max_bytes = max_bytes;
    options.allocator = alloc;
    options.seed = 3;
    return options;
}

static struct limited make_limited(const char *spec, uint64_t max_bytes,
                                   const cygnet_allocator *alloc)
{
    cygnet_model_options options = limited_options(spec, max_bytes, alloc);
    struct limited made = {0};

    made.st = model_create(&made.model, &options, &nn_serial_executor, &made.err);
    return made;
}

/* With threads of its own. */
static struct limited make_threaded(const char *spec, uint64_t max_bytes,
                                    const cygnet_allocator *alloc)
{
    cygnet_model_options options = limited_options(spec, max_bytes, alloc);
    struct limited made = {0};

    options.n_threads = 4;
    made.st = cygnet_model_create(&made.model, &options, &made.err);
    return made;
}

/* The number that the message of an impossible limit names, which has to add up. */
static uint64_t read_least(const struct limited *refused, uint64_t limit)
{
    uint64_t least = 0, named = 0, missing = 0;

    assert_int_equal(refused->st, CYGNET_ENOMEM);
    assert_int_equal(sscanf(refused->err.message,
                            "the model needs at least %" SCNu64
                            " bytes, the limit is %" SCNu64 ": %" SCNu64 " too few",
                            &least, &named, &missing),
                     3);
    assert_int_equal(named, limit);
    assert_int_equal(missing, least - limit);
    return least;
}

static void train(cygnet_model *model, uint32_t n)
{
    assert_int_equal(cygnet_model_train_step(model, NULL, images, labels, n, &rule, NULL),
                     CYGNET_OK);
}

/* Trained within the limit: as `whole`, which has none. */
static void check_limited(const char *spec, uint64_t limit, const cygnet_model *whole)
{
    struct counting c = {0};
    const cygnet_allocator alloc = {counting_resize, counting_release, &c};
    struct limited made = make_limited(spec, limit, &alloc);
    int calls = c.calls;

    if (made.st != CYGNET_OK)
        fail_msg("%s in %" PRIu64 " bytes: %s", spec, limit, made.err.message);
    assert_true(cygnet_model_planned_bytes(made.model) <= limit);
    assert_int_equal(c.live, cygnet_model_planned_bytes(made.model));
    for (uint32_t i = 0; i < N_STEPS; i++)
        train(made.model, BATCH - i);
    assert_int_equal(c.calls, calls);
    assert_true(same_state(made.model, whole));
    cygnet_model_destroy(made.model);
    assert_int_equal(c.live, 0);
}

/* Limits between the least that is possible, and all. */
static void check_model(const char *spec, uint64_t most_percent)
{
    struct limited whole = make_limited(spec, 0, NULL);
    struct limited refused = make_limited(spec, 1000, NULL);
    uint64_t all = cygnet_model_planned_bytes(whole.model);
    uint64_t least = read_least(&refused, 1000);

    assert_true(least * 100 <= all * most_percent);
    for (uint32_t i = 0; i < N_STEPS; i++)
        train(whole.model, BATCH - i);
    for (uint64_t fifths = 0; fifths <= 5; fifths += fifths == 0 ? 2 : 1)
        check_limited(spec, least + (all - least) * fifths / 5, whole.model);
    refused = make_limited(spec, least - 1, NULL);
    assert_int_equal(read_least(&refused, least - 1), least);
    cygnet_model_destroy(whole.model);
}

static size_t calls_within(const char *spec, uint64_t limit)
{
    struct limited made = make_limited(spec, limit, NULL);
    size_t n;

    assert_int_equal(made.st, CYGNET_OK);
    n = made.model->program.n_calls;
    cygnet_model_destroy(made.model);
    return n;
}

static void test_no_more_is_made_again_than_the_limit_asks_for(void **state)
{
    struct limited whole = make_limited("mobilenet_v2", 0, NULL);
    struct limited refused = make_limited("mobilenet_v2", 1000, NULL);
    uint64_t all = cygnet_model_planned_bytes(whole.model);
    uint64_t least = read_least(&refused, 1000);
    size_t n_calls = whole.model->program.n_calls;

    (void)state;
    assert_int_equal(calls_within("mobilenet_v2", all), n_calls);
    assert_in_range(calls_within("mobilenet_v2", all - 1), n_calls + 1, n_calls + 5);
    assert_true(calls_within("mobilenet_v2", least) > n_calls + 7);
    cygnet_model_destroy(whole.model);
}

static void test_the_limit_covers_the_threads_of_the_model(void **state)
{
    struct counting c = {0};
    const cygnet_allocator alloc = {counting_resize, counting_release, &c};
    struct limited whole = make_threaded("ds_cnn", 0, NULL);
    struct limited made = make_threaded("ds_cnn", 1000, &alloc);
    uint64_t all = cygnet_model_planned_bytes(whole.model);
    uint64_t least = read_least(&made, 1000);
    const uint64_t limits[] = {least, least + (all - least) / 2, all - 1, all};

    (void)state;
    assert_int_equal(c.live, 0);
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        made = make_threaded("ds_cnn", limits[i], &alloc);
        assert_int_equal(made.st, CYGNET_OK);
        assert_true(c.live <= limits[i]);
        assert_int_equal(c.live, cygnet_model_planned_bytes(made.model));
        cygnet_model_destroy(made.model);
    }
    made = make_threaded("ds_cnn", least - 1, &alloc);
    assert_int_equal(read_least(&made, least - 1), least);
    assert_int_equal(c.live, 0);
    cygnet_model_destroy(whole.model);
}

static void test_every_refused_allocation_is_reported_and_leaks_nothing(void **state)
{
    cygnet_status st = CYGNET_ENOMEM;
    struct limited refused = make_limited("ds_cnn", 1000, NULL);
    uint64_t least = read_least(&refused, 1000);

    (void)state;
    for (int at = 1; st == CYGNET_ENOMEM; at++) {
        struct counting c = {.fail_at = at};
        const cygnet_allocator alloc = {counting_resize, counting_release, &c};
        struct limited made = make_limited("ds_cnn", least, &alloc);

        st = made.st;
        cygnet_model_destroy(made.model);
        assert_int_equal(c.live, 0);
        assert_true(at < 2000);
    }
    assert_int_equal(st, CYGNET_OK);
}

static void test_resnet18(void **state)
{
    (void)state;
    check_model("resnet18", 95);
}

static void test_mobilenet_v2(void **state)
{
    (void)state;
    check_model("mobilenet_v2", 75);
}

static void test_mobilenet_v3_small(void **state)
{
    (void)state;
    check_model("mobilenet_v3_small", 90);
}

static void test_shufflenet_v2_x0_5(void **state)
{
    (void)state;
    check_model("shufflenet_v2_x0_5", 90);
}

/* ---- Any choice of what is made again ------------------------------------ */

static struct kernels kernels;

/* Plans the model once more, with a hashed choice of one in `one_in` outputs. */
static void plan_again(cygnet_model *model, uint64_t seed, int64_t one_in)
{
    bool *remade = calloc(model->graph.n_nodes, sizeof(*remade));

    assert_non_null(remade);
    for (size_t i = 0; i < model->graph.n_nodes; i++)
        remade[i] = op_of(&model->graph.nodes[i])->can_remake &&
                    hash_label(seed, i, (uint32_t)one_in) == 0;
    program_clear(&model->program);
    assert_int_equal(lower_graph(&model->program, &model->graph, &kernels,
                                 model->max_batch, 1, remade, NULL),
                     CYGNET_OK);
    assert_int_equal(program_allocate(&model->program, NULL), CYGNET_OK);
    hash_weights(model, FIXTURE_SEED);
    free(remade);
}

typedef cygnet_model *(*make_fn)(void);

static void check_choices(make_fn make)
{
    cygnet_model *model = make(), *other = make();

    for (uint32_t i = 0; i < N_STEPS; i++)
        train(model, BATCH - i);
    for (uint64_t seed = 0; seed < 6; seed++) {
        plan_again(other, seed, seed == 0 ? 1 : 2 + (int64_t)seed % 2);
        other->n_steps = other->n_moments = 0;
        for (uint32_t i = 0; i < N_STEPS; i++)
            train(other, BATCH - i);
        assert_true(same_state(model, other));
    }
    cygnet_model_destroy(model);
    cygnet_model_destroy(other);
}

static cygnet_model *make_zoo(const char *spec)
{
    return make_zoo_model(spec, &(struct shape){3, {3, 32, 32}}, 10, BATCH, &kernels,
                          &nn_serial_executor);
}

static cygnet_model *make_mobilenet_v3(void)
{
    return make_zoo("mobilenet_v3_small");
}

static cygnet_model *make_shufflenet(void)
{
    return make_zoo("shufflenet_v2_x0_5");
}

static cygnet_model *make_squeezenet(void)
{
    return make_zoo("squeezenet1_1");
}

static cygnet_model *make_resnet(void)
{
    return make_zoo("resnet18");
}

static int conv(struct graph *g, const char *name, int in, size_t n, size_t groups)
{
    const struct conv2d_shape shape = {.c_out = n,
                                       .k_h = 3,
                                       .k_w = 3,
                                       .stride_h = 1,
                                       .stride_w = 1,
                                       .pad_h = 1,
                                       .pad_w = 1,
                                       .dilation_h = 1,
                                       .dilation_w = 1,
                                       .groups = groups};

    return graph_conv2d(g, name, in, &shape);
}

/* Another layer with the weights of the node that made `like`. */
static int shared_conv(struct graph *g, const char *name, int in, int like)
{
    const struct node node = g->nodes[g->tensors[like].producer];

    return graph_node(g, OP_CONV2D, name, &node.params,
                      (const int[]){in, node.in[1], node.in[2]}, 3);
}

/* Shared weights, groups, dropout, pools, scaled and moved channels, one behind the
 * other. */
static cygnet_model *make_mixture(void)
{
    const struct pool2d_shape pool = {.k_h = 2, .k_w = 2, .stride_h = 2, .stride_w = 2};
    struct graph g;
    int t, s, sides[3];

    graph_init(&g, NULL);
    t = graph_input(&g, &(struct shape){3, {3, 10, 12}});
    s = graph_relu(&g, "relu", conv(&g, "a", t, 24, 1));
    t = graph_relu(&g, "again", conv(&g, "b", s, 24, 1));
    t = graph_relu(&g, "twice", shared_conv(&g, "c", t, g.nodes[2].out));
    t = graph_dropout(&g, "dropout", graph_add(&g, "add", s, t), 0.25);
    t = graph_batch_norm2d(&g, "norm", conv(&g, "d", t, 24, 4));
    t = graph_activate(&g, "hs", t, ACT_HARDSWISH);
    s = graph_activate(&g, "sig", graph_avg_pool2d(&g, "squeeze", t, 1, 1), ACT_SIGMOID);
    t = graph_scale(&g, "scale", t, s);
    sides[0] = graph_slice(&g, "slice", t, 3, 9);
    sides[1] = graph_activate(&g, "other", conv(&g, "e", t, 5, 1), ACT_HARDSIGMOID);
    sides[2] = graph_max_pool2d(
        &g, "same", conv(&g, "f", t, 24, 24),
        &(struct pool2d_shape){.k_h = 1, .k_w = 1, .stride_h = 1, .stride_w = 1});
    t = graph_channel_shuffle(&g, "shuffle", graph_concat(&g, "concat", sides, 3), 2);
    t = graph_max_pool2d(&g, "max", conv(&g, "g", t, 20, 1), &pool);
    t = graph_batch_norm2d(&g, "last", conv(&g, "h", t, 20, 20));
    t = graph_flatten(&g, "flatten", graph_avg_pool2d(&g, "mean", t, 1, 1));
    assert_true(graph_cross_entropy(&g, graph_linear(&g, "fc", t, 10)) >= 0);
    return make_graph_model(&g, BATCH, &kernels);
}

static void test_any_choice_gives_the_same_bits(void **state)
{
    static const make_fn makes[] = {make_mobilenet_v3, make_shufflenet, make_squeezenet,
                                    make_resnet, make_mixture};

    (void)state;
    kernels_choose(&kernels);
    for (size_t i = 0; i < sizeof(makes) / sizeof(makes[0]); i++)
        check_choices(makes[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_more_is_made_again_than_the_limit_asks_for),
        cmocka_unit_test(test_the_limit_covers_the_threads_of_the_model),
        cmocka_unit_test(test_every_refused_allocation_is_reported_and_leaks_nothing),
        cmocka_unit_test(test_resnet18),
        cmocka_unit_test(test_mobilenet_v2),
        cmocka_unit_test(test_mobilenet_v3_small),
        cmocka_unit_test(test_shufflenet_v2_x0_5),
        cmocka_unit_test(test_any_choice_gives_the_same_bits),
    };

    return cmocka_run_group_tests(tests, set_up, NULL);
}
