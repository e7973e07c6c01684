/* The inside tier of <cygnet/nn.h>: what fl/ and sdk/ need beyond it. */
#ifndef ENGINE_NN_MODEL_H
#define ENGINE_NN_MODEL_H

#include "base/stop.h"
#include "engine/nn/executor.h"

#include <cygnet/nn.h>

/* Checked options of any struct_size that a release had, over the defaults.
 * Errors: EINVAL. */
cygnet_status model_read_options(cygnet_model_options *out,
                                 const cygnet_model_options *options, cygnet_error *err);

/* As cygnet_model_create, on the given executor (borrowed for the model's life;
 * options->n_threads is ignored). */
cygnet_status model_create(cygnet_model **out, const cygnet_model_options *options,
                           struct nn_executor *executor, cygnet_error *err);

/* An executor that a model is to own: it calls `release` on it when it is destroyed.
 * `bytes` is what the executor holds, and counts as planned. */
struct owned_executor {
    struct nn_executor *executor;
    void (*release)(struct nn_executor *executor);
    uint64_t bytes;
};

/* The same on an executor of its own; on failure it is still the caller's. */
cygnet_status model_create_owner(cygnet_model **out, const cygnet_model_options *options,
                                 const struct owned_executor *owned, cygnet_error *err);

/* What rounding depends on beside the model: the class of kernels that this CPU gets,
 * such as "AVX-512". Static text. */
const char *model_numeric_class(void);

/* The executor that the model runs on, its own or the owner's; borrowed. */
struct nn_executor *model_executor(const cygnet_model *model);

/* Lets another thread end a step or an evaluation early: looked at before each
 * block. A stopped step returns ECANCELLED. Stopped before it went backward, or with
 * separate_update, it leaves weights and optimiser state as they were before it; else
 * the weights have to be set again. NULL: never (the default). */
void model_set_stop(cygnet_model *model, const cygnet_stop *stop);

/* Loss of each example, in order, of the last batch that a train_step, gradients or
 * evaluate call went through (an evaluation beyond max_batch: its last part only);
 * borrowed until the next call. Holds nothing of use after a call that failed. For
 * the statistical utility of a round. */
const float *model_example_losses(const cygnet_model *model);

/* What one step on n examples asks of a machine: for models of devices and for
 * rooflines. Multiplications and additions are counted each; every operand is
 * read or written once. An evaluation is the forward part. */
struct model_cost {
    double forward_flops;
    double backward_flops;
    double forward_bytes;
    double backward_bytes;
};

struct model_cost model_cost_of_step(const cygnet_model *model, uint32_t n);

#endif
