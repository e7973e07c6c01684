/* Windows on packed images, each class of kernels against the definition in kernels.h.
 * Values are on a grid and few enough that all sums are exact, in any order. */
#include "numbers.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_ROWS = 6, MAX_PLANES = 3, MAX_PLACES = 40, MAX_TAPS = 4 };

static size_t pick(size_t *i, size_t n)
{
    return (size_t)hash_label(79, (*i)++, (uint32_t)n);
}

/* A window of some rows on an image of so many elements a row. */
struct setting {
    struct conv_window window;
    size_t size; /* of a packed image, and what is read past it */
    real *x;
};

static void open_setting(struct setting *s, size_t *i, size_t of_row, size_t n_rows)
{
    size_t n_k = 1 + pick(i, of_row);

    s->window = (struct conv_window){.n_planes = 1 + pick(i, MAX_PLANES),
                                     .plane = n_rows * of_row,
                                     .n_rows = 1 + pick(i, MAX_ROWS),
                                     .row = of_row,
                                     .n_k = n_k,
                                     .pitch = (n_k + WINDOW_STEP - 1) / WINDOW_STEP *
                                              WINDOW_STEP};
    s->size = MAX_PLANES * s->window.plane + (size_t)4 * PANEL;
    s->x = grid(s->size, "x");
}

static size_t stretches(const struct setting *s)
{
    return s->window.n_planes * s->window.n_rows;
}

static size_t stretch(const struct conv_window *w, size_t s)
{
    return s / w->n_rows * w->plane + s % w->n_rows * w->row;
}

/* ---- Forward ------------------------------------------------------------- */

static void check_forward(const struct setting *s, const struct window_forward *p,
                          const real *z)
{
    for (size_t i = 0; i < p->n; i++) {
        for (size_t j = 0; j < p->n_panels * PANEL; j++) {
            const real *w = p->w + j / PANEL * p->w_panel + j % PANEL;
            real want = p->bias ? p->bias[j] : 0;

            for (size_t k = 0; k < stretches(s) * s->window.n_k; k++)
                want += p->x[i * p->x_row + stretch(&s->window, k / s->window.n_k) +
                             k % s->window.n_k] *
                        w[k * PANEL];
            if (p->few && j >= PANEL / 2)
                want = 0;
            assert_true(z[i * p->z_row + j] == want);
        }
    }
}

static void test_outputs_are_sums_over_windows(void **state)
{
    const struct kernels *kernels = *state;
    size_t i = 0;

    for (size_t way = 0; way < 150; way++) {
        size_t of_row = 8 + pick(&i, 40), step = 1 + pick(&i, 3);
        struct setting s;
        struct window_forward p = {.n = 1 + pick(&i, MAX_PLACES), .x_row = step};
        real *z, *w, *bias = grid((size_t)4 * PANEL, "bias");

        open_setting(&s, &i, of_row, MAX_ROWS + MAX_PLACES * 3 / of_row + 2);
        p.window = &s.window;
        p.n_panels = 1 + pick(&i, 3);
        p.few = p.n_panels == 1 && way % 2 == 0;
        p.z_row = (p.n_panels + pick(&i, 2)) * PANEL;
        p.w_panel = (stretches(&s) * s.window.n_k + 3) * PANEL;
        p.x = s.x;
        p.w = w = grid(p.n_panels * p.w_panel, "w");
        p.bias = way % 3 ? bias : NULL;
        p.z = z = guarded(p.n * p.z_row);
        kernels->window_forward(&p);
        check_guard(z, p.n * p.z_row);
        check_forward(&s, &p, z);
        free(z), free(w), free(bias), free(s.x);
    }
}

/* ---- Backward, all places ------------------------------------------------ */

static void define_sums(const struct window_weight *p, real *dw)
{
    const struct conv_window *v = p->window;
    size_t n_k = v->n_planes * v->n_rows * v->n_k;

    for (size_t i = 0; i < p->n * p->n_lines * n_k * p->n_panels * PANEL; i++) {
        size_t j = i % (p->n_panels * PANEL), k = i / (p->n_panels * PANEL) % n_k;
        size_t o = i / (p->n_panels * PANEL) / n_k;
        const real *x = p->x + o / p->n * p->x_line + o % p->n * p->x_row;

        dw[j / PANEL * p->w_panel + k * PANEL + j % PANEL] +=
            x[stretch(v, k / v->n_k) + k % v->n_k] * p->dz[o * p->z_row + j];
    }
}

static void test_weights_are_summed_over_all_places(void **state)
{
    const struct kernels *kernels = *state;
    size_t i = 0;

    for (size_t way = 0; way < 100; way++) {
        size_t of_row = 4 + pick(&i, 20), n_lines = 1 + pick(&i, 3);
        struct setting s;
        struct window_weight p = {.n = 1 + pick(&i, 20), .n_lines = n_lines};
        real *dw, *want, *dz;
        size_t n_w;

        open_setting(&s, &i, of_row, MAX_ROWS + 2 * n_lines + 60 / of_row + 2);
        p.window = &s.window, p.x = s.x;
        p.x_row = 1 + pick(&i, 3), p.x_line = of_row * (1 + pick(&i, 2));
        p.n_panels = 1 + pick(&i, 2);
        p.z_row = (p.n_panels + pick(&i, 2)) * PANEL;
        p.w_panel = (stretches(&s) * s.window.n_k + 2) * PANEL;
        p.dz = dz = grid(p.n * n_lines * p.z_row, "dz");
        n_w = p.n_panels * p.w_panel;
        p.dw = dw = grid(n_w, "dw"), want = grid(n_w, "dw");
        kernels->window_weight(&p);
        define_sums(&p, want);
        assert_memory_equal(dw, want, n_w * sizeof(*dw));
        free(dw), free(want), free(dz), free(s.x);
    }
}

