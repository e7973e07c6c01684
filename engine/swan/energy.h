/* The energy meter: what training draws, from whichever sources there are. A reading
 * says its source and its uncertainty; unknown is legal and is never a zero.
 *
 * The owner calls energy_meter_sample all the time, on any tick (sources are read no
 * more often than makes sense): a power that nobody has looked at for 5 s is not summed
 * up, a counter that nobody has read for a minute may have turned over. It puts marks
 * where an interval begins or ends. Between two marks every source that was there all the
 * time knows an amount; the best of them answers: the host's meter, the package counters,
 * the battery's gauge, the power model.
 *
 * Time is the caller's: milliseconds that never go back and go on while the device
 * sleeps (CLOCK_BOOTTIME). Files are read below a root
 * folder, "/" but in tests. No heap, no global state, nothing to close. One thread at
 * a time; the host's hook is called on whichever thread samples or marks.
 *
 * What each source measures and its traps: docs/energy.md. */
#ifndef ENGINE_SWAN_ENERGY_H
#define ENGINE_SWAN_ENERGY_H

#include "base/json.h"
#include "engine/swan/energy_source.h"
#include "engine/swan/soc.h"

#include <cygnet/policy.h>

#define ENERGY_WHY_BYTES 96
#define ENERGY_MAX_PACKAGES 16

/* What the host's own meter shows. The hook is given a figure of which nothing is
 * known and fills what it can; energy is taken before power.
 *
 * total_uj       energy since some moment, in uJ; only ever grows; -1: not known
 * power_uw       power at present, in uW; -1: not known
 * resolution_uj  step of total_uj; 0: exact
 * period_ms      how often the figure changes; 0, or beyond an hour: not known (found by
 *                watching) */
struct energy_figure {
    int64_t total_uj;
    int64_t power_uw;
    int64_t resolution_uj;
    int64_t period_ms;
};

/* Answers 0; anything else: no figure at present. A meter that is a battery's gauge
 * shows nothing of the device while that is on external power: it answers so then. */
typedef int energy_hook(struct energy_figure *out, void *user);

/* Watts of each cluster's cores while they train, by the SoC's clusters.
 *
 * core_w[k]  of one busy core of cluster k at its highest frequency; NaN: not known
 * idle_w     of the whole device with nothing running; NaN: not known
 * spread     relative uncertainty (one standard deviation); NaN: not known */
struct energy_model {
    uint32_t n_clusters;
    char names[SOC_MAX_CLUSTERS][SOC_NAME_BYTES];
    double core_w[SOC_MAX_CLUSTERS];
    double idle_w;
    double spread;
};

/* Every cluster of the SoC, no watts known. */
void energy_model_init(struct energy_model *out, const struct soc *soc);

/* Reads {"core_w": {"big": 1.4, "LITTLE": 0.4}, "idle_w": 0.3, "spread": 0.2}, each
 * member optional, from a device profile.
 * where  put in front of messages
 * Errors: EFORMAT (a wrong type or range; a cluster that the SoC does not have). */
cygnet_status energy_model_read(struct energy_model *out, const struct json *object,
                                const struct soc *soc, const char *where,
                                cygnet_error *err);

/* mode           the battery's gauge counts with CYGNET_ENERGY_LOAN only, while the
 *                device is unplugged
 * root           "" or "/" but in tests; borrowed
 * gauge_unit_ua  what one of the gauge's current_now is, in uA; 0: 1, as the kernel's
 *                rules have it (some phones count in mA: 1000)
 * hook, user     the host's meter; NULL: none
 * model          NULL: none; copied */
struct energy_options {
    cygnet_energy_mode mode;
    const char *root;
    double gauge_unit_ua;
    energy_hook *hook;
    void *user;
    const struct energy_model *model;
};

/* The places for sources, the best first. */
enum energy_slot {
    ENERGY_SLOT_HOST,
    ENERGY_SLOT_RAPL,
    ENERGY_SLOT_CURRENT, /* the gauge's power, summed up */
    ENERGY_SLOT_CHARGE,  /* the gauge's own count of what has left the battery */
    ENERGY_SLOT_MODEL,
    ENERGY_N_SLOTS
};

#define ENERGY_GAPS 8

/* A source's running sum.
 *
 * present     it is there on this device; `live`: it could be read the last time
 * n_breaks    holes in the sum so far; `why` tells the last one
 * read_ms     of the last reading
 * mj          the sum
 * quantum_mj  the counter's step
 * period_ms   how often the figure changes, as the source says; 0: watched
 * is_power    the figure is a power, which the sum is made of
 * shown       the present figure (of a power: in mW)
 * changed_ms  when it changed; -1: not yet
 * gaps        times between changes, the newest; n_gaps of them
 * n_changes, sum_mw, sum_mw2   of all changes
 * idle_mw, idle_spread_mw      the baseline; NaN: not measured */
