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

ALWAYS_INLINE void PART(add_stretch)(part_vec acc[PART_ROWS][PART_VECS],
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
    for (size_t i = 0; i < p->window->n_planes; i++) {
        for (size_t r = 0; r < p->window->n_rows; r++) {
            PART(add_stretch)(acc, p, x + r * p->window->row, w, rows);
            w += p->window->n_k * PANEL;
        }
        x += p->window->plane;
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
 * stretches from a corner on, which are in registers at once. */
ALWAYS_INLINE void PART(weight_of)(const struct window_backward *p, size_t c,
                                   const struct corner *at, size_t height, size_t width)
{
    size_t pitch = p->window->pitch, row = p->window->row, two = 2 * row;
    real *dw = p->dw + c * p->w_output + at->w;
    const real *image = p->x + at->x, *g = p->g + c;
    const uint8_t *winner = p->at + c;
    part_vec acc[MAX_HEIGHT][MAX_WIDTH];

#pragma GCC unroll 8
    for (size_t i = 0; i < height; i++) {
#pragma GCC unroll 8
        for (size_t j = 0; j < width; j++)
            acc[i][j] = part_load(dw + i * pitch + j * PART_LANES);
    }
    for (size_t o = 0; o < p->n; o++, g += p->g_pitch, winner += p->g_pitch) {
        const real *even = image + p->place[o] + p->tap[*winner], *odd = even + row;
        part_vec g_c = part_splat(*g);

#pragma GCC unroll 8
        for (size_t i = 0; i < height; i++) {
#pragma GCC unroll 8
            for (size_t j = 0; j < width; j++)
                acc[i][j] = part_fma(g_c,
                                     part_load((i % 2 ? odd : even) + i / 2 * two +
                                               j * PART_LANES),
                                     acc[i][j]);
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
    size_t n_panels = p->g_pitch / PANEL, pitch = p->window->pitch;
    const uint16_t *winners = p->winners + o * n_panels * p->n_taps + tap;
    const real *g = p->g + o * p->g_pitch, *w = p->w + at->w;
    real *dx = p->dx + at->x + p->place[o] + p->tap[tap];
    part_vec acc[MAX_HEIGHT][MAX_WIDTH];

#pragma GCC unroll 8
    for (size_t i = 0; i < height; i++) {
#pragma GCC unroll 8
        for (size_t j = 0; j < width; j++)
            acc[i][j] = part_splat(0);
    }
    for (size_t q = 0; q < n_panels; q++, g += PANEL, w += PANEL * p->w_output) {
        for (unsigned left = winners[q * p->n_taps]; left != 0; left &= left - 1) {
            size_t lane = (size_t)__builtin_ctz(left);
            const real *w_c = w + lane * p->w_output;
            part_vec g_c = part_splat(g[lane]);

#pragma GCC unroll 8
            for (size_t i = 0; i < height; i++) {
#pragma GCC unroll 8
                for (size_t j = 0; j < width; j++)
                    acc[i][j] = part_fma(g_c, part_load(w_c + i * pitch + j * PART_LANES),
                                         acc[i][j]);
            }
        }
    }
#pragma GCC unroll 8
    for (size_t i = 0; i < height; i++, dx += p->window->row) {
#pragma GCC unroll 8
        for (size_t j = 0; j < width; j++)
            part_store(dx + j * PART_LANES, part_load(dx + j * PART_LANES) + acc[i][j]);
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
        for (size_t t = 0; t < p->n_taps; t++)
            PART(input_place)(p, o, t, at, height, width);
    }
}

ALWAYS_INLINE void PART(tile_of)(const struct window_backward *p, const struct corner *at,
                                 size_t height, size_t width)
{
    if (p->dx)
        PART(input_tile)(p, at, height, width);
    else
        PART(weight_tile)(p, at, height, width);
}

#define TILE(height, width)                                                              \
    case (height)*16 + (width):                                                          \
        PART(tile_of)(p, at, height, width);                                             \
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

/* Tiles of `width` vectors from vector v on, of one plane. */
static void PART(plane)(const struct window_backward *p, size_t plane, size_t v,
                        size_t width)
{
    const struct conv_window *window = p->window;

    for (size_t r = 0, height; r < window->n_rows; r += height) {
        struct corner at = {plane * window->plane + r * window->row + v * PART_LANES,
                            (plane * window->n_rows + r) * window->pitch +
                                v * PART_LANES};

        height = tile_height(window->n_rows - r, width);
        PART(tile)(p, &at, height, width);
    }
}

static void PART(backward)(const struct window_backward *p)
{
    size_t vecs = p->window->pitch / PART_LANES;

    for (size_t v = 0, width; v < vecs; v += width) {
        width = tile_width(vecs - v);
        for (size_t plane = 0; plane < p->window->n_planes; plane++)
            PART(plane)(p, plane, v, width);
    }
}

#endif
