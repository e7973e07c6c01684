/* The strict, bounded look at a JSON text before cJSON sees it. */
#ifndef BASE_JSON_SCAN_H
#define BASE_JSON_SCAN_H

#include "base/json.h"

/* RFC 8259 grammar and UTF-8, the limits, and no repeated keys, without recursion
 * beyond max_depth and without allocating. Errors: EFORMAT with the byte offset,
 * ELIMIT. */
cygnet_status json_scan(const char *text, size_t len, const struct json_limits *limits,
                        cygnet_error *err);

/* Offset of the first byte that is not UTF-8; the length when all of it is. */
size_t json_invalid_utf8(const char *text);

#endif
