#include "fedscale_bench.h"

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

static void put_field(struct bytes *out, unsigned number, const void *data, size_t len)
{
    uint8_t head[8] = {(uint8_t)(number << 3 | 2)};
    size_t n = 1;

    for (size_t rest = len; n < 7; rest >>= 7) {
        head[n++] = (uint8_t)((rest & 127) | (rest > 127 ? 128 : 0));
        if (rest <= 127)
            break;
    }
    assert_int_equal(bytes_append(out, head, n, NULL), CYGNET_OK);
    assert_int_equal(bytes_append(out, data, len, NULL), CYGNET_OK);
}

static void put_file(struct bytes *out, unsigned number, const char *name)
{
    size_t len;
    uint8_t *data = golden_read(&len, name);

    put_field(out, number, data, len);
    free(data);
}

static struct fake_reply *reply_frame(struct bench *b, struct bytes *message)
{
    uint8_t *frame = malloc(message->len + 5);
    struct fake_reply *reply;

    assert_non_null(frame);
    frame[0] = 0;
    for (int i = 0; i < 4; i++)
        frame[1 + i] = (uint8_t)(message->len >> (24 - 8 * i));
    memcpy(frame + 5, message->data, message->len);
    reply = fake_http_reply_bytes(b->http, 200, frame, message->len + 5);
    fake_reply_header(reply, "content-type", "application/grpc");
    fake_reply_trailer(reply, "grpc-status", "0");
    free(frame);
    bytes_clear(message);
    return reply;
}

struct fake_reply *reply_event(struct bench *b, const char *event, const char *meta,
                               const char *data)
{
    struct bytes message;

    bytes_init(&message, 1000000, NULL);
    put_field(&message, 1, event, strlen(event));
    if (meta)
        put_file(&message, 2, meta);
    if (data)
        put_file(&message, 3, data);
    return reply_frame(b, &message);
}

void reply_dummy(struct bench *b)
{
    reply_event(b, "dummy_event", "no_data.pickle", "no_data.pickle");
}

void reply_long_dummy(struct bench *b, size_t len)
{
    uint8_t *data = calloc(1, len);
    struct bytes message;

    assert_non_null(data);
    bytes_init(&message, len + 100, NULL);
    put_field(&message, 1, "dummy_event", strlen("dummy_event"));
    put_field(&message, 3, data, len);
    free(data);
    reply_frame(b, &message);
}

void reply_train(struct bench *b)
{
    reply_event(b, "client_train", "train_meta_4.pickle", "weights_4.pickle");
}

void reply_test(struct bench *b, const char *data)
{
    reply_event(b, "model_test", "lr_test_meta.pickle", data);
}

/* The recorded weights with `value` in each place of `t`. */
static void put_weights(struct bytes *message, const cygnet_tensor *t, float value)
{
    size_t len, at = 0;
    uint8_t *data = golden_read(&len, "weights_4.pickle");
    size_t size = (size_t)t->size_bytes;

    while (at + size <= len && memcmp(data + at, t->data, size) != 0)
        at++;
    assert_true(at + size <= len);
    for (size_t i = 0; i < size; i += sizeof(value))
        memcpy(data + at + i, &value, sizeof(value));
    put_field(message, 3, data, len);
    free(data);
}

void reply_weights_without(struct bench *b, const cygnet_tensor *t)
{
    struct bytes message;

    bytes_init(&message, 1000000, NULL);
    put_field(&message, 1, "update_model", strlen("update_model"));
    put_weights(&message, t, 0.0f);
    reply_frame(b, &message);
}

void reply_unknown_client(struct bench *b)
{
    struct fake_reply *reply = fake_http_reply(b->http, 200, "");

    fake_reply_header(reply, "content-type", "application/grpc");
    fake_reply_header(reply, "grpc-status", "2");
    fake_reply_header(reply, "grpc-message", "Exception calling application: 'x'");
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
