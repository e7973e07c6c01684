#include "fedscale_bench.h"

#include <stdio.h>
#include <stdlib.h>

const cygnet_job fedscale_bench_job = {
    .struct_size = sizeof(fedscale_bench_job),
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
        .max_model_bytes = 1000000,
        .job = &fedscale_bench_job,
        .layout = small_layout,
        .clock = &b->clock.clock,
    };

    assert_int_equal(fedscale_coordinator_create(&b->coordinator, &config, &b->err),
                     CYGNET_OK);
}

int fedscale_bench_set_up(void **state)
{
    static struct bench b;

    memset(&b, 0, sizeof(b));
    b.http = fake_http_create();
    fake_clock_init(&b.clock);
    memory_store_init(&b.store);
    b.hello = (cygnet_check_in){.struct_size = sizeof(b.hello),
                                .client_id = ID,
                                .n_examples = 100};
    start(&b);
    *state = &b;
    return 0;
}

int fedscale_bench_tear_down(void **state)
{
    struct bench *b = *state;

    fedscale_coordinator_destroy(b->coordinator);
    fake_http_destroy(b->http);
    memory_store_clear(&b->store);
    return 0;
}

void fedscale_bench_restart(struct bench *b)
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

void reply_train(struct bench *b)
{
    reply_event(b, "client_train", "train_meta_4.pickle", "weights_4.pickle");
}

void reply_test(struct bench *b, const char *data)
{
    reply_event(b, "model_test", "lr_test_meta.pickle", data);
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

bool has_bytes(const struct bench *b, uint32_t at, const void *text, size_t len)
{
    const struct fake_request *request = &b->http->requests[at];

    for (size_t i = 0; i + len <= request->body_len; i++)
        if (memcmp(request->body + i, text, len) == 0)
            return true;
    return false;
}

/* ---- The round's side --------------------------------------------------------- */

cygnet_status check_in(struct bench *b)
{
    return b->coordinator->check_in(b->coordinator, &b->answer, &b->hello, NULL, &b->err);
}

cygnet_tensors *fetched(struct bench *b)
{
    cygnet_tensors *weights;

    assert_int_equal(b->coordinator->fetch(b->coordinator, &weights, &b->answer.task,
                                           NULL, NULL, NULL, &b->err),
                     CYGNET_OK);
    return weights;
}

cygnet_status upload(struct bench *b)
{
    static const cygnet_round_report metrics = {.struct_size = sizeof(metrics),
                                                .steps = 20,
                                                .moving_loss = 1.5,
                                                .last_loss_squared = 4.0,
                                                .unique_examples = 100};
    cygnet_upload what = {.struct_size = sizeof(what), .metrics = &metrics};
    cygnet_receipt receipt = CYGNET_RECEIPT_REJECTED;
    cygnet_tensors *weights;
    void *data;
    size_t len;
    cygnet_status st;

    assert_int_equal(cygnet_tensors_load(&weights, GOLDEN_DIR "/weights.safetensors",
                                         1000000, NULL, NULL),
                     CYGNET_OK);
    assert_int_equal(cygnet_tensors_serialize(&data, &len, weights, NULL), CYGNET_OK);
    what.update = data;
    what.len = len;
    st = b->coordinator->upload(b->coordinator, &receipt, &b->answer.task, &what, NULL,
                                &b->err);
    assert_int_equal(receipt,
                     st == CYGNET_OK ? CYGNET_RECEIPT_ACCEPTED : CYGNET_RECEIPT_REJECTED);
    cygnet_tensors_free_bytes(weights, data);
    cygnet_tensors_destroy(weights);
    return st;
}

cygnet_status report(struct bench *b, cygnet_outcome outcome)
{
    const cygnet_round_report what = {.struct_size = sizeof(what),
                                      .outcome = outcome,
                                      .examples = 50,
                                      .loss_sum = 12.5,
                                      .top_1 = 40,
                                      .top_5 = 49};

    return b->coordinator->report(b->coordinator, &b->answer.task, &what, NULL, &b->err);
}

void join(struct bench *b)
{
    reply_unknown_client(b);
    reply_dummy(b);
    reply_train(b);
    assert_int_equal(check_in(b), CYGNET_OK);
    assert_true(b->answer.has_task);
}