struct energy_track {
    enum energy_source source;
    bool present;
    bool live;
    uint32_t n_breaks;
    int64_t read_ms;
    double mj;
    double quantum_mj;
    int64_t period_ms;
    bool is_power;
    double shown;
    int64_t changed_ms;
    int64_t gaps[ENERGY_GAPS];
    uint64_t n_gaps;
    uint64_t n_changes;
    double sum_mw;
    double sum_mw2;
    double idle_mw;
    double idle_spread_mw;
    char why[ENERGY_WHY_BYTES];
};

struct energy_package {
    char name[24];
    int64_t last_uj;
    int64_t range_uj;
};

/* Treat as opaque: energy_meter_init fills it, the caller's memory holds it. */
struct energy_meter {
    struct energy_options options;
    struct energy_model model;
    struct energy_track tracks[ENERGY_N_SLOTS];
    int64_t now_ms;
    int64_t asked_ms[ENERGY_N_SLOTS]; /* whether or not it could be read */
    bool started;
    uint32_t n_packages;
    struct energy_package packages[ENERGY_MAX_PACKAGES];
    int64_t host_uj;
    double charge_uah;
    double charge_volts;
    double charge_uwh;
    double load_mw;
    char none[ENERGY_WHY_BYTES];
};

/* A track at a mark. still_ms: how long its figure had not changed. */
struct energy_point {
    bool live;
    uint32_t n_breaks;
    double mj;
    uint64_t n_changes;
    double sum_mw;
    double sum_mw2;
    int64_t still_ms;
};

struct energy_mark {
    int64_t mono_ms;
    struct energy_point points[ENERGY_N_SLOTS];
};

/* source     ENERGY_UNKNOWN: mj and spread_mj are NaN and `why` says why
 * mj         energy in mJ; marginal energy may be below 0 within its uncertainty
 * spread_mj  its uncertainty, one standard deviation; NaN: not known (a model without)
 * ms         length of the interval */
struct energy_reading {
    enum energy_source source;
    double mj;
    double spread_mj;
    int64_t ms;
    char why[ENERGY_WHY_BYTES];
};

/* Looks what there is; every source's sum begins with the first sample or mark. */
void energy_meter_init(struct energy_meter *meter, const struct energy_options *options);

/* Reads what is due. */
void energy_meter_sample(struct energy_meter *meter, int64_t mono_ms);

/* The device has slept since the last reading (suspend): what it drew then is neither
 * idling nor training, so nothing is known of an interval with that in it. */
void energy_meter_slept(struct energy_meter *meter, int64_t mono_ms);

/* For the power model: so many cores of each cluster are training from now on. */
void energy_meter_load(struct energy_meter *meter,
                       const uint8_t n_cores[SOC_MAX_CLUSTERS], int64_t mono_ms);

/* Reads all sources (a gauge at most ten times a second) and notes where they stand. */
void energy_meter_mark(struct energy_mark *out, struct energy_meter *meter,
                       int64_t mono_ms);

/* Whether some source has been there since the mark; else an interval from there will
 * never be known. */
bool energy_mark_holds(const struct energy_mark *mark, const struct energy_meter *meter);

/* All energy drawn between two marks of this meter. */
void energy_between(struct energy_reading *out, const struct energy_meter *meter,
                    const struct energy_mark *from, const struct energy_mark *to);

/* Nothing was training between the marks: their power is the baseline of every source
 * that knows it; the others keep theirs. True: some source does. */
bool energy_meter_idle(struct energy_meter *meter, const struct energy_mark *from,
                       const struct energy_mark *to);

/* What training drew beyond the baseline: (P - P_idle) t; of the model what its busy
 * cores drew. Unknown without a baseline, and where it is below 0 by more than two
 * standard deviations: then the baseline is not true any more. */
void energy_marginal(struct energy_reading *out, const struct energy_meter *meter,
                     const struct energy_mark *from, const struct energy_mark *to);

/* The same of one of n_steps steps that fill the interval. Unknown as well where the
 * uncertainty is more than half of the amount: more steps are needed. */
void energy_per_step(struct energy_reading *out, const struct energy_reading *interval,
                     uint64_t n_steps);

/* How often a source's figure changes, in ms; 0: not known yet, or not there. */
int64_t energy_meter_period_ms(const struct energy_meter *meter, enum energy_slot slot);

#define ENERGY_TEXT_BYTES 128

/* What is there, the best first: "rapl (2 packages), model"; "none: " and why. */
void energy_meter_text(char out[ENERGY_TEXT_BYTES], const struct energy_meter *meter);

#endif
