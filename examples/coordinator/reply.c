/* Answers and the reading of JSON bodies. */
#include "request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JSON_MAX_DEPTH 16

static enum MHD_Result send_text(struct request *q, unsigned status, char *text,
                                 enum MHD_ResponseMemoryMode mode)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(strlen(text), text, mode);
    enum MHD_Result result;

    if (!response) {
        if (mode == MHD_RESPMEM_MUST_FREE)
            free(text);
        return MHD_NO;
    }
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    if (status == MHD_HTTP_SERVICE_UNAVAILABLE)
        MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, "1");
    result = MHD_queue_response(q->connection, status, response);
    MHD_destroy_response(response);
    return result;
}

enum MHD_Result reply_json(struct request *q, unsigned status, cJSON *json)
{
    static char exhausted[] = "{\"error\":{\"code\":\"overloaded\","
                              "\"message\":\"the server is out of memory\"}}";
    char *text = json ? cJSON_PrintUnformatted(json) : NULL;

    cJSON_Delete(json);
    if (!text)
        return send_text(q, MHD_HTTP_SERVICE_UNAVAILABLE, exhausted,
                         MHD_RESPMEM_PERSISTENT);
    return send_text(q, status, text, MHD_RESPMEM_MUST_FREE);
}

enum MHD_Result reply_empty(struct request *q, unsigned status)
{
    static char nothing[] = "";
    struct MHD_Response *response =
        MHD_create_response_from_buffer(0, nothing, MHD_RESPMEM_PERSISTENT);
    enum MHD_Result result;

    if (!response)
        return MHD_NO;
    result = MHD_queue_response(q->connection, status, response);
    MHD_destroy_response(response);
    return result;
}

enum MHD_Result reply_error(struct request *q, unsigned status, const char *code,
                            const char *message)
{
    cJSON *json = cJSON_CreateObject();
    cJSON *error = cJSON_AddObjectToObject(json, "error");

    cJSON_AddStringToObject(error, "code", code);
    cJSON_AddStringToObject(error, "message", message);
    return reply_json(q, status, json);
}

enum MHD_Result reply_fault(struct request *q, const cygnet_error *err)
{
    fprintf(stderr, "cygnet-coordinator: %s\n", err->message);
    if (err->status == CYGNET_ENOSPC)
        return reply_error(q, 507, "disk_full", "the server's disk takes no more");
    if (err->status == CYGNET_ENOMEM || err->status == CYGNET_ELIMIT ||
        err->status == CYGNET_EBUSY)
        return reply_error(q, MHD_HTTP_SERVICE_UNAVAILABLE, "overloaded", err->message);
    return reply_error(q, MHD_HTTP_INTERNAL_SERVER_ERROR, "internal",
                       "the server could not do it");
}

enum MHD_Result reply_verdict(struct request *q, enum verdict verdict)
{
    if (verdict == VERDICT_GONE)
        return reply_error(q, MHD_HTTP_GONE, "token_gone",
                           "the token is unknown or its seat was given to another");
    if (verdict == VERDICT_UNKNOWN)
        return reply_error(q, MHD_HTTP_SERVICE_UNAVAILABLE, "overloaded",
                           "the server cannot look the token up at the moment");
    if (verdict == VERDICT_OTHER_BYTES)
        return reply_error(q, 422, "other_bytes",
                           "an update with other bytes was accepted for this token");
    return reply_error(q, MHD_HTTP_CONFLICT, "round_closed", "the round is closed");
}

/* cJSON recurses for each level, so the depth is checked before it parses. */
static int depth_is_fine(const char *text, size_t len)
{
    int depth = 0;
    int in_string = 0;

    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (in_string && c == '\\')
            i++;
        else if (c == '"')
            in_string = !in_string;
        else if (!in_string && (c == '{' || c == '['))
            depth++;
        else if (!in_string && (c == '}' || c == ']'))
            depth--;
        if (depth > JSON_MAX_DEPTH)
            return 0;
    }
    return 1;
}

/* Refuses overlong forms, surrogates and what lies above U+10FFFF. */
static int second_fits(unsigned char first, unsigned char second)
{
    unsigned char low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    unsigned char high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;

    return second >= low && second <= high;
}

/* The bytes of the character at `s`, 0 when it is not UTF-8: the table of
 * RFC 3629, section 4. */
static size_t utf8_length(const unsigned char *s, size_t left)
{
    size_t n = s[0] < 0x80 ? 1 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;

    if (n == 1)
        return 1;
    if (s[0] < 0xc2 || s[0] > 0xf4 || n > left || !second_fits(s[0], s[1]))
        return 0;
    for (size_t i = 2; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    return n;
}

static int is_utf8(const char *text, size_t len)
{
    for (size_t i = 0; i < len;) {
        size_t n = utf8_length((const unsigned char *)text + i, len - i);

        if (n == 0)
            return 0;
        i += n;
    }
    return 1;
}

cJSON *request_json(const struct request *q, const char **reason)
{
    cJSON *json;

    *reason = "the body is not one JSON object";
    if (q->len == 0 || memchr(q->body, '\0', q->len))
        return NULL;
    if (!depth_is_fine(q->body, q->len)) {
        *reason = "the JSON is nested deeper than 16 levels";
        return NULL;
    }
    if (!is_utf8(q->body, q->len)) {
        *reason = "the body is not UTF-8";
        return NULL;
    }
    json = cJSON_ParseWithLengthOpts(q->body, q->len + 1, NULL, 1);
    if (json && !cJSON_IsObject(json)) {
        cJSON_Delete(json);
        return NULL;
    }
    return json;
}
