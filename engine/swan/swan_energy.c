/* What a training draws: for the round's budget, and for whoever books it. */
#include "engine/swan/swan_parts.h"

#include <math.h>
#include <stdio.h>
#include <time.h>

/* Above the mean by so many standard deviations is as good as "at most". */
#define DEVIATIONS 2.0

/* The two clocks are read one after the other: less than this is no sleep. */
#define SLEEP_MS 50.0

static double clock_ms(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

int64_t swan_energy_ms(struct swan *swan)
{
    double now_ms = clock_ms(CLOCK_BOOTTIME);
    double slept_ms = now_ms - swan_now_ms();

    if (slept_ms > swan->slept_ms + SLEEP_MS) {
        energy_meter_slept(&swan->meter, (int64_t)now_ms);
        swan->slept_ms = slept_ms;
    }
    return (int64_t)now_ms;
}

/* ---- Idling ------------------------------------------------------------------ */

bool swan_has_meter(const struct swan *swan)
{
    for (int slot = 0; slot < ENERGY_SLOT_MODEL; slot++) {
        if (swan->meter.tracks[slot].present)
            return true;
    }
    return false;
}

bool swan_idle(struct swan *swan)
{
    if (swan->is_training || !swan_has_meter(swan))
        return false;
    return energy_idle_look(&swan->idle, &swan->meter, swan_energy_ms(swan));
}

/* ---- A training -------------------------------------------------------------- */

void swan_begin_energy(struct swan *swan, double budget_mj)
{
    if (swan_has_meter(swan))
        (void)energy_idle_look(&swan->idle, &swan->meter, swan_energy_ms(swan));
    energy_idle_break(&swan->idle);
    energy_meter_mark(&swan->began, &swan->meter, swan_energy_ms(swan));
    swan->energy_from = swan->draw_from = swan->ended = swan->began;
    swan->energy_steps = 0;
    swan->paused_ms = 0.0;
    swan->paused_from_ms = (double)NAN;
    swan->mj_left = swan->budget_mj = budget_mj;
    swan->spent_mj = 0;
}

void swan_end_energy(struct swan *swan)
{
    energy_meter_load(&swan->meter, (const uint8_t[SOC_MAX_CLUSTERS]){0},
                      swan_energy_ms(swan));
    energy_meter_mark(&swan->ended, &swan->meter, swan_energy_ms(swan));
}

/* What the meter says of the whole training, or else what its steps should take. */
void swan_spend(struct swan *swan, int32_t entry)
{
    double step_mj = swan->profile.entries[entry].step_mj;
    struct energy_reading all;
    struct energy_mark now;

    if (isinf(swan->budget_mj))
        return;
    energy_meter_mark(&now, &swan->meter, swan_energy_ms(swan));
    energy_marginal(&all, &swan->meter, &swan->began, &now);
    if (all.source != ENERGY_UNKNOWN)
        swan->spent_mj = all.mj;
    else if (!isnan(step_mj))
        swan->spent_mj += step_mj;
    swan->mj_left = swan->budget_mj - swan->spent_mj;
}

/* ---- For a ledger ------------------------------------------------------------ */

void swan_mark_draw(struct swan *swan)
{
    pthread_mutex_lock(&swan->mutex);
    energy_meter_mark(&swan->draw_from, &swan->meter, swan_energy_ms(swan));
    swan->paused_ms = 0.0;
    if (!isnan(swan->paused_from_ms))
        swan->paused_from_ms = (double)swan_energy_ms(swan);
    pthread_mutex_unlock(&swan->mutex);
}

void swan_count_pause(struct swan *swan)
{
    bool was_paused = !isnan(swan->paused_from_ms);
    bool is_paused = swan->decision.entry < 0;

    if (was_paused && !is_paused) {
        swan->paused_ms += (double)swan_energy_ms(swan) - swan->paused_from_ms;
        swan->paused_from_ms = (double)NAN;
    } else if (is_paused && !was_paused) {
        swan->paused_from_ms = (double)swan_energy_ms(swan);
    }
}

static double at_most(double mj, double spread_mj)
{
    return isnan(spread_mj) ? mj : mj + DEVIATIONS * spread_mj;
}

/* The dearest of the choices that are possible: any of them may be next. */
static double dearest_mj(const struct swan *swan)
{
    double most = NAN;

    for (uint32_t i = 0; i < swan->profile.n_entries; i++) {
        const struct profile_entry *e = &swan->profile.entries[i];

        if (choice_is_possible(&e->choice, &swan->soc))
            most = fmax(most, at_most(e->step_mj, e->spread_mj));
    }
    return most;
}

/* Whether what is drawn from now on will be known some time. */
static bool will_tell(const struct energy_meter *meter, const char **why)
{
    *why = "no source of energy can be read now";
    for (int slot = 0; slot < ENERGY_N_SLOTS; slot++) {
        const struct energy_track *track = &meter->tracks[slot];

        if (!track->present || !track->live)
            continue;
        if (slot == ENERGY_SLOT_MODEL || !isnan(track->idle_mw))
            return true;
        *why = "what the device draws idle is not known";
    }
    return false;
}

static double paused_ms(const struct swan *swan, const struct energy_mark *now)
{
    if (isnan(swan->paused_from_ms))
        return swan->paused_ms;
    return swan->paused_ms + (double)now->mono_ms - swan->paused_from_ms;
}

static void look_at_draw(struct swan_draw *out, struct swan *swan)
{
    const char *why;
    struct energy_reading drawn;
    struct energy_mark now;

    energy_meter_mark(&now, &swan->meter, swan_energy_ms(swan));
    energy_marginal(&drawn, &swan->meter, &swan->draw_from, &now);
    out->ms = now.mono_ms - swan->draw_from.mono_ms - (int64_t)paused_ms(swan, &now);
    if (drawn.source != ENERGY_UNKNOWN)
        out->drawn_mj = fmax(at_most(drawn.mj, drawn.spread_mj), 0);
    out->is_measured = will_tell(&swan->meter, &why);
    (void)snprintf(out->why, sizeof(out->why), "%s", out->is_measured ? drawn.why : why);
    out->step_mj = dearest_mj(swan);
    out->step_ms = swan_profiled_ms(swan);
    out->is_spent = swan->mj_left <= 0 ||
                    (swan->decision.entry < 0 && swan->decision.reason == REASON_BUDGET);
}

void swan_look_at_draw(struct swan_draw *out, struct swan *swan)
{
    const struct energy_meter *meter = &swan->meter;

    pthread_mutex_lock(&swan->mutex);
    *out = (struct swan_draw){.step_mj = (double)NAN,
                              .step_ms = (double)NAN,
                              .drawn_mj = (double)NAN};
    out->is_measured = swan_has_meter(swan) || meter->tracks[ENERGY_SLOT_MODEL].present;
    if (swan->is_training)
        look_at_draw(out, swan);
    else
        (void)snprintf(out->why, sizeof(out->why), "%s",
                       out->is_measured ? "nothing is trained" : meter->none);
    pthread_mutex_unlock(&swan->mutex);
}
