/* The life of a round under a clock that the test moves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bench.h"

#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof *b);

    assert_non_null(b);
    bench_init(b);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    bench_clear(*state);
    free(*state);
    return 0;
}

/* Rounds with `n_clients` that are known and present, K of them wanted. */
static struct bench *start(void **state, uint32_t k, double over, int n_clients)
{
    struct bench *b = *state;
    struct seat seat;

    b->options.participants = k;
    b->options.over_commitment = over;
    b->options.min_clients = (uint32_t)n_clients;
    bench_start(b);
    for (int i = 0; i < n_clients; i++)
        bench_check_in(b, &seat, i);
    return b;
}

/* A client of 0..n-1 that has (or has not) the task; its number. */
static int find(struct bench *b, struct seat *seat, int n, bool with_task)
{
    for (int i = 0; i < n; i++)
        if ((bench_check_in(b, seat, i) == ANSWER_TASK) == with_task)
            return i;
    fail_msg("there is no such client");
    return -1;
}

static enum verdict judge(struct bench *b, const struct seat *seat)
{
    return rounds_judge(b->r, seat->round, seat->token, NULL);
}

/* ---- Opening ------------------------------------------------------------ */

static void test_a_round_opens_when_enough_clients_are_known(void **state)
{
    struct bench *b = *state;
    struct seat seat;

    bench_start(b);
    assert_int_equal(bench_check_in(b, &seat, 0), ANSWER_BUSY);
    assert_int_equal(b->r->phase, PHASE_WAITING);
    assert_int_equal(bench_check_in(b, &seat, 0), ANSWER_BUSY); /* the same one */
    assert_int_equal(bench_check_in(b, &seat, 1), ANSWER_TASK);
    assert_int_equal(b->r->phase, PHASE_OPEN);
    assert_int_equal(seat.round, 1);
    assert_int_equal(bench_check_in(b, &seat, 0), ANSWER_TASK);
}

static void test_over_commitment_asks_more_and_the_late_ones_hear_closed(void **state)
{
    struct bench *b = start(state, 2, 1.5, 3);
    struct seat seats[3];

    assert_int_equal(b->r->round.row.target, 3);
    for (int i = 0; i < 3; i++)
        seats[i] = bench_task(b, i);
    assert_int_equal(bench_update(b, &seats[2], 1, 1), VERDICT_GO);
    assert_int_equal(b->r->phase, PHASE_OPEN);
    assert_int_equal(bench_update(b, &seats[0], 1, 1), VERDICT_GO);
    assert_int_equal(b->r->phase, PHASE_CLOSING);
    assert_int_equal(bench_update(b, &seats[1], 1, 1), VERDICT_CLOSED);
    bench_close(b, 0.5);
    assert_int_equal(bench_update(b, &seats[1], 1, 1), VERDICT_CLOSED);
    assert_int_equal(b->r->history[0].n_accepted, 2);
}

static void test_a_round_that_cannot_be_kept_asks_nobody(void **state)
{
    struct bench *b = *state;
    sqlite3 *other = NULL;
    struct seat seat;
    char path[FILES_PATH_MAX];
    enum answer answer;

    bench_start(b);
    bench_check_in(b, &seat, 0);
    bench_check_in(b, &seat, 1);
    bench_pass(b, BENCH_DEADLINE_MS); /* fails: nobody; both were last seen long ago */
    assert_int_equal(b->r->phase, PHASE_WAITING);
    files_db_path(path, &b->files);
    assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(rounds_check_in(&answer, &seat, b->r, "client-0", NULL),
                     CYGNET_EBUSY);
    assert_int_equal(b->r->phase, PHASE_WAITING);
    assert_int_equal(b->r->round.n_seats, 0);
    sqlite3_close(other);
    seat = bench_task(b, 0);
    assert_int_equal(b->r->round.n_seats, 1);
    bench_restart(b);
    assert_int_equal(judge(b, &seat), VERDICT_GO);
}

/* ---- Grace and lease ---------------------------------------------------- */

