/* The weights of a round, shared between threads by counting references: an
 * update may still be decoded against them while the next round's take over. */
#ifndef COORDINATOR_GLOBAL_H
#define COORDINATOR_GLOBAL_H

#include "files.h"

#include <cygnet/tensors.h>

struct global;

/* Consumes `weights`, also on failure; writes them durably as a blob.
 * Errors: ESTORAGE, ENOSPC, ENOMEM. */
cygnet_status global_create(struct global **out, cygnet_tensors *weights,
                            const struct files *files, cygnet_error *err);

/* Reads a blob and checks its hash. Errors: ENOTFOUND, EHASH, EFORMAT, ... */
cygnet_status global_load(struct global **out, const char *hex, const struct files *files,
                          cygnet_error *err);

struct global *global_ref(struct global *g);
void global_unref(struct global *g); /* accepts NULL */

const cygnet_tensors *global_weights(const struct global *g);
const char *global_sha256(const struct global *g);
size_t global_size(const struct global *g); /* bytes of the blob */

/* Bytes that an update of these weights may have. */
size_t global_max_update(const struct global *g);

#endif
