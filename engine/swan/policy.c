/* The policy: pure, from one input to one decision. */
#include "engine/swan/policy.h"

#include "engine/swan/policy_select.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

/* What going has to gain, where a deadline is at stake: less is noise of few steps. */
#define GO_GAIN 1.1

enum { LEVEL_PAUSE = 3, LEVEL_FORCES = 2 };

static size_t current(const struct view *v)
{
    return (size_t)v->in->current;
}

static void name_of(char out[CHOICE_TEXT_BYTES], const struct view *v, size_t entry)
{
    profile_choice_text(out, v->in->profile, entry);
}

static size_t count(const struct view *v, const bool *mask)
{
    size_t n = 0;

    for (size_t i = 0; i < v->n; i++)
        n += mask[i];
    return n;
}

/* Nothing can be chosen at all. */
static bool must_pause(struct policy_decision *out, const struct view *v)
{
    const struct policy_input *in = v->in;
    int32_t least = v->knows_mj ? view_least(v, v->mj, v->kept) : -1;

    if (count(v, v->usable) == 0)
        policy_say(out, -1, REASON_PAUSE,
                   "paused: no execution choice is possible on the cores left");
    else if (in->level >= LEVEL_PAUSE)
        policy_say(out, -1, REASON_PAUSE, "paused: thermal severity is %" PRIu32,
                   in->level);
    else if (in->mj_left <= 0)
        policy_say(out, -1, REASON_BUDGET, "paused: the energy budget is spent");
    else if (least >= 0 && v->mj[least] > in->mj_left)
        policy_say(out, -1, REASON_BUDGET,
                   "paused: %.3g mJ are left and a step takes %.3g mJ", in->mj_left,
                   v->mj[least]);
    else
        return false;
    return true;
}

/* The frontier without what would go to cores that somebody else wants. */
static void mask_wanted(bool out[CHOICE_MAX], const struct view *v)
{
    for (size_t i = 0; i < v->n; i++)
        out[i] = v->kept[i] && (view_fits(v, i) || i == current(v));
}

static struct selection find_target(const struct view *v)
{
    bool mask[CHOICE_MAX];
    struct selection found;

    if (!view_has_current(v) || !view_knows_contention(v))
        return policy_select(v, v->kept);
    mask_wanted(mask, v);
    found = policy_select(v, mask);
    if (found.entry >= 0 && view_in_time(v, v->ms[found.entry]))
        return found;
    return policy_select(v, v->kept);
}

/* Small differences are noise: what is in use stays, unless the other is cheaper and
 * truly as good. */
static bool is_as_good(const struct view *v, const struct selection *target)
{
    const double *values = target->values ? target->values : v->ms;
    size_t now = current(v), other = (size_t)target->entry;
    double tie = view_tie(v, values, now, other);

    if (!v->kept[now] || target->reason == REASON_CHEAPEST)
        return false;
    if (!view_affordable(v, now) || !view_in_time(v, v->ms[now]) ||
        (target->reason == REASON_LEAST_ENERGY && !view_safely_in_time(v, now)))
        return false;
    if (other < now && values[other] <= values[now] * (1 + tie / 2))
        return false;
    return values[now] <= values[other] * (1 + tie);
}

/* The next faster entry above the current one on the way to the target. */
static size_t one_up(const struct view *v, size_t target)
{
    for (size_t i = current(v) + 1; i < target; i++) {
        if (v->kept[i] && v->ms[i] < v->ms[current(v)] && view_shared(v, i) == 0)
            return i;
    }
    return target;
}

static void say_keep(struct policy_decision *out, const struct view *v)
{
    char name[CHOICE_TEXT_BYTES];

    name_of(name, v, current(v));
    if (v->knows_ms)
        policy_say(out, v->in->current, REASON_KEEP,
                   "%s is still the best: %.3g ms a step", name, v->ms[current(v)]);
    else
        policy_say(out, v->in->current, REASON_KEEP, "%s stays: nothing is measured yet",
                   name);
}

