/* A coordinator without a network that has no task: check_in blocks until it is
 * stopped, or answers that there is nothing. For tests of cancel and notify. */
#ifndef TESTS_FAKES_BLOCKING_COORDINATOR_H
#define TESTS_FAKES_BLOCKING_COORDINATOR_H

#include <cygnet/sys/coordinator.h>
#include <semaphore.h>

/* answer   NULL: block until stopped
 * entered  posted at the start of each check_in */
struct blocking_coordinator {
    cygnet_coordinator coordinator;
    const cygnet_answer *answer;
    sem_t entered;
};

void blocking_coordinator_init(struct blocking_coordinator *fake,
                               const cygnet_answer *answer);
void blocking_coordinator_clear(struct blocking_coordinator *fake);

#endif
