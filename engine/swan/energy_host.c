/* The app's own meter, asked through its hook. */
#include "engine/swan/energy_parts.h"

/* A figure that changes less often than every hour is of no use for a training. */
#define MAX_PERIOD_MS 3600000

bool host_init(struct energy_meter *meter)
{
    return meter->options.hook != NULL;
}

static void sample_total(struct energy_meter *meter, const struct energy_figure *figure,
                         int64_t now_ms)
{
    struct energy_track *track = &meter->tracks[ENERGY_SLOT_HOST];
    double mj = (double)(figure->total_uj - meter->host_uj) * 1e-3;

    if (track->live && (track->is_power || mj < 0))
        track_break(track, "the host's counter went back or began anew");
    track->is_power = false;
    meter->host_uj = figure->total_uj;
    if (track->live)
        track_count(track, (double)figure->total_uj, mj, now_ms);
    else
        track_start(track, (double)figure->total_uj, now_ms);
}

static void sample_power(struct energy_track *track, double mw, int64_t now_ms)
{
    if (track->live && !track->is_power)
        track_break(track, "the host's meter shows power instead of energy");
    track->is_power = true;
    if (track->live)
        track_power(track, mw, now_ms);
    else
        track_start(track, mw, now_ms);
}

void host_sample(struct energy_meter *meter, int64_t now_ms)
{
    struct energy_track *track = &meter->tracks[ENERGY_SLOT_HOST];
    struct energy_figure figure = {.total_uj = -1, .power_uw = -1};
    int code = meter->options.hook(&figure, meter->options.user);

    if (code != 0) {
        track_break(track, "the host's meter failed: %d", code);
        return;
    }
    track->quantum_mj =
        figure.resolution_uj > 0 ? (double)figure.resolution_uj * 1e-3 : 0;
    track->period_ms =
        figure.period_ms > 0 && figure.period_ms <= MAX_PERIOD_MS ? figure.period_ms : 0;
    if (figure.total_uj >= 0)
        sample_total(meter, &figure, now_ms);
    else if (figure.power_uw >= 0)
        sample_power(track, (double)figure.power_uw * 1e-3, now_ms);
    else
        track_break(track, "the host's meter shows neither energy nor power");
}
