/* A FedScale job's one task, again and again, with the k-th allocation failing, the k-th
 * operation of the store failing, and the process killed after the k-th operation of the
 * store or before the k-th reply. The aggregator takes an event from its queue as it is
 * sent and counts whatever comes twice: so an answer that is due is sent by the next
 * process, none is ever sent again, and none is lost without a word. */
#include "tests/fakes/fake_aggregator.h"
#include "tests/fakes/fake_alloc.h"
#include "tests/unit/fl/bench.h"
#include "transport/transport.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define LONG_ENOUGH 100000
#define RUNS 4          /* of a process at most */
#define APART_MS 100000 /* between them */
#define PERMIT "received-due"

static const cygnet_tensor items[] = {
    {.name = "linear.weight", .dtype = CYGNET_F32, .n_dims = 2, .shape = {10, 784}},
    {.name = "linear.bias", .dtype = CYGNET_F32, .n_dims = 1, .shape = {10}},
};

static const cygnet_job job = {
    .struct_size = sizeof(job),
    .architecture = "logistic",
    .n_classes = 10,
    .n_input_dims = 1,
    .input = {784},
    .steps = 2,
    .batch = 8,
    .deadline_s = 3600,
    .collection = "",
    .evaluate_collection = "test",
};

/* told  some run has ended otherwise than well */
struct rack {
    struct bench *b;
    struct fake_alloc alloc;
    struct fake_aggregator aggregator;
    struct fake_http *http;
    cygnet_coordinator *dialect;
    bool told;
};

/* ---- The rack ------------------------------------------------------------------ */

static void rack_init(struct rack *rack, bool asks_test)
{
    memset(rack, 0, sizeof(*rack));
    rack->b = bench_create();
    assert_non_null(rack->b);
    rack->b->host.n_examples = 40;
    rack->b->host.n_inputs = 784;
    rack->b->host.n_classes = 10;
    rack->b->config.collection = "";
    fake_alloc_init(&rack->alloc);
    rack->b->config.alloc = &rack->alloc.alloc;
    fake_aggregator_init(&rack->aggregator, GOLDEN_DIR);
    rack->aggregator.asks_test = asks_test;
}

static void rack_clear(struct rack *rack)
{
    assert_int_equal(rack->alloc.n_live, 0);
    fake_aggregator_clear(&rack->aggregator);
    bench_destroy(rack->b);
}

static cygnet_status begin_process(struct rack *rack)
{
    struct bench *b = rack->b;
    struct fedscale_config config = {
        .server_url = "fedscale://job.example:1",
        .store = &b->store.store,
        .max_model_bytes = 1 << 20,
        .job = &job,
        .layout = {items, 2},
        .clock = &b->clock.clock,
        .alloc = &rack->alloc.alloc,
    };
    cygnet_status st;

    rack->http = fake_http_create();
    fake_aggregator_serve(&rack->aggregator, rack->http);
    config.http = &rack->http->face;
    st = fedscale_coordinator_create(&rack->dialect, &config, &b->err);
    b->config.coordinator = rack->dialect;
    return st == CYGNET_OK ? bench_restart(b) : st;
}

static void end_process(struct rack *rack)
{
    participant_destroy(rack->b->p);
    rack->b->p = NULL;
    fedscale_coordinator_destroy(rack->dialect);
    rack->dialect = NULL;
    fake_http_destroy(rack->http);
    assert_int_equal(rack->b->host.n_open, 0);
}

static bool is_well(cygnet_outcome outcome)
{
    return outcome == CYGNET_OUTCOME_COMPLETED || outcome == CYGNET_OUTCOME_EVALUATED ||
           outcome == CYGNET_OUTCOME_FINISHED;
}

/* A process's life, up to the end of the job if it gets so far. The last status that
 * was not OK. */
static cygnet_status live(struct rack *rack)
{
    struct bench *b = rack->b;
    cygnet_status worst = begin_process(rack);
    bool finished = false;

    rack->told = rack->told || worst != CYGNET_OK;
    for (int i = 0; b->p && i < RUNS && !finished; i++) {
        cygnet_status st = bench_run(b);

        if (st != CYGNET_OK && b->err.message[0] == '\0')
            fail_msg("%s without a reason", cygnet_status_name(st));
        worst = st != CYGNET_OK ? st : worst;
        rack->told = rack->told || st != CYGNET_OK || !is_well(b->report.outcome);
        finished = st == CYGNET_OK && b->report.outcome == CYGNET_OUTCOME_FINISHED;
        fake_clock_advance(&b->clock, APART_MS);
    }
    end_process(rack);
    return worst;
}

/* ---- What must hold --------------------------------------------------------------- */

static void assert_next_process_ends_the_job(struct rack *rack, long k)
{
    struct bench *b = rack->b;
    struct fake_aggregator *aggregator = &rack->aggregator;
    bool is_due = memory_store_find(&b->store, PERMIT) != NULL;
    int wanted = aggregator->n_answers + is_due;

    rack->alloc.fail_at = 0;
    b->store.fail_at = b->store.dies_after = 0;
    aggregator->dies_at = 0;
    aggregator->dead = false;
    if (aggregator->n_given == 0) /* its task is still to come */
        wanted = 1;
    if (live(rack) != CYGNET_OK)
        fail_msg("k = %ld: the next process: %s", k, b->err.message);
    assert_int_equal(b->report.outcome, CYGNET_OUTCOME_FINISHED);
    if (aggregator->n_answers != wanted || wanted > 1)
        fail_msg("k = %ld: answered %d times, not %d", k, aggregator->n_answers, wanted);
    if (aggregator->n_answers == 0 && !rack->told)
        fail_msg("k = %ld: an answer was lost without a word", k);
    assert_int_equal(aggregator->n_registered, 1);
    assert_int_equal(aggregator->n_given, 1);
    assert_int_equal(aggregator->n_wrong, 0);
}

