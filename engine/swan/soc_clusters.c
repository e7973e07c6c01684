/* From what the kernel tells of each core to clusters of cores that are alike. Pure. */
#include "engine/swan/soc_parts.h"

#include <stdio.h>
#include <string.h>

/* A clock cycle of a small hybrid core in thousandths of one of a large core.
 * Source: the performance scales of the two kinds in Linux, intel_pstate.c (78741 kHz
 * of a P-core are worth 100000 kHz of an E-core, Alder Lake). */
#define SMALL_CORE_PER_MILLE 787

/* Cores in the order in which they fall into clusters. */
struct order {
    uint32_t n;
    uint16_t at[SOC_MAX_CORES];
};

static bool tells(const struct core_facts *facts, bool capacity)
{
    return (capacity ? facts->capacity : facts->khz) > 0;
}

/* The core that a silent one is taken for: of its frequency domain, else the nearest
 * one below, else above. -1: all are silent. */
static int32_t find_model(const struct core_facts *facts, uint32_t n, uint32_t i,
                          bool capacity)
{
    int32_t peer = facts[i].peer;

    if (peer >= 0 && tells(&facts[peer], capacity))
        return peer;
    for (uint32_t j = i; j-- > 0;) {
        if (tells(&facts[j], capacity))
            return (int32_t)j;
    }
    for (uint32_t j = i + 1; j < n; j++) {
        if (tells(&facts[j], capacity))
            return (int32_t)j;
    }
    return -1;
}

static void fill_in(struct core_facts *facts, uint32_t n, bool capacity)
{
    int32_t models[SOC_MAX_CORES];

    for (uint32_t i = 0; i < n; i++)
        models[i] = tells(&facts[i], capacity) ? -1 : find_model(facts, n, i, capacity);
    for (uint32_t i = 0; i < n; i++) {
        const struct core_facts *model = models[i] < 0 ? NULL : &facts[models[i]];

        if (model && capacity)
            facts[i].capacity = model->capacity;
        if (model && !capacity)
            facts[i].khz = model->khz;
    }
}

/* The lists of hybrid cores name those that are online only. */
static void fill_in_kinds(const struct soc *soc, struct core_facts *facts)
{
    uint32_t n = soc->n_cores;

    for (uint32_t i = 1; i < n; i++) {
        if (facts[i].kind == KIND_UNKNOWN && !soc->cores[i].online)
            facts[i].kind = facts[i - 1].kind;
    }
    for (uint32_t i = n - 1; i > 0; i--) {
        if (facts[i - 1].kind == KIND_UNKNOWN && !soc->cores[i - 1].online)
            facts[i - 1].kind = facts[i].kind;
    }
}

static bool is_alike(uint32_t less, uint32_t more, uint32_t tolerance_percent)
{
    return (uint64_t)less * 100 >= (uint64_t)more * (100 - tolerance_percent);
}

/* Whether kinds or frequencies tell cores apart. */
static bool differ(const struct core_facts *facts, uint32_t n)
{
    uint32_t low = UINT32_MAX, high = 0;
    bool kinds = false;

    for (uint32_t i = 0; i < n; i++) {
        low = facts[i].khz < low ? facts[i].khz : low;
        high = facts[i].khz > high ? facts[i].khz : high;
        kinds = kinds || facts[i].kind != facts[0].kind;
    }
    return kinds || !is_alike(low, high, SOC_TOLERANCE_PERCENT);
}

/* Whether the kernel's capacities can be had: each online core has one, and they are
 * not all the same where cores are not (x86 with SMT, device trees that leave them
 * out). */
static bool has_capacities(const struct soc *soc, const struct core_facts *facts)
{
    uint32_t first = 0;
    bool unequal = false;

    for (uint32_t i = 0; i < soc->n_cores; i++) {
        if (facts[i].capacity == 0 && soc->cores[i].online)
            return false;
        if (facts[i].capacity == 0)
            continue;
        first = first > 0 ? first : facts[i].capacity;
        unequal = unequal || facts[i].capacity != first;
    }
    return first > 0 && (unequal || !differ(facts, soc->n_cores));
}

/* Capacities as maximal frequencies (1 of each core where none is known). */
static void make_capacities(struct core_facts *facts, uint32_t n)
{
    uint64_t speeds[SOC_MAX_CORES], fastest = 1;

    for (uint32_t i = 0; i < n; i++) {
        bool is_small = facts[i].kind == KIND_ATOM || facts[i].kind == KIND_LOW_POWER;

        speeds[i] = facts[i].khz > 0 ? facts[i].khz : 1;
        speeds[i] *= is_small ? SMALL_CORE_PER_MILLE : 1000;
        fastest = speeds[i] > fastest ? speeds[i] : fastest;
    }
    for (uint32_t i = 0; i < n; i++) {
        uint64_t capacity = speeds[i] * SOC_FULL_CAPACITY / fastest;

        facts[i].capacity = capacity > 0 ? (uint32_t)capacity : 1;
    }
}

