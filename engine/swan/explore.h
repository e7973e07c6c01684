/* Exploring: which execution choice the next step of the round should try. Steps are real
 * ones, so what they compute is not wasted; only the time (or energy) that they take
 * beyond the policy's choice is lost. Pure: no clock, no files.
 *
 * In this order:
 * - the very first choice a second time, for everything is predicted from it;
 * - what took far longer than it was predicted to and is cheap to try again;
 * - what may be better than the policy's choice, as far as a prediction's uncertainty
 *   leaves that open;
 * - what is about as good and has few steps yet, so that luck does not decide;
 * - what is predicted to be on the frontier, the cheapest to try first;
 * - what is on the frontier with few steps and is cheap to try.
 * Entries whose only step is far slower than predicted are tried again, for that may have
 * been noise; the worst of them does not count as lost. When every entry on the frontier
 * is measured exploring is done.
 *
 * What it may lose: EXPLORE_FIRST of the first round a device ever trains, the frontier's
 * share of it EXPLORE_FRONTIER; EXPLORE_LATER of all steps since in the rounds after it.
 * It is given up for the deadline and for the energy budget: a try takes at most half of
 * what either has to spare. */
#ifndef ENGINE_SWAN_EXPLORE_H
#define ENGINE_SWAN_EXPLORE_H

#include "engine/swan/policy.h"

#define EXPLORE_FIRST 0.08
#define EXPLORE_FRONTIER 0.03
#define EXPLORE_LATER 0.25

/* One round. What is kept between rounds is in the profile (profile.explored).
 *
 * n_steps  undisturbed steps of this round
 * n_tried  of each entry
 * foretold_ms  what an entry was predicted to take when it was tried first
 * is_first nothing was explored before this round
 * base     the policy's choice when it was last asked; -1: none
 * tried    what explore_next said last */
struct explore {
    uint64_t n_steps;
    uint32_t n_tried[CHOICE_MAX];
    double foretold_ms[CHOICE_MAX];
    bool is_first;
    int32_t base;
    int32_t tried;
};

/* A round begins. */
void explore_init(struct explore *explore);

/* The entry that the next step should try; -1: none, the policy's choice is right. So it
 * is where the policy would pause and where the energy budget decides. Asked while
 * nothing disturbs training: of the input neither the disturbance nor the choice in use
 * counts. */
int32_t explore_next(struct explore *explore, const struct policy_input *input);

/* An undisturbed step has ended, and the profile is updated with it. */
void explore_step(struct explore *explore, struct profile *profile, int32_t entry,
                  double step_ms);

/* Whether every entry on the frontier is measured, and none of them is in doubt. */
bool explore_is_done(const struct profile *profile);

#endif
