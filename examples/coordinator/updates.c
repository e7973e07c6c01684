/* The routes that carry a token: update, lease, report. */
#include "request.h"

#include <cygnet/update.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum MHD_Result unusable(struct request *q, const char *message)
{
    return reply_error(q, 422, "unusable_update", message);
}

static enum MHD_Result done(struct request *q)
{
    cJSON *json = cJSON_CreateObject();

    cJSON_AddBoolToObject(json, "accepted", 1);
    return reply_json(q, MHD_HTTP_OK, json);
}

/* ---- PUT update --------------------------------------------------------- */

/* An update between its arrival and its acceptance. */
struct incoming {
    char sha256[HASH_HEX + 1];
    struct global *global;
    cygnet_tensors *deltas;
    cygnet_update_info info;
};

/* Takes hold of the round's weights when the token may be used. */
static enum verdict enter(struct incoming *in, struct request *q)
{
    struct rounds *r = q->rounds;
    enum verdict verdict;

    pthread_mutex_lock(&r->lock);
    verdict = rounds_judge(r, q->round, q->token, in->sha256);
    if (verdict == VERDICT_GO)
        in->global = global_ref(r->global);
    pthread_mutex_unlock(&r->lock);
    return verdict;
}

static cygnet_status decode(struct incoming *in, const struct request *q,
                            cygnet_error *err)
{
    const cygnet_tensors *weights = global_weights(in->global);
    cygnet_status st =
        cygnet_update_decode(&in->deltas, &in->info, q->body, q->len, weights, NULL, err);

    if (st != CYGNET_OK)
        return st;
    return aggregate_check(in->deltas, weights, in->info.examples, err);
}

/* The update is on disk; now it is counted, unless the round has moved on. */
static enum verdict count(const struct incoming *in, struct request *q, cygnet_status st,
                          cygnet_error *err)
{
    struct rounds *r = q->rounds;
    enum verdict verdict;

    pthread_mutex_lock(&r->lock);
    verdict = rounds_judge(r, q->round, q->token, in->sha256);
    err->status = st;
    if (verdict == VERDICT_GO && st == CYGNET_OK)
        err->status = rounds_accept(r, q->token, in->sha256, in->deltas,
                                    in->info.examples, q->len, err);
    pthread_mutex_unlock(&r->lock);
    return verdict;
}

static enum MHD_Result keep(const struct incoming *in, struct request *q)
{
    char path[FILES_PATH_MAX];
    cygnet_error err = {0};
    cygnet_status st;
    enum verdict verdict;

    files_update_path(path, q->rounds->files, q->token, in->sha256);
    st = files_save(path, q->body, q->len, &err);
    verdict = count(in, q, st, &err);
    if (verdict == VERDICT_ALREADY)
        return done(q);
    if (verdict != VERDICT_GO)
        return reply_verdict(q, verdict);
    return err.status == CYGNET_OK ? done(q) : reply_fault(q, &err);
}

static enum MHD_Result take(struct incoming *in, struct request *q)
{
    const char *codec = q->rounds->options->codec;
    cygnet_error err = {0};

    if (decode(in, q, &err) != CYGNET_OK)
        return err.status == CYGNET_ENOMEM ? reply_fault(q, &err)
                                           : unusable(q, err.message);
    if (in->info.round != q->round)
        return unusable(q, "the update says that it is of another round");
    if (strcmp(in->info.codec, codec) != 0)
        return unusable(q, "the update's codec is not the one that was asked for");
    return keep(in, q);
}

/* NULL when the header promises these very bytes. */
static const char *digest_fault(const struct request *q, const uint8_t *digest,
                                unsigned *status)
{
    const char *header =
        MHD_lookup_connection_value(q->connection, MHD_HEADER_KIND, "Repr-Digest");
    uint8_t promised[HASH_BYTES];

    *status = MHD_HTTP_BAD_REQUEST;
    if (!header || !hash_from_repr_digest(promised, header))
        return "Repr-Digest with sha-256 is required";
    *status = 422;
    return memcmp(promised, digest, HASH_BYTES) == 0
               ? NULL
               : "the body does not have the digest of its Repr-Digest";
}

