/* How numbers lie in memory. Activations are channels last: a row per position of
 * the image (or per time step, or one for a vector), its channels side by side,
 * padded with zeros to a multiple of PANEL. Weights of products are panels of
 * PANEL outputs: panel, input, output within the panel. Everybody outside of the
 * engine sees PyTorch's layouts. Padding is 0 and stays 0. */
#ifndef ENGINE_NN_LAYOUT_H
#define ENGINE_NN_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>

#define PANEL 16

static inline size_t panels_of(size_t n)
{
    return (n + PANEL - 1) / PANEL;
}

/* n, padded. */
static inline size_t padded(size_t n)
{
    return panels_of(n) * PANEL;
}

/* Layouts of parameters and buffers; PyTorch's shape in brackets.
 *
 * LAYOUT_ROWS       [n_out, n_in]: rows padded; one row for vectors
 * LAYOUT_PANELS     [n_out, n_in, n_taps]: element (o, i, t) at panel o / PANEL,
 *                   input k, lane o % PANEL, with k = t padded(n_in) + i, or
 *                   i n_taps + t if it is planar (reads PyTorch's images)
 *                   tight: k = t n_in + i, padded at the end only
 *                   taps_first: PyTorch's order is [n_out, n_taps, n_in]
 * LAYOUT_DEPTHWISE  [n_out, 1, n_taps]: group o / PANEL, tap, lane o % PANEL
 * LAYOUT_GATES      [n_taps n_out, n_in]: n_taps blocks of panels, of n_out outputs each
 */
enum layout_kind { LAYOUT_ROWS, LAYOUT_PANELS, LAYOUT_DEPTHWISE, LAYOUT_GATES };

struct layout {
    enum layout_kind kind;
    size_t n_out, n_in, n_taps;
    bool planar;
    bool taps_first;
    bool tight;
};

/* Rows of a panel: inputs with their padding. */
size_t layout_inputs(const struct layout *layout);

/* Elements as stored. */
size_t layout_elements(const struct layout *layout);

/* Calls `visit` for each element in PyTorch's order with its place there and here. */
void layout_each(const struct layout *layout,
                 void (*visit)(void *context, size_t native, size_t stored),
                 void *context);

#endif
