/* The controller: from what is seen of the machine to what disturbs training, so that
 * the policy can decide. A pure state machine: time and sights are given to it.
 *
 * It is shown the machine every CONTROLLER_LOOK_MS (controller_look) and each step that
 * ends (controller_step). Every sight may be unknown; with step times alone it still
 * works. */
#ifndef ENGINE_SWAN_CONTROLLER_H
#define ENGINE_SWAN_CONTROLLER_H

#include "engine/swan/policy.h"

#define CONTROLLER_LOOK_MS 20.0

/* What one look sees. Shares are of the time since the look before; NaN: unknown.
 *
 * now_ms        monotonic
 * wait[i]       core i of the SoC: share that the thread of ours which is there waited
 *               for it, ready to run; NaN where none is
 * foreign[i]    core i: share that others used it, or the hypervisor took it. May be
 *               a little off either way, below 0 too
 * clock         lowest highest-allowed frequency of the cores in use over their
 *               maximum, as the thermal governor limits it
 * heat          the host's word: 0 cool, 1 warm, 2 hot, 3 too hot; -1: unknown
 * revoked       the usable cores are not those of the look before
 * step_ms       how long the step under way has been running; NaN: none is */
struct controller_sight {
    double now_ms;
    double wait[SOC_MAX_CORES];
    double foreign[SOC_MAX_CORES];
    double clock;
    int32_t heat;
    bool revoked;
    double step_ms;
};

/* A measure of one core with a memory, and whether it is high: above ENTER at two looks
 * in a row, until it falls below EXIT. */
struct controller_alarm {
    double level;
    uint32_t n_above;
    bool is_high;
};

/* The whole state; plain data.
 *
 * waits, foreigns  by core
 * sees_others      what others use is known of every usable core
 * slowdown         of the newest steps: observed over profiled; 1: as profiled
 * drift            how surely steps are slower than profiled (a one-sided CUSUM of the
 *                  logarithm of the slowdown)
 * slow_ms          since when; NaN: they are not
 * data_share       of the time between steps, what the data hook took
 * disturbed_ms     when a disturbance was last seen
 * upgraded_ms      when the choice last went up; -INFINITY: not yet, or it was taken back
 * is_recovering    a disturbance drove the choice down and it is not back yet
 * n_failed         upgrades in a row that were taken back
 * n_switches       changes of the entry */
struct controller {
    struct controller_alarm waits[SOC_MAX_CORES];
    struct controller_alarm foreigns[SOC_MAX_CORES];
    bool knows_cores;
    bool sees_others;
    double clock;
    int32_t heat;
    double slowdown;
    double drift;
    double slow_ms;
    double data_share;
    double now_ms;
    double disturbed_ms;
    double upgraded_ms;
    bool is_recovering;
    uint32_t n_failed;
    uint64_t n_switches;
    enum disturbance disturbance;
    uint32_t level;
};

void controller_init(struct controller *c, double now_ms);

/* One look; soc is refreshed. profiled_ms: step time of the entry in use by the
 * profile; NaN: unknown. */
void controller_look(struct controller *c, const struct controller_sight *sight,
                     const struct soc *soc, double profiled_ms);

/* A step that ended. data_ms: what the data hook took before it. */
void controller_step(struct controller *c, double step_ms, double data_ms,
                     double profiled_ms);

/* Fills what the policy asks of the controller: disturbance, slowdown, contended,
 * may_upgrade, recovering, level. While it recovers there is time between two upgrades
 * to see whether the first is disturbed. */
void controller_report(struct policy_input *out, const struct controller *c,
                       const struct soc *soc);

/* The entry in use has changed; `up` when to a costlier one. */
void controller_switched(struct controller *c, bool up);

/* The policy was asked with this report and took `entry`, having used `before`; -1: none
 * yet. Says controller_switched where they differ. */
void controller_decided(struct controller *c, int32_t before, int32_t entry);

/* Whether a step's time says something about the choice rather than about a
 * disturbance: it may go into the profile, and another choice may be tried. Steps that
 * stay slow for no reason that is seen are the new normal after some seconds. */
bool controller_is_quiet(const struct controller *c);

/* Whether somebody else wants the core: its index in the SoC. */
bool controller_sees_wanted(const struct controller *c, uint32_t core);

/* Which of two cores of a cluster is less wanted by others: below 0 when a is. */
double controller_compare_cores(const struct controller *c, uint32_t a, uint32_t b);

/* How long it has to be quiet before the choice goes up again: 1.5 s, twice as long with
 * each upgrade in a row that was taken back within a minute, at most a minute; at most
 * 3 s where it is seen what others use of every core, since nothing is risked there. */
double controller_quiet_ms(const struct controller *c);

/* "contention", "thermal", "revoked", "data", "none". Static text. */
const char *disturbance_name(enum disturbance disturbance);

#endif
