/* Looking at what was read. */
#include "transport/pickle.h"

#include <string.h>

bool pickle_is_text(const struct pickle_value *value, const char *text)
{
    size_t len = strlen(text);

    return pickle_is(value, PICKLE_STRING) && value->n == len &&
           memcmp(value->as.bytes, text, len) == 0;
}

bool pickle_is_call(const struct pickle_value *value, size_t global, size_t n_arguments)
{
    return pickle_is(value, PICKLE_CALL) && value->global == global &&
           value->n == n_arguments;
}

bool pickle_int(int64_t *out, const struct pickle_value *value)
{
    if (!pickle_is(value, PICKLE_INT))
        return false;
    *out = value->as.integer;
    return true;
}

bool pickle_number(double *out, const struct pickle_value *value)
{
    if (pickle_is(value, PICKLE_FLOAT))
        *out = value->as.real;
    else if (pickle_is(value, PICKLE_INT))
        *out = (double)value->as.integer;
    else
        return false;
    return true;
}

const struct pickle_value *pickle_member(const struct pickle_value *dict, const char *key)
{
    for (size_t i = 0; pickle_is(dict, PICKLE_DICT) && i < dict->n; i += 2)
        if (pickle_is_text(dict->as.items[i], key))
            return dict->as.items[i + 1];
    return NULL;
}