static void test_a_selected_client_that_stays_away_is_replaced_after_grace(void **state)
{
    struct bench *b = start(state, 2, 1, 3);
    const struct seat *seats = b->r->round.seats;
    struct seat seat;
    int spare = 0;

    while (spare == seats[0].client_id[7] - '0' || spare == seats[1].client_id[7] - '0')
        spare++;
    assert_true(rounds_count(&b->r->round, SEAT_INVITED) >= 1);
    bench_pass(b, BENCH_GRACE_MS - 1);
    assert_int_equal(bench_check_in(b, &seat, spare), ANSWER_BUSY);
    bench_pass(b, 1);
    bench_task(b, spare);
    assert_int_equal(rounds_count(&b->r->round, SEAT_ABSENT), 1);
}

static void test_an_expired_lease_goes_to_another(void **state)
{
    struct bench *b = start(state, 1, 1, 2);
    struct seat lost;
    struct seat seat;
    int first = find(b, &lost, 2, true);

    bench_pass(b, BENCH_LEASE_MS - 1);
    assert_int_equal(bench_check_in(b, &seat, 1 - first), ANSWER_BUSY);
    bench_pass(b, 1);
    seat = bench_task(b, 1 - first);
    assert_string_not_equal(seat.token, lost.token);
    assert_int_equal(bench_update(b, &lost, 1, 1), VERDICT_GONE);
    assert_int_equal(judge(b, &lost), VERDICT_GONE);
    assert_int_equal(rounds_count_failed(&b->r->round), 1);
    assert_int_equal(bench_update(b, &seat, 1, 1), VERDICT_GO);
}

static void test_a_renewed_lease_is_kept(void **state)
{
    struct bench *b = start(state, 1, 1, 2);
    struct seat seat;
    struct seat other;
    int first = find(b, &seat, 2, true);

    for (int i = 0; i < 5; i++) {
        bench_pass(b, BENCH_LEASE_MS - 1);
        rounds_renew(b->r, seat.token);
    }
    assert_int_equal(bench_check_in(b, &other, 1 - first), ANSWER_BUSY);
    assert_int_equal(bench_update(b, &seat, 1, 1), VERDICT_GO);
}

static void test_a_lease_of_zero_seconds_never_runs_out(void **state)
{
    struct bench *b = *state;
    struct seat seat;

    b->options.lease_s = 0;
    start(state, 1, 1, 2);
    find(b, &seat, 2, true);
    bench_pass(b, BENCH_DEADLINE_MS - 1);
    assert_int_equal(judge(b, &seat), VERDICT_GO);
    assert_int_equal(rounds_count_failed(&b->r->round), 0);
}

static void test_a_seat_that_nobody_can_take_waits_for_its_client(void **state)
{
    struct bench *b = start(state, 1, 1, 1);
    struct seat seat = bench_task(b, 0);

    bench_pass(b, BENCH_LEASE_MS);
    assert_int_equal(rounds_count_failed(&b->r->round), 1);
    assert_int_equal(b->r->phase, PHASE_OPEN);
    assert_int_equal(bench_update(b, &seat, 1, 1), VERDICT_GO);
    assert_int_equal(rounds_count_failed(&b->r->round), 0);
    assert_int_equal(b->r->phase, PHASE_CLOSING);
}

static void test_who_gives_up_is_replaced_at_once(void **state)
{
    struct bench *b = start(state, 1, 1, 2);
    struct seat seat;
    struct seat other;
    int first = find(b, &seat, 2, true);

    assert_int_equal(rounds_give_up(b->r, seat.token, NULL), CYGNET_OK);
    assert_int_equal(judge(b, &seat), VERDICT_GONE);
    other = bench_task(b, 1 - first);
    assert_int_equal(rounds_give_up(b->r, seat.token, NULL), CYGNET_OK); /* again */
    assert_int_equal(judge(b, &other), VERDICT_GO);
}

/* ---- Deadline ----------------------------------------------------------- */

