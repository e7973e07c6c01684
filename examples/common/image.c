/* Pictures to model input; the formulas are in image.h. */
#include "image.h"
#include "complain.h"

#include <math.h>
#include <stdlib.h>

/* out = (1 - weight) * in[low] + weight * in[high] */
struct tap {
    uint32_t low;
    uint32_t high;
    float weight;
};

struct image_plan {
    struct image_shape from;
    struct image_shape to;
    struct tap *rows;    /* to.height */
    struct tap *columns; /* to.width */
    float *plane;        /* from.height * from.width */
};

static uint64_t square_root(uint64_t n)
{
    uint64_t root = (uint64_t)sqrt((double)n);

    while (root * root > n)
        root--;
    while ((root + 1) * (root + 1) <= n)
        root++;
    return root;
}

static cygnet_status shape_of_vector(struct image_shape *out, uint64_t n,
                                     struct image_shape from, cygnet_error *err)
{
    uint64_t side;

    *out = from;
    if (n == image_shape_size(from))
        return CYGNET_OK;
    side = n > (uint64_t)IMAGE_MAX_SIDE * IMAGE_MAX_SIDE ? 0 : square_root(n);
    if (side == 0 || side * side != n)
        return complain(err, CYGNET_ESHAPE, 0,
                        "a row of %llu numbers is neither a picture of the data nor a "
                        "square",
                        (unsigned long long)n);
    *out = (struct image_shape){1, (uint32_t)side, (uint32_t)side};
    return CYGNET_OK;
}

cygnet_status image_shape_of_row(struct image_shape *out, const uint64_t *dims,
                                 uint32_t n_dims, struct image_shape from,
                                 cygnet_error *err)
{
    for (uint32_t d = 0; d < n_dims; d++)
        if (dims[d] == 0 || (n_dims > 1 && dims[d] > IMAGE_MAX_SIDE))
            return complain(err, CYGNET_ESHAPE, 0, "an input side must be 1..%u",
                            IMAGE_MAX_SIDE);
    if (n_dims == 1)
        return shape_of_vector(out, dims[0], from, err);
    if (n_dims != 2 && n_dims != 3)
        return complain(err, CYGNET_ESHAPE, 0,
                        "an input of %u dimensions is not a picture", n_dims);
    out->channels = n_dims == 3 ? (uint32_t)dims[0] : 1;
    out->height = (uint32_t)dims[n_dims - 2];
    out->width = (uint32_t)dims[n_dims - 1];
    return CYGNET_OK;
}

static struct tap *make_taps(uint32_t n_in, uint32_t n_out)
{
    struct tap *taps = calloc(n_out, sizeof(*taps));

    if (!taps)
        return NULL;
    for (uint32_t i = 0; i < n_out; i++) {
        double at = ((double)i + 0.5) * n_in / n_out - 0.5;
        double last = (double)n_in - 1.0;

        at = at < 0.0 ? 0.0 : at > last ? last : at;
        taps[i].low = (uint32_t)at;
        taps[i].high = taps[i].low + 1 < n_in ? taps[i].low + 1 : taps[i].low;
        taps[i].weight = (float)(at - floor(at));
    }
    return taps;
}

static int side_ok(uint32_t side)
{
    return side > 0 && side <= IMAGE_MAX_SIDE;
}

static cygnet_status check_shapes(struct image_shape from, struct image_shape to,
                                  cygnet_error *err)
{
    if (!side_ok(to.height) || !side_ok(to.width) || to.channels == 0 ||
        to.channels > IMAGE_MAX_CHANNELS)
        return complain(err, CYGNET_ESHAPE, 0,
                        "input %ux%ux%u is outside 1..%u channels of 1..%u pixels a side",
                        to.channels, to.height, to.width, IMAGE_MAX_CHANNELS,
                        IMAGE_MAX_SIDE);
    if (from.channels != to.channels && from.channels != 1 &&
        !(from.channels == 3 && to.channels == 1))
        return complain(err, CYGNET_ESHAPE, 0,
                        "pictures of %u channels cannot be made into %u channels",
                        from.channels, to.channels);
    return CYGNET_OK;
}

cygnet_status image_plan_create(struct image_plan **out, struct image_shape from,
                                struct image_shape to, cygnet_error *err)
{
    struct image_plan *plan;
    cygnet_status st = check_shapes(from, to, err);

    *out = NULL;
    if (st != CYGNET_OK)
        return st;
    plan = calloc(1, sizeof(*plan));
    if (!plan)
        return complain(err, CYGNET_ENOMEM, 0, "no memory to resize pictures");
    plan->from = from;
    plan->to = to;
    plan->rows = make_taps(from.height, to.height);
    plan->columns = make_taps(from.width, to.width);
    plan->plane = calloc((size_t)from.height * from.width, sizeof(float));
    if (!plan->rows || !plan->columns || !plan->plane) {
        image_plan_destroy(plan);
        return complain(err, CYGNET_ENOMEM, 0, "no memory to resize pictures");
    }
    *out = plan;
    return CYGNET_OK;
}

/* The plane that becomes output channel c, scaled and normalised. */
static void load_plane(struct image_plan *plan, const uint8_t *pixels, uint32_t c)
{
    size_t n = (size_t)plan->from.height * plan->from.width;
    const uint8_t *own = pixels + (plan->from.channels == 1 ? 0 : c * n);
    int grey = plan->from.channels == 3 && plan->to.channels == 1;

    for (size_t i = 0; i < n; i++) {
        float p = (float)own[i];

        if (grey)
            p = 0.299f * (float)pixels[i] + 0.587f * (float)pixels[n + i] +
                0.114f * (float)pixels[2 * n + i];
        plan->plane[i] = (p / 255.0f - IMAGE_MEAN) / IMAGE_STD;
    }
}

static void resize_plane(const struct image_plan *plan, float *out)
{
    for (uint32_t r = 0; r < plan->to.height; r++) {
        struct tap v = plan->rows[r];
        const float *upper = plan->plane + (size_t)v.low * plan->from.width;
        const float *lower = plan->plane + (size_t)v.high * plan->from.width;

        for (uint32_t c = 0; c < plan->to.width; c++) {
            struct tap h = plan->columns[c];
            float top = upper[h.low] + h.weight * (upper[h.high] - upper[h.low]);
            float bottom = lower[h.low] + h.weight * (lower[h.high] - lower[h.low]);

            *out++ = top + v.weight * (bottom - top);
        }
    }
}

void image_plan_apply(struct image_plan *plan, float *out, const uint8_t *pixels)
{
    size_t n = (size_t)plan->to.height * plan->to.width;

    for (uint32_t c = 0; c < plan->to.channels; c++) {
        if (c == 0 || plan->from.channels > 1)
            load_plane(plan, pixels, c);
        resize_plane(plan, out + c * n);
    }
}

void image_plan_destroy(struct image_plan *plan)
{
    if (!plan)
        return;
    free(plan->rows);
    free(plan->columns);
    free(plan->plane);
    free(plan);
}
