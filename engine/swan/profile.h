/* The profile: what each execution choice takes for one step of one model on one
 * SoC, measured or predicted. Plain data and pure functions: no clock, no files, no
 * threads.
 *
 * Source: Swan, arXiv 2206.04687, section 4 (profiles and pruning); predictions are
 * ours. */
#ifndef ENGINE_SWAN_PROFILE_H
#define ENGINE_SWAN_PROFILE_H

#include "base/bytes.h"
#include "engine/swan/choice.h"
#include "engine/swan/energy_source.h"

#define PROFILE_KEY_BYTES 65
#define PROFILE_SAMPLES 16 /* steps that a median is taken over; the newest */

/* What a profile is true for. Each is a SHA-256 in hex or a short word; a profile of
 * another key is dropped.
 *
 * model    architecture, shapes and batch
 * soc      soc.fingerprint
 * engine   version and numeric class */
struct profile_key {
    char model[PROFILE_KEY_BYTES];
    char soc[PROFILE_KEY_BYTES];
    char engine[PROFILE_KEY_BYTES];
};

/* samples        the newest undisturbed step times in ms, n_samples of them
 * n_measured     all steps that went into this entry; 0: everything is predicted
 * step_ms        median of the samples, or the prediction; NaN: neither
 * spread_ms      half the distance of the quartiles; NaN: unknown
 * step_mj        marginal energy of a step, (P - P_idle) t, in mJ; NaN: unknown
 * spread_mj      its uncertainty (one standard deviation); NaN: unknown
 * energy_source  of step_mj
 * pruned_by      index of the entry that is at least as good in cost, latency and
 *                energy and better in one; -1: on the frontier */
struct profile_entry {
    struct choice choice;
    double samples[PROFILE_SAMPLES];
    uint32_t n_samples;
    uint64_t n_measured;
    double step_ms;
    double spread_ms;
    double step_mj;
    double spread_mj;
    enum energy_source energy_source;
    int32_t pruned_by;
};

/* Entries are in the order of cost, the cheapest first. */
struct profile {
    struct profile_key key;
    uint32_t n_clusters;
    uint32_t n_entries;
    struct profile_entry entries[CHOICE_MAX];
};

/* Every choice of the SoC, nothing known of any. */
void profile_init(struct profile *profile, const struct profile_key *key,
                  const struct soc *soc, uint32_t max_threads);

/* Adds one undisturbed step. mj is NaN where the energy is unknown; energy of a better
 * source replaces that of a worse one. Predictions and the frontier are made anew by
 * profile_update. */
void profile_add(struct profile *profile, size_t entry, double ms, double mj,
                 enum energy_source source);

/* Predicts what is not measured, from what is (see profile.c for the model), and
 * prunes. */
void profile_update(struct profile *profile, const struct soc *soc);

/* Whether step times alone tell the choices apart: true as soon as one is measured. */
bool profile_has_measurement(const struct profile *profile);

/* The entry of a choice; -1: none. */
int32_t profile_find(const struct profile *profile, const struct choice *choice);

/* JSON, at most 256 KiB. Errors: ENOMEM, ELIMIT. */
cygnet_status profile_write(struct bytes *out, const struct profile *profile,
                            cygnet_error *err);

/* Errors: EFORMAT (what and where), ENOTFOUND (the text is a profile of another key,
 * or of other choices), ENOMEM. After an error *out is as it was. */
cygnet_status profile_parse(struct profile *out, const void *text, size_t len,
                            const struct profile_key *key, const struct soc *soc,
                            cygnet_error *err);

#endif
