/* Windows on packed images, for one kind of vector: include once per kind in
 * kernels_window.c, which says what a vector is:
 *
 * PART(name)   a name of this kind
 * part_vec     its type; PART_LANES, part_load, part_store, part_splat, part_fma
 * PART_VECS    vectors of a row of outputs
 * PART_ROWS    rows of outputs whose vectors fit the registers: 14, 12, 6, 3 or 1 */

/* Where place i lies: three share a pointer, so that an address is a pointer plus 0, 1
 * or 2 steps. */
struct PART(places) {
    const real *group[(PART_ROWS + PLACE_GROUP - 1) / PLACE_GROUP];
};

ALWAYS_INLINE void PART(add_segment)(part_vec acc[PART_ROWS][PART_VECS],
                                     const struct window_forward *p, const real *x,
                                     const real *w, size_t rows)
{
    struct PART(places) at;

#pragma GCC unroll 8
    for (size_t g = 0; g * PLACE_GROUP < rows; g++)
        at.group[g] = x + g * PLACE_GROUP * p->x_row;
    for (size_t k = 0; k < p->window->n_k; k++) {
        part_vec w_k[PART_VECS];

#pragma GCC unroll 16
        for (size_t j = 0; j < PART_VECS; j++)
            w_k[j] = part_load(w + k * PANEL + j * PART_LANES);
#pragma GCC unroll 16
        for (size_t i = 0; i < rows; i++) {
            part_vec a =
                part_splat(at.group[i / PLACE_GROUP][i % PLACE_GROUP * p->x_row]);

#pragma GCC unroll 16
            for (size_t j = 0; j < PART_VECS; j++)
                acc[i][j] = part_fma(a, w_k[j], acc[i][j]);
        }
#pragma GCC unroll 8
        for (size_t g = 0; g * PLACE_GROUP < rows; g++)
            at.group[g]++;
    }
}

/* Constant sizes make the loops straight code. */
ALWAYS_INLINE void PART(forward_tile)(const struct window_forward *p, real *z,
                                      const real *x, const real *w, const real *bias,
                                      size_t rows)
{
    part_vec acc[PART_ROWS][PART_VECS];

#pragma GCC unroll 16
    for (size_t i = 0; i < rows; i++) {
#pragma GCC unroll 16
        for (size_t j = 0; j < PART_VECS; j++)
            acc[i][j] = bias ? part_load(bias + j * PART_LANES) : part_splat(0);
    }
    for (size_t s = 0; s < p->window->n_segments; s++) {
        PART(add_segment)(acc, p, x + p->window->segment[s], w, rows);
        w += p->window->n_k * PANEL;
    }
#pragma GCC unroll 16
    for (size_t i = 0; i < rows; i++) {
#pragma GCC unroll 16
        for (size_t j = 0; j < PART_VECS; j++)
            part_store(z + i * p->z_row + j * PART_LANES, acc[i][j]);
    }
}

#define FORWARD_TILE(rows)                                                               \
    case rows:                                                                           \
        PART(forward_tile)(p, z, x, w, bias, rows);                                      \
        break;

/* All places of a panel, in tiles of nearly equal height. */
static void PART(forward_panel)(const struct window_forward *p, size_t panel)
{
    size_t n_tiles = (p->n + PART_ROWS - 1) / PART_ROWS, done = 0;
    const real *w = p->w + panel * p->w_panel;
    const real *bias = p->bias ? p->bias + panel * PANEL : NULL;

    for (size_t t = 0, n; t < n_tiles; t++, done += n) {
        real *z = p->z + done * p->z_row + panel * PANEL;
        const real *x = p->x + done * p->x_row;

        n = (p->n - done + n_tiles - t - 1) / (n_tiles - t);
        switch (n) {
#if PART_ROWS >= 14
            FORWARD_TILE(14)
            FORWARD_TILE(13)
#endif
#if PART_ROWS >= 12
            FORWARD_TILE(12)
            FORWARD_TILE(11)
            FORWARD_TILE(10)
            FORWARD_TILE(9)
            FORWARD_TILE(8)
            FORWARD_TILE(7)
#endif
#if PART_ROWS >= 6
            FORWARD_TILE(6)
            FORWARD_TILE(5)
            FORWARD_TILE(4)
#endif
#if PART_ROWS >= 3
            FORWARD_TILE(3)
            FORWARD_TILE(2)
#endif
            FORWARD_TILE(1)
        }
    }
}

#undef FORWARD_TILE

#if PART_IS_BACKWARD

/* The sums of one output over all windows of the pool: `width` vectors of `height`
 * segments from a corner on, which are in registers at once. */
