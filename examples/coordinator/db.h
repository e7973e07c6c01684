/* The coordinator's memory over a restart: SQLite in WAL mode, synchronous=FULL,
 * so that what a call has written survives power loss once it returns OK (or,
 * inside db_begin .. db_commit, once the commit does).
 * Not thread-safe: callers hold the coordinator's lock. */
#ifndef COORDINATOR_DB_H
#define COORDINATOR_DB_H

#include "clients.h"
#include "hash.h"

#define TOKEN_MAX 64

struct db;

/* Errors of all: ESTORAGE, ENOSPC, ENOMEM, EBUSY (another process writes). db_open also
 * EFORMAT when the file was written by a newer version or is no database. */
cygnet_status db_open(struct db **out, const char *path, cygnet_error *err);
void db_close(struct db *db); /* accepts NULL */

cygnet_status db_begin(struct db *db, cygnet_error *err);
cygnet_status db_commit(struct db *db, cygnet_error *err);
void db_rollback(struct db *db);

/* Named texts. *out is "" when there is none. */
cygnet_status db_get(struct db *db, const char *key, char *out, size_t size,
                     cygnet_error *err);
cygnet_status db_put(struct db *db, const char *key, const char *value,
                     cygnet_error *err);

cygnet_status db_put_client(struct db *db, const char *id, cygnet_error *err);
cygnet_status db_drop_client(struct db *db, const char *id, cygnet_error *err);
cygnet_status db_load_clients(struct db *db, struct clients *clients, cygnet_error *err);

enum round_state { ROUND_OPEN = 0, ROUND_DONE = 1, ROUND_FAILED = 2 };

/* One attempt at a round.
 *
 * base, result  SHA-256 of the weights before and after
 * wanted        updates that close it;  target  clients that were asked
 * n_accepted    updates counted;        n_failed  participants that gave none
 * loss, accuracy  of the result; NaN: unknown */
struct round_row {
    uint64_t round;
    uint64_t attempt;
    enum round_state state;
    char base[HASH_HEX + 1];
    char result[HASH_HEX + 1];
    uint32_t wanted;
    uint32_t target;
    uint32_t n_accepted;
    uint32_t n_failed;
    uint64_t bytes_up;
    uint64_t bytes_down;
    int64_t opened_wall_ms;
    double seconds;
    double loss;
    double accuracy;
};

cygnet_status db_put_round(struct db *db, const struct round_row *row, cygnet_error *err);
/* Rows in the order of (round, attempt). Stops when `each` fails. */
cygnet_status db_load_rounds(struct db *db,
                             cygnet_status (*each)(const struct round_row *row,
                                                   void *user, cygnet_error *err),
                             void *user, cygnet_error *err);

/* What has happened to a seat: append-only, stored. */
enum seat_state {
    SEAT_INVITED = 0,  /* selected, has not checked in since */
    SEAT_ASSIGNED = 1, /* has the task */
    SEAT_ACCEPTED = 2, /* its update is durable and counted */
    SEAT_ABORTED = 3,  /* said that it gives up */
    SEAT_ABSENT = 4,   /* did not check in and was replaced */
    SEAT_LOST = 5      /* its lease ran out and it was replaced */
};

/* A participant of one attempt at a round.
 *
 * token     "" while invited
 * sha256    of the accepted update, else ""
 * until_ms  monotonic: when grace or lease runs out; not stored
 * overdue   it has run out and nobody could take the seat; not stored */
struct seat {
    uint64_t round;
    uint64_t attempt;
    char client_id[CLIENT_ID_MAX + 1];
    char token[TOKEN_MAX + 1];
    enum seat_state state;
    char sha256[HASH_HEX + 1];
    uint64_t examples;
    int64_t until_ms;
    bool overdue;
};

cygnet_status db_put_seat(struct db *db, const struct seat *seat, cygnet_error *err);
/* In the order in which the seats were given. */
cygnet_status db_load_seats(struct db *db, uint64_t round, uint64_t attempt,
                            cygnet_status (*each)(const struct seat *seat, void *user,
                                                  cygnet_error *err),
                            void *user, cygnet_error *err);
/* The seat of a token of any round. Errors: ENOTFOUND. */
cygnet_status db_find_token(struct seat *out, struct db *db, const char *token,
                            cygnet_error *err);
/* Attaches a report; one per token, the last one stays. */
cygnet_status db_put_report(struct db *db, const char *token, const char *json,
                            cygnet_error *err);

#define DB_KEPT_ATTEMPTS 16

/* Forgets participants, reports and failed attempts that are more than
 * DB_KEPT_ATTEMPTS rounds, or attempts at this round, old. Rounds that are done
 * stay: they are the history. */
cygnet_status db_forget(struct db *db, uint64_t round, uint64_t attempt,
                        cygnet_error *err);

#endif
