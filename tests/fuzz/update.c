/* cygnet_update_decode against the weights of a small model, with and without a count
 * of batches. Whatever it accepts has their names and shapes. */
#include <cygnet/update.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The model of tests/unit/fl/test_update.c, whose containers are in the corpus. */
static cygnet_tensors *make_global(int counts)
{
    static const uint64_t matrix[] = {3, 5}, vector[] = {4};
    cygnet_tensors *list;

    if (cygnet_tensors_create(&list, 4096, NULL, NULL) != CYGNET_OK)
        return NULL;
    if (cygnet_tensors_add(NULL, list, "fc.weight", CYGNET_F32, matrix, 2, NULL) ||
        cygnet_tensors_add(NULL, list, "fc.bias", CYGNET_F32, vector, 1, NULL) ||
        cygnet_tensors_add(NULL, list, "scale", CYGNET_F32, NULL, 0, NULL))
        abort();
    if (counts && cygnet_tensors_add(NULL, list, "bn.num_batches_tracked", CYGNET_I64,
                                     NULL, 0, NULL))
        abort();
    return list;
}

static void decode(const uint8_t *data, size_t size, int counts)
{
    cygnet_update_info info = {.struct_size = sizeof(info)};
    cygnet_tensors *global = make_global(counts);
    cygnet_tensors *deltas;
    cygnet_error err;

    if (!global)
        return;
    if (cygnet_update_decode(&deltas, &info, data, size, global, NULL, &err) ==
        CYGNET_OK) {
        if (cygnet_tensors_count(deltas) != cygnet_tensors_count(global) ||
            strcmp(cygnet_tensors_at(deltas, 0)->name, "fc.weight") != 0 ||
            cygnet_tensors_at(deltas, 0)->size_bytes != 60)
            abort();
        if (counts && cygnet_tensors_at(deltas, 3)->dtype != CYGNET_I64)
            abort();
    } else if (deltas || memchr(err.message, '\n', strlen(err.message))) {
        abort();
    }
    cygnet_tensors_destroy(deltas);
    cygnet_tensors_destroy(global);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    decode(data, size, 0);
    decode(data, size, 1);
    return 0;
}
