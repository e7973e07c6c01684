/* A participant on a bench: everything around it is a fake. */
#ifndef TESTS_FL_BENCH_H
#define TESTS_FL_BENCH_H

#include "fl/participant.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_coordinator.h"
#include "tests/fakes/fake_host.h"
#include "tests/fakes/memory_store.h"

#include <cygnet/nn.h>

struct bench {
    struct fake_clock clock;
    struct fake_host host;
    struct fake_coordinator coordinator;
    struct memory_store store;
    struct cygnet_stop stop;
    struct cygnet_stop look_again;
    struct participant_config config;
    cygnet_tensors *weights;
    struct participant *p;
    cygnet_report report;
    cygnet_error err;
};

/* Setup and teardown for cmocka: *state is the bench. The participant is not
 * created yet, so that a test can change the bench first. */
int bench_setup(void **state);
int bench_teardown(void **state);

/* Without cmocka: allocates with malloc. */
struct bench *bench_create(void);
void bench_destroy(struct bench *b);

/* The logistic model's initial weights for the fake host's data. */
cygnet_tensors *bench_weights(void);

/* Destroys the participant, if there is one, and creates it from the store. */
cygnet_status bench_restart(struct bench *b);

/* One run; creates the participant when there is none. */
cygnet_status bench_run(struct bench *b);

#endif
