/* A coordinator in process: hands out one task after the other, keeps what it
 * accepted, and fails where a test's script says so. */
#ifndef TESTS_FAKE_COORDINATOR_H
#define TESTS_FAKE_COORDINATOR_H

#include "tests/fakes/fake_clock.h"

#include <cygnet/sys/coordinator.h>
#include <cygnet/update.h>

#define FAKE_SCRIPT 16
#define FAKE_TOKENS 64

/* What the n-th call of a kind answers; beyond the script CYGNET_OK. `lost`: the
 * coordinator acts on the call, but the answer does not arrive. */
struct fake_script {
    cygnet_status status[FAKE_SCRIPT];
    int lost;
    int n_calls;
};

/* task        what is handed out, with a token and a round of its own each time
 * no_task     answer check-ins with `reason` and the window instead
 * weights     global weights; owned by the test
 * weights_alloc  for what fetch gives out
 * receipts    of the n-th upload that is answered
 * dead        no call gets through (ENETWORK)
 * dies_after  number of calls after which it is dead; 0: never
 * on_call     called at the start of each call; may be NULL
 * on_death    called when it dies; may be NULL
 * accepted    by token: how many contributions were counted
 * evaluated   by token: how many results were received */
struct fake_coordinator {
    cygnet_coordinator coordinator;
    struct fake_clock *clock;
    cygnet_task task;
    int no_task;
    cygnet_retry_reason reason;
    uint32_t retry_min_s, retry_max_s, retry_after_s;
    uint32_t waited_ms; /* of each check-in that brings a task */
    const cygnet_tensors *weights;
    const cygnet_allocator *weights_alloc;
    cygnet_receipt receipts[FAKE_SCRIPT];
    cygnet_receipt lease_receipt;
    struct fake_script check_in, fetch, upload, renew, report;
    int64_t fetch_ms;
    int n_calls;
    int dead;
    int dies_after;
    void (*on_call)(void *user);
    void (*on_death)(void *user);
    void *user;
    uint64_t n_tasks;
    int accepted[FAKE_TOKENS];
    uint64_t update_sum[FAKE_TOKENS];
    int reported[FAKE_TOKENS];
    int evaluated[FAKE_TOKENS];
    cygnet_update_info last_update;
    cygnet_round_report last_report;
    cygnet_round_report last_metrics; /* of an upload */
    char last_reason[CYGNET_ERROR_MESSAGE_BYTES];
    char last_client_id[64];
    cygnet_check_in last_hello; /* its lists are in last_abilities */
    char last_abilities[256];   /* "a,b,;c,d,": architectures, codecs */
};

/* A task for the logistic model on the fake host's data, one epoch, batch 8. */
void fake_coordinator_init(struct fake_coordinator *fake, struct fake_clock *clock,
                           const cygnet_tensors *weights);

int fake_coordinator_total_accepted(const struct fake_coordinator *fake);

#endif
