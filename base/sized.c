/* Structs that grow at their end. */
#include "base/sized.h"

#include "base/error.h"

#include <string.h>

/* A size that is no multiple of the alignment would cut a field in two; no
 * compiler gives a struct such a size. */
cygnet_status sized_check(uint32_t struct_size, const struct sized *type,
                          cygnet_error *err)
{
    if (struct_size == 0)
        return fail(err, CYGNET_EINVAL, 0, "%s: struct_size is 0; call its _init first",
                    type->name);
    if (struct_size < type->min_bytes || struct_size > SIZED_MAX_BYTES ||
        struct_size % type->align_bytes != 0)
        return fail(err, CYGNET_EINVAL, 0, "%s: struct_size is %lu, which no release had",
                    type->name, (unsigned long)struct_size);
    return CYGNET_OK;
}

/* The caller's struct may be of an older, shorter form or of a newer, longer one. */
void sized_give(void *out, const void *own, size_t size_bytes)
{
    uint32_t size;

    if (!out)
        return;
    memcpy(&size, out, sizeof(size));
    memcpy(out, own, size < size_bytes ? size : size_bytes);
    memcpy(out, &size, sizeof(size));
}

cygnet_status sized_adopt(void *out, const void *given, const struct sized *type,
                          cygnet_error *err)
{
    const unsigned char *bytes = given;
    uint32_t given_size;
    uint32_t own_size = (uint32_t)type->size_bytes;
    cygnet_status st;

    memcpy(&given_size, bytes, sizeof(given_size));
    st = sized_check(given_size, type, err);
    if (st != CYGNET_OK)
        return st;
    for (size_t i = type->size_bytes; i < given_size; i++)
        if (bytes[i] != 0)
            return fail(err, CYGNET_EINVAL, 0,
                        "%s: a field is set that this version (%u of %u bytes) does not "
                        "know",
                        type->name, own_size, given_size);
    memcpy(out, given, given_size < own_size ? given_size : own_size);
    memcpy(out, &own_size, sizeof(own_size));
    return CYGNET_OK;
}
