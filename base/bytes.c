/* The bounded byte buffer. */
#include "base/bytes.h"

#include "base/alloc.h"
#include "base/error.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define SMALLEST_CAPACITY 64

void bytes_init(struct bytes *bytes, size_t max, const cygnet_allocator *alloc)
{
    memset(bytes, 0, sizeof(*bytes));
    bytes->max = max;
    bytes->alloc = alloc;
}

static size_t next_capacity(const struct bytes *bytes, size_t needed)
{
    size_t cap = bytes->cap ? bytes->cap : SMALLEST_CAPACITY;

    while (cap < needed && cap <= SIZE_MAX / 2)
        cap *= 2;
    if (cap < needed || cap > bytes->max)
        cap = needed > bytes->max ? needed : bytes->max;
    return cap;
}

/* Room for `needed` bytes in all, which the caller has held against max. */
static bool grow(struct bytes *bytes, size_t needed)
{
    size_t cap;
    uint8_t *data;

    if (needed <= bytes->cap)
        return true;
    cap = next_capacity(bytes, needed);
    data = mem_resize(bytes->alloc, bytes->data, cap);
    if (!data)
        return false;
    bytes->data = data;
    bytes->cap = cap;
    return true;
}

cygnet_status bytes_reserve(uint8_t **out, struct bytes *bytes, size_t len,
                            cygnet_error *err)
{
    if (len > bytes->max - bytes->len)
        return fail(err, CYGNET_ELIMIT, 0, "more than the limit of %zu bytes",
                    bytes->max);
    if (!grow(bytes, bytes->len + len))
        return fail(err, CYGNET_ENOMEM, 0, "out of memory for a buffer of %zu bytes",
                    bytes->len + len);
    *out = bytes->data ? bytes->data + bytes->len : NULL;
    return CYGNET_OK;
}

cygnet_status bytes_append(struct bytes *bytes, const void *data, size_t len,
                           cygnet_error *err)
{
    uint8_t *to = NULL;
    cygnet_status st;

    if (len == 0)
        return CYGNET_OK;
    st = bytes_reserve(&to, bytes, len, err);
    if (st != CYGNET_OK)
        return st;
    memcpy(to, data, len);
    bytes->len += len;
    return CYGNET_OK;
}

cygnet_status bytes_printf(struct bytes *bytes, cygnet_error *err, const char *format,
                           ...)
{
    va_list args;
    int len;

    va_start(args, format);
    len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (len < 0)
        return fail(err, CYGNET_EINVAL, 0, "text cannot be formatted");
    if ((size_t)len > bytes->max - bytes->len)
        return fail(err, CYGNET_ELIMIT, 0, "more than the limit of %zu bytes",
                    bytes->max);
    /* vsnprintf wants room for its NUL, which does not become content. */
    if (!grow(bytes, bytes->len + (size_t)len + 1))
        return fail(err, CYGNET_ENOMEM, 0, "out of memory for a text of %d bytes", len);
    va_start(args, format);
    (void)vsnprintf((char *)bytes->data + bytes->len, (size_t)len + 1, format, args);
    va_end(args);
    bytes->len += (size_t)len;
    return CYGNET_OK;
}

const char *bytes_text(struct bytes *bytes)
{
    if (bytes->len == 0)
        return "";
    if (!grow(bytes, bytes->len + 1))
        return NULL;
    bytes->data[bytes->len] = 0;
    return (const char *)bytes->data;
}

cygnet_status bytes_give(char **out, struct bytes *bytes, cygnet_error *err)
{
    if (!grow(bytes, bytes->len + 1))
        return fail(err, CYGNET_ENOMEM, 0, "out of memory for a text of %zu bytes",
                    bytes->len);
    bytes->data[bytes->len] = 0;
    *out = (char *)bytes->data;
    bytes->data = NULL;
    bytes_clear(bytes);
    return CYGNET_OK;
}

void bytes_reset(struct bytes *bytes)
{
    bytes->len = 0;
}

void bytes_clear(struct bytes *bytes)
{
    mem_free(bytes->alloc, bytes->data);
    bytes->data = NULL;
    bytes->len = 0;
    bytes->cap = 0;
}

uint32_t load_u32le(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
           (uint32_t)p[3] << 24;
}

uint64_t load_u64le(const uint8_t *p)
{
    return load_u32le(p) | (uint64_t)load_u32le(p + 4) << 32;
}

void store_u32le(uint8_t *p, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(value >> 8 * i);
}

void store_u64le(uint8_t *p, uint64_t value)
{
    store_u32le(p, (uint32_t)value);
    store_u32le(p + 4, (uint32_t)(value >> 32));
}
