/* The FedScale dialect (docs/fedscale.md) behind the coordinator interface: joining a
 * job, waiting for its events, and turning them into tasks. */
#include "base/alloc.h"
#include "base/error.h"
#include "transport/fedscale_inside.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define SCHEME "fedscale://"
#define SCHEME_TLS "fedscales://"
#define MIN_EXAMPLES 32        /* with fewer the aggregator never selects a client */
#define WAIT_MS 60000          /* of one check-in for an errand */
#define CALL_TIMEOUT_MS 900000 /* an answer that comes too late is an event lost */
#define STALL_MS 60000
#define MOST_MODEL_BYTES (UINT32_MAX - (1u << 25)) /* gRPC counts in 32 bits */

static struct fedscale *fedscale_of(cygnet_coordinator *c)
{
    return (struct fedscale *)c;
}

/* ---- Joining ------------------------------------------------------------------- */

/* Somewhere in a second, by the client's id (FNV-1a). An aggregator that handles two
 * registrations at once begins its first round twice, and clients that are started
 * together would register together. */
static int64_t own_moment_ms(const char *id)
{
    uint32_t hash = 2166136261u;

    for (; *id; id++)
        hash = (hash ^ (uint8_t)*id) * 16777619u;
    return hash % FEDSCALE_PAUSE_MS;
}

/* Registering twice selects a client twice, so a ping asks first whether it is known. */
static cygnet_status join(struct fedscale *f, const cygnet_check_in *hello,
                          const cygnet_stop *stop, cygnet_error *err)
{
    bool known;
    cygnet_status st = fedscale_ping(f, &known, stop, err);

    if (st != CYGNET_OK || known)
        return st;
    if (hello->n_examples < MIN_EXAMPLES)
        return fail(err, CYGNET_EDATA, 0,
                    "fedscale: %llu examples are here; an aggregator never selects a "
                    "client with fewer than %d",
                    (unsigned long long)hello->n_examples, MIN_EXAMPLES);
    st = fedscale_wait(f, fedscale_now_ms(f) + own_moment_ms(f->id), stop, err);
    return st == CYGNET_OK ? fedscale_register(f, hello->n_examples, stop, err) : st;
}

/* ---- Waiting ------------------------------------------------------------------- */

static bool has_errand(const struct fedscale *f)
{
    return f->errand.event != FEDSCALE_DUMMY && !f->stale;
}

static bool is_decided(const struct fedscale *f)
{
    return f->finished || has_errand(f);
}

/* An aggregator that has ended closes its socket and says nothing; one that cannot be
 * reached for a moment has not ended. */
static cygnet_status ping_or_end(struct fedscale *f, int64_t *lost_ms,
                                 const cygnet_stop *stop, cygnet_error *err)
{
    bool known;
    cygnet_status st = fedscale_ping(f, &known, stop, err);

    if (st == CYGNET_OK && !known)
        return fail(err, CYGNET_EREFUSED, 0,
                    "fedscale: the aggregator no longer knows this client");
    if (st != CYGNET_ENETWORK) {
        *lost_ms = 0;
        return st;
    }
    if (*lost_ms == 0)
        *lost_ms = fedscale_now_ms(f);
    if (fedscale_now_ms(f) - *lost_ms >= FEDSCALE_GONE_MS) {
        log_line(f->config.log, LOG_DEBUG, "fedscale: the aggregator has gone");
        f->finished = true;
    }
    return CYGNET_OK;
}

static cygnet_status wait_for_errand(struct fedscale *f, const cygnet_stop *stop,
                                     cygnet_error *err)
{
    int64_t until_ms = fedscale_now_ms(f) + WAIT_MS;
    int64_t lost_ms = 0;
    cygnet_status st = CYGNET_OK;

    while (st == CYGNET_OK && !is_decided(f) &&
           (lost_ms > 0 || fedscale_now_ms(f) < until_ms)) {
        st = fedscale_wait(f, fedscale_now_ms(f) + FEDSCALE_PAUSE_MS, stop, err);
        if (st == CYGNET_OK)
            st = ping_or_end(f, &lost_ms, stop, err);
    }
    return st;
}

/* ---- Tasks ---------------------------------------------------------------------- */

