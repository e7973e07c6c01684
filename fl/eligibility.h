/* Whether the device may work for a round now (docs/eligibility.md). */
#ifndef FL_ELIGIBILITY_H
#define FL_ELIGIBILITY_H

#include <cygnet/cygnet.h>
#include <stdbool.h>
#include <stddef.h>

/* What the device's owner asks for; a task can only make it stricter. */
struct eligibility_rule {
    cygnet_requirement charging;
    cygnet_requirement idle;
    cygnet_requirement unmetered;
    int32_t min_battery_percent;
};

#define ELIGIBILITY_WHY_BYTES 96

/* The stricter of both in each condition. */
struct eligibility_rule eligibility_combine(const struct eligibility_rule *a,
                                            const struct eligibility_rule *b);

/* Whether the state satisfies the rule; if not, `why` names the first condition
 * that fails, in one line. A required condition passes only when it is known to be
 * true. */
bool eligibility_holds(char why[ELIGIBILITY_WHY_BYTES],
                       const struct eligibility_rule *rule,
                       const cygnet_device_state *state);

#endif