static void test_the_deadline_closes_a_round_with_the_min_fraction(void **state)
{
    struct bench *b = start(state, 2, 1, 2);
    struct seat seat = bench_task(b, 0);

    b->options.lease_s = 0;
    bench_task(b, 1);
    bench_update(b, &seat, 1, 1);
    bench_pass(b, BENCH_DEADLINE_MS - 1);
    bench_task(b, 1); /* comes back: somebody to wait for */
    bench_pass(b, 0);
    assert_int_equal(b->r->phase, PHASE_OPEN);
    bench_pass(b, 1);
    assert_int_equal(b->r->phase, PHASE_CLOSING);
    assert_int_equal(rounds_count_failed(&b->r->round), 1);
}

static void test_a_deadline_with_too_few_repeats_the_round(void **state)
{
    struct bench *b = *state;
    struct seat seat;
    struct seat again;

    b->options.min_fraction = 1;
    b->options.lease_s = 0;
    start(state, 2, 1, 2);
    seat = bench_task(b, 0);
    bench_task(b, 1);
    bench_update(b, &seat, 1, 1);
    bench_pass(b, BENCH_DEADLINE_MS);
    assert_int_equal(b->r->n_failed_rounds, 1);
    assert_int_equal(b->r->n_history, 0);
    assert_true(bench_weight(b) == 1.0f);
    bench_check_in(b, &again, 0);
    bench_check_in(b, &again, 1);
    again = bench_task(b, 0);
    assert_int_equal(again.round, 1);
    assert_int_equal(again.attempt, 2);
    assert_string_not_equal(again.token, seat.token);
    assert_int_equal(b->r->round.row.n_accepted, 0);
    assert_int_equal(bench_update(b, &seat, 1, 1), VERDICT_ALREADY);
    assert_int_equal(b->r->round.row.n_accepted, 0);
}

static void test_the_min_fraction_is_not_rounded_up_by_binary_fractions(void **state)
{
    struct bench *b = *state;

    b->options.min_fraction = 0.07; /* 0.07 * 100 is 7.000000000000001 */
    b->options.lease_s = 0;
    start(state, 100, 1, 100);
    for (int i = 0; i < 7; i++) {
        struct seat seat = bench_task(b, i);
        assert_int_equal(bench_update(b, &seat, 1, 1), VERDICT_GO);
    }
    for (int i = 7; i < 100; i++)
        bench_task(b, i);
    bench_pass(b, BENCH_DEADLINE_MS);
    assert_int_equal(b->r->phase, PHASE_CLOSING);
    assert_int_equal(b->r->n_failed_rounds, 0);
}

static void test_a_round_that_everybody_left_is_repeated_at_once(void **state)
{
    struct bench *b = start(state, 2, 1, 2);

    for (int i = 0; i < 2; i++) {
        struct seat seat = bench_task(b, i);
        assert_int_equal(rounds_give_up(b->r, seat.token, NULL), CYGNET_OK);
    }
    assert_int_equal(b->r->phase, PHASE_WAITING);
    assert_int_equal(b->r->n_failed_rounds, 1);
}

/* ---- Updates ------------------------------------------------------------ */

static void test_an_update_counts_once_however_often_it_comes(void **state)
{
    struct bench *b = start(state, 2, 1, 2);
    struct seat seat = bench_task(b, 0);

    assert_int_equal(bench_update(b, &seat, 1, 1), VERDICT_GO);
    assert_int_equal(bench_update(b, &seat, 1, 1), VERDICT_ALREADY);
    assert_int_equal(bench_update(b, &seat, 2, 1), VERDICT_OTHER_BYTES);
    assert_int_equal(b->r->round.row.n_accepted, 1);
    seat.round = 2;
    assert_int_equal(bench_update(b, &seat, 1, 1), VERDICT_CLOSED);
    memcpy(seat.token, "unknown", 8);
    assert_int_equal(bench_update(b, &seat, 1, 1), VERDICT_GONE);
}

