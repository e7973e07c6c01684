/* The profile: what each execution choice takes for one step of one model on one
 * SoC, measured or predicted. Plain data and pure functions: no clock, no files, no
 * threads.
 *
 * Source: Swan, arXiv 2206.04687, section 4 (profiles and pruning); predictions are
 * ours (predict.h). */
#ifndef ENGINE_SWAN_PROFILE_H
#define ENGINE_SWAN_PROFILE_H

#include "base/bytes.h"
#include "base/json.h"
#include "engine/swan/choice.h"
#include "engine/swan/energy_source.h"

#define PROFILE_KEY_BYTES 65
#define PROFILE_SAMPLES 16       /* steps that a median is taken over; the newest */
#define PROFILE_MAX_BYTES 262144 /* of its JSON */

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

/* Readings of the energy of a step, in mJ, all of one source; the newest count most
 * (a running mean over PROFILE_SAMPLES of them). n  0: none */
struct profile_energy {
    double mean;
    double variance;
    uint64_t n;
    enum energy_source source;
};

/* What exploring has cost, over all rounds (explore.h).
 *
 * n_steps  undisturbed steps
 * n_lost   what tries have taken beyond the policy's choice, in steps of that */
struct profile_explored {
    uint64_t n_steps;
    double n_lost;
};

/* samples        the newest undisturbed step times in ms, n_samples of them, the
 *                oldest first
 * n_measured     all steps that went into this entry; 0: step_ms is predicted
 * step_ms        median of the samples (of two the faster), or the prediction; NaN:
 *                neither
 * spread_ms      half the distance of the quartiles, of the samples (of four and
 *                more) or of what the prediction may be; NaN: unknown
 * model_ms       what the model of all that is measured says of this entry, measured or
 *                not; NaN: nothing is measured
 * model_sd       how far that is uncertain, as a fraction (one standard deviation)
 * measured       energy as it was read
 * step_mj        marginal energy of a step, (P - P_idle) t, in mJ; NaN: unknown
 * spread_mj      its uncertainty (one standard deviation); NaN: unknown
 * energy_source  of step_mj; a prediction has that of the readings it is made from
 * energy_is_measured  step_mj was read for this entry, not predicted
 * pruned_by      index of the entry that is at least as good in cost, latency and
 *                energy and better in one; -1: on the frontier */
struct profile_entry {
    struct choice choice;
    double samples[PROFILE_SAMPLES];
    uint32_t n_samples;
    uint64_t n_measured;
    double step_ms;
    double spread_ms;
    double model_ms;
    double model_sd;
    struct profile_energy measured;
    double step_mj;
    double spread_mj;
    enum energy_source energy_source;
    bool energy_is_measured;
    int32_t pruned_by;
};

/* Entries are in the order of cost, the cheapest first. Clusters are those of the SoC:
 * their names and capacities are what entries are printed and predicted with. */
struct profile {
    struct profile_key key;
    uint32_t n_clusters;
    uint32_t n_entries;
    struct soc_cluster clusters[SOC_MAX_CLUSTERS];
    struct profile_explored explored;
    struct profile_entry entries[CHOICE_MAX];
};

/* Every choice of the SoC, nothing known of any. */
void profile_init(struct profile *profile, const struct profile_key *key,
                  const struct soc *soc, uint32_t max_threads);

/* Adds one undisturbed step; a time that is not finite and above 0 is ignored. mj is
 * NaN where the energy is unknown; energy of a better source (in the order of enum
 * energy_source) replaces that of a worse one, and that of a worse one is ignored.
 * Predictions and the frontier are made anew by profile_update. */
void profile_add(struct profile *profile, size_t entry, double ms, double mj,
                 enum energy_source source);

/* Predicts what is not measured, from what is (see predict.h for the model), and
 * prunes. Energy: only readings of the best source that occurs count; entries that
 * have none of it are predicted from those that have. */
void profile_update(struct profile *profile);

/* Whether the energy of an entry's step was read from that source. A mean that is not
 * above 0 is a reading of noise, and none. */
bool profile_energy_is_read(const struct profile_entry *entry, enum energy_source source);

/* Whether step times alone tell the choices apart: true as soon as one is measured. */
bool profile_has_measurement(const struct profile *profile);

/* The pruning rule: a costs no more than b, is no slower and takes no more energy, and
 * is better in one. Costs of unlike choices always differ, so one of two equal entries
 * stays: the cheaper. A step time that is unknown is better and worse than nothing.
 * Energy that is unknown of both is left out; known of one only, neither prunes the
 * other: unknown energy never prunes on energy. */
bool profile_dominates(const struct profile_entry *a, const struct profile_entry *b);

/* The entry of a choice; -1: none. */
int32_t profile_find(const struct profile *profile, const struct choice *choice);

/* "2 big + 1 LITTLE". */
void profile_choice_text(char out[CHOICE_TEXT_BYTES], const struct profile *profile,
                         size_t entry);

/* JSON, at most PROFILE_MAX_BYTES. Errors: ENOMEM, ELIMIT. */
cygnet_status profile_write(struct bytes *out, const struct profile *profile,
                            cygnet_error *err);

/* Reads what profile_write wrote into an initialised profile (profile_init), whose key
 * and choices say what the text has to be of; then updates it.
 * Errors: EFORMAT (what and where), ENOTFOUND (the text is a profile of another model,
 * SoC or engine, of other choices, or of another version of the format), ELIMIT, ENOMEM.
 * After an error *profile is as it was. */
cygnet_status profile_parse(struct profile *profile, const void *text, size_t len,
                            const cygnet_allocator *alloc, cygnet_error *err);

/* The same for a text of any key: what tools print. *out need not be initialised, and
 * makes no sense after an error. */
cygnet_status profile_read(struct profile *out, const void *text, size_t len,
                           cygnet_error *err);
cygnet_status profile_read_value(struct profile *out, const struct json *value,
                                 cygnet_error *err);

/* The clusters of the profile as a SoC whose cores are all usable. */
void profile_soc(struct soc *out, const struct profile *profile);

#endif
