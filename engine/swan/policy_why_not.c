/* See policy_why_not.h. */
#include "engine/swan/policy_why_not.h"

#include <math.h>
#include <stdio.h>

bool policy_thinks_of(const struct view *view, size_t entry)
{
    if (view->usable[entry])
        return view->kept[entry];
    return view->in->profile->entries[entry].pruned_by < 0;
}

static double more(const double *values, size_t entry, size_t than)
{
    return 100 * (values[entry] / values[than] - 1);
}

static void say(char out[POLICY_WHY_BYTES], const char *line)
{
    (void)snprintf(out, POLICY_WHY_BYTES, "%s", line);
}

/* `efficient` takes its time. Where not even the choice in use ends in time the deadline
 * has decided nothing. */
static bool is_too_slow(const struct view *v, size_t entry, size_t used)
{
    return v->in->kind == CYGNET_POLICY_SWAN && !view_in_time(v, v->ms[entry]) &&
           view_in_time(v, v->ms[used]);
}

static void compare_energy(char out[POLICY_WHY_BYTES], const struct view *v, size_t entry,
                           size_t used)
{
    double mj = more(v->mj, entry, used), ms = more(v->ms, entry, used);

    if (mj > 0)
        (void)snprintf(out, POLICY_WHY_BYTES,
                       "takes %.1f %% more energy, in %.1f %% %s time", mj, fabs(ms),
                       ms > 0 ? "more" : "less");
    else if (v->in->kind == CYGNET_POLICY_SWAN && !view_safely_in_time(v, entry))
        (void)snprintf(out, POLICY_WHY_BYTES,
                       "needs %.3g s of %.3g s: not enough to spare",
                       v->ms[entry] * (double)v->in->steps_left / 1000,
                       v->in->ms_left / 1000);
    else
        (void)snprintf(out, POLICY_WHY_BYTES,
                       "costs the user more and takes only %.1f %% less energy", -mj);
}

static void compare_time(char out[POLICY_WHY_BYTES], const struct view *v, size_t entry,
                         size_t used)
{
    double ms = more(v->ms, entry, used);

    if (!v->knows_ms)
        say(out, "nothing is measured yet");
    else if (ms > 0)
        (void)snprintf(out, POLICY_WHY_BYTES, "takes %.1f %% more time", ms);
    else
        (void)snprintf(out, POLICY_WHY_BYTES,
                       "costs the user more and is only %.1f %% faster", -ms);
}

void policy_why_not(char out[POLICY_WHY_BYTES], const struct view *view,
                    const struct policy_decision *decision, size_t entry)
{
    const struct policy_input *in = view->in;
    size_t used = (size_t)decision->entry;

    if (!view->usable[entry])
        say(out, "its cores may not be used now");
    else if (decision->reason == REASON_GREEDY)
        say(out, entry < used ? "leaves cores idle that greedy takes"
                              : "takes cores of the slowest cluster too");
    else if (decision->reason == REASON_CHEAPEST)
        say(out, "costs the user more, and no energy is known");
    else if (is_too_slow(view, entry, used))
        (void)snprintf(out, POLICY_WHY_BYTES, "needs %.3g s, and %.3g s are left",
                       view->ms[entry] * (double)in->steps_left / 1000,
                       in->ms_left / 1000);
    else if (decision->reason == REASON_LEAST_ENERGY)
        compare_energy(out, view, entry, used);
    else
        compare_time(out, view, entry, used);
}
