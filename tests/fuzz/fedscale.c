/* What a FedScale aggregator sends: any bytes as the weights of a small model and as
 * what comes beside an event. Weights that are read can be sent again. */
#include "transport/fedscale_pickle.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The model of tests/golden/fedscale/weights_*.pickle. */
static const cygnet_tensor items[] = {
    {.name = "conv.weight", .dtype = CYGNET_F32, .n_dims = 4, .shape = {4, 3, 3, 3}},
    {.name = "conv.bias", .dtype = CYGNET_F32, .n_dims = 1, .shape = {4}},
    {.name = "bn.weight", .dtype = CYGNET_F32, .n_dims = 1, .shape = {4}},
    {.name = "bn.bias", .dtype = CYGNET_F32, .n_dims = 1, .shape = {4}},
    {.name = "bn.running_mean", .dtype = CYGNET_F32, .n_dims = 1, .shape = {4}},
    {.name = "bn.running_var", .dtype = CYGNET_F32, .n_dims = 1, .shape = {4}},
    {.name = "bn.num_batches_tracked", .dtype = CYGNET_I64},
    {.name = "fc.weight", .dtype = CYGNET_F32, .n_dims = 2, .shape = {10, 16}},
    {.name = "fc.bias", .dtype = CYGNET_F32, .n_dims = 1, .shape = {10}},
};
static const struct fedscale_layout layout = {items, sizeof(items) / sizeof(items[0])};

static void send_again(const cygnet_tensors *weights)
{
    static const struct fedscale_meta who = {.client_id = "1"};
    const struct fedscale_upload upload = {.who = &who,
                                           .weights = weights,
                                           .layout = &layout};
    struct bytes out;
    cygnet_status st;

    bytes_init(&out, 1 << 20, NULL);
    st = fedscale_upload_write(&out, &upload, NULL);
    if (st != CYGNET_OK && st != CYGNET_ENUMERIC && st != CYGNET_ENOMEM)
        abort();
    bytes_clear(&out);
}

static void read_weights(const uint8_t *data, size_t size)
{
    cygnet_tensors *list;
    cygnet_error err;

    if (fedscale_weights_read(&list, data, size, &layout, 4096, NULL, &err) ==
        CYGNET_OK) {
        if (!fedscale_has_weights(data, size) || cygnet_tensors_count(list) != layout.n ||
            cygnet_tensors_at(list, 7)->size_bytes != 640)
            abort();
        send_again(list);
    } else if (list || memchr(err.message, '\n', strlen(err.message))) {
        abort();
    }
    cygnet_tensors_destroy(list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fedscale_meta meta;

    read_weights(data, size);
    if (fedscale_meta_read(&meta, data, size, NULL, NULL) == CYGNET_OK &&
        (strlen(meta.client_id) > FEDSCALE_ID_MAX || !(meta.lr >= 0) || isinf(meta.lr)))
        abort();
    return 0;
}
