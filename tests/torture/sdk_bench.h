/* A whole client as an app has it, with its state in a folder, and an honest
 * coordinator behind a scripted HTTP stack. */
#ifndef TESTS_TORTURE_SDK_BENCH_H
#define TESTS_TORTURE_SDK_BENCH_H

#include "tests/fakes/honest_coordinator.h"
#include "tests/unit/sdk/sdk_test.h"

#include <cygnet/cygnet.h>

#define SDK_ID_BYTES 33

/* http  of the run that goes on, else NULL */
struct sdk_bench {
    char folder[SANDBOX_BYTES];
    char state_dir[SANDBOX_BYTES + 8]; /* both below folder */
    char cache_dir[SANDBOX_BYTES + 8];
    cygnet_host host;
    cygnet_options options;
    struct honest_coordinator *server;
    struct fake_http *http;
    cygnet_client *client;
    cygnet_report report;
    cygnet_error err;
    char *client_id; /* of the client that was created last; may be put elsewhere */
    char own_id[SDK_ID_BYTES];
};

/* An empty folder, the test's host and the test's options. */
void sdk_bench_init(struct sdk_bench *b, struct honest_coordinator *server);
void sdk_bench_clear(struct sdk_bench *b);

/* A process's life: create and run_once. The status of the first that failed. */
cygnet_status sdk_bench_live(struct sdk_bench *b);

/* Its end; sdk_bench_live may follow. */
void sdk_bench_end(struct sdk_bench *b);

/* The same client, if there is one, completes a round when asked again. */
void sdk_bench_assert_same_completes(struct sdk_bench *b, long k);

/* A next process without trouble completes a round, and the coordinator has seen
 * nothing that it should not. `k` is named when it does not hold. */
void sdk_bench_assert_next_completes(struct sdk_bench *b, long k);

#endif
