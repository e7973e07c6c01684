/* Measuring, predicting and pruning. */
#include "engine/swan/profile.h"

#include "engine/swan/predict.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* Quartiles of fewer samples say nothing. */
enum { MIN_QUARTILES = 4 };

/* Distance of a normal distribution's quartile from its middle, in deviations. */
#define QUARTILE 0.6745

void profile_init(struct profile *profile, const struct profile_key *key,
                  const struct soc *soc, uint32_t max_threads)
{
    struct choice choices[CHOICE_MAX];
    size_t n = choice_list(choices, soc, max_threads);

    memset(profile, 0, sizeof(*profile));
    profile->key = *key;
    profile->n_clusters = soc->n_clusters;
    profile->n_entries = (uint32_t)n;
    memcpy(profile->clusters, soc->clusters, sizeof(soc->clusters));
    for (size_t i = 0; i < n; i++) {
        profile->entries[i] = (struct profile_entry){.choice = choices[i],
                                                     .step_ms = NAN,
                                                     .spread_ms = NAN,
                                                     .model_ms = NAN,
                                                     .model_sd = NAN,
                                                     .step_mj = NAN,
                                                     .spread_mj = NAN,
                                                     .pruned_by = -1};
    }
}

/* A running mean and variance that forgets what is older than PROFILE_SAMPLES. */
static void add_energy(struct profile_energy *e, double mj, enum energy_source source)
{
    double weight, off;

    if (source == ENERGY_UNKNOWN || !isfinite(mj))
        return;
    if (e->n > 0 && source > e->source)
        return;
    if (e->n == 0 || source < e->source)
        *e = (struct profile_energy){.source = source};
    e->n++;
    weight = 1 / (double)(e->n < PROFILE_SAMPLES ? e->n : PROFILE_SAMPLES);
    off = mj - e->mean;
    e->mean += weight * off;
    e->variance = (1 - weight) * (e->variance + weight * off * off);
}

void profile_add(struct profile *profile, size_t entry, double ms, double mj,
                 enum energy_source source)
{
    struct profile_entry *e = &profile->entries[entry];

    assert(entry < profile->n_entries);
    if (!isfinite(ms) || ms <= 0)
        return;
    if (e->n_samples == PROFILE_SAMPLES) {
        memmove(e->samples, e->samples + 1, (PROFILE_SAMPLES - 1) * sizeof(*e->samples));
        e->n_samples--;
    }
    e->samples[e->n_samples++] = ms;
    e->n_measured++;
    add_energy(&e->measured, mj, source);
}

static void sort(double *values, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        double value = values[i];
        size_t at = i;

        for (; at > 0 && values[at - 1] > value; at--)
            values[at] = values[at - 1];
        values[at] = value;
    }
}

/* Between the neighbours where the quantile falls between them. */
static double quantile(const double *sorted, size_t n, double q)
{
    double place = q * (double)(n - 1);
    size_t below = (size_t)place;
    size_t above = below + 1 < n ? below + 1 : below;

    return sorted[below] + (place - (double)below) * (sorted[above] - sorted[below]);
}

static void summarise(struct profile_entry *e)
{
    double sorted[PROFILE_SAMPLES];
    size_t n = e->n_samples;

    e->step_ms = e->spread_ms = NAN;
    if (n == 0)
        return;
    memcpy(sorted, e->samples, n * sizeof(*sorted));
    sort(sorted, n);
    /* What disturbs makes steps slower, never faster: of two the slower is in doubt. */
    e->step_ms = n == 2 ? sorted[0] : quantile(sorted, n, 0.5);
    if (n >= MIN_QUARTILES)
        e->spread_ms = (quantile(sorted, n, 0.75) - quantile(sorted, n, 0.25)) / 2;
}

static void predict_times(struct profile *profile)
{
    struct fit fit;
    bool known = predict_fit_time(&fit, profile);

    for (size_t i = 0; i < profile->n_entries; i++) {
        struct profile_entry *e = &profile->entries[i];

        e->model_ms = e->model_sd = NAN;
        if (!known)
            continue;
        e->model_ms = predict_value(&e->model_sd, &fit, &e->choice);
        if (e->n_samples > 0)
            continue;
        e->step_ms = e->model_ms;
        e->spread_ms = QUARTILE * e->model_sd * e->step_ms;
    }
}

bool profile_energy_is_read(const struct profile_entry *entry, enum energy_source source)
{
    const struct profile_energy *m = &entry->measured;

    return m->n > 0 && m->source == source && m->mean > 0;
}

