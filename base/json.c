/* Reading and building JSON over cJSON. `struct json` is a cJSON item in
 * disguise, so that cJSON.h stays in this file. */
#include "base/json.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/json_scan.h"

#include <cjson/cJSON.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct json_limits JSON_DEFAULT_LIMITS = {.max_bytes = (size_t)1 << 20,
                                                .max_depth = 16,
                                                .max_values = 65536};

static const cJSON *item_of(const struct json *value)
{
    return (const cJSON *)(const void *)value;
}

static const struct json *json_of(const cJSON *item)
{
    return (const struct json *)(const void *)item;
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static cygnet_status check_object_keys(const cJSON *object, cygnet_error *err)
{
    size_t n = (size_t)cJSON_GetArraySize(object);
    const char **keys;
    cygnet_status st = CYGNET_OK;
    size_t i = 0;

    if (n < 2)
        return CYGNET_OK;
    keys = mem_alloc(NULL, n * sizeof(*keys));
    if (!keys)
        return fail(err, CYGNET_ENOMEM, 0, "out of memory for JSON");
    for (const cJSON *m = object->child; m; m = m->next)
        keys[i++] = m->string;
    qsort(keys, n, sizeof(*keys), compare_keys);
    for (i = 1; i < n && st == CYGNET_OK; i++)
        if (strcmp(keys[i - 1], keys[i]) == 0)
            st = fail(err, CYGNET_EFORMAT, 0, "JSON: member \"%.64s\" appears twice",
                      keys[i]);
    mem_free(NULL, keys);
    return st;
}

/* What json_scan cannot see. Recursion is bounded: it has checked the depth. */
static cygnet_status check_tree(const cJSON *item, cygnet_error *err)
{
    cygnet_status st = CYGNET_OK;

    if (cJSON_IsNumber(item) && !isfinite(item->valuedouble))
        return fail(err, CYGNET_EFORMAT, 0, "JSON: a number is out of range");
    if (cJSON_IsObject(item))
        st = check_object_keys(item, err);
    for (const cJSON *child = item->child; child && st == CYGNET_OK; child = child->next)
        st = check_tree(child, err);
    return st;
}

cygnet_status json_parse(struct json **out, const void *text, size_t len,
                         const struct json_limits *limits, cygnet_error *err)
{
    cygnet_status st = json_scan(text, len, limits, err);
    cJSON *root;

    *out = NULL;
    if (st != CYGNET_OK)
        return st;
    root = cJSON_ParseWithLength(text, len);
    if (!root)
        return fail(err, CYGNET_ENOMEM, 0, "out of memory for JSON");
    st = check_tree(root, err);
    if (st != CYGNET_OK) {
        cJSON_Delete(root);
        return st;
    }
    *out = (struct json *)(void *)root;
    return CYGNET_OK;
}

void json_destroy(struct json *document)
{
    cJSON_Delete((cJSON *)(void *)document);
}

bool json_is_object(const struct json *value)
{
    return cJSON_IsObject(item_of(value));
}

bool json_is_array(const struct json *value)
{
    return cJSON_IsArray(item_of(value));
}

bool json_is_string(const struct json *value)
{
    return cJSON_IsString(item_of(value));
}

bool json_is_number(const struct json *value)
{
    return cJSON_IsNumber(item_of(value));
}

bool json_is_null(const struct json *value)
{
    return cJSON_IsNull(item_of(value));
}

const struct json *json_member(const struct json *object, const char *key)
{
    return json_of(cJSON_GetObjectItemCaseSensitive(item_of(object), key));
}

size_t json_count(const struct json *value)
{
    if (!json_is_object(value) && !json_is_array(value))
        return 0;
    return (size_t)cJSON_GetArraySize(item_of(value));
}

const struct json *json_at(const struct json *value, size_t index)
{
    const cJSON *child = value ? item_of(value)->child : NULL;

    while (child && index-- > 0)
        child = child->next;
    return json_of(child);
}

const struct json *json_next(const struct json *value)
{
    return json_of(item_of(value)->next);
}

const char *json_key(const struct json *member)
{
    return item_of(member)->string;
}

const char *json_key_at(const struct json *object, size_t index)
{
    const struct json *member = json_at(object, index);

    return member ? json_key(member) : NULL;
}

const char *json_text(const struct json *string, const char *fallback)
{
    return json_is_string(string) ? item_of(string)->valuestring : fallback;
}

double json_number(const struct json *number, double fallback)
{
    return json_is_number(number) ? item_of(number)->valuedouble : fallback;
}

/* Finds the member; *out is NULL when it is optional and absent. */
static cygnet_status find(const cJSON **out, const struct json *object, const char *key,
                          bool required, const char *where, cygnet_error *err)
{
    const cJSON *item = item_of(json_member(object, key));

    *out = item && !cJSON_IsNull(item) ? item : NULL;
    if (!*out && required)
        return fail(err, CYGNET_EFORMAT, 0, "%s: \"%s\" is missing", where, key);
    return CYGNET_OK;
}

static cygnet_status wrong(const char *where, const char *key, const char *what,
                           cygnet_error *err)
{
    return fail(err, CYGNET_EFORMAT, 0, "%s: \"%s\" must be %s", where, key, what);
}

cygnet_status json_read_u64(uint64_t *out, const struct json *object, const char *key,
                            uint64_t min, uint64_t max, bool required, const char *where,
                            cygnet_error *err)
{
    const cJSON *item;
    cygnet_status st = find(&item, object, key, required, where, err);
    double v;

    if (st != CYGNET_OK || !item)
        return st;
    v = item->valuedouble;
    if (!cJSON_IsNumber(item) || !(v >= 0) || v > (double)JSON_EXACT_MAX || v != floor(v))
        return wrong(where, key, "a whole number", err);
    if ((uint64_t)v < min || (uint64_t)v > max)
        return fail(err, CYGNET_EFORMAT, 0,
                    "%s: \"%s\" is %.0f, outside %" PRIu64 "..%" PRIu64, where, key, v,
                    min, max);
    *out = (uint64_t)v;
    return CYGNET_OK;
}

cygnet_status json_read_u32(uint32_t *out, const struct json *object, const char *key,
                            uint32_t min, uint32_t max, bool required, const char *where,
                            cygnet_error *err)
{
    uint64_t value = *out;
    cygnet_status st = json_read_u64(&value, object, key, min, max, required, where, err);

    if (st == CYGNET_OK)
        *out = (uint32_t)value;
    return st;
}

cygnet_status json_read_double(double *out, const struct json *object, const char *key,
                               double min, double max, bool required, const char *where,
                               cygnet_error *err)
{
    const cJSON *item;
    cygnet_status st = find(&item, object, key, required, where, err);

    if (st != CYGNET_OK || !item)
        return st;
    if (!cJSON_IsNumber(item))
        return wrong(where, key, "a number", err);
    if (!(item->valuedouble >= min && item->valuedouble <= max))
        return fail(err, CYGNET_EFORMAT, 0, "%s: \"%s\" is %g, outside %g..%g", where,
                    key, item->valuedouble, min, max);
    *out = item->valuedouble;
    return CYGNET_OK;
}

cygnet_status json_read_bool(bool *out, const struct json *object, const char *key,
                             bool required, const char *where, cygnet_error *err)
{
    const cJSON *item;
    cygnet_status st = find(&item, object, key, required, where, err);

    if (st != CYGNET_OK || !item)
        return st;
    if (!cJSON_IsBool(item))
        return wrong(where, key, "true or false", err);
    *out = cJSON_IsTrue(item);
    return CYGNET_OK;
}

cygnet_status json_read_string(char *out, size_t size, const struct json *object,
                               const char *key, bool required, const char *where,
                               cygnet_error *err)
{
    const cJSON *item;
    cygnet_status st = find(&item, object, key, required, where, err);
    size_t len;

    if (st != CYGNET_OK || !item)
        return st;
    if (!cJSON_IsString(item))
        return wrong(where, key, "a string", err);
    len = strlen(item->valuestring);
    if (len >= size)
        return fail(err, CYGNET_EFORMAT, 0, "%s: \"%s\" is longer than %zu bytes", where,
                    key, size - 1);
    memcpy(out, item->valuestring, len + 1);
    return CYGNET_OK;
}

cygnet_status json_read_object(const struct json **out, const struct json *object,
                               const char *key, bool required, const char *where,
                               cygnet_error *err)
{
    const cJSON *item;
    cygnet_status st = find(&item, object, key, required, where, err);

    *out = NULL;
    if (st != CYGNET_OK || !item)
        return st;
    if (!cJSON_IsObject(item))
        return wrong(where, key, "an object", err);
    *out = json_of(item);
    return CYGNET_OK;
}
