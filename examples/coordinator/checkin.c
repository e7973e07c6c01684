/* POST /v1/check-in: a task, or when to come back. */
#include "request.h"

#include <stdio.h>
#include <string.h>

/* Seconds from which a client draws its next check-in. Short, because a round of
 * a small model takes a second; a coordinator of many devices is behind a proxy
 * that limits their rate. */
#define BUSY_MIN_S 0
#define BUSY_MAX_S 1
#define STAY_AWAY_S 3600

static enum MHD_Result bad(struct request *q, cJSON *body, const char *message)
{
    cJSON_Delete(body);
    return reply_error(q, MHD_HTTP_BAD_REQUEST, "malformed", message);
}

static enum MHD_Result retry(struct request *q, unsigned min_s, unsigned max_s,
                             const char *reason)
{
    cJSON *json = cJSON_CreateObject();
    cJSON *window = cJSON_AddObjectToObject(json, "retry");

    cJSON_AddNumberToObject(window, "min_s", min_s);
    cJSON_AddNumberToObject(window, "max_s", max_s);
    cJSON_AddStringToObject(window, "reason", reason);
    return reply_json(q, MHD_HTTP_OK, json);
}

/* ---- What the client can do --------------------------------------------- */

/* An absent list says nothing against it. The first `len` bytes count: an
 * architecture may carry arguments behind a colon. */
static bool lists(const cJSON *array, const char *word, size_t len)
{
    const cJSON *item;

    if (!cJSON_IsArray(array))
        return true;
    cJSON_ArrayForEach(item, array)
    {
        if (cJSON_IsString(item) && strlen(item->valuestring) == len &&
            memcmp(item->valuestring, word, len) == 0)
            return true;
    }
    return false;
}

static bool is_capable(const cJSON *body, const struct options *o, size_t model_bytes)
{
    const cJSON *can = cJSON_GetObjectItemCaseSensitive(body, "capabilities");
    const cJSON *max = cJSON_GetObjectItemCaseSensitive(can, "max_model_bytes");

    return lists(cJSON_GetObjectItemCaseSensitive(can, "architectures"), o->model,
                 strcspn(o->model, ":")) &&
           lists(cJSON_GetObjectItemCaseSensitive(can, "codecs"), o->codec,
                 strlen(o->codec)) &&
           lists(cJSON_GetObjectItemCaseSensitive(can, "formats"), "safetensors", 11) &&
           (!cJSON_IsNumber(max) || max->valuedouble >= (double)model_bytes);
}

enum data_claim { DATA_UNKNOWN, DATA_NONE, DATA_SOME, DATA_MALFORMED };

/* `examples`: absent and null say nothing. */
static enum data_claim claim_of(const cJSON *body)
{
    const cJSON *n = cJSON_GetObjectItemCaseSensitive(body, "examples");

    if (!n || cJSON_IsNull(n))
        return DATA_UNKNOWN;
    if (!cJSON_IsNumber(n) || !(n->valuedouble >= 0) || n->valuedouble > 9007199254740991)
        return DATA_MALFORMED;
    return n->valuedouble >= 1 ? DATA_SOME : DATA_NONE;
}

/* ---- The task ----------------------------------------------------------- */

struct assignment {
    struct seat seat;
    char sha256[HASH_HEX + 1];
    size_t size;
    size_t max_update;
    int64_t deadline_s;
    uint64_t seed;
};

static void add_model(cJSON *task, const struct options *o, const struct assignment *a)
{
    cJSON *model = cJSON_AddObjectToObject(task, "model");
    cJSON *input = NULL;
    cJSON *weights;
    char url[96];

    cJSON_AddStringToObject(model, "architecture", o->model);
    cJSON_AddNumberToObject(model, "classes", o->classes);
    input = cJSON_AddArrayToObject(model, "input");
    for (uint32_t i = 0; i < o->n_input_dims; i++)
        cJSON_AddItemToArray(input, cJSON_CreateNumber(o->input[i]));
    weights = cJSON_AddObjectToObject(model, "weights");
    snprintf(url, sizeof(url), "/v1/blobs/%s", a->sha256);
    cJSON_AddStringToObject(weights, "url", url);
    cJSON_AddNumberToObject(weights, "size", (double)a->size);
    cJSON_AddStringToObject(weights, "sha256", a->sha256);
}

static void add_training(cJSON *task, const struct options *o, const struct assignment *a)
{
    cJSON *training = cJSON_AddObjectToObject(task, "training");
    cJSON *optimizer;

    cJSON_AddNumberToObject(training, "epochs", o->epochs);
    cJSON_AddNumberToObject(training, "steps", o->steps);
    cJSON_AddNumberToObject(training, "batch", o->batch);
    cJSON_AddNumberToObject(training, "max_examples", 0);
    cJSON_AddNumberToObject(training, "seed", (double)a->seed);
    optimizer = cJSON_AddObjectToObject(training, "optimizer");
    cJSON_AddStringToObject(optimizer, "name", "sgd");
    cJSON_AddNumberToObject(optimizer, "lr", o->lr);
    cJSON_AddNumberToObject(optimizer, "momentum", o->momentum);
    cJSON_AddNumberToObject(optimizer, "weight_decay", o->weight_decay);
}

