/* See explore.h. */
#include "engine/swan/explore.h"

#include <math.h>
#include <string.h>

/* A try is for a gain of at least this. */
#define WORTH 0.03

/* Beyond its prediction by this much, an entry of one step is in doubt; by less where it
 * might be better than the policy's choice. */
#define DOUBTFUL 1.2
#define SUSPECT 1.08

/* Of fewer steps luck may decide. */
enum { MIN_SAMPLES = 3 };

/* About as good as the base, and cheap to try: so much beyond it. */
#define AS_GOOD 0.08
#define CHEAP 0.5

/* What explore_next asks about.
 *
 * aim       what the base is the best by
 * steps     of the round
 * budget    what a try may lose, in steps of the base
 * spare_ms, spare_mj  what a try may take beyond a step of the base
 * limit_ms  what each step that is left may take where the policy goes by that */
struct question {
    const struct profile *profile;
    const struct profile_entry *base;
    bool usable[CHOICE_MAX];
    enum policy_reason aim;
    double steps;
    double budget;
    double spare_ms;
    double spare_mj;
    double limit_ms;
};

void explore_init(struct explore *explore)
{
    memset(explore, 0, sizeof(*explore));
    explore->base = explore->tried = -1;
}

static bool is_slower_than_predicted(const struct profile_entry *e, double by)
{
    return e->n_samples == 1 && e->step_ms > by * e->model_ms;
}

static bool is_doubtful(const struct profile_entry *e)
{
    return is_slower_than_predicted(e, DOUBTFUL);
}

static bool is_open(const struct profile_entry *e)
{
    return e->n_samples == 0 || is_doubtful(e);
}

/* What an entry is thought to take, its suspect steps aside. */
static double likely_ms(const struct profile_entry *e)
{
    return is_slower_than_predicted(e, SUSPECT) ? e->model_ms : e->step_ms;
}

static double likely_mj(const struct profile_entry *e)
{
    return e->step_mj * likely_ms(e) / e->step_ms;
}

/* What a step takes beyond one of the base, as a fraction of that: in time or in energy,
 * whichever is more. */
static double excess(const struct profile_entry *e, const struct profile_entry *base,
                     double ms)
{
    double more = ms / base->step_ms - 1;

    if (!isnan(e->step_mj) && !isnan(base->step_mj))
        more = fmax(more, e->step_mj / e->step_ms * ms / base->step_mj - 1);
    return fmax(more, 0);
}

/* One step that was perhaps disturbed is not held against exploring: it may be tried
 * again. */
static double budget_of(const struct explore *explore, const struct profile *profile,
                        const struct profile_entry *base, uint64_t steps_left)
{
    double lost = 0, forgiven = 0, steps = (double)(steps_left > 0 ? steps_left : 1);

    if (!explore->is_first)
        return EXPLORE_LATER * ((double)profile->explored.n_steps + steps) -
               profile->explored.n_lost;
    for (size_t i = 0; i < profile->n_entries; i++) {
        const struct profile_entry *e = &profile->entries[i];

        if (explore->n_tried[i] > 0)
            lost += explore->n_tried[i] * excess(e, base, e->step_ms);
        if (is_doubtful(e))
            forgiven = fmax(forgiven, excess(e, base, e->step_ms));
    }
    return EXPLORE_FIRST * ((double)explore->n_steps + steps) - lost + forgiven;
}

/* The policy's choice without anything that disturbs, and what it is the best by; -1: it
 * would pause, or what is left of the energy budget is all it goes by. */
static int32_t find_base(enum policy_reason *aim, const struct policy_input *input)
{
    struct policy_input in = {.profile = input->profile,
                              .soc = input->soc,
                              .kind = input->kind,
                              .fixed = input->fixed,
                              .current = -1,
                              .steps_left = input->steps_left,
                              .ms_left = input->ms_left,
                              .mj_left = input->mj_left,
                              .slowdown = 1};
    struct policy_decision decision;

    policy_decide(&decision, &in);
    *aim = decision.reason;
    return decision.reason == REASON_BUDGET ? -1 : decision.entry;
}

