/* Philox4x32-10 and the distributions drawn from it. */
#include "base/rng.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#define ROUNDS 10
#define MULTIPLIER_0 0xD2511F53u
#define MULTIPLIER_1 0xCD9E8D57u
#define WEYL_0 0x9E3779B9u
#define WEYL_1 0xBB67AE85u
#define TWO_PI 6.283185307179586476925286766559

static void one_round(uint32_t c[4], uint32_t key_0, uint32_t key_1)
{
    uint64_t p0 = (uint64_t)MULTIPLIER_0 * c[0];
    uint64_t p1 = (uint64_t)MULTIPLIER_1 * c[2];
    uint32_t c1 = c[1];
    uint32_t c3 = c[3];

    c[0] = (uint32_t)(p1 >> 32) ^ c1 ^ key_0;
    c[1] = (uint32_t)p1;
    c[2] = (uint32_t)(p0 >> 32) ^ c3 ^ key_1;
    c[3] = (uint32_t)p0;
}

void philox4x32(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2])
{
    uint32_t key_0 = key[0];
    uint32_t key_1 = key[1];
    uint32_t c[4];

    memcpy(c, counter, sizeof(c));
    for (int i = 0; i < ROUNDS; i++) {
        one_round(c, key_0, key_1);
        key_0 += WEYL_0;
        key_1 += WEYL_1;
    }
    memcpy(out, c, sizeof(c));
}

/* FNV-1a, 64 bits, of the name and then of the index's bytes. */
static uint64_t stream_hash(const char *name, uint64_t index)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * 0x100000001b3u;
    for (int i = 0; i < 8; i++)
        h = (h ^ (index >> 8 * i & 0xff)) * 0x100000001b3u;
    return h;
}

void rng_init(struct rng *rng, uint64_t seed, const char *name, uint64_t index)
{
    uint64_t stream = stream_hash(name, index);

    memset(rng, 0, sizeof(*rng));
    rng->key[0] = (uint32_t)seed;
    rng->key[1] = (uint32_t)(seed >> 32);
    rng->counter[2] = (uint32_t)stream;
    rng->counter[3] = (uint32_t)(stream >> 32);
    rng->used = 4;
}

uint32_t rng_u32(struct rng *rng)
{
    if (rng->used == 4) {
        philox4x32(rng->block, rng->counter, rng->key);
        if (++rng->counter[0] == 0)
            rng->counter[1]++;
        rng->used = 0;
    }
    return rng->block[rng->used++];
}

uint64_t rng_u64(struct rng *rng)
{
    uint64_t low = rng_u32(rng);

    return low | (uint64_t)rng_u32(rng) << 32;
}

double rng_uniform(struct rng *rng)
{
    return (double)(rng_u64(rng) >> 11) * 0x1p-53;
}

float rng_uniform_f32(struct rng *rng)
{
    return (float)(rng_u32(rng) >> 8) * 0x1p-24f;
}

double rng_normal(struct rng *rng)
{
    double radius = sqrt(-2.0 * log(1.0 - rng_uniform(rng)));

    return radius * cos(TWO_PI * rng_uniform(rng));
}

/* Draws that fall into the last, incomplete copy of [0, n) are thrown away. */
uint64_t rng_below(struct rng *rng, uint64_t n)
{
    uint64_t limit;
    uint64_t draw;

    assert(n > 0);
    limit = UINT64_MAX - UINT64_MAX % n;
    do
        draw = rng_u64(rng);
    while (draw >= limit);
    return draw % n;
}

void rng_shuffle(struct rng *rng, uint64_t *items, size_t n)
{
    for (size_t i = n; i > 1; i--) {
        size_t j = (size_t)rng_below(rng, i);
        uint64_t item = items[i - 1];

        items[i - 1] = items[j];
        items[j] = item;
    }
}

/* Source: Marsaglia, Tsang, "A simple method for generating gamma variables",
 * ACM TOMS 26(3), 2000; shapes below 1 by their boosting identity. */
double rng_gamma(struct rng *rng, double shape)
{
    double d;
    double c;

    assert(shape > 0);
    if (shape < 1)
        return rng_gamma(rng, shape + 1) * pow(1.0 - rng_uniform(rng), 1 / shape);
    d = shape - 1.0 / 3;
    c = 1 / sqrt(9 * d);
    for (;;) {
        double x = rng_normal(rng);
        double v = 1 + c * x;

        if (v <= 0)
            continue;
        v = v * v * v;
        if (log(1.0 - rng_uniform(rng)) < 0.5 * x * x + d - d * v + d * log(v))
            return d * v;
    }
}
