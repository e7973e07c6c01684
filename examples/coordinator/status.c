/* GET /v1/status: the run, for people and dashboards. */
#include "request.h"

#include <math.h>

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

static void add_history(cJSON *json, const struct rounds *r)
{
    cJSON *history = cJSON_AddArrayToObject(json, "history");
    size_t first = r->n_history > HISTORY_MAX ? r->n_history - HISTORY_MAX : 0;

    for (size_t i = first; i < r->n_history; i++) {
        cJSON *row = cJSON_CreateObject();
        add_row(row, &r->history[i]);
        cJSON_AddStringToObject(row, "model_sha256", r->history[i].result);
        cJSON_AddItemToArray(history, row);
    }
}

/* The round that is going on, in the same terms as a row of the history. */
static void add_current(cJSON *json, const struct rounds *r)
{
    static const char *const names[] = {"waiting", "open", "closing", "finished"};
    cJSON *current = cJSON_AddObjectToObject(json, "current");
    const struct round *round = &r->round;
    struct round_row row = round->row;

    cJSON_AddStringToObject(current, "state", names[r->phase]);
    row.loss = row.accuracy = (double)NAN;
    row.n_failed = rounds_count_failed(round);
    if (r->phase == PHASE_OPEN || r->phase == PHASE_CLOSING)
        row.seconds = (double)(rounds_now_ms(r) - round->opened_ms) / 1000.0;
    add_row(current, &row);
    cJSON_AddNumberToObject(current, "wanted", row.wanted);
    cJSON_AddNumberToObject(current, "assigned", rounds_count(round, SEAT_ASSIGNED));
}

static cJSON *describe(const struct rounds *r)
{
    const struct options *o = r->options;
    bool finished = r->phase == PHASE_FINISHED;
    cJSON *json = cJSON_CreateObject();

    cJSON_AddStringToObject(json, "population", o->population);
    cJSON_AddStringToObject(json, "state", finished ? "finished" : "running");
    cJSON_AddNumberToObject(json, "round",
                            (double)(finished ? r->n_history : r->round.row.round));
    cJSON_AddNumberToObject(json, "rounds", o->rounds);
    cJSON_AddNumberToObject(json, "participants", o->participants);
    cJSON_AddNumberToObject(json, "accepted", r->round.row.n_accepted);
    cJSON_AddNumberToObject(json, "checked_in", (double)r->clients.n);
    cJSON_AddNumberToObject(json, "failed_rounds", (double)r->n_failed_rounds);
    cJSON_AddStringToObject(json, "model", o->model);
    cJSON_AddStringToObject(json, "codec", o->codec);
    cJSON_AddStringToObject(json, "model_sha256", global_sha256(r->global));
    add_current(json, r);
    add_history(json, r);
    return json;
}

enum MHD_Result status_get(struct request *q)
{
    cJSON *json;

    pthread_mutex_lock(&q->rounds->lock);
    json = describe(q->rounds);
    pthread_mutex_unlock(&q->rounds->lock);
    return reply_json(q, MHD_HTTP_OK, json);
}