/* An energy that is not known stands against nothing. */
static bool is_afforded(const struct question *q, const struct profile_entry *e,
                        double ms)
{
    return !(e->step_mj / e->step_ms * ms - q->base->step_mj > q->spare_mj);
}

/* Whether time and budget allow a try. The budget does not stand against what is likely
 * to be no worse than the base. */
static bool is_granted(const struct question *q, const struct profile_entry *e)
{
    double surely_ms = likely_ms(e) * exp(2 * e->model_sd);
    double perhaps_ms = likely_ms(e) * exp(e->model_sd);

    return surely_ms - q->base->step_ms <= q->spare_ms && is_afforded(q, e, surely_ms) &&
           (excess(e, q->base, perhaps_ms) <= q->budget ||
            !(excess(e, q->base, likely_ms(e)) > 0));
}

/* Whether an entry may be better than the base by more than is worth a try; *promise is
 * by how much at best. */
static bool may_be_better(double *promise, const struct question *q,
                          const struct profile_entry *e)
{
    double optimism = exp(-e->model_sd);
    bool by_energy = q->aim == REASON_LEAST_ENERGY;
    double value = by_energy ? likely_mj(e) : likely_ms(e);
    double base = by_energy ? q->base->step_mj : q->base->step_ms;

    *promise = value * optimism / base;
    return *promise < 1 - WORTH && likely_ms(e) * optimism <= q->limit_ms;
}

/* Nothing is better than what the base is for its own sake: the cheapest, or the only
 * one. */
static int32_t find_better(const struct question *q)
{
    double best = INFINITY, promise;
    int32_t found = -1;

    if (q->aim != REASON_LEAST_ENERGY && q->aim != REASON_FASTEST)
        return -1;
    for (size_t i = 0; i < q->profile->n_entries; i++) {
        const struct profile_entry *e = &q->profile->entries[i];

        if (q->usable[i] && (e->n_samples == 0 || is_slower_than_predicted(e, SUSPECT)) &&
            may_be_better(&promise, q, e) && promise < best && is_granted(q, e)) {
            best = promise;
            found = (int32_t)i;
        }
    }
    return found;
}

static bool is_on_frontier(const struct question *q, size_t entry)
{
    const struct profile_entry *entries = q->profile->entries;

    for (size_t i = 0; i < entry; i++) {
        if (q->usable[i] && profile_dominates(&entries[i], &entries[entry]))
            return false;
    }
    return true;
}

/* The open entry on the frontier that costs least to try; the doubtful ones with it,
 * which may belong there. */
static int32_t find_unknown(const struct question *q)
{
    double least = INFINITY;
    int32_t found = -1;

    for (size_t i = 0; i < q->profile->n_entries; i++) {
        const struct profile_entry *e = &q->profile->entries[i];
        double lost = excess(e, q->base, likely_ms(e));

        if (q->usable[i] && is_open(e) && lost < least && is_granted(q, e) &&
            (is_doubtful(e) || is_on_frontier(q, i))) {
            least = lost;
            found = (int32_t)i;
        }
    }
    return found;
}

/* An entry of few steps on the frontier that is at most so much beyond the base. */
static int32_t find_unsure(const struct question *q, double beyond)
{
    for (size_t i = 0; i < q->profile->n_entries; i++) {
        const struct profile_entry *e = &q->profile->entries[i];

        if (q->usable[i] && e->n_samples > 0 && e->n_samples < MIN_SAMPLES &&
            excess(e, q->base, likely_ms(e)) <= beyond && is_granted(q, e) &&
            is_on_frontier(q, i))
            return (int32_t)i;
    }
    return -1;
}

/* An entry whose one step was far slower than it was predicted to be, and which is cheap
 * to try: the prediction made since may have followed a disturbed step. */
static int32_t find_surprise(const struct question *q, const struct explore *explore)
{
    for (size_t i = 0; i < q->profile->n_entries; i++) {
        const struct profile_entry *e = &q->profile->entries[i];

        if (q->usable[i] && e->n_samples == 1 && explore->foretold_ms[i] > 0 &&
            e->step_ms > DOUBTFUL * explore->foretold_ms[i] &&
            excess(e, q->base, e->step_ms) <= CHEAP && is_granted(q, e))
            return (int32_t)i;
    }
    return -1;
}

