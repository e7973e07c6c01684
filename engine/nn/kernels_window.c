/* Convolutions of images that lie packed. Forward, outputs of a row are products of
 * windows, which overlap in memory, with the weights' panels; nothing is gathered.
 * Backward, gradients come through a max pool: of each of its windows one place has
 * one, per output, and that window's inputs are all that is gone through. */
#include "engine/nn/kernels_class.h"

enum { PLACE_GROUP = 3, MAX_HEIGHT = 5, MAX_WIDTH = 8 };

/* Where a tile of a window's inputs begins, on the image and among the weights. */
struct corner {
    size_t x, w;
};

/* Tiles that fit the registers, at best ten vectors. */
static size_t tile_width(size_t left)
{
    if (left >= 8 && !FEW_VARIANTS)
        return 8;
    if (left >= 4)
        return 4;
    return left >= 2 ? 2 : 1;
}

static size_t tile_height(size_t left, size_t width)
{
    if (FEW_VARIANTS || width == 8)
        return 1;
    if (width == 4)
        return left >= 2 ? 2 : 1;
    if (left >= 5)
        return 5;
    return left >= 3 ? 3 : 1;
}

/* All of a panel's outputs. */
#define PART(name) name##_whole
#define part_vec vec
#define part_load vec_load
#define part_store vec_store
#define part_splat vec_splat
#define part_fma vec_fma
#define PART_LANES LANES
#define PART_VECS PANEL_VECS
#define PART_IS_BACKWARD 1
#if LANES > 1 && FEW_VARIANTS
#define PART_ROWS 3
#elif LANES == 16
#define PART_ROWS 14
#elif LANES == 8 || (LANES == 4 && defined(__ARM_NEON))
#define PART_ROWS 6
#elif LANES == 4
#define PART_ROWS 3
#else
#define PART_ROWS 1
#endif
#include "engine/nn/kernels_window_part.h"
#undef PART
#undef PART_VECS
#undef PART_IS_BACKWARD
#undef PART_ROWS

/* Half of a panel's outputs, or windows of half a vector of AVX-512. */
#define PART(name) name##_half
#if LANES == 16
#undef part_vec
#undef part_load
#undef part_store
#undef part_splat
#undef part_fma
#undef PART_LANES
typedef __m256 half_vec;
typedef real half_loose
    __attribute__((vector_size(8 * sizeof(real)), aligned(sizeof(real))));

ALWAYS_INLINE half_vec half_load(const real *p)
{
    return *(const half_loose *)p;
}

ALWAYS_INLINE void half_store(real *p, half_vec v)
{
    *(half_loose *)p = v;
}

#define part_vec half_vec
#define part_load half_load
#define part_store half_store
#define part_splat _mm256_set1_ps
#define part_fma _mm256_fmadd_ps
#define PART_LANES 8
#define PART_IS_BACKWARD 1
#else
#define PART_IS_BACKWARD 0
#endif
#define PART_VECS (PANEL / 2 / PART_LANES)
#if LANES > 1 && FEW_VARIANTS
#define PART_ROWS 3
#elif LANES == 16
#define PART_ROWS 14
#elif LANES == 8 || (LANES == 4 && defined(__ARM_NEON))
#define PART_ROWS 12
#elif LANES == 4
#define PART_ROWS 6
#else
#define PART_ROWS 1
#endif
#include "engine/nn/kernels_window_part.h"

static void window_forward(const struct window_forward *p)
{
    if (p->few) {
        forward_panel_half(p, 0);
        return;
    }
    for (size_t panel = 0; panel < p->n_panels; panel++)
        forward_panel_whole(p, panel);
}

/* Which of a panel's gradients are not 0. */
ALWAYS_INLINE unsigned not_zero(const real *g)
{
#if LANES == 16
    return _mm512_cmp_ps_mask(vec_load(g), vec_zero(), _CMP_NEQ_UQ);
#elif LANES == 8
    __m256 low = _mm256_cmp_ps(vec_load(g), vec_zero(), _CMP_NEQ_UQ);
    __m256 high = _mm256_cmp_ps(vec_load(g + 8), vec_zero(), _CMP_NEQ_UQ);

    return (unsigned)_mm256_movemask_ps(low) | (unsigned)_mm256_movemask_ps(high) << 8;
#else
    unsigned lanes = 0;

    for (size_t l = 0; l < PANEL; l++)
        lanes |= (unsigned)(g[l] != 0) << l;
    return lanes;
#endif
}

/* Which of a panel's winners are of this tap. */
ALWAYS_INLINE unsigned winners_of(const uint8_t *at, size_t tap)
{
#if LANES > 1 && defined(__SSE2__)
    __m128i same =
        _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)at), _mm_set1_epi8((char)tap));

    return (unsigned)_mm_movemask_epi8(same);
#else
    unsigned lanes = 0;

    for (size_t l = 0; l < PANEL; l++)
        lanes |= (unsigned)(at[l] == tap) << l;
    return lanes;
#endif
}

static void find_winners(const struct window_backward *p)
{
    uint16_t *winners = p->winners;

    for (size_t i = 0; i < p->n * p->g_pitch; i += PANEL) {
        unsigned lanes = not_zero(p->g + i);

        for (size_t t = 0; t < p->n_taps; t++)
            *winners++ = (uint16_t)(winners_of(p->at + i, t) & lanes);
    }
}

static void window_backward(const struct window_backward *p)
{
    if (p->dx)
        find_winners(p);
#if LANES == 16
    if (p->window->pitch % LANES > 0) {
        backward_half(p);
        return;
    }
#endif
    backward_whole(p);
}

void FILL(window)(struct kernels *out)
{
    out->window_forward = window_forward;
    out->window_backward = window_backward;
}
