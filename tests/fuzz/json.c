/* Any bytes as JSON: refused, or a tree that can be walked. A text that passes the
 * check but that cJSON then refuses would show as ENOMEM. */
#include "base/json.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t walk(const struct json *value)
{
    size_t n = 1;

    (void)json_text(value, "");
    (void)json_number(value, 0);
    if (json_is_object(value) || json_is_array(value))
        for (const struct json *v = json_at(value, 0); v; v = json_next(v))
            n += walk(v);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json *document;
    cygnet_status st = json_parse(&document, data, size, &JSON_DEFAULT_LIMITS, NULL);

    if (st == CYGNET_ENOMEM)
        abort();
    if (st == CYGNET_OK && walk(document) > JSON_DEFAULT_LIMITS.max_values)
        abort();
    json_destroy(document);
    return 0;
}
