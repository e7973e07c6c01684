/* Shared by participant*.c: the participant's state and the steps of a round. */
#ifndef FL_PARTICIPANT_INSIDE_H
#define FL_PARTICIPANT_INSIDE_H

#include "base/rng.h"
#include "base/stop.h"
#include "fl/participant.h"
#include "fl/round.h"

#include <stdbool.h>

/* round.report.outcome other than NONE: the run has ended, without an error.
 *
 * next_ms      mono time before which the coordinator does not want us
 * deadline_ms  mono time at which the round of the task closes
 * fetch_ms     how long the weights took; the update may take as long
 * n_failures   runs in a row that came to nothing
 * again_ms     mono time at which another run makes sense
 * n_examples   of the collection that is counted before a check-in; 0: not counted
 * stop         the caller's word, and a look at the device whenever the host asks for
 *              one; for all that blocks in a run. Its own word is set when the device
 *              has stopped qualifying, and watch_* say what that look found
 * early        why training ended before its last step with something learnt; "": it
 *              did not, or for want of time */
struct participant {
    struct participant_config config;
    struct round round;
    struct rng rng;
    int64_t next_ms;
    int64_t deadline_ms;
    int64_t fetch_ms;
    uint32_t n_failures;
    int64_t again_ms;
    uint64_t n_examples;
    cygnet_stop stop;
    cygnet_status watch_status;
    cygnet_error watch_error;
    char early[SUPPLY_WHY_BYTES];
};

static inline int64_t participant_mono_ms(const struct participant *p)
{
    return p->config.clock->mono_ms(p->config.clock->user);
}

static inline int64_t participant_wall_ms(const struct participant *p)
{
    return p->config.clock->wall_ms(p->config.clock->user);
}

/* Waits until a mono time, less when stopped, or, with `wakes`, when asked to look
 * again. */
void participant_sleep(struct participant *p, int64_t until_ms, bool wakes);

/* Before a training: waits for as long as the meter needs to know what the device draws
 * idle, ENERGY_IDLE_MS at most; not at all when there is no meter, or the baseline is
 * known, or the training has to be over by then. */
void participant_measure_idle(struct participant *p, int64_t finish_by_ms);

/* Makes `delay_ms` from now the time before which we keep away. */
void participant_keep_away(struct participant *p, int64_t delay_ms);

/* Asks the host. Errors: EHOST. */
cygnet_status participant_look(cygnet_device_state *out, const struct participant *p,
                               cygnet_error *err);

/* Ends the run with an outcome, if the device does not qualify for the task (or, when
 * there is none, by its own rule). Errors: EHOST. */
cygnet_status participant_qualify(struct participant *p, cygnet_error *err);

/* After a failure *st of the task's business with the coordinator: whether to do it
 * again. Waits out the delay; *st becomes ECANCELLED when that is cut short. */
bool participant_try_again(cygnet_status *st, struct participant *p, uint32_t n_failures,
                           cygnet_error *err);

/* Ends the round for the coordinator, best effort, and for us. */
void participant_give_up(struct participant *p, cygnet_outcome outcome,
                         const char *reason);

/* What the record knows of the round; `reason` is borrowed. */
cygnet_round_report participant_metrics(const struct participant *p,
                                        cygnet_outcome outcome, const char *reason);

/* Sends the report; whether the coordinator has it. */
bool participant_report(struct participant *p, cygnet_outcome outcome,
                        const char *reason);

/* Forgets the task and its update. The failure of the store, if any, is the answer;
 * the participant is idle all the same. */
cygnet_status participant_become_idle(struct participant *p, cygnet_error *err);

/* The steps. Each ends in the next state, with an outcome, or with an error. */
cygnet_status step_check_in(struct participant *p, cygnet_error *err);
cygnet_status step_learn(struct participant *p, cygnet_error *err); /* fetch to encoded */
cygnet_status step_upload(struct participant *p, cygnet_error *err);

#endif
