/* Matrix products on panels. The tile keeps TILE_ROWS rows by a few vectors of c in
 * registers; nothing is packed: a is read number by number, b by whole vectors. */
#include "engine/nn/kernels_class.h"

#include <string.h>

#if LANES > 1 && FEW_VARIANTS
enum { TILE_ROWS = 3, TILE_PANELS = LANES == 16 ? 2 : 1 };
#elif LANES == 16
enum { TILE_ROWS = 12, TILE_PANELS = 2 };
#elif LANES == 8
enum { TILE_ROWS = 6, TILE_PANELS = 1 };
#elif LANES == 4 && defined(__ARM_NEON)
enum { TILE_ROWS = 6, TILE_PANELS = 1 };
#elif LANES == 4
enum { TILE_ROWS = 3, TILE_PANELS = 1 };
#else
enum { TILE_ROWS = 1, TILE_PANELS = 1 };
#endif

enum { TILE_VECS = TILE_PANELS * PANEL_VECS, ROW_GROUP = 3 };

/* Where row i of a lies: three rows share a pointer, so that an address is a
 * pointer plus 0, 1 or 2 steps. */
struct row_pointers {
    const real *group[(TILE_ROWS + ROW_GROUP - 1) / ROW_GROUP];
};

ALWAYS_INLINE real a_at(const struct row_pointers *at, const struct product *p, size_t i,
                        bool rows_touch)
{
    return rows_touch ? at->group[0][i]
                      : at->group[i / ROW_GROUP][i % ROW_GROUP * p->a_row];
}

ALWAYS_INLINE void begin(vec acc[TILE_ROWS][TILE_VECS], const struct product *p,
                         const real *c, size_t rows, size_t panels)
{
#pragma GCC unroll 16
    for (size_t i = 0; i < rows; i++) {
#pragma GCC unroll 16
        for (size_t j = 0; j < panels * PANEL_VECS; j++)
            acc[i][j] = p->goes_on
                            ? vec_load(c + i * p->c_row + j / PANEL_VECS * p->c_panel +
                                       j % PANEL_VECS * LANES)
                            : vec_zero();
    }
}

/* What is there already is added last: sums stay short, and their errors small. */
ALWAYS_INLINE void store_c(const struct product *p, real *c,
                           vec acc[TILE_ROWS][TILE_VECS], size_t rows, size_t panels)
{
#pragma GCC unroll 16
    for (size_t i = 0; i < rows; i++) {
#pragma GCC unroll 16
        for (size_t j = 0; j < panels * PANEL_VECS; j++) {
            real *at =
                c + i * p->c_row + j / PANEL_VECS * p->c_panel + j % PANEL_VECS * LANES;

            vec_store(at, p->add && !p->goes_on ? vec_load(at) + acc[i][j] : acc[i][j]);
        }
    }
}

/* The rows after these, which will be written next. */
ALWAYS_INLINE void fetch_c(const struct product *p, const real *c, size_t rows,
                           size_t panels)
{
#pragma GCC unroll 16
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < panels; j++)
            __builtin_prefetch(c + i * p->c_row + j * p->c_panel, 1);
    }
}

/* acc += one step of k. */
ALWAYS_INLINE void step_k(vec acc[TILE_ROWS][TILE_VECS], const struct product *p,
                          const struct row_pointers *at, const real *b, size_t rows,
                          size_t panels, bool rows_touch)
{
    vec b_k[TILE_VECS];

#pragma GCC unroll 16
    for (size_t j = 0; j < panels * PANEL_VECS; j++)
        b_k[j] = vec_load(b + j / PANEL_VECS * p->b_panel + j % PANEL_VECS * LANES);
#pragma GCC unroll 16
    for (size_t i = 0; i < rows; i++) {
        vec a = vec_splat(a_at(at, p, i, rows_touch));

#pragma GCC unroll 16
        for (size_t j = 0; j < panels * PANEL_VECS; j++)
            acc[i][j] = vec_fma(a, b_k[j], acc[i][j]);
    }
}

/* Lines that are still to be fetched: one of each stream every so many steps. */
struct ahead {
    const real *at[PRODUCT_STREAMS];
    size_t left;
    size_t every, wait;
};

ALWAYS_INLINE void fetch_ahead(struct ahead *ahead)
{
    if (--ahead->wait > 0 || ahead->left == 0)
        return;
    ahead->wait = ahead->every;
    ahead->left--;
#pragma GCC unroll 4
    for (size_t i = 0; i < PRODUCT_STREAMS; i++) {
        __builtin_prefetch(ahead->at[i]);
        ahead->at[i] += PANEL;
    }
}

