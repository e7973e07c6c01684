/* The update container, for servers and tools: what a client uploads is a
 * safetensors file whose metadata says how it was encoded. docs/update-format.md
 * describes it so that a server in any language can decode it in a few lines;
 * this header is the decoder for a server in C.
 *
 * Stability: stable.
 */
#ifndef CYGNET_UPDATE_H
#define CYGNET_UPDATE_H

#include <cygnet/tensors.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What the sender says of its contribution. Untrusted: a server checks it.
 *
 * struct_size  set by the caller to sizeof(cygnet_update_info) before the call
 * round        the round it belongs to
 * examples     training examples it saw (its weight in FedAvg)
 * steps        optimiser steps it took
 * codec        name of the codec, for instance "none" or "int8"; with "weights" the
 *              container has the local weights, and what is decoded is still deltas */
typedef struct cygnet_update_info {
    uint32_t struct_size;
    uint64_t round;
    uint64_t examples;
    uint64_t steps;
    char codec[32];
} cygnet_update_info;

/* Decodes an update: deltas (local weights - global weights) with the names, types,
 * shapes and order of `global`, against which it is checked: float32, and int64 for
 * what counts (num_batches_tracked).
 *
 * out        receives the deltas; destroy with cygnet_tensors_destroy
 * info       filled on success; may be NULL
 * data, len  the container's bytes
 * global     the round's global weights: names and shapes that must match
 * Errors: EFORMAT, ESHAPE (a tensor is missing, extra, or of another shape),
 * ENUMERIC (NaN or infinity), EUNSUPPORTED (codec; a type in `global`), ELIMIT, ENOMEM.
 * On failure *out is NULL. Never allocates more than a small multiple of `global`. */
CYGNET_API cygnet_status cygnet_update_decode(cygnet_tensors **out,
                                              cygnet_update_info *info, const void *data,
                                              size_t len, const cygnet_tensors *global,
                                              const cygnet_allocator *alloc,
                                              cygnet_error *err);

/* Codec names, for capability lists and help texts; NULL past the end. Static
 * storage. Any thread. */
CYGNET_API const char *cygnet_update_codec_name(uint32_t index);

#ifdef __cplusplus
}
#endif
#endif