static void test_an_update_that_cannot_be_kept_is_not_counted(void **state)
{
    struct bench *b = start(state, 2, 1, 2);
    struct seat seat = bench_task(b, 0);
    const cygnet_tensors *deltas = global_weights(b->r->global);
    sqlite3 *other = NULL;
    char path[FILES_PATH_MAX];
    char sha256[HASH_HEX + 1];

    memset(sha256, 'a', HASH_HEX);
    sha256[HASH_HEX] = '\0';
    files_db_path(path, &b->files);
    assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(rounds_accept(b->r, seat.token, sha256, deltas, 1, 10, NULL),
                     CYGNET_EBUSY);
    sqlite3_close(other);
    assert_int_equal(b->r->round.row.n_accepted, 0);
    assert_int_equal(aggregate_count(b->r->round.sum), 0);
    assert_int_equal(bench_update(b, &seat, 1, 1), VERDICT_GO);
    assert_int_equal(b->r->round.row.n_accepted, 1);
}

static void test_a_claim_of_many_examples_weighs_no_more_than_the_cap(void **state)
{
    struct bench *b = *state;
    struct seat seat;

    b->options.max_examples_weight = 30;
    start(state, 2, 1, 2);
    seat = bench_task(b, 0);
    assert_int_equal(bench_update(b, &seat, 1, AGGREGATE_MAX_EXAMPLES), VERDICT_GO);
    assert_int_equal(aggregate_examples(b->r->round.sum), 30);
    b->options.max_examples_weight = 1000; /* it counts as it was accepted */
    bench_restart(b);
    bench_pass(b, 0);
    assert_int_equal(aggregate_examples(b->r->round.sum), 30);
    seat = bench_task(b, 1);
    assert_int_equal(bench_update(b, &seat, -1, 10), VERDICT_GO);
    bench_close(b, 0.5);
    assert_true(bench_weight(b) == 1.5f); /* 1 + (30 - 10) / 40 */
}

/* ---- Bounds ------------------------------------------------------------- */

