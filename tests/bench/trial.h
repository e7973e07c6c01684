/* The first rounds of a device that has trained nothing yet, simulated: what exploring
 * finds and what it costs. Shared by cygnet-bench explore and the unit tests. */
#ifndef TESTS_BENCH_TRIAL_H
#define TESTS_BENCH_TRIAL_H

#include "tests/fakes/device_model.h"

/* What of the oracle's frontier may be missing: entries whose best stand-in on the
 * explored frontier, no costlier, is worse by at most this. */
#define TRIAL_TOLERANCE 0.15

/* energies  a meter is there
 * wild_share  of the steps that are disturbed unseen and take 1.5 to 3 times as long;
 *           the rest vary by 4 % (one standard deviation)
 * deadline  of each round, in rounds at the fastest choice; INFINITY: none
 * seed      also changes each cluster's speed and power (15 %, one standard deviation),
 *           so that no two devices are alike */
struct trial {
    const struct device_model *device;
    const struct device_workload *workload;
    bool energies;
    double wild_share;
    double deadline;
    uint64_t seed;
    uint32_t n_rounds;
    uint32_t n_steps;
};

/* regret      of the choice in use after the first round, to the oracle's: in step time,
 *             or in energy where that is the aim
 * lost        of the first round, beyond the oracle's choice from the first step on, as a
 *             fraction of that; without the noise of each step
 * lost_later  the same of all further rounds
 * complete    the round after which every entry on the frontier was measured; 0: none
 * missing     the worst stand-in of an entry on the oracle's frontier, as a fraction
 * n_late      rounds that missed their deadline */
struct trial_result {
    double regret;
    double lost;
    double lost_later;
    uint32_t complete;
    double missing;
    uint32_t n_late;
    uint32_t n_entries;
    uint32_t n_frontier;
    uint32_t n_measured;
};

/* One at a time: the profiles are static. */
void trial_run(struct trial_result *out, const struct trial *trial);

#endif
