/* The answer to a check-in: from JSON to a task with every limit checked. */
#ifndef TRANSPORT_NATIVE_TASK_H
#define TRANSPORT_NATIVE_TASK_H

#include <cygnet/sys/coordinator.h>

#define NATIVE_MAX_SECONDS 2592000u /* 30 days: any time on the wire */
#define NATIVE_MAX_INTEGER                                                               \
    ((UINT64_C(1) << 53) - 1) /* what a JSON number holds exactly */

/* Parses and checks (the limits are those of docs/protocol.md).
 * out  filled on success, with every default in place
 * Errors: EFORMAT (what and where), ELIMIT (JSON beyond the stated limits),
 * EPROTOCOL (neither a task nor a retry window), ENOMEM. */
cygnet_status native_answer_parse(cygnet_answer *out, const void *text, size_t len,
                                  cygnet_error *err);

#endif
