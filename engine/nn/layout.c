/* Where each element of a parameter is stored. */
#include "engine/nn/layout.h"

size_t layout_inputs(const struct layout *l)
{
    if (l->tight)
        return padded(l->n_in * l->n_taps);
    if (l->kind == LAYOUT_GATES)
        return padded(l->n_in);
    return l->planar ? l->n_in * l->n_taps : padded(l->n_in) * l->n_taps;
}

size_t layout_elements(const struct layout *l)
{
    switch (l->kind) {
    case LAYOUT_PANELS:
        return padded(l->n_out) * layout_inputs(l);
    case LAYOUT_DEPTHWISE:
        return padded(l->n_out) * l->n_taps;
    case LAYOUT_GATES:
        return padded(l->n_out) * l->n_taps * layout_inputs(l);
    default:
        return l->n_out * padded(l->n_in);
    }
}

/* Of element (o, i, 0), and the distance to the next tap. */
static size_t place(const struct layout *l, size_t o, size_t i, size_t *step)
{
    size_t panel = o / PANEL, lane = o % PANEL;

    switch (l->kind) {
    case LAYOUT_PANELS:
        *step = l->planar ? PANEL : (l->tight ? l->n_in : padded(l->n_in)) * PANEL;
        return (panel * layout_inputs(l) + (l->planar ? i * l->n_taps : i)) * PANEL +
               lane;
    case LAYOUT_DEPTHWISE:
        *step = PANEL;
        return panel * l->n_taps * PANEL + lane;
    case LAYOUT_GATES:
        *step = padded(l->n_out) * layout_inputs(l);
        return (panel * layout_inputs(l) + i) * PANEL + lane;
    default:
        *step = 1;
        return o * padded(l->n_in) + i;
    }
}

/* The same of element (o, i, 0) in PyTorch's order. */
static size_t native_place(const struct layout *l, size_t o, size_t i, size_t *step)
{
    if (l->kind == LAYOUT_GATES) {
        *step = l->n_out * l->n_in;
        return o * l->n_in + i;
    }
    *step = l->taps_first ? l->n_in : 1;
    return o * l->n_in * l->n_taps + (l->taps_first ? i : i * l->n_taps);
}

void layout_each(const struct layout *l,
                 void (*visit)(void *context, size_t native, size_t stored),
                 void *context)
{
    for (size_t o = 0; o < l->n_out; o++) {
        for (size_t i = 0; i < l->n_in; i++) {
            size_t step, native_step;
            size_t at = place(l, o, i, &step);
            size_t native = native_place(l, o, i, &native_step);

            for (size_t t = 0; t < l->n_taps; t++)
                visit(context, native + t * native_step, at + t * step);
        }
    }
}