/* What makes the current choice needless: it costs less and is no worse. */
static int32_t find_better(const struct view *v)
{
    const struct profile_entry *entries = v->in->profile->entries;

    for (size_t i = 0; i < current(v) && v->knows_ms; i++) {
        if (v->kept[i] && profile_dominates(&entries[i], &entries[current(v)]))
            return (int32_t)i;
    }
    return -1;
}

static void wait_below(struct policy_decision *out, const struct view *v,
                       const struct selection *target)
{
    int32_t better = v->kept[current(v)] ? -1 : find_better(v);
    char name[CHOICE_TEXT_BYTES], other[CHOICE_TEXT_BYTES];

    name_of(name, v, current(v));
    if (better >= 0) {
        name_of(other, v, (size_t)better);
        policy_say(out, better, target->reason, "%s costs less than %s and is no worse",
                   other, name);
        return;
    }
    name_of(other, v, (size_t)target->entry);
    policy_say(out, v->in->current, REASON_KEEP,
               "%s stays until it is quiet long enough for %s", name, other);
}

static void go_up(struct policy_decision *out, const struct view *v,
                  const struct selection *target)
{
    char name[CHOICE_TEXT_BYTES];
    size_t up;

    if (!v->in->may_upgrade) {
        wait_below(out, v, target);
        return;
    }
    if (!v->in->recovering) {
        policy_say_selection(out, v, target);
        return;
    }
    up = one_up(v, (size_t)target->entry);
    name_of(name, v, up);
    policy_say(out, (int32_t)up, REASON_UPGRADE,
               "quiet again: one up to %s, %.3g ms a step instead of %.3g ms", name,
               v->ms[up], v->ms[current(v)]);
}

static bool is_urgent(const struct view *v, const struct selection *target)
{
    return !view_safely_in_time(v, current(v)) &&
           v->ms[target->entry] < v->ms[current(v)];
}

static void decide_quiet(struct policy_decision *out, const struct view *v)
{
    struct selection target = find_target(v);
    bool moves = view_has_current(v);
    char name[CHOICE_TEXT_BYTES];

    assert(target.entry >= 0);
    if (moves && (target.entry == v->in->current || is_as_good(v, &target)))
        say_keep(out, v);
    else if (moves && target.entry > v->in->current && !is_urgent(v, &target))
        go_up(out, v, &target);
    else
        policy_say_selection(out, v, &target);
    if (count(v, v->usable) == 1) {
        name_of(name, v, (size_t)out->entry);
        policy_say(out, out->entry, REASON_ONLY, "%s is all that is possible now", name);
    }
}

/* What is left of the current choice: ms a step while it is disturbed. */
static double observed_ms(const struct view *v)
{
    double slowdown = v->in->slowdown;

    return v->ms[current(v)] * (slowdown > 1 ? slowdown : 1);
}

/* Free cores, no costlier and not slower than what is left of the current choice. */
static int32_t find_free(const struct view *v)
{
    bool mask[CHOICE_MAX];

    if (!view_knows_contention(v))
        return -1;
    for (size_t i = 0; i < v->n; i++)
        mask[i] = v->kept[i] && i <= current(v) && view_fits(v, i) &&
                  v->ms[i] <= observed_ms(v);
    return policy_select(v, mask).entry;
}

/* The next cheaper entry that is no faster, one that shares fewer cores where it is known
 * which; -1: none. */
static int32_t find_down(const struct view *v)
{
    int32_t any = -1;

    for (size_t i = current(v); i-- > 0;) {
        if (!v->kept[i] || v->ms[i] < v->ms[current(v)])
            continue;
        if (view_shared(v, i) < view_shared(v, current(v)) || !view_knows_contention(v))
            return (int32_t)i;
        if (any < 0)
            any = (int32_t)i;
    }
    return any;
}

static void say_move(struct policy_decision *out, const struct view *v, int32_t to,
                     enum policy_reason reason)
{
    char name[CHOICE_TEXT_BYTES];