enum MHD_Result update_put(struct request *q)
{
    struct incoming in = {.info = {.struct_size = sizeof in.info}};
    uint8_t digest[HASH_BYTES];
    enum MHD_Result result;
    enum verdict verdict;
    const char *fault;
    unsigned status;

    hash_bytes(digest, q->body ? q->body : "", q->len);
    hash_hex(in.sha256, digest);
    fault = digest_fault(q, digest, &status);
    if (fault)
        return reply_error(q, status, "bad_digest", fault);
    verdict = enter(&in, q);
    if (verdict == VERDICT_ALREADY)
        return done(q);
    if (verdict != VERDICT_GO)
        return reply_verdict(q, verdict);
    result = q->len ? take(&in, q) : unusable(q, "the body is empty");
    cygnet_tensors_destroy(in.deltas);
    global_unref(in.global);
    return result;
}

/* ---- POST lease --------------------------------------------------------- */

enum MHD_Result lease_post(struct request *q)
{
    struct rounds *r = q->rounds;
    enum verdict verdict;
    cJSON *json;

    pthread_mutex_lock(&r->lock);
    verdict = rounds_judge(r, q->round, q->token, NULL);
    if (verdict == VERDICT_GO)
        rounds_renew(r, q->token);
    pthread_mutex_unlock(&r->lock);
    if (verdict != VERDICT_GO)
        return reply_verdict(q, verdict);
    json = cJSON_CreateObject();
    cJSON_AddNumberToObject(json, "lease_s", r->options->lease_s);
    return reply_json(q, MHD_HTTP_OK, json);
}

/* ---- POST report -------------------------------------------------------- */

#define REPORT_MAX_BYTES 4096

static bool is_outcome(const char *text)
{
    static const char *const outcomes[] = {"none",        "completed", "not_eligible",
                                           "declined",    "too_late",  "aborted",
                                           "interrupted", "failed",    "finished",
                                           "evaluated"};

    for (size_t i = 0; i < sizeof outcomes / sizeof outcomes[0]; i++)
        if (strcmp(outcomes[i], text) == 0)
            return true;
    return false;
}

/* Outcomes after which no update comes. */
static bool gives_up(const char *outcome)
{
    return strcmp(outcome, "aborted") == 0 || strcmp(outcome, "interrupted") == 0 ||
           strcmp(outcome, "failed") == 0 || strcmp(outcome, "not_eligible") == 0;
}

static enum MHD_Result take_report(struct request *q, const char *outcome,
                                   const char *text)
{
    struct rounds *r = q->rounds;
    cygnet_error err = {0};
    struct seat seat;
    cygnet_status st;

    pthread_mutex_lock(&r->lock);
    st = db_find_token(&seat, r->db, q->token, &err);
    if (st == CYGNET_OK && seat.round == q->round)
        st = db_put_report(r->db, q->token, text, &err);
    if (st == CYGNET_OK && seat.round == q->round && gives_up(outcome))
        st = rounds_give_up(r, q->token, &err);
    pthread_mutex_unlock(&r->lock);
    if (st == CYGNET_ENOTFOUND)
        return reply_verdict(q, VERDICT_GONE);
    if (st != CYGNET_OK)
        return reply_fault(q, &err);
    if (seat.round != q->round)
        return reply_verdict(q, VERDICT_CLOSED);
    return reply_empty(q, MHD_HTTP_NO_CONTENT);
}

enum MHD_Result report_post(struct request *q)
{
    const char *reason;
    const cJSON *outcome;
    cJSON *body = request_json(q, &reason);
    char *text = NULL;
    enum MHD_Result result;

    if (!body)
        return reply_error(q, MHD_HTTP_BAD_REQUEST, "malformed", reason);
    outcome = cJSON_GetObjectItemCaseSensitive(body, "outcome");
    if (cJSON_IsString(outcome) && is_outcome(outcome->valuestring))
        text = cJSON_PrintUnformatted(body);
    if (!text || strlen(text) > REPORT_MAX_BYTES)
        result = reply_error(q, MHD_HTTP_BAD_REQUEST, "malformed",
                             "outcome is unknown, or the report is over 4 KiB");
    else
        result = take_report(q, outcome->valuestring, text);
    cJSON_free(text);
    cJSON_Delete(body);
    return result;
}
