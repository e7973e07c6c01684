/* Who chooses the cores that train, how, and where the energy comes from
 * (docs/swan.md).
 *
 * Stability: stable.
 */
#ifndef CYGNET_POLICY_H
#define CYGNET_POLICY_H

/* Results of a training are bitwise the same under every policy. */
typedef enum cygnet_policy {
    CYGNET_POLICY_SWAN = 0,      /* the least energy that finishes in time, and out of
                                    the way of whoever uses the device */
    CYGNET_POLICY_GREEDY = 1,    /* every core of the fast clusters, whatever happens */
    CYGNET_POLICY_FIXED = 2,     /* the same number of threads for the whole round */
    CYGNET_POLICY_EFFICIENT = 3, /* the least energy, however long it takes */
    CYGNET_POLICY_TASK = 4       /* as each task says; SWAN where it says nothing */
} cygnet_policy;

/* Whose energy training may take. */
typedef enum cygnet_energy_mode {
    CYGNET_ENERGY_PLUGGED = 0, /* training is for external power; nothing is borrowed */
    CYGNET_ENERGY_LOAN = 1     /* on the battery too, as far as a loan goes that
                                  charging pays back */
} cygnet_energy_mode;

#endif
