/* The JSON that the native dialect sends, and the little it reads back besides
 * tasks. */
#ifndef TRANSPORT_NATIVE_MESSAGE_H
#define TRANSPORT_NATIVE_MESSAGE_H

#include "base/bytes.h"

#include <cygnet/sys/coordinator.h>

#define NATIVE_ERROR_TEXT_BYTES 160 /* of a server's words in our errors, with NUL */

/* Appends the body of a check-in or a report. Unknown values are left out of the
 * first and null in the second. Errors: ENOMEM, ELIMIT. */
cygnet_status native_check_in_write(struct bytes *out, const cygnet_check_in *hello,
                                    cygnet_error *err);
cygnet_status native_report_write(struct bytes *out, const cygnet_round_report *report,
                                  cygnet_error *err);

/* The server's error.message as one clean line, cut to fit; "" when the body is
 * no error answer. */
void native_error_read(char out[NATIVE_ERROR_TEXT_BYTES], const void *body, size_t len);

/* lease_s of the answer to a renewal. Errors: EFORMAT, ELIMIT, ENOMEM. */
cygnet_status native_lease_read(uint32_t *out, const void *body, size_t len,
                                cygnet_error *err);

#endif
