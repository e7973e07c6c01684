/* See profile_fixture.h. */
#include "profile_fixture.h"

#include <math.h>

const struct profile_key FIXTURE_KEY = {"lenet5 16x1x28x28", "phone", "0.1.0 avx2"};

struct soc make_phone(void)
{
    static const uint32_t capacities[] = {1024, 870, 300};
    struct soc soc = make_soc((const uint32_t[]){1, 3, 4}, 3, 1);

    for (size_t k = 0; k < 3; k++)
        soc.clusters[k].capacity = capacities[k];
    for (size_t i = 0; i < soc.n_cores; i++)
        soc.cores[i].capacity = capacities[soc.cores[i].cluster];
    return soc;
}

/* Spread over two decades; now and then equal to another, which is where rules about
 * ties show. */
static double draw_amount(struct rng *rng)
{
    if (rng_below(rng, 4) == 0)
        return 10 * (double)(1 + rng_below(rng, 4));
    return exp(log(100) * rng_uniform(rng));
}

void draw_profile(struct profile *out, const struct soc *soc, struct rng *rng)
{
    uint64_t share = rng_below(rng, 5);    /* quarters of the entries */
    uint64_t energies = rng_below(rng, 3); /* none, some, all of the measured */

    profile_init(out, &FIXTURE_KEY, soc, 1 + (uint32_t)rng_below(rng, 16));
    for (size_t i = 0; i < out->n_entries; i++) {
        double ms = draw_amount(rng), mj = draw_amount(rng);
        uint64_t n = 1 + rng_below(rng, 6);

        if (rng_below(rng, 4) >= share)
            continue;
        if (rng_below(rng, 2) >= energies)
            mj = NAN;
        for (uint64_t j = 0; j < n; j++)
            profile_add(out, i, ms * (1 + 0.1 * rng_uniform(rng)), mj, ENERGY_MODEL);
    }
    profile_update(out);
}

void draw_revocation(struct soc *soc, struct rng *rng)
{
    size_t stays = rng_below(rng, soc->n_cores);
    uint64_t gone = rng_below(rng, 4);

    for (size_t i = 0; i < soc->n_cores; i++) {
        if (i != stays && rng_below(rng, 4) < gone)
            soc->cores[i].allowed = false;
    }
}

size_t entry_of(const struct profile *profile, uint8_t n0, uint8_t n1, uint8_t n2)
{
    const struct choice choice = {{n0, n1, n2}};
    int32_t found = profile_find(profile, &choice);

    assert_true(found >= 0);
    return (size_t)found;
}