static enum energy_source best_source(const struct profile *profile)
{
    for (enum energy_source s = ENERGY_HOST; s <= ENERGY_MODEL; s++) {
        for (size_t i = 0; i < profile->n_entries; i++) {
            if (profile_energy_is_read(&profile->entries[i], s))
                return s;
        }
    }
    return ENERGY_UNKNOWN;
}

static void set_energy(struct profile_entry *e, const struct fit *fit,
                       enum energy_source source)
{
    const struct profile_energy *m = &e->measured;
    double sd;

    e->energy_source = source;
    e->energy_is_measured = profile_energy_is_read(e, source);
    if (e->energy_is_measured) {
        double n = (double)(m->n < PROFILE_SAMPLES ? m->n : PROFILE_SAMPLES);

        e->step_mj = m->mean;
        e->spread_mj = n > 1 ? sqrt(m->variance / (n - 1)) : NAN;
        return;
    }
    e->step_mj = predict_value(&sd, fit, &e->choice) * e->step_ms;
    e->spread_mj = sd * e->step_mj;
}

static void predict_energies(struct profile *profile)
{
    enum energy_source source = best_source(profile);
    struct fit fit;
    bool known = source != ENERGY_UNKNOWN && predict_fit_power(&fit, profile, source);

    for (size_t i = 0; i < profile->n_entries; i++) {
        struct profile_entry *e = &profile->entries[i];

        e->step_mj = e->spread_mj = NAN;
        e->energy_source = ENERGY_UNKNOWN;
        e->energy_is_measured = false;
        if (known)
            set_energy(e, &fit, source);
    }
}

bool profile_dominates(const struct profile_entry *a, const struct profile_entry *b)
{
    int cost = choice_compare_cost(&a->choice, &b->choice);
    bool a_known = !isnan(a->step_mj), b_known = !isnan(b->step_mj);

    if (isnan(a->step_ms) || isnan(b->step_ms) || a_known != b_known)
        return false;
    if (cost > 0 || a->step_ms > b->step_ms || (a_known && a->step_mj > b->step_mj))
        return false;
    return cost < 0 || a->step_ms < b->step_ms || (a_known && a->step_mj < b->step_mj);
}

/* Entries are in the order of cost, so what prunes an entry stands before it; and what
 * prunes that prunes both, so it is enough to ask those that stay. */
static void prune(struct profile *profile)
{
    for (size_t i = 0; i < profile->n_entries; i++) {
        struct profile_entry *e = &profile->entries[i];

        e->pruned_by = -1;
        for (size_t j = 0; j < i && e->pruned_by < 0; j++) {
            const struct profile_entry *other = &profile->entries[j];

            if (other->pruned_by < 0 && profile_dominates(other, e))
                e->pruned_by = (int32_t)j;
        }
    }
}

void profile_update(struct profile *profile)
{
    for (size_t i = 0; i < profile->n_entries; i++)
        summarise(&profile->entries[i]);
    predict_times(profile);
    predict_energies(profile);
    prune(profile);
}

bool profile_has_measurement(const struct profile *profile)
{
    for (size_t i = 0; i < profile->n_entries; i++) {
        if (profile->entries[i].n_samples > 0)
            return true;
    }
    return false;
}

int32_t profile_find(const struct profile *profile, const struct choice *choice)
{
    for (size_t i = 0; i < profile->n_entries; i++) {
        if (choice_equal(&profile->entries[i].choice, choice))
            return (int32_t)i;
    }
    return -1;
}

void profile_soc(struct soc *out, const struct profile *profile)
{
    memset(out, 0, sizeof(*out));
    out->n_clusters = profile->n_clusters;
    memcpy(out->clusters, profile->clusters, sizeof(out->clusters));
    memcpy(out->fingerprint, profile->key.soc, sizeof(out->fingerprint));
    for (uint32_t k = 0; k < profile->n_clusters; k++) {
        for (uint32_t i = 0; i < profile->clusters[k].n_cores; i++) {
            out->cores[out->n_cores] =
                (struct soc_core){.cpu = out->n_cores,
                                  .cluster = k,
                                  .capacity = profile->clusters[k].capacity,
                                  .core = out->n_cores,
                                  .online = true,
                                  .allowed = true};
            out->n_cores++;
        }
    }
}

void profile_choice_text(char out[CHOICE_TEXT_BYTES], const struct profile *profile,
                         size_t entry)
{
    struct soc soc;

    soc.n_cores = 0;
    soc.n_clusters = profile->n_clusters;
    memcpy(soc.clusters, profile->clusters, sizeof(soc.clusters));
    choice_text(out, &profile->entries[entry].choice, &soc);
}
