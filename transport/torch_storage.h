/* What torch.save writes of one storage in its format of before 1.6, which is how a
 * tensor travels in a pickle: five small pickles, then the raw elements.
 * Source: PyTorch, torch/serialization.py (_legacy_save). */
#ifndef TRANSPORT_TORCH_STORAGE_H
#define TRANSPORT_TORCH_STORAGE_H

#include <cygnet/alloc.h>
#include <cygnet/tensors.h>

/* data  little-endian, not aligned; borrowed from what was read */
struct torch_storage {
    cygnet_dtype dtype;
    uint64_t n_elements;
    const uint8_t *data;
    size_t size_bytes;
};

/* Errors: EFORMAT (also for big-endian bytes), EUNSUPPORTED (a storage other than of
 * F32 and I64), ELIMIT, ENOMEM. */
cygnet_status torch_storage_read(struct torch_storage *out, const void *data, size_t len,
                                 const cygnet_allocator *alloc, cygnet_error *err);

#endif
