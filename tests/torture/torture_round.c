/* A whole round, again and again, with the k-th allocation failing, the k-th store
 * operation failing, and the process killed after the k-th operation of the store or
 * the k-th message. Afterwards a run without trouble must complete, nothing may be
 * left allocated, and no token may have been counted twice. */
#include "tests/fakes/fake_alloc.h"
#include "tests/unit/fl/bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#define LONG_ENOUGH 100000

#define EVALUATE "evaluate" /* instead of a codec: the task is an evaluation */

/* A bench whose participant and messages use a counting allocator.
 * wanted  how a round without trouble ends */
struct rack {
    struct bench *b;
    struct fake_alloc alloc;
    cygnet_outcome wanted;
};

static void rack_init(struct rack *rack, const char *codec)
{
    bool evaluates = strcmp(codec, EVALUATE) == 0;

    rack->b = bench_create();
    assert_non_null(rack->b);
    fake_alloc_init(&rack->alloc);
    rack->b->config.alloc = &rack->alloc.alloc;
    rack->b->coordinator.weights_alloc = &rack->alloc.alloc;
    memcpy(rack->b->coordinator.task.codec, codec, strlen(codec) + 1);
    rack->b->coordinator.task.kind = evaluates ? CYGNET_TASK_EVALUATE : CYGNET_TASK_TRAIN;
    rack->wanted = evaluates ? CYGNET_OUTCOME_EVALUATED : CYGNET_OUTCOME_COMPLETED;
}

static void rack_clear(struct rack *rack)
{
    participant_destroy(rack->b->p);
    rack->b->p = NULL;
    assert_int_equal(rack->alloc.n_live, 0);
    bench_destroy(rack->b);
}

static int total_counted(const struct bench *b)
{
    int sum = fake_coordinator_total_accepted(&b->coordinator);

    for (int t = 0; t < FAKE_TOKENS; t++)
        sum += b->coordinator.evaluated[t];
    return sum;
}

static void assert_counted_at_most_once(const struct rack *rack)
{
    for (int t = 0; t < FAKE_TOKENS; t++)
        assert_true(
            rack->b->coordinator.accepted[t] + rack->b->coordinator.evaluated[t] <= 1);
}

/* A new process on the same store; no more trouble. */
static void assert_next_process_completes(struct rack *rack)
{
    struct bench *b = rack->b;
    int before = total_counted(b);
    cygnet_status st;

    rack->alloc.fail_at = 0;
    b->store.fail_at = b->store.dies_after = 0;
    b->coordinator.dies_after = b->coordinator.dead = 0;
    fake_clock_advance(&b->clock, 1000);
    assert_int_equal(bench_restart(b), CYGNET_OK);
    st = bench_run(b);
    if (st != CYGNET_OK || b->report.outcome != rack->wanted)
        print_error("next run: %s, outcome %d, %s\n", cygnet_status_name(st),
                    (int)b->report.outcome, b->err.message);
    assert_int_equal(st, CYGNET_OK);
    assert_int_equal(b->report.outcome, rack->wanted);
    assert_true(total_counted(b) >= before && total_counted(b) >= 1);
    assert_counted_at_most_once(rack);
}

/* One run in a world with a fault; whether the fault was reached. */
static cygnet_status troubled_run(struct rack *rack)
{
    struct bench *b = rack->b;
    cygnet_status st = bench_restart(b);

    if (st == CYGNET_OK)
        st = bench_run(b);
    assert_int_equal(b->host.n_open, 0);
    assert_counted_at_most_once(rack);
    return st;
}

static void refuse_each_allocation(const char *codec)
{
    for (long k = 1; k < LONG_ENOUGH; k++) {
        struct rack rack;
        cygnet_status st;
        bool reached;

        rack_init(&rack, codec);
        rack.alloc.fail_at = k;
        st = troubled_run(&rack);
        reached = rack.alloc.n_requests >= k;
        if (st != CYGNET_OK && st != CYGNET_ENOMEM)
            print_error("allocation %ld: %s, %s\n", k, cygnet_status_name(st),
                        rack.b->err.message);
        assert_true(st == CYGNET_OK || st == CYGNET_ENOMEM);
        assert_next_process_completes(&rack);
        rack_clear(&rack);
        if (!reached)
            return;
    }
    fail_msg("the run never ended");
}

static void test_each_refused_allocation_is_survived(void **state)
{
    (void)state;
    refuse_each_allocation("none");
}

static void test_each_refused_allocation_is_survived_with_int8(void **state)
{
    (void)state;
    refuse_each_allocation("int8");
}

static void test_each_refused_allocation_of_an_evaluation_is_survived(void **state)
{
    (void)state;
    refuse_each_allocation(EVALUATE);
}