    name_of(name, v, (size_t)to);
    if (to == v->in->current)
        policy_say(out, to, reason,
                   "%s stays, on cores of its clusters that nobody else wants", name);
    else if (!v->knows_ms)
        policy_say(out, to, reason, "contended: to %s", name);
    else
        policy_say(out, to, reason,
                   "contended: steps take %.3g ms instead of %.3g ms, so %s %s (%.3g ms)",
                   observed_ms(v), v->ms[current(v)],
                   reason == REASON_LEAVE ? "to the free cores of" : "down to", name,
                   v->ms[to]);
}

/* Staying is right when the threads give way and lose less than they would by going, and
 * when only staying meets the deadline. */
static bool says_stay(struct policy_decision *out, const struct view *v, int32_t to)
{
    double observed = observed_ms(v);
    bool late = !view_safely_in_time(v, (size_t)to);
    char name[CHOICE_TEXT_BYTES], other[CHOICE_TEXT_BYTES];

    name_of(name, v, current(v));
    name_of(other, v, (size_t)to);
    if (to == v->in->current || !v->knows_ms)
        return false;
    if (v->in->yields && observed <= v->ms[to])
        policy_say(out, v->in->current, REASON_KEEP,
                   "%s stays: it yields to others, and its %.3g ms are no slower than "
                   "%.3g ms of %s",
                   name, observed, v->ms[to], other);
    else if (late && (view_in_time(v, observed) || observed <= v->ms[to] * GO_GAIN))
        policy_say(out, v->in->current, REASON_KEEP,
                   "%s stays: %s would need %.3g s for the steps left, and %.3g s remain",
                   name, other, v->ms[to] * (double)v->in->steps_left / 1000,
                   v->in->ms_left / 1000);
    else
        return false;
    return true;
}

/* The deadline comes before giving way: up, when only that may still meet it. */
static bool hurries(struct policy_decision *out, const struct view *v)
{
    struct selection target = find_target(v);

    if (!v->knows_ms || view_in_time(v, observed_ms(v)) || target.entry < 0 ||
        v->ms[target.entry] * GO_GAIN >= v->ms[current(v)])
        return false;
    policy_say_selection(out, v, &target);
    return true;
}

static void decide_contended(struct policy_decision *out, const struct view *v)
{
    int32_t to = find_free(v);
    enum policy_reason reason = REASON_LEAVE;
    char name[CHOICE_TEXT_BYTES];

    if (hurries(out, v))
        return;
    if (to < 0) {
        to = find_down(v);
        reason = REASON_DOWNGRADE;
    }
    if (to < 0) {
        name_of(name, v, current(v));
        policy_say(out, v->in->current, REASON_ONLY,
                   "%s stays although contended: nothing cheaper is left", name);
    } else if (!says_stay(out, v, to)) {
        say_move(out, v, to, reason);
    }
}

/* What the level allows of the most that any choice takes. */
static double allowed_watts(const struct view *v)
{
    double most = 0;

    for (size_t i = 0; i < v->n; i++) {
        if (v->kept[i] && v->watts[i] > most)
            most = v->watts[i];
    }
    return v->in->level >= LEVEL_FORCES ? most / 3 : most * 2 / 3;
}

/* Entries that heat allows; those with the least power where none is that cool. */
static void mask_cool(bool out[CHOICE_MAX], const struct view *v)
{
    double allowed = allowed_watts(v);
    size_t highest = view_has_current(v) ? current(v) : v->n;
    int32_t coolest;

    for (size_t i = 0; i < v->n; i++)
        out[i] = v->kept[i] && i <= highest;
    coolest = view_least(v, v->watts, out);
    if (coolest < 0)
        coolest = view_least(v, v->watts, v->kept);
    for (size_t i = 0; i < v->n; i++)
        out[i] = (out[i] && v->watts[i] <= allowed) || i == (size_t)coolest;
}

