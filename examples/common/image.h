/* From stored bytes to what a model wants: resize, channels, scale.
 *
 * A pixel is resized bilinearly with half-pixel centres: output i of n_out reads
 * at (i + 0.5) * n_in / n_out - 0.5, clamped to the picture, from its two
 * neighbours (per axis; no smoothing when shrinking). Grey becomes any number of
 * channels by repetition, three channels become grey as 0.299 R + 0.587 G +
 * 0.114 B (BT.601). Then x = (p / 255 - 0.5) / 0.5, that is, -1..1. */
#ifndef PROGRAMS_IMAGE_H
#define PROGRAMS_IMAGE_H

#include <cygnet/status.h>
#include <stddef.h>
#include <stdint.h>

#define IMAGE_MAX_SIDE 4096u
#define IMAGE_MAX_CHANNELS 64u
#define IMAGE_MEAN 0.5f /* subtracted from p / 255 */
#define IMAGE_STD 0.5f  /* then divided by */

struct image_shape {
    uint32_t channels;
    uint32_t height;
    uint32_t width;
};

static inline size_t image_shape_size(struct image_shape shape)
{
    return (size_t)shape.channels * shape.height * shape.width;
}

/* Reads the shape of a model's row as a picture: (C, H, W), (H, W), or (N) where
 * N is the size of `from` (taken as it is) or a square number (a grey square).
 * Errors: ESHAPE. */
cygnet_status image_shape_of_row(struct image_shape *out, const uint64_t *dims,
                                 uint32_t n_dims, struct image_shape from,
                                 cygnet_error *err);

/* A conversion, prepared once and applied to many pictures. */
struct image_plan;

/* Errors: ESHAPE (channels that cannot be made, a side out of range), ENOMEM. */
cygnet_status image_plan_create(struct image_plan **out, struct image_shape from,
                                struct image_shape to, cygnet_error *err);

/* out (to.C, to.H, to.W) written; pixels (from.C, from.H, from.W). */
void image_plan_apply(struct image_plan *plan, float *out, const uint8_t *pixels);

/* Accepts NULL. */
void image_plan_destroy(struct image_plan *plan);

#endif
