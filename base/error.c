/* Error records: the one place where a failure's line is written. */
#include "base/error.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

cygnet_status fail(cygnet_error *err, cygnet_status status, int32_t detail,
                   const char *format, ...)
{
    va_list args;

    assert(status != CYGNET_OK);
    if (!err)
        return status;
    err->status = status;
    err->detail = detail;
    va_start(args, format);
    (void)vsnprintf(err->message, sizeof(err->message), format, args);
    va_end(args);
    return status;
}

cygnet_status fail_within(cygnet_error *err, cygnet_status status, const char *format,
                          ...)
{
    char inner[CYGNET_ERROR_MESSAGE_BYTES];
    va_list args;
    size_t used;

    if (!err)
        return status;
    memcpy(inner, err->message, sizeof(inner));
    va_start(args, format);
    (void)vsnprintf(err->message, sizeof(err->message), format, args);
    va_end(args);
    used = strlen(err->message);
    (void)snprintf(err->message + used, sizeof(err->message) - used, ": %.*s",
                   (int)(sizeof(inner) - 1), inner);
    return err->status;
}

cygnet_status status_of_errno(int error_number)
{
    switch (error_number) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return CYGNET_ENOSPC;
    case ENOENT:
        return CYGNET_ENOTFOUND;
    case ENOMEM:
        return CYGNET_ENOMEM;
    default:
        return CYGNET_ESTORAGE;
    }
}
