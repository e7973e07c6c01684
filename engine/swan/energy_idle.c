/* See energy_idle.h. */
#include "engine/swan/energy_idle.h"

#include <math.h>

/* The shortest interval that a first baseline is taken from. */
#define FIRST_MS 2000

void energy_idle_break(struct energy_idle *idle)
{
    idle->last_ms = -1;
}

static bool lacks(const struct energy_meter *meter)
{
    bool readable = false;

    for (int slot = 0; slot < ENERGY_SLOT_MODEL; slot++) {
        const struct energy_track *track = &meter->tracks[slot];

        if (!track->present || !track->live)
            continue;
        if (!isnan(track->idle_mw))
            return false;
        readable = true;
    }
    return readable;
}

static bool unseen(const struct energy_idle *idle, int64_t mono_ms)
{
    return idle->last_ms < 0 || mono_ms < idle->last_ms ||
           mono_ms - idle->last_ms > ENERGY_IDLE_LOOK_MS * 3 / 2;
}

bool energy_idle_look(struct energy_idle *idle, struct energy_meter *meter,
                      int64_t mono_ms)
{
    struct energy_mark now;
    int64_t ms;

    energy_meter_mark(&now, meter, mono_ms);
    if (unseen(idle, mono_ms))
        idle->from = now;
    idle->last_ms = mono_ms;
    ms = mono_ms - idle->from.mono_ms;
    if (ms >= ENERGY_IDLE_MS || (ms >= FIRST_MS && lacks(meter)))
        (void)energy_meter_idle(meter, &idle->from, &now);
    if (ms >= ENERGY_IDLE_MS)
        idle->from = now;
    return lacks(meter);
}
