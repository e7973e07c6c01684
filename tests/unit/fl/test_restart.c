/* Cancelled or killed at each state: what the next run makes of it. */
#include "base/stop.h"
#include "tests/unit/fl/bench.h"

#include "fl/round.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

/* At the first event of `when`: keeps the store as it is, and cancels or lets the
 * coordinator fall silent, as a killed process would leave both. */
struct moment {
    struct bench *b;
    cygnet_phase when;
    bool cancel;
    bool past;
    struct memory_store kept;
};

static void at_moment(cygnet_phase phase, void *user)
{
    struct moment *m = user;

    if (phase != m->when || m->past)
        return;
    m->past = true;
    memory_store_copy(&m->kept, &m->b->store);
    if (m->cancel)
        stop_set(&m->b->stop);
    else
        m->b->coordinator.dead = 1;
}

/* Runs until the moment, and prepares the next run: the same participant after a
 * cancel, a new one on the kept store after a kill. */
static void run_to(struct moment *m, struct bench *b, cygnet_phase when, bool cancel)
{
    memset(m, 0, sizeof(*m));
    memory_store_init(&m->kept);
    m->b = b;
    m->when = when;
    m->cancel = cancel;
    b->host.on_phase = at_moment;
    b->host.user = m;
    (void)bench_run(b);
    assert_true(m->past);
    assert_int_equal(b->host.n_open, 0);
    b->host.on_phase = NULL;
    b->coordinator.dead = 0;
    stop_clear(&b->stop);
    if (!cancel) {
        memory_store_copy(&b->store, &m->kept);
        assert_int_equal(bench_restart(b), CYGNET_OK);
    }
    memory_store_clear(&m->kept);
}

static void assert_completes(struct bench *b, uint64_t rounds)
{
    cygnet_status st = bench_run(b);

    if (st != CYGNET_OK)
        print_error("%s\n", b->err.message);
    assert_int_equal(st, CYGNET_OK);
    assert_int_equal(b->report.outcome, CYGNET_OUTCOME_COMPLETED);
    assert_int_equal(b->coordinator.n_tasks, rounds);
    for (int t = 0; t < FAKE_TOKENS; t++)
        assert_true(b->coordinator.accepted[t] <= 1);
    assert_null(memory_store_find(&b->store, "update"));
}

/* ---- Cancel ---------------------------------------------------------------- */

static void test_cancel_is_answered_in_every_state(void **state)
{
    (void)state;
    for (int phase = CYGNET_PHASE_ELIGIBLE; phase <= CYGNET_PHASE_UPLOADING; phase++) {
        struct bench *b = bench_create();
        struct moment m;

        assert_non_null(b);
        run_to(&m, b, (cygnet_phase)phase, true);
        assert_int_equal(b->report.outcome, CYGNET_OUTCOME_INTERRUPTED);
        assert_int_equal(b->report.status, CYGNET_ECANCELLED);
        assert_int_equal(b->report.phase, phase < CYGNET_PHASE_CHECKED_IN
                                              ? CYGNET_PHASE_IDLE
                                              : CYGNET_PHASE_INTERRUPTED);
        bench_destroy(b);
    }
}

static void test_a_run_that_is_cancelled_before_it_begins_does_nothing(void **state)
{
    struct bench *b = *state;

    stop_set(&b->stop);
    assert_int_equal(bench_run(b), CYGNET_ECANCELLED);
    assert_int_equal(b->coordinator.n_calls, 0);
    stop_clear(&b->stop);
    assert_completes(b, 1);
}

static void test_a_task_cancelled_before_training_is_taken_up_again(void **state)
{
    struct bench *b = *state;
    struct moment m;

    run_to(&m, b, CYGNET_PHASE_FETCHED, true);
    assert_completes(b, 1);
    assert_int_equal(b->coordinator.reported[1], 1);
}

static void test_a_training_cancelled_is_reported_and_begun_afresh(void **state)
{
    struct bench *b = *state;
    struct moment m;

    run_to(&m, b, CYGNET_PHASE_TRAINING, true);
    assert_int_equal(b->coordinator.report.n_calls, 0);
    assert_completes(b, 2);
    assert_int_equal(b->coordinator.reported[1], 1);
    assert_int_equal(b->coordinator.accepted[1], 0);
    assert_int_equal(b->coordinator.accepted[2], 1);
}

static void test_an_upload_cancelled_is_sent_by_the_next_run(void **state)
{
    struct bench *b = *state;
    struct moment m;

    run_to(&m, b, CYGNET_PHASE_UPLOADING, true);
    assert_completes(b, 1);
    assert_int_equal(b->host.n_opens, 1);
}

static void cancel(void *user)
{
    stop_set(&((struct bench *)user)->stop);
}

