/* Any bytes as what the Swan engine reads: a stored profile, a trace to replay. Refused,
 * or something that can be decided on. */
#include "engine/swan/profile.h"
#include "engine/swan/replay.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_profile(const uint8_t *data, size_t size)
{
    static struct profile profile;

    if (profile_read(&profile, data, size, NULL) != CYGNET_OK)
        return;
    for (size_t i = 0; i < profile.n_entries; i++) {
        const struct profile_entry *e = &profile.entries[i];

        if (e->pruned_by >= (int32_t)i || (e->n_samples > 0 && !(e->step_ms > 0)))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes out;

    bytes_init(&out, REPLAY_MAX_OUT_BYTES, NULL);
    if (replay_run(&out, data, size, NULL) == CYGNET_OK && out.len == 0)
        abort();
    bytes_clear(&out);
    read_profile(data, size);
    return 0;
}
