/* What each policy wants, and how it says so. */
#include "engine/swan/policy_select.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { NUMBER_BYTES = 32 };

typedef bool question(const struct view *view, size_t entry);

static bool in_time(const struct view *view, size_t entry)
{
    return view_in_time(view, view->ms[entry]);
}

/* Entries of the mask that say yes; false: none does. */
static bool narrow(bool out[CHOICE_MAX], const struct view *view, const bool *mask,
                   question *ask)
{
    bool any = false;

    for (size_t i = 0; i < view->n; i++) {
        out[i] = mask[i] && ask(view, i);
        any = any || out[i];
    }
    return any;
}

static struct selection least(const struct view *view, const bool *mask,
                              const double *values, enum policy_reason reason)
{
    return (struct selection){view_least(view, values, mask), reason, values};
}

/* The least energy of the affordable ones that surely finish, else the fastest of those;
 * where nothing is affordable, what takes the least. */
static struct selection select_swan(const struct view *view, const bool *mask)
{
    bool affordable[CHOICE_MAX], timely[CHOICE_MAX], bounded[CHOICE_MAX];
    bool budget_binds;

    if (!view->knows_mj) {
        bool meets = narrow(timely, view, mask, in_time);

        return least(view, meets ? timely : mask, view->ms, REASON_FASTEST);
    }
    if (!narrow(affordable, view, mask, view_affordable))
        return least(view, mask, view->mj, REASON_BUDGET);
    if (narrow(timely, view, affordable, view_safely_in_time))
        return least(view, timely, view->mj, REASON_LEAST_ENERGY);
    budget_binds = narrow(bounded, view, mask, in_time) &&
                   !narrow(timely, view, affordable, in_time);
    if (!budget_binds && narrow(timely, view, affordable, in_time))
        return least(view, timely, view->ms, REASON_FASTEST);
    return least(view, affordable, view->ms,
                 budget_binds ? REASON_BUDGET : REASON_FASTEST);
}

static struct selection select_efficient(const struct view *view, const bool *mask)
{
    bool affordable[CHOICE_MAX];

    if (view->knows_mj)
        return least(view, mask, view->mj,
                     narrow(affordable, view, mask, view_affordable) ? REASON_LEAST_ENERGY
                                                                     : REASON_BUDGET);
    for (size_t i = 0; i < view->n; i++) {
        if (mask[i])
            return (struct selection){(int32_t)i, REASON_CHEAPEST, NULL};
    }
    return (struct selection){-1, REASON_CHEAPEST, NULL};
}

/* The costliest entry without the least capable cluster; with it where nothing else is
 * usable, or where there is one cluster only. */
static struct selection select_greedy(const struct view *view, const bool *mask)
{
    const struct profile *profile = view->in->profile;
    uint32_t last = profile->n_clusters - 1;
    int32_t found = -1;
    bool without_last = false;

    for (size_t i = 0; i < view->n; i++) {
        bool without = last == 0 || profile->entries[i].choice.n_cores[last] == 0;

        if (mask[i] && (without || !without_last)) {
            found = (int32_t)i;
            without_last = without_last || without;
        }
    }
    return (struct selection){found, REASON_GREEDY, NULL};
}

static bool is_within(const struct choice *inner, const struct choice *outer)
{
    for (size_t k = 0; k < SOC_MAX_CLUSTERS; k++) {
        if (inner->n_cores[k] > outer->n_cores[k])
            return false;
    }
    return true;
}

/* The caller's choice, or as much of it as is possible, or the cheapest. */
static struct selection select_fixed(const struct view *view, const bool *mask)
{
    int32_t found = -1;
    bool within = false;

    for (size_t i = view->n; i-- > 0;) {
        bool fits = is_within(&view->in->profile->entries[i].choice, &view->in->fixed);

        if (mask[i] && !within) {
            found = (int32_t)i;
            within = fits;
        }
    }
    return (struct selection){found, REASON_FIXED, NULL};
}

struct selection policy_select(const struct view *view, const bool *mask)
{
    switch (view->in->kind) {
    case CYGNET_POLICY_GREEDY:
        return select_greedy(view, mask);
    case CYGNET_POLICY_FIXED:
        return select_fixed(view, mask);
    case CYGNET_POLICY_EFFICIENT:
        return select_efficient(view, mask);
    case CYGNET_POLICY_TASK:
    case CYGNET_POLICY_SWAN:
        break;
    }
    return select_swan(view, mask);
}

void policy_say(struct policy_decision *out, int32_t entry, enum policy_reason reason,
                const char *format, ...)
{
    va_list args;

    out->entry = entry;
    out->reason = reason;
    va_start(args, format);
    (void)vsnprintf(out->why, sizeof(out->why), format, args);
    va_end(args);
}

/* "12.3 ms a step, 40 mJ", with what is predicted marked so. */
static void describe(char *out, size_t size, const struct view *view, size_t entry)
{
    const struct profile_entry *e = &view->in->profile->entries[entry];
    char energy[NUMBER_BYTES] = "";

    if (!isnan(view->mj[entry]))
        (void)snprintf(energy, sizeof(energy), ", %.3g mJ", view->mj[entry]);
    (void)snprintf(out, size, "%.3g ms a step%s%s", view->ms[entry], energy,
                   e->n_samples > 0 ? "" : " (predicted)");
}

/* ", 60 steps in 1.2 s of 5 s" where there is a deadline. */
static void describe_time(char *out, size_t size, const struct view *view, size_t entry)
{
    const struct policy_input *in = view->in;

    out[0] = '\0';
    if (!isinf(in->ms_left) && in->steps_left > 0)
        (void)snprintf(out, size, ", %" PRIu64 " steps in %.3g s of %.3g s",
                       in->steps_left, view->ms[entry] * (double)in->steps_left / 1000,
                       in->ms_left / 1000);
}

static const char *why_selected(const struct view *view, const struct selection *s)
{
    switch (s->reason) {
    case REASON_LEAST_ENERGY:
        return "takes the least energy of what finishes in time";
    case REASON_FASTEST:
        return view->knows_mj ? "is the fastest, and none finishes with time to spare"
                              : "is the fastest, and no energy is known";
    case REASON_BUDGET:
        return "is what the energy budget allows";
    default:
        return "is the cheapest, and no energy is known";
    }
}

void policy_say_selection(struct policy_decision *out, const struct view *view,
                          const struct selection *selection)
{
    char name[CHOICE_TEXT_BYTES], numbers[96], time[96];
    size_t entry = (size_t)selection->entry;

    profile_choice_text(name, view->in->profile, entry);
    if (selection->reason == REASON_GREEDY) {
        policy_say(out, selection->entry, REASON_GREEDY,
                   "%s: greedy takes every core of the fast clusters", name);
        return;
    }
    if (selection->reason == REASON_FIXED) {
        bool whole =
            choice_equal(&view->in->profile->entries[entry].choice, &view->in->fixed);

        policy_say(out, selection->entry, REASON_FIXED, "%s: %s", name,
                   whole ? "as the caller has fixed it"
                         : "the nearest to the fixed choice that is possible now");
        return;
    }
    if (!view->knows_ms) {
        policy_say(out, selection->entry, selection->reason,
                   "%s is assumed to be the %s: nothing is measured yet", name,
                   selection->reason == REASON_CHEAPEST ? "cheapest" : "fastest");
        return;
    }
    describe(numbers, sizeof(numbers), view, entry);
    describe_time(time, sizeof(time), view, entry);
    policy_say(out, selection->entry, selection->reason, "%s %s: %s%s", name,
               why_selected(view, selection), numbers, time);
}
