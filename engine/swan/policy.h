/* The policy: which execution choice next, and why. Pure: the same function decides
 * on the device, in the simulated fleet and in a replay. */
#ifndef ENGINE_SWAN_POLICY_H
#define ENGINE_SWAN_POLICY_H

#include "engine/swan/profile.h"

#include <cygnet/policy.h>

#define POLICY_WHY_BYTES 256

/* What disturbs training at the moment, as the controller has diagnosed it. */
enum disturbance {
    DISTURBANCE_NONE = 0,
    DISTURBANCE_CONTENTION, /* somebody else wants the cores */
    DISTURBANCE_THERMAL,    /* the SoC is hot and slows down */
    DISTURBANCE_REVOKED,    /* the system took cores away */
    DISTURBANCE_DATA        /* the data hook is slow: no choice helps */
};

/* What there is to decide on.
 *
 * profile        updated
 * soc            refreshed
 * kind           which policy
 * fixed          with CYGNET_POLICY_FIXED: the choice
 * current        entry in use; -1: none yet
 * steps_left     of this round; 0: unknown
 * ms_left        to the deadline; INFINITY: none
 * mj_left        energy budget; INFINITY: none
 * disturbance    diagnosis
 * slowdown       observed over profiled step time of the current entry, 1: as profiled
 * contended[k]   CPUs of cluster k that somebody else wants; all 0: unknown, or none
 * yields         the threads run in a class that gives way at once (SCHED_IDLE): what
 *                they wait for costs them, not the user
 * may_upgrade    the quiet period and the back-off are over
 * recovering     a disturbance has driven us down and we are not back yet: upgrades go
 *                one by one
 * level          thermal severity, 0 none, 1 two thirds of the power, 2 a third, 3 pause
 */
struct policy_input {
    const struct profile *profile;
    const struct soc *soc;
    cygnet_policy kind;
    struct choice fixed;
    int32_t current;
    uint64_t steps_left;
    double ms_left;
    double mj_left;
    enum disturbance disturbance;
    double slowdown;
    uint32_t contended[SOC_MAX_CLUSTERS];
    bool yields;
    bool may_upgrade;
    bool recovering;
    uint32_t level;
};

enum policy_reason {
    REASON_KEEP = 0,     /* the current choice is still the best */
    REASON_LEAST_ENERGY, /* the least energy among those that finish in time */
    REASON_FASTEST,      /* none finishes in time, or no energy is known */
    REASON_CHEAPEST,     /* `efficient` without known energy */
    REASON_GREEDY,       /* all cores of the most capable clusters */
    REASON_FIXED,        /* as the caller said */
    REASON_ONLY,         /* nothing else is possible now */
    REASON_DOWNGRADE,    /* contention: one down the frontier */
    REASON_LEAVE,        /* contention: other cores are free; the entry may stay the
                            same, then its threads belong on other cores of theirs */
    REASON_UPGRADE,      /* quiet again: one up */
    REASON_COOL,         /* thermal: fewer or slower cores */
    REASON_PAUSE,        /* too hot, or no core is left */
    REASON_BUDGET        /* the energy budget allows no more */
};

/* entry  index into the profile; -1: pause
 * why    one English line for explain and replay */
struct policy_decision {
    int32_t entry;
    enum policy_reason reason;
    char why[POLICY_WHY_BYTES];
};

/* Never fails: where nothing is known it says what it assumes.
 *
 * The entries that count are those whose cores are usable now, pruned among themselves.
 * `swan` takes the least energy of those that finish by the deadline with a twentieth and
 * two steps to spare, the fastest where none does or no energy is known; of those
 * that tie with the best (within what they are uncertain by, 1 to 5 %) the cheapest. A
 * choice in use stays until another is better by more than that, or cheaper and as good;
 * one that costs more is taken only when may_upgrade, or when the deadline needs it.
 *
 * Contention: first to free cores that cost no more and are as fast as what is left of
 * the current choice; else one down. Neither when the threads yield and staying is
 * faster, nor when it would miss a deadline (a tenth to spare) that staying meets; a
 * deadline that the current choice misses goes before giving way, and up. Cores known to
 * be wanted are not gone up to. Heat: the best choice below the power that the level
 * allows, never a costlier one; level 1 does not make a deadline miss, level 2 and above
 * may. The budget comes before the deadline. `greedy` and `fixed` ignore all but what is
 * possible, the budget, and level 3. */
void policy_decide(struct policy_decision *out, const struct policy_input *input);

/* "swan", "greedy", "fixed", "efficient"; not of CYGNET_POLICY_TASK. Static text. */
const char *policy_kind_name(cygnet_policy kind);

/* The policy of that name; false: there is none. */
bool policy_kind_parse(cygnet_policy *out, const char *name);

/* "least energy", "downgrade", ... Static text. */
const char *policy_reason_name(enum policy_reason reason);

#endif
