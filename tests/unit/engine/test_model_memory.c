/* A model within its planned memory. */
#include "fixture.h"

#include "engine/nn/place.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 30, BATCH = 9, IMAGE = 28 * 28, HEADER = 64 };

static float images[N * IMAGE];
static int64_t labels[N];

static int set_up(void **state)
{
    (void)state;
    hash_fill_f32(images, FIXTURE_SEED, "x", N * IMAGE, 1.0);
    hash_fill_labels(labels, FIXTURE_SEED, N, 10);
    return 0;
}

struct counting {
    uint64_t live;
    int calls;
    int fail_at; /* -1: never */
};

static void *counting_resize(void *ptr, size_t size, void *user)
{
    struct counting *c = user;
    size_t old = 0;
    char *block = ptr ? (char *)ptr - HEADER : NULL;

    if (c->calls++ == c->fail_at)
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

static cygnet_model_options options_with(const cygnet_allocator *allocator)
{
    cygnet_model_options options;

    cygnet_model_options_init(&options);
    options.architecture = "lenet5";
    options.max_batch = BATCH;
    options.n_threads = 2;
    options.allocator = allocator;
    return options;
}

static void test_planned_bytes_are_what_is_allocated_and_a_step_adds_none(void **state)
{
    struct counting c = {.fail_at = -1};
    const cygnet_allocator allocator = {counting_resize, counting_release, &c};
    cygnet_model_options options = options_with(&allocator);
    static const cygnet_sgd rule = {sizeof(cygnet_sgd), 0.05f, 0.9f, 5e-4f};
    cygnet_model *model;
    float logits[BATCH * 10];
    int calls;

    (void)state;
    assert_int_equal(cygnet_model_create(&model, &options, NULL), CYGNET_OK);
    assert_int_equal(c.live, cygnet_model_planned_bytes(model));
    calls = c.calls;
    for (uint32_t n = BATCH; n > 0; n -= 3)
        assert_int_equal(cygnet_model_train_step(model, NULL, images, labels, n, &rule,
                                                 NULL),
                         CYGNET_OK);
    assert_int_equal(cygnet_model_evaluate(model, NULL, images, labels, N, NULL),
                     CYGNET_OK);
    assert_int_equal(cygnet_model_logits(model, logits, images, BATCH, NULL), CYGNET_OK);
    assert_int_equal(c.calls, calls);
    cygnet_model_destroy(model);
    assert_int_equal(c.live, 0);
}

static void test_every_refused_allocation_is_reported_and_leaks_nothing(void **state)
{
    cygnet_status st = CYGNET_ENOMEM;

    (void)state;
    for (int at = 0; st == CYGNET_ENOMEM; at++) {
        struct counting c = {.fail_at = at};
        const cygnet_allocator allocator = {counting_resize, counting_release, &c};
        cygnet_model_options options = options_with(&allocator);
        cygnet_model *model;
        cygnet_tensors *weights = NULL;

        st = cygnet_model_create(&model, &options, NULL);
        if (st == CYGNET_OK)
            st = cygnet_model_get_weights(&weights, model, NULL);
        cygnet_tensors_destroy(weights);
        cygnet_model_destroy(model);
        assert_int_equal(c.live, 0);
        assert_true(at < 200);
    }
    assert_int_equal(st, CYGNET_OK);
}

static void test_max_bytes_is_held_and_the_message_says_what_is_needed(void **state)
{
    cygnet_model_options options = options_with(NULL);
    cygnet_model *model;
    uint64_t needed;
    char number[32];
    cygnet_error err;

    (void)state;
    assert_int_equal(model_create(&model, &options, &nn_serial_executor, NULL),
                     CYGNET_OK);
    needed = cygnet_model_planned_bytes(model);
    cygnet_model_destroy(model);
    options.max_bytes = needed - 1;
    assert_int_equal(model_create(&model, &options, &nn_serial_executor, &err),
                     CYGNET_ENOMEM);
    (void)snprintf(number, sizeof(number), "%" PRIu64, needed);
    assert_non_null(strstr(err.message, number));
    options.max_bytes = needed;
    assert_int_equal(model_create(&model, &options, &nn_serial_executor, &err),
                     CYGNET_OK);
    cygnet_model_destroy(model);
}

/* True if the buffer holds something in the call. */
static bool is_live(const struct buffer *b, uint32_t call)
{
    return call >= b->first && call <= b->last &&
           (b->resumed == 0 || call < b->gap || call >= b->resumed);
}

static bool share_a_call(const struct buffer *a, const struct buffer *b)
{
    for (uint32_t call = a->first; call <= a->last; call++) {
        if (is_live(a, call) && is_live(b, call))
            return true;
    }
    return false;
}

/* 60 buffers with hashed sizes and lives, each third one with a gap. */
static void test_live_buffers_never_overlap(void **state)
{
    struct buffer b[60] = {{0}};
    uint64_t sum = 0, end;

    (void)state;
    for (size_t i = 0; i < 60; i++) {
        b[i].used = true;
        b[i].size = 1 + (uint64_t)hash_label(3, i, 5000);
        b[i].first = (uint32_t)hash_label(4, i, 50);
        b[i].last = b[i].first + (uint32_t)hash_label(5, i, 10);
        if (i % 3 == 0) {
            b[i].gap = b[i].last + 1;
            b[i].resumed = b[i].gap + (uint32_t)hash_label(6, i, 20);
            b[i].last = b[i].resumed + (uint32_t)hash_label(7, i, 5);
        }
        sum += (b[i].size + 63) / 64 * 64;
    }
    end = place_buffers(b, 60);
    assert_true(end < sum / 2); /* lives of 5 in 55 calls leave much to share */
    for (size_t i = 0; i < 60; i++) {
        assert_int_equal(b[i].offset % 64, 0);
        assert_true(b[i].offset + b[i].size <= end);
        for (size_t j = 0; j < i; j++)
            assert_true(!share_a_call(&b[i], &b[j]) ||
                        b[i].offset >= b[j].offset + b[j].size ||
                        b[j].offset >= b[i].offset + b[i].size);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_planned_bytes_are_what_is_allocated_and_a_step_adds_none),
        cmocka_unit_test(test_every_refused_allocation_is_reported_and_leaks_nothing),
        cmocka_unit_test(test_max_bytes_is_held_and_the_message_says_what_is_needed),
        cmocka_unit_test(test_live_buffers_never_overlap),
    };

    return cmocka_run_group_tests(tests, set_up, NULL);
}
