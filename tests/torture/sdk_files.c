/* A whole client through its public face, on real files, killed at the k-th call
 * that changes a file, killed before the k-th answer arrives, and with a disk that
 * is full or broken from the k-th call on, for each k. Afterwards the next process
 * completes, under the same id; no token has been counted with two contents. */
#include "tests/fakes/failing_files.h"
#include "tests/torture/sdk_bench.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* What outlives a process that is killed. */
struct world {
    struct honest_coordinator server;
    char client_id[SDK_ID_BYTES];
};

static int setup(void **state)
{
    struct world *world = mmap(NULL, sizeof(*world), PROT_READ | PROT_WRITE,
                               MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (world == MAP_FAILED)
        return -1;
    *state = world;
    return honest_init(&world->server);
}

static int teardown(void **state)
{
    struct world *world = *state;

    honest_clear(&world->server);
    return munmap(world, sizeof(*world));
}

static void begin(struct sdk_bench *b, struct world *world)
{
    honest_forget(&world->server);
    memset(world->client_id, 0, sizeof(world->client_id));
    sdk_bench_init(b, &world->server);
    b->client_id = world->client_id;
}

/* ---- Killed ---------------------------------------------------------------- */

/* A process of its own that is killed at its k-th call or, with k 0, by the
 * coordinator. Whether it was. */
static bool process_is_killed(struct sdk_bench *b, long k)
{
    int how = 0;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        files_begin(k > 0 ? FILES_KILL : FILES_FINE, k, 0);
        _exit(sdk_bench_live(b) == CYGNET_OK &&
                      b->report.outcome == CYGNET_OUTCOME_COMPLETED
                  ? 0
                  : 1);
    }
    assert_int_equal(waitpid(child, &how, 0), child);
    if (WIFSIGNALED(how)) {
        assert_int_equal(WTERMSIG(how), SIGKILL);
        return true;
    }
    assert_true(WIFEXITED(how));
    if (WEXITSTATUS(how) != 0)
        fail_msg("k = %ld: the process ended with status %d", k, WEXITSTATUS(how));
    return false;
}

static void test_a_kill_at_each_call_that_changes_a_file_is_survived(void **state)
{
    bool killed = true;

    for (long k = 1; killed; k++) {
        struct sdk_bench b;

        begin(&b, *state);
        killed = process_is_killed(&b, k);
        sdk_bench_assert_next_completes(&b, k);
        sdk_bench_clear(&b);
        assert_true(killed || k > 20); /* a round does change files */
    }
}

/* The process that tidies up after a kill is killed as well. */
static void test_a_kill_while_recovering_from_a_kill_is_survived(void **state)
{
    bool killed = true;

    for (long k = 1; killed; k++) {
        struct sdk_bench b;

        begin(&b, *state);
        killed = process_is_killed(&b, k);
        for (long n = 0; n < 3; n++)
            (void)process_is_killed(&b, 1 + (5 * k + 7 * n) % 23);
        sdk_bench_assert_next_completes(&b, k);
        sdk_bench_clear(&b);
    }
}

static void test_a_kill_before_each_answer_arrives_is_survived(void **state)
{
    struct world *world = *state;
    bool killed = true;

    for (int k = 1; killed; k++) {
        struct sdk_bench b;

        begin(&b, world);
        world->server.kills_at = k;
        killed = process_is_killed(&b, 0);
        world->server.kills_at = 0;
        sdk_bench_assert_next_completes(&b, k);
        sdk_bench_clear(&b);
        assert_true(killed || k > 4); /* check-in, weights, update, report */
    }
}

/* ---- A disk that fails ------------------------------------------------------ */

static void fail_each_call(struct world *world, enum files_trouble trouble, int error,
                           cygnet_status expected)
{
    int reached = 1;

    for (long k = 1; reached; k++) {
        struct sdk_bench b;
        cygnet_status st;

        begin(&b, world);
        files_begin(trouble, k, error);
        st = sdk_bench_live(&b);
        reached = files_end();
        if (st != CYGNET_OK && st != expected)
            fail_msg("call %ld: %s, %s", k, cygnet_status_name(st), b.err.message);
        if (st != CYGNET_OK && b.err.message[0] == '\0')
            fail_msg("call %ld: %s without a reason", k, cygnet_status_name(st));
        if (k % 2 == 0)
            sdk_bench_assert_same_completes(&b, k);
        sdk_bench_end(&b);
        sdk_bench_assert_next_completes(&b, k);
        sdk_bench_clear(&b);
    }
}

static void test_a_disk_full_for_each_one_call_is_survived(void **state)
{
    fail_each_call(*state, FILES_FAIL, ENOSPC, CYGNET_ENOSPC);
}

static void test_a_disk_full_from_each_call_on_is_survived(void **state)
{
    fail_each_call(*state, FILES_FULL, ENOSPC, CYGNET_ENOSPC);
}

static void test_a_disk_that_breaks_at_each_call_is_survived(void **state)
{
    fail_each_call(*state, FILES_FAIL, EIO, CYGNET_ESTORAGE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_kill_at_each_call_that_changes_a_file_is_survived),
        TEST(test_a_kill_while_recovering_from_a_kill_is_survived),
        TEST(test_a_kill_before_each_answer_arrives_is_survived),
        TEST(test_a_disk_full_for_each_one_call_is_survived),
        TEST(test_a_disk_full_from_each_call_on_is_survived),
        TEST(test_a_disk_that_breaks_at_each_call_is_survived),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