/* Rows of a table, as another process sees them. */
static int count_rows(const struct bench *b, const char *table)
{
    char path[FILES_PATH_MAX];
    char text[64];
    sqlite3 *sql = NULL;
    sqlite3_stmt *q = NULL;
    int n;

    files_db_path(path, &b->files);
    snprintf(text, sizeof text, "SELECT count(*) FROM %s", table);
    assert_int_equal(sqlite3_open(path, &sql), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(sql, text, -1, &q, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(q), SQLITE_ROW);
    n = sqlite3_column_int(q, 0);
    sqlite3_finalize(q);
    sqlite3_close(sql);
    return n;
}

static void test_a_flood_of_ids_forgets_those_not_seen_for_longest(void **state)
{
    struct bench *b = *state;
    struct seat seat;
    struct seat other;

    b->options.max_clients = 5;
    start(state, 2, 1, 2);
    seat = bench_task(b, 0);
    for (int i = 100; i < 150; i++) {
        b->now_ms++;
        bench_check_in(b, &other, i);
    }
    assert_int_equal(b->r->clients.n, 5);
    assert_int_equal(count_rows(b, "clients"), 5);
    assert_non_null(clients_find(&b->r->clients, "client-0")); /* takes part */
    assert_non_null(clients_find(&b->r->clients, "client-149"));
    assert_null(clients_find(&b->r->clients, "client-146"));
    assert_int_equal(bench_update(b, &seat, 1, 1), VERDICT_GO);
    bench_restart(b);
    assert_int_equal(b->r->clients.n, 5);
}

static void test_no_client_is_forgotten_while_it_takes_part(void **state)
{
    struct bench *b = *state;
    struct seat seat;
    enum answer answer;

    b->options.max_clients = 2;
    start(state, 2, 1, 2);
    assert_int_equal(rounds_check_in(&answer, &seat, b->r, "client-9", NULL),
                     CYGNET_ELIMIT);
    bench_task(b, 0);
    bench_task(b, 1);
}

static void test_attempts_without_end_leave_a_bounded_number_of_rows(void **state)
{
    struct bench *b = *state;
    const int n_attempts = 3 * DB_KEPT_ATTEMPTS;
    struct seat seat;

    b->options.min_fraction = 1;
    bench_start(b);
    for (int i = 0; i < n_attempts; i++) {
        bench_check_in(b, &seat, 0);
        bench_check_in(b, &seat, 1);
        seat = bench_task(b, 0);
        assert_int_equal(db_put_report(b->tools.db, seat.token, "{}", NULL), CYGNET_OK);
        bench_pass(b, BENCH_DEADLINE_MS);
        rounds_prune(b->r);
    }
    assert_int_equal(b->r->n_failed_rounds, n_attempts);
    assert_in_range(count_rows(b, "rounds"), 1, DB_KEPT_ATTEMPTS + 1);
    assert_in_range(count_rows(b, "seats"), 1, 2 * (DB_KEPT_ATTEMPTS + 1));
    assert_in_range(count_rows(b, "reports"), 1, DB_KEPT_ATTEMPTS + 1);
    assert_int_equal(judge(b, &seat), VERDICT_CLOSED);
    bench_restart(b);
    assert_int_equal(b->r->n_failed_rounds, n_attempts);
    assert_int_equal(b->r->round.row.attempt, n_attempts + 1);
}

/* ---- The end ------------------------------------------------------------ */

static void run_round(struct bench *b, float delta, double accuracy)
{
    for (int i = 0; i < 2; i++) {
        struct seat seat;
        bench_check_in(b, &seat, i);
    }
    for (int i = 0; i < 2; i++) {
        struct seat seat = bench_task(b, i);
        assert_int_equal(bench_update(b, &seat, delta, 1), VERDICT_GO);
    }
    bench_close(b, accuracy);
}

static void test_training_ends_after_the_last_round(void **state)
{
    struct bench *b = *state;
    struct seat seat;

    b->options.rounds = 2;
    start(state, 2, 1, 2);
    run_round(b, 0.5f, (double)NAN);
    assert_int_equal(b->r->phase, PHASE_WAITING);
    assert_true(bench_weight(b) == 1.5f);
    run_round(b, 0.25f, (double)NAN);
    assert_true(bench_weight(b) == 1.75f);
    assert_int_equal(b->r->phase, PHASE_FINISHED);
    assert_int_equal(bench_check_in(b, &seat, 0), ANSWER_FINISHED);
    assert_true(clients_find(&b->r->clients, "client-0")->informed);
    assert_false(clients_find(&b->r->clients, "client-1")->informed);
    assert_int_equal(bench_check_in(b, &seat, 77), ANSWER_FINISHED);
    assert_int_equal(b->r->clients.n, 2); /* nobody new is remembered */
}

static void test_training_ends_at_the_target_accuracy(void **state)
{
    struct bench *b = *state;

    b->options.target_accuracy = 0.9;
    start(state, 2, 1, 2);
    run_round(b, 0.5f, 0.89);
    assert_int_equal(b->r->phase, PHASE_WAITING);
    run_round(b, 0.5f, 0.9);
    assert_int_equal(b->r->phase, PHASE_FINISHED);
    bench_restart(b);
    assert_int_equal(b->r->phase, PHASE_FINISHED);
}

static void test_an_aggregate_that_cannot_be_used_repeats_the_round(void **state)
{
    struct bench *b = start(state, 2, 1, 2);

    for (int i = 0; i < 2; i++) {
        struct seat seat = bench_task(b, i);
        bench_update(b, &seat, 1, 1);
    }
    assert_int_equal(b->r->phase, PHASE_CLOSING);
    assert_int_equal(rounds_discard(b->r, NULL), CYGNET_OK);
    assert_int_equal(b->r->phase, PHASE_WAITING);
    assert_int_equal(b->r->n_failed_rounds, 1);
    run_round(b, 0.5f, 0.5);
    assert_int_equal(b->r->history[0].attempt, 2);
}

/* ---- Restart ------------------------------------------------------------ */

static void test_a_restart_goes_on_with_the_open_round(void **state)
{
    struct bench *b = start(state, 2, 1, 2);
    struct seat first = bench_task(b, 0);
    struct seat second = bench_task(b, 1);

    bench_update(b, &first, 0.5f, 3);
    b->now_ms += 10 * (int64_t)BENCH_DEADLINE_MS; /* nobody was there to count it */
    bench_restart(b);
    bench_pass(b, 0);
    assert_int_equal(b->r->phase, PHASE_OPEN);
    assert_int_equal(b->r->round.row.n_accepted, 1);
    assert_int_equal(aggregate_examples(b->r->round.sum), 3);
    assert_int_equal(bench_update(b, &first, 0.5f, 3), VERDICT_ALREADY);
    assert_int_equal(bench_update(b, &second, 0.5f, 1), VERDICT_GO);
    bench_close(b, 0.5);
    assert_true(bench_weight(b) == 1.5f);
}

static void test_a_restart_before_the_result_closes_the_round_again(void **state)
{
    struct bench *b = start(state, 2, 1, 2);

    for (int i = 0; i < 2; i++) {
        struct seat seat = bench_task(b, i);
        bench_update(b, &seat, 0.5f, 1);
    }
    assert_int_equal(b->r->phase, PHASE_CLOSING);
    bench_restart(b);
    bench_pass(b, 0);
    bench_close(b, 0.5);
    assert_int_equal(b->r->history[0].n_accepted, 2);
    assert_true(bench_weight(b) == 1.5f);
}

static void test_a_restart_after_failed_attempts_goes_on_counting(void **state)
{
    struct bench *b = *state;
    struct seat seat;

    b->options.min_fraction = 1;
    start(state, 2, 1, 2);
    for (int failed = 0; failed < 3; failed++) {
        bench_pass(b, BENCH_DEADLINE_MS);
        for (int i = 0; i < 2; i++)
            bench_check_in(b, &seat, i);
    }
    assert_int_equal(b->r->n_failed_rounds, 3);
    bench_restart(b);
    assert_int_equal(b->r->n_failed_rounds, 3);
    run_round(b, 0.5f, 0.5);
    assert_int_equal(b->r->history[0].attempt, 4);
    bench_restart(b);
    assert_int_equal(b->r->n_failed_rounds, 3);
    assert_int_equal(b->r->round.row.round, 2);
    assert_int_equal(b->r->round.row.attempt, 1);
}

static void test_a_damaged_stored_update_is_refused(void **state)
{
    struct bench *b = start(state, 2, 1, 2);
    struct seat seat = bench_task(b, 0);
    const struct seat *kept = &b->r->round.seats[0];
    char path[FILES_PATH_MAX];
    cygnet_error err = {0};
    struct rounds *r = NULL;
    FILE *file;

    bench_update(b, &seat, 1, 1);
    if (kept->state != SEAT_ACCEPTED)
        kept++;
    files_update_path(path, &b->files, kept->token, kept->sha256);
    rounds_destroy(b->r);
    b->r = NULL;
    file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, -1, SEEK_END), 0);
    assert_int_equal(fputc(0x7f, file), 0x7f); /* another finite number */
    fclose(file);
    assert_int_equal(rounds_create(&r, &b->tools, NULL, &err), CYGNET_EHASH);
    assert_null(r);
    assert_non_null(strstr(err.message, "damaged"));
    db_close(b->tools.db);
    files_close(&b->files);
}

