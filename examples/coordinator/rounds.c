/* The life of a round while it is open. See rounds.h; restoring is in resume.c. */
#include "rounds.h"

#include "../common/complain.h"
#include "resume.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int64_t rounds_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int64_t wall_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static struct seat *seat_of_client(const struct round *round, const char *id)
{
    for (size_t i = 0; i < round->n_seats; i++)
        if (strcmp(round->seats[i].client_id, id) == 0)
            return &round->seats[i];
    return NULL;
}

static struct seat *seat_of_token(const struct round *round, const char *token)
{
    for (size_t i = 0; i < round->n_seats; i++)
        if (round->seats[i].token[0] && strcmp(round->seats[i].token, token) == 0)
            return &round->seats[i];
    return NULL;
}

uint32_t rounds_count(const struct round *round, enum seat_state state)
{
    uint32_t n = 0;

    for (size_t i = 0; i < round->n_seats; i++)
        n += round->seats[i].state == state;
    return n;
}

static bool seat_is_taken(const struct seat *seat)
{
    return seat->state == SEAT_INVITED || seat->state == SEAT_ASSIGNED ||
           seat->state == SEAT_ACCEPTED;
}

uint32_t rounds_count_failed(const struct round *round)
{
    uint32_t n = 0;

    for (size_t i = 0; i < round->n_seats; i++) {
        const struct seat *seat = &round->seats[i];
        n += !seat_is_taken(seat) ||
             (seat->state != SEAT_ACCEPTED && (seat->overdue || round->by_deadline));
    }
    return n;
}

/* Somebody who has gone silent, and whose seat nobody could take. */
static bool has_overdue_seat(const struct round *round)
{
    for (size_t i = 0; i < round->n_seats; i++)
        if (round->seats[i].state != SEAT_ACCEPTED && seat_is_taken(&round->seats[i]) &&
            round->seats[i].overdue)
            return true;
    return false;
}

/* Somebody from whom an update may still be hoped for in time. */
static bool has_active_seat(const struct round *round)
{
    for (size_t i = 0; i < round->n_seats; i++) {
        const struct seat *seat = &round->seats[i];
        if ((seat->state == SEAT_INVITED || seat->state == SEAT_ASSIGNED) &&
            !seat->overdue)
            return true;
    }
    return false;
}

cygnet_status round_add_seat(struct round *round, const struct seat *seat,
                             cygnet_error *err)
{
    if (round->n_seats == round->cap_seats) {
        size_t cap = round->cap_seats ? 2 * round->cap_seats : 16;
        struct seat *seats = realloc(round->seats, cap * sizeof *seats);
        if (!seats)
            return complain(err, CYGNET_ENOMEM, 0, "out of memory for %zu participants",
                            cap);
        round->seats = seats;
        round->cap_seats = cap;
    }
    round->seats[round->n_seats++] = *seat;
    return CYGNET_OK;
}

/* Asks the next client; *asked is false when there is none. */
static cygnet_status invite_next(struct rounds *r, bool *asked, cygnet_error *err)
{
    struct client *client = clients_next(&r->clients);
    struct seat seat = {.round = r->round.row.round,
                        .attempt = r->round.row.attempt,
                        .state = SEAT_INVITED,
                        .until_ms =
                            rounds_now_ms() + (int64_t)r->options->grace_s * 1000};
    cygnet_status st;

    *asked = client != NULL;
    if (!client)
        return CYGNET_OK;
    memcpy(seat.client_id, client->id, sizeof seat.client_id);
    st = db_put_seat(r->db, &seat, err);
    if (st == CYGNET_OK)
        st = round_add_seat(&r->round, &seat, err);
    if (st == CYGNET_OK)
        client->seated = true;
    return st;
}

static cygnet_status fill_seats(struct rounds *r, cygnet_error *err)
{
    uint32_t n_taken = 0;
    cygnet_status st = CYGNET_OK;
    bool asked = true;

    for (size_t i = 0; i < r->round.n_seats; i++)
        n_taken += seat_is_taken(&r->round.seats[i]);
    while (st == CYGNET_OK && asked && n_taken++ < r->round.row.target)
        st = invite_next(r, &asked, err);
    return st;
}

/* ---- Opening ------------------------------------------------------------ */

static uint32_t at_least(double fraction, uint32_t of)
{
    double n = ceil(fraction * of);

    return n < 1 ? 1 : (uint32_t)n;
}