static int32_t find_entry(struct question *q, const struct explore *explore)
{
    int32_t found = find_surprise(q, explore);

    if (found < 0)
        found = find_better(q);
    if (found < 0)
        found = find_unsure(q, AS_GOOD);
    if (found >= 0)
        return found;
    if (explore->is_first)
        q->budget -= (EXPLORE_FIRST - EXPLORE_FRONTIER) * q->steps;
    found = find_unknown(q);
    return found >= 0 || explore->is_first ? found : find_unsure(q, CHEAP);
}

/* Half of what is left beyond the steps that are left, at so much a step. */
static double spare(double left, double step, uint64_t steps_left)
{
    if (!isfinite(left) || isnan(step))
        return INFINITY;
    if (steps_left == 0)
        return 0;
    return (left - (POLICY_SPARE * (double)steps_left + POLICY_SPARE_STEPS) * step) / 2;
}

static void ask(struct question *q, const struct explore *explore,
                const struct policy_input *in)
{
    double steps = (double)(in->steps_left > 0 ? in->steps_left : 1);

    for (size_t i = 0; i < q->profile->n_entries; i++)
        q->usable[i] = choice_is_possible(&q->profile->entries[i].choice, in->soc);
    q->steps = (double)explore->n_steps + steps;
    q->budget = budget_of(explore, q->profile, q->base, in->steps_left);
    q->spare_ms = spare(in->ms_left, q->base->step_ms, in->steps_left);
    q->spare_mj = spare(in->mj_left, q->base->step_mj, in->steps_left);
    q->limit_ms = isfinite(in->ms_left) && in->kind == CYGNET_POLICY_SWAN
                      ? in->ms_left / steps
                      : INFINITY;
}

/* The first step alone may have been disturbed, and everything is predicted from it: that
 * entry once more, or -1. */
static int32_t find_first(const struct profile *profile, const struct soc *soc)
{
    int32_t found = -1;

    for (size_t i = 0; i < profile->n_entries; i++) {
        uint32_t n = profile->entries[i].n_samples;

        if (n > 1 || (n == 1 && found >= 0))
            return -1;
        if (n == 1)
            found = (int32_t)i;
    }
    if (found >= 0 && !choice_is_possible(&profile->entries[found].choice, soc))
        return -1;
    return found;
}

static int32_t find(struct question *q, const struct explore *explore,
                    const struct policy_input *input)
{
    int32_t found = find_first(input->profile, input->soc);

    if (found >= 0)
        return found;
    if (q->base->n_samples == 0)
        return explore->base;
    ask(q, explore, input);
    return find_entry(q, explore);
}

int32_t explore_next(struct explore *explore, const struct policy_input *input)
{
    const struct profile *profile = input->profile;
    struct question q = {.profile = profile};

    explore->tried = -1;
    explore->is_first = profile->explored.n_steps == explore->n_steps;
    if (!profile_has_measurement(profile))
        return -1;
    explore->base = find_base(&q.aim, input);
    if (explore->base < 0)
        return -1;
    q.base = &profile->entries[explore->base];
    explore->tried = find(&q, explore, input);
    if (explore->tried >= 0 && profile->entries[explore->tried].n_samples == 0)
        explore->foretold_ms[explore->tried] = profile->entries[explore->tried].step_ms;
    return explore->tried;
}

void explore_step(struct explore *explore, struct profile *profile, int32_t entry,
                  double step_ms)
{
    const struct profile_entry *entries = profile->entries;

    explore->n_steps++;
    explore->n_tried[entry]++;
    profile->explored.n_steps++;
    if (explore->tried == entry && explore->base >= 0)
        profile->explored.n_lost +=
            excess(&entries[entry], &entries[explore->base], step_ms);
}

bool explore_is_done(const struct profile *profile)
{
    for (size_t i = 0; i < profile->n_entries; i++) {
        const struct profile_entry *e = &profile->entries[i];

        if (is_doubtful(e) || (e->pruned_by < 0 && e->n_samples == 0))
            return false;
    }
    return profile->n_entries > 0;
}
