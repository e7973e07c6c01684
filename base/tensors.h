/* The inside of cygnet_tensors, for tensors.c and safetensors.c. */
#ifndef BASE_TENSORS_H
#define BASE_TENSORS_H

#include <cygnet/tensors.h>
#include <stdbool.h>

struct tensors_pair {
    struct tensors_pair *next;
    char *key;
    char *value;
};

/* buckets  open addressing over names: 0 is free, else 1 + index into items */
struct cygnet_tensors {
    const cygnet_allocator *alloc;
    uint64_t max_bytes;
    uint64_t bytes;
    cygnet_tensor **items;
    size_t count;
    size_t cap;
    uint32_t *buckets;
    size_t n_buckets;
    struct tensors_pair *metadata;
    size_t n_pairs;
    size_t metadata_bytes;
};

/* false: no such dtype in this build. */
bool dtype_of_name(cygnet_dtype *out, const char *name);

/* Elements times their size; false when that overflows. */
bool tensor_size_bytes(uint64_t *out, cygnet_dtype dtype, const uint64_t *shape,
                       uint32_t n_dims);

#endif