static void add_terms(cJSON *task, const struct options *o, const struct assignment *a)
{
    cJSON *data = cJSON_AddObjectToObject(task, "data");
    cJSON *update = cJSON_AddObjectToObject(task, "update");
    cJSON *eligibility = cJSON_AddObjectToObject(task, "eligibility");

    cJSON_AddStringToObject(data, "collection", "train");
    cJSON_AddStringToObject(data, "selector", "");
    cJSON_AddStringToObject(update, "codec", o->codec);
    cJSON_AddNumberToObject(update, "max_bytes", (double)a->max_update);
    cJSON_AddStringToObject(eligibility, "charging", o->charging);
    cJSON_AddStringToObject(eligibility, "idle", o->idle);
    cJSON_AddStringToObject(eligibility, "unmetered", o->unmetered);
    cJSON_AddNumberToObject(eligibility, "min_battery_percent", o->min_battery_percent);
    cJSON_AddArrayToObject(task, "requires");
}

/* Nothing where nothing was asked for: clients then do as they would. */
static void add_execution(cJSON *task, const struct options *o)
{
    cJSON *execution;

    if (!o->policy && !o->max_round_mj)
        return;
    execution = cJSON_AddObjectToObject(task, "execution");
    if (o->policy)
        cJSON_AddStringToObject(execution, "policy", o->policy);
    if (o->policy_threads)
        cJSON_AddNumberToObject(execution, "threads", o->policy_threads);
    if (o->max_round_mj)
        cJSON_AddNumberToObject(execution, "max_round_mj", (double)o->max_round_mj);
}

/* "digits-3"; '/' is not for task ids. */
static void name_task(char *out, size_t size, const struct options *o, uint64_t round)
{
    snprintf(out, size, "%s-%llu", o->population, (unsigned long long)round);
    for (; *out; out++)
        if (*out == '/')
            *out = '-';
}

static enum MHD_Result send_task(struct request *q, const struct assignment *a)
{
    const struct options *o = q->rounds->options;
    cJSON *json = cJSON_CreateObject();
    cJSON *task = cJSON_AddObjectToObject(json, "task");
    char id[TOKEN_MAX + 1];

    name_task(id, sizeof id, o, a->seat.round);
    cJSON_AddStringToObject(task, "id", id);
    cJSON_AddNumberToObject(task, "round", (double)a->seat.round);
    cJSON_AddStringToObject(task, "token", a->seat.token);
    cJSON_AddNumberToObject(task, "lease_s", o->lease_s);
    cJSON_AddNumberToObject(task, "deadline_s", (double)a->deadline_s);
    add_model(task, o, a);
    add_training(task, o, a);
    add_terms(task, o, a);
    add_execution(task, o);
    return reply_json(q, MHD_HTTP_OK, json);
}

/* ---- The route ---------------------------------------------------------- */

/* Numbers in JSON are exact up to 2^53. */
#define SEED_MASK ((UINT64_C(1) << 53) - 1)

static cygnet_status ask(enum answer *answer, struct assignment *a, struct rounds *r,
                         const char *client_id, cygnet_error *err)
{
    cygnet_status st;

    pthread_mutex_lock(&r->lock);
    st = rounds_check_in(answer, &a->seat, r, client_id, err);
    if (st == CYGNET_OK && *answer == ANSWER_TASK) {
        int64_t left_ms = r->round.deadline_ms - rounds_now_ms(r);
        a->deadline_s = left_ms > 1000 ? (left_ms + 999) / 1000 : 1;
        memcpy(a->sha256, global_sha256(r->global), sizeof a->sha256);
        a->size = global_size(r->global);
        a->max_update = global_max_update(r->global);
        a->seed = hash_draw(r->seed, "train", a->seat.round, 0, client_id) & SEED_MASK;
    }
    pthread_mutex_unlock(&r->lock);
    return st;
}

static size_t model_bytes(struct rounds *r)
{
    size_t size;

    pthread_mutex_lock(&r->lock);
    size = global_size(r->global);
    pthread_mutex_unlock(&r->lock);
    return size;
}

static enum MHD_Result answer_known(struct request *q, const char *client_id)
{
    struct assignment a = {0};
    cygnet_error err = {0};
    enum answer answer;

    if (ask(&answer, &a, q->rounds, client_id, &err) != CYGNET_OK)
        return reply_fault(q, &err);
    if (answer == ANSWER_TASK)
        return send_task(q, &a);
    if (answer == ANSWER_FINISHED)
        return retry(q, STAY_AWAY_S, 2 * STAY_AWAY_S, "finished");
    return retry(q, BUSY_MIN_S, BUSY_MAX_S, "busy");
}

enum MHD_Result check_in_post(struct request *q)
{
    const struct options *o = q->rounds->options;
    const char *reason;
    const cJSON *population;
    const cJSON *id;
    cJSON *body = request_json(q, &reason);
    enum MHD_Result result;

    if (!body)
        return bad(q, NULL, reason);
    population = cJSON_GetObjectItemCaseSensitive(body, "population");
    id = cJSON_GetObjectItemCaseSensitive(body, "client_id");
    if (!cJSON_IsString(population))
        return bad(q, body, "population is missing or not a string");
    if (!cJSON_IsString(id) || !client_id_is_valid(id->valuestring))
        return bad(q, body, "client_id is not 1 to 64 of [A-Za-z0-9._-]");
    if (claim_of(body) == DATA_MALFORMED)
        return bad(q, body, "examples is not a number from 0 to 2^53 - 1");
    if (strcmp(population->valuestring, o->population) != 0)
        result = reply_error(q, MHD_HTTP_NOT_FOUND, "unknown_population",
                             "this coordinator does not serve the population");
    else if (claim_of(body) == DATA_NONE || !is_capable(body, o, model_bytes(q->rounds)))
        result = retry(q, STAY_AWAY_S, 2 * STAY_AWAY_S, "stay_away");
    else
        result = answer_known(q, id->valuestring);
    cJSON_Delete(body);
    return result;
}