static void fail_each_operation(cygnet_status status, const char *codec)
{
    for (int k = 1; k < LONG_ENOUGH; k++) {
        struct rack rack;
        cygnet_status st;
        bool reached;

        rack_init(&rack, codec);
        rack.b->store.fail_at = k;
        rack.b->store.fail_with = status;
        st = troubled_run(&rack);
        reached = rack.b->store.n_ops >= k;
        assert_true(st == CYGNET_OK || st == status);
        rack.b->store.fail_at = 0;
        if (rack.b->p) { /* the same process goes on as well */
            fake_clock_advance(&rack.b->clock, 1000);
            assert_int_equal(bench_run(rack.b), CYGNET_OK);
            assert_int_equal(rack.b->report.outcome, rack.wanted);
        }
        assert_next_process_completes(&rack);
        rack_clear(&rack);
        if (!reached)
            return;
    }
    fail_msg("the run never ended");
}

static void test_a_full_disk_at_each_operation_is_survived(void **state)
{
    (void)state;
    fail_each_operation(CYGNET_ENOSPC, "none");
    fail_each_operation(CYGNET_ENOSPC, EVALUATE);
}

static void test_a_broken_disk_at_each_operation_is_survived(void **state)
{
    (void)state;
    fail_each_operation(CYGNET_ESTORAGE, "none");
    fail_each_operation(CYGNET_ESTORAGE, EVALUATE);
}

/* A store that is dead from its k-th operation on takes the network with it. */
static void die_with_store(void *user)
{
    struct bench *b = user;

    if (b->store.dies_after > 0 && b->store.n_ops >= b->store.dies_after)
        b->coordinator.dead = 1;
}

static void kill_after_each_operation(cygnet_delivery delivery, const char *codec)
{
    for (int k = 1; k < LONG_ENOUGH; k++) {
        struct rack rack;
        bool reached;

        rack_init(&rack, codec);
        rack.b->coordinator.coordinator.delivery = delivery;
        rack.b->coordinator.on_call = die_with_store;
        rack.b->coordinator.user = rack.b;
        rack.b->store.dies_after = k;
        (void)troubled_run(&rack);
        reached = rack.b->store.n_ops >= k;
        assert_next_process_completes(&rack);
        rack_clear(&rack);
        if (!reached)
            return;
    }
    fail_msg("the run never ended");
}

static void test_a_kill_after_each_operation_never_counts_twice(void **state)
{
    (void)state;
    kill_after_each_operation(CYGNET_DELIVERY_IDEMPOTENT, "int8");
}

static void test_a_kill_after_each_operation_never_sends_twice(void **state)
{
    (void)state;
    kill_after_each_operation(CYGNET_DELIVERY_AT_MOST_ONCE, "weights");
    kill_after_each_operation(CYGNET_DELIVERY_AT_MOST_ONCE, EVALUATE);
}

/* The process is killed before the answer arrives: the store ends with it. */
static void die_with_coordinator(void *user)
{
    struct bench *b = user;

    b->store.dies_after = b->store.n_ops;
}

static void kill_after_each_message(cygnet_delivery delivery, const char *codec)
{
    for (int k = 1; k < LONG_ENOUGH; k++) {
        struct rack rack;
        bool reached;

        rack_init(&rack, codec);
        rack.b->coordinator.coordinator.delivery = delivery;
        rack.b->coordinator.dies_after = k;
        rack.b->coordinator.task.deadline_s = 20;
        rack.b->coordinator.on_death = die_with_coordinator;
        rack.b->coordinator.user = rack.b;
        (void)troubled_run(&rack);
        reached = rack.b->coordinator.n_calls >= k;
        assert_next_process_completes(&rack);
        rack_clear(&rack);
        if (!reached)
            return;
    }
    fail_msg("the run never ended");
}

static void test_a_lost_answer_to_each_message_never_counts_twice(void **state)
{
    (void)state;
    kill_after_each_message(CYGNET_DELIVERY_IDEMPOTENT, "none");
}

static void test_a_lost_answer_to_each_message_never_sends_twice(void **state)
{
    (void)state;
    kill_after_each_message(CYGNET_DELIVERY_AT_MOST_ONCE, "weights");
    kill_after_each_message(CYGNET_DELIVERY_AT_MOST_ONCE, EVALUATE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_refused_allocation_is_survived),
        cmocka_unit_test(test_each_refused_allocation_is_survived_with_int8),
        cmocka_unit_test(test_each_refused_allocation_of_an_evaluation_is_survived),
        cmocka_unit_test(test_a_full_disk_at_each_operation_is_survived),
        cmocka_unit_test(test_a_broken_disk_at_each_operation_is_survived),
        cmocka_unit_test(test_a_kill_after_each_operation_never_counts_twice),
        cmocka_unit_test(test_a_kill_after_each_operation_never_sends_twice),
        cmocka_unit_test(test_a_lost_answer_to_each_message_never_counts_twice),
        cmocka_unit_test(test_a_lost_answer_to_each_message_never_sends_twice),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
