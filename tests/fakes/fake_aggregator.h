/* A FedScale aggregator behind a scripted HTTP stack, with one thing to do for one
 * client: it gives that out once, as the stock one does, and then ends the job. What it
 * says are recorded pickles (tests/golden/fedscale); the model is logistic, 784 to 10. */
#ifndef TESTS_FAKE_AGGREGATOR_H
#define TESTS_FAKE_AGGREGATOR_H

#include "tests/fakes/fake_http.h"

/* asks_test     it asks for an evaluation, not for training
 * dies_at       the call whose reply, like those to all after it, does not arrive; 0:
 *               none
 * dead          nothing gets through any more
 * on_call       called at the start of each call, on_death as it dies; may be NULL
 * n_registered  how often the client has registered
 * n_given       how often its task was given out
 * n_answers     how often that was answered, n_unchanged with the weights as they were
 * n_wrong       calls that the stock one could not have dealt with */
struct fake_aggregator {
    bool asks_test;
    int dies_at;
    bool dead;
    void (*on_call)(void *user);
    void (*on_death)(void *user);
    void *user;
    int n_calls;
    int n_registered;
    int n_given;
    int n_idle;
    int n_answers;
    int n_unchanged;
    int n_wrong;
    struct fake_file {
        uint8_t *data;
        size_t len;
    } weights, raw, train_meta, test_meta, nothing;
};

/* Reads the recordings below `golden`; aborts when they are not there. */
void fake_aggregator_init(struct fake_aggregator *fake, const char *golden);
void fake_aggregator_clear(struct fake_aggregator *fake);

/* Answers what is asked of this stack from now on. */
void fake_aggregator_serve(struct fake_aggregator *fake, struct fake_http *http);

#endif
