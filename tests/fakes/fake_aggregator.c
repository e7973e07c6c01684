#include "tests/fakes/fake_aggregator.h"

#include "tests/fakes/fake_grpc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FILE 65536
#define PATIENCE 3       /* pings without an answer before the job ends */
#define PIECE_BYTES 7840 /* a quarter of the larger tensor; the bias has 40 */

static void insist(bool holds, const char *what)
{
    if (holds)
        return;
    (void)fprintf(stderr, "fake_aggregator: %s\n", what);
    abort();
}

/* ---- Recordings -------------------------------------------------------------- */

static void load(struct fake_file *out, const char *golden, const char *name)
{
    char path[1024];
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/%s", golden, name);
    file = fopen(path, "rb");
    insist(file != NULL, path);
    out->data = malloc(MAX_FILE);
    insist(out->data != NULL, "out of memory");
    out->len = fread(out->data, 1, MAX_FILE, file);
    (void)fclose(file);
    insist(out->len > 0 && out->len < MAX_FILE, path);
}

void fake_aggregator_init(struct fake_aggregator *fake, const char *golden)
{
    memset(fake, 0, sizeof(*fake));
    load(&fake->weights, golden, "lr_weights_4.pickle");
    load(&fake->raw, golden, "lr_weights.safetensors");
    load(&fake->train_meta, golden, "train_meta_4.pickle");
    load(&fake->test_meta, golden, "lr_test_meta.pickle");
    load(&fake->nothing, golden, "no_data.pickle");
}

void fake_aggregator_clear(struct fake_aggregator *fake)
{
    free(fake->weights.data);
    free(fake->raw.data);
    free(fake->train_meta.data);
    free(fake->test_meta.data);
    free(fake->nothing.data);
}

/* ---- Replies ------------------------------------------------------------------ */

static struct fake_reply *reply_event(struct fake_http *http, const char *event,
                                      const struct fake_file *meta,
                                      const struct fake_file *data)
{
    const struct fake_field fields[] = {
        {1, event, strlen(event)},
        {2, meta->data, meta->len},
        {3, data->data, data->len},
    };

    return fake_grpc_reply(http, fields, 3);
}

static struct fake_reply *next_event(struct fake_aggregator *fake, struct fake_http *http)
{
    const struct fake_file *nothing = &fake->nothing;

    if (fake->n_registered == 0)
        return fake_grpc_exception(http);
    if (fake->n_given == 0) {
        fake->n_given++;
        return fake->asks_test
                   ? reply_event(http, "model_test", &fake->test_meta, &fake->weights)
                   : reply_event(http, "client_train", &fake->train_meta, &fake->weights);
    }
    if (fake->n_answers > 0 || fake->n_idle >= PATIENCE)
        return reply_event(http, "terminate_executor", &fake->test_meta, nothing);
    fake->n_idle++;
    return reply_event(http, "dummy_event", nothing, nothing);
}

/* ---- Calls --------------------------------------------------------------------- */

static bool holds(const struct fake_request *request, const void *what, size_t len)
{
    return memmem(request->body, request->body_len, what, len) != NULL;
}

static void take_answer(struct fake_aggregator *fake, const struct fake_request *request)
{
    const char *wanted = fake->asks_test ? "model_test" : "upload_model";
    const char *needs = fake->asks_test ? "test_len" : "update_weight";
    const uint8_t *piece = fake->raw.data + fake->raw.len - 2 * PIECE_BYTES;

    if (fake->n_given == 0 || !holds(request, wanted, strlen(wanted)) ||
        !holds(request, needs, strlen(needs)))
        fake->n_wrong++;
    fake->n_answers++;
    fake->n_unchanged += holds(request, piece, PIECE_BYTES);
}

static struct fake_reply *answer(struct fake_aggregator *fake, struct fake_http *http,
                                 const struct fake_request *request)
{
    const char *method = strrchr(request->url, '/') + 1;

    if (strcmp(method, "CLIENT_REGISTER") == 0) {
        fake->n_registered++;
        return reply_event(http, "dummy_event", &fake->nothing, &fake->nothing);
    }
    if (strcmp(method, "CLIENT_EXECUTE_COMPLETION") == 0)
        take_answer(fake, request);
    else if (strcmp(method, "CLIENT_PING") != 0)
        fake->n_wrong++;
    return next_event(fake, http);
}

static void serve(struct fake_http *http, const struct fake_request *request)
{
    struct fake_aggregator *fake = http->user;
    struct fake_reply *reply;

    if (fake->on_call)
        fake->on_call(fake->user);
    if (fake->dead) {
        fake_http_fail(http, CYGNET_ENETWORK);
        http->replies[http->n_replies - 1].unsent = true;
        return;
    }
    reply = answer(fake, http, request);
    if (++fake->n_calls != fake->dies_at)
        return;
    fake->dead = true;
    reply->fail_with = CYGNET_ENETWORK;
    if (fake->on_death)
        fake->on_death(fake->user);
}

void fake_aggregator_serve(struct fake_aggregator *fake, struct fake_http *http)
{
    http->serve = serve;
    http->user = fake;
}
