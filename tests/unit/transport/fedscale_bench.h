/* What the tests of the FedScale dialect share: a coordinator over a scripted HTTP
 * stack, a job, and an aggregator's answers. The weights are recorded ones. */
#ifndef TESTS_TRANSPORT_FEDSCALE_BENCH_H
#define TESTS_TRANSPORT_FEDSCALE_BENCH_H

#include "pickle_fixture.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_http.h"
#include "tests/fakes/memory_store.h"
#include "transport/transport.h"

#define BENCH_ID "0123456789abcdef"
#define BENCH_TEST(name)                                                                 \
    cmocka_unit_test_setup_teardown(name, bench_set_up, bench_tear_down)

struct bench {
    struct fake_http *http;
    struct fake_clock clock;
    struct memory_store store;
    uint64_t max_model_bytes;
    cygnet_coordinator *coordinator;
    cygnet_check_in hello;
    cygnet_answer answer;
    cygnet_error err;
};

extern const cygnet_job bench_job;

int bench_set_up(void **state);
int bench_tear_down(void **state);

/* Another process on the same store, and a fresh script. */
void bench_restart(struct bench *b);

/* ---- The aggregator's side: the next answer ---- */

/* meta, data  files of recorded pickles; NULL: an empty field */
struct fake_reply *reply_event(struct bench *b, const char *event, const char *meta,
                               const char *data);
void reply_dummy(struct bench *b);

/* A dummy_event with so many bytes of data, which mean nothing. */
void reply_long_dummy(struct bench *b, size_t len);
void reply_train(struct bench *b);
void reply_test(struct bench *b, const char *data);

/* An update_model in which the values of `t` are all 0. */
void reply_weights_without(struct bench *b, const cygnet_tensor *t);
void reply_unknown_client(struct bench *b);

/* Fails unless that request called that method. */
void assert_called(const struct bench *b, uint32_t at, const char *method);

/* ---- The round's side ---- */

cygnet_status bench_check_in(struct bench *b);
cygnet_tensors *bench_fetched(struct bench *b);

/* Up to a task in hand. */
void bench_join(struct bench *b);

#endif
