/* The programs' seeded generator: SplitMix64 (Steele, Lea, Flood 2014). For
 * splits and partitions, not for secrets. The same seed and stream give the same
 * numbers in every process. */
#ifndef PROGRAMS_RANDOM_H
#define PROGRAMS_RANDOM_H

#include <stdint.h>

struct random {
    uint64_t state;
};

/* Starts stream number `stream` of `seed`. */
void random_init(struct random *random, uint64_t seed, uint64_t stream);

uint64_t random_u64(struct random *random);

/* Uniform in (0, 1): never 0, never 1. */
double random_unit(struct random *random);

/* Uniform in 0..n-1 without bias; n > 0. */
uint32_t random_below(struct random *random, uint32_t n);

/* Gamma(shape, 1), shape > 0, as its natural logarithm, which does not underflow
 * for small shapes. Source: Marsaglia and Tsang, "A simple method for generating
 * gamma variables", 2000; for shape < 1 the boost of its section 6. */
double random_log_gamma(struct random *random, double shape);

/* Fisher-Yates. */
void random_shuffle(struct random *random, uint32_t *values, uint32_t n);

#endif
