/* Inputs of a convolution as its windows read them (kernels.h): rows of positions side
 * by side, the image's padding with them, so that a window is a few stretches of memory
 * and nothing has to be gathered for it. */
#ifndef ENGINE_NN_PACKED_H
#define ENGINE_NN_PACKED_H

#include "engine/nn/dense.h"

/* The rows that some rows of outputs see.
 *
 * d         the layer
 * width     positions of a row, by `height` rows; `channels` elements from one to the
 *           next; of PyTorch's images n_planes of these, else one
 * size      elements of all, and of what may be read past their end
 * window    of an output: place (y, x) of the rows of outputs begins at
 *           y step_h + x step_w */
struct packed {
    const struct dense *d;
    size_t width, height, channels, n_planes, size;
    struct conv_window window;
    size_t step_h, step_w;
};

/* True if the layer's windows can be read so: without dilation. */
bool packed_can_be(const struct conv2d_shape *shape);

/* Rows of outputs that are best gone through at a time, an equal part of an image; 0:
 * the layer's windows are better gathered, as they are on many channels. */
size_t packed_rows(const struct dense *d);

/* For n_rows rows of outputs at a time. */
struct packed packed_of(const struct dense *d, size_t n_rows);

/* The positions of a packed row that are of the image: the first ones of its row. None,
 * if windows end in the padding before it. */
struct span packed_inside(const struct packed *p);

/* The input of an example as it is read, of the rows of outputs from `row` on; `to` has
 * p->size elements. x is that of all examples. */
void packed_fill(real *to, const struct packed *p, const struct step *step, const real *x,
                 size_t example, size_t row);

#endif