ALWAYS_INLINE void PART(weight_of)(const struct window_backward *p, size_t c,
                                   const struct corner *at, size_t height, size_t width)
{
    const uint32_t *segment = p->window->segment + at->segment;
    size_t pitch = p->window->pitch;
    real *dw = p->dw + (c * p->window->n_segments + at->segment) * pitch + at->k;
    part_vec acc[MAX_HEIGHT][MAX_WIDTH];

#pragma GCC unroll 8
    for (size_t i = 0; i < height; i++) {
#pragma GCC unroll 8
        for (size_t j = 0; j < width; j++)
            acc[i][j] = part_load(dw + i * pitch + j * PART_LANES);
    }
    for (size_t o = 0; o < p->n; o++) {
        const real *x = p->x + p->place[o] + p->tap[p->at[o * p->g_pitch + c]] + at->k;
        part_vec g = part_splat(p->g[o * p->g_pitch + c]);

#pragma GCC unroll 8
        for (size_t i = 0; i < height; i++) {
#pragma GCC unroll 8
            for (size_t j = 0; j < width; j++)
                acc[i][j] =
                    part_fma(g, part_load(x + segment[i] + j * PART_LANES), acc[i][j]);
        }
    }
#pragma GCC unroll 8
    for (size_t i = 0; i < height; i++) {
#pragma GCC unroll 8
        for (size_t j = 0; j < width; j++)
            part_store(dw + i * pitch + j * PART_LANES, acc[i][j]);
    }
}

/* The outputs whose winner is one place of one window of the pool, together. */
ALWAYS_INLINE void PART(input_place)(const struct window_backward *p, size_t o,
                                     size_t tap, const struct corner *at, size_t height,
                                     size_t width)
{
    const uint16_t *first = p->first + o * (p->n_taps + 1) + tap;
    const real *g = p->g + o * p->g_pitch;
    size_t pitch = p->window->pitch, of_output = p->window->n_segments * pitch;
    const uint32_t *segment = p->window->segment + at->segment;
    const real *w = p->w + at->segment * pitch + at->k;
    real *dx;
    part_vec acc[MAX_HEIGHT][MAX_WIDTH];

#pragma GCC unroll 8
    for (size_t i = 0; i < height; i++) {
#pragma GCC unroll 8
        for (size_t j = 0; j < width; j++)
            acc[i][j] = part_splat(0);
    }
    for (size_t n = first[0]; n < first[1]; n++) {
        size_t c = p->order[o * p->n_outputs + n];
        const real *w_c = w + c * of_output;
        part_vec g_c = part_splat(g[c]);

#pragma GCC unroll 8
        for (size_t i = 0; i < height; i++) {
#pragma GCC unroll 8
            for (size_t j = 0; j < width; j++)
                acc[i][j] =
                    part_fma(g_c, part_load(w_c + i * pitch + j * PART_LANES), acc[i][j]);
        }
    }
    dx = p->dx + p->place[o] + p->tap[tap] + at->k;
#pragma GCC unroll 8
    for (size_t i = 0; i < height; i++) {
#pragma GCC unroll 8
        for (size_t j = 0; j < width; j++) {
            real *to = dx + segment[i] + j * PART_LANES;

            part_store(to, part_load(to) + acc[i][j]);
        }
    }
}

ALWAYS_INLINE void PART(weight_tile)(const struct window_backward *p,
                                     const struct corner *at, size_t height, size_t width)
{
    for (size_t c = 0; c < p->n_outputs; c++)
        PART(weight_of)(p, c, at, height, width);
}

ALWAYS_INLINE void PART(input_tile)(const struct window_backward *p,
                                    const struct corner *at, size_t height, size_t width)
{
    for (size_t o = 0; o < p->n; o++) {
        for (size_t t = 0; t < p->n_taps; t++) {
            const uint16_t *first = p->first + o * (p->n_taps + 1) + t;

            if (first[1] > first[0])
                PART(input_place)(p, o, t, at, height, width);
        }
    }
}

#define TILE(height, width)                                                              \
    case height * 16 + width:                                                            \
        if (p->dx)                                                                       \
            PART(input_tile)(p, at, height, width);                                      \
        else                                                                             \
            PART(weight_tile)(p, at, height, width);                                     \
        break;

static void PART(tile)(const struct window_backward *p, const struct corner *at,
                       size_t height, size_t width)
{
    switch (height * 16 + width) {
#if !FEW_VARIANTS
        TILE(5, 1)
        TILE(3, 1)
        TILE(5, 2)
        TILE(3, 2)
        TILE(2, 4)
        TILE(1, 8)
#endif
        TILE(1, 4)
        TILE(1, 2)
        TILE(1, 1)
    }
}

#undef TILE

static void PART(backward)(const struct window_backward *p)
{
    size_t vecs = p->window->pitch / PART_LANES, segments = p->window->n_segments;

    for (size_t v = 0, width; v < vecs; v += width) {
        width = tile_width(vecs - v);
        for (size_t s = 0, height; s < segments; s += height) {
            struct corner at = {s, v * PART_LANES};

            height = tile_height(segments - s, width);
            PART(tile)(p, &at, height, width);
        }
    }
}

#endif
