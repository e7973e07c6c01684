/* Codecs "none" and "weights": the numbers as they are, of the change or of the
 * weights. */
#include "base/error.h"
#include "fl/codec.h"

#include <inttypes.h>
#include <string.h>

static uint64_t max_bytes(const cygnet_tensor *like)
{
    return like->size_bytes;
}

static cygnet_status encode(const struct codec_writer *w, const cygnet_tensor *like,
                            const void *values, size_t index, cygnet_error *err)
{
    cygnet_tensor *stored;
    cygnet_status st = cygnet_tensors_add(&stored, w->container, like->name, like->dtype,
                                          like->shape, like->n_dims, err);

    (void)index;
    if (st == CYGNET_OK && like->size_bytes > 0)
        memcpy(stored->data, values, (size_t)like->size_bytes);
    return st;
}

static cygnet_status decode(void *values, const struct codec_reader *r,
                            const cygnet_tensor *like, const cygnet_tensor *stored,
                            cygnet_error *err)
{
    (void)r;
    if (stored->dtype != like->dtype)
        return fail(err, CYGNET_ESHAPE, 0, "update: tensor \"%s\" is %s, not %s",
                    like->name, cygnet_dtype_name(stored->dtype),
                    cygnet_dtype_name(like->dtype));
    if (stored->n_dims != like->n_dims ||
        memcmp(stored->shape, like->shape, like->n_dims * sizeof(like->shape[0])) != 0)
        return fail(err, CYGNET_ESHAPE, 0,
                    "update: tensor \"%s\" has another shape than the global weights",
                    like->name);
    if (like->size_bytes > 0)
        memcpy(values, stored->data, (size_t)like->size_bytes);
    return CYGNET_OK;
}

static const char *const no_stages[] = {NULL};

const struct codec codec_none = {
    .name = "none",
    .kind = "delta",
    .stages = no_stages,
    .max_bytes = max_bytes,
    .encode = encode,
    .decode = decode,
};

const struct codec codec_weights = {
    .name = "weights",
    .kind = "weights",
    .stages = no_stages,
    .max_bytes = max_bytes,
    .encode = encode,
    .decode = decode,
};
