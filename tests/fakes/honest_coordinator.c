#include "tests/fakes/honest_coordinator.h"

#include <cygnet/nn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TASK_FORMAT                                                                      \
    "{\"task\":{\"id\":\"test-1\",\"round\":1,\"token\":\"token-%u\",\"lease_s\":%u,"    \
    "\"deadline_s\":600,\"model\":{\"architecture\":\"%s\",\"classes\":%u,"              \
    "\"input\":%s,\"weights\":{\"url\":\"/v1/blobs/%s\",\"size\":%zu,"                   \
    "\"sha256\":\"%s\"}},\"training\":{\"epochs\":%u,\"batch\":%u,\"seed\":7,"           \
    "\"optimizer\":{\"name\":\"sgd\",\"lr\":0.1}},\"update\":{\"codec\":\"%s\"}}}"

/* ---- The model ------------------------------------------------------------- */

static void put_shape(cygnet_model_options *options, const char *input)
{
    char *at;

    for (options->n_input_dims = 0; *input == '[' || *input == ','; input = at)
        options->input[options->n_input_dims++] = (uint32_t)strtoul(input + 1, &at, 10);
}

int honest_draw_weights(struct honest_coordinator *c)
{
    cygnet_model_options options;
    cygnet_model *model = NULL;
    cygnet_tensors *list = NULL;
    void *bytes = NULL;
    size_t len = 0;

    honest_clear(c);
    cygnet_model_options_init(&options);
    options.architecture = c->architecture;
    options.n_classes = c->classes;
    options.max_batch = 1;
    put_shape(&options, c->input);
    if (cygnet_model_create(&model, &options, NULL) == CYGNET_OK &&
        cygnet_model_get_weights(&list, model, NULL) == CYGNET_OK &&
        cygnet_tensors_serialize(&bytes, &len, list, NULL) == CYGNET_OK &&
        sha256_hex(c->weights_sha256, bytes, len, NULL) == CYGNET_OK)
        c->weights = malloc(len);
    if (c->weights) {
        memcpy(c->weights, bytes, len);
        c->weights_len = len;
    }
    if (list)
        cygnet_tensors_free_bytes(list, bytes);
    cygnet_tensors_destroy(list);
    cygnet_model_destroy(model);
    return c->weights ? 0 : -1;
}

int honest_init(struct honest_coordinator *c)
{
    memset(c, 0, sizeof(*c));
    (void)snprintf(c->architecture, sizeof(c->architecture), "logistic");
    (void)snprintf(c->input, sizeof(c->input), "[2]");
    (void)snprintf(c->codec, sizeof(c->codec), "none");
    c->classes = 2;
    c->batch = 3;
    c->epochs = 2;
    return honest_draw_weights(c);
}

void honest_clear(struct honest_coordinator *c)
{
    free(c->weights);
    c->weights = NULL;
    c->weights_len = 0;
}

void honest_forget(struct honest_coordinator *c)
{
    memset(c->seats, 0, sizeof(c->seats));
    memset(c->client_id, 0, sizeof(c->client_id));
    c->n_seats = 0;
    c->n_requests = c->n_strangers = c->n_wrong = c->n_different = 0;
}

/* ---- Requests -------------------------------------------------------------- */

static void say(struct honest_answer *out, int status, const char *text)
{
    out->status = status;
    (void)snprintf(out->text, sizeof(out->text), "%s", text);
    out->body = out->text;
    out->len = strlen(out->text);
}

static void refuse(struct honest_answer *out, struct honest_coordinator *c, int status)
{
    c->n_wrong++;
    say(out, status, "{\"error\":{\"code\":\"wrong\",\"message\":\"wrong\"}}");
}

/* Whether the client says the id that it said first. */
static int is_known(struct honest_coordinator *c, const char *body, size_t len)
{
    static const char key[] = "\"client_id\":\"";
    const char *at = memmem(body, len, key, strlen(key));
    char id[33] = "";

    if (!at || (size_t)(body + len - at) < strlen(key) + 32)
        return 0;
    memcpy(id, at + strlen(key), 32);
    if (c->client_id[0] == '\0')
        memcpy(c->client_id, id, sizeof(id));
    return strcmp(c->client_id, id) == 0;
}

