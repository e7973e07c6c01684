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

/* ---- Sums over all places ------------------------------------------------ */

/* `width` inputs of each of `height` stretches, one vector of outputs. */
ALWAYS_INLINE void sum_tile(const struct window_weight *p, real *dw, const real *x,
                            const real *dz, size_t height, size_t width)
{
    size_t row = p->window->row, n_k = p->window->n_k;
    vec acc[MAX_HEIGHT][MAX_WIDTH];

#pragma GCC unroll 8
    for (size_t i = 0; i < height; i++) {
#pragma GCC unroll 8
        for (size_t j = 0; j < width; j++)
            acc[i][j] = vec_load(dw + (i * n_k + j) * PANEL);
    }
    for (size_t line = 0; line < p->n_lines; line++, x += p->x_line) {
        const real *at = x;

        for (size_t o = 0; o < p->n; o++, at += p->x_row, dz += p->z_row) {
            vec z = vec_load(dz);

#pragma GCC unroll 8
            for (size_t i = 0; i < height; i++) {
#pragma GCC unroll 8
                for (size_t j = 0; j < width; j++)
                    acc[i][j] = vec_fma(vec_splat(at[i * row + j]), z, acc[i][j]);
            }
        }
    }
#pragma GCC unroll 8
    for (size_t i = 0; i < height; i++) {
#pragma GCC unroll 8
        for (size_t j = 0; j < width; j++)
            vec_store(dw + (i * n_k + j) * PANEL, acc[i][j]);
    }
}

#define SUM_TILE(height, width)                                                          \
    case (height)*16 + (width):                                                          \
        sum_tile(p, dw, x, dz, height, width);                                           \
        break;

static void sum_some(const struct window_weight *p, real *dw, const real *x,
                     const real *dz, size_t height, size_t width)
{
    switch (height * 16 + width) {
#if !FEW_VARIANTS
        SUM_TILE(1, 8)
        SUM_TILE(1, 7)
        SUM_TILE(2, 6)
        SUM_TILE(1, 6)
        SUM_TILE(2, 5)
        SUM_TILE(1, 5)
        SUM_TILE(3, 4)
        SUM_TILE(3, 3)
        SUM_TILE(1, 3)
        SUM_TILE(5, 2)
        SUM_TILE(5, 1)
#endif
        SUM_TILE(1, 4)
        SUM_TILE(1, 2)
        SUM_TILE(1, 1)
    }
}

#undef SUM_TILE

/* Inputs of a stretch that go together, and how many stretches of them: at most twelve
 * vectors. */
static size_t sum_width(size_t left)
{
    if (FEW_VARIANTS)
        return left >= 4 ? 4 : left >= 2 ? 2 : 1;
    return left < MAX_WIDTH ? left : MAX_WIDTH;
}

static size_t sum_height(size_t left, size_t width)
{
    static const size_t most[MAX_WIDTH + 1] = {0, 5, 5, 3, 3, 2, 2, 1, 1};

    return FEW_VARIANTS || left < most[width] ? 1 : most[width];
}

/* One vector of outputs, all inputs of a plane. */
static void sum_plane(const struct window_weight *p, real *dw, const real *x,
                      const real *dz)
{
    const struct conv_window *window = p->window;

    for (size_t k = 0, width; k < window->n_k; k += width) {
        width = sum_width(window->n_k - k);
        for (size_t r = 0, height; r < window->n_rows; r += height) {
            height = sum_height(window->n_rows - r, width);
            sum_some(p, dw + (r * window->n_k + k) * PANEL, x + r * window->row + k, dz,
                     height, width);
        }
    }
}

static void window_weight(const struct window_weight *p)
{
    const struct conv_window *window = p->window;
    size_t of_plane = window->n_rows * window->n_k * PANEL;

    for (size_t c = 0; c < p->n_panels * PANEL; c += LANES) {
        real *dw = p->dw + c / PANEL * p->w_panel + c % PANEL;

        for (size_t i = 0; i < window->n_planes; i++)
            sum_plane(p, dw + i * of_plane, p->x + i * window->plane, p->dz + c);
    }
}

/* ---- Through a max pool -------------------------------------------------- */

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
    out->window_weight = window_weight;
    out->window_backward = window_backward;
}
