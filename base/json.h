/* JSON with stated limits, over cJSON: strict UTF-8, no NaN, no trailing text,
 * no repeated keys. Readers name the path of what is wrong. */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/bytes.h"

#include <stdbool.h>

/* A parsed document, or a value inside it (borrowed from the document). */
struct json;

/* The largest whole number that survives a reader's double: 2^53 - 1. Beyond it
 * numbers are neither read nor written; what needs 64 bits travels as text.
 * Source: RFC 7493, 2.2. */
#define JSON_EXACT_MAX ((UINT64_C(1) << 53) - 1)

struct json_limits {
    size_t max_bytes;
    size_t max_depth;
    size_t max_values; /* objects, arrays, strings, numbers, literals in all */
};

/* 1 MiB, depth 16, 65,536 values. */
extern const struct json_limits JSON_DEFAULT_LIMITS;

/* Parses a whole text; `text` need not be NUL-terminated.
 * out  receives the document; free with json_destroy
 * Errors: EFORMAT with the byte offset, ELIMIT, ENOMEM. On failure *out is NULL. */
cygnet_status json_parse(struct json **out, const void *text, size_t len,
                         const struct json_limits *limits, cygnet_error *err);
void json_destroy(struct json *document); /* accepts NULL */

bool json_is_object(const struct json *value);
bool json_is_array(const struct json *value);
bool json_is_string(const struct json *value);
bool json_is_number(const struct json *value);
bool json_is_null(const struct json *value);

/* Members and elements; NULL when absent. Borrowed from the document. */
const struct json *json_member(const struct json *object, const char *key);
size_t json_count(const struct json *value); /* members or elements; else 0 */
const struct json *json_at(const struct json *value, size_t index);
const char *json_key_at(const struct json *object, size_t index);

/* Walking in constant time a step: for (v = json_at(list, 0); v; v = json_next(v)).
 * json_key is the name of a member found that way. */
const struct json *json_next(const struct json *value);
const char *json_key(const struct json *member);

/* The value itself; the fallback when it is NULL or of another type. */
const char *json_text(const struct json *string, const char *fallback);
double json_number(const struct json *number, double fallback);

/* Typed readers of an object's member. `required` members that are absent, and
 * any of the wrong type or range, are EFORMAT with `where` and the key in the
 * message. Absent optional members leave *out as it was. JSON null counts as
 * absent. Whole numbers must be within [min, max]
 * and at most JSON_EXACT_MAX.
 * json_read_string copies at most size - 1 bytes; longer is EFORMAT. */
cygnet_status json_read_u64(uint64_t *out, const struct json *object, const char *key,
                            uint64_t min, uint64_t max, bool required, const char *where,
                            cygnet_error *err);
cygnet_status json_read_u32(uint32_t *out, const struct json *object, const char *key,
                            uint32_t min, uint32_t max, bool required, const char *where,
                            cygnet_error *err);
cygnet_status json_read_double(double *out, const struct json *object, const char *key,
                               double min, double max, bool required, const char *where,
                               cygnet_error *err);
cygnet_status json_read_bool(bool *out, const struct json *object, const char *key,
                             bool required, const char *where, cygnet_error *err);
cygnet_status json_read_string(char *out, size_t size, const struct json *object,
                               const char *key, bool required, const char *where,
                               cygnet_error *err);
/* The member as an object; *out is NULL when optional and absent. */
cygnet_status json_read_object(const struct json **out, const struct json *object,
                               const char *key, bool required, const char *where,
                               cygnet_error *err);

/* Building. A builder remembers its first failure, so calls need no check until
 * json_build_finish. Keys are NULL for elements of an array and the root. Bytes of
 * a string that are not UTF-8 are written as '?'. */
struct json_builder;
struct json_builder *json_build(void); /* NULL: out of memory; the others accept it */
void json_open_object(struct json_builder *b, const char *key);
void json_open_array(struct json_builder *b, const char *key);
void json_close(struct json_builder *b);
void json_put_string(struct json_builder *b, const char *key, const char *value);
void json_put_u64(struct json_builder *b, const char *key,
                  uint64_t value); /* above JSON_EXACT_MAX: ELIMIT */
void json_put_double(struct json_builder *b, const char *key,
                     double value); /* NaN: null */
void json_put_bool(struct json_builder *b, const char *key, bool value);
void json_put_null(struct json_builder *b, const char *key);

/* Appends the text to *out and frees the builder. Errors: ENOMEM, ELIMIT, and
 * ESTATE when opens and closes do not match. */
cygnet_status json_build_finish(struct json_builder *b, struct bytes *out,
                                cygnet_error *err);

/* Frees the builder and what it has built. */
void json_build_discard(struct json_builder *b);

#endif