/* The coolest that still finishes, no costlier than now; -1: none does. */
static int32_t find_cool_in_time(const struct view *v)
{
    size_t highest = view_has_current(v) ? current(v) : v->n;
    bool mask[CHOICE_MAX];

    for (size_t i = 0; i < v->n; i++)
        mask[i] = v->kept[i] && i <= highest && view_in_time(v, v->ms[i]);
    return view_least(v, v->watts, mask);
}

static void decide_hot(struct policy_decision *out, const struct view *v)
{
    uint32_t level = v->in->level > 0 ? v->in->level : 1;
    bool mask[CHOICE_MAX];
    char name[CHOICE_TEXT_BYTES];
    int32_t to, timely;

    mask_cool(mask, v);
    to = policy_select(v, mask).entry;
    if (level < LEVEL_FORCES && !view_in_time(v, v->ms[to])) {
        timely = find_cool_in_time(v);
        to = timely >= 0 ? timely : to;
    }
    name_of(name, v, (size_t)to);
    if (to == v->in->current)
        policy_say(out, to, REASON_KEEP, "%s stays at thermal severity %" PRIu32 ": %s",
                   name, level,
                   v->watts[to] <= allowed_watts(v) ? "it is cool enough"
                                                    : "nothing cooler will do");
    else if (v->knows_ms)
        policy_say(out, to, REASON_COOL, "hot (severity %" PRIu32 "): %s, %.3g ms a step",
                   level, name, v->ms[to]);
    else
        policy_say(out, to, REASON_COOL, "hot (severity %" PRIu32 "): %s", level, name);
}

static void decide_rigid(struct policy_decision *out, const struct view *v)
{
    struct selection target = policy_select(v, v->usable);

    policy_say_selection(out, v, &target);
}

void policy_decide(struct policy_decision *out, const struct policy_input *input)
{
    bool rigid =
        input->kind == CYGNET_POLICY_GREEDY || input->kind == CYGNET_POLICY_FIXED;
    struct view view;
    bool contended, hot;

    view_make(&view, input);
    contended = input->disturbance == DISTURBANCE_CONTENTION && view_has_current(&view);
    hot = input->disturbance == DISTURBANCE_THERMAL || input->level >= LEVEL_FORCES ||
          (input->level > 0 && !contended);
    if (must_pause(out, &view))
        return;
    if (rigid)
        decide_rigid(out, &view);
    else if (hot)
        decide_hot(out, &view);
    else if (contended)
        decide_contended(out, &view);
    else if (input->disturbance == DISTURBANCE_DATA && view_has_current(&view))
        policy_say(out, input->current, REASON_KEEP,
                   "the data hook is slow: no other choice helps");
    else
        decide_quiet(out, &view);
}

static const char *const kinds[] = {
    [CYGNET_POLICY_SWAN] = "swan",
    [CYGNET_POLICY_GREEDY] = "greedy",
    [CYGNET_POLICY_FIXED] = "fixed",
    [CYGNET_POLICY_EFFICIENT] = "efficient",
};

const char *policy_kind_name(cygnet_policy kind)
{
    assert(kind <= CYGNET_POLICY_EFFICIENT);
    return kinds[kind];
}

bool policy_kind_parse(cygnet_policy *out, const char *name)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(kinds[i], name) == 0) {
            *out = (cygnet_policy)i;
            return true;
        }
    }
    return false;
}

const char *policy_reason_name(enum policy_reason reason)
{
    static const char *const names[] = {
        [REASON_KEEP] = "keep",       [REASON_LEAST_ENERGY] = "least energy",
        [REASON_FASTEST] = "fastest", [REASON_CHEAPEST] = "cheapest",
        [REASON_GREEDY] = "greedy",   [REASON_FIXED] = "fixed",
        [REASON_ONLY] = "only",       [REASON_DOWNGRADE] = "downgrade",
        [REASON_LEAVE] = "leave",     [REASON_UPGRADE] = "upgrade",
        [REASON_COOL] = "cool",       [REASON_PAUSE] = "pause",
        [REASON_BUDGET] = "budget",
    };

    return names[reason];
}
