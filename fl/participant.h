/* A participant: the federated round on this device, from check-in to report.
 * Joins round (states), eligibility, trainer and codec; speaks to the world only
 * through what its configuration holds. */
#ifndef FL_PARTICIPANT_H
#define FL_PARTICIPANT_H

#include "base/clock.h"
#include "base/log.h"
#include "base/stop.h"
#include "base/store.h"
#include "engine/nn/executor.h"

#include <cygnet/cygnet.h>
#include <cygnet/sys/coordinator.h>

struct participant;

/* What the device's owner asks for; a task can only make it stricter. */
struct eligibility_rule {
    cygnet_requirement charging;
    cygnet_requirement idle;
    cygnet_requirement unmetered;
    int32_t min_battery_percent;
};

/* Everything is borrowed for the participant's life. In `host` the data hooks and
 * device_state are set; event and log may be NULL.
 *
 * stop        set by another thread: end with ECANCELLED within 200 ms
 * look_again  set by another thread: ask device_state soon; cleared by us
 * seed        0: from the system */
struct participant_config {
    const char *population;
    struct cygnet_coordinator *coordinator;
    struct store *store;
    const struct clock *clock;
    const cygnet_host *host;
    struct nn_executor *executor;
    const struct log *log;
    const cygnet_allocator *alloc;
    struct eligibility_rule rule;
    uint64_t max_model_bytes;
    uint64_t max_train_bytes;
    uint64_t seed;
    const cygnet_stop *stop;
    cygnet_stop *look_again;
};

/* Loads what an earlier process left in the store. No network I/O. */
cygnet_status participant_create(struct participant **out,
                                 const struct participant_config *config,
                                 cygnet_error *err);

/* Behind cygnet_client_check_in, _run_once and _run_until: see cygnet.h. */
cygnet_status participant_check_in(struct participant *p, cygnet_report *report,
                                   cygnet_error *err);
cygnet_status participant_run_once(struct participant *p, cygnet_report *report,
                                   cygnet_error *err);
cygnet_status participant_run_until(struct participant *p, uint64_t max_rounds,
                                    cygnet_report *report, cygnet_error *err);

const char *participant_client_id(const struct participant *p);
cygnet_status participant_reset_identity(struct participant *p, cygnet_error *err);

/* Accepts NULL. */
void participant_destroy(struct participant *p);

#endif
