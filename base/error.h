/* Failing in one line: fail() fills the caller's error and returns the status.
 * Not a log: a status is never logged and returned. */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <cygnet/status.h>

/* Fills err (when not NULL) and returns `status`, which must not be CYGNET_OK.
 * detail  errno, HTTP status or a hook's code; 0 when there is none */
cygnet_status fail(cygnet_error *err, cygnet_status status, int32_t detail,
                   const char *format, ...) CYGNET_PRINTF(4, 5);

/* Puts "where: " in front of the message of an error that is passed up. Returns
 * err's status, or `status` when err is NULL. */
cygnet_status fail_within(cygnet_error *err, cygnet_status status, const char *format,
                          ...) CYGNET_PRINTF(3, 4);

/* The status that fits an errno of a file operation: ENOSPC for a full disk or
 * quota, ENOTFOUND, ENOMEM, else ESTORAGE. */
cygnet_status status_of_errno(int error_number);

#endif
