/* FedScale's dialect on a bench: a scripted HTTP stack, a clock and a store in memory,
 * and recorded weights of a small model (pickle_fixture.h). */
#ifndef TESTS_TRANSPORT_FEDSCALE_BENCH_H
#define TESTS_TRANSPORT_FEDSCALE_BENCH_H

#include "pickle_fixture.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_http.h"
#include "tests/fakes/memory_store.h"
#include "transport/transport.h"

#define ID "0123456789abcdef"
#define PERMIT "received-due"

extern const cygnet_job fedscale_bench_job;

struct bench {
    struct fake_http *http;
    struct fake_clock clock;
    struct memory_store store;
    cygnet_coordinator *coordinator;
    cygnet_check_in hello;
    cygnet_answer answer;
    cygnet_error err;
};

#define BENCH_TEST(name)                                                                 \
    cmocka_unit_test_setup_teardown(name, fedscale_bench_set_up, fedscale_bench_tear_down)

int fedscale_bench_set_up(void **state);
int fedscale_bench_tear_down(void **state);

/* Another process on the same store, and a fresh script. */
void fedscale_bench_restart(struct bench *b);

/* ---- The aggregator's side ---- */

/* meta, data  files of recorded pickles; NULL: an empty field */
struct fake_reply *reply_event(struct bench *b, const char *event, const char *meta,
                               const char *data);
void reply_dummy(struct bench *b);
void reply_train(struct bench *b);
void reply_test(struct bench *b, const char *data);
void reply_unknown_client(struct bench *b);
void assert_called(const struct bench *b, uint32_t at, const char *method);

/* Whether the body of a request holds these bytes. */
bool has_bytes(const struct bench *b, uint32_t at, const void *text, size_t len);

/* ---- The round's side ---- */

cygnet_status check_in(struct bench *b);
cygnet_tensors *fetched(struct bench *b);

/* Sends the weights as they came, as what training has made of them. */
cygnet_status upload(struct bench *b);
cygnet_status report(struct bench *b, cygnet_outcome outcome);

/* Up to a task in hand. */
void join(struct bench *b);

#endif