static void check_in(struct honest_answer *out, struct honest_coordinator *c,
                     const void *body, size_t len)
{
    c->n_strangers += !is_known(c, body, len);
    if (c->declines) {
        say(out, 200, c->declines);
        return;
    }
    if (c->n_seats == HONEST_SEATS) {
        refuse(out, c, 500);
        return;
    }
    out->status = 200;
    out->len = (size_t)snprintf(out->text, sizeof(out->text), TASK_FORMAT, c->n_seats,
                                c->lease_s, c->architecture, c->classes, c->input,
                                c->weights_sha256, c->weights_len, c->weights_sha256,
                                c->epochs, c->batch, c->codec);
    out->body = out->text;
    c->n_seats++;
}

static void count(struct honest_answer *out, struct honest_coordinator *c,
                  struct honest_seat *seat, const void *body, size_t len)
{
    char found[SHA256_HEX + 1] = "";
    cygnet_tensors *list = NULL;

    seat->n_puts++;
    (void)sha256_hex(found, body, len, NULL);
    if (seat->counted && strcmp(found, seat->update_sha256) != 0) {
        refuse(out, c, 422);
        return;
    }
    if (cygnet_tensors_parse(&list, body, len, 1 << 28, NULL, NULL) != CYGNET_OK) {
        refuse(out, c, 422);
        return;
    }
    cygnet_tensors_destroy(list);
    memcpy(seat->update_sha256, found, sizeof(found));
    if (c->update_sha256[0] == '\0')
        memcpy(c->update_sha256, found, sizeof(found));
    c->n_different += strcmp(c->update_sha256, found) != 0;
    seat->counted = 1; /* before the answer: it may never arrive */
    say(out, 200, "{}");
}

static struct honest_seat *seat_of(struct honest_coordinator *c, const char *path,
                                   const char *kind)
{
    static const char prefix[] = "/v1/rounds/1/";
    unsigned seat;

    if (strncmp(path, prefix, strlen(prefix)) != 0)
        return NULL;
    path += strlen(prefix);
    if (strncmp(path, kind, strlen(kind)) != 0 ||
        sscanf(path + strlen(kind), "/token-%u", &seat) != 1 || seat >= c->n_seats)
        return NULL;
    return &c->seats[seat];
}

void honest_answer(struct honest_answer *out, struct honest_coordinator *c,
                   const char *method, const char *path, const void *body, size_t len)
{
    struct honest_seat *seat;

    c->n_requests++;
    if (strcmp(method, "POST") == 0 && strcmp(path, "/v1/check-in") == 0) {
        check_in(out, c, body, len);
    } else if (strcmp(method, "GET") == 0 && strncmp(path, "/v1/blobs/", 10) == 0 &&
               strcmp(path + 10, c->weights_sha256) == 0) {
        out->status = 200;
        out->body = c->weights;
        out->len = c->weights_len;
    } else if (strcmp(method, "PUT") == 0 && (seat = seat_of(c, path, "updates"))) {
        count(out, c, seat, body, len);
    } else if (strcmp(method, "POST") == 0 && (seat = seat_of(c, path, "reports"))) {
        seat->n_reports++;
        say(out, 204, "");
    } else if (strcmp(method, "POST") == 0 && seat_of(c, path, "leases")) {
        say(out, 200, "{\"lease_s\":30}");
    } else {
        refuse(out, c, 404);
    }
}

static void serve(struct fake_http *fake, const struct fake_request *request)
{
    const char *host = strstr(request->url, "://");
    const char *path = host ? strchr(host + 3, '/') : NULL;
    struct honest_coordinator *c = fake->user;
    struct honest_answer answer;

    honest_answer(&answer, c, request->method, path ? path : "/", request->body,
                  request->body_len);
    if (c->n_requests == c->kills_at)
        (void)raise(SIGKILL);
    fake_http_reply_bytes(fake, answer.status, answer.body, answer.len);
}

void honest_serve(struct fake_http *fake, struct honest_coordinator *c)
{
    fake->serve = serve;
    fake->user = c;
}

int honest_n_counted(const struct honest_coordinator *c)
{
    int sum = 0;

    for (unsigned i = 0; i < c->n_seats; i++)
        sum += c->seats[i].counted;
    return sum;
}