static void test_cancel_ends_the_wait_before_another_try(void **state)
{
    struct bench *b = *state;

    b->coordinator.upload.status[0] = CYGNET_ENETWORK;
    b->clock.on_wait = cancel;
    b->clock.user = b;
    assert_int_equal(bench_run(b), CYGNET_ECANCELLED);
    assert_int_equal(b->clock.waited_ms, 0);
    assert_int_equal(b->coordinator.upload.n_calls, 1);
}

/* ---- Kill ------------------------------------------------------------------ */

static void test_a_kill_before_training_resumes_the_task(void **state)
{
    struct bench *b = *state;
    struct moment m;

    run_to(&m, b, CYGNET_PHASE_FETCHED, false);
    assert_completes(b, 1);
}

static void test_a_kill_in_training_is_reported_and_begun_afresh(void **state)
{
    struct bench *b = *state;
    struct moment m;

    run_to(&m, b, CYGNET_PHASE_TRAINING, false);
    assert_completes(b, 2);
    assert_int_equal(b->coordinator.reported[1], 1);
    assert_int_equal(b->coordinator.accepted[1], 0);
}

static void test_a_kill_after_encoding_only_uploads(void **state)
{
    struct bench *b = *state;
    struct moment m;

    run_to(&m, b, CYGNET_PHASE_ENCODED, false);
    assert_completes(b, 1);
    assert_int_equal(b->host.n_opens, 1);
    assert_int_equal(b->report.examples, 20);
    assert_true(b->report.loss_last > 0.0);
}

static void test_a_kill_in_upload_repeats_it_when_that_is_harmless(void **state)
{
    struct bench *b = *state;
    struct moment m;

    run_to(&m, b, CYGNET_PHASE_UPLOADING, false);
    assert_completes(b, 1);
}

static void test_a_kill_in_upload_never_repeats_at_most_once(void **state)
{
    struct bench *b = *state;
    struct moment m;

    b->coordinator.coordinator.delivery = CYGNET_DELIVERY_AT_MOST_ONCE;
    run_to(&m, b, CYGNET_PHASE_UPLOADING, false);
    assert_completes(b, 2);
    assert_int_equal(b->coordinator.accepted[1], 0);
    assert_int_equal(b->coordinator.reported[1], 1);
}

static void test_an_upload_cancelled_is_never_repeated_at_most_once(void **state)
{
    struct bench *b = *state;
    struct moment m;

    b->coordinator.coordinator.delivery = CYGNET_DELIVERY_AT_MOST_ONCE;
    run_to(&m, b, CYGNET_PHASE_UPLOADING, true);
    assert_completes(b, 2);
    assert_int_equal(b->coordinator.accepted[1], 0);
    assert_int_equal(b->coordinator.reported[1], 1);
}

static void test_a_kill_after_the_receipt_sends_nothing_again(void **state)
{
    struct bench *b = *state;
    struct moment m;

    run_to(&m, b, CYGNET_PHASE_REPORTED, false);
    assert_completes(b, 2);
    assert_int_equal(b->coordinator.accepted[1], 1);
    assert_int_equal(b->coordinator.accepted[2], 1);
}

static void test_a_task_whose_deadline_passed_meanwhile_is_aborted(void **state)
{
    struct bench *b = *state;
    struct moment m;

    memset(&m, 0, sizeof(m));
    run_to(&m, b, CYGNET_PHASE_ASSIGNED, false);
    b->clock.wall_ms += 601 * 1000; /* a reboot: the mono clock began anew */
    b->clock.mono_ms = 10;
    assert_int_equal(bench_restart(b), CYGNET_OK);
    assert_completes(b, 2);
    assert_int_equal(b->coordinator.reported[1], 1);
}

/* ---- Damage ---------------------------------------------------------------- */

static void test_a_damaged_record_is_refused_and_kept(void **state)
{
    struct bench *b = *state;
    struct memory_file *file;

    assert_int_equal(bench_run(b), CYGNET_OK);
    file = memory_store_find(&b->store, JOURNAL_FILE);
    file->data[40] ^= 1;
    b->store.n_ops = 0;
    assert_int_equal(bench_restart(b), CYGNET_EFORMAT);
    assert_null(b->p);
    assert_int_equal(b->store.n_ops, 1); /* the reading */
}

static void test_a_damaged_update_is_not_sent(void **state)
{
    struct bench *b = *state;
    struct moment m;
    int n_uploads;

    run_to(&m, b, CYGNET_PHASE_ENCODED, false);
    n_uploads = b->coordinator.upload.n_calls;
    memory_store_find(&b->store, UPDATE_FILE)->data[9] ^= 1;
    assert_int_equal(bench_run(b), CYGNET_EFORMAT);
    assert_int_equal(b->coordinator.last_report.outcome, CYGNET_OUTCOME_ABORTED);
    assert_int_equal(b->coordinator.upload.n_calls, n_uploads);
    assert_completes(b, 2);
}

