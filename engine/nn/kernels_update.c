/* Updates of weights (struct update_rule). Loops without branches, so that they
 * vectorise; what few steps ask for, clipping and the proximal term, is worked out
 * beforehand in pieces that stay in the cache. */
#include "engine/nn/kernels_class.h"

#include <assert.h>
#include <math.h>

enum { PIECE = 512, SQUARE_LANES = 8 };

#ifdef NN_DOUBLE
#define root_of sqrt
#else
#define root_of sqrtf
#endif

static void clip_gradient(real *restrict h, const real *restrict g, real clip, size_t n)
{
    for (size_t i = 0; i < n; i++)
        h[i] = clip * g[i];
}

static void pull_and_clip(real *restrict h, const real *restrict g,
                          const real *restrict w, const real *restrict reference,
                          const struct update_rule *rule, size_t n)
{
    real clip = rule->clip, mu = rule->prox_mu;

    for (size_t i = 0; i < n; i++)
        h[i] = clip * (g[i] + mu * (w[i] - reference[i]));
}

static void plain(real *restrict w, const real *restrict h,
                  const struct update_rule *rule, size_t n)
{
    real lr = rule->lr, decay = rule->decay;

    for (size_t i = 0; i < n; i++)
        w[i] -= lr * (h[i] + decay * w[i]);
}

static void momentum(real *restrict w, real *restrict v, const real *restrict h,
                     const struct update_rule *rule, size_t n)
{
    real lr = rule->lr, decay = rule->decay, keep = rule->momentum;

    for (size_t i = 0; i < n; i++) {
        v[i] = keep * v[i] + (h[i] + decay * w[i]);
        w[i] -= lr * v[i];
    }
}

static void nesterov(real *restrict w, real *restrict v, const real *restrict h,
                     const struct update_rule *rule, size_t n)
{
    real lr = rule->lr, decay = rule->decay, keep = rule->momentum;

    for (size_t i = 0; i < n; i++) {
        real d = h[i] + decay * w[i];

        v[i] = keep * v[i] + d;
        w[i] -= lr * (d + keep * v[i]);
    }
}

/* torch.lerp's two forms: which of them is exact at its end decides. */
static void mean_moment(real *restrict m, const real *restrict h, const real *restrict w,
                        const struct update_rule *rule, size_t n)
{
    real beta = rule->beta1, rest = rule->one_minus_beta1, decay = rule->decay;

    if (rest < (real)0.5) {
        for (size_t i = 0; i < n; i++)
            m[i] += rest * (h[i] + decay * w[i] - m[i]);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        real d = h[i] + decay * w[i];

        m[i] = d - (d - m[i]) * beta;
    }
}

static void adam(real *restrict w, real *restrict m, real *restrict s,
                 const real *restrict h, const struct update_rule *rule, size_t n)
{
    real lr = rule->lr, decay = rule->decay, shrink = rule->shrink;
    real beta = rule->beta2, rest = rule->one_minus_beta2;
    real root = rule->root, eps = rule->eps;

    mean_moment(m, h, w, rule, n);
    for (size_t i = 0; i < n; i++) {
        real d = h[i] + decay * w[i];

        s[i] = beta * s[i] + rest * d * d;
        w[i] = shrink * w[i] - lr * m[i] / (root_of(s[i]) / root + eps);
    }
}

static void update_piece(real *w, real *state0, real *state1, const real *h,
                         const struct update_rule *rule, size_t n)
{
    assert(state0 || rule->kind == UPDATE_SGD);
    assert(state1 || rule->kind != UPDATE_ADAM);
    switch (rule->kind) {
    case UPDATE_SGD:
        plain(w, h, rule, n);
        break;
    case UPDATE_MOMENTUM:
        momentum(w, state0, h, rule, n);
        break;
    case UPDATE_NESTEROV:
        nesterov(w, state0, h, rule, n);
        break;
    case UPDATE_ADAM:
        adam(w, state0, state1, h, rule, n);
        break;
    }
}

static void update_weights(real *w, real *state0, real *state1, const real *g,
                           const real *reference, const struct update_rule *rule,
                           size_t n)
{
    real h[PIECE];

    assert(rule->decay == 0 || rule->shrink == 1);
    if (rule->clip == 1 && rule->prox_mu == 0) {
        update_piece(w, state0, state1, g, rule, n);
        return;
    }
    for (size_t at = 0; at < n; at += PIECE) {
        size_t count = n - at < PIECE ? n - at : PIECE;

        if (rule->prox_mu != 0)
            pull_and_clip(h, g + at, w + at, reference + at, rule, count);
        else
            clip_gradient(h, g + at, rule->clip, count);
        update_piece(w + at, state0 ? state0 + at : NULL, state1 ? state1 + at : NULL, h,
                     rule, count);
    }
}

/* Lane i has elements i, i + SQUARE_LANES, ...: a fixed order that vectorises. */
static void add_squares(double lane[SQUARE_LANES], const real *h, size_t n)
{
    size_t i = 0;

    for (; i + SQUARE_LANES <= n; i += SQUARE_LANES) {
        for (size_t j = 0; j < SQUARE_LANES; j++)
            lane[j] += (double)h[i + j] * (double)h[i + j];
    }
    for (size_t j = 0; i + j < n; j++)
        lane[j] += (double)h[i + j] * (double)h[i + j];
}

static double square_sum(const real *g, const real *w, const real *reference,
                         real prox_mu, size_t n)
{
    const struct update_rule pull = {.clip = 1, .prox_mu = prox_mu};
    double lane[SQUARE_LANES] = {0}, sum = 0;
    real h[PIECE];

    if (prox_mu == 0)
        add_squares(lane, g, n);
    for (size_t at = 0; prox_mu != 0 && at < n; at += PIECE) {
        size_t count = n - at < PIECE ? n - at : PIECE;

        pull_and_clip(h, g + at, w + at, reference + at, &pull, count);
        add_squares(lane, h, count);
    }
    for (size_t i = 0; i < SQUARE_LANES; i++)
        sum += lane[i];
    return sum;
}

void FILL(update)(struct kernels *out)
{
    out->update = update_weights;
    out->square_sum = square_sum;
}
