/* Random convolutions with something in front of them and behind them, for tests of
 * layers of any shape. */
#ifndef TESTS_ENGINE_LAYER_CASES_H
#define TESTS_ENGINE_LAYER_CASES_H

#include "fixture.h"

/* conv     with its geometry filled in, for the image that it sees
 * pool     if has_pool
 * image    channels of the input; its size is the convolution's
 * batch    examples
 * planar   the convolution reads the input, which has no gradient; else behind a 1x1
 *          convolution
 * before   in front of it, behind a norm if normed_before; ACT_NONE: nothing
 * after    the same behind it, in front of the pool
 * is_direct  a linear layer reads all of what comes out, rather than means of parts
 * shared   another layer reads what it reads: 0 none, 1 first, 2 last */
struct layer_case {
    struct conv2d_shape conv;
    struct pool2d_shape pool;
    size_t image, batch;
    bool planar, has_bias, has_pool, is_direct;
    bool normed_before, normed_after;
    enum activation before, after;
    int shared;
};

/* CYGNET_SEED, or the usual one. */
uint64_t layer_seed(void);

/* Case `index` of a seed. smooth: without functions that have corners, so that a
 * difference is a derivative. */
struct layer_case layer_case_of(uint64_t seed, size_t index, bool smooth);

/* For a test's end: says which seed it was, and which case was the last. */
int layer_case_say(void **state);

/* Tensors of the graph that is built: what the convolution sees, what it gives (which
 * is not stored if a pool has it), and what the pool gives, or the function behind the
 * convolution. */
struct layer_tensors {
    int in, out, end;
};

struct layer_tensors layer_case_build(struct graph *graph, const struct layer_case *c);

#endif
