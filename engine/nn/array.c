/* Growing lists by doubling. */
#include "engine/nn/array.h"

#include "base/alloc.h"

#include <stdint.h>
#include <string.h>

enum { FIRST_CAPACITY = 16 };

bool array_grow(void *items, size_t *cap, size_t n, size_t item_size,
                const cygnet_allocator *alloc)
{
    void *list;
    size_t wanted = *cap > 0 ? 2 * *cap : FIRST_CAPACITY;

    memcpy(&list, items, sizeof(list));
    if (n == *cap) {
        if (wanted > SIZE_MAX / item_size)
            return false;
        list = mem_resize(alloc, list, wanted * item_size);
        if (!list)
            return false;
        memcpy(items, &list, sizeof(list));
        *cap = wanted;
    }
    memset((char *)list + n * item_size, 0, item_size);
    return true;
}