static void test_without_trouble_it_is_answered_once(void **state)
{
    (void)state;
    for (int asks_test = 0; asks_test < 2; asks_test++) {
        struct rack rack;

        rack_init(&rack, asks_test);
        assert_int_equal(live(&rack), CYGNET_OK);
        assert_int_equal(rack.b->report.outcome, CYGNET_OUTCOME_FINISHED);
        assert_false(rack.told);
        assert_int_equal(rack.aggregator.n_answers, 1);
        assert_int_equal(rack.aggregator.n_unchanged, 0);
        rack_clear(&rack);
    }
}

/* ---- Trouble --------------------------------------------------------------------- */

static void refuse_each_allocation(bool asks_test)
{
    bool reached = true;

    for (long k = 1; reached && k < LONG_ENOUGH; k++) {
        struct rack rack;
        cygnet_status st;

        rack_init(&rack, asks_test);
        rack.alloc.fail_at = k;
        st = live(&rack);
        reached = rack.alloc.n_requests >= k;
        if (st != CYGNET_OK && st != CYGNET_ENOMEM)
            fail_msg("allocation %ld: %s, %s", k, cygnet_status_name(st),
                     rack.b->err.message);
        assert_next_process_ends_the_job(&rack, k);
        rack_clear(&rack);
    }
    assert_false(reached);
}

static void test_each_refused_allocation_is_survived(void **state)
{
    (void)state;
    refuse_each_allocation(false);
    refuse_each_allocation(true);
}

static void fail_each_operation(cygnet_status status, bool asks_test)
{
    bool reached = true;

    for (int k = 1; reached && k < LONG_ENOUGH; k++) {
        struct rack rack;
        cygnet_status st;

        rack_init(&rack, asks_test);
        rack.b->store.fail_at = k;
        rack.b->store.fail_with = status;
        st = live(&rack);
        reached = rack.b->store.n_ops >= k;
        if (st != CYGNET_OK && st != status)
            fail_msg("operation %d: %s, %s", k, cygnet_status_name(st),
                     rack.b->err.message);
        assert_next_process_ends_the_job(&rack, k);
        assert_int_equal(rack.aggregator.n_answers, 1); /* no job stands still for it */
        rack_clear(&rack);
    }
    assert_false(reached);
}

static void test_a_store_that_fails_at_each_operation_is_survived(void **state)
{
    (void)state;
    fail_each_operation(CYGNET_ENOSPC, false);
    fail_each_operation(CYGNET_ESTORAGE, false);
    fail_each_operation(CYGNET_ENOSPC, true);
}

/* A store that is dead from its k-th operation on takes the network with it. */
static void die_with_store(void *user)
{
    struct rack *rack = user;
    const struct memory_store *store = &rack->b->store;

    if (store->dies_after > 0 && store->n_ops >= store->dies_after)
        rack->aggregator.dead = true;
}

static void kill_after_each_operation(bool asks_test)
{
    bool reached = true;

    for (int k = 1; reached && k < LONG_ENOUGH; k++) {
        struct rack rack;

        rack_init(&rack, asks_test);
        rack.aggregator.on_call = die_with_store;
        rack.aggregator.user = &rack;
        rack.b->store.dies_after = k;
        (void)live(&rack);
        rack.told = true;
        reached = rack.b->store.n_ops >= k;
        assert_next_process_ends_the_job(&rack, k);
        rack_clear(&rack);
    }
    assert_false(reached);
}

static void test_a_kill_after_each_operation_never_sends_twice(void **state)
{
    (void)state;
    kill_after_each_operation(false);
    kill_after_each_operation(true);
}

/* The process is killed before the reply arrives: the store ends with it. */
static void die_with_aggregator(void *user)
{
    struct rack *rack = user;

    rack->b->store.dies_after = rack->b->store.n_ops;
}

static void kill_before_each_reply(bool asks_test)
{
    bool reached = true;

    for (int k = 1; reached && k < LONG_ENOUGH; k++) {
        struct rack rack;

        rack_init(&rack, asks_test);
        rack.aggregator.dies_at = k;
        rack.aggregator.on_death = die_with_aggregator;
        rack.aggregator.user = &rack;
        (void)live(&rack);
        rack.told = true;
        reached = rack.aggregator.n_calls >= k;
        assert_next_process_ends_the_job(&rack, k);
        rack_clear(&rack);
    }
    assert_false(reached);
}

static void test_a_kill_before_each_reply_never_sends_twice(void **state)
{
    (void)state;
    kill_before_each_reply(false);
    kill_before_each_reply(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_trouble_it_is_answered_once),
        cmocka_unit_test(test_each_refused_allocation_is_survived),
        cmocka_unit_test(test_a_store_that_fails_at_each_operation_is_survived),
        cmocka_unit_test(test_a_kill_after_each_operation_never_sends_twice),
        cmocka_unit_test(test_a_kill_before_each_reply_never_sends_twice),
    };

    return cmocka_run_group_tests_name("fedscale", tests, NULL, NULL);
}
