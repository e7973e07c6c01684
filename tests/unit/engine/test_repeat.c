/* Steps of whole models, bit by bit the same for any number of threads and any order
 * of the blocks; and without allocations. */
#include "fixture.h"

#include "engine/nn/zoo.h"
#include "engine/pool/pool.h"
#include "tests/fakes/fake_alloc.h"

#include <stdlib.h>
#include <string.h>

enum { BATCH = 5, N_STEPS = 2, MAX_ELEMENTS = 3 * 48 * 40, MAX_SHUFFLED = 65536 };

static float images[BATCH * MAX_ELEMENTS];
static int64_t labels[BATCH];

static const cygnet_sgd rule = {sizeof(cygnet_sgd), 0.05f, 0.9f, 5e-4f};

static const struct {
    const char *spec;
    struct shape input;
} models[] = {
    {"lenet5", {3, {1, 28, 28}}},      {"mobilenet_v2", {3, {3, 32, 32}}},
#ifndef __SANITIZE_THREAD__ /* takes ten times as long, and sees no more in these */
    {"mcmahan_cnn", {3, {1, 28, 28}}}, {"resnet18", {3, {3, 32, 32}}},
    {"resnet18", {3, {3, 48, 40}}},    {"mobilenet_v2", {3, {3, 48, 40}}},
#endif
};

enum { N_MODELS = sizeof(models) / sizeof(models[0]) };

static int set_up(void **state)
{
    (void)state;
    hash_fill_f32(images, FIXTURE_SEED, "x", BATCH * MAX_ELEMENTS, 1.0);
    hash_fill_labels(labels, FIXTURE_SEED, BATCH, 10);
    return 0;
}

static cygnet_model *make_model(size_t which, struct nn_executor *executor,
                                const cygnet_allocator *alloc)
{
    cygnet_model_options options;
    struct kernels kernels;
    struct graph graph;
    cygnet_model *model;

    cygnet_model_options_init(&options);
    options.max_batch = BATCH;
    options.seed = 3;
    kernels_choose(&kernels);
    graph_init(&graph, alloc);
    assert_int_equal(zoo_build(&graph, models[which].spec, &models[which].input, 10,
                               NULL),
                     CYGNET_OK);
    assert_int_equal(model_assemble(&model, &graph, &kernels, executor, &options, NULL),
                     CYGNET_OK);
    return model;
}

static double train(cygnet_model *model, uint32_t n)
{
    cygnet_metrics metrics = {.struct_size = sizeof(metrics)};

    assert_int_equal(cygnet_model_train_step(model, &metrics, images, labels, n, &rule,
                                             NULL),
                     CYGNET_OK);
    return metrics.loss;
}

/* The second step shows the momentum of the first; the last one has fewer examples. */
static void check_same_run(size_t which, struct nn_executor *executor)
{
    cygnet_model *model = make_model(which, &nn_serial_executor, NULL);
    cygnet_model *other = make_model(which, executor, NULL);

    for (int i = 0; i < N_STEPS; i++) {
        uint32_t n = i == 0 ? BATCH : BATCH - 2;

        assert_true(train(model, n) == train(other, n));
        assert_true(same_state(model, other));
    }
    cygnet_model_destroy(model);
    cygnet_model_destroy(other);
}

static void test_threads_do_not_change_a_bit_of_a_model(void **state)
{
    (void)state;
    for (uint32_t n_threads = 2; n_threads <= 3; n_threads++) {
        struct pool *pool;

        assert_int_equal(pool_create(&pool, n_threads, NULL, NULL), CYGNET_OK);
        for (size_t i = 0; i < N_MODELS; i++)
            check_same_run(i, pool_executor(pool));
        pool_destroy(pool);
    }
}

/* Runs blocks one at a time, in an order and on workers that a hash picks. */
struct shuffling {
    struct nn_executor executor;
    uint64_t start;
    size_t n_drawn;
    size_t longest;
};

static size_t draw(struct shuffling *s, size_t n)
{
    return (size_t)(hash_bits(s->start, s->n_drawn++) % n);
}

static void run_shuffled(struct nn_executor *executor, nn_block block, void *arg,
                         size_t n_blocks)
{
    static size_t order[MAX_SHUFFLED];
    struct shuffling *s = (struct shuffling *)executor;

    assert_true(n_blocks <= MAX_SHUFFLED);
    for (size_t i = 0; i < n_blocks; i++) {
        size_t j = draw(s, i + 1);

        order[i] = order[j];
        order[j] = i;
    }
    for (size_t i = 0; i < n_blocks; i++)
        block(arg, order[i], draw(s, s->executor.n_workers));
    s->longest = n_blocks > s->longest ? n_blocks : s->longest;
}

static void test_the_order_of_blocks_does_not_change_a_bit_of_a_model(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 2; seed++) {
        for (size_t i = 0; i < N_MODELS; i++) {
            struct shuffling s = {.executor = {run_shuffled, 4 + seed},
                                  .start = hash_start(seed, "blocks")};

            check_same_run(i, &s.executor);
            assert_true(s.longest > 3); /* there was something to shuffle */
        }
    }
}

/* Not even the first. */
static void test_steps_allocate_nothing(void **state)
{
    (void)state;
    for (size_t i = 2; i < N_MODELS; i += 2) {
        struct fake_alloc fake;
        cygnet_model *model;
        long n_requests;

        fake_alloc_init(&fake);
        model = make_model(i, &nn_serial_executor, &fake.alloc);
        n_requests = fake.n_requests;
        assert_true(n_requests > 0);
        for (int step = 0; step < 3; step++)
            (void)train(model, BATCH - (uint32_t)step);
        assert_int_equal(fake.n_requests, n_requests);
        cygnet_model_destroy(model);
        assert_int_equal(fake.n_live, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads_do_not_change_a_bit_of_a_model),
        cmocka_unit_test(test_the_order_of_blocks_does_not_change_a_bit_of_a_model),
        cmocka_unit_test(test_steps_allocate_nothing),
    };

    return cmocka_run_group_tests(tests, set_up, NULL);
}
