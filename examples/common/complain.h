/* How the programs say what went wrong: one English line in the cygnet_error
 * that the public headers define, and one line on standard error at the edge. */
#ifndef PROGRAMS_COMPLAIN_H
#define PROGRAMS_COMPLAIN_H

#include <cygnet/status.h>

/* Fills err (may be NULL) and returns status, so that a failure is one line. */
cygnet_status complain(cygnet_error *err, cygnet_status status, int32_t detail,
                       const char *format, ...) CYGNET_PRINTF(4, 5);

/* The status that errno stands for: ENOSPC, ENOTFOUND, ENOMEM or else ESTORAGE. */
cygnet_status status_of_errno(int number);

#endif