static bool may_open(const struct rounds *r)
{
    const struct options *o = r->options;
    size_t n_present = clients_present(&r->clients);
    uint32_t k = o->participants;

    if (r->n_history == 0 && r->clients.n < o->min_clients)
        return false;
    if (k > r->clients.n)
        k = (uint32_t)r->clients.n;
    return n_present > 0 && n_present >= at_least(o->min_fraction, k);
}

static void prepare_row(struct rounds *r)
{
    struct round_row *row = &r->round.row;
    size_t n_present = clients_present(&r->clients);
    double target = ceil(r->options->participants * r->options->over_commitment - 1e-9);

    row->state = ROUND_OPEN;
    memcpy(row->base, global_sha256(r->global), sizeof row->base);
    row->wanted = r->options->participants;
    if (row->wanted > n_present)
        row->wanted = (uint32_t)n_present;
    row->target = target > (double)n_present ? (uint32_t)n_present : (uint32_t)target;
    row->opened_wall_ms = wall_ms();
    row->loss = row->accuracy = (double)NAN;
}

void round_start_clock(struct rounds *r, int64_t elapsed_ms)
{
    int64_t now = rounds_now_ms();

    r->round.opened_ms = now - elapsed_ms;
    r->round.deadline_ms = now + (int64_t)r->options->deadline_s * 1000;
}

static cygnet_status keep_open_round(struct rounds *r, cygnet_error *err)
{
    cygnet_status st = db_begin(r->db, err);

    if (st != CYGNET_OK)
        return st;
    st = db_put_round(r->db, &r->round.row, err);
    if (st == CYGNET_OK)
        st = fill_seats(r, err);
    if (st == CYGNET_OK)
        st = db_commit(r->db, err);
    if (st != CYGNET_OK)
        db_rollback(r->db);
    return st;
}

static cygnet_status open_round(struct rounds *r, cygnet_error *err)
{
    struct lottery lottery = {r->seed, r->round.row.round, r->round.row.attempt};
    cygnet_status st;

    prepare_row(r);
    aggregate_destroy(r->round.sum);
    st = aggregate_create(&r->round.sum, global_weights(r->global), err);
    if (st != CYGNET_OK)
        return st;
    clients_deal(&r->clients, &lottery);
    round_start_clock(r, 0);
    st = keep_open_round(r, err);
    if (st == CYGNET_OK)
        r->phase = PHASE_OPEN;
    return st;
}

/* ---- Time passes -------------------------------------------------------- */

/* The seat's client did not do its part: somebody else takes over, if there is
 * anybody; if not, the client may still come back to it. */
static cygnet_status expire_seat(struct rounds *r, struct seat *seat, cygnet_error *err)
{
    struct client *client = clients_find(&r->clients, seat->client_id);

    seat->overdue = true;
    if (client)
        client->present = false;
    if (!clients_next(&r->clients))
        return CYGNET_OK;
    seat->state = seat->state == SEAT_INVITED ? SEAT_ABSENT : SEAT_LOST;
    return db_put_seat(r->db, seat, err);
}

static cygnet_status expire_seats(struct rounds *r, int64_t now, cygnet_error *err)
{
    cygnet_status st = CYGNET_OK;

    for (size_t i = 0; st == CYGNET_OK && i < r->round.n_seats; i++) {
        struct seat *seat = &r->round.seats[i];
        bool waiting = seat->state == SEAT_INVITED || seat->state == SEAT_ASSIGNED;
        if (waiting && seat->until_ms && now >= seat->until_ms) {
            st = expire_seat(r, seat, err);
            if (st == CYGNET_OK)
                st = fill_seats(r, err);
        }
    }
    return st;
}

static cygnet_status fail_round(struct rounds *r, cygnet_error *err)
{
    struct round *round = &r->round;
    cygnet_status st;

    round->row.state = ROUND_FAILED;
    round->row.n_failed = rounds_count_failed(round);
    round->row.seconds = (double)(rounds_now_ms() - round->opened_ms) / 1000.0;
    st = db_put_round(r->db, &round->row, err);
    if (st != CYGNET_OK)
        return st;
    r->n_failed_rounds++;
    round_prepare(r, round->row.round, round->row.attempt + 1);
    return CYGNET_OK;
}

