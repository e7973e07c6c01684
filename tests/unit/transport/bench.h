/* What the tests of the native dialect share: a coordinator over a scripted HTTP
 * stack, a token hook and a task. */
#ifndef TESTS_TRANSPORT_BENCH_H
#define TESTS_TRANSPORT_BENCH_H

#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_http.h"
#include "transport/transport.h"

#define BENCH_URL "https://coordinator.example/fl"

/* tokens    given by the hook in turn; NULL: the hook fails
 * refreshed times the hook was asked for another token */
struct bench {
    struct fake_clock clock;
    struct fake_http *http;
    cygnet_coordinator *coordinator;
    cygnet_task task;
    const char *tokens[4];
    int n_asked;
    int n_refreshed;
    cygnet_error err;
};

/* A bench without a cache and without tokens. */
void bench_init(struct bench *b);

/* With the hook, or with a cache. */
void bench_init_tokens(struct bench *b);
void bench_init_cache(struct bench *b, struct store *cache, uint64_t max_cache_bytes);
void bench_clear(struct bench *b);

#endif
