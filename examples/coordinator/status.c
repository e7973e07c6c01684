/* GET /v1/status: the run, for people and dashboards. */
#include "request.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define HISTORY_MAX 10000 /* newest rounds that are listed */

static void add_real(cJSON *object, const char *key, double value)
{
    if (isnan(value))
        cJSON_AddNullToObject(object, key);
    else
        cJSON_AddNumberToObject(object, key, value);
}

static void add_row(cJSON *object, const struct round_row *row)
{
    cJSON_AddNumberToObject(object, "round", (double)row->round);
    cJSON_AddNumberToObject(object, "attempt", (double)row->attempt);
    cJSON_AddNumberToObject(object, "participants", row->n_accepted);
    cJSON_AddNumberToObject(object, "asked", row->target);
    cJSON_AddNumberToObject(object, "failed", row->n_failed);
    add_real(object, "loss", row->loss);
    add_real(object, "accuracy", row->accuracy);
    cJSON_AddNumberToObject(object, "bytes_up", (double)row->bytes_up);
    cJSON_AddNumberToObject(object, "bytes_down", (double)row->bytes_down);
    cJSON_AddNumberToObject(object, "seconds", row->seconds);
}

/* What is told, taken at one moment; the text is made without the lock. */
struct snapshot {
    enum phase phase;
    struct round_row current;
    uint32_t n_assigned;
    size_t n_clients;
    uint64_t n_failed_rounds;
    char sha256[HASH_HEX + 1];
    struct round_row *history; /* the newest n_listed of n_history rounds */
    size_t n_history;
    size_t n_listed;
};

/* The round that is going on, in the same terms as a row of the history. */
static void take_current(struct snapshot *s, const struct rounds *r)
{
    s->current = r->round.row;
    s->current.loss = s->current.accuracy = (double)NAN;
    s->current.n_failed = rounds_count_failed(&r->round);
    if (r->phase == PHASE_OPEN || r->phase == PHASE_CLOSING)
        s->current.seconds = (double)(rounds_now_ms(r) - r->round.opened_ms) / 1000.0;
    s->n_assigned = rounds_count(&r->round, SEAT_ASSIGNED);
}

/* False: out of memory. Free s->history. */
static bool take_snapshot(struct snapshot *s, const struct rounds *r)
{
    *s = (struct snapshot){.phase = r->phase,
                           .n_clients = r->clients.n,
                           .n_failed_rounds = r->n_failed_rounds,
                           .n_history = r->n_history};
    take_current(s, r);
    memcpy(s->sha256, global_sha256(r->global), sizeof s->sha256);
    s->n_listed = s->n_history < HISTORY_MAX ? s->n_history : HISTORY_MAX;
    if (s->n_listed == 0)
        return true;
    s->history = malloc(s->n_listed * sizeof *s->history);
    if (s->history)
        memcpy(s->history, r->history + (s->n_history - s->n_listed),
               s->n_listed * sizeof *s->history);
    return s->history != NULL;
}

static void add_history(cJSON *json, const struct snapshot *s)
{
    cJSON *history = cJSON_AddArrayToObject(json, "history");

    for (size_t i = 0; i < s->n_listed; i++) {
        cJSON *row = cJSON_CreateObject();
        add_row(row, &s->history[i]);
        cJSON_AddStringToObject(row, "model_sha256", s->history[i].result);
        cJSON_AddItemToArray(history, row);
    }
}

static void add_current(cJSON *json, const struct snapshot *s)
{
    static const char *const names[] = {"waiting", "open", "closing", "finished"};
    cJSON *current = cJSON_AddObjectToObject(json, "current");

    cJSON_AddStringToObject(current, "state", names[s->phase]);
    add_row(current, &s->current);
    cJSON_AddNumberToObject(current, "wanted", s->current.wanted);
    cJSON_AddNumberToObject(current, "assigned", s->n_assigned);
}

static cJSON *describe(const struct snapshot *s, const struct options *o)
{
    bool finished = s->phase == PHASE_FINISHED;
    cJSON *json = cJSON_CreateObject();

    cJSON_AddStringToObject(json, "population", o->population);
    cJSON_AddStringToObject(json, "state", finished ? "finished" : "running");
    cJSON_AddNumberToObject(json, "round",
                            (double)(finished ? s->n_history : s->current.round));
    cJSON_AddNumberToObject(json, "rounds", o->rounds);
    cJSON_AddNumberToObject(json, "participants", o->participants);
    cJSON_AddNumberToObject(json, "accepted", s->current.n_accepted);
    cJSON_AddNumberToObject(json, "checked_in", (double)s->n_clients);
    cJSON_AddNumberToObject(json, "failed_rounds", (double)s->n_failed_rounds);
    cJSON_AddStringToObject(json, "model", o->model);
    cJSON_AddStringToObject(json, "codec", o->codec);
    cJSON_AddStringToObject(json, "model_sha256", s->sha256);
    add_current(json, s);
    add_history(json, s);
    return json;
}

enum MHD_Result status_get(struct request *q)
{
    struct rounds *r = q->rounds;
    struct snapshot snapshot;
    cJSON *json = NULL;
    bool taken;

    pthread_mutex_lock(&r->lock);
    taken = take_snapshot(&snapshot, r);
    pthread_mutex_unlock(&r->lock);
    if (taken)
        json = describe(&snapshot, r->options);
    free(snapshot.history);
    return reply_json(q, MHD_HTTP_OK, json);
}
