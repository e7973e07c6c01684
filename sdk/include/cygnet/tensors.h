/* A bounded, ordered list of named tensors: the form in which weights cross
 * every door of the library, and its one file format, safetensors.
 *
 * Stability: stable.
 */
#ifndef CYGNET_TENSORS_H
#define CYGNET_TENSORS_H

#include <cygnet/alloc.h>
#include <cygnet/status.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CYGNET_TENSOR_MAX_DIMS 8       /* dimensions of a tensor */
#define CYGNET_TENSOR_NAME_MAX 255     /* bytes of a name, without the NUL */
#define CYGNET_TENSORS_MAX_COUNT 65536 /* tensors in a list */

/* Element types, as safetensors spells them. Append-only. */
typedef enum cygnet_dtype {
    CYGNET_F32 = 0,
    CYGNET_F64 = 1,
    CYGNET_F16 = 2,
    CYGNET_BF16 = 3,
    CYGNET_I64 = 4,
    CYGNET_I32 = 5,
    CYGNET_I16 = 6,
    CYGNET_I8 = 7,
    CYGNET_U8 = 8,
    CYGNET_BOOL = 9
} cygnet_dtype;

/* One tensor. Row-major, little-endian, tightly packed. `name`, `shape` and
 * `data` belong to the list and live as long as it does. A scalar has n_dims 0.
 * `data` is aligned to 64 bytes in lists that own their bytes. */
typedef struct cygnet_tensor {
    const char *name;
    cygnet_dtype dtype;
    uint32_t n_dims;
    uint64_t shape[CYGNET_TENSOR_MAX_DIMS];
    void *data;
    uint64_t size_bytes;
} cygnet_tensor;

typedef struct cygnet_tensors cygnet_tensors;

/* Bytes of one element; 0 for an unknown type. */
CYGNET_API size_t cygnet_dtype_size(cygnet_dtype dtype);

/* safetensors' name of the type ("F32"); NULL for an unknown type. */
CYGNET_API const char *cygnet_dtype_name(cygnet_dtype dtype);

/* An empty list that may grow to `max_bytes` of tensor data.
 * out  receives the list; destroy it with cygnet_tensors_destroy
 * Errors: ENOMEM. On failure *out is NULL. */
CYGNET_API cygnet_status cygnet_tensors_create(cygnet_tensors **out, uint64_t max_bytes,
                                               const cygnet_allocator *alloc,
                                               cygnet_error *err);

/* Appends a zeroed tensor that the list owns.
 * out  receives a pointer into the list, valid until the list is destroyed;
 *      may be NULL
 * Errors: EINVAL (empty, over-long or repeated name, bad shape), ELIMIT
 * (max_bytes or CYGNET_TENSORS_MAX_COUNT exceeded), ENOMEM. */
CYGNET_API cygnet_status cygnet_tensors_add(cygnet_tensor **out, cygnet_tensors *list,
                                            const char *name, cygnet_dtype dtype,
                                            const uint64_t *shape, uint32_t n_dims,
                                            cygnet_error *err);

/* The number of tensors in the list. */
CYGNET_API size_t cygnet_tensors_count(const cygnet_tensors *list);

/* Borrowed until the list is destroyed; NULL when index is out of range. */
CYGNET_API const cygnet_tensor *cygnet_tensors_at(const cygnet_tensors *list,
                                                  size_t index);

/* Borrowed until the list is destroyed; NULL when there is no such name. */
CYGNET_API const cygnet_tensor *cygnet_tensors_find(const cygnet_tensors *list,
                                                    const char *name);

/* Attaches a metadata pair (safetensors `__metadata__`), replacing one of the
 * same key. Both strings are copied.
 * Errors: EINVAL, ELIMIT (1 MiB or 4096 pairs of metadata), ENOMEM. */
CYGNET_API cygnet_status cygnet_tensors_set_metadata(cygnet_tensors *list,
                                                     const char *key, const char *value,
                                                     cygnet_error *err);

/* Borrowed until the list is changed or destroyed; NULL when absent. */
CYGNET_API const char *cygnet_tensors_metadata(const cygnet_tensors *list,
                                               const char *key);

/* Parses a whole safetensors file held in memory; copies what it keeps.
 * Strict: see docs/safetensors.md for what is refused.
 * out        receives the list
 * max_bytes  limit on the tensor data (and with it on the file)
 * Errors: EFORMAT with the reason and the tensor's name, ELIMIT, EUNSUPPORTED
 * (a dtype this build does not know), ENOMEM. On failure *out is NULL. */
CYGNET_API cygnet_status cygnet_tensors_parse(cygnet_tensors **out, const void *data,
                                              size_t len, uint64_t max_bytes,
                                              const cygnet_allocator *alloc,
                                              cygnet_error *err);

/* Reads a safetensors file. Errors: as cygnet_tensors_parse, and ENOTFOUND,
 * ESTORAGE. */
CYGNET_API cygnet_status cygnet_tensors_load(cygnet_tensors **out, const char *path,
                                             uint64_t max_bytes,
                                             const cygnet_allocator *alloc,
                                             cygnet_error *err);

/* Writes the list as a safetensors file, atomically: `path` either keeps what
 * it was or holds the whole new file. Errors: ELIMIT (names and metadata make a
 * header of more than 16 MiB), ESTORAGE, ENOSPC, ENOMEM. */
CYGNET_API cygnet_status cygnet_tensors_save(const cygnet_tensors *list, const char *path,
                                             cygnet_error *err);

/* Serialises the list into one allocation of the list's allocator.
 * out, out_len  receive it; free it with cygnet_tensors_free_bytes
 * Errors: ELIMIT as cygnet_tensors_save, ENOMEM. On failure *out is NULL. */
CYGNET_API cygnet_status cygnet_tensors_serialize(void **out, size_t *out_len,
                                                  const cygnet_tensors *list,
                                                  cygnet_error *err);
CYGNET_API void cygnet_tensors_free_bytes(const cygnet_tensors *list, void *bytes);

/* Accepts NULL. */
CYGNET_API void cygnet_tensors_destroy(cygnet_tensors *list);

#ifdef __cplusplus
}
#endif
#endif
