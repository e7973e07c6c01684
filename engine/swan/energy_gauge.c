/* The battery's fuel gauge as two sums: of the power that it shows, and of the charge
 * that it counts. Which of them is the better depends on the gauge; see
 * energy_between. Both hold only while the device is unplugged. */
#include "engine/swan/battery.h"
#include "engine/swan/energy_parts.h"

#include <math.h>

/* uAh at a volt, and uWh, in mJ. */
#define MJ_PER_UWH 3.6

/* A counter that seems to have lost more was corrected by the gauge. */
#define MAX_W 300.0

/* Steps that a counter may be coarse by when its fall is judged, as a fraction of the
 * capacity; in mJ (1 % of 100 Wh) where that is not told. */
#define SLACK 0.02
#define SLACK_MJ 3.6e6

bool gauge_init(struct energy_meter *meter)
{
    struct battery battery;

    battery_read(&battery, meter->options.root, meter->options.gauge_unit_ua);
    meter->charge_uah = meter->charge_volts = meter->charge_uwh = NAN;
    meter->tracks[ENERGY_SLOT_CURRENT].is_power = true;
    return battery.n > 0;
}

static void sample_power(struct energy_track *track, const struct battery *battery,
                         int64_t now_ms)
{
    if (isnan(battery->power_mw))
        track_break(track, "%s", battery->why);
    else if (track->live)
        track_power(track, battery->power_mw, now_ms);
    else
        track_start(track, battery->power_mw, now_ms);
}

/* mJ that have left since the last reading; NaN: the gauge does not count. */
static double drained_mj(const struct energy_meter *meter, const struct battery *battery)
{
    double by_energy = (meter->charge_uwh - battery->energy_uwh) * MJ_PER_UWH;
    double volts = (meter->charge_volts + battery->volts) / 2;

    if (!isnan(by_energy))
        return by_energy;
    return (meter->charge_uah - battery->charge_uah) * volts * MJ_PER_UWH;
}

static bool counts(const struct battery *battery)
{
    return !isnan(battery->energy_uwh) || !isnan(battery->charge_uah * battery->volts);
}

static double count_of(const struct battery *battery)
{
    return isnan(battery->energy_uwh) ? battery->charge_uah : battery->energy_uwh;
}

static double slack_mj(const struct battery *battery)
{
    return battery->capacity_mj > 0 ? SLACK * battery->capacity_mj : SLACK_MJ;
}

static void sample_count(struct energy_meter *meter, const struct battery *battery,
                         int64_t now_ms)
{
    struct energy_track *track = &meter->tracks[ENERGY_SLOT_CHARGE];
    double mj = drained_mj(meter, battery);
    double most = MAX_W * (double)(now_ms - track->read_ms) + slack_mj(battery);

    if (!counts(battery))
        track_break(track, "the gauge does not count charge");
    else if (track->live && !(mj >= 0 && mj <= most))
        track_break(track, "the gauge has corrected its count");
    if (track->live)
        track_count(track, count_of(battery), mj, now_ms);
    else if (counts(battery))
        track_start(track, count_of(battery), now_ms);
    meter->charge_uah = battery->charge_uah;
    meter->charge_volts = battery->volts;
    meter->charge_uwh = battery->energy_uwh;
}

void gauge_sample(struct energy_meter *meter, int64_t now_ms)
{
    struct energy_track *power = &meter->tracks[ENERGY_SLOT_CURRENT];
    struct energy_track *count = &meter->tracks[ENERGY_SLOT_CHARGE];
    struct battery battery;

    battery_read(&battery, meter->options.root, meter->options.gauge_unit_ua);
    if (battery.discharging) {
        sample_power(power, &battery, now_ms);
        sample_count(meter, &battery, now_ms);
        return;
    }
    track_break(power, battery.plugged ? "the device is on external power"
                                       : "the battery does not say that it runs down");
    track_break(count, "%s", power->why);
}
