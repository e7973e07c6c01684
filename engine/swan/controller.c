/* What disturbs training.
 *
 * Alarms have two thresholds and memories of different length: run-queue waits are
 * exact to the nanosecond, what others use of a core comes in ticks of some
 * milliseconds. Steps are judged by a one-sided CUSUM on the logarithm of observed over
 * profiled time, which finds small lasting slowdowns and forgives a single slow step.
 * Source: Page, "Continuous inspection schemes", Biometrika 41, 1954. */
#include "engine/swan/controller.h"

#include <math.h>
#include <string.h>

#define ENTER 0.10 /* share of a core from which on somebody else wants it */
#define EXIT 0.03
#define WAIT_MEMORY_MS 40.0
#define FOREIGN_MEMORY_MS 200.0
#define LOOKS_IN_A_ROW 2

#define DRIFT_SLACK 0.08 /* slower by less, in the logarithm, is as profiled */
#define DRIFT_ALARM 0.60
#define DRIFT_MAX 1.2 /* so that it comes down again soon */
#define DATA_MEMORY 0.5
#define SLOWDOWN_MEMORY 0.15 /* a few slow steps must not make leaving look faster */
#define SLOW_IS_NORMAL_MS 5000.0
#define SLOW_STEP 1.5 /* times the profile: a step under way is known to be slow */

#define CLOCK_LIMITED 0.95
#define CLOCK_HOT 0.70
#define DATA_SLOW 0.5

#define QUIET_MS 1500.0
#define QUIET_MAX_MS 60000.0
#define QUIET_MAX_SEEN_MS 3000.0 /* where a core that is free is seen to be */
#define TAKEN_BACK_MS 60000.0    /* an upgrade that is undone so soon has failed */
#define RUNG_MS 200.0 /* a disturbance of the upgrade before would show by then */

void controller_init(struct controller *c, double now_ms)
{
    memset(c, 0, sizeof(*c));
    c->clock = (double)NAN;
    c->heat = -1;
    c->slowdown = 1.0;
    c->slow_ms = (double)NAN;
    c->now_ms = now_ms;
    c->disturbed_ms = now_ms - QUIET_MS;
    c->upgraded_ms = (double)-INFINITY;
}

/* ---- Cores ------------------------------------------------------------------- */

static void alarm_update(struct controller_alarm *alarm, double share, double elapsed_ms,
                         double memory_ms)
{
    double fresh = 1.0 - exp(-elapsed_ms / memory_ms);

    alarm->level += (share - alarm->level) * fresh;
    alarm->n_above = alarm->level > ENTER ? alarm->n_above + 1 : 0;
    if (alarm->n_above >= LOOKS_IN_A_ROW)
        alarm->is_high = true;
    else if (alarm->level < EXIT)
        alarm->is_high = false;
}

/* Where no thread of ours is, nobody waits. */
static void look_at_cores(struct controller *c, const struct controller_sight *sight,
                          const struct soc *soc)
{
    double elapsed_ms = fmax(sight->now_ms - c->now_ms, 0.0);

    c->sees_others = true;
    for (uint32_t i = 0; i < soc->n_cores; i++) {
        bool waits = !isnan(sight->wait[i]);

        alarm_update(&c->waits[i], waits ? sight->wait[i] : 0.0, elapsed_ms,
                     WAIT_MEMORY_MS);
        c->knows_cores |= waits;
        if (isnan(sight->foreign[i])) {
            c->sees_others &= !soc_usable(&soc->cores[i]);
            continue;
        }
        alarm_update(&c->foreigns[i], sight->foreign[i], elapsed_ms, FOREIGN_MEMORY_MS);
        c->knows_cores = true;
    }
}

bool controller_sees_wanted(const struct controller *c, uint32_t core)
{
    return c->waits[core].is_high || c->foreigns[core].is_high;
}

static bool any_core_is_wanted(const struct controller *c, const struct soc *soc)
{
    for (uint32_t i = 0; i < soc->n_cores; i++) {
        if (soc_usable(&soc->cores[i]) && controller_sees_wanted(c, i))
            return true;
    }
    return false;
}

double controller_compare_cores(const struct controller *c, uint32_t a, uint32_t b)
{
    double of_a = fmax(c->waits[a].level, c->foreigns[a].level);
    double of_b = fmax(c->waits[b].level, c->foreigns[b].level);

    return of_a - of_b;
}

/* ---- Steps ------------------------------------------------------------------- */

static void add_slowdown(struct controller *c, double slowdown)
{
    c->slowdown += SLOWDOWN_MEMORY * (slowdown - c->slowdown);
    c->drift = fmax(0.0, c->drift + log(slowdown) - DRIFT_SLACK);
    c->drift = fmin(c->drift, DRIFT_MAX);
}

void controller_step(struct controller *c, double step_ms, double data_ms,
                     double profiled_ms)
{
    double share = data_ms / fmax(step_ms + data_ms, 1e-9);

    c->data_share += DATA_MEMORY * (share - c->data_share);
    if (step_ms > 0.0 && profiled_ms > 0.0)
        add_slowdown(c, step_ms / profiled_ms);
}

/* A step that takes seconds need not end before it is known to be slow. */
static void look_at_step(struct controller *c, double step_ms, double profiled_ms)
{
    if (!(step_ms > SLOW_STEP * profiled_ms))
        return;
    c->slowdown = fmax(c->slowdown, step_ms / profiled_ms);
    c->drift = fmax(c->drift, DRIFT_ALARM);
}

