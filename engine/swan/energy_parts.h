/* What the files of the energy meter share: running sums and the sources that feed
 * them. */
#ifndef ENGINE_SWAN_ENERGY_PARTS_H
#define ENGINE_SWAN_ENERGY_PARTS_H

#include "engine/swan/energy.h"

/* Changes that an interval must have seen where the resolution is watched, and
 * periods that it must last where it is told: 3 make one standard deviation 14 %. */
#define ENERGY_MIN_CHANGES 3

/* A figure that has not changed for so many of its periods stands still. */
#define ENERGY_STILL_PERIODS 5

/* A power that nobody has looked at for so long (or for ENERGY_STILL_PERIODS, where
 * that is longer) is not summed up. */
#define ENERGY_UNSEEN_MS 5000

/* ---- Sums (energy_track.c) --------------------------------------------------- */

void track_init(struct energy_track *track, enum energy_source source);

/* Ends the sum: what spans this moment is not known. `why` is kept while it lasts. */
void track_break(struct energy_track *track, const char *format, ...) CYGNET_PRINTF(2, 3);

/* Begins it (again) with the present figure. */
void track_start(struct energy_track *track, double shown, int64_t now_ms);

/* The counter shows `shown` now, mj more than the last time. */
void track_count(struct energy_track *track, double shown, double mj, int64_t now_ms);

/* The power is mw now; until now it was what was shown, unless nobody has looked for
 * too long or the figure stood still: then there is a hole. */
void track_power(struct energy_track *track, double mw, int64_t now_ms);

/* Median time between changes; 0: fewer than ENERGY_MIN_CHANGES seen. */
int64_t track_period_ms(const struct energy_track *track);

void track_point(struct energy_point *out, const struct energy_track *track,
                 int64_t now_ms);

/* The amount between two points, with its uncertainty; else why it is unknown. */
void track_between(struct energy_reading *out, const struct energy_track *track,
                   const struct energy_point *from, const struct energy_point *to,
                   int64_t ms);

/* Unknown, for the reason given; keeps out->ms. Returns false. */
bool energy_unknown(struct energy_reading *out, const char *format, ...)
    CYGNET_PRINTF(2, 3);

/* ---- Sources: init says whether it is there, sample reads it ------------------ */

bool rapl_init(struct energy_meter *meter); /* energy_rapl.c */
void rapl_sample(struct energy_meter *meter, int64_t now_ms);

bool gauge_init(struct energy_meter *meter); /* energy_gauge.c */
void gauge_sample(struct energy_meter *meter, int64_t now_ms);

bool host_init(struct energy_meter *meter); /* energy_host.c */
void host_sample(struct energy_meter *meter, int64_t now_ms);

#endif
