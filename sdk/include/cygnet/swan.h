/* What the Swan engine sees and decides, as text for people and tools (docs/swan.md).
 *
 * Every text is JSON in UTF-8 with a NUL at its end, and the caller's: release it with
 * cygnet_swan_free and the allocator that it was made with (NULL: malloc). A number that
 * is not known is null. Members may be added; those that are described stay.
 *
 * Stability: the engine's tier. It may change in a minor release.
 */
#ifndef CYGNET_SWAN_H
#define CYGNET_SWAN_H

#include <cygnet/alloc.h>
#include <cygnet/policy.h>
#include <cygnet/status.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The system on a chip as it is now: an object of
 *
 *   fingerprint  SHA-256, in hex, of what does not change while the machine runs
 *   clusters     of cores that are alike, the most capable first
 *   cores        logical CPUs, by number
 *
 * A cluster is an object of
 *
 *   name
 *   capacity              1 to 1024, in that of the SoC's fastest core
 *   max_khz
 *   n_cores               logical CPUs
 *   n_physical, n_usable  of those
 *   l2_bytes, l3_bytes
 *   l2_n_cpus, l3_n_cpus  logical CPUs that share the cache
 *
 * A core is an object of
 *
 *   cpu                   its number
 *   cluster               that one's name
 *   capacity, max_khz
 *   limit_khz             the highest that is allowed now: heat, settings
 *   khz                   now
 *   core                  SMT siblings have the same
 *   online
 *   allowed               to this thread: mask and cpuset
 *   isolated
 *   usable                online, allowed and not isolated
 *
 * out   receives the text
 * root  folder that holds sys and proc; NULL: "/", this machine
 * Errors: EFORMAT (the kernel's files make no sense: which), ELIMIT (more than 256
 * cores), EINVAL (root is too long), EHOST (no digest), ENOMEM. On failure *out is
 * NULL. Any thread. */
CYGNET_API cygnet_status cygnet_swan_soc(char **out, const char *root,
                                         const cygnet_allocator *alloc,
                                         cygnet_error *err);

/* What a profile that the engine has stored knows: an object of
 *
 *   model, soc, engine  what it is true for
 *   complete            whether every choice on the frontier is measured
 *   explored            an object of steps (undisturbed ones so far) and lost (what tries
 *                       took beyond the policy's choice, in steps of that)
 *   choices             the cheapest first
 *
 * A choice is an object of
 *
 *   choice           in words: "2 big + 1 LITTLE"
 *   cores            how many of each cluster
 *   cost_rank        1: the cheapest
 *   step_ms          the median of what was measured, else a prediction
 *   spread_ms        half the distance of the quartiles
 *   model_ms         what the model of all measurements says
 *   measured         whether step_ms is
 *   steps            that were measured
 *   step_mj          marginal energy
 *   spread_mj        its standard deviation
 *   energy_source    "host", "rapl", "battery", "model" or "unknown"
 *   energy_measured  whether step_mj is, else it is a prediction
 *   kept             whether it is on the frontier
 *   pruned_by        the choice that costs no more and is at least as good; null: none
 *
 * text  (len) JSON as the engine stores it
 * Errors: EFORMAT (what and where), ENOTFOUND (of another version of the format), ELIMIT,
 * ENOMEM. On failure *out is NULL. Any thread. */
CYGNET_API cygnet_status cygnet_swan_profile(char **out, const char *text, size_t len,
                                             const cygnet_allocator *alloc,
                                             cygnet_error *err);

/* What is asked of cygnet_swan_explain.
 *
 * policy        SWAN, EFFICIENT or GREEDY
 * root          folder that holds sys and proc, which say which cores may be used now;
 *               NULL: all cores of the profile may
 * steps_left    of the round; 0: unknown
 * seconds_left  to the deadline; below 0: none */
typedef struct cygnet_swan_question {
    size_t struct_size;
    cygnet_policy policy;
    const char *root;
    uint64_t steps_left;
    double seconds_left;
} cygnet_swan_question;

/* SWAN, every core of the profile, nothing known of the round, no deadline. */
CYGNET_API void cygnet_swan_question_init(cygnet_swan_question *question);

/* Which choice of a profile the policy takes while nothing disturbs training, and why not
 * another: an object of
 *
 *   choice  in words; null: a pause
 *   reason  in a word or two
 *   why     in a line
 *   step_mj, spread_mj, energy_source, energy_measured  of the choice, as in a profile
 *   others  the frontier of what may be used now, and what would be on it if every core
 *           might be: the cheapest first, each an object of choice and why_not
 *
 * Errors: as cygnet_swan_profile and cygnet_swan_soc; ENOTFOUND (root is another SoC);
 * EINVAL (the question). On failure *out is NULL. Any thread. */
CYGNET_API cygnet_status cygnet_swan_explain(char **out, const char *text, size_t len,
                                             const cygnet_swan_question *question,
                                             const cygnet_allocator *alloc,
                                             cygnet_error *err);

/* What the policy decides step by step for a trace of what was observed: an object of
 * steps, each an object of
 *
 *   at_ms   of the trace
 *   choice  in words; null: a pause
 *   entry   its place in the profile; null: a pause
 *   reason  in a word or two
 *   why     in a line
 *
 * trace  (len) an object of
 *
 *   format   1
 *   policy   "swan" (default), "greedy", "efficient" or "fixed"
 *   fixed    for the last: how many cores of each cluster
 *   profile  as the engine stores it: the SoC, and what was known at the start
 *   steps    at most 10,000
 *
 * A step of the trace is an object of what was observed. Each member may be left out and
 * is then as its line ends
 *
 *   at_ms        when it began: as before
 *   steps_left   of the round: unknown
 *   ms_left      to the deadline: none
 *   mj_left      of the energy budget: none
 *   disturbance  "contention", "thermal", "revoked", "data" or: "none"
 *   slowdown     observed over profiled step time: 1
 *   contended    how many CPUs of each cluster others want: none
 *   usable       how many CPUs of each cluster may be used: all
 *   yields       whether training gives way at once: true
 *   may_upgrade  whether it has been quiet for long enough: true
 *   recovering   whether upgrades go one by one: false
 *   level        thermal severity, 0 to 3: 0
 *
 * and of what the step then took, which goes into the profile unless it was disturbed
 *
 *   step_ms      its time: not measured
 *   step_mj      its energy: unknown
 *   source       of that, as cygnet_swan_profile names it: "unknown"
 *   cores        how many of each cluster it ran on: those of the decision
 *
 * Errors: EFORMAT (what and where), ENOTFOUND (a profile of another version), ELIMIT,
 * ENOMEM. On failure *out is NULL. Any thread. */
CYGNET_API cygnet_status cygnet_swan_replay(char **out, const char *trace, size_t len,
                                            const cygnet_allocator *alloc,
                                            cygnet_error *err);

/* Accepts NULL. */
CYGNET_API void cygnet_swan_free(char *text, const cygnet_allocator *alloc);

#ifdef __cplusplus
}
#endif
#endif