static bool steps_are_slow(const struct controller *c)
{
    return c->drift >= DRIFT_ALARM;
}

/* ---- Diagnosis --------------------------------------------------------------- */

/* The host's word first, then the governor's. */
static uint32_t heat_level(const struct controller *c)
{
    if (c->heat >= 0)
        return (uint32_t)c->heat;
    if (isnan(c->clock) || c->clock >= CLOCK_LIMITED)
        return 0;
    return c->clock < CLOCK_HOT ? 2 : 1;
}

/* Slow steps without a sign of anybody: where cores are seen, and nobody is on them, and
 * frequencies are not told, it is the frequency. Where neither is seen it may be either,
 * and to give way is the answer that cannot be wrong. */
static enum disturbance guess(const struct controller *c)
{
    if (!steps_are_slow(c))
        return DISTURBANCE_NONE;
    if (!c->knows_cores)
        return DISTURBANCE_CONTENTION;
    return isnan(c->clock) && c->heat < 0 ? DISTURBANCE_THERMAL : DISTURBANCE_NONE;
}

static enum disturbance diagnose(struct controller *c, const struct soc *soc,
                                 bool revoked)
{
    enum disturbance guessed = guess(c);

    c->level = heat_level(c);
    if (c->level == 0 && guessed == DISTURBANCE_THERMAL)
        c->level = 1;
    if (revoked)
        return DISTURBANCE_REVOKED;
    if (c->level > 0 && !any_core_is_wanted(c, soc))
        return DISTURBANCE_THERMAL;
    if (c->level > 1)
        return DISTURBANCE_THERMAL;
    if (any_core_is_wanted(c, soc) || guessed == DISTURBANCE_CONTENTION)
        return DISTURBANCE_CONTENTION;
    return c->data_share > DATA_SLOW ? DISTURBANCE_DATA : DISTURBANCE_NONE;
}

static bool drives_down(enum disturbance disturbance)
{
    return disturbance != DISTURBANCE_NONE && disturbance != DISTURBANCE_DATA;
}

void controller_look(struct controller *c, const struct controller_sight *sight,
                     const struct soc *soc, double profiled_ms)
{
    look_at_cores(c, sight, soc);
    c->clock = sight->clock;
    c->heat = sight->heat;
    c->now_ms = fmax(c->now_ms, sight->now_ms);
    look_at_step(c, sight->step_ms, profiled_ms);
    if (!steps_are_slow(c))
        c->slow_ms = (double)NAN;
    else if (isnan(c->slow_ms))
        c->slow_ms = c->now_ms;
    c->disturbance = diagnose(c, soc, sight->revoked);
    if (drives_down(c->disturbance))
        c->disturbed_ms = c->now_ms;
}

/* ---- Report ------------------------------------------------------------------ */

double controller_quiet_ms(const struct controller *c)
{
    double most_ms = c->sees_others ? QUIET_MAX_SEEN_MS : QUIET_MAX_MS;

    return fmin(QUIET_MS * exp2((double)c->n_failed), most_ms);
}

bool controller_is_quiet(const struct controller *c)
{
    if (drives_down(c->disturbance))
        return false;
    return !steps_are_slow(c) || c->now_ms - c->slow_ms > SLOW_IS_NORMAL_MS;
}

static bool may_upgrade(const struct controller *c)
{
    if (c->is_recovering && c->now_ms - c->upgraded_ms < RUNG_MS)
        return false;
    return c->now_ms - c->disturbed_ms >= controller_quiet_ms(c);
}

void controller_report(struct policy_input *out, const struct controller *c,
                       const struct soc *soc)
{
    out->disturbance = c->disturbance;
    out->slowdown = c->slowdown;
    out->level = c->level;
    out->recovering = c->is_recovering;
    out->may_upgrade = may_upgrade(c);
    memset(out->contended, 0, sizeof(out->contended));
    for (uint32_t i = 0; i < soc->n_cores; i++) {
        if (soc_usable(&soc->cores[i]) && controller_sees_wanted(c, i))
            out->contended[soc->cores[i].cluster]++;
    }
}

/* An upgrade fails once, however far down it goes then. One that has stood for long
 * enough ends the back-off: time alone does not, since the back-off is time. */
static void judge_upgrade(struct controller *c, bool up)
{
    double stood_ms = c->now_ms - c->upgraded_ms;

    if (isinf(c->upgraded_ms))
        return;
    if (stood_ms >= TAKEN_BACK_MS)
        c->n_failed = 0;
    else if (!up)
        c->n_failed++;
    if (!up)
        c->upgraded_ms = (double)-INFINITY;
}

/* What was observed belongs to the entry that was left. */
void controller_switched(struct controller *c, bool up)
{
    judge_upgrade(c, up);
    if (up)
        c->upgraded_ms = c->now_ms;
    c->is_recovering |= !up && drives_down(c->disturbance);
    c->n_switches++;
    c->slowdown = 1.0;
    c->drift = 0.0;
    c->slow_ms = (double)NAN;
}

/* Back is where the policy stays although it might go up. */
void controller_decided(struct controller *c, int32_t before, int32_t entry)
{
    if (before >= 0 && entry != before)
        controller_switched(c, entry > before);
    else if (!drives_down(c->disturbance) && may_upgrade(c))
        c->is_recovering = false;
}

const char *disturbance_name(enum disturbance disturbance)
{
    static const char *const names[] = {"none", "contention", "thermal", "revoked",
                                        "data"};

    return names[disturbance];
}
