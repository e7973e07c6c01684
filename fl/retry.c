/* Source: "full jitter" is M. Brooker's name for it, "Exponential Backoff And
 * Jitter", 2015. */
#include "fl/retry.h"

#include <stddef.h>

#define SECOND INT64_C(1000)
#define HOUR (3600 * SECOND)

static const struct policy {
    cygnet_status status;
    bool transient;
    int64_t base_ms;
    int64_t cap_ms;
} policies[] = {
    {CYGNET_ENETWORK, true, 1 * SECOND, 600 * SECOND},
    {CYGNET_ETIMEOUT, true, 1 * SECOND, 600 * SECOND},
    {CYGNET_ESERVER, true, 2 * SECOND, 900 * SECOND},
    {CYGNET_EHASH, false, 60 * SECOND, 6 * HOUR},
    {CYGNET_ENOSPC, false, 600 * SECOND, 6 * HOUR},
    {CYGNET_ENOMEM, false, 600 * SECOND, 6 * HOUR},
};

/* Whatever else: somebody has to change something first. */
static const struct policy otherwise = {CYGNET_OK, false, 1 * HOUR, 24 * HOUR};

static const struct policy *policy_of(cygnet_status status)
{
    for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++)
        if (policies[i].status == status)
            return &policies[i];
    return &otherwise;
}

bool retry_is_transient(cygnet_status status)
{
    return policy_of(status)->transient;
}

int64_t retry_delay_ms(cygnet_status status, uint32_t n_failures, uint32_t retry_after_s,
                       struct rng *rng)
{
    const struct policy *policy = policy_of(status);
    int64_t window = policy->base_ms;
    int64_t asked = (int64_t)retry_after_s * SECOND;
    int64_t delay;

    for (uint32_t n = 1; n < n_failures && window < policy->cap_ms; n++)
        window *= 2;
    if (window > policy->cap_ms)
        window = policy->cap_ms;
    delay = (int64_t)rng_below(rng, (uint64_t)window + 1);
    return delay > asked ? delay : asked;
}
