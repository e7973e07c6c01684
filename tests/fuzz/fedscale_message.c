/* Any bytes as an answer of FedScale: refused, or an event and two views inside. */
#include "transport/fedscale_message.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_view(const uint8_t *view, size_t len, const uint8_t *data, size_t size)
{
    if ((view == NULL) != (len == 0))
        abort();
    if (view && (view < data || len > size || view + len > data + size))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fedscale_response r;

    if (fedscale_response_read(&r, data, size, NULL) == CYGNET_OK) {
        if (!r.name[0] || strlen(r.name) > FEDSCALE_EVENT_MAX)
            abort();
        check_view(r.meta, r.meta_len, data, size);
        check_view(r.data, r.data_len, data, size);
    } else if (r.name[0] || r.meta || r.data) {
        abort();
    }
    return 0;
}
