/* The bench of the native dialect's tests. */
#include "bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define MAX_MODEL_BYTES 1000000

static int give_token(char *token, size_t size, int refresh, void *user)
{
    struct bench *b = user;
    const char *text = b->tokens[b->n_asked++];

    b->n_refreshed += refresh;
    if (!text)
        return 77;
    (void)snprintf(token, size, "%s", text);
    return 0;
}

static void init(struct bench *b, struct native_config *config)
{
    memset(b, 0, sizeof(*b));
    b->http = fake_http_create();
    fake_clock_init(&b->clock);
    config->server_url = BENCH_URL;
    config->http = &b->http->face;
    config->clock = &b->clock.clock;
    config->max_model_bytes = MAX_MODEL_BYTES;
    config->auth_user = b;
    assert_int_equal(native_coordinator_create(&b->coordinator, config, NULL), CYGNET_OK);
    b->task.round = 3;
    b->task.deadline_s = 60;
    (void)snprintf(b->task.token, sizeof(b->task.token), "tok-3");
}

void bench_init(struct bench *b)
{
    struct native_config config = {0};

    init(b, &config);
}

void bench_init_tokens(struct bench *b)
{
    struct native_config config = {.auth_token = give_token};

    init(b, &config);
}

void bench_init_cache(struct bench *b, struct store *cache, uint64_t max_cache_bytes)
{
    struct native_config config = {.cache = cache, .max_cache_bytes = max_cache_bytes};

    init(b, &config);
}

void bench_clear(struct bench *b)
{
    native_coordinator_destroy(b->coordinator);
    fake_http_destroy(b->http);
}
