/* Encoding of the update container (docs/update-format.md). Decoding is public:
 * <cygnet/update.h>. */
#ifndef FL_UPDATE_H
#define FL_UPDATE_H

#include <cygnet/tensors.h>
#include <cygnet/update.h>
#include <stdbool.h>

/* What goes into a container. Everything is borrowed for the call.
 *
 * local, global  weights with the same names, types and shapes: F32, or I64 for counts
 * codec          "none", "int8", "weights"
 * seed           of stochastic rounding
 * max_bytes      refuse to make a larger container; 0: no limit */
struct update_content {
    const cygnet_tensors *local;
    const cygnet_tensors *global;
    const char *codec;
    uint64_t round;
    uint64_t examples;
    uint64_t steps;
    uint64_t seed;
    uint64_t max_bytes;
    const cygnet_allocator *alloc;
};

/* The bytes of a container, and the list that owns them. */
struct update {
    cygnet_tensors *container;
    void *data;
    size_t len;
};

bool update_codec_known(const char *name);

/* Names of codecs, for capability lists; NULL past the end. */
const char *update_codec_name(uint32_t index);

/* Whether every tensor can be carried by an update.
 * Errors: EUNSUPPORTED with the name of a tensor that is neither F32 nor I64. */
cygnet_status update_check_weights(const cygnet_tensors *global, cygnet_error *err);

/* Makes the container of local - global or, with codec "weights", of local.
 * out  receives it; free with update_clear
 * Errors: EUNSUPPORTED (codec, a tensor that is neither F32 nor I64), ESHAPE (the lists
 * differ), ENUMERIC (a value is not finite), ELIMIT, ENOMEM. */
cygnet_status update_encode(struct update *out, const struct update_content *content,
                            cygnet_error *err);
void update_clear(struct update *update); /* accepts a zeroed one */

#endif
