/* Starting: from nothing, or from what an earlier process left. */
#include "resume.h"

#include "../common/complain.h"
#include "seats.h"

#include <cygnet/update.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEPT_MODELS 3 /* blobs of the last rounds that may still be fetched */

/* ---- Between two rounds ------------------------------------------------- */

static int keep_blob(const char *name, void *user)
{
    const struct rounds *r = user;

    if (strcmp(name, global_sha256(r->global)) == 0)
        return 1;
    for (size_t i = 0; i < KEPT_MODELS && i < r->n_history; i++) {
        const struct round_row *row = &r->history[r->n_history - 1 - i];
        if (strcmp(name, row->base) == 0 || strcmp(name, row->result) == 0)
            return 1;
    }
    return 0;
}

/* A client's update may be on its way between the disk and its row, so all of the
 * open round's tokens are kept. */
static int keep_update(const char *name, void *user)
{
    const struct rounds *r = user;

    for (size_t i = 0; i < r->round.n_seats; i++) {
        size_t n = strlen(r->round.seats[i].token);
        if (n && strncmp(name, r->round.seats[i].token, n) == 0 && name[n] == '.')
            return 1;
    }
    return 0;
}

/* Decides with the lock, removes without. */
static void prune_folder(struct rounds *r, const char *folder,
                         int (*keep)(const char *name, void *user))
{
    struct unwanted found;

    do {
        pthread_mutex_lock(&r->lock);
        files_list_unwanted(&found, r->files, folder, keep, r);
        pthread_mutex_unlock(&r->lock);
        files_remove(&found, r->files, folder);
    } while (found.n == FILES_UNWANTED_MAX);
}

void rounds_prune(struct rounds *r)
{
    bool due;

    pthread_mutex_lock(&r->lock);
    due = r->prune_due;
    r->prune_due = false;
    if (due) /* else with the next round */
        (void)db_forget(r->db, r->round.row.round, r->round.row.attempt, NULL);
    pthread_mutex_unlock(&r->lock);
    if (!due)
        return;
    prune_folder(r, "updates", keep_update);
    prune_folder(r, "blobs", keep_blob);
}

static bool is_finished(const struct rounds *r)
{
    return r->n_history >= r->options->rounds ||
           (r->accuracy >= r->options->target_accuracy);
}

void round_prepare(struct rounds *r, uint64_t round, uint64_t attempt)
{
    aggregate_destroy(r->round.sum);
    r->round.sum = NULL;
    r->round.n_seats = 0;
    r->round.by_deadline = false;
    r->round.row = (struct round_row){.round = round, .attempt = attempt};
    r->phase = is_finished(r) ? PHASE_FINISHED : PHASE_WAITING;
    r->prune_due = true;
}

cygnet_status history_add(struct rounds *r, const struct round_row *row,
                          cygnet_error *err)
{
    if (r->n_history == r->cap_history) {
        size_t cap = r->cap_history ? 2 * r->cap_history : 64;
        struct round_row *rows = realloc(r->history, cap * sizeof *rows);
        if (!rows)
            return complain(err, CYGNET_ENOMEM, 0, "out of memory for %zu rounds", cap);
        r->history = rows;
        r->cap_history = cap;
    }
    r->history[r->n_history++] = *row;
    r->accuracy = row->accuracy;
    return CYGNET_OK;
}

/* ---- The run's identity ------------------------------------------------- */

static void describe(char *out, size_t size, const struct options *o)
{
    snprintf(out, size, "population %s, model %s, %u classes, input %u %u %u %u",
             o->population, o->model, o->classes, o->input[0], o->input[1], o->input[2],
             o->input[3]);
}

/* One state directory is one run. */
static cygnet_status check_identity(struct rounds *r, cygnet_error *err)
{
    char now[320];
    char then[320];
    cygnet_status st;

    describe(now, sizeof now, r->options);
    st = db_get(r->db, "run", then, sizeof then, err);
    if (st != CYGNET_OK || strcmp(now, then) == 0)
        return st;
    if (then[0])
        return complain(err, CYGNET_EINVAL, 0, "the state directory is of %.200s", then);
    return db_put(r->db, "run", now, err);
}

static cygnet_status choose_seed(struct rounds *r, cygnet_error *err)
{
    char text[32];
    cygnet_status st = db_get(r->db, "seed", text, sizeof text, err);

    if (st != CYGNET_OK)
        return st;
    r->seed = r->options->seed;
    if (text[0]) {
        uint64_t kept = strtoull(text, NULL, 10);
        if (r->seed && r->seed != kept)
            return complain(err, CYGNET_EINVAL, 0,
                            "the state directory is of a run with another seed");
        r->seed = kept;
        return CYGNET_OK;
    }
    if (!r->seed && !hash_random(&r->seed, sizeof r->seed))
        return complain(err, CYGNET_EHOST, 0, "the system gives no random bytes");
    snprintf(text, sizeof text, "%" PRIu64, r->seed);
    return db_put(r->db, "seed", text, err);
}

/* ---- What was left ------------------------------------------------------ */

/* Collects the done rounds and remembers the last. */
static cygnet_status take_round(const struct round_row *row, void *user,
                                cygnet_error *err)
{
    struct rounds *r = user;

    r->round.row = *row;
    return row->state == ROUND_DONE ? history_add(r, row, err) : CYGNET_OK;
}

/* From the attempts' numbers: the rows of the older ones are forgotten. */
static uint64_t count_failed_rounds(const struct rounds *r)
{
    const struct round_row *last = &r->round.row;
    uint64_t n = 0;

    for (size_t i = 0; i < r->n_history; i++)
        n += r->history[i].attempt - 1;
    if (last->round && last->state != ROUND_DONE)
        n += last->attempt - (last->state == ROUND_OPEN);
    return n;
}

