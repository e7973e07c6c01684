/* Replaying: a trace of observations through the policy. The format of the trace and of
 * the answer is that of cygnet_swan_replay (cygnet/swan.h). */
#ifndef ENGINE_SWAN_REPLAY_H
#define ENGINE_SWAN_REPLAY_H

#include "base/bytes.h"

#define REPLAY_MAX_BYTES (4 << 20) /* of a trace */
#define REPLAY_MAX_STEPS 10000
#define REPLAY_MAX_OUT_BYTES (8 << 20)

/* Appends the answer; memory is *out's allocator's. Errors: EFORMAT, ENOTFOUND, ELIMIT,
 * ENOMEM. On failure *out is as it was. */
cygnet_status replay_run(struct bytes *out, const void *trace, size_t len,
                         cygnet_error *err);

#endif
