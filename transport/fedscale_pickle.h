/* The pickles that a FedScale aggregator sends and takes. What it takes must be
 * right: it dies of a missing key or a wrong shape, and all clients with it.
 * Source: FedScale, fedscale/cloud/ at commit 7ec441c. */
#ifndef TRANSPORT_FEDSCALE_PICKLE_H
#define TRANSPORT_FEDSCALE_PICKLE_H

#include "base/bytes.h"
#include "transport/fedscale_message.h"

#include <cygnet/tensors.h>
#include <stdbool.h>

/* Names, dtypes (F32 or I64) and shapes of the model's tensors, in the order of
 * PyTorch's state_dict(); the data are not looked at. Borrowed. */
struct fedscale_layout {
    const cygnet_tensor *items;
    size_t n;
};

/* Whether the data of an event are a list, as weights are, and not a string. */
bool fedscale_has_weights(const void *data, size_t len);

/* Reads the weights, which travel without names.
 * out        receives them under the layout's names; destroy the list
 * max_bytes  limit on their data
 * Errors: ESHAPE naming the tensor, what was expected and what came; as pickle_load
 * and torch_storage_read; EFORMAT for a tensor that is not contiguous. On failure
 * *out is NULL. */
cygnet_status fedscale_weights_read(cygnet_tensors **out, const void *data, size_t len,
                                    const struct fedscale_layout *layout,
                                    uint64_t max_bytes, const cygnet_allocator *alloc,
                                    cygnet_error *err);

/* What comes beside an event.
 *
 * client_id      to be sent back as it came; "" when there was none
 * client_id_int  the same when client_id_is_int: simulations count their clients
 * lr             the learning rate, finite and not negative, when has_lr */
struct fedscale_meta {
    char client_id[FEDSCALE_ID_MAX + 1];
    bool client_id_is_int;
    int64_t client_id_int;
    bool has_lr;
    double lr;
};

/* A string instead of a dict is an event without any. Errors: as pickle_load, EFORMAT
 * for an id or a learning rate of another kind or out of range. */
cygnet_status fedscale_meta_read(struct fedscale_meta *out, const void *data, size_t len,
                                 const cygnet_allocator *alloc, cygnet_error *err);

/* Appends the executor_info of a registration. Errors as bytes_append, all below. */
cygnet_status fedscale_info_write(struct bytes *out, uint64_t n_examples,
                                  cygnet_error *err);

/* Sums over the examples that were looked at; test_len is their number. */
struct fedscale_results {
    double top_1;
    double top_5;
    double test_loss;
    double test_len;
};

/* Appends the results of a model_test. Also EINVAL: a value is not finite or
 * negative, or test_len is 0. */
cygnet_status fedscale_results_write(struct bytes *out, const char *executor_id,
                                     const struct fedscale_results *results,
                                     cygnet_error *err);

/* An upload. The weights are found by the layout's names.
 *
 * moving_loss   not negative
 * trained_size  examples
 * wall_s        the training's duration */
struct fedscale_upload {
    const struct fedscale_meta *who;
    const cygnet_tensors *weights;
    const struct fedscale_layout *layout;
    double moving_loss;
    double utility;
    uint64_t trained_size;
    bool success;
    double wall_s;
};

/* Appends the data of an upload_model. Also EINVAL (a number that is not finite or
 * negative, no client id), ESHAPE (weights that are not the layout's), ENUMERIC (a
 * weight that is not finite). */
cygnet_status fedscale_upload_write(struct bytes *out,
                                    const struct fedscale_upload *upload,
                                    cygnet_error *err);

#endif
