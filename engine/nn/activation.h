/* The elementwise functions and their derivatives, on vectors (kernels.h has the
 * formulas). Constant `act` makes them branchless. Include in kernels_*.c only. */
#ifndef ENGINE_NN_ACTIVATION_H
#define ENGINE_NN_ACTIVATION_H

#include "engine/nn/kernels.h"
#include "engine/nn/vec.h"
#include "engine/nn/vec_math.h"

#ifdef NN_DOUBLE
#define REAL_ERF erf
#else
#define REAL_ERF erff
#endif

/* Source: Hendrycks and Gimpel, arXiv 1606.08415: v Phi(v). */
static inline real gelu_of(real v)
{
    return v * (real)0.5 * (1 + REAL_ERF(v * (real)0.70710678118654752440));
}

static inline real gelu_slope(real v)
{
    real phi = (real)0.39894228040143267794 * REAL_EXP(-v * v / 2);

    return (real)0.5 * (1 + REAL_ERF(v * (real)0.70710678118654752440)) + v * phi;
}

/* min(max(v + 3, 0), 6) */
ALWAYS_INLINE vec clipped(vec v)
{
    return vec_min(vec_splat(6), vec_max(vec_zero(), v + vec_splat(3)));
}

ALWAYS_INLINE vec act_value(vec v, enum activation act)
{
    switch (act) {
    case ACT_RELU:
        return vec_max(vec_zero(), v);
    case ACT_RELU6:
        return vec_min(vec_splat(6), vec_max(vec_zero(), v));
    case ACT_HARDSWISH:
        return v * clipped(v) * vec_splat((real)(1.0 / 6));
    case ACT_HARDSIGMOID:
        return clipped(v) * vec_splat((real)(1.0 / 6));
    case ACT_SILU:
        return v * vec_sigmoid(v);
    case ACT_SIGMOID:
        return vec_sigmoid(v);
    case ACT_TANH:
        return vec_tanh(v);
    case ACT_GELU:
        return vec_map(v, gelu_of);
    default:
        return v;
    }
}

/* g inside (low, high), else 0 */
ALWAYS_INLINE vec gate(vec g, vec v, real low, real high)
{
    return vec_if_less(vec_splat(low), v, vec_if_less(v, vec_splat(high), g));
}

ALWAYS_INLINE vec silu_slope(vec v)
{
    vec s = vec_sigmoid(v);

    return s * vec_fma(v, vec_splat(1) - s, vec_splat(1));
}

ALWAYS_INLINE vec sigmoid_slope(vec v)
{
    vec s = vec_sigmoid(v);

    return s * (vec_splat(1) - s);
}

ALWAYS_INLINE vec tanh_slope(vec v)
{
    vec t = vec_tanh(v);

    return vec_fma(-t, t, vec_splat(1));
}

/* g act'(v) */
ALWAYS_INLINE vec act_gradient(vec g, vec v, enum activation act)
{
    switch (act) {
    case ACT_RELU:
        return vec_if_less(vec_zero(), v, g);
    case ACT_RELU6:
        return gate(g, v, 0, 6);
    case ACT_HARDSWISH: {
        vec slope = vec_fma(v, vec_splat((real)(1.0 / 3)), vec_splat((real)0.5));

        return gate(g * slope, v, -3, 3) + vec_if_less(vec_splat(3), v, g);
    }
    case ACT_HARDSIGMOID:
        return gate(g * vec_splat((real)(1.0 / 6)), v, -3, 3);
    case ACT_SILU:
        return g * silu_slope(v);
    case ACT_SIGMOID:
        return g * sigmoid_slope(v);
    case ACT_TANH:
        return g * tanh_slope(v);
    case ACT_GELU:
        return g * vec_map(v, gelu_slope);
    default:
        return g;
    }
}

/* Calls f(args, act) with a constant act. */
#define ACT_SWITCH(act, f, ...)                                                          \
    switch (act) {                                                                       \
    case ACT_NONE:                                                                       \
        f(__VA_ARGS__, ACT_NONE);                                                        \
        break;                                                                           \
    case ACT_RELU:                                                                       \
        f(__VA_ARGS__, ACT_RELU);                                                        \
        break;                                                                           \
    case ACT_RELU6:                                                                      \
        f(__VA_ARGS__, ACT_RELU6);                                                       \
        break;                                                                           \
    case ACT_HARDSWISH:                                                                  \
        f(__VA_ARGS__, ACT_HARDSWISH);                                                   \
        break;                                                                           \
    default:                                                                             \
        f(__VA_ARGS__, act);                                                             \
        break;                                                                           \
    }

#endif