static cygnet_status decide(struct rounds *r, int64_t now, cygnet_error *err)
{
    struct round *round = &r->round;
    uint32_t n = round->row.n_accepted;
    bool enough = n >= at_least(r->options->min_fraction, round->row.wanted);
    bool settled = !has_active_seat(round);

    if (n >= round->row.wanted || (enough && settled)) {
        r->phase = PHASE_CLOSING;
    } else if (settled && !has_overdue_seat(round)) {
        return fail_round(r, err); /* nobody is left who could still come back */
    } else if (now >= round->deadline_ms) {
        round->by_deadline = true;
        if (!enough)
            return fail_round(r, err);
        r->phase = PHASE_CLOSING;
    }
    return CYGNET_OK;
}

cygnet_status rounds_tick(struct rounds *r, cygnet_error *err)
{
    int64_t now = rounds_now_ms();
    cygnet_status st = CYGNET_OK;

    if (r->phase == PHASE_WAITING && may_open(r))
        st = open_round(r, err);
    if (st == CYGNET_OK && r->phase == PHASE_OPEN)
        st = expire_seats(r, now, err);
    if (st == CYGNET_OK && r->phase == PHASE_OPEN)
        st = fill_seats(r, err);
    if (st == CYGNET_OK && r->phase == PHASE_OPEN)
        st = decide(r, now, err);
    if (r->phase == PHASE_CLOSING)
        pthread_cond_signal(&r->changed);
    return st;
}

/* ---- What clients do ---------------------------------------------------- */

static cygnet_status know_client(struct client **out, struct rounds *r, const char *id,
                                 cygnet_error *err)
{
    struct lottery lottery = {r->seed, r->round.row.round, r->round.row.attempt};
    cygnet_status st = CYGNET_OK;

    *out = clients_find(&r->clients, id);
    if (*out)
        return CYGNET_OK;
    if (r->clients.n >= CLIENTS_MAX)
        return complain(err, CYGNET_ELIMIT, 0, "no more clients are taken");
    st = db_put_client(r->db, id, err);
    if (st == CYGNET_OK)
        st = clients_add(out, &r->clients, id, err);
    if (st == CYGNET_OK)
        (*out)->draw = lottery_draw(&lottery, id);
    return st;
}

static void set_lease(const struct rounds *r, struct seat *seat)
{
    int64_t lease_ms = (int64_t)r->options->lease_s * 1000;

    seat->overdue = false;
    seat->until_ms = lease_ms ? rounds_now_ms() + lease_ms : 0;
}

static cygnet_status assign(struct rounds *r, struct seat *seat, cygnet_error *err)
{
    uint8_t random[16];
    struct seat next = *seat;
    cygnet_status st;

    if (!hash_random(random, sizeof random))
        return complain(err, CYGNET_EHOST, 0, "the system gives no random bytes");
    for (size_t i = 0; i < sizeof random; i++)
        snprintf(next.token + 2 * i, 3, "%02x", random[i]);
    next.state = SEAT_ASSIGNED;
    st = db_put_seat(r->db, &next, err);
    if (st != CYGNET_OK)
        return st;
    *seat = next;
    return CYGNET_OK;
}

cygnet_status rounds_check_in(enum answer *out, struct seat *copy, struct rounds *r,
                              const char *client_id, cygnet_error *err)
{
    struct client *client;
    struct seat *seat = NULL;
    cygnet_status st = know_client(&client, r, client_id, err);

    *out = ANSWER_BUSY;
    if (st != CYGNET_OK)
        return st;
    client->present = true;
    if (r->phase == PHASE_FINISHED) {
        client->informed = true;
        *out = ANSWER_FINISHED;
        pthread_cond_signal(&r->changed);
        return CYGNET_OK;
    }
    st = rounds_tick(r, err);
    if (st == CYGNET_OK && r->phase == PHASE_OPEN)
        seat = seat_of_client(&r->round, client_id);
    if (seat && seat->state == SEAT_INVITED)
        st = assign(r, seat, err);
    if (st == CYGNET_OK && seat && seat->state == SEAT_ASSIGNED) {
        client->present = true;
        set_lease(r, seat);
        *copy = *seat;
        *out = ANSWER_TASK;
    }
    return st;
}

