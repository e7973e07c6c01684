/* When to try again: exponential back-off with full jitter, as data. */
#ifndef FL_RETRY_H
#define FL_RETRY_H

#include "base/rng.h"

#include <cygnet/status.h>
#include <stdbool.h>

/* Whether the same call may succeed a little later without anybody's doing. */
bool retry_is_transient(cygnet_status status);

/* Milliseconds to wait after the n-th failure in a row (1 is the first): drawn from
 * [0, min(cap, base * 2^(n-1))], and not less than the server asked for. */
int64_t retry_delay_ms(cygnet_status status, uint32_t n_failures, uint32_t retry_after_s,
                       struct rng *rng);

#endif
