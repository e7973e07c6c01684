/* Convolutions of images that lie packed. Forward, outputs of a row are products of
 * windows, which overlap in memory, with the weights' panels; nothing is gathered.
 * Backward, gradients come through a max pool: of each of its windows one place has
 * one, per output, and that window's inputs are all that is gone through. */
#include "engine/nn/kernels_class.h"

enum { PLACE_GROUP = 3, MAX_HEIGHT = 5, MAX_WIDTH = 8 };

/* Where a tile of a window's inputs begins. */
struct corner {
    size_t segment, k;
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

static void window_backward(const struct window_backward *p)
{
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