/* Constant sizes make the loops straight code. */
ALWAYS_INLINE void tile(const struct product *p, real *c, const real *a, const real *b,
                        size_t rows, size_t panels, bool rows_touch, struct ahead *ahead)
{
    enum { N_GROUPS = (TILE_ROWS + ROW_GROUP - 1) / ROW_GROUP };
    vec acc[TILE_ROWS][TILE_VECS];
    struct row_pointers at;
    size_t a_k = rows_touch ? p->a_k : 1, run = p->a_run > 0 ? p->a_run : p->k;
    struct ahead hints = *ahead;

    begin(acc, p, c, rows, panels);
#pragma GCC unroll 4
    for (size_t g = 0; g < N_GROUPS; g++)
        at.group[g] = a + g * ROW_GROUP * p->a_row;
    for (size_t k = 0; k < p->k; k += run) {
        for (size_t i = 0; i < run; i++) {
            step_k(acc, p, &at, b, rows, panels, rows_touch);
#pragma GCC unroll 4
            for (size_t g = 0; g < N_GROUPS; g++)
                at.group[g] += a_k;
            b += p->b_k;
            fetch_ahead(&hints);
        }
#pragma GCC unroll 4
        for (size_t g = 0; g < N_GROUPS; g++)
            at.group[g] += p->a_skip;
    }
    store_c(p, c, acc, rows, panels);
    if (p->c_is_far)
        fetch_c(p, c + rows * p->c_row, rows, panels);
    *ahead = hints;
}

#define TILE_OF(rows, panels)                                                            \
    case rows:                                                                           \
        if (rows_touch)                                                                  \
            tile(p, c, a, b, rows, panels, true, ahead);                                 \
        else                                                                             \
            tile(p, c, a, b, rows, panels, false, ahead);                                \
        break;

#define TILES_OF(name, panels)                                                           \
    static void name(const struct product *p, real *c, const real *a, const real *b,     \
                     size_t rows, bool rows_touch, struct ahead *ahead)                  \
    {                                                                                    \
        switch (rows) {                                                                  \
            TILE_CASES(panels)                                                           \
        }                                                                                \
    }

#if LANES == 16 && !FEW_VARIANTS
#define TILE_CASES(panels)                                                               \
    TILE_OF(1, panels)                                                                   \
    TILE_OF(2, panels)                                                                   \
    TILE_OF(3, panels)                                                                   \
    TILE_OF(4, panels)                                                                   \
    TILE_OF(5, panels)                                                                   \
    TILE_OF(6, panels)                                                                   \
    TILE_OF(7, panels)                                                                   \
    TILE_OF(8, panels)                                                                   \
    TILE_OF(9, panels)                                                                   \
    TILE_OF(10, panels)                                                                  \
    TILE_OF(11, panels)                                                                  \
    TILE_OF(12, panels)
#elif (LANES == 8 || (LANES == 4 && defined(__ARM_NEON))) && !FEW_VARIANTS
#define TILE_CASES(panels)                                                               \
    TILE_OF(1, panels)                                                                   \
    TILE_OF(2, panels)                                                                   \
    TILE_OF(3, panels)                                                                   \
    TILE_OF(4, panels)                                                                   \
    TILE_OF(5, panels)                                                                   \
    TILE_OF(6, panels)
#elif LANES > 1
#define TILE_CASES(panels)                                                               \
    TILE_OF(1, panels)                                                                   \
    TILE_OF(2, panels)                                                                   \
    TILE_OF(3, panels)
#else
#define TILE_CASES(panels) TILE_OF(1, panels)
#endif

TILES_OF(tile_one_panel, 1)
#if LANES == 16
TILES_OF(tile_two_panels, 2)
#endif

/* All rows of one or two panels, in tiles of nearly equal height. */
static void product_panels(const struct product *p, size_t panel, size_t n,
                           struct ahead *ahead)
{
    size_t n_tiles = (p->m + TILE_ROWS - 1) / TILE_ROWS;
    bool rows_touch = p->a_row == 1;
    size_t row = 0;

    (void)n;
    for (size_t t = 0; t < n_tiles; t++) {
        size_t rows = (p->m - row + n_tiles - t - 1) / (n_tiles - t);
        real *c = p->c + panel * p->c_panel + row * p->c_row;
        const real *a = p->a + row * p->a_row;
        const real *b = p->b + panel * p->b_panel;

#if LANES == 16
        if (n == 2)
            tile_two_panels(p, c, a, b, rows, rows_touch, ahead);
        else
#endif
            tile_one_panel(p, c, a, b, rows, rows_touch, ahead);
        row += rows;
    }
}

/* What the caller says is wanted next; else, while a row of panels is gone through,
 * the panels after these. */
static struct ahead ahead_of(const struct product *p, size_t panel)
{
    struct ahead ahead = {{p->ahead[0], p->ahead[1], p->ahead[2], p->ahead[3]},
                          p->n_ahead,
                          1,
                          1};
    size_t steps = (p->m + TILE_ROWS - 1) / TILE_ROWS * p->k;

