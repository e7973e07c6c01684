/* The device's rule, the task's rule, and what the host knows. */
#include "fl/eligibility.h"

#include <stdio.h>

static cygnet_requirement stricter(cygnet_requirement a, cygnet_requirement b)
{
    return a > b ? a : b;
}

struct eligibility_rule eligibility_combine(const struct eligibility_rule *a,
                                            const struct eligibility_rule *b)
{
    int32_t battery = a->min_battery_percent;

    if (b->min_battery_percent > battery)
        battery = b->min_battery_percent;
    return (struct eligibility_rule){
        .charging = stricter(a->charging, b->charging),
        .idle = stricter(a->idle, b->idle),
        .unmetered = stricter(a->unmetered, b->unmetered),
        .min_battery_percent = battery,
    };
}

static bool condition_holds(char why[ELIGIBILITY_WHY_BYTES], const char *name,
                            cygnet_requirement requirement, cygnet_tristate value)
{
    if (requirement != CYGNET_REQUIRED || value == CYGNET_TRUE)
        return true;
    (void)snprintf(why, ELIGIBILITY_WHY_BYTES, "%s is required and is %s", name,
                   value == CYGNET_FALSE ? "false" : "unknown");
    return false;
}

/* A machine that is known to be on external power and has no battery to tell of
 * cannot run one down. */
static bool battery_holds(char why[ELIGIBILITY_WHY_BYTES], int32_t min_percent,
                          const cygnet_device_state *state)
{
    if (min_percent <= 0 || state->battery_percent >= min_percent)
        return true;
    if (state->battery_percent < 0 && state->charging == CYGNET_TRUE)
        return true;
    if (state->battery_percent < 0)
        (void)snprintf(why, ELIGIBILITY_WHY_BYTES,
                       "battery of %d %% is required and its level is unknown",
                       (int)min_percent);
    else
        (void)snprintf(why, ELIGIBILITY_WHY_BYTES,
                       "battery of %d %% is required and it has %d %%", (int)min_percent,
                       (int)state->battery_percent);
    return false;
}

bool eligibility_holds(char why[ELIGIBILITY_WHY_BYTES],
                       const struct eligibility_rule *rule,
                       const cygnet_device_state *state)
{
    why[0] = '\0';
    return condition_holds(why, "charging", rule->charging, state->charging) &&
           condition_holds(why, "idle", rule->idle, state->idle) &&
           condition_holds(why, "unmetered", rule->unmetered, state->unmetered) &&
           battery_holds(why, rule->min_battery_percent, state);
}
