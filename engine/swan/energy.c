/* The meter: which sources there are, their turn to be read, and which of them
 * answers for an interval. */
#include "engine/swan/energy.h"

#include "engine/swan/energy_parts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* A gauge may answer over a slow bus; counters turn over in minutes at the soonest. */
#define GAUGE_EVERY_MS 250
#define GAUGE_PER_MARK_MS 100
#define HOST_EVERY_MS 250
#define RAPL_EVERY_MS 1000

/* Marginal energy below 0 by more standard deviations is no chance. */
#define MAX_DEVIATIONS 2.0

/* A step's energy is known when its uncertainty is at most so much of it. */
#define MAX_UNCERTAINTY 0.5

/* Where each source's sums are. It is asked every every_ms, and at a mark again after
 * mark_ms. */
static const struct part {
    enum energy_slot slots[2];
    uint32_t n_slots;
    int64_t every_ms;
    int64_t mark_ms;
    bool (*init)(struct energy_meter *meter);
    void (*sample)(struct energy_meter *meter, int64_t now_ms);
} parts[] = {
    {{ENERGY_SLOT_HOST}, 1, HOST_EVERY_MS, 0, host_init, host_sample},
    {{ENERGY_SLOT_RAPL}, 1, RAPL_EVERY_MS, 0, rapl_init, rapl_sample},
    {{ENERGY_SLOT_CURRENT, ENERGY_SLOT_CHARGE},
     2,
     GAUGE_EVERY_MS,
     GAUGE_PER_MARK_MS,
     gauge_init,
     gauge_sample},
};

#define N_PARTS (sizeof(parts) / sizeof(parts[0]))

static const enum energy_source sources[ENERGY_N_SLOTS] = {
    [ENERGY_SLOT_HOST] = ENERGY_HOST,       [ENERGY_SLOT_RAPL] = ENERGY_RAPL,
    [ENERGY_SLOT_CURRENT] = ENERGY_BATTERY, [ENERGY_SLOT_CHARGE] = ENERGY_BATTERY,
    [ENERGY_SLOT_MODEL] = ENERGY_MODEL,
};

static void look(struct energy_meter *meter)
{
    bool gauge_only = false;

    for (size_t i = 0; i < N_PARTS; i++) {
        bool is_gauge = sources[parts[i].slots[0]] == ENERGY_BATTERY;
        bool there = parts[i].init(meter);

        if (is_gauge && meter->options.mode != CYGNET_ENERGY_LOAN) {
            gauge_only = there;
            there = false;
        }
        for (uint32_t s = 0; s < parts[i].n_slots; s++)
            meter->tracks[parts[i].slots[s]].present = there;
    }
    (void)snprintf(meter->none, sizeof(meter->none),
                   gauge_only ? "a battery's gauge is used in loan mode only"
                              : "this device has no source of energy");
}

void energy_meter_init(struct energy_meter *meter, const struct energy_options *options)
{
    memset(meter, 0, sizeof(*meter));
    meter->options = *options;
    if (!meter->options.root)
        meter->options.root = "";
    for (size_t s = 0; s < ENERGY_N_SLOTS; s++)
        track_init(&meter->tracks[s], sources[s]);
    look(meter);
    if (options->model) {
        meter->model = *options->model;
        meter->tracks[ENERGY_SLOT_MODEL].present = true;
        track_break(&meter->tracks[ENERGY_SLOT_MODEL],
                    "it is not known which cores have trained");
    }
    meter->options.model = NULL;
}

/* ---- Reading ------------------------------------------------------------------ */

static void sample_model(struct energy_meter *meter, int64_t now_ms)
{
    struct energy_track *track = &meter->tracks[ENERGY_SLOT_MODEL];

    if (track->live)
        track->mj += meter->load_mw * (double)(now_ms - track->read_ms) * 1e-3;
    track->read_ms = now_ms;
}

/* The load is known all the same: the model goes on from here. */
static void break_all(struct energy_meter *meter, int64_t now_ms, const char *why)
{
    struct energy_track *model = &meter->tracks[ENERGY_SLOT_MODEL];
    bool told = model->live;

    for (size_t s = 0; s < ENERGY_N_SLOTS; s++)
        if (s != ENERGY_SLOT_MODEL || told)
            track_break(&meter->tracks[s], "%s", why);
    model->live = told;
    model->read_ms = now_ms;
}

static void sample(struct energy_meter *meter, int64_t now_ms, bool for_mark)
{
    bool back = meter->started && now_ms < meter->now_ms;

    if (back)
        break_all(meter, now_ms, "the clock went back");
    for (size_t i = 0; i < N_PARTS; i++) {
        enum energy_slot slot = parts[i].slots[0];
        int64_t every_ms = for_mark ? parts[i].mark_ms : parts[i].every_ms;
        bool due = back || !meter->started || now_ms - meter->asked_ms[slot] >= every_ms;

        if (!meter->tracks[slot].present || !due)
            continue;
        parts[i].sample(meter, now_ms);
        meter->asked_ms[slot] = now_ms;
    }
    sample_model(meter, now_ms);
    meter->started = true;
    meter->now_ms = now_ms;
}

