/* Vectors of LANES numbers, for the kernels that are compiled once per class of
 * CPU: LANES is 1 (the reference, float or double), 4 (SSE2, NEON), 8 (AVX2 with
 * FMA) or 16 (AVX-512). The build says which (engine/nn/meson.build). Include in
 * kernels_*.c only. */
#ifndef ENGINE_NN_VEC_H
#define ENGINE_NN_VEC_H

#include "engine/nn/layout.h"
#include "engine/nn/real.h"

#include <math.h>
#include <stddef.h>

#if LANES == 16
#include <immintrin.h>
#elif LANES == 8
#include <immintrin.h>
#elif LANES == 4 && defined(__SSE2__)
#include <emmintrin.h>
#elif LANES == 4 && defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#define ALWAYS_INLINE static inline __attribute__((always_inline))

#if LANES == 1
typedef real vec;
typedef real vec_loose;
#else
/* Compilers let them alias their elements. */
typedef real vec __attribute__((vector_size(LANES * sizeof(real))));
/* The same at any address. */
typedef real vec_loose
    __attribute__((vector_size(LANES * sizeof(real)), aligned(sizeof(real))));
#endif

/* Sanitizers make much of unrolled code: compiling all of its variants would take them
 * minutes. Fewer sizes are unrolled there; the rest takes the general path. */
#if defined(__SANITIZE_ADDRESS__)
#define FEW_VARIANTS 1
#else
#define FEW_VARIANTS 0
#endif

/* Vectors of one panel. */
enum { PANEL_VECS = PANEL / LANES };

ALWAYS_INLINE vec vec_load(const real *p)
{
    return *(const vec_loose *)p;
}

ALWAYS_INLINE void vec_store(real *p, vec v)
{
    *(vec_loose *)p = v;
}

#if LANES == 16
ALWAYS_INLINE vec vec_splat(real x)
{
    return _mm512_set1_ps(x);
}
ALWAYS_INLINE vec vec_fma(vec a, vec b, vec c)
{
    return _mm512_fmadd_ps(a, b, c);
}
/* The larger; a NaN in b stays. */
ALWAYS_INLINE vec vec_max(vec a, vec b)
{
    return _mm512_max_ps(a, b);
}
ALWAYS_INLINE vec vec_min(vec a, vec b)
{
    return _mm512_min_ps(a, b);
}
/* v where a < b, else 0. */
ALWAYS_INLINE vec vec_if_less(vec a, vec b, vec v)
{
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), v);
}
#elif LANES == 8
ALWAYS_INLINE vec vec_splat(real x)
{
    return _mm256_set1_ps(x);
}
ALWAYS_INLINE vec vec_fma(vec a, vec b, vec c)
{
    return _mm256_fmadd_ps(a, b, c);
}
ALWAYS_INLINE vec vec_max(vec a, vec b)
{
    return _mm256_max_ps(a, b);
}
ALWAYS_INLINE vec vec_min(vec a, vec b)
{
    return _mm256_min_ps(a, b);
}
ALWAYS_INLINE vec vec_if_less(vec a, vec b, vec v)
{
    return _mm256_and_ps(_mm256_cmp_ps(a, b, _CMP_LT_OQ), v);
}
#elif LANES == 4 && defined(__SSE2__)
ALWAYS_INLINE vec vec_splat(real x)
{
    return _mm_set1_ps(x);
}
ALWAYS_INLINE vec vec_fma(vec a, vec b, vec c)
{
    return a * b + c;
}
ALWAYS_INLINE vec vec_max(vec a, vec b)
{
    return _mm_max_ps(a, b);
}
ALWAYS_INLINE vec vec_min(vec a, vec b)
{
    return _mm_min_ps(a, b);
}
ALWAYS_INLINE vec vec_if_less(vec a, vec b, vec v)
{
    return _mm_and_ps(_mm_cmplt_ps(a, b), v);
}
#elif LANES == 4 && defined(__ARM_NEON)
ALWAYS_INLINE vec vec_splat(real x)
{
    return vdupq_n_f32(x);
}
ALWAYS_INLINE vec vec_fma(vec a, vec b, vec c)
{
    return vfmaq_f32(c, a, b);
}
ALWAYS_INLINE vec vec_max(vec a, vec b)
{
    return vmaxq_f32(a, b);
}
ALWAYS_INLINE vec vec_min(vec a, vec b)
{
    return vminq_f32(a, b);
}
ALWAYS_INLINE vec vec_if_less(vec a, vec b, vec v)
{
    return vreinterpretq_f32_u32(vandq_u32(vcltq_f32(a, b), vreinterpretq_u32_f32(v)));
}
#elif LANES == 1
ALWAYS_INLINE vec vec_splat(real x)
{
    return x;
}
ALWAYS_INLINE vec vec_fma(vec a, vec b, vec c)
{
    return a * b + c;
}
ALWAYS_INLINE vec vec_max(vec a, vec b)
{
    return a > b ? a : b;
}
ALWAYS_INLINE vec vec_min(vec a, vec b)
{
    return a < b ? a : b;
}
ALWAYS_INLINE vec vec_if_less(vec a, vec b, vec v)
{
    return a < b ? v : 0;
}
#else
#error "no vectors of this many lanes on this machine"
#endif

ALWAYS_INLINE vec vec_zero(void)
{
    return vec_splat(0);
}

/* A function of one number, lane by lane. */
ALWAYS_INLINE vec vec_map(vec v, real (*f)(real))
{
#if LANES == 1
    return f(v);
#else
    for (size_t l = 0; l < LANES; l++)
        v[l] = f(v[l]);
    return v;
#endif
}

/* to[lane] += v[lane] */
ALWAYS_INLINE void vec_add_to_doubles(double *to, vec v)
{
#if LANES == 1
    to[0] += (double)v;
#elif LANES == 16
    __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(v));
    __m512d high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));

    _mm512_storeu_pd(to, _mm512_add_pd(_mm512_loadu_pd(to), low));
    _mm512_storeu_pd(to + 8, _mm512_add_pd(_mm512_loadu_pd(to + 8), high));
#elif LANES == 8
    __m256d low = _mm256_cvtps_pd(_mm256_castps256_ps128(v));
    __m256d high = _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));

    _mm256_storeu_pd(to, _mm256_add_pd(_mm256_loadu_pd(to), low));
    _mm256_storeu_pd(to + 4, _mm256_add_pd(_mm256_loadu_pd(to + 4), high));
#else
    for (size_t l = 0; l < LANES; l++)
        to[l] += (double)v[l];
#endif
}

#endif
