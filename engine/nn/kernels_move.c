/* Moves of channels: a panel of rows put together from lanes of other panels. */
#include "engine/nn/activation.h"
#include "engine/nn/kernels_class.h"

/* How the lanes of a vector are picked, worked out once for all rows. */
#if LANES == 16
struct pick {
    __m512i index;
    __mmask16 mask;
};

ALWAYS_INLINE struct pick pick_of(const int8_t *lane)
{
    struct pick p = {_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)lane)), 0};

    p.mask = _mm512_cmpge_epi32_mask(p.index, _mm512_setzero_si512());
    return p;
}

ALWAYS_INLINE void pick_lanes(vec *to, const struct pick *p, const real *from)
{
    *to = _mm512_mask_permutexvar_ps(*to, p->mask, p->index, vec_load(from));
}
#elif LANES == 8
struct pick {
    __m256i index[2];
    __m256 mask[2][2]; /* of each half of the panel, from each half */
};

ALWAYS_INLINE struct pick pick_of(const int8_t *lane)
{
    const __m256i seven = _mm256_set1_epi32(7), none = _mm256_set1_epi32(-1);
    struct pick p;

    for (size_t to = 0; to < 2; to++) {
        __m256i i =
            _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(lane + 8 * to)));
        __m256i high = _mm256_cmpgt_epi32(i, seven);

        p.index[to] = _mm256_and_si256(i, seven);
        p.mask[to][1] = _mm256_castsi256_ps(high);
        p.mask[to][0] =
            _mm256_castsi256_ps(_mm256_andnot_si256(high, _mm256_cmpgt_epi32(i, none)));
    }
    return p;
}

ALWAYS_INLINE void pick_lanes(vec *to, const struct pick *p, const real *from)
{
    for (size_t half = 0; half < 2; half++) {
        __m256 v = vec_load(from + 8 * half);

        for (size_t i = 0; i < 2; i++)
            to[i] = _mm256_blendv_ps(to[i], _mm256_permutevar8x32_ps(v, p->index[i]),
                                     p->mask[i][half]);
    }
}
#else
struct pick {
    int8_t to[PANEL], from[PANEL];
    size_t n;
};

ALWAYS_INLINE struct pick pick_of(const int8_t *lane)
{
    struct pick p;

    p.n = 0;
    for (size_t l = 0; l < PANEL; l++) {
        p.to[p.n] = (int8_t)l;
        p.from[p.n] = lane[l];
        p.n += lane[l] >= 0 ? 1 : 0;
    }
    return p;
}

ALWAYS_INLINE void pick_lanes(vec *to, const struct pick *p, const real *from)
{
    real *lanes = (real *)to;

    for (size_t i = 0; i < p->n; i++)
        lanes[p->to[i]] = from[p->from[i]];
}
#endif

/* AHEAD: rows; a panel of each lies too far apart for the hardware to see a stream. */
enum { ROWS_AT_ONCE = LANES == 16 ? 4 : 1, AHEAD = 32 };

/* Rows [row, row + rows), which share what is known of the pieces. */
ALWAYS_INLINE void move_group(real *y, size_t y_pitch, const struct moved *from,
                              const struct pick *pick, size_t n,
                              const struct reading *reading, size_t row, size_t rows)
{
    vec v[ROWS_AT_ONCE][PANEL_VECS];

#pragma GCC unroll 4
    for (size_t r = 0; r < rows; r++) {
        for (size_t j = 0; j < PANEL_VECS; j++)
            v[r][j] = vec_zero();
    }
    for (size_t i = 0; i < n; i++) {
        const real *at = from[i].from + row * from[i].pitch;

#pragma GCC unroll 4
        for (size_t r = 0; r < rows; r++) {
            __builtin_prefetch(at + (r + AHEAD) * from[i].pitch);
            pick_lanes(v[r], &pick[i], at + r * from[i].pitch);
        }
    }
#pragma GCC unroll 4
    for (size_t r = 0; r < rows; r++) {
        __builtin_prefetch(y + (row + r + AHEAD) * y_pitch, 1);
        for (size_t j = 0; j < PANEL_VECS; j++) {
            if (reading->scale)
                v[r][j] = vec_fma(v[r][j], vec_load(reading->scale + j * LANES),
                                  vec_load(reading->shift + j * LANES));
            vec_store(y + (row + r) * y_pitch + j * LANES,
                      act_value(v[r][j], reading->act));
        }
    }
}

ALWAYS_INLINE void move_rows(real *y, size_t y_pitch, const struct moved *from, size_t n,
                             const struct reading *reading, size_t n_rows)
{
    struct pick pick[PANEL];
    size_t r = 0;

    for (size_t i = 0; i < n; i++)
        pick[i] = pick_of(from[i].lane);
    for (; r + ROWS_AT_ONCE <= n_rows; r += ROWS_AT_ONCE)
        move_group(y, y_pitch, from, pick, n, reading, r, ROWS_AT_ONCE);
    for (; r < n_rows; r++)
        move_group(y, y_pitch, from, pick, n, reading, r, 1);
}

/* Constant numbers make straight code of the loops. */
ALWAYS_INLINE void move_some(real *y, size_t y_pitch, const struct moved *from, size_t n,
                             const struct reading *reading, size_t n_rows)
{
    switch (n) {
    case 1:
        move_rows(y, y_pitch, from, 1, reading, n_rows);
        break;
    case 2:
        move_rows(y, y_pitch, from, 2, reading, n_rows);
        break;
    default:
        move_rows(y, y_pitch, from, n, reading, n_rows);
        break;
    }
}

static void move(real *y, size_t y_pitch, const struct moved *from, size_t n,
                 const struct reading *reading, size_t n_rows)
{
    struct reading plain = *reading, relu = *reading;

    plain.act = ACT_NONE;
    relu.act = ACT_RELU;
    if (reading->act == ACT_NONE)
        move_some(y, y_pitch, from, n, &plain, n_rows);
    else if (reading->act == ACT_RELU)
        move_some(y, y_pitch, from, n, &relu, n_rows);
    else
        move_some(y, y_pitch, from, n, reading, n_rows);
}

void FILL(move)(struct kernels *out)
{
    out->move = move;
}
