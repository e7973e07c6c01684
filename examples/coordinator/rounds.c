/* The life of a round: it opens, time passes, it ends. See rounds.h; what clients
 * do is in claims.c, restoring in resume.c. */
#include "rounds.h"

#include "resume.h"
#include "seats.h"

#include <math.h>
#include <string.h>

int64_t rounds_now_ms(const struct rounds *r)
{
    return r->clock->mono_ms(r->clock->user);
}

/* Asks the next client; *asked is false when there is none. */
static cygnet_status invite_next(struct rounds *r, bool *asked, cygnet_error *err)
{
    struct client *client = clients_next(&r->clients);
    struct seat seat = {.round = r->round.row.round,
                        .attempt = r->round.row.attempt,
                        .state = SEAT_INVITED,
                        .until_ms =
                            rounds_now_ms(r) + (int64_t)r->options->grace_s * 1000};
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
    double n = ceil(fraction * of - 1e-9); /* 0.07 * 100 is above 7 */

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
    row->opened_wall_ms = r->clock->wall_ms(r->clock->user);
    row->loss = row->accuracy = (double)NAN;
}

void round_start_clock(struct rounds *r)
{
    int64_t now = rounds_now_ms(r);

    r->round.opened_ms = now;
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
    if (st != CYGNET_OK) {
        db_rollback(r->db);
        r->round.n_seats = 0; /* as in the database: nobody was asked */
    }
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
    round_start_clock(r);
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
    struct seat next;
    cygnet_status st;

    seat->overdue = true;
    if (client)
        client->present = false;
    if (!clients_next(&r->clients))
        return CYGNET_OK;
    next = *seat;
    next.state = seat->state == SEAT_INVITED ? SEAT_ABSENT : SEAT_LOST;
    st = db_put_seat(r->db, &next, err);
    if (st == CYGNET_OK)
        *seat = next;
    return st;
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
    struct round_row row = r->round.row;
    cygnet_status st;

    row.state = ROUND_FAILED;
    row.n_failed = rounds_count_failed(&r->round);
    row.seconds = (double)(rounds_now_ms(r) - r->round.opened_ms) / 1000.0;
    st = db_put_round(r->db, &row, err);
    if (st != CYGNET_OK)
        return st;
    r->n_failed_rounds++;
    round_prepare(r, row.round, row.attempt + 1);
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
    int64_t now = rounds_now_ms(r);
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

cygnet_status rounds_discard(struct rounds *r, cygnet_error *err)
{
    return fail_round(r, err);
}