static void test_a_full_disk_at_the_update_aborts_and_keeps_the_old_state(void **state)
{
    struct bench *b = *state;

    assert_int_equal(bench_restart(b), CYGNET_OK);
    b->store.n_ops = 0;
    b->store.fail_at = 3; /* assigned, training, then the update */
    b->store.fail_with = CYGNET_ENOSPC;
    assert_int_equal(bench_run(b), CYGNET_ENOSPC);
    assert_int_equal(b->coordinator.last_report.outcome, CYGNET_OUTCOME_ABORTED);
    assert_null(memory_store_find(&b->store, UPDATE_FILE));
    assert_completes(b, 2);
}

/* ---- Identity and check-in ------------------------------------------------- */

static void test_the_identity_outlives_the_process_until_it_is_reset(void **state)
{
    struct bench *b = *state;
    char first[CLIENT_ID_HEX + 1], second[CLIENT_ID_HEX + 1];

    assert_int_equal(bench_run(b), CYGNET_OK);
    memcpy(first, participant_client_id(b->p), sizeof(first));
    assert_int_equal(strspn(first, "0123456789abcdef"), CLIENT_ID_HEX);
    assert_string_equal(b->coordinator.last_client_id, first);
    assert_int_equal(bench_restart(b), CYGNET_OK);
    assert_string_equal(participant_client_id(b->p), first);
    assert_int_equal(participant_reset_identity(b->p, NULL), CYGNET_OK);
    memcpy(second, participant_client_id(b->p), sizeof(second));
    assert_string_not_equal(second, first);
    assert_int_equal(bench_restart(b), CYGNET_OK);
    assert_string_equal(participant_client_id(b->p), second);
}

static void test_a_reset_that_cannot_be_written_keeps_the_identity(void **state)
{
    struct bench *b = *state;
    char first[CLIENT_ID_HEX + 1];

    assert_int_equal(bench_restart(b), CYGNET_OK);
    memcpy(first, participant_client_id(b->p), sizeof(first));
    for (int op = 1; op <= 2; op++) {
        b->store.n_ops = 0;
        b->store.fail_at = op;
        b->store.fail_with = CYGNET_ENOSPC;
        assert_int_equal(participant_reset_identity(b->p, &b->err), CYGNET_ENOSPC);
        assert_string_equal(participant_client_id(b->p), first);
    }
    b->store.fail_at = 0;
    assert_int_equal(bench_restart(b), CYGNET_OK);
    assert_string_equal(participant_client_id(b->p), first);
}

static void test_unseeded_identities_differ(void **state)
{
    struct bench *b = *state;
    struct bench *other = bench_create();

    assert_non_null(other);
    b->config.seed = other->config.seed = 0;
    assert_int_equal(bench_restart(b), CYGNET_OK);
    assert_int_equal(bench_restart(other), CYGNET_OK);
    assert_string_not_equal(participant_client_id(b->p), participant_client_id(other->p));
    bench_destroy(other);
}

static void test_check_in_leaves_the_task_to_a_later_run(void **state)
{
    struct bench *b = *state;

    assert_int_equal(bench_restart(b), CYGNET_OK);
    assert_int_equal(participant_check_in(b->p, &b->report, &b->err), CYGNET_OK);
    assert_int_equal(b->report.outcome, CYGNET_OUTCOME_NONE);
    assert_int_equal(b->report.phase, CYGNET_PHASE_ASSIGNED);
    assert_int_equal(participant_check_in(b->p, &b->report, &b->err), CYGNET_OK);
    assert_int_equal(b->coordinator.check_in.n_calls, 1);
    assert_completes(b, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cancel_is_answered_in_every_state),
        TEST(test_a_run_that_is_cancelled_before_it_begins_does_nothing),
        TEST(test_a_task_cancelled_before_training_is_taken_up_again),
        TEST(test_a_training_cancelled_is_reported_and_begun_afresh),
        TEST(test_an_upload_cancelled_is_sent_by_the_next_run),
        TEST(test_cancel_ends_the_wait_before_another_try),
        TEST(test_a_kill_before_training_resumes_the_task),
        TEST(test_a_kill_in_training_is_reported_and_begun_afresh),
        TEST(test_a_kill_after_encoding_only_uploads),
        TEST(test_a_kill_in_upload_repeats_it_when_that_is_harmless),
        TEST(test_a_kill_in_upload_never_repeats_at_most_once),
        TEST(test_an_upload_cancelled_is_never_repeated_at_most_once),
        TEST(test_a_kill_after_the_receipt_sends_nothing_again),
        TEST(test_a_task_whose_deadline_passed_meanwhile_is_aborted),
        TEST(test_a_damaged_record_is_refused_and_kept),
        TEST(test_a_damaged_update_is_not_sent),
        TEST(test_a_full_disk_at_the_update_aborts_and_keeps_the_old_state),
        TEST(test_the_identity_outlives_the_process_until_it_is_reset),
        TEST(test_a_reset_that_cannot_be_written_keeps_the_identity),
        TEST(test_unseeded_identities_differ),
        TEST(test_check_in_leaves_the_task_to_a_later_run),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
