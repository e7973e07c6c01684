/* Names, types and shapes of a job's model: what a dialect needs where tensors travel
 * without names. */
#ifndef SDK_LAYOUT_H
#define SDK_LAYOUT_H

#include <cygnet/cygnet.h>

/* tensors  (n_tensors) in PyTorch's state_dict order; `data` is NULL
 * bytes    of all of them */
struct layout {
    cygnet_tensor *tensors;
    size_t n_tensors;
    uint64_t bytes;
    char *names;
    const cygnet_allocator *alloc;
};

/* Builds the job's model for a moment to read it off.
 * max_bytes  refuse a model of more
 * out        receives it; free with layout_clear
 * Errors: EINVAL "job: why its model cannot be built", ENOMEM. */
cygnet_status layout_init(struct layout *out, const cygnet_job *job, uint64_t max_bytes,
                          const cygnet_allocator *alloc, cygnet_error *err);
void layout_clear(struct layout *layout); /* accepts a zeroed one */

#endif
