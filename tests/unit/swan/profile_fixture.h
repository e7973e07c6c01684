/* What the tests of profiles, the policy and exploring share: profiles made from random
 * or modelled numbers. */
#ifndef TESTS_SWAN_PROFILE_FIXTURE_H
#define TESTS_SWAN_PROFILE_FIXTURE_H

#include "engine/swan/profile.h"
#include "swan_fixture.h"

extern const struct profile_key FIXTURE_KEY;

/* A SoC of a prime, three big and four LITTLE cores, capacities 1024, 870 and 300. */
struct soc make_phone(void);

/* A profile of the SoC in which a random part of the entries is measured, with times and
 * energies that follow no model at all; energies are known of all, of some or of none.
 * Updated. Never freed: the test's own static memory. */
void draw_profile(struct profile *out, const struct soc *soc, struct rng *rng);

/* Takes some cores away, never all of them. */
void draw_revocation(struct soc *soc, struct rng *rng);

/* The entry of so many cores of the first three clusters. */
size_t entry_of(const struct profile *profile, uint8_t n0, uint8_t n1, uint8_t n2);

#endif
