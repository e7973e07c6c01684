/* What the policy looks at: the entries whose cores are usable now, their frontier, and
 * the questions that are asked of them. Made for one decision; inside the policy and what
 * explains it only. */
#ifndef ENGINE_SWAN_POLICY_VIEW_H
#define ENGINE_SWAN_POLICY_VIEW_H

#include "engine/swan/policy.h"

/* Two values are a tie within what they are uncertain by, but within 1 % anyway and
 * never beyond 5 %. */
#define VIEW_TIE_LEAST 0.01
#define VIEW_TIE_MOST 0.05

/* ms            step time; without any measurement 1 over the capacity in use, which
 *               only orders the entries
 * mj            energy of a step; NaN: unknown
 * watts         power; without energy the squares of the capacities in use added up
 * n_usable      CPUs of each cluster that are usable now
 * usable        the entry's CPUs are
 * kept          usable and not pruned by another usable one
 * knows_ms      ms are times
 * knows_mj      all kept entries have known energies */
struct view {
    const struct policy_input *in;
    size_t n;
    double ms[CHOICE_MAX];
    double mj[CHOICE_MAX];
    double watts[CHOICE_MAX];
    uint32_t n_usable[SOC_MAX_CLUSTERS];
    bool usable[CHOICE_MAX];
    bool kept[CHOICE_MAX];
    bool knows_ms;
    bool knows_mj;
};

void view_make(struct view *view, const struct policy_input *input);

/* The choice in use, when it is an entry whose cores are usable. */
bool view_has_current(const struct view *view);

/* Whether all steps that are left end before the deadline at so many ms a step; always
 * without a deadline or without times. */
bool view_in_time(const struct view *view, double ms);
/* The same for an entry with a twentieth and two steps to spare, and more for a
 * prediction. */
bool view_safely_in_time(const struct view *view, size_t entry);

/* Whether the budget covers the steps that are left; always where either is unknown. */
bool view_affordable(const struct view *view, size_t entry);

/* Whether the cores that nobody else wants are enough. */
bool view_fits(const struct view *view, size_t entry);
bool view_knows_contention(const struct view *view);
/* CPUs of the entry that somebody else wants too. */
uint32_t view_shared(const struct view *view, size_t entry);

/* The fraction within which the two entries tie in `values`: view->ms, mj or watts. */
double view_tie(const struct view *view, const double *values, size_t a, size_t b);

/* The least of `values` in the mask, or of those that tie with it the cheapest; -1: the
 * mask is empty. */
int32_t view_least(const struct view *view, const double *values, const bool *mask);

#endif
