/* One-line errors of the programs. */
#include "complain.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define WHOLE_BYTES 8192 /* a path or two, and what is wrong with them */
#define HEAD_BYTES 48    /* kept before the gap */

/* A long path must not push out what is wrong: the gap is in the middle. */
static void shorten(char out[CYGNET_ERROR_MESSAGE_BYTES], const char *whole)
{
    size_t len = strlen(whole);
    size_t tail = CYGNET_ERROR_MESSAGE_BYTES - 1 - HEAD_BYTES - strlen("...");

    if (len < CYGNET_ERROR_MESSAGE_BYTES)
        memcpy(out, whole, len + 1);
    else
        snprintf(out, CYGNET_ERROR_MESSAGE_BYTES, "%.*s...%s", HEAD_BYTES, whole,
                 whole + len - tail);
}

cygnet_status complain(cygnet_error *err, cygnet_status status, int32_t detail,
                       const char *format, ...)
{
    char whole[WHOLE_BYTES];
    va_list args;

    if (!err)
        return status;
    err->status = status;
    err->detail = detail;
    va_start(args, format);
    vsnprintf(whole, sizeof(whole), format, args);
    va_end(args);
    shorten(err->message, whole);
    return status;
}

cygnet_status status_of_errno(int number)
{
    if (number == ENOSPC || number == EDQUOT || number == EFBIG)
        return CYGNET_ENOSPC;
    if (number == ENOENT || number == ENOTDIR)
        return CYGNET_ENOTFOUND;
    return number == ENOMEM ? CYGNET_ENOMEM : CYGNET_ESTORAGE;
}
