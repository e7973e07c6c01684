/* What the Swan engine sees and decides, as text for people and tools (docs/swan.md).
 *
 * Every text is JSON in UTF-8 with a NUL at its end, and the caller's: release it with
 * cygnet_swan_free and the allocator that it was made with. A number that is not known is
 * null. Members may be added; those that are described stay.
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

/* The system on a chip as it is now: an object with
 *
 *   fingerprint  SHA-256, in hex, of what does not change while the machine runs
 *   clusters     cores that are alike, the most capable first: each an object of name,
 *                capacity (1 to 1024, of the fastest core), max_khz, n_cores (logical
 *                CPUs), n_physical, n_usable, l2_bytes, l2_n_cpus (that share it),
 *                l3_bytes, l3_n_cpus
 *   cores        logical CPUs by number: each an object of cpu, cluster (name), capacity,
 *                max_khz, limit_khz (the highest that is allowed now: heat, settings),
 *                khz (now), core (the same of SMT siblings), online, allowed (to this
 *                thread: mask and cpuset), isolated, usable
 *
 * out   receives the text
 * root  folder that holds sys and proc; NULL: "/", this machine
 * Errors: EFORMAT (the kernel's files make no sense: which), ELIMIT (more than 256
 * cores), EINVAL (root is too long), EHOST (no digest), ENOMEM. On failure *out is
 * NULL. Any thread. */
CYGNET_API cygnet_status cygnet_swan_soc(char **out, const char *root,
                                         const cygnet_allocator *alloc,
                                         cygnet_error *err);

/* What a profile that the engine has stored knows: an object with
 *
 *   model, soc, engine  what it is true for
 *   complete  whether every choice on the frontier is measured
 *   explored  steps: undisturbed ones so far; lost: what tries took, in steps
 *   choices   the cheapest first: each an object of choice ("2 big + 1 LITTLE"), cores
 * (of each cluster), cost_rank (1: the cheapest), step_ms, spread_ms (half the distance
 * of the quartiles), model_ms (what the model of all measurements says), measured (else
 * step_ms is predicted), steps, step_mj, spread_mj (one standard deviation),
 * energy_source, energy_measured, kept (on the frontier), pruned_by (the choice that
 * costs no more and is at least as good)
 *
 * text  (len) JSON as the engine stores it
 * Errors: EFORMAT (what and where), ENOTFOUND (of another version of the format), ELIMIT,
 * ENOMEM. On failure *out is NULL. Any thread. */
CYGNET_API cygnet_status cygnet_swan_profile(char **out, const char *text, size_t len,
                                             const cygnet_allocator *alloc,
                                             cygnet_error *err);

/* What is asked of cygnet_swan_explain.
 *
 * policy      of SWAN and EFFICIENT, GREEDY
 * root        folder that holds sys and proc: cores that may not be used now are left
 * out; NULL: all cores of the profile may be used steps_left  of the round; 0: unknown
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
 * another: an object with
 *
 *   choice, reason, why  the decision; choice is null: a pause
 *   step_mj, spread_mj, energy_source, energy_measured  of the choice, as in a profile
 *   others    of the frontier, the cheapest first: each an object of choice and why_not
 *
 * Errors: as cygnet_swan_profile and cygnet_swan_soc; ENOTFOUND (root is another SoC);
 * EINVAL (the question). On failure *out is NULL. Any thread. */
CYGNET_API cygnet_status cygnet_swan_explain(char **out, const char *text, size_t len,
                                             const cygnet_swan_question *question,
                                             const cygnet_allocator *alloc,
                                             cygnet_error *err);

/* What the policy decides step by step for a trace of what was observed: an object with
 *
 *   steps  each an object of at_ms, choice (null: a pause), entry (in the profile),
 * reason, why (a line)
 *
 * trace  (len) an object of
 *   format   1
 *   policy   "swan" (default), "greedy", "efficient" or "fixed", and fixed: the cores of
 *            each cluster for the last
 *   profile  as the engine stores it: the SoC and what was known at the start
 *   steps    at most 10,000; each an object of optional members. What was observed:
 *            at_ms (default: as before), steps_left, ms_left, mj_left, disturbance
 * ("none", "contention", "thermal", "revoked", "data"), slowdown (1), contended and
 *            usable (CPUs of each cluster; none, all), yields (true), may_upgrade (true),
 *            recovering (false), level (0). What the step then took, which goes into the
 *            profile unless it was disturbed: step_ms, step_mj with source, and cores
 * where it ran on another choice than was decided
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