/* What the aggregator does not say, the job does. */
static void make_task(cygnet_task *task, const struct fedscale *f, uint64_t last_round)
{
    const cygnet_job *job = f->config.job;
    bool trains = f->errand.event == FEDSCALE_CLIENT_TRAIN;

    *task = (cygnet_task){
        .kind = trains ? CYGNET_TASK_TRAIN : CYGNET_TASK_EVALUATE,
        .round = last_round + 1,
        .deadline_s = job->deadline_s,
        .n_classes = job->n_classes,
        .n_input_dims = job->n_input_dims,
        .epochs = job->epochs,
        .steps = job->steps,
        .batch = job->batch,
        .lr = trains ? (float)f->errand.meta.lr : 0.0f,
        .max_examples = trains ? job->max_examples : 0,
        .momentum = job->momentum,
        .weight_decay = job->weight_decay,
        .seed = job->seed + last_round,
        .codec = "weights",
        .charging = CYGNET_IGNORED,
        .idle = CYGNET_IGNORED,
        .unmetered = CYGNET_IGNORED,
    };
    memcpy(task->input, job->input, sizeof(task->input));
    memcpy(task->token, f->errand.token, sizeof(f->errand.token));
    (void)snprintf(task->id, sizeof(task->id), "%s",
                   trains ? "client_train" : "model_test");
    (void)snprintf(task->architecture, sizeof(task->architecture), "%s",
                   job->architecture);
    (void)snprintf(task->collection, sizeof(task->collection), "%s",
                   trains ? job->collection : job->evaluate_collection);
}

static void give_answer(cygnet_answer *answer, const struct fedscale *f,
                        const cygnet_check_in *hello, int64_t began_ms)
{
    answer->has_task = has_errand(f);
    if (answer->has_task) {
        make_task(&answer->task, f, hello->last_round);
        if (f->asked_ms > began_ms) /* else an earlier call has brought it */
            answer->waited_ms = (uint32_t)(f->asked_ms - began_ms);
        return;
    }
    answer->reason = f->finished ? CYGNET_RETRY_FINISHED : CYGNET_RETRY_BUSY;
    answer->retry_min_s = answer->retry_max_s = f->finished ? WAIT_MS / 1000 : 0;
}

/* Another identity is another client: nothing of the one before is answered as it. */
static cygnet_status set_id(struct fedscale *f, const char *id, cygnet_error *err)
{
    if (f->id[0] && strcmp(f->id, id) != 0) {
        cygnet_status st = fedscale_forget(f, err);

        if (st != CYGNET_OK)
            return st;
        f->known = false;
    }
    if ((size_t)snprintf(f->id, sizeof(f->id), "%s", id) >= sizeof(f->id))
        return fail(err, CYGNET_EINVAL, 0, "fedscale: the client's id is too long");
    return CYGNET_OK;
}

static cygnet_status take_trouble(struct fedscale *f, cygnet_error *err)
{
    cygnet_status st = f->trouble.status;

    if (st != CYGNET_OK && err)
        *err = f->trouble;
    f->trouble.status = CYGNET_OK;
    return st;
}

static cygnet_status look_for_earlier(struct fedscale *f, cygnet_error *err)
{
    cygnet_status st = f->looked ? CYGNET_OK : fedscale_take_up(f, err);

    f->looked = f->looked || st == CYGNET_OK;
    return st;
}

static cygnet_status check_in(cygnet_coordinator *c, cygnet_answer *answer,
                              const cygnet_check_in *hello, const cygnet_stop *stop,
                              cygnet_error *err)
{
    struct fedscale *f = fedscale_of(c);
    int64_t began_ms = fedscale_now_ms(f);
    cygnet_status st = set_id(f, hello->client_id, err);

    memset(answer, 0, sizeof(*answer));
    if (st == CYGNET_OK)
        st = take_trouble(f, err);
    if (st == CYGNET_OK)
        st = look_for_earlier(f, err);
    if (st == CYGNET_OK && !is_decided(f) && !f->known)
        st = join(f, hello, stop, err);
    if (st == CYGNET_OK)
        st = wait_for_errand(f, stop, err);
    if (st == CYGNET_OK) {
        give_answer(answer, f, hello, began_ms);
        return CYGNET_OK;
    }
    f->known = false;
    fedscale_give_back(f, stop);
    return st;
}