static int keep_nothing(const char *name, void *user)
{
    (void)name;
    (void)user;
    return 0;
}

static void test_the_history_stays_while_old_participants_are_forgotten(void **state)
{
    struct bench *b = *state;
    const int n_rounds = DB_KEPT_ATTEMPTS + 5;
    struct seat first;

    b->options.rounds = 100;
    start(state, 2, 1, 2);
    first = bench_task(b, 0);
    for (int i = 0; i < n_rounds; i++)
        run_round(b, 0.5f, 0.5);
    assert_int_equal(count_rows(b, "rounds"), n_rounds);
    assert_in_range(count_rows(b, "seats"), 1, 2 * (DB_KEPT_ATTEMPTS + 1));
    assert_int_equal(judge(b, &first), VERDICT_GONE);
    bench_restart(b);
    assert_int_equal(b->r->n_history, n_rounds);
}

static void test_files_of_closed_rounds_go_and_those_of_the_open_round_stay(void **state)
{
    struct bench *b = start(state, 2, 1, 2);
    char path[FILES_PATH_MAX];
    struct unwanted all;
    struct seat seat;

    run_round(b, 0.5f, 0.5);
    for (int i = 0; i < 2; i++)
        bench_check_in(b, &seat, i);
    seat = bench_task(b, 0);
    /* Durable, but not yet counted: another thread is about to. */
    files_update_path(path, &b->files, seat.token, global_sha256(b->r->global));
    assert_int_equal(files_save(path, "x", 1, NULL), CYGNET_OK);
    files_update_path(path, &b->files, "old", global_sha256(b->r->global));
    assert_int_equal(files_save(path, "x", 1, NULL), CYGNET_OK);
    b->r->prune_due = true;
    rounds_prune(b->r);
    files_list_unwanted(&all, &b->files, "updates", keep_nothing, NULL);
    assert_int_equal(all.n, 1);
    assert_memory_equal(all.names[0], seat.token, strlen(seat.token));
    all.n = 0;
    files_remove(&all, &b->files, "updates");
}

