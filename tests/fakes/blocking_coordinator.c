/* A coordinator that has no task. */
#include "tests/fakes/blocking_coordinator.h"

#include <poll.h>
#include <stdio.h>

#define LOOK_MS 5 /* how often the blocked call looks at its stop word */

static cygnet_status refuse(cygnet_error *err, cygnet_status status, const char *why)
{
    if (err) {
        *err = (cygnet_error){.status = status};
        (void)snprintf(err->message, sizeof(err->message), "%s", why);
    }
    return status;
}

static cygnet_status check_in(cygnet_coordinator *c, cygnet_answer *answer,
                              const cygnet_check_in *hello, const cygnet_stop *stop,
                              cygnet_error *err)
{
    struct blocking_coordinator *fake = (struct blocking_coordinator *)c;

    (void)hello;
    (void)sem_post(&fake->entered);
    if (fake->answer) {
        *answer = *fake->answer;
        return CYGNET_OK;
    }
    while (!cygnet_stopped(stop))
        (void)poll(NULL, 0, LOOK_MS);
    return refuse(err, CYGNET_ECANCELLED, "stopped in check-in");
}

static cygnet_status fetch(cygnet_coordinator *c, cygnet_tensors **weights,
                           const cygnet_task *task, cygnet_progress progress, void *user,
                           const cygnet_stop *stop, cygnet_error *err)
{
    (void)c, (void)task, (void)progress, (void)user, (void)stop;
    *weights = NULL;
    return refuse(err, CYGNET_EPROTOCOL, "nothing was handed out");
}

static cygnet_status upload(cygnet_coordinator *c, cygnet_receipt *receipt,
                            const cygnet_task *task, const cygnet_upload *what,
                            const cygnet_stop *stop, cygnet_error *err)
{
    (void)c, (void)receipt, (void)task, (void)what, (void)stop;
    return refuse(err, CYGNET_EPROTOCOL, "nothing was handed out");
}

void blocking_coordinator_init(struct blocking_coordinator *fake,
                               const cygnet_answer *answer)
{
    *fake = (struct blocking_coordinator){
        .coordinator = {.struct_size = sizeof(fake->coordinator),
                        .check_in = check_in,
                        .fetch = fetch,
                        .upload = upload},
        .answer = answer,
    };
    (void)sem_init(&fake->entered, 0, 0);
}

void blocking_coordinator_clear(struct blocking_coordinator *fake)
{
    (void)sem_destroy(&fake->entered);
}
