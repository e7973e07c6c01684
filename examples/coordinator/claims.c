/* What clients do in a round: ask, renew, deliver, give up. See rounds.h. */
#include "../common/complain.h"
#include "hash.h"
#include "seats.h"

#include <stdio.h>
#include <string.h>

/* Room for one more: whoever was not heard of for longest is forgotten, so that a
 * flood of made-up ids neither grows anything nor keeps others out for good. */
static cygnet_status make_room(struct rounds *r, cygnet_error *err)
{
    struct client *stalest;
    cygnet_status st = CYGNET_OK;

    while (st == CYGNET_OK && r->clients.n >= r->options->max_clients) {
        stalest = clients_stalest(&r->clients);
        if (!stalest)
            return complain(err, CYGNET_ELIMIT, 0, "all clients take part: no more fit");
        st = db_drop_client(r->db, stalest->id, err);
        if (st == CYGNET_OK)
            clients_remove(&r->clients, stalest);
    }
    return st;
}

static cygnet_status swap_client(struct client **out, struct rounds *r, const char *id,
                                 cygnet_error *err)
{
    cygnet_status st = make_room(r, err);

    if (st == CYGNET_OK)
        st = db_put_client(r->db, id, err);
    if (st == CYGNET_OK)
        st = clients_add(out, &r->clients, id, err);
    return st;
}

static cygnet_status know_client(struct client **out, struct rounds *r, const char *id,
                                 cygnet_error *err)
{
    struct lottery lottery = {r->seed, r->round.row.round, r->round.row.attempt};
    cygnet_status st = CYGNET_OK;

    *out = clients_find(&r->clients, id);
    if (!*out) {
        st = swap_client(out, r, id, err);
        if (st == CYGNET_OK)
            (*out)->draw = lottery_draw(&lottery, id);
    }
    if (st == CYGNET_OK)
        (*out)->seen_ms = rounds_now_ms(r);
    return st;
}

static void set_lease(const struct rounds *r, struct seat *seat)
{
    int64_t lease_ms = (int64_t)r->options->lease_s * 1000;

    seat->overdue = false;
    seat->until_ms = lease_ms ? rounds_now_ms(r) + lease_ms : 0;
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

/* Needs no memory of who asks. */
static void tell_finished(struct rounds *r, const char *client_id)
{
    struct client *client = clients_find(&r->clients, client_id);

    if (client)
        client->informed = true;
    pthread_cond_signal(&r->changed);
}

cygnet_status rounds_check_in(enum answer *out, struct seat *copy, struct rounds *r,
                              const char *client_id, cygnet_error *err)
{
    struct client *client = NULL;
    struct seat *seat = NULL;
    cygnet_status st;

    if (r->phase == PHASE_FINISHED) {
        *out = ANSWER_FINISHED;
        tell_finished(r, client_id);
        return CYGNET_OK;
    }
    *out = ANSWER_BUSY;
    st = know_client(&client, r, client_id, err);
    if (st != CYGNET_OK)
        return st;
    client->present = true;
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
    cygnet_status st = db_find_token(&seat, r->db, token, NULL);

    if (st != CYGNET_OK)
        return st == CYGNET_ENOTFOUND ? VERDICT_GONE : VERDICT_UNKNOWN;
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

    if (client) {
        client->present = true;
        client->seen_ms = rounds_now_ms(r);
    }
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
                            const cygnet_tensors *deltas, uint64_t claimed, size_t len,
                            cygnet_error *err)
{
    struct seat *seat = seat_of_token(&r->round, token);
    struct seat next = *seat;
    struct round_row row = r->round.row;
    uint64_t weight = claimed < r->options->max_examples_weight
                          ? claimed
                          : r->options->max_examples_weight;
    cygnet_status st;

    if (aggregate_count(r->round.sum) >= AGGREGATE_MAX_UPDATES)
        return complain(err, CYGNET_ELIMIT, 0, "the round takes no more updates");
    next.state = SEAT_ACCEPTED;
    next.examples = weight;
    memcpy(next.sha256, sha256, sizeof next.sha256);
    row.n_accepted++;
    row.bytes_up += len;
    st = keep_accepted(r, &next, &row, err);
    if (st == CYGNET_OK)
        st = aggregate_add(r->round.sum, deltas, weight, err);
    if (st != CYGNET_OK)
        return st;
    *seat = next;
    r->round.row = row;
    mark_present(r, seat);
    /* The update counts whatever becomes of the tick; the next one tries again. */
    (void)rounds_tick(r, NULL);
    return CYGNET_OK;
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
    struct seat next;
    cygnet_status st;

    if (!seat || seat->state != SEAT_ASSIGNED || r->phase != PHASE_OPEN)
        return CYGNET_OK;
    next = *seat;
    next.state = SEAT_ABORTED;
    st = db_put_seat(r->db, &next, err);
    if (st != CYGNET_OK)
        return st;
    *seat = next;
    client = clients_find(&r->clients, seat->client_id);
    if (client)
        client->present = false;
    (void)rounds_tick(r, NULL);
    return CYGNET_OK;
}
