/* Update codecs: one row each in the table of update.c. A codec turns one tensor
 * of float32 values into one tensor of the container, and back. Tensors of I64, which
 * count, and those of fewer than two dimensions (biases, the state of batch norms) are
 * always carried by codec_none. */
#ifndef FL_CODEC_H
#define FL_CODEC_H

#include "base/json.h"

#include <cygnet/tensors.h>

/* What an encoder works with for one container.
 *
 * container  receives one tensor per call, under the name of `like`
 * tensors    the "tensors" object of cygnet_codec, open for one member per call
 * seed       of stochastic rounding */
struct codec_writer {
    cygnet_tensors *container;
    struct json_builder *tensors;
    uint64_t seed;
    const cygnet_allocator *alloc;
};

/* What a decoder works with.
 *
 * tensors  the "tensors" object of cygnet_codec; NULL when absent */
struct codec_reader {
    const struct json *tensors;
    const cygnet_allocator *alloc;
};

/* `like` has at least two dimensions, but for codec_none.
 *
 * name        as in a task's update.codec
 * kind        what it carries: "delta", or "weights": the local weights themselves
 * stages      the names of its stages, NULL-terminated
 * parameters  writes the members of cygnet_codec.parameters; NULL: none
 * max_bytes   most bytes that a tensor like this takes in a container
 * encode      appends the tensor of `values`, which have like's type and shape, number
 *             `index` of its list. Errors: ENOMEM, ELIMIT.
 * decode      fills `values`, of like's type and shape, from `stored`, which is not
 *             trusted. Errors: EFORMAT, ESHAPE, ENOMEM. The caller checks for
 *             infinities. */
struct codec {
    const char *name;
    const char *kind;
    const char *const *stages;
    void (*parameters)(struct json_builder *b, uint64_t seed);
    uint64_t (*max_bytes)(const cygnet_tensor *like);
    cygnet_status (*encode)(const struct codec_writer *w, const cygnet_tensor *like,
                            const void *values, size_t index, cygnet_error *err);
    cygnet_status (*decode)(void *values, const struct codec_reader *r,
                            const cygnet_tensor *like, const cygnet_tensor *stored,
                            cygnet_error *err);
};

extern const struct codec codec_none;
extern const struct codec codec_int8;
extern const struct codec codec_weights;

#endif
