/* Execution choices: their order, their list, their cores. */
#include "engine/swan/choice.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* How many cores of a cluster the listed choices take: n steps, ascending from 0. */
struct steps {
    uint32_t n;
    uint8_t at[CHOICE_MAX_CORES + 1];
};

/* How far the list is thinned. */
enum thinning { EVERY_COUNT, POWERS_OF_TWO, NONE_OR_WHOLE, SIDE_BY_SIDE, N_THINNINGS };

uint32_t choice_n_threads(const struct choice *choice)
{
    uint32_t n = 0;

    for (size_t k = 0; k < SOC_MAX_CLUSTERS; k++)
        n += choice->n_cores[k];
    return n;
}

int choice_compare_cost(const struct choice *a, const struct choice *b)
{
    return memcmp(a->n_cores, b->n_cores, sizeof(a->n_cores));
}

bool choice_equal(const struct choice *a, const struct choice *b)
{
    return choice_compare_cost(a, b) == 0;
}

static bool takes(enum thinning thinning, uint32_t n, uint32_t n_physical, uint32_t whole)
{
    if (n == 0 || n == whole || thinning == EVERY_COUNT)
        return true;
    return thinning == POWERS_OF_TWO && ((n & (n - 1)) == 0 || n == n_physical);
}

static void list_steps(struct steps *out, const struct soc *soc, uint32_t cluster,
                       uint32_t max_threads, enum thinning thinning)
{
    uint32_t n_physical = soc_n_physical(soc, cluster);
    uint32_t whole = soc->clusters[cluster].n_cores;

    whole = whole < max_threads ? whole : max_threads;
    whole = whole < CHOICE_MAX_CORES ? whole : CHOICE_MAX_CORES;
    out->n = 0;
    for (uint32_t n = 0; n <= whole; n++) {
        if (takes(thinning, n, n_physical, whole))
            out->at[out->n++] = (uint8_t)n;
    }
}

/* Whether the clusters in use stand side by side. */
static bool is_one_run(const struct choice *choice, uint32_t n_clusters)
{
    uint32_t n_runs = 0;

    for (uint32_t k = 0; k < n_clusters; k++)
        n_runs += choice->n_cores[k] > 0 && (k == 0 || choice->n_cores[k - 1] == 0);
    return n_runs == 1;
}

/* The next combination in the order of cost: the last cluster turns fastest. False:
 * it was the last one. */
static bool advance(uint32_t place[SOC_MAX_CLUSTERS], const struct steps *steps,
                    uint32_t n_clusters)
{
    for (uint32_t k = n_clusters; k-- > 0;) {
        if (++place[k] < steps[k].n)
            return true;
        place[k] = 0;
    }
    return false;
}

/* Returns how many there are, CHOICE_MAX + 1 standing for all above. */
static size_t list_thinned(struct choice out[CHOICE_MAX], const struct soc *soc,
                           uint32_t max_threads, enum thinning thinning)
{
    struct steps steps[SOC_MAX_CLUSTERS];
    uint32_t place[SOC_MAX_CLUSTERS] = {0};
    size_t n = 0;

    for (uint32_t k = 0; k < soc->n_clusters; k++)
        list_steps(&steps[k], soc, k, max_threads, thinning);
    while (n <= CHOICE_MAX && advance(place, steps, soc->n_clusters)) {
        struct choice choice = {{0}};

        for (uint32_t k = 0; k < soc->n_clusters; k++)
            choice.n_cores[k] = steps[k].at[place[k]];
        if (choice_n_threads(&choice) > max_threads ||
            (thinning == SIDE_BY_SIDE && !is_one_run(&choice, soc->n_clusters)))
            continue;
        if (n < CHOICE_MAX)
            out[n] = choice;
        n++;
    }
    return n;
}

size_t choice_list(struct choice out[CHOICE_MAX], const struct soc *soc,
                   uint32_t max_threads)
{
    size_t n = CHOICE_MAX + 1;

    for (int thinning = EVERY_COUNT; thinning < N_THINNINGS && n > CHOICE_MAX; thinning++)
        n = list_thinned(out, soc, max_threads, (enum thinning)thinning);
    assert(n <= CHOICE_MAX); /* eight clusters have 36 runs */
    return n;
}

bool choice_is_possible(const struct choice *choice, const struct soc *soc)
{
    for (uint32_t k = 0; k < SOC_MAX_CLUSTERS; k++) {
        uint32_t n_usable = k < soc->n_clusters ? soc_n_usable(soc, k) : 0;

        if (choice->n_cores[k] > n_usable)
            return false;
    }
    return true;
}

void choice_text(char out[CHOICE_TEXT_BYTES], const struct choice *choice,
                 const struct soc *soc)
{
    size_t used = 0;

    (void)snprintf(out, CHOICE_TEXT_BYTES, "none");
    for (uint32_t k = 0; k < soc->n_clusters; k++) {
        unsigned n = choice->n_cores[k];
        const char *name = soc->clusters[k].name;

        if (n == 0)
            continue;
        if (soc->n_clusters == 1)
            name = n == 1 ? "core" : "cores";
        used += (size_t)snprintf(out + used, CHOICE_TEXT_BYTES - used, "%s%u %.*s",
                                 used > 0 ? " + " : "", n, SOC_NAME_BYTES - 1, name);
    }
}
