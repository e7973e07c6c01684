/* Strict readers for option values. */
#include "options.h"
#include "complain.h"

#include <cygnet/update.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SIDE 65536u
#define MAX_SHARDS 100000u

static int is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Reads digits only: no sign, no space, no overflow. */
static int digits(uint64_t *out, const char **text)
{
    char *end;

    if (!is_digit(**text))
        return 0;
    errno = 0;
    *out = strtoull(*text, &end, 10);
    *text = end;
    return errno == 0;
}

cygnet_status option_count(uint64_t *out, const char *name, const char *text,
                           uint64_t low, uint64_t high, cygnet_error *err)
{
    const char *rest = text;

    if (!digits(out, &rest) || *rest || *out < low || *out > high)
        return complain(err, CYGNET_EINVAL, 0,
                        "%s: \"%.40s\" is not a whole number in %llu..%llu", name, text,
                        (unsigned long long)low, (unsigned long long)high);
    return CYGNET_OK;
}

cygnet_status option_number(double *out, const char *name, const char *text, double low,
                            double high, cygnet_error *err)
{
    char *end = NULL;

    *out = is_digit(*text) || *text == '.' || *text == '-' ? strtod(text, &end) : NAN;
    if (!end || end == text || *end || !(*out >= low && *out <= high))
        return complain(err, CYGNET_EINVAL, 0, "%s: \"%.40s\" is not a number in %g..%g",
                        name, text, low, high);
    return CYGNET_OK;
}

cygnet_status option_shape(uint32_t dims[4], uint32_t *n_dims, const char *name,
                           const char *text, cygnet_error *err)
{
    const char *rest = text;
    uint64_t side;

    *n_dims = 0;
    while (*n_dims < 4 && digits(&side, &rest) && side > 0 && side <= MAX_SIDE) {
        dims[(*n_dims)++] = (uint32_t)side;
        if (*rest == '\0')
            return CYGNET_OK;
        if (*rest++ != 'x')
            break;
    }
    return complain(err, CYGNET_EINVAL, 0, "%s: \"%.40s\" is not a shape such as 3x32x32",
                    name, text);
}

cygnet_status option_shard(uint32_t *shard, uint32_t *n_shards, const char *name,
                           const char *text, cygnet_error *err)
{
    const char *rest = text;
    uint64_t index;
    uint64_t count;

    if (!digits(&index, &rest) || *rest++ != '/' || !digits(&count, &rest) || *rest ||
        count > MAX_SHARDS || index >= count)
        return complain(err, CYGNET_EINVAL, 0,
                        "%s: \"%.40s\" is not I/N with I in 0..N-1 and N at most %u",
                        name, text, MAX_SHARDS);
    *shard = (uint32_t)index;
    *n_shards = (uint32_t)count;
    return CYGNET_OK;
}

cygnet_status option_policy(cygnet_policy *out, const char *name, const char *text,
                            cygnet_error *err)
{
    static const char *const names[] = {"swan", "greedy", "fixed", "efficient"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(names[i], text) == 0) {
            *out = (cygnet_policy)i;
            return CYGNET_OK;
        }
    }
    return complain(err, CYGNET_EINVAL, 0,
                    "%s: \"%.40s\" is not swan, greedy, fixed or efficient", name, text);
}

cygnet_status option_codec(const char *name, const char *text, cygnet_error *err)
{
    char known[128] = "";
    const char *codec;

    for (uint32_t i = 0; (codec = cygnet_update_codec_name(i)) != NULL; i++) {
        size_t used = strlen(known);

        if (strcmp(codec, text) == 0)
            return CYGNET_OK;
        snprintf(known + used, sizeof(known) - used, "%s%s", i ? ", " : "", codec);
    }
    return complain(err, CYGNET_EINVAL, 0, "%s: \"%s\" is not a codec; known are %s",
                    name, text, known);
}
