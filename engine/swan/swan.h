/* The Swan engine: trains on the execution choice that the policy picks, and keeps
 * looking. Joins the SoC, the pool, the profile, the energy meter, the controller and
 * the policy.
 *
 * While a training is under way a thread of its own looks at the machine every
 * CONTROLLER_LOOK_MS and takes cores away, or gives them back, in the middle of a step.
 * Steps run on threads of the engine's own, which give way to everybody else
 * (SCHED_IDLE); the caller's thread is never moved or slowed.
 *
 * Source: Singapuram et al., "Swan", arXiv 2206.04687.
 *
 * Threads: one thread at a time begins, steps, ends and destroys; what says so may come
 * from others. */
#ifndef ENGINE_SWAN_SWAN_H
#define ENGINE_SWAN_SWAN_H

#include "base/bytes.h"
#include "base/log.h"
#include "base/stop.h"
#include "engine/nn/executor.h"
#include "engine/swan/energy_idle.h"
#include "engine/swan/policy.h"

#include <cygnet/alloc.h>

struct swan;

/* root         "/" but in tests; copied
 * policy       who decides; CYGNET_POLICY_TASK: as each training says
 * max_threads  most threads that may ever train, and what a model's scratch memory is
 *              planned for; 0: as many as there are usable cores. With
 *              CYGNET_POLICY_FIXED: the threads, on the most capable cores
 * placement    how threads are held on their cores
 * yields       threads give way to all others
 * engine       version and numeric class, part of a profile's key; copied
 * energy       what the meter looks at; root is ours
 * started      called once on each training thread; NULL: nothing
 * log          NULL: none; written to on the thread that begins, steps and ends */
struct swan_options {
    const char *root;
    cygnet_policy policy;
    uint32_t max_threads;
    enum placement placement;
    bool yields;
    const char *engine;
    struct energy_options energy;
    void (*started)(void *user, uint32_t worker);
    void *user;
    const struct log *log;
    const cygnet_allocator *alloc;
};

/* Reads the SoC. Starts no thread.
 * out  receives the engine; destroy with swan_destroy
 * Errors: as soc_read; ENOMEM. */
cygnet_status swan_create(struct swan **out, const struct swan_options *options,
                          cygnet_error *err);

/* Accepts NULL. Not during a training. */
void swan_destroy(struct swan *swan);

/* What a model is created on; n_workers is the most threads. Its run belongs inside
 * swan_step while a training is under way; outside it runs on the calling thread. */
struct nn_executor *swan_executor(struct swan *swan);

/* What is to be trained.
 *
 * model    names architecture, shapes and batch: the profile's key
 * profile  (profile_len) what swan_save wrote after an earlier training; a profile of
 *          anything else is dropped; NULL: none
 * n_steps  of this round; 0: unknown
 * ms_left  to the deadline; INFINITY: none
 * mj_left  energy that the round may take, as far as it is known; INFINITY: no limit
 * stop     looked at on the caller's thread in the middle of long steps; may be NULL
 * policy   with an engine of CYGNET_POLICY_TASK: who decides; what is not known here
 *          counts as CYGNET_POLICY_SWAN
 * n_threads  likewise, with CYGNET_POLICY_FIXED: the threads, at most max_threads; 0: so
 *          many */
struct swan_training {
    const char *model;
    const void *profile;
    size_t profile_len;
    uint64_t n_steps;
    double ms_left;
    double mj_left;
    const cygnet_stop *stop;
    cygnet_policy policy;
    uint32_t n_threads;
};

/* Begins a training: starts the threads if they do not run yet, and looks.
 * Errors: EINVAL (a training is under way), ENOMEM, EHOST (no digest). */
cygnet_status swan_begin(struct swan *swan, const struct swan_training *training,
                         cygnet_error *err);

/* Runs one step, call(arg), on the threads of the present choice, and learns how long it
 * took.
 * data_ms     what it took to read the step's data
 * steps_left  with this one; 0: unknown
 * ms_left     to the deadline; INFINITY: none */
void swan_step(struct swan *swan, void (*call)(void *arg), void *arg, double data_ms,
               uint64_t steps_left, double ms_left);

/* The host's thermal status: 0 cool, 1 warm, 2 hot, 3 and above too hot; -1: unknown, as
 * at the beginning. Any thread. */
void swan_set_heat(struct swan *swan, int32_t heat);

/* Training should rest: it is too hot, or no core is left. Ask again in a while. */
bool swan_is_paused(struct swan *swan);

/* What training draws, beyond what the device draws idle, in mJ.
 *
 * step_mj      at most, for one step of whichever choice (two standard deviations above
 *              what is known); NaN: not known yet
 * step_ms      of the present choice; NaN: not measured yet
 * drawn_mj     likewise, since swan_mark_draw or the training's begin; NaN: not known
 * ms           since then, pauses left out
 * is_measured  drawn_mj will become known: a source can be read, and its baseline is
 *              known; outside of a training: there is a source
 * is_spent     the round's budget allows no more
 * why          drawn_mj is not known */
struct swan_draw {
    double step_mj;
    double step_ms;
    double drawn_mj;
    int64_t ms;
    bool is_measured;
    bool is_spent;
    char why[ENERGY_WHY_BYTES];
};

void swan_look_at_draw(struct swan_draw *out, struct swan *swan);
void swan_mark_draw(struct swan *swan);

/* Whether what is drawn can be read here; a power model alone needs no looks. */
bool swan_has_meter(const struct swan *swan);

/* Looks at the meter while nothing trains; what is drawn then is the baseline of all
 * that is drawn in training. For waits: every ENERGY_IDLE_LOOK_MS, for ENERGY_IDLE_MS or
 * longer. Returns whether there is no baseline yet and more looks would make one. */
bool swan_idle(struct swan *swan);

/* Ends the training. Nothing happens without one. */
void swan_end(struct swan *swan);

/* The profile as it is now, for the next training. Errors: ENOMEM, ELIMIT. */
cygnet_status swan_save(struct swan *swan, struct bytes *out, cygnet_error *err);

/* Why the present, or last, choice is what it is, what disturbs, and what a step on it
 * takes: JSON.
 * Errors: ENOMEM, ELIMIT. */
cygnet_status swan_explain(struct swan *swan, struct bytes *out, cygnet_error *err);

/* Counters of the present or last training.
 *
 * n_switches   changes of the choice
 * vacate_ms    the longest that it took from the decision to leave a core until no
 *              thread was on it; 0: never
 * n_explored   steps that tried a choice other than the policy's
 * n_looks      looks at the machine
 * mj           energy by the meter; NaN: unknown */
struct swan_counters {
    uint64_t n_switches;
    double vacate_ms;
    uint64_t n_explored;
    uint64_t n_looks;
    double mj;
};

void swan_count(struct swan_counters *out, struct swan *swan);

/* What is going on at this moment.
 *
 * n_threads    of the choice in use; 0: none, or training rests
 * disturbance  as the controller has diagnosed it at its last look */
struct swan_peek {
    uint32_t n_threads;
    enum disturbance disturbance;
};

/* Any thread. */
void swan_peek(struct swan_peek *out, struct swan *swan);

#endif