#define ROUNDS_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROUNDS_TEST(test_a_round_opens_when_enough_clients_are_known),
        ROUNDS_TEST(test_over_commitment_asks_more_and_the_late_ones_hear_closed),
        ROUNDS_TEST(test_a_round_that_cannot_be_kept_asks_nobody),
        ROUNDS_TEST(test_a_selected_client_that_stays_away_is_replaced_after_grace),
        ROUNDS_TEST(test_an_expired_lease_goes_to_another),
        ROUNDS_TEST(test_a_renewed_lease_is_kept),
        ROUNDS_TEST(test_a_lease_of_zero_seconds_never_runs_out),
        ROUNDS_TEST(test_a_seat_that_nobody_can_take_waits_for_its_client),
        ROUNDS_TEST(test_who_gives_up_is_replaced_at_once),
        ROUNDS_TEST(test_the_deadline_closes_a_round_with_the_min_fraction),
        ROUNDS_TEST(test_a_deadline_with_too_few_repeats_the_round),
        ROUNDS_TEST(test_the_min_fraction_is_not_rounded_up_by_binary_fractions),
        ROUNDS_TEST(test_a_round_that_everybody_left_is_repeated_at_once),
        ROUNDS_TEST(test_an_update_counts_once_however_often_it_comes),
        ROUNDS_TEST(test_an_update_that_cannot_be_kept_is_not_counted),
        ROUNDS_TEST(test_a_claim_of_many_examples_weighs_no_more_than_the_cap),
        ROUNDS_TEST(test_a_flood_of_ids_forgets_those_not_seen_for_longest),
        ROUNDS_TEST(test_no_client_is_forgotten_while_it_takes_part),
        ROUNDS_TEST(test_attempts_without_end_leave_a_bounded_number_of_rows),
        ROUNDS_TEST(test_the_history_stays_while_old_participants_are_forgotten),
        ROUNDS_TEST(test_training_ends_after_the_last_round),
        ROUNDS_TEST(test_training_ends_at_the_target_accuracy),
        ROUNDS_TEST(test_an_aggregate_that_cannot_be_used_repeats_the_round),
        ROUNDS_TEST(test_a_restart_goes_on_with_the_open_round),
        ROUNDS_TEST(test_a_restart_before_the_result_closes_the_round_again),
        ROUNDS_TEST(test_a_restart_after_failed_attempts_goes_on_counting),
        ROUNDS_TEST(test_a_damaged_stored_update_is_refused),
        ROUNDS_TEST(test_files_of_closed_rounds_go_and_those_of_the_open_round_stay),
    };

    return cmocka_run_group_tests_name("rounds", tests, NULL, NULL);
}
