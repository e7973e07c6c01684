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
#include "fl/eligibility.h"
#include "fl/supply.h"

#include <cygnet/cygnet.h>
#include <cygnet/sys/coordinator.h>

struct participant;
struct swan;

/* Everything is borrowed for the participant's life. In `host` the data hooks and
 * device_state are set; event and log may be NULL.
 *
 * collection  whose examples are counted for a coordinator with min_examples; NULL: ""
 * executor    what models are created on; the engine's, if there is one
 * swan        chooses the cores that train; NULL: steps run as the executor does
 * supply      where training's energy comes from; NULL: no loan and no budget
 * stop        set by another thread: end with ECANCELLED within 200 ms
 * look_again  set by another thread: ask device_state soon; cleared by us
 * seed        0: from the system */
struct participant_config {
    const char *population;
    struct cygnet_coordinator *coordinator;
    struct store *store;
    const struct clock *clock;
    const cygnet_host *host;
    const char *collection;
    struct nn_executor *executor;
    struct swan *swan;
    const struct log *log;
    const cygnet_allocator *alloc;
    struct eligibility_rule rule;
    struct supply *supply;
    uint64_t max_model_bytes;
    uint64_t max_train_bytes;
    uint64_t seed;
    const cygnet_stop *stop;
    cygnet_stop *look_again;
};

/* Loads what an earlier process left in the store, or draws an identity and saves
 * it. No network I/O.
 * out  receives the participant; destroy with participant_destroy
 * Errors: EINVAL (a hook is missing), EFORMAT (the saved state is damaged; nothing is
 * overwritten), ESTORAGE, ENOSPC, EHOST (no random bytes), ENOMEM. */
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

/* Borrowed until reset or destroy. */
const char *participant_client_id(const struct participant *p);

/* Draws a new identity; a round that was under way is forgotten with the old one.
 * Errors: ESTORAGE, ENOSPC, ENOMEM (the identity is then the old one), EHOST. */
cygnet_status participant_reset_identity(struct participant *p, cygnet_error *err);

/* Accepts NULL. */
void participant_destroy(struct participant *p);

#endif
