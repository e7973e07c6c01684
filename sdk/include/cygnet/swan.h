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
#include <cygnet/status.h>

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

/* Accepts NULL. */
CYGNET_API void cygnet_swan_free(char *text, const cygnet_allocator *alloc);

#ifdef __cplusplus
}
#endif
#endif
