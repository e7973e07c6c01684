/* One-line errors of the programs. */
#include "complain.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

cygnet_status complain(cygnet_error *err, cygnet_status status, int32_t detail,
                       const char *format, ...)
{
    va_list args;

    if (!err)
        return status;
    err->status = status;
    err->detail = detail;
    va_start(args, format);
    vsnprintf(err->message, sizeof(err->message), format, args);
    va_end(args);
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
