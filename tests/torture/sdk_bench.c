#include "tests/torture/sdk_bench.h"

#include "base/file.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* Counts what crashes must not leave behind. */
static int n_temporaries;

static int look(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)info, (void)kind;
    n_temporaries += strncmp(path + walk->base, FILE_TEMPORARY_PREFIX,
                             strlen(FILE_TEMPORARY_PREFIX)) == 0;
    return 0;
}

static int count_temporaries(const char *folder)
{
    n_temporaries = 0;
    (void)nftw(folder, look, 16, FTW_PHYS);
    return n_temporaries;
}

void sdk_bench_init(struct sdk_bench *b, struct honest_coordinator *server)
{
    memset(b, 0, sizeof(*b));
    sandbox_make(b->folder);
    test_host(&b->host, NULL);
    (void)snprintf(b->state_dir, sizeof(b->state_dir), "%s/state", b->folder);
    (void)snprintf(b->cache_dir, sizeof(b->cache_dir), "%s/cache", b->folder);
    test_options(&b->options, &b->host, b->state_dir);
    b->options.cache_dir = b->cache_dir;
    b->server = server;
    b->client_id = b->own_id;
}

void sdk_bench_clear(struct sdk_bench *b)
{
    sdk_bench_end(b);
    sandbox_remove(b->folder);
}

cygnet_status sdk_bench_live(struct sdk_bench *b)
{
    cygnet_status st;

    sdk_bench_end(b);
    b->http = fake_http_create();
    honest_serve(b->http, b->server);
    b->options.http = &b->http->face;
    cygnet_report_init(&b->report);
    st = cygnet_client_create(&b->client, &b->options, &b->err);
    if (st != CYGNET_OK)
        return st;
    memcpy(b->client_id, cygnet_client_id(b->client), SDK_ID_BYTES);
    return cygnet_client_run_once(b->client, &b->report, &b->err);
}

void sdk_bench_end(struct sdk_bench *b)
{
    cygnet_client_destroy(b->client);
    b->client = NULL;
    if (b->http)
        fake_http_destroy(b->http);
    b->http = NULL;
}

static void assert_completed(const struct sdk_bench *b, cygnet_status st, long k)
{
    if (st != CYGNET_OK || b->report.outcome != CYGNET_OUTCOME_COMPLETED)
        fail_msg("k = %ld: the next run ended with %s, outcome %s: %s", k,
                 cygnet_status_name(st), cygnet_outcome_name(b->report.outcome),
                 st == CYGNET_OK ? b->report.message : b->err.message);
}

void sdk_bench_assert_same_completes(struct sdk_bench *b, long k)
{
    if (b->client)
        assert_completed(b, cygnet_client_run_once(b->client, &b->report, &b->err), k);
}

void sdk_bench_assert_next_completes(struct sdk_bench *b, long k)
{
    int before = honest_n_counted(b->server);
    char id[SDK_ID_BYTES];

    memcpy(id, b->client_id, sizeof(id));
    assert_completed(b, sdk_bench_live(b), k);
    if (b->server->n_wrong != 0 || b->server->n_strangers != 0)
        fail_msg("k = %ld: %d wrong requests, %d check-ins by another id", k,
                 b->server->n_wrong, b->server->n_strangers);
    if (b->server->n_different != 0)
        fail_msg("k = %ld: the same task made another update", k);
    if (count_temporaries(b->folder) != 0)
        fail_msg("k = %ld: temporary files are left", k);
    if (id[0] != '\0')
        assert_string_equal(b->client_id, id);
    assert_true(honest_n_counted(b->server) >= before);
    assert_true(honest_n_counted(b->server) >= 1);
}