static enum verdict judge_old(struct rounds *r, uint64_t round, const char *token,
                              const char *sha256)
{
    struct seat seat;

    if (db_find_token(&seat, r->db, token, NULL) != CYGNET_OK)
        return VERDICT_GONE;
    if (sha256 && seat.round == round && seat.state == SEAT_ACCEPTED)
        return strcmp(seat.sha256, sha256) == 0 ? VERDICT_ALREADY : VERDICT_OTHER_BYTES;
    return VERDICT_CLOSED;
}

enum verdict rounds_judge(struct rounds *r, uint64_t round, const char *token,
                          const char *sha256)
{
    const struct seat *seat = seat_of_token(&r->round, token);

    if (!seat || r->phase == PHASE_WAITING || r->phase == PHASE_FINISHED)
        return judge_old(r, round, token, sha256);
    if (seat->round != round)
        return VERDICT_CLOSED;
    if (seat->state == SEAT_ACCEPTED && sha256)
        return strcmp(seat->sha256, sha256) == 0 ? VERDICT_ALREADY : VERDICT_OTHER_BYTES;
    if (!seat_is_taken(seat))
        return VERDICT_GONE;
    return r->phase == PHASE_OPEN ? VERDICT_GO : VERDICT_CLOSED;
}

static void mark_present(struct rounds *r, const struct seat *seat)
{
    struct client *client = clients_find(&r->clients, seat->client_id);

    if (client)
        client->present = true;
}

static cygnet_status keep_accepted(struct rounds *r, const struct seat *seat,
                                   const struct round_row *row, cygnet_error *err)
{
    cygnet_status st = db_begin(r->db, err);

    if (st != CYGNET_OK)
        return st;
    st = db_put_seat(r->db, seat, err);
    if (st == CYGNET_OK)
        st = db_put_round(r->db, row, err);
    if (st == CYGNET_OK)
        st = db_commit(r->db, err);
    if (st != CYGNET_OK)
        db_rollback(r->db);
    return st;
}

cygnet_status rounds_accept(struct rounds *r, const char *token, const char *sha256,
                            const cygnet_tensors *deltas, uint64_t examples, size_t len,
                            cygnet_error *err)
{
    struct seat *seat = seat_of_token(&r->round, token);
    struct seat next = *seat;
    struct round_row row = r->round.row;
    cygnet_status st;

    if (aggregate_count(r->round.sum) >= AGGREGATE_MAX_UPDATES)
        return complain(err, CYGNET_ELIMIT, 0, "the round takes no more updates");
    next.state = SEAT_ACCEPTED;
    next.examples = examples;
    memcpy(next.sha256, sha256, sizeof next.sha256);
    row.n_accepted++;
    row.bytes_up += len;
    st = keep_accepted(r, &next, &row, err);
    if (st == CYGNET_OK)
        st = aggregate_add(r->round.sum, deltas, examples, err);
    if (st != CYGNET_OK)
        return st;
    *seat = next;
    r->round.row = row;
    mark_present(r, seat);
    return rounds_tick(r, err);
}

void rounds_renew(struct rounds *r, const char *token)
{
    struct seat *seat = seat_of_token(&r->round, token);

    if (!seat)
        return;
    mark_present(r, seat);
    if (seat->state == SEAT_ASSIGNED)
        set_lease(r, seat);
}

cygnet_status rounds_give_up(struct rounds *r, const char *token, cygnet_error *err)
{
    struct seat *seat = seat_of_token(&r->round, token);
    struct client *client;
    cygnet_status st;

    if (!seat || seat->state != SEAT_ASSIGNED || r->phase != PHASE_OPEN)
        return CYGNET_OK;
    seat->state = SEAT_ABORTED;
    client = clients_find(&r->clients, seat->client_id);
    if (client)
        client->present = false;
    st = db_put_seat(r->db, seat, err);
    return st == CYGNET_OK ? rounds_tick(r, err) : st;
}

/* ---- The end of a round ------------------------------------------------- */

cygnet_status rounds_finish(struct rounds *r, struct global *next,
                            const struct round_row *row, cygnet_error *err)
{
    cygnet_status st = db_put_round(r->db, row, err);

    if (st == CYGNET_OK)
        st = history_add(r, row, err);
    if (st != CYGNET_OK) {
        global_unref(next);
        return st;
    }
    global_unref(r->global);
    r->global = next;
    round_prepare(r, row->round + 1, 1);
    return CYGNET_OK;
}
