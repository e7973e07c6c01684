#include "tests/unit/transport/pickle_fixture.h"

#include <stdio.h>
#include <stdlib.h>

#define MAX_BYTES 65536

#define F32(of, n, ...)                                                                  \
    {                                                                                    \
        .name = (of), .dtype = CYGNET_F32, .n_dims = (n), .shape = { __VA_ARGS__ }       \
    }

static const cygnet_tensor small_items[] = {
    F32("conv.weight", 4, 4, 3, 3, 3),
    F32("conv.bias", 1, 4),
    F32("bn.weight", 1, 4),
    F32("bn.bias", 1, 4),
    F32("bn.running_mean", 1, 4),
    F32("bn.running_var", 1, 4),
    {.name = "bn.num_batches_tracked", .dtype = CYGNET_I64},
    F32("fc.weight", 2, 10, 16),
    F32("fc.bias", 1, 10),
};
static const cygnet_tensor dense_items[] = {
    F32("fc.weight", 2, 10, 784),
    F32("fc.bias", 1, 10),
};

const struct fedscale_layout small_layout = {small_items, 9};
const struct fedscale_layout dense_layout = {dense_items, 2};

uint8_t *exact_copy(const void *data, size_t len)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);

    assert_non_null(copy);
    if (len > 0)
        memcpy(copy, data, len);
    return copy;
}

uint8_t *golden_read(size_t *len, const char *name)
{
    static uint8_t room[MAX_BYTES];
    char path[1024];
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/%s", GOLDEN_DIR, name);
    file = fopen(path, "rb");
    if (!file)
        fail_msg("cannot read %s", path);
    *len = fread(room, 1, sizeof(room), file);
    (void)fclose(file);
    assert_in_range(*len, 1, sizeof(room) - 1);
    return exact_copy(room, *len);
}