/* ---- Backward, through a pool ------------------------------------------- */

/* Gradients that come through a pool. */
struct through {
    struct window_backward p;
    uint32_t place[MAX_PLACES], tap[MAX_TAPS];
    uint16_t *winners;
    uint8_t *at;
    real *g;
};

static void open_through(struct through *t, size_t *i, const struct setting *s,
                         size_t of_row)
{
    struct window_backward *p = &t->p;

    *p = (struct window_backward){.window = &s->window, .x = s->x};
    p->n = 1 + pick(i, MAX_PLACES);
    p->n_outputs = 1 + pick(i, 20);
    p->n_taps = 1 + pick(i, MAX_TAPS);
    p->g_pitch = padded(p->n_outputs);
    for (size_t o = 0; o < p->n; o++)
        t->place[o] = (uint32_t)(o * 2);
    for (size_t tap = 0; tap < p->n_taps; tap++)
        t->tap[tap] = (uint32_t)(tap % 2 * of_row + tap / 2);
    t->g = grid(p->n * p->g_pitch, "g");
    t->at = allocate(p->n * p->g_pitch, 1);
    for (size_t k = 0; k < p->n * p->g_pitch; k++)
        t->at[k] = (uint8_t)pick(i, p->n_taps);
    for (size_t k = 0; k < p->n * p->g_pitch; k++)
        t->g[k] = k % p->g_pitch < p->n_outputs ? t->g[k] : 0;
    t->winners = allocate(p->n * p->g_pitch / PANEL * p->n_taps, sizeof(*t->winners));
    p->g = t->g, p->at = t->at, p->winners = t->winners;
    p->place = t->place, p->tap = t->tap;
}

static void close_through(struct through *t)
{
    free(t->g), free(t->at), free(t->winners);
}

/* Both sums, added to what is there already. */
static void define(const struct window_backward *p, real *dw, real *dx)
{
    const struct conv_window *v = p->window;
    size_t n_stretches = v->n_planes * v->n_rows;

    for (size_t i = 0; i < p->n * p->n_outputs * n_stretches * v->n_k; i++) {
        size_t k = i % v->n_k, s = i / v->n_k % n_stretches;
        size_t c = i / v->n_k / n_stretches % p->n_outputs;
        size_t o = i / v->n_k / n_stretches / p->n_outputs;
        size_t at = p->place[o] + p->tap[p->at[o * p->g_pitch + c]] + stretch(v, s) + k;
        size_t w = (c * n_stretches + s) * v->pitch + k;
        real g = p->g[o * p->g_pitch + c];

        dw[w] += g * p->x[at];
        dx[at] += g * p->w[w];
    }
}

/* In dw only what is no padding of a stretch has a meaning. */
static void check_weights(const struct window_backward *p, const real *want)
{
    const struct conv_window *v = p->window;
    size_t n_stretches = v->n_planes * v->n_rows;

    for (size_t i = 0; i < p->n_outputs * n_stretches * v->pitch; i++) {
        if (i % v->pitch < v->n_k)
            assert_true(p->dw[i] == want[i]);
    }
}

static void test_gradients_go_through_the_winner(void **state)
{
    const struct kernels *kernels = *state;
    size_t i = 0;

    for (size_t way = 0; way < 150; way++) {
        size_t of_row = 8 + pick(&i, way % 4 == 0 ? 150 : 30), n_w;
        struct setting s;
        struct through t;
        real *w, *dw, *dx, *want_dw, *want_dx;

        open_setting(&s, &i, of_row, MAX_ROWS + MAX_PLACES * 2 / of_row + 4);
        open_through(&t, &i, &s, of_row);
        n_w = t.p.n_outputs * stretches(&s) * s.window.pitch;
        w = grid(n_w, "w");
        for (size_t k = 0; k < n_w; k++)
            w[k] = k % s.window.pitch < s.window.n_k ? w[k] : 0;
        dw = grid(n_w, "dw"), want_dw = grid(n_w, "dw");
        dx = guarded(s.size), want_dx = guarded(s.size);
        t.p.w = w, t.p.dw = dw, t.p.w_output = stretches(&s) * s.window.pitch;
        kernels->window_backward(&t.p);
        t.p.dx = dx;
        kernels->window_backward(&t.p);
        define(&t.p, want_dw, want_dx);
        check_weights(&t.p, want_dw);
        check_guard(dx, s.size);
        assert_memory_equal(dx, want_dx, s.size * sizeof(*dx));
        free(w), free(dw), free(dx), free(want_dw), free(want_dx), free(s.x);
        close_through(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_outputs_are_sums_over_windows),
        cmocka_unit_test(test_weights_are_summed_over_all_places),
        cmocka_unit_test(test_gradients_go_through_the_winner),
    };

    return run_tests_per_class(tests, sizeof(tests) / sizeof(tests[0]));
}
