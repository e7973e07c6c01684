/* See policy_view.h. */
#include "engine/swan/policy_view.h"

#include <math.h>
#include <string.h>

/* Before anything is measured: what each further thread is assumed to cost all, in steps
 * of one core of the fastest cluster. Too many threads may be several times slower, too
 * few only as much as they are too few, so it is more than most models show. */
#define CONTENTION 0.05

static double sum_capacities(const struct policy_input *in, const struct choice *choice,
                             double exponent)
{
    double sum = 0;

    for (size_t k = 0; k < in->profile->n_clusters; k++)
        sum += choice->n_cores[k] * pow(in->profile->clusters[k].capacity, exponent);
    return sum;
}

static double assumed_ms(const struct policy_input *in, const struct choice *choice)
{
    double first = in->profile->clusters[0].capacity;

    return first / sum_capacities(in, choice, 1) +
           CONTENTION * (choice_n_threads(choice) - 1.0);
}

/* Entries stand in the order of cost: i costs less than j. The rule is that of
 * profile_dominates, on the view's numbers. */
static bool prunes(const struct view *v, size_t i, size_t j)
{
    if (isnan(v->mj[i]) != isnan(v->mj[j]))
        return false;
    return v->ms[i] <= v->ms[j] && (isnan(v->mj[i]) || v->mj[i] <= v->mj[j]);
}

static void find_frontier(struct view *v)
{
    v->knows_mj = true;
    for (size_t j = 0; j < v->n; j++) {
        v->kept[j] = v->usable[j];
        for (size_t i = 0; i < j && v->kept[j]; i++) {
            if (v->kept[i] && prunes(v, i, j))
                v->kept[j] = false;
        }
        if (v->kept[j] && isnan(v->mj[j]))
            v->knows_mj = false;
    }
}

/* choice_is_possible for many choices. */
static bool is_possible(const struct view *v, const struct choice *choice)
{
    for (size_t k = 0; k < SOC_MAX_CLUSTERS; k++) {
        if (choice->n_cores[k] > v->n_usable[k])
            return false;
    }
    return true;
}

void view_make(struct view *view, const struct policy_input *input)
{
    const struct profile *profile = input->profile;

    view->in = input;
    view->n = profile->n_entries;
    view->knows_ms = profile_has_measurement(profile);
    for (uint32_t k = 0; k < SOC_MAX_CLUSTERS; k++)
        view->n_usable[k] = k < input->soc->n_clusters ? soc_n_usable(input->soc, k) : 0;
    for (size_t i = 0; i < view->n; i++) {
        const struct profile_entry *e = &profile->entries[i];

        view->usable[i] = is_possible(view, &e->choice);
        view->ms[i] = view->knows_ms ? e->step_ms : assumed_ms(input, &e->choice);
        view->mj[i] = view->knows_ms ? e->step_mj : (double)NAN;
    }
    find_frontier(view);
    for (size_t i = 0; i < view->n; i++)
        view->watts[i] = view->knows_mj
                             ? view->mj[i] / view->ms[i]
                             : sum_capacities(input, &profile->entries[i].choice, 2);
}

bool view_has_current(const struct view *view)
{
    int32_t current = view->in->current;

    return current >= 0 && (size_t)current < view->n && view->usable[current];
}

/* Whether so many steps of so many ms fit in the time that is left. */
static bool fits_in_time(const struct view *view, double ms, double steps)
{
    const struct policy_input *in = view->in;

    if (!view->knows_ms || isinf(in->ms_left) || isnan(in->ms_left))
        return true;
    return in->ms_left > 0 && ms * steps <= in->ms_left;
}

bool view_in_time(const struct view *view, double ms)
{
    return fits_in_time(view, ms, (double)view->in->steps_left);
}

bool view_safely_in_time(const struct view *view, size_t entry)
{
    const struct profile_entry *e = &view->in->profile->entries[entry];
    double ms = view->ms[entry];

    if (e->n_samples == 0 && !isnan(e->spread_ms))
        ms += 2 * e->spread_ms;
    if (view->in->steps_left == 0)
        return view_in_time(view, ms);
    return fits_in_time(view, ms,
                        POLICY_SPARE * (double)view->in->steps_left + POLICY_SPARE_STEPS);
}

bool view_affordable(const struct view *view, size_t entry)
{
    const struct policy_input *in = view->in;
    double steps = in->steps_left > 0 ? (double)in->steps_left : 1;

    return isnan(view->mj[entry]) || isnan(in->mj_left) ||
           view->mj[entry] * steps <= in->mj_left;
}

uint32_t view_shared(const struct view *view, size_t entry)
{
    const struct choice *choice = &view->in->profile->entries[entry].choice;
    uint32_t shared = 0;

    for (uint32_t k = 0; k < view->in->profile->n_clusters; k++) {
        uint32_t n_usable = view->n_usable[k];
        uint32_t taken = view->in->contended[k];
        uint32_t n_free = taken < n_usable ? n_usable - taken : 0;

        if (choice->n_cores[k] > n_free)
            shared += choice->n_cores[k] - n_free;
    }
    return shared;
}

bool view_fits(const struct view *view, size_t entry)
{
    return view_shared(view, entry) == 0;
}

bool view_knows_contention(const struct view *view)
{
    for (size_t k = 0; k < SOC_MAX_CLUSTERS; k++) {
        if (view->in->contended[k] > 0)
            return true;
    }
    return false;
}

/* What a median of n samples is uncertain by, from their quartiles: 1.25 deviations over
 * the root of n, and a deviation is 1.48 times the spread. A prediction wins nothing by
 * being uncertain. */
static double uncertain_ms(const struct profile_entry *e)
{
    if (e->n_samples == 0)
        return NAN;
    return 1.85 * e->spread_ms / e->step_ms / sqrt(e->n_samples);
}

static double uncertainty(const struct view *view, const double *values, size_t entry)
{
    const struct profile_entry *e = &view->in->profile->entries[entry];
    double share = NAN;

    if (view->knows_ms && values == view->ms)
        share = uncertain_ms(e);
    else if (view->knows_ms && values == view->mj && e->energy_is_measured)
        share = e->spread_mj / e->step_mj;
    if (isnan(share) || share < VIEW_TIE_LEAST)
        return VIEW_TIE_LEAST;
    return share < VIEW_TIE_MOST ? share : VIEW_TIE_MOST;
}

double view_tie(const struct view *view, const double *values, size_t a, size_t b)
{
    return fmax(uncertainty(view, values, a), uncertainty(view, values, b));
}

int32_t view_least(const struct view *view, const double *values, const bool *mask)
{
    int32_t least = -1;

    for (size_t i = 0; i < view->n; i++) {
        if (mask[i] && (least < 0 || values[i] < values[least]))
            least = (int32_t)i;
    }
    for (int32_t i = 0; i < least; i++) {
        double tie = view_tie(view, values, (size_t)i, (size_t)least);

        if (mask[i] && values[i] <= values[least] * (1 + tie))
            return i;
    }
    return least;
}
