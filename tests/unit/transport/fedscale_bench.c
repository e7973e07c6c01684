#include "fedscale_bench.h"

#include "tests/fakes/fake_grpc.h"

#include <stdlib.h>
#include <string.h>

const cygnet_job bench_job = {
    .struct_size = sizeof(bench_job),
    .architecture = "logistic",
    .n_classes = 10,
    .steps = 20,
    .batch = 30,
    .momentum = 0.9f,
    .weight_decay = 5e-4f,
    .deadline_s = 600,
    .collection = "",
    .evaluate_collection = "test",
};

static void start(struct bench *b)
{
    const struct fedscale_config config = {
        .server_url = "fedscale://job.example:50051",
        .http = &b->http->face,
        .store = &b->store.store,
        .max_model_bytes = b->max_model_bytes,
        .job = &bench_job,
        .layout = small_layout,
        .clock = &b->clock.clock,
    };

    assert_int_equal(fedscale_coordinator_create(&b->coordinator, &config, &b->err),
                     CYGNET_OK);
}

int bench_set_up(void **state)
{
    static struct bench b;

    memset(&b, 0, sizeof(b));
    b.http = fake_http_create();
    fake_clock_init(&b.clock);
    memory_store_init(&b.store);
    b.max_model_bytes = 1000000;
    b.hello = (cygnet_check_in){.struct_size = sizeof(b.hello),
                                .client_id = BENCH_ID,
                                .n_examples = 100};
    start(&b);
    *state = &b;
    return 0;
}

int bench_tear_down(void **state)
{
    struct bench *b = *state;

    fedscale_coordinator_destroy(b->coordinator);
    fake_http_destroy(b->http);
    memory_store_clear(&b->store);
    return 0;
}

void bench_restart(struct bench *b)
{
    fedscale_coordinator_destroy(b->coordinator);
    fake_http_destroy(b->http);
    b->http = fake_http_create();
    start(b);
}

/* ---- The aggregator's side -------------------------------------------------- */

struct fake_reply *reply_event(struct bench *b, const char *event, const char *meta,
                               const char *data)
{
    struct fake_field fields[] = {{1, event, strlen(event)},
                                  {.number = 2},
                                  {.number = 3}};
    uint8_t *meta_bytes = meta ? golden_read(&fields[1].len, meta) : NULL;
    uint8_t *data_bytes = data ? golden_read(&fields[2].len, data) : NULL;
    struct fake_reply *reply;

    fields[1].data = meta_bytes;
    fields[2].data = data_bytes;
    reply = fake_grpc_reply(b->http, fields, 3);
    free(meta_bytes);
    free(data_bytes);
    return reply;
}

void reply_dummy(struct bench *b)
{
    reply_event(b, "dummy_event", "no_data.pickle", "no_data.pickle");
}

void reply_long_dummy(struct bench *b, size_t len)
{
    uint8_t *data = calloc(1, len);
    const struct fake_field fields[] = {{1, "dummy_event", strlen("dummy_event")},
                                        {3, data, len}};

    assert_non_null(data);
    fake_grpc_reply(b->http, fields, 2);
    free(data);
}

void reply_train(struct bench *b)
{
    reply_event(b, "client_train", "train_meta_4.pickle", "weights_4.pickle");
}

void reply_test(struct bench *b, const char *data)
{
    reply_event(b, "model_test", "lr_test_meta.pickle", data);
}

void reply_weights_without(struct bench *b, const cygnet_tensor *t)
{
    size_t len, at = 0;
    uint8_t *data = golden_read(&len, "weights_4.pickle");
    size_t size = (size_t)t->size_bytes;
    const struct fake_field fields[] = {{1, "update_model", strlen("update_model")},
                                        {3, data, len}};

    while (at + size <= len && memcmp(data + at, t->data, size) != 0)
        at++;
    assert_true(at + size <= len);
    memset(data + at, 0, size);
    fake_grpc_reply(b->http, fields, 2);
    free(data);
}

void reply_unknown_client(struct bench *b)
{
    fake_grpc_exception(b->http);
}

void assert_called(const struct bench *b, uint32_t at, const char *method)
{
    const char *slash;

    assert_true(at < b->http->n_requests);
    slash = strrchr(b->http->requests[at].url, '/');
    assert_string_equal(slash + 1, method);
}

/* ---- The round's side --------------------------------------------------------- */

cygnet_status bench_check_in(struct bench *b)
{
    return b->coordinator->check_in(b->coordinator, &b->answer, &b->hello, NULL, &b->err);
}

cygnet_tensors *bench_fetched(struct bench *b)
{
    cygnet_tensors *weights;

    assert_int_equal(b->coordinator->fetch(b->coordinator, &weights, &b->answer.task,
                                           NULL, NULL, NULL, &b->err),
                     CYGNET_OK);
    return weights;
}

void bench_join(struct bench *b)
{
    reply_unknown_client(b);
    reply_dummy(b);
    reply_train(b);
    assert_int_equal(bench_check_in(b), CYGNET_OK);
    assert_true(b->answer.has_task);
}