void energy_meter_sample(struct energy_meter *meter, int64_t mono_ms)
{
    sample(meter, mono_ms, false);
}

void energy_meter_slept(struct energy_meter *meter, int64_t mono_ms)
{
    break_all(meter, mono_ms, "the device has slept on the way");
    meter->started = false; /* all are read anew */
}

void energy_meter_load(struct energy_meter *meter,
                       const uint8_t n_cores[SOC_MAX_CLUSTERS], int64_t mono_ms)
{
    const struct energy_model *model = &meter->model;
    struct energy_track *track = &meter->tracks[ENERGY_SLOT_MODEL];

    sample(meter, mono_ms, false);
    if (!track->present)
        return;
    meter->load_mw = 0;
    for (uint32_t k = 0; k < SOC_MAX_CLUSTERS; k++) {
        if (n_cores[k] == 0)
            continue;
        if (k >= model->n_clusters || isnan(model->core_w[k])) {
            track_break(track, "the model has no watts for cluster %s",
                        k < model->n_clusters ? model->names[k] : "?");
            return;
        }
        meter->load_mw += n_cores[k] * model->core_w[k] * 1e3;
    }
    track->live = true;
}

void energy_meter_mark(struct energy_mark *out, struct energy_meter *meter,
                       int64_t mono_ms)
{
    sample(meter, mono_ms, true);
    out->mono_ms = mono_ms;
    for (size_t s = 0; s < ENERGY_N_SLOTS; s++)
        track_point(&out->points[s], &meter->tracks[s], mono_ms);
}

bool energy_mark_holds(const struct energy_mark *mark, const struct energy_meter *meter)
{
    for (size_t s = 0; s < ENERGY_N_SLOTS; s++) {
        const struct energy_track *track = &meter->tracks[s];
        const struct energy_point *point = &mark->points[s];

        if (track->present && point->live && point->n_breaks == track->n_breaks)
            return true;
    }
    return false;
}

/* ---- Answers ------------------------------------------------------------------ */

/* What the model's busy cores have drawn. */
static void model_between(struct energy_reading *out, const struct energy_meter *meter,
                          const struct energy_mark *from, const struct energy_mark *to)
{
    const struct energy_track *track = &meter->tracks[ENERGY_SLOT_MODEL];
    const struct energy_point *a = &from->points[ENERGY_SLOT_MODEL];
    const struct energy_point *b = &to->points[ENERGY_SLOT_MODEL];

    if (out->ms <= 0)
        (void)energy_unknown(out, "the interval is empty");
    else if (!a->live || !b->live || a->n_breaks != b->n_breaks)
        (void)energy_unknown(out, "%s", track->why);
    else {
        out->mj = b->mj - a->mj;
        out->spread_mj = out->mj * meter->model.spread;
    }
}

static void add_model_idle(struct energy_reading *out, const struct energy_meter *meter)
{
    double idle_mj = meter->model.idle_w * (double)out->ms;

    if (out->source == ENERGY_UNKNOWN)
        return;
    if (isnan(idle_mj))
        (void)energy_unknown(out, "the model does not tell the idle power");
    out->mj += idle_mj;
    out->spread_mj = out->mj * meter->model.spread;
}

static void take_idle(struct energy_reading *out, const struct energy_track *track)
{
    double s = (double)out->ms * 1e-3;
    double idle_spread_mj = track->idle_spread_mw * s;
    double spread_mj;

    if (out->source == ENERGY_UNKNOWN)
        return;
    if (isnan(track->idle_mw)) {
        (void)energy_unknown(out, "no idle power has been measured");
        return;
    }
    spread_mj = sqrt(out->spread_mj * out->spread_mj + idle_spread_mj * idle_spread_mj);
    out->mj -= track->idle_mw * s;
    out->spread_mj = spread_mj;
    if (out->mj < -MAX_DEVIATIONS * spread_mj)
        (void)energy_unknown(out, "%.3g mJ less than when idle: the baseline is not true",
                             -out->mj);
}

/* One source's answer. */
static void answer(struct energy_reading *out, const struct energy_meter *meter,
                   const struct energy_mark *from, const struct energy_mark *to,
                   enum energy_slot slot, bool marginal)
{
    const struct energy_track *track = &meter->tracks[slot];
    int64_t ms = to->mono_ms - from->mono_ms;

