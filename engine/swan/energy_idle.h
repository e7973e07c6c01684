/* The baseline: what the device draws while nothing trains, from looks at the meter
 * during waits. Only time that was looked at counts: what happened unseen (a download,
 * a user, a suspend) is not idling. */
#ifndef ENGINE_SWAN_ENERGY_IDLE_H
#define ENGINE_SWAN_ENERGY_IDLE_H

#include "engine/swan/energy.h"

/* How often to look, at the least, and how long a baseline is measured for. */
#define ENERGY_IDLE_LOOK_MS 4000
#define ENERGY_IDLE_MS 15000

/* from  where the present interval began; last_ms: the last look; -1: none yet */
struct energy_idle {
    struct energy_mark from;
    int64_t last_ms;
};

/* Training begins, or has ended: the interval is over. */
void energy_idle_break(struct energy_idle *idle);

/* Looks, while nothing trains. Each ENERGY_IDLE_MS a baseline replaces the one before;
 * the first is taken as soon as it can be known. Returns whether more looks are needed:
 * something can be read now, and nothing that can has a baseline yet. */
bool energy_idle_look(struct energy_idle *idle, struct energy_meter *meter,
                      int64_t mono_ms);

#endif
