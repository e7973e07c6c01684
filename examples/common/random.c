/* SplitMix64 and what is drawn from it. */
#include "random.h"

#include <math.h>

#define GOLDEN UINT64_C(0x9e3779b97f4a7c15)
#define TAU 6.283185307179586

static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

void random_init(struct random *random, uint64_t seed, uint64_t stream)
{
    random->state = mix(seed + GOLDEN) ^ mix(mix(stream + 1) + GOLDEN);
}

uint64_t random_u64(struct random *random)
{
    random->state += GOLDEN;
    return mix(random->state);
}

double random_unit(struct random *random)
{
    return ((double)(random_u64(random) >> 12) + 0.5) * 0x1p-52;
}

uint32_t random_below(struct random *random, uint32_t n)
{
    uint64_t limit = UINT64_MAX - UINT64_MAX % n;
    uint64_t draw;

    do
        draw = random_u64(random);
    while (draw >= limit);
    return (uint32_t)(draw % n);
}

static double normal(struct random *random)
{
    double radius = sqrt(-2.0 * log(random_unit(random)));

    return radius * cos(TAU * random_unit(random));
}

static double log_gamma_above_one(struct random *random, double shape)
{
    double d = shape - 1.0 / 3.0;
    double c = 1.0 / sqrt(9.0 * d);

    for (;;) {
        double x = normal(random);
        double v = 1.0 + c * x;
        double u = random_unit(random);

        if (v <= 0.0)
            continue;
        v = v * v * v;
        if (log(u) < 0.5 * x * x + d - d * v + d * log(v))
            return log(d) + log(v);
    }
}

double random_log_gamma(struct random *random, double shape)
{
    double boost;

    if (shape >= 1.0)
        return log_gamma_above_one(random, shape);
    boost = log(random_unit(random)) / shape;
    return log_gamma_above_one(random, shape + 1.0) + boost;
}

void random_shuffle(struct random *random, uint32_t *values, uint32_t n)
{
    for (uint32_t i = n; i > 1; i--) {
        uint32_t j = random_below(random, i);
        uint32_t kept = values[i - 1];

        values[i - 1] = values[j];
        values[j] = kept;
    }
}
