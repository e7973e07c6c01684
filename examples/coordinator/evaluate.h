/* The model of the run: its initial weights, and how good weights are on the
 * held-out split. */
#ifndef COORDINATOR_EVALUATE_H
#define COORDINATOR_EVALUATE_H

#include "options.h"

#include <cygnet/tensors.h>

struct evaluator;

/* Builds the model and reads the held-out split when there is one; fills in
 * options->input when it was left to the architecture.
 * Errors: as cygnet_model_create and dataset_open; EDATA (labels, no rows). */
cygnet_status evaluator_create(struct evaluator **out, struct options *options,
                               cygnet_error *err);
void evaluator_destroy(struct evaluator *e); /* accepts NULL */

/* The weights to start from: options->initial_weights or drawn from the seed.
 * Errors: as cygnet_tensors_load and cygnet_model_set_weights. */
cygnet_status evaluator_initial(cygnet_tensors **out, struct evaluator *e,
                                const struct options *options, cygnet_error *err);

/* Mean loss and accuracy on the held-out split; NaN without one. One thread at a
 * time. Errors: as cygnet_model_set_weights and cygnet_model_evaluate. */
cygnet_status evaluator_run(double *loss, double *accuracy, struct evaluator *e,
                            const cygnet_tensors *weights, cygnet_error *err);

#endif
