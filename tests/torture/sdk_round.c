/* A whole round through the public face, client, stores, dialect and engine, with
 * the k-th allocation refused, for each k; and with it all that follow. */
#include "tests/fakes/fake_alloc.h"
#include "tests/torture/sdk_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define EACH 3000 /* every k up to here, one in STRIDE beyond */
#define STRIDE 7

/* A client with an allocator that refuses, and its coordinator. */
struct rack {
    struct honest_coordinator server;
    struct sdk_bench bench;
    struct fake_alloc alloc;
};

static int setup(void **state)
{
    static struct rack rack;

    memset(&rack, 0, sizeof(rack));
    *state = &rack;
    return 0;
}

/* One process whose k-th request for memory is refused; whether it got that far. */
static bool live_with_trouble(struct rack *rack, long k, int for_good)
{
    struct sdk_bench *b = &rack->bench;
    cygnet_status st;

    fake_alloc_init(&rack->alloc);
    rack->alloc.fail_at = k;
    rack->alloc.for_good = for_good;
    b->options.allocator = &rack->alloc.alloc;
    st = sdk_bench_live(b);
    if (st != CYGNET_OK && st != CYGNET_ENOMEM)
        fail_msg("allocation %ld: %s, %s", k, cygnet_status_name(st), b->err.message);
    if (st == CYGNET_ENOMEM && (b->err.status != st || b->err.message[0] == '\0'))
        fail_msg("allocation %ld: ENOMEM without a reason", k);
    if (st == CYGNET_OK && b->report.outcome != CYGNET_OUTCOME_COMPLETED)
        fail_msg("allocation %ld: outcome %s, %s", k,
                 cygnet_outcome_name(b->report.outcome), b->report.message);
    rack->alloc.fail_at = 0;
    return rack->alloc.n_requests >= k;
}

static void end(struct rack *rack, long k)
{
    sdk_bench_end(&rack->bench);
    if (rack->alloc.n_live != 0)
        fail_msg("allocation %ld: %ld blocks are left", k, rack->alloc.n_live);
}

static bool refuse(struct rack *rack, long k, int for_good, uint32_t n_threads)
{
    struct sdk_bench *b = &rack->bench;
    bool reached;

    sdk_bench_init(b, &rack->server);
    b->options.n_threads = n_threads;
    reached = live_with_trouble(rack, k, for_good);
    if (k % 2 == 0) /* the other half dies with the trouble */
        sdk_bench_assert_same_completes(b, k);
    end(rack, k);
    sdk_bench_assert_next_completes(b, k);
    end(rack, k);
    sdk_bench_clear(b);
    return reached;
}

static void refuse_each(struct rack *rack, const char *codec, int for_good,
                        uint32_t n_threads)
{
    struct honest_coordinator *server = &rack->server;
    long k = 0;

    assert_int_equal(honest_init(server), 0);
    (void)snprintf(server->codec, sizeof(server->codec), "%s", codec);
    do {
        honest_forget(server);
        k += k < EACH ? 1 : STRIDE;
    } while (refuse(rack, k, for_good, n_threads));
    assert_true(k > 50); /* a round does need memory */
    honest_clear(server);
}

static void test_each_refused_allocation_is_survived(void **state)
{
    refuse_each(*state, "none", 0, 1);
}

static void test_each_refused_allocation_is_survived_with_int8(void **state)
{
    refuse_each(*state, "int8", 0, 1);
}

static void test_each_refused_allocation_is_survived_with_two_threads(void **state)
{
    refuse_each(*state, "none", 0, 2);
}

static void test_memory_that_stays_out_from_each_allocation_on_is_survived(void **state)
{
    refuse_each(*state, "int8", 1, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_each_refused_allocation_is_survived, setup),
        cmocka_unit_test_setup(test_each_refused_allocation_is_survived_with_int8, setup),
        cmocka_unit_test_setup(test_each_refused_allocation_is_survived_with_two_threads,
                               setup),
        cmocka_unit_test_setup(
            test_memory_that_stays_out_from_each_allocation_on_is_survived, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
