/* An execution choice: how many threads on which cluster, and how they are held
 * there. Source: Singapuram et al., "Swan", arXiv 2206.04687, where a choice is a set
 * of pinned cores. */
#ifndef ENGINE_SWAN_CHOICE_H
#define ENGINE_SWAN_CHOICE_H

#include "engine/swan/soc.h"

#define CHOICE_MAX 128             /* execution choices that are looked at on one SoC */
#define CHOICE_MAX_CORES UINT8_MAX /* threads of one cluster that a choice can count */
#define CHOICE_TEXT_BYTES 176      /* eight clusters with the longest names fit */

/* How threads are kept on their cores. */
enum placement {
    PLACEMENT_MASK, /* each thread is confined to the cores of its cluster's share */
    PLACEMENT_NONE  /* the system places them; only their number is ours */
};

/* n_cores[k]  threads on cluster k of the SoC, one a logical CPU; 0 beyond the SoC's
 *             clusters. Physical cores come first: only when every usable physical core
 *             of the cluster has a thread does one get a second, on an SMT sibling
 *             (place_choice). So up to soc_n_physical a choice is that many physical
 *             cores, above it siblings are shared */
struct choice {
    uint8_t n_cores[SOC_MAX_CLUSTERS];
};

uint32_t choice_n_threads(const struct choice *choice);

/* What it takes from the phone's user: below 0, 0, above 0 as with strcmp. A total
 * order: more cores of the most capable cluster cost more, whatever the others; equal
 * there, the next cluster decides; so fewer cores cost less. */
int choice_compare_cost(const struct choice *a, const struct choice *b);

bool choice_equal(const struct choice *a, const struct choice *b);

/* All choices of the SoC's cores, whether usable now or not, the cheapest first; at
 * most max_threads threads each, at least one. Where they are more than CHOICE_MAX, a
 * cluster is taken in powers of two, all its physical cores and all its CPUs only;
 * where those are still too many, not at all or whole; and where those are, clusters
 * that stand side by side. "Whole" is as much as max_threads and CHOICE_MAX_CORES allow.
 * out  (CHOICE_MAX) written; returns how many; 0 without a core */
size_t choice_list(struct choice out[CHOICE_MAX], const struct soc *soc,
                   uint32_t max_threads);

/* Whether as many CPUs of each cluster are usable now. */
bool choice_is_possible(const struct choice *choice, const struct soc *soc);

/* "2 big + 1 LITTLE"; "3 cores" where all are alike; "none". */
void choice_text(char out[CHOICE_TEXT_BYTES], const struct choice *choice,
                 const struct soc *soc);

#endif
