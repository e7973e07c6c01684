/* The elementwise part of recurrent layers: one step of some rows. kernels.h has the
 * formulas; those of the backward pass are in docs/numerics.md. */
#include "engine/nn/kernels_class.h"
#include "engine/nn/vec_math.h"

ALWAYS_INLINE vec load_or_zero(const real *p, size_t at)
{
    return p ? vec_load(p + at) : vec_zero();
}

static void lstm_forward(const struct recurrent_step *s)
{
    for (size_t r = 0; r < s->n; r++) {
        real *gates = s->gates + r * s->gates_pitch;

        for (size_t k = 0; k < s->width; k += LANES) {
            vec i = vec_sigmoid(vec_load(gates + k));
            vec f = vec_sigmoid(vec_load(gates + s->width + k));
            vec g = vec_tanh(vec_load(gates + 2 * s->width + k));
            vec o = vec_sigmoid(vec_load(gates + 3 * s->width + k));
            vec c = vec_fma(f, load_or_zero(s->before, r * s->before_pitch + k), i * g);

            vec_store(gates + k, i);
            vec_store(gates + s->width + k, f);
            vec_store(gates + 2 * s->width + k, g);
            vec_store(gates + 3 * s->width + k, o);
            vec_store(s->inner + r * s->inner_pitch + k, c);
            vec_store(s->h + r * s->pitch + k, o * vec_tanh(c));
        }
    }
}

/* g times the derivative of the function whose value is given. */
ALWAYS_INLINE vec back_sigmoid(vec g, vec value)
{
    return g * value * (vec_splat(1) - value);
}

ALWAYS_INLINE vec back_tanh(vec g, vec value)
{
    return g * vec_fma(-value, value, vec_splat(1));
}

static void lstm_backward(const struct recurrent_step *s)
{
    for (size_t r = 0; r < s->n; r++) {
        real *gates = s->gates + r * s->gates_pitch;

        for (size_t k = 0; k < s->width; k += LANES) {
            size_t at = r * s->width + k;
            vec i = vec_load(gates + k), f = vec_load(gates + s->width + k);
            vec g = vec_load(gates + 2 * s->width + k);
            vec o = vec_load(gates + 3 * s->width + k);
            vec tanh_c = vec_tanh(vec_load(s->inner + r * s->inner_pitch + k));
            vec dh = vec_load(s->dy + r * s->pitch + k) + vec_load(s->dh + at);
            vec dc = vec_load(s->dc + at) + back_tanh(dh * o, tanh_c);
            vec df = dc * load_or_zero(s->before, r * s->before_pitch + k);

            vec_store(gates + k, back_sigmoid(dc * g, i));
            vec_store(gates + s->width + k, back_sigmoid(df, f));
            vec_store(gates + 2 * s->width + k, back_tanh(dc * i, g));
            vec_store(gates + 3 * s->width + k, back_sigmoid(dh * tanh_c, o));
            vec_store(s->dc + at, dc * f);
        }
    }
}

static void gru_forward(const struct recurrent_step *s)
{
    for (size_t row = 0; row < s->n; row++) {
        real *gates = s->gates + row * s->gates_pitch;

        for (size_t k = 0; k < s->width; k += LANES) {
            vec r = vec_sigmoid(vec_load(gates + k));
            vec z = vec_sigmoid(vec_load(gates + s->width + k));
            vec n_h = vec_load(s->inner + row * s->inner_pitch + k);
            vec n = vec_tanh(vec_fma(r, n_h, vec_load(gates + 2 * s->width + k)));
            vec before = load_or_zero(s->before, row * s->before_pitch + k);

            vec_store(gates + k, r);
            vec_store(gates + s->width + k, z);
            vec_store(gates + 2 * s->width + k, n);
            vec_store(s->h + row * s->pitch + k, vec_fma(z, before - n, n));
        }
    }
}

static void gru_backward(const struct recurrent_step *s)
{
    for (size_t row = 0; row < s->n; row++) {
        real *gates = s->gates + row * s->gates_pitch;
        real *inner = s->inner + row * s->inner_pitch;

        for (size_t k = 0; k < s->width; k += LANES) {
            size_t at = row * s->width + k;
            vec r = vec_load(gates + k), z = vec_load(gates + s->width + k);
            vec n = vec_load(gates + 2 * s->width + k);
            vec before = load_or_zero(s->before, row * s->before_pitch + k);
            vec dh = vec_load(s->dy + row * s->pitch + k) + vec_load(s->dh + at);
            vec dn = back_tanh(dh * (vec_splat(1) - z), n);

            vec_store(gates + k, back_sigmoid(dn * vec_load(inner + k), r));
            vec_store(gates + s->width + k, back_sigmoid(dh * (before - n), z));
            vec_store(gates + 2 * s->width + k, dn);
            vec_store(inner + k, dn * r);
            vec_store(s->dh + at, dh * z);
        }
    }
}

void FILL(recurrent)(struct kernels *out)
{
    out->lstm_forward = lstm_forward;
    out->lstm_backward = lstm_backward;
    out->gru_forward = gru_forward;
    out->gru_backward = gru_backward;
}
