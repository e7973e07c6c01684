/* Evaluation of the global weights on the host's data: a task of kind EVALUATE. */
#ifndef FL_EVALUATOR_H
#define FL_EVALUATOR_H

#include "fl/trainer.h"

/* end       DONE, or NO_TIME, NO_ENERGY or STOPPED: then the rest says nothing of use
 * examples  that were evaluated
 * steps     batches
 * loss_sum  of the cross-entropy, in nats
 * top_1     examples whose label has the largest output (ties: the lower class first)
 * top_5     or one of the five largest */
struct evaluator_result {
    enum trainer_end end;
    uint64_t examples;
    uint64_t steps;
    uint64_t n_steps;
    double loss_sum;
    uint64_t top_1;
    uint64_t top_5;
    int64_t ms;
};

/* Takes what a trainer would be given; drops_single and samples_per_s mean nothing. An
 * evaluation is whole or it is nothing: a part of the examples, always the same, would
 * pass for all of them. Batches come in order, so that the sums repeat bit by bit.
 * Errors: EHOST, EDATA (a label out of range too), ENUMERIC, ECANCELLED, ENOMEM. */
cygnet_status evaluator_run(struct evaluator_result *out, const struct trainer *trainer,
                            cygnet_error *err);

#endif
