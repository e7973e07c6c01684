/* Running sums of energy and what is known between two points of one.
 *
 * Uncertainty. A counter's end points are each off by less than a step and by what is
 * drawn in less than a period, evenly distributed, so by 1/sqrt(12) of those; both
 * ends make 1/sqrt(6). Of a counter that is watched, step and period are the mean ones
 * of the interval: energy by changes. A power that is summed up has the same ends,
 * and its mean has the standard error of its samples besides. */
#include "engine/swan/energy_parts.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void track_init(struct energy_track *track, enum energy_source source)
{
    memset(track, 0, sizeof(*track));
    track->source = source;
    track->changed_ms = -1;
    track->idle_mw = track->idle_spread_mw = NAN;
    (void)snprintf(track->why, sizeof(track->why), "nothing has been read yet");
}

void track_break(struct energy_track *track, const char *format, ...)
{
    va_list args;

    track->n_breaks += track->live;
    track->live = false;
    va_start(args, format);
    (void)vsnprintf(track->why, sizeof(track->why), format, args);
    va_end(args);
}

void track_start(struct energy_track *track, double shown, int64_t now_ms)
{
    track->live = true;
    track->read_ms = now_ms;
    track->shown = shown;
    track->changed_ms = -1;
}

int64_t track_period_ms(const struct energy_track *track)
{
    uint64_t n = track->n_gaps < ENERGY_GAPS ? track->n_gaps : ENERGY_GAPS;
    int64_t sorted[ENERGY_GAPS];

    if (track->period_ms > 0)
        return track->period_ms;
    if (n < ENERGY_MIN_CHANGES)
        return 0;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t at = i;

        for (; at > 0 && sorted[at - 1] > track->gaps[i]; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = track->gaps[i];
    }
    return sorted[n / 2];
}

/* The time before the first change since a start is no period. */
static void note_change(struct energy_track *track, double shown, int64_t now_ms)
{
    if (track->changed_ms >= 0 && now_ms > track->changed_ms)
        track->gaps[track->n_gaps++ % ENERGY_GAPS] = now_ms - track->changed_ms;
    track->shown = shown;
    track->changed_ms = now_ms;
    track->n_changes++;
}

void track_count(struct energy_track *track, double shown, double mj, int64_t now_ms)
{
    track->mj += mj;
    track->read_ms = now_ms;
    if (shown != track->shown)
        note_change(track, shown, now_ms);
}

/* Whether a power that was looked at last so long ago, and may have changed since, was
 * not seen well enough to be summed up. */
static bool unseen(const struct energy_track *track, int64_t ms)
{
    int64_t most = ENERGY_STILL_PERIODS * track_period_ms(track);

    return ms > (most > ENERGY_UNSEEN_MS ? most : ENERGY_UNSEEN_MS);
}

/* A source that tells its period says by the same figure that nothing has changed. */
static bool stood_still(const struct energy_track *track, int64_t gap_ms)
{
    int64_t period = track_period_ms(track);

    return track->period_ms == 0 && period > 0 && gap_ms > ENERGY_STILL_PERIODS * period;
}

void track_power(struct energy_track *track, double mw, int64_t now_ms)
{
    int64_t ms = now_ms - track->read_ms;
    int64_t gap = track->changed_ms >= 0 ? now_ms - track->changed_ms : 0;
    bool still = mw != track->shown && stood_still(track, gap);

    if (unseen(track, ms))
        track_break(track, "nobody has looked at the power for %lld ms", (long long)ms);
    else if (still)
        track_break(track, "the figure stood still for %lld ms", (long long)gap);
    track->live = true;
    track->mj += track->shown * (double)ms * 1e-3;
    track->read_ms = now_ms;
    if (mw == track->shown)
        return;
    note_change(track, mw, now_ms);
    track->sum_mw += mw;
    track->sum_mw2 += mw * mw;
}

void track_point(struct energy_point *out, const struct energy_track *track,
                 int64_t now_ms)
{
    double since_s = (double)(now_ms - track->read_ms) * 1e-3;

    *out = (struct energy_point){
        .live = track->live,
        .n_breaks = track->n_breaks,
        .mj = track->mj + (track->is_power ? track->shown * since_s : 0),
        .n_changes = track->n_changes,
        .sum_mw = track->sum_mw,
        .sum_mw2 = track->sum_mw2,
        .still_ms = track->changed_ms >= 0 ? now_ms - track->changed_ms : 0,
    };
}

bool energy_unknown(struct energy_reading *out, const char *format, ...)
{
    va_list args;

    out->source = ENERGY_UNKNOWN;
    out->mj = out->spread_mj = NAN;
    va_start(args, format);
    (void)vsnprintf(out->why, sizeof(out->why), format, args);
    va_end(args);
    return false;
}

/* Variance of the mean power over the interval, in mJ^2. */
static double mean_variance(const struct energy_point *from,
                            const struct energy_point *to, double n, int64_t ms)
{
    double mean = (to->sum_mw - from->sum_mw) / n;
    double variance = (to->sum_mw2 - from->sum_mw2) / n - mean * mean;
    double s = (double)ms * 1e-3;

    return variance > 0 ? s * s * variance / n : 0;
}

static double counter_spread(const struct energy_track *track, double mj, int64_t ms)
{
    double end = mj / (double)ms * (double)track->period_ms;

    return sqrt((track->quantum_mj * track->quantum_mj + end * end) / 6);
}

static bool moves(struct energy_reading *out, const struct energy_track *track,
                  const struct energy_point *to, double n)
{
    double ms = (double)out->ms;

    if (track->period_ms > 0 && ms < ENERGY_MIN_CHANGES * (double)track->period_ms)
        return energy_unknown(out, "%lld ms are too short for a figure of every %lld ms",
                              (long long)out->ms, (long long)track->period_ms);
    if (track->period_ms > 0)
        return true;
    if (n < ENERGY_MIN_CHANGES)
        return energy_unknown(out, "the figure changed %d times in %lld ms: too slow",
                              (int)n, (long long)out->ms);
    if ((double)to->still_ms > ENERGY_STILL_PERIODS * ms / n)
        return energy_unknown(out, "the figure has not changed for %lld ms",
                              (long long)to->still_ms);
    return true;
}

void track_between(struct energy_reading *out, const struct energy_track *track,
                   const struct energy_point *from, const struct energy_point *to,
                   int64_t ms)
{
    double n = (double)(to->n_changes - from->n_changes);
    double mj = to->mj - from->mj;
    double spread;

    *out = (struct energy_reading){.source = track->source, .ms = ms};
    if (ms <= 0) {
        (void)energy_unknown(out, "the interval is empty");
        return;
    }
    if (!from->live || !to->live || from->n_breaks != to->n_breaks) {
        (void)energy_unknown(out, "%s", track->why);
        return;
    }
    if (!moves(out, track, to, n))
        return;
    if (!(mj > 0)) {
        (void)energy_unknown(out, "the counter stands still");
        return;
    }
    spread = track->period_ms > 0 ? counter_spread(track, mj, ms) : mj / n / sqrt(6);
    if (track->is_power && n > 1)
        spread = sqrt(spread * spread + mean_variance(from, to, n, ms));
    out->mj = mj;
    out->spread_mj = spread;
}
