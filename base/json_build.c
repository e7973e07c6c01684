/* Building JSON: a stack of open containers over cJSON items. */
#include "base/error.h"
#include "base/json.h"
#include "base/json_scan.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_OPEN 16

enum trouble { NO_TROUBLE, NO_MEMORY, UNBALANCED, INEXACT };

struct json_builder {
    cJSON *root;
    cJSON *open[MAX_OPEN];
    size_t n_open;
    enum trouble trouble;
};

/* cJSON's own allocations are the C library's, and so is this one. */
struct json_builder *json_build(void)
{
    struct json_builder *b = cJSON_malloc(sizeof(*b));

    if (b)
        *b = (struct json_builder){.trouble = NO_TROUBLE};
    return b;
}

static void give_up(struct json_builder *b, cJSON *item, enum trouble trouble)
{
    cJSON_Delete(item);
    if (b->trouble == NO_TROUBLE)
        b->trouble = trouble;
}

/* Consumes item, also on failure; true when it is in the tree. */
static bool attach(struct json_builder *b, const char *key, cJSON *item)
{
    cJSON *parent = b->n_open > 0 ? b->open[b->n_open - 1] : NULL;
    bool added = true;

    if (!item || b->trouble != NO_TROUBLE) {
        give_up(b, item, NO_MEMORY);
        return false;
    }
    if (!parent ? (b->root != NULL || key != NULL)
                : cJSON_IsObject(parent) != (key != NULL)) {
        give_up(b, item, UNBALANCED);
        return false;
    }
    if (!parent)
        b->root = item;
    else if (key)
        added = cJSON_AddItemToObject(parent, key, item);
    else
        added = cJSON_AddItemToArray(parent, item);
    if (!added)
        give_up(b, item, NO_MEMORY);
    return added;
}

static void open_container(struct json_builder *b, const char *key, cJSON *item)
{
    if (b->n_open == MAX_OPEN) {
        give_up(b, item, UNBALANCED);
        return;
    }
    if (attach(b, key, item))
        b->open[b->n_open++] = item;
}

void json_open_object(struct json_builder *b, const char *key)
{
    if (b)
        open_container(b, key, cJSON_CreateObject());
}

void json_open_array(struct json_builder *b, const char *key)
{
    if (b)
        open_container(b, key, cJSON_CreateArray());
}

void json_close(struct json_builder *b)
{
    if (!b)
        return;
    if (b->n_open == 0)
        give_up(b, NULL, UNBALANCED);
    else
        b->n_open--;
}

void json_put_string(struct json_builder *b, const char *key, const char *value)
{
    cJSON *item = b ? cJSON_CreateString(value) : NULL;

    /* A message cut off within a character must not spoil the document. */
    if (item)
        for (char *p = item->valuestring; *(p += json_invalid_utf8(p));)
            *p = '?';
    if (b)
        (void)attach(b, key, item);
}

void json_put_u64(struct json_builder *b, const char *key, uint64_t value)
{
    char digits[24];

    if (!b)
        return;
    if (value > JSON_EXACT_MAX)
        give_up(b, NULL, INEXACT);
    (void)snprintf(digits, sizeof(digits), "%" PRIu64, value);
    (void)attach(b, key, cJSON_CreateRaw(digits));
}

void json_put_double(struct json_builder *b, const char *key, double value)
{
    if (b)
        (void)attach(b, key,
                     isfinite(value) ? cJSON_CreateNumber(value) : cJSON_CreateNull());
}

void json_put_bool(struct json_builder *b, const char *key, bool value)
{
    if (b)
        (void)attach(b, key, cJSON_CreateBool(value));
}

void json_put_null(struct json_builder *b, const char *key)
{
    if (b)
        (void)attach(b, key, cJSON_CreateNull());
}

static cygnet_status finish(const struct json_builder *b, struct bytes *out,
                            cygnet_error *err)
{
    char *text;
    cygnet_status st;

    if (!b || b->trouble == NO_MEMORY)
        return fail(err, CYGNET_ENOMEM, 0, "out of memory for JSON");
    if (b->trouble == INEXACT)
        return fail(err, CYGNET_ELIMIT, 0, "JSON: a whole number above 2^53 - 1");
    if (b->trouble == UNBALANCED || b->n_open > 0 || !b->root)
        return fail(err, CYGNET_ESTATE, 0, "JSON is not built whole");
    text = cJSON_PrintUnformatted(b->root);
    if (!text)
        return fail(err, CYGNET_ENOMEM, 0, "out of memory for JSON");
    st = bytes_printf(out, err, "%s", text);
    cJSON_free(text);
    return st;
}

cygnet_status json_build_finish(struct json_builder *b, struct bytes *out,
                                cygnet_error *err)
{
    cygnet_status st = finish(b, out, err);

    json_build_discard(b);
    return st;
}

void json_build_discard(struct json_builder *b)
{
    if (!b)
        return;
    cJSON_Delete(b->root);
    cJSON_free(b);
}
