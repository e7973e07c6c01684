/* What the depthwise kernels share. Include in kernels_depthwise*.c only. */
#ifndef ENGINE_NN_DEPTHWISE_PARTS_H
#define ENGINE_NN_DEPTHWISE_PARTS_H

#include "engine/nn/activation.h"
#include "engine/nn/kernels_class.h"

/* Elements of scratch that there are for any shape. */
enum { DEPTHWISE_SCRATCH = 32768 };

/* Images of few positions, all of which are gone through together. */
bool OF_CLASS(depthwise_is_small)(const struct conv2d_shape *shape);
void OF_CLASS(depthwise_small_forward)(const struct depthwise_forward *d);
void OF_CLASS(depthwise_small_backward)(const struct depthwise_backward *d);

/* Three ways to apply an activation: none, relu and relu6 clip to [low, high];
 * hardswish is common enough for code of its own; the rest is looked up. */
enum way { WAY_CLIP, WAY_HARDSWISH, WAY_ANY };

struct reader {
    vec scale, shift, low, high;
    enum activation act;
};

static inline enum way way_of(enum activation act)
{
    if (act == ACT_NONE || act == ACT_RELU || act == ACT_RELU6)
        return WAY_CLIP;
    return act == ACT_HARDSWISH && !FEW_VARIANTS ? WAY_HARDSWISH : WAY_ANY;
}

static inline struct reader reader_of(const struct reading *r, size_t c)
{
    struct reader reader;

    reader.scale = r->scale ? vec_load(r->scale + c) : vec_splat(1);
    reader.shift = r->scale ? vec_load(r->shift + c) : vec_zero();
    reader.low = vec_splat(r->act == ACT_NONE ? (real)-INFINITY : 0);
    reader.high = vec_splat(r->act == ACT_RELU6 ? 6 : (real)INFINITY);
    reader.act = r->act;
    return reader;
}

ALWAYS_INLINE vec value_of(vec v, const struct reader *r, enum way way)
{
    if (way == WAY_CLIP)
        return vec_min(r->high, vec_max(r->low, v));
    return act_value(v, way == WAY_HARDSWISH ? ACT_HARDSWISH : r->act);
}

ALWAYS_INLINE vec gradient_of(vec g, vec v, const struct reader *r, enum way way)
{
    if (way == WAY_CLIP)
        return vec_if_less(r->low, v, vec_if_less(v, r->high, g));
    return act_gradient(g, v, way == WAY_HARDSWISH ? ACT_HARDSWISH : r->act);
}

#endif
