/* Any bytes as a safetensors file: refused, or read, written and read again. */
#include <cygnet/tensors.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cygnet_tensors *list;
    cygnet_tensors *again;
    void *bytes;
    size_t len;

    if (cygnet_tensors_parse(&list, data, size, 1 << 20, NULL, NULL) != CYGNET_OK)
        return 0;
    if (cygnet_tensors_serialize(&bytes, &len, list, NULL) == CYGNET_OK) {
        if (cygnet_tensors_parse(&again, bytes, len, 1 << 20, NULL, NULL) != CYGNET_OK ||
            cygnet_tensors_count(again) != cygnet_tensors_count(list))
            abort();
        cygnet_tensors_destroy(again);
        cygnet_tensors_free_bytes(list, bytes);
    }
    cygnet_tensors_destroy(list);
    return 0;
}
