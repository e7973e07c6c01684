/* The rounds: who takes part, what was accepted, when a round ends.
 *
 * Functions are called with the lock held, but for rounds_create, rounds_destroy
 * and rounds_prune. States, with what moves them:
 *
 *   WAITING --enough clients--> OPEN --K accepted, or deadline--> CLOSING
 *      ^                          |                                 |
 *      +------- too few ----------+                                 |
 *      +------------------------- aggregated, evaluated ------------+--> FINISHED
 */
#ifndef COORDINATOR_ROUNDS_H
#define COORDINATOR_ROUNDS_H

#include "aggregate.h"
#include "clock.h"
#include "db.h"
#include "files.h"
#include "global.h"
#include "options.h"

#include <pthread.h>

enum phase { PHASE_WAITING, PHASE_OPEN, PHASE_CLOSING, PHASE_FINISHED };

/* The open round. seats belong to row; sum holds what is accepted. */
struct round {
    struct round_row row;
    struct seat *seats;
    size_t n_seats;
    size_t cap_seats;
    struct aggregate *sum;
    int64_t opened_ms;
    int64_t deadline_ms;
    bool by_deadline;
};

/* history   rounds that are done, oldest first
 * n_failed_rounds  attempts that had too few updates
 * accuracy  of `global` on the held-out split; NaN: unknown
 * prune_due  a round has ended since the last rounds_prune */
struct rounds {
    const struct options *options;
    struct files *files;
    struct db *db;
    const struct clock *clock;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t seed;
    enum phase phase;
    struct clients clients;
    struct global *global;
    struct round round;
    struct round_row *history;
    size_t n_history;
    size_t cap_history;
    uint64_t n_failed_rounds;
    double accuracy;
    bool prune_due;
};

/* What the rounds work with; all of it outlives them. */
struct tools {
    const struct options *options;
    struct files *files;
    struct db *db;
    const struct clock *clock;
};

/* Loads what an earlier process left, or starts with `initial` (consumed, also on
 * failure; NULL when the state directory has a model).
 * Errors: EINVAL (the state directory is of another run), EHASH (a stored file is
 * damaged), ESTORAGE, ... */
cygnet_status rounds_create(struct rounds **out, const struct tools *tools,
                            cygnet_tensors *initial, cygnet_error *err);
void rounds_destroy(struct rounds *r);

int64_t rounds_now_ms(const struct rounds *r); /* monotonic */

/* What a check-in is answered with. TASK: `seat` is a copy. */
enum answer { ANSWER_TASK, ANSWER_BUSY, ANSWER_FINISHED };
cygnet_status rounds_check_in(enum answer *out, struct seat *copy, struct rounds *r,
                              const char *client_id, cygnet_error *err);

/* May something be done with this token? */
enum verdict {
    VERDICT_GO,          /* its participant is in the open round */
    VERDICT_ALREADY,     /* these very bytes were accepted */
    VERDICT_OTHER_BYTES, /* other bytes were accepted */
    VERDICT_CLOSED,      /* its round is over, or the round is another one */
    VERDICT_GONE,        /* nobody knows it, or its seat was given away */
    VERDICT_UNKNOWN      /* the database cannot be read */
};
/* sha256  of the update that came; NULL when it is no update */
enum verdict rounds_judge(struct rounds *r, uint64_t round, const char *token,
                          const char *sha256);

/* Counts an update whose file is durable. Afterwards the row is durable too; after
 * a failure nothing was counted.
 * Call after rounds_judge said GO, without letting go of the lock.
 * claimed  the examples that the client says it used; its weight, up to a cap */
cygnet_status rounds_accept(struct rounds *r, const char *token, const char *sha256,
                            const cygnet_tensors *deltas, uint64_t claimed, size_t len,
                            cygnet_error *err);

void rounds_renew(struct rounds *r, const char *token);
cygnet_status rounds_give_up(struct rounds *r, const char *token, cygnet_error *err);

/* Lets time pass: opens, expires, replaces, decides. Errors: of the database. */
cygnet_status rounds_tick(struct rounds *r, cygnet_error *err);

/* Participants of the open round that have failed so far. */
uint32_t rounds_count_failed(const struct round *round);
uint32_t rounds_count(const struct round *round, enum seat_state state);

/* CLOSING -> WAITING or FINISHED with the result of the round; consumes `next`.
 * row  the finished row: loss, accuracy, seconds are set by the caller */
cygnet_status rounds_finish(struct rounds *r, struct global *next,
                            const struct round_row *row, cygnet_error *err);

/* CLOSING -> WAITING: the updates cannot be aggregated, the round is repeated. */
cygnet_status rounds_discard(struct rounds *r, cygnet_error *err);

/* Removes files and rows that no round needs any more. Called without the lock, by
 * one thread only. */
void rounds_prune(struct rounds *r);

#endif
