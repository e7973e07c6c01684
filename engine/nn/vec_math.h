/* exp, sigmoid and tanh of vectors. Vectors of one number, the reference, use the C
 * library's. Errors of the others are below 3 units in the last place; NaN stays NaN.
 * Include in kernels_*.c only.
 *
 * Sources: exp(v) = 2^n exp(r) with |r| <= ln 2 / 2, ln 2 in two parts (Cody and Waite,
 * "Software manual for the elementary functions", 1980), exp(r) its Taylor series;
 * tanh near 0 its continued fraction (Lambert, 1761), cut after five terms. */
#ifndef ENGINE_NN_VEC_MATH_H
#define ENGINE_NN_VEC_MATH_H

#include "engine/nn/vec.h"

#include <stdint.h>

#ifdef NN_DOUBLE
#define REAL_EXP exp
#define REAL_TANH tanh
#else
#define REAL_EXP expf
#define REAL_TANH tanhf
#endif

static inline real sigmoid_of(real v)
{
    return 1 / (1 + REAL_EXP(-v));
}

static inline real tanh_of(real v)
{
    return REAL_TANH(v);
}

#if LANES == 1

ALWAYS_INLINE vec vec_sigmoid(vec v)
{
    return sigmoid_of(v);
}

ALWAYS_INLINE vec vec_tanh(vec v)
{
    return tanh_of(v);
}

#else

typedef int32_t vec_bits __attribute__((vector_size(LANES * sizeof(int32_t)), may_alias));

/* Of numbers within +-87. */
ALWAYS_INLINE vec vec_exp(vec v)
{
    const real round = 12582912; /* 1.5 2^23: adding it rounds to an integer */
    vec shifted, n, r, p;
    vec_bits power;

    v = vec_min(vec_splat(87), vec_max(vec_splat(-87), v));
    shifted = vec_fma(v, vec_splat((real)1.44269504088896340736), vec_splat(round));
    n = shifted - vec_splat(round);
    r = vec_fma(n, vec_splat((real)-0.693359375), v);
    r = vec_fma(n, vec_splat((real)2.12194440054690583e-4), r);
    p = vec_splat((real)(1.0 / 5040));
    p = vec_fma(p, r, vec_splat((real)(1.0 / 720)));
    p = vec_fma(p, r, vec_splat((real)(1.0 / 120)));
    p = vec_fma(p, r, vec_splat((real)(1.0 / 24)));
    p = vec_fma(p, r, vec_splat((real)(1.0 / 6)));
    p = vec_fma(p, r, vec_splat((real)0.5));
    p = vec_fma(p, r * r, r) + vec_splat(1);
    power = ((vec_bits)shifted << 23) + (127 << 23); /* the integer is in the last bits */
    return p * (vec)power;
}

ALWAYS_INLINE vec vec_sigmoid(vec v)
{
    return vec_splat(1) / (vec_splat(1) + vec_exp(-v));
}

/* |v| < 5/8: v (1 + x/105 (...)) as a fraction in x = v^2; beyond, by exp. */
ALWAYS_INLINE vec vec_tanh(vec v)
{
    vec x = v * v, size = vec_max(v, -v), near, far, sign;
    vec top = vec_fma(vec_fma(vec_splat(1), x, vec_splat(105)), x, vec_splat(945));
    vec bottom = vec_fma(vec_fma(vec_splat(15), x, vec_splat(420)), x, vec_splat(945));

    near = v * top / bottom;
    far = vec_splat(1) - vec_splat(2) / (vec_splat(1) + vec_exp(size + size));
    sign = vec_if_less(v, vec_zero(), vec_splat(-2)) + vec_splat(1);
    near = vec_if_less(size, vec_splat((real)0.625), near);
    far = far - vec_if_less(size, vec_splat((real)0.625), far);
    return near + sign * far;
}

#endif

#endif
