/* Counter-based random numbers: Philox4x32-10.
 * Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2,
 * 3", SC 2011. The state is explicit and small: it can be journalled, and stream
 * n can be reached without drawing from stream n-1. */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

struct rng {
    uint32_t key[2];
    uint32_t counter[4];
    uint32_t block[4];
    uint32_t used; /* words of block already handed out; 4: block is spent */
};

/* The block function itself. */
void philox4x32(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2]);

/* Stream `name`, `index` of a seed; different names or indices are independent.
 * The name is hashed (FNV-1a 64) into the counter's upper half with index. */
void rng_init(struct rng *rng, uint64_t seed, const char *name, uint64_t index);

uint32_t rng_u32(struct rng *rng);
uint64_t rng_u64(struct rng *rng);
double rng_uniform(struct rng *rng);             /* [0, 1), 53 bits */
float rng_uniform_f32(struct rng *rng);          /* [0, 1), 24 bits */
double rng_normal(struct rng *rng);              /* mean 0, variance 1; Box-Muller */
uint64_t rng_below(struct rng *rng, uint64_t n); /* [0, n), unbiased; n > 0 */
void rng_shuffle(struct rng *rng, uint64_t *items, size_t n); /* Fisher-Yates */
double rng_gamma(struct rng *rng, double shape); /* scale 1; Marsaglia-Tsang 2000 */

#endif