static cygnet_status fetch(cygnet_coordinator *c, cygnet_tensors **weights,
                           const cygnet_task *task, cygnet_progress progress, void *user,
                           const cygnet_stop *stop, cygnet_error *err)
{
    cygnet_status st = fedscale_errand_weights(weights, fedscale_of(c), task->token, err);

    (void)stop;
    if (st == CYGNET_OK && progress) {
        uint64_t bytes = 0;

        for (size_t i = 0; i < cygnet_tensors_count(*weights); i++)
            bytes += cygnet_tensors_at(*weights, i)->size_bytes;
        progress(bytes, user);
    }
    return st;
}

/* ---- Lifecycle -------------------------------------------------------------------- */

bool fedscale_is_url(const char *url)
{
    return url && (strncasecmp(url, SCHEME, sizeof(SCHEME) - 1) == 0 ||
                   strncasecmp(url, SCHEME_TLS, sizeof(SCHEME_TLS) - 1) == 0);
}

cygnet_status fedscale_url_parse(struct url *out, const char *text, cygnet_error *err)
{
    bool secure = strncasecmp(text, SCHEME_TLS, sizeof(SCHEME_TLS) - 1) == 0;
    char http[URL_MAX + 1];
    const char *rest;
    cygnet_status st;

    if (!fedscale_is_url(text))
        return fail(err, CYGNET_EINVAL, 0, "URL is no fedscale:// address");
    rest = text + (secure ? sizeof(SCHEME_TLS) : sizeof(SCHEME)) - 1;
    if (snprintf(http, sizeof(http), "%s://%s", secure ? "https" : "http", rest) >
        URL_MAX)
        return fail(err, CYGNET_EINVAL, 0, "URL is longer than %d bytes", URL_MAX);
    st = url_parse(out, http, err);
    if (st == CYGNET_OK && strcmp(out->path, "/") != 0)
        st = fail(err, CYGNET_EINVAL, 0, "an aggregator's address has no path");
    return st;
}

static cygnet_status read_url(struct fedscale *f, cygnet_error *err)
{
    struct url url;
    cygnet_status st = fedscale_url_parse(&url, f->config.server_url, err);

    if (st == CYGNET_OK)
        st = url_format(f->base_url, &url, "", err);
    return st == CYGNET_OK ? st : fail_within(err, st, "server_url");
}

static cygnet_status check_job(const struct fedscale_config *config, cygnet_error *err)
{
    if (!config->job || config->layout.n == 0)
        return fail(err, CYGNET_EINVAL, 0,
                    "job: a FedScale aggregator sends weights without names; the options "
                    "must say which architecture they are of");
    return CYGNET_OK;
}

cygnet_status fedscale_coordinator_create(cygnet_coordinator **out,
                                          const struct fedscale_config *config,
                                          cygnet_error *err)
{
    struct fedscale *f;
    cygnet_status st = check_job(config, err);

    *out = NULL;
    if (st != CYGNET_OK)
        return st;
    f = mem_calloc(config->alloc, 1, sizeof(*f));
    if (!f)
        return fail(err, CYGNET_ENOMEM, 0, "coordinator");
    f->face = (cygnet_coordinator){
        .struct_size = sizeof(f->face),
        .delivery = CYGNET_DELIVERY_AT_MOST_ONCE,
        .check_in = check_in,
        .fetch = fetch,
        .upload = fedscale_send_update,
        .report = fedscale_send_report,
        .min_examples = MIN_EXAMPLES,
    };
    f->config = *config;
    if (f->config.max_model_bytes > MOST_MODEL_BYTES)
        f->config.max_model_bytes = MOST_MODEL_BYTES;
    f->grpc = (struct grpc){
        .http = config->http,
        .base_url = f->base_url,
        .timeout_ms = CALL_TIMEOUT_MS,
        .stall_ms = STALL_MS,
        .max_answer = f->config.max_model_bytes + FEDSCALE_ANSWER_EXTRA,
        .alloc = config->alloc,
    };
    st = read_url(f, err);
    if (st != CYGNET_OK) {
        fedscale_coordinator_destroy(&f->face);
        return st;
    }
    *out = &f->face;
    return CYGNET_OK;
}

void fedscale_coordinator_destroy(cygnet_coordinator *coordinator)
{
    struct fedscale *f = (struct fedscale *)coordinator;

    if (!f)
        return;
    cygnet_tensors_destroy(f->weights);
    mem_free(f->config.alloc, f);
}
