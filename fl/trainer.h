/* Local training of one round: the task's epochs or steps over the host's data, as
 * long as the deadline allows. */
#ifndef FL_TRAINER_H
#define FL_TRAINER_H

#include "base/clock.h"
#include "engine/swan/swan.h"
#include "fl/dataset.h"

#include <stdbool.h>

/* Everything is borrowed for the call.
 *
 * model            has the global weights and room for the batch
 * drops_single     an epoch's last batch is left out when it is a single example, which
 *                  batch norms may have no use for
 * swan             runs the steps, a training having begun; NULL: they run as they are
 * finish_by_ms     mono time at which training has to be over
 * samples_per_s    speed of an earlier round; NaN: unknown
 * stop             ends with ECANCELLED; also given to the model
 * go_on            asked after each step; false ends with TRAINER_STOPPED
 * has_energy       asked before each step, maybe several times; false ends with
 * TRAINER_EARLY or, when none was taken, with TRAINER_NO_ENERGY */
struct trainer {
    const cygnet_task *task;
    struct dataset *data;
    cygnet_model *model;
    bool drops_single;
    struct swan *swan;
    const struct clock *clock;
    const cygnet_stop *stop;
    int64_t finish_by_ms;
    double samples_per_s;
    bool (*go_on)(void *user, uint64_t step, uint64_t n_steps);
    bool (*has_energy)(void *user, uint64_t step);
    void *user;
    const cygnet_allocator *alloc;
};

/* How it ended. */
enum trainer_end {
    TRAINER_DONE,      /* all steps were taken */
    TRAINER_EARLY,     /* time or energy was up; what was learnt can be sent */
    TRAINER_NO_TIME,   /* less than a tenth of the work would fit before the deadline */
    TRAINER_NO_ENERGY, /* not even for one step */
    TRAINER_STOPPED    /* go_on said no */
};

/* examples       distinct examples that were used
 * loss_first     mean over the first epoch, before each step; NaN: no step
 * loss_last      mean over the last whole epoch; over what there is if none is whole
 * accuracy       over the same examples as loss_last
 * utility        |B| sqrt(mean loss^2) over the same examples, |B| = examples.
 *                Source: Lai et al., "Oort", OSDI 2021, eq. 2
 * moving_loss    of the steps' mean losses in the first epoch: the first, and then 0.8 of
 *                what it was and 0.2 of the next; NaN: no step
 * last_loss_squared  mean over the last step's batch of each loss squared; NaN: no step
 * unique_examples    the smaller of the examples there are and steps times batch
 * samples_per_s  without the rests that the engine took; NaN: too quick to tell
 * train_ms       with them
 * needs_ms       with TRAINER_NO_TIME: the predicted length of the training */
struct trainer_result {
    enum trainer_end end;
    uint64_t examples;
    uint64_t steps;
    uint64_t n_steps;
    double loss_first;
    double loss_last;
    double accuracy;
    double utility;
    double moving_loss;
    double last_loss_squared;
    uint64_t unique_examples;
    double samples_per_s;
    int64_t train_ms;
    int64_t needs_ms;
};

/* Errors: EHOST, EDATA, ENUMERIC (each with the step and its examples), ECANCELLED,
 * ENOMEM. */
cygnet_status trainer_run(struct trainer_result *out, const struct trainer *trainer,
                          cygnet_error *err);

#endif
