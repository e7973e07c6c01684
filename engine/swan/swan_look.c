/* The looking thread: sees, decides, takes away and gives back, in the middle of steps.
 * It sleeps between looks and runs at the usual priority, so that it is on time when the
 * training threads get no CPU. */
#include "engine/swan/swan_parts.h"

#include "base/error.h"
#include "engine/pool/thread.h"
#include "engine/pool/timed.h"

#include <math.h>
#include <string.h>
#include <time.h>

#define LOOKS_PER_REFRESH 5
#define VACATE_LOOK_NS 50000
#define VACATE_MAX_MS 100.0

static void cores_in_use(bool in_use[SOC_MAX_CORES], const struct swan *swan)
{
    const struct pool_grant *grant = &swan->granted;

    for (uint32_t i = 0; i < swan->soc.n_cores; i++)
        in_use[i] = !swan->is_placed && soc_usable(&swan->soc.cores[i]);
    for (uint32_t i = 0; i < grant->n_cpus && swan->is_placed; i++) {
        const struct soc_core *core = soc_find(&swan->soc, grant->cpus[i]);

        if (core)
            in_use[core - swan->soc.cores] = true;
    }
}

/* What has changed since an earlier training was not taken from this one. */
static bool see_cores(struct swan *swan)
{
    bool is_first = swan->n_looks == 0;
    bool is_due = swan->n_looks++ % LOOKS_PER_REFRESH == 0 || swan->must_refresh;
    bool has_changed = is_due && soc_refresh(&swan->soc, swan->root);

    swan->must_refresh &= !is_due;
    swan->must_grant |= has_changed && !swan->is_placed;
    return has_changed && !is_first;
}

void swan_look(struct swan *swan)
{
    struct controller_sight sight = {.now_ms = swan_now_ms()};
    bool in_use[SOC_MAX_CORES];

    sight.revoked = see_cores(swan);
    cores_in_use(in_use, swan);
    senses_look(swan->senses, &sight, &swan->soc, in_use);
    sight.heat = atomic_load(&swan->heat);
    sight.step_ms = sight.now_ms - swan->step.began_ms;
    controller_look(&swan->controller, &sight, &swan->soc, swan_expected_ms(swan));
    energy_meter_sample(&swan->meter, swan_energy_ms(swan));
    if (!controller_is_quiet(&swan->controller))
        swan->step.is_clean = false;
}

/* How long threads stay on cores that were taken from them. Not under the mutex. */
static void watch_them_leave(struct swan *swan, double decided_ms)
{
    const struct timespec pause = {0, VACATE_LOOK_NS};
    double ms = 0.0;

    while (!pool_has_vacated(swan->pool) && ms < VACATE_MAX_MS) {
        (void)nanosleep(&pause, NULL);
        ms = swan_now_ms() - decided_ms;
    }
    ms = swan_now_ms() - decided_ms;
    pthread_mutex_lock(&swan->mutex);
    swan->counters.vacate_ms = fmax(swan->counters.vacate_ms, ms);
    pthread_mutex_unlock(&swan->mutex);
}

/* A tried choice is left alone as long as nothing disturbs it. */
static void look_and_react(struct swan *swan)
{
    struct pool_grant before;
    double decided_ms;
    bool left;

    pthread_mutex_lock(&swan->mutex);
    swan_look(swan);
    before = swan->granted;
    if (!swan->step.explores || !controller_is_quiet(&swan->controller))
        swan_decide(swan);
    decided_ms = swan->decided_ms;
    left = swan->granted.n_threads < before.n_threads;
    pthread_mutex_unlock(&swan->mutex);
    if (left)
        watch_them_leave(swan, decided_ms);
}

static bool sleep_between_looks(struct swan *swan)
{
    struct timespec until = timed_from_now((int64_t)CONTROLLER_LOOK_MS);
    bool is_ending;

    pthread_mutex_lock(&swan->mutex);
    while (!swan->is_ending && timed_wait(&swan->wanted, &swan->mutex, &until))
        continue;
    is_ending = swan->is_ending;
    pthread_mutex_unlock(&swan->mutex);
    return !is_ending;
}

static void *look_on(void *arg)
{
    struct swan *swan = arg;

    while (sleep_between_looks(swan))
        look_and_react(swan);
    return NULL;
}

cygnet_status swan_start_looking(struct swan *swan, cygnet_error *err)
{
    int error;

    swan->is_ending = false;
    error = thread_start(&swan->looker, look_on, swan);
    swan->looks = error == 0;
    if (swan->looks)
        return CYGNET_OK;
    return fail(err, CYGNET_ENOMEM, error,
                "the system refused a thread to look (errno %d)", error);
}

void swan_stop_looking(struct swan *swan)
{
    if (!swan->looks)
        return;
    pthread_mutex_lock(&swan->mutex);
    swan->is_ending = true;
    pthread_cond_signal(&swan->wanted);
    pthread_mutex_unlock(&swan->mutex);
    pthread_join(swan->looker, NULL);
    swan->looks = false;
}
