/* Reading the settings of an optimiser. */
#ifndef ENGINE_NN_OPTIMIZER_H
#define ENGINE_NN_OPTIMIZER_H

#include "engine/nn/graph.h"
#include "engine/nn/update.h"

#include <cygnet/nn.h>

/* The caller's settings of any struct_size that a release had, over the defaults of
 * their kind; checked, also against what the model was planned for.
 * Errors: EINVAL. */
cygnet_status optimizer_read(cygnet_optimizer *out, const cygnet_optimizer *given,
                             const struct update_plan *plan, cygnet_error *err);
cygnet_status optimizer_read_sgd(cygnet_optimizer *out, const cygnet_sgd *given,
                                 const struct update_plan *plan, cygnet_error *err);

/* What an optimiser of that kind remembers at most. */
enum update_state optimizer_state(cygnet_optimizer_kind kind);

/* For Adam's step t = 1, 2, ... since its state was reset. */
void optimizer_settings(struct update_settings *out, const cygnet_optimizer *optimizer,
                        uint64_t t);

#endif
