/* What a batch has to be, before anything is computed: for steps and evaluations. */
#ifndef ENGINE_NN_BATCH_H
#define ENGINE_NN_BATCH_H

#include "engine/nn/model_parts.h"

/* Of one example, as the caller has it. */
size_t model_input_elements(const cygnet_model *model);

/* n of a step. Errors: EINVAL. */
cygnet_status batch_check_count(const cygnet_model *model, uint32_t n, cygnet_error *err);

/* Errors: EDATA (which label). */
cygnet_status batch_check_labels(const cygnet_model *model, const int64_t *y, uint64_t n,
                                 cygnet_error *err);

/* Errors: ENUMERIC (which example has NaN or infinity), EDATA (which symbol is none). */
cygnet_status batch_check_inputs(const cygnet_model *model, const float *x, uint64_t n,
                                 cygnet_error *err);

/* Batch statistics of a single value are refused, as PyTorch does, in each piece of the
 * batch. Errors: EINVAL (which layer wants how many examples). */
cygnet_status batch_check_min_batch(const cygnet_model *model, uint32_t n,
                                    cygnet_error *err);

#endif