    *out = (struct energy_reading){.source = track->source, .ms = ms};
    if (slot == ENERGY_SLOT_MODEL) {
        model_between(out, meter, from, to);
        if (!marginal)
            add_model_idle(out, meter);
        return;
    }
    track_between(out, track, &from->points[slot], &to->points[slot], ms);
    if (marginal)
        take_idle(out, track);
}

/* Whether one says more than what the slot `last` has said. Of one source's two sums
 * the surer one counts, or where neither knows the one that is at least read. */
static bool says_more(const struct energy_reading *one, enum energy_slot slot,
                      const struct energy_reading *said, int last,
                      const struct energy_mark *to)
{
    bool same = last >= 0 && sources[slot] == sources[last];

    if (last < 0)
        return true;
    if (one->source != ENERGY_UNKNOWN)
        return said->source == ENERGY_UNKNOWN ||
               (same && one->spread_mj < said->spread_mj);
    return same && said->source == ENERGY_UNKNOWN && !to->points[last].live &&
           to->points[slot].live;
}

/* A better source answers first; where nobody knows, it says why. */
static void best(struct energy_reading *out, const struct energy_meter *meter,
                 const struct energy_mark *from, const struct energy_mark *to,
                 bool marginal)
{
    int last = -1;

    *out = (struct energy_reading){.ms = to->mono_ms - from->mono_ms};
    (void)energy_unknown(out, "%s", meter->none);
    for (int slot = 0; slot < ENERGY_N_SLOTS; slot++) {
        struct energy_reading one;

        if (!meter->tracks[slot].present)
            continue;
        answer(&one, meter, from, to, (enum energy_slot)slot, marginal);
        if (says_more(&one, (enum energy_slot)slot, out, last, to)) {
            *out = one;
            last = slot;
        }
    }
}

void energy_between(struct energy_reading *out, const struct energy_meter *meter,
                    const struct energy_mark *from, const struct energy_mark *to)
{
    best(out, meter, from, to, false);
}

void energy_marginal(struct energy_reading *out, const struct energy_meter *meter,
                     const struct energy_mark *from, const struct energy_mark *to)
{
    best(out, meter, from, to, true);
}

bool energy_meter_idle(struct energy_meter *meter, const struct energy_mark *from,
                       const struct energy_mark *to)
{
    bool known = meter->tracks[ENERGY_SLOT_MODEL].present;

    for (int slot = 0; slot < ENERGY_SLOT_MODEL; slot++) {
        struct energy_track *track = &meter->tracks[slot];
        struct energy_reading one;

        if (track->present) {
            answer(&one, meter, from, to, (enum energy_slot)slot, false);
            if (one.source != ENERGY_UNKNOWN) {
                track->idle_mw = one.mj / (double)one.ms * 1e3;
                track->idle_spread_mw = one.spread_mj / (double)one.ms * 1e3;
            }
        }
        known |= !isnan(track->idle_mw);
    }
    return known;
}

void energy_per_step(struct energy_reading *out, const struct energy_reading *interval,
                     uint64_t n_steps)
{
    double mj = interval->mj;
    double spread_mj = interval->spread_mj;

    *out = *interval;
    if (interval->source == ENERGY_UNKNOWN)
        return;
    if (n_steps == 0) {
        (void)energy_unknown(out, "no step has ended");
        return;
    }
    out->mj = mj / (double)n_steps;
    out->spread_mj = spread_mj / (double)n_steps;
    if (!(mj > 0) || spread_mj > MAX_UNCERTAINTY * mj)
        (void)energy_unknown(out, "%.3g +- %.3g mJ: more steps are needed", mj,
                             spread_mj);
}

int64_t energy_meter_period_ms(const struct energy_meter *meter, enum energy_slot slot)
{
    const struct energy_track *track = &meter->tracks[slot];

    return track->present ? track_period_ms(track) : 0;
}

static void add_name(char out[ENERGY_TEXT_BYTES], const char *name, uint32_t n_packages)
{
    size_t len = strlen(out);

    len += (size_t)snprintf(out + len, ENERGY_TEXT_BYTES - len, "%s%s",
                            len > 0 ? ", " : "", name);
    if (n_packages > 0)
        (void)snprintf(out + len, ENERGY_TEXT_BYTES - len, " (%u package%s)",
                       (unsigned)n_packages, n_packages == 1 ? "" : "s");
}

void energy_meter_text(char out[ENERGY_TEXT_BYTES], const struct energy_meter *meter)
{
    out[0] = '\0';
    for (int slot = 0; slot < ENERGY_N_SLOTS; slot++)
        if (meter->tracks[slot].present && slot != ENERGY_SLOT_CHARGE)
            add_name(out, energy_source_name(sources[slot]),
                     slot == ENERGY_SLOT_RAPL ? meter->n_packages : 0);
    if (out[0] == '\0')
        (void)snprintf(out, ENERGY_TEXT_BYTES, "none: %s", meter->none);
}
