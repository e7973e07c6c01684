/* Adaptive average pooling: the windows of an axis cover it and may overlap. */
#include "engine/nn/kernels_shared.h"

#include <string.h>

/* The window of one output. */
struct window {
    size_t y0, y1;
    size_t x0, x1;
    double area;
};

static struct window window_of(const struct pool2d_shape *s, size_t at)
{
    size_t r = at / s->w_out, c = at % s->w_out;
    struct window w;

    w.y0 = r * s->h_in / s->h_out;
    w.y1 = ((r + 1) * s->h_in + s->h_out - 1) / s->h_out;
    w.x0 = c * s->w_in / s->w_out;
    w.x1 = ((c + 1) * s->w_in + s->w_out - 1) / s->w_out;
    w.area = (double)((w.y1 - w.y0) * (w.x1 - w.x0));
    return w;
}

void avg_pool2d_forward(real *y, const real *x, const struct pool2d_shape *s)
{
    for (size_t c = 0; c < s->channels; c++, x += s->h_in * s->w_in) {
        for (size_t at = 0; at < s->h_out * s->w_out; at++) {
            struct window w = window_of(s, at);
            double total = 0;

            for (size_t row = w.y0; row < w.y1; row++) {
                for (size_t i = w.x0; i < w.x1; i++)
                    total += (double)x[row * s->w_in + i];
            }
            *y++ = (real)(total / w.area);
        }
    }
}

void avg_pool2d_backward(real *dx, const real *dy, const struct pool2d_shape *s)
{
    memset(dx, 0, s->channels * s->h_in * s->w_in * sizeof(*dx));
    for (size_t c = 0; c < s->channels; c++, dx += s->h_in * s->w_in) {
        for (size_t at = 0; at < s->h_out * s->w_out; at++) {
            struct window w = window_of(s, at);
            real share = (real)((double)*dy++ / w.area);

            for (size_t row = w.y0; row < w.y1; row++) {
                for (size_t i = w.x0; i < w.x1; i++)
                    dx[row * s->w_in + i] += share;
            }
        }
    }
}