    if (p->n_ahead == 0 && panel + TILE_PANELS < p->n_panels) {
        for (size_t i = 0; i < PRODUCT_STREAMS; i++)
            ahead.at[i] = p->b + (panel + TILE_PANELS + i % TILE_PANELS) * p->b_panel;
        ahead.left = p->b_k == PANEL ? p->k : 0;
    } else if (p->n_ahead > 0) {
        steps *= (p->n_panels + TILE_PANELS - 1) / TILE_PANELS;
    }
    if (ahead.left > 0 && steps > ahead.left)
        ahead.every = ahead.wait = steps / ahead.left;
    return ahead;
}

static void product(const struct product *p)
{
    struct ahead ahead = ahead_of(p, 0);

    for (size_t panel = 0; panel < p->n_panels; panel += TILE_PANELS) {
        size_t left = p->n_panels - panel;

        if (panel > 0 && p->n_ahead == 0)
            ahead = ahead_of(p, panel);
        product_panels(p, panel, left < TILE_PANELS ? left : TILE_PANELS, &ahead);
    }
}

/* One square of PANEL by PANEL. */
#if LANES == 16
ALWAYS_INLINE void transpose_square(real *restrict out, size_t out_row,
                                    const real *restrict in, size_t in_row)
{
    __m512 r[PANEL], t[PANEL];

    /* pairs of rows, then pairs of pairs: 4x4 blocks lie transposed in each lane */
#pragma GCC unroll 16
    for (size_t i = 0; i < PANEL; i++)
        r[i] = _mm512_loadu_ps(in + i * in_row);
#pragma GCC unroll 16
    for (size_t i = 0; i < PANEL; i += 2) {
        t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
#pragma GCC unroll 16
    for (size_t i = 0; i < PANEL; i += 4) {
        __m512d a = _mm512_castps_pd(t[i]), b = _mm512_castps_pd(t[i + 1]);
        __m512d c = _mm512_castps_pd(t[i + 2]), d = _mm512_castps_pd(t[i + 3]);

        r[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
        r[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
        r[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
        r[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
    }
    /* then the blocks themselves */
#pragma GCC unroll 16
    for (size_t i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_f32x4(r[i], r[4 + i], 0x88);
        t[4 + i] = _mm512_shuffle_f32x4(r[i], r[4 + i], 0xdd);
        t[8 + i] = _mm512_shuffle_f32x4(r[8 + i], r[12 + i], 0x88);
        t[12 + i] = _mm512_shuffle_f32x4(r[8 + i], r[12 + i], 0xdd);
    }
#pragma GCC unroll 16
    for (size_t i = 0; i < 4; i++) {
        _mm512_storeu_ps(out + i * out_row, _mm512_shuffle_f32x4(t[i], t[8 + i], 0x88));
        _mm512_storeu_ps(out + (8 + i) * out_row,
                         _mm512_shuffle_f32x4(t[i], t[8 + i], 0xdd));
        _mm512_storeu_ps(out + (4 + i) * out_row,
                         _mm512_shuffle_f32x4(t[4 + i], t[12 + i], 0x88));
        _mm512_storeu_ps(out + (12 + i) * out_row,
                         _mm512_shuffle_f32x4(t[4 + i], t[12 + i], 0xdd));
    }
}
#else
ALWAYS_INLINE void transpose_square(real *restrict out, size_t out_row,
                                    const real *restrict in, size_t in_row)
{
    for (size_t i = 0; i < PANEL; i++) {
        for (size_t o = 0; o < PANEL; o++)
            out[o * out_row + i] = in[i * in_row + o];
    }
}
#endif

static void transpose(real *out, size_t out_panel, const real *in, size_t in_panel,
                      size_t n, size_t n_out)
{
    enum { SQUARE = PANEL * PANEL };

    for (size_t i = 0; i < n / PANEL; i++) {
        for (size_t o = 0; o < n_out / PANEL; o++) {
            const real *square = in + o * in_panel + i * SQUARE;

            for (size_t line = 0; line < PANEL; line++)
                __builtin_prefetch(square + 3 * in_panel + line * PANEL);
            transpose_square(out + i * out_panel + o * SQUARE, PANEL, square, PANEL);
        }
    }
}

/* Rows that are not there are 0. */
static void turn(real *out, size_t out_row, const real *in, size_t in_row, size_t m,
                 size_t n)
{
    real square[PANEL * PANEL] = {0};

    for (size_t j = 0; j < n; j += PANEL) {
        for (size_t i = 0; m < PANEL && i < m; i++)
            memcpy(square + i * PANEL, in + i * in_row + j, PANEL * sizeof(*in));
        if (m < PANEL)
            transpose_square(out + j * out_row, out_row, square, PANEL);
        else
            transpose_square(out + j * out_row, out_row, in + j, in_row);
    }
}

void FILL(product)(struct kernels *out)
{
    out->product = product;
    out->transpose = transpose;
    out->turn = turn;
}
