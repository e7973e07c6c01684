/* What the files of the engine share: who may look in is swan*.c. */
#ifndef ENGINE_SWAN_SWAN_PARTS_H
#define ENGINE_SWAN_SWAN_PARTS_H

#include "engine/pool/pool.h"
#include "engine/swan/controller.h"
#include "engine/swan/energy_idle.h"
#include "engine/swan/explore.h"
#include "engine/swan/place.h"
#include "engine/swan/senses.h"
#include "engine/swan/swan.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>

/* A step under way or just ended.
 *
 * began_ms  NaN: none is under way
 * entry     it began with
 * is_mixed  the entry in use changed since: its time is of neither entry
 * is_clean  the same choice and no disturbance from its begin to its end
 * explores  its entry was tried, and the policy has not decided since */
struct swan_step {
    double began_ms;
    double ended_ms;
    int32_t entry;
    bool is_mixed;
    bool is_clean;
    bool explores;
};

#define SWAN_NEWS 8 /* lines; of more, the oldest are dropped */
#define SWAN_LINE_BYTES 480

/* What the log has not been told yet: the host's hook is called on its own thread only,
 * and not under the mutex. */
struct swan_news {
    size_t n;
    char lines[SWAN_NEWS][SWAN_LINE_BYTES];
};

/* Under `mutex`: is_training, soc and everything from `profile` on.
 *
 * wanted      for the looking thread: the training ends
 * decision    the policy's last word, and when it was spoken
 * entry       in use; -1: none yet
 * granted     to the pool; is_placed: its cpus hold, else threads are where the system
 *             puts them. must_grant: ask for it again although it is the same
 * must_refresh  the SoC is not as it was seen last
 * energy_from where the present stretch of clean steps with one entry began, of
 *             energy_steps steps
 * draw_from   what is drawn is counted from here (swan_mark_draw); paused_ms of the time
 *             since then training paused, without the pause since paused_from_ms (NaN:
 *             there is none)
 * slept_ms    how long the device had slept since its start, when the meter was read
 * began, ended  of the training
 * idle        while nothing trains */
struct swan {
    struct nn_executor executor; /* first: the executor is the engine */
    struct swan_options options;
    char root[PATH_MAX];
    char engine[PROFILE_KEY_BYTES];
    struct soc soc;
    struct pool *pool;
    struct senses *senses;
    _Atomic int32_t heat;
    cygnet_policy policy; /* of the present or last training */
    struct choice fixed;  /* of CYGNET_POLICY_FIXED */
    const cygnet_stop *stop;
    bool in_call;
    bool is_training;

    pthread_t looker;
    bool looks;
    pthread_mutex_t mutex;
    pthread_cond_t wanted;
    bool is_ending;

    struct profile profile;
    struct explore explore;
    struct controller controller;
    struct policy_decision decision;
    double decided_ms;
    int32_t entry;
    struct pool_grant granted;
    bool is_placed;
    bool must_grant;
    bool must_refresh;
    struct swan_step step;
    struct swan_news news;
    uint64_t steps_left;
    double ms_left;
    double mj_left;
    double budget_mj;
    double spent_mj;
    uint64_t n_looks;
    struct swan_counters counters;
    struct energy_meter meter;
    struct energy_idle idle;
    struct energy_mark began;
    struct energy_mark ended;
    struct energy_mark energy_from;
    struct energy_mark draw_from;
    double paused_ms;
    double paused_from_ms;
    uint64_t energy_steps;
    double slept_ms;
};

/* Monotonic, with fractions. */
double swan_now_ms(void);

/* The meter's time, which goes on while the device sleeps; tells it of each sleep. */
int64_t swan_energy_ms(struct swan *swan);

/* Step time of the entry in use as it was measured; NaN: it was not. */
double swan_profiled_ms(const struct swan *swan);

/* What the step under way should take; NaN: not measured, or it is mixed. */
double swan_expected_ms(const struct swan *swan);

/* Asks the policy, and does as it says. */
void swan_decide(struct swan *swan);

/* Tells the log what is new. On the caller's thread, without the mutex. */
void swan_tell(struct swan *swan);

/* Grants the pool what the entry needs. True: a core was left. */
bool swan_use(struct swan *swan, int32_t entry);

/* The training's energy begins and ends; a step on `entry` has ended. */
void swan_begin_energy(struct swan *swan, double budget_mj);
void swan_end_energy(struct swan *swan);
void swan_spend(struct swan *swan, int32_t entry);

/* The policy has decided: a pause may have begun or ended. */
void swan_count_pause(struct swan *swan);

/* Whether the policy heeds what others want, and tries choices. Greedy and fixed ones
 * stay where they are as long as that is possible. */
bool swan_reacts(const struct swan *swan);

/* Looks at the machine once. */
void swan_look(struct swan *swan);

/* The looking thread, while a training is under way. Errors: ENOMEM. */
cygnet_status swan_start_looking(struct swan *swan, cygnet_error *err);
void swan_stop_looking(struct swan *swan);

#endif
