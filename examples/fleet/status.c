/* One libcurl handle that is kept, and cJSON. */
#include "status.h"
#include "complain.h"

#include <cjson/cJSON.h>
#include <curl/curl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_MS 2000L

struct status_reader {
    CURL *curl;
    char *body;
    size_t len;
    size_t room;
};

static size_t on_body(char *data, size_t one, size_t n, void *user)
{
    struct status_reader *r = user;
    size_t need = r->len + n * one;
    char *more;

    if (need > STATUS_MAX_BYTES)
        return 0;
    if (need > r->room) {
        more = realloc(r->body, need * 2);
        if (!more)
            return 0;
        r->body = more;
        r->room = need * 2;
    }
    memcpy(r->body + r->len, data, n * one);
    r->len = need;
    return n * one;
}

cygnet_status status_reader_create(struct status_reader **out, const char *url,
                                   const char *ca_file, cygnet_error *err)
{
    struct status_reader *r = calloc(1, sizeof(*r));
    int bad = 0;

    *out = NULL;
    if (r)
        r->curl = curl_easy_init();
    if (!r || !r->curl) {
        free(r);
        return complain(err, CYGNET_ENOMEM, 0, "libcurl has no memory");
    }
    bad |= curl_easy_setopt(r->curl, CURLOPT_URL, url) != CURLE_OK;
    bad |= curl_easy_setopt(r->curl, CURLOPT_CAINFO, ca_file) != CURLE_OK;
    bad |= curl_easy_setopt(r->curl, CURLOPT_PROXY, "") != CURLE_OK;
    bad |= curl_easy_setopt(r->curl, CURLOPT_NOSIGNAL, 1L) != CURLE_OK;
    bad |= curl_easy_setopt(r->curl, CURLOPT_FAILONERROR, 1L) != CURLE_OK;
    bad |= curl_easy_setopt(r->curl, CURLOPT_TIMEOUT_MS, TIMEOUT_MS) != CURLE_OK;
    bad |= curl_easy_setopt(r->curl, CURLOPT_WRITEFUNCTION, on_body) != CURLE_OK;
    bad |= curl_easy_setopt(r->curl, CURLOPT_WRITEDATA, r) != CURLE_OK;
    if (bad) {
        status_reader_destroy(r);
        return complain(err, CYGNET_ENETWORK, 0, "libcurl refuses an option");
    }
    *out = r;
    return CYGNET_OK;
}

static double number(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

    return cJSON_IsNumber(item) ? item->valuedouble : NAN;
}

static uint32_t count(const cJSON *object, const char *name)
{
    double value = number(object, name);

    return value >= 0.0 && value <= (double)UINT32_MAX ? (uint32_t)value : 0;
}

static uint64_t bytes(const cJSON *object, const char *name)
{
    double value = number(object, name);

    return value >= 0.0 && value < 0x1p63 ? (uint64_t)value : 0;
}

static void read_row(struct round_row *out, const cJSON *item)
{
    out->round = count(item, "round");
    out->participants = count(item, "participants");
    out->failed = count(item, "failed");
    out->loss = number(item, "loss");
    out->accuracy = number(item, "accuracy");
    out->bytes_up = bytes(item, "bytes_up");
    out->bytes_down = bytes(item, "bytes_down");
    out->seconds = number(item, "seconds");
}

static cygnet_status read_status(struct status *out, const cJSON *root, cygnet_error *err)
{
    const cJSON *state = cJSON_GetObjectItemCaseSensitive(root, "state");
    const cJSON *history = cJSON_GetObjectItemCaseSensitive(root, "history");
    const cJSON *item;

    if (!cJSON_IsString(state) || !cJSON_IsArray(history))
        return complain(err, CYGNET_EPROTOCOL, 0,
                        "the coordinator's status has no state or no history");
    out->finished = strcmp(state->valuestring, "finished") == 0;
    out->round = count(root, "round");
    out->participants = count(root, "participants");
    out->accepted = count(root, "accepted");
    out->checked_in = count(root, "checked_in");
    out->rows = calloc((size_t)cJSON_GetArraySize(history) + 1, sizeof(*out->rows));
    if (!out->rows)
        return complain(err, CYGNET_ENOMEM, 0, "no memory for the history");
    cJSON_ArrayForEach(item, history)
    {
        read_row(&out->rows[out->n_rows++], item);
    }
    return CYGNET_OK;
}

cygnet_status status_read(struct status *out, struct status_reader *reader,
                          cygnet_error *err)
{
    struct status fresh = {0};
    CURLcode rc;
    cJSON *root;
    cygnet_status st;

    reader->len = 0;
    rc = curl_easy_perform(reader->curl);
    if (rc != CURLE_OK)
        return complain(err, CYGNET_ENETWORK, (int32_t)rc,
                        "the coordinator does not answer: %s", curl_easy_strerror(rc));
    root = cJSON_ParseWithLength(reader->body ? reader->body : "", reader->len);
    if (!root)
        return complain(err, CYGNET_EPROTOCOL, 0, "the coordinator's status is not JSON");
    st = read_status(&fresh, root, err);
    cJSON_Delete(root);
    if (st == CYGNET_OK) {
        status_clear(out);
        *out = fresh;
    }
    return st;
}

void status_clear(struct status *status)
{
    free(status->rows);
    memset(status, 0, sizeof(*status));
}

void status_reader_destroy(struct status_reader *reader)
{
    if (!reader)
        return;
    curl_easy_cleanup(reader->curl);
    free(reader->body);
    free(reader);
}