/* Kinds apart, the more capable first, then by number. */
static bool comes_before(const struct core_facts *a, const struct core_facts *b)
{
    if (a->kind != b->kind)
        return a->kind > b->kind;
    return a->capacity > b->capacity;
}

static void sort_cores(struct order *order, const struct core_facts *facts, uint32_t n)
{
    order->n = n;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t place = i;

        for (; place > 0 && comes_before(&facts[i], &facts[order->at[place - 1]]);
             place--)
            order->at[place] = order->at[place - 1];
        order->at[place] = (uint16_t)i;
    }
}

/* Gives each core the number of a group; returns how many groups. */
static uint32_t group(uint32_t groups[SOC_MAX_CORES], const struct order *order,
                      const struct core_facts *facts, uint32_t tolerance_percent)
{
    uint32_t n_groups = 0, first = 0;

    for (uint32_t i = 0; i < order->n; i++) {
        const struct core_facts *top = &facts[order->at[first]];
        const struct core_facts *core = &facts[order->at[i]];

        if (i == 0 || core->kind != top->kind ||
            !is_alike(core->capacity, top->capacity, tolerance_percent)) {
            first = i;
            n_groups++;
        }
        groups[order->at[i]] = n_groups - 1;
    }
    return n_groups;
}

static void name_cluster(char out[SOC_NAME_BYTES], uint32_t k, uint32_t n)
{
    if (n == 1)
        (void)snprintf(out, SOC_NAME_BYTES, "all");
    else if (k == n - 1)
        (void)snprintf(out, SOC_NAME_BYTES, "LITTLE");
    else if (k == 0 && n > 2)
        (void)snprintf(out, SOC_NAME_BYTES, "prime");
    else if (n <= 3)
        (void)snprintf(out, SOC_NAME_BYTES, "big");
    else
        (void)snprintf(out, SOC_NAME_BYTES, "big%u", (unsigned)k);
}

static void add_core(struct soc_cluster *cluster, const struct core_facts *facts)
{
    cluster->n_cores++;
    if (facts->capacity > cluster->capacity)
        cluster->capacity = facts->capacity;
    if (facts->khz > cluster->max_khz)
        cluster->max_khz = facts->khz;
    if (cluster->l2_bytes == 0) {
        cluster->l2_bytes = facts->l2_bytes;
        cluster->l2_n_cpus = facts->l2_n_cpus;
    }
    if (cluster->l3_bytes == 0) {
        cluster->l3_bytes = facts->l3_bytes;
        cluster->l3_n_cpus = facts->l3_n_cpus;
    }
}

/* How many clusters of them come before: kinds may overlap in capacity. */
static uint32_t find_rank(const struct soc_cluster *clusters, uint32_t n, uint32_t k)
{
    uint32_t rank = 0;

    for (uint32_t i = 0; i < n; i++)
        rank += clusters[i].capacity > clusters[k].capacity ||
                (clusters[i].capacity == clusters[k].capacity && i < k);
    return rank;
}

static void make_clusters(struct soc *soc, const struct core_facts *facts,
                          const uint32_t *groups, uint32_t n)
{
    struct soc_cluster clusters[SOC_MAX_CLUSTERS] = {{{0}, 0, 0, 0, 0, 0, 0, 0}};
    uint32_t ranks[SOC_MAX_CLUSTERS] = {0};

    for (uint32_t i = 0; i < soc->n_cores; i++)
        add_core(&clusters[groups[i]], &facts[i]);
    soc->n_clusters = n;
    for (uint32_t k = 0; k < n; k++) {
        ranks[k] = find_rank(clusters, n, k);
        soc->clusters[ranks[k]] = clusters[k];
        name_cluster(soc->clusters[ranks[k]].name, ranks[k], n);
    }
    for (uint32_t i = 0; i < soc->n_cores; i++) {
        soc->cores[i].cluster = ranks[groups[i]];
        soc->cores[i].capacity = facts[i].capacity;
        soc->cores[i].max_khz = facts[i].khz;
    }
}

void soc_make_clusters(struct soc *soc, struct core_facts facts[SOC_MAX_CORES])
{
    uint32_t groups[SOC_MAX_CORES] = {0}, n, tolerance = SOC_TOLERANCE_PERCENT;
    struct order order;

    fill_in(facts, soc->n_cores, false);
    fill_in_kinds(soc, facts);
    if (has_capacities(soc, facts))
        fill_in(facts, soc->n_cores, true);
    else
        make_capacities(facts, soc->n_cores);
    sort_cores(&order, facts, soc->n_cores);
    /* More steps than there is room for: a coarser look. At 100 % only kinds differ. */
    while ((n = group(groups, &order, facts, tolerance)) > SOC_MAX_CLUSTERS)
        tolerance = tolerance < 50 ? tolerance * 2 : 100;
    make_clusters(soc, facts, groups, n);
}