static cygnet_status take_seat(const struct seat *stored, void *user, cygnet_error *err)
{
    struct rounds *r = user;
    struct client *client = clients_find(&r->clients, stored->client_id);
    struct seat seat = *stored;
    uint32_t wait_s =
        seat.state == SEAT_INVITED ? r->options->grace_s : r->options->lease_s;

    seat.until_ms = wait_s ? rounds_now_ms(r) + (int64_t)wait_s * 1000 : 0;
    if (client) {
        client->seated = true;
        client->present = seat.state <= SEAT_ACCEPTED;
    }
    return round_add_seat(&r->round, &seat, err);
}

static cygnet_status add_stored(struct rounds *r, const struct seat *seat,
                                cygnet_error *err)
{
    const cygnet_tensors *weights = global_weights(r->global);
    char path[FILES_PATH_MAX];
    cygnet_tensors *deltas = NULL;
    void *bytes = NULL;
    size_t len = 0;
    cygnet_status st;

    files_update_path(path, r->files, seat->token, seat->sha256);
    st = files_read_named(&bytes, &len, path, global_max_update(r->global), err);
    if (st == CYGNET_OK)
        st = cygnet_update_decode(&deltas, NULL, bytes, len, weights, NULL, err);
    if (st == CYGNET_OK)
        st = aggregate_check(deltas, weights, seat->examples, err);
    if (st == CYGNET_OK)
        st = aggregate_add(r->round.sum, deltas, seat->examples, err);
    cygnet_tensors_destroy(deltas);
    free(bytes);
    return st;
}

static cygnet_status reopen(struct rounds *r, cygnet_error *err)
{
    struct round_row *row = &r->round.row;
    struct lottery lottery = {r->seed, row->round, row->attempt};
    cygnet_status st = aggregate_create(&r->round.sum, global_weights(r->global), err);

    if (st != CYGNET_OK)
        return st;
    clients_deal(&r->clients, &lottery);
    round_start_clock(r);
    st = db_load_seats(r->db, row->round, row->attempt, take_seat, r, err);
    for (size_t i = 0; st == CYGNET_OK && i < r->round.n_seats; i++)
        if (r->round.seats[i].state == SEAT_ACCEPTED)
            st = add_stored(r, &r->round.seats[i], err);
    if (st != CYGNET_OK)
        return st;
    r->phase = PHASE_OPEN;
    r->prune_due = true;
    return CYGNET_OK;
}

static cygnet_status load_global(struct rounds *r, const char *hex,
                                 cygnet_tensors *initial, cygnet_error *err)
{
    cygnet_status st;

    if (hex[0]) {
        cygnet_tensors_destroy(initial);
        return global_load(&r->global, hex, r->files, err);
    }
    if (!initial)
        return complain(err, CYGNET_ESTATE, 0, "there are no weights to start from");
    st = global_create(&r->global, initial, r->files, err);
    if (st == CYGNET_OK)
        st = db_put(r->db, "initial", global_sha256(r->global), err);
    return st;
}

static cygnet_status load(struct rounds *r, cygnet_tensors *initial, cygnet_error *err)
{
    char hex[HASH_HEX + 1] = "";
    cygnet_status st = check_identity(r, err);

    if (st == CYGNET_OK)
        st = choose_seed(r, err);
    if (st == CYGNET_OK)
        st = db_load_clients(r->db, &r->clients, err);
    if (st == CYGNET_OK)
        st = db_load_rounds(r->db, take_round, r, err);
    if (st == CYGNET_OK)
        st = db_get(r->db, "initial", hex, sizeof hex, err);
    if (st != CYGNET_OK) {
        cygnet_tensors_destroy(initial);
        return st;
    }
    r->n_failed_rounds = count_failed_rounds(r);
    if (r->n_history)
        memcpy(hex, r->history[r->n_history - 1].result, sizeof hex);
    st = load_global(r, hex, initial, err);
    if (st != CYGNET_OK)
        return st;
    if (r->round.row.round && r->round.row.state == ROUND_OPEN)
        return reopen(r, err);
    if (r->round.row.state == ROUND_FAILED)
        round_prepare(r, r->round.row.round, r->round.row.attempt + 1);
    else
        round_prepare(r, r->n_history + 1, 1);
    return CYGNET_OK;
}

static void init_lock(struct rounds *r)
{
    pthread_condattr_t attributes;

    pthread_mutex_init(&r->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&r->changed, &attributes);
    pthread_condattr_destroy(&attributes);
}

cygnet_status rounds_create(struct rounds **out, const struct tools *tools,
                            cygnet_tensors *initial, cygnet_error *err)
{
    struct rounds *r = calloc(1, sizeof *r);
    cygnet_status st;

    *out = NULL;
    if (!r) {
        cygnet_tensors_destroy(initial);
        return complain(err, CYGNET_ENOMEM, 0, "out of memory");
    }
    init_lock(r);
    r->options = tools->options;
    r->files = tools->files;
    r->db = tools->db;
    r->clock = tools->clock;
    r->accuracy = (double)NAN;
    st = load(r, initial, err);
    if (st == CYGNET_OK)
        *out = r;
    else
        rounds_destroy(r);
    return st;
}

void rounds_destroy(struct rounds *r)
{
    if (!r)
        return;
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
    clients_clear(&r->clients);
    global_unref(r->global);
    aggregate_destroy(r->round.sum);
    free(r->round.seats);
    free(r->history);
    free(r);
}
