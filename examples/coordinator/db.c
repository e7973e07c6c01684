/* See db.h. Statements are prepared once, when the database is opened. */
#include "db.h"

#include "../common/complain.h"

#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEAT_COLUMNS "round, attempt, client, token, state, sha256, examples"

/* Attempts of which nothing is kept any more; ?1 round, ?2 attempt, ?3 how many. */
#define IS_OLD " (round < ?1 - ?3 OR (round = ?1 AND attempt < ?2 - ?3))"

enum statement {
    BEGIN,
    COMMIT,
    ROLLBACK,
    GET_META,
    PUT_META,
    PUT_CLIENT,
    DROP_CLIENT,
    LOAD_CLIENTS,
    PUT_ROUND,
    LOAD_ROUNDS,
    PUT_SEAT,
    LOAD_SEATS,
    FIND_TOKEN,
    PUT_REPORT,
    FORGET_REPORTS,
    FORGET_SEATS,
    FORGET_ROUNDS,
    N_STATEMENTS
};

/* State 2 is ROUND_FAILED: rounds that are done are the run's history. */
static const char *const texts[N_STATEMENTS] = {
    [BEGIN] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
    [ROLLBACK] = "ROLLBACK",
    [GET_META] = "SELECT value FROM meta WHERE key=?",
    [PUT_META] = "INSERT OR REPLACE INTO meta(key, value) VALUES(?, ?)",
    [PUT_CLIENT] = "INSERT OR IGNORE INTO clients(id) VALUES(?)",
    [DROP_CLIENT] = "DELETE FROM clients WHERE id=?",
    [LOAD_CLIENTS] = "SELECT id FROM clients ORDER BY id",
    [PUT_ROUND] = "INSERT OR REPLACE INTO rounds VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
    [LOAD_ROUNDS] = "SELECT * FROM rounds ORDER BY round, attempt",
    [PUT_SEAT] = "INSERT INTO seats(" SEAT_COLUMNS ") VALUES(?,?,?,?,?,?,?)"
                 " ON CONFLICT(round, attempt, client) DO UPDATE SET"
                 " token=excluded.token, state=excluded.state, sha256=excluded.sha256,"
                 " examples=excluded.examples",
    [LOAD_SEATS] =
        "SELECT " SEAT_COLUMNS " FROM seats WHERE round=? AND attempt=? ORDER BY n",
    [FIND_TOKEN] = "SELECT " SEAT_COLUMNS " FROM seats WHERE token=?",
    [PUT_REPORT] = "INSERT OR REPLACE INTO reports(token, json) VALUES(?, ?)",
    [FORGET_REPORTS] = "DELETE FROM reports WHERE token IN"
                       " (SELECT token FROM seats WHERE" IS_OLD ")",
    [FORGET_SEATS] = "DELETE FROM seats WHERE" IS_OLD,
    [FORGET_ROUNDS] = "DELETE FROM rounds WHERE state=2 AND" IS_OLD,
};

struct db {
    sqlite3 *sql;
    sqlite3_stmt *statements[N_STATEMENTS];
};

#define SCHEMA_VERSION 1

static const char schema[] =
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL);"
    "CREATE TABLE clients(id TEXT PRIMARY KEY) WITHOUT ROWID;"
    "CREATE TABLE rounds(round INTEGER, attempt INTEGER, state INTEGER NOT NULL,"
    " base TEXT NOT NULL, result TEXT NOT NULL, wanted INTEGER NOT NULL,"
    " target INTEGER NOT NULL, n_accepted INTEGER NOT NULL, n_failed INTEGER NOT NULL,"
    " bytes_up INTEGER NOT NULL, bytes_down INTEGER NOT NULL,"
    " opened_wall_ms INTEGER NOT NULL, seconds REAL NOT NULL, loss REAL, accuracy REAL,"
    " PRIMARY KEY(round, attempt));"
    "CREATE TABLE seats(n INTEGER PRIMARY KEY, round INTEGER NOT NULL,"
    " attempt INTEGER NOT NULL, client TEXT NOT NULL, token TEXT UNIQUE,"
    " state INTEGER NOT NULL, sha256 TEXT NOT NULL, examples INTEGER NOT NULL,"
    " UNIQUE(round, attempt, client));"
    "CREATE TABLE reports(token TEXT PRIMARY KEY, json TEXT NOT NULL);"
    "PRAGMA user_version=1;";

static cygnet_status status_of(struct db *db)
{
    switch (sqlite3_errcode(db->sql)) {
    case SQLITE_FULL:
        return CYGNET_ENOSPC;
    case SQLITE_NOMEM:
        return CYGNET_ENOMEM;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return CYGNET_EBUSY;
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
        return CYGNET_EFORMAT;
    case SQLITE_IOERR: /* a write that fails with another errno than ENOSPC: a quota,
                          or a limit on the size of files */
        return sqlite3_extended_errcode(db->sql) == SQLITE_IOERR_WRITE ? CYGNET_ENOSPC
                                                                       : CYGNET_ESTORAGE;
    default:
        return CYGNET_ESTORAGE;
    }
}

static cygnet_status broken(struct db *db, const char *what, cygnet_error *err)
{
    return complain(err, status_of(db), 0, "database: %s: %s", what,
                    sqlite3_errmsg(db->sql));
}

static cygnet_status run(struct db *db, const char *sql, cygnet_error *err)
{
    if (sqlite3_exec(db->sql, sql, NULL, NULL, NULL) != SQLITE_OK)
        return broken(db, "a statement failed", err);
    return CYGNET_OK;
}

static cygnet_status prepare(sqlite3_stmt **out, struct db *db, const char *sql,
                             cygnet_error *err)
{
    if (sqlite3_prepare_v2(db->sql, sql, -1, out, NULL) != SQLITE_OK)
        return broken(db, "a statement is refused", err);
    return CYGNET_OK;
}

static cygnet_status prepare_all(struct db *db, cygnet_error *err)
{
    cygnet_status st = CYGNET_OK;

    for (int i = 0; st == CYGNET_OK && i < N_STATEMENTS; i++)
        st = prepare(&db->statements[i], db, texts[i], err);
    return st;
}

/* Ends the use of a statement: no row stays open, no text stays bound. */
static void release(sqlite3_stmt *q)
{
    sqlite3_reset(q);
    sqlite3_clear_bindings(q);
}

static void put_text(sqlite3_stmt *q, int at, const char *text)
{
    sqlite3_bind_text(q, at, text, -1, SQLITE_TRANSIENT);
}

static void put_u64(sqlite3_stmt *q, int at, uint64_t value)
{
    sqlite3_bind_int64(q, at, (sqlite3_int64)value);
}

static uint64_t get_u64(sqlite3_stmt *q, int at)
{
    return (uint64_t)sqlite3_column_int64(q, at);
}

static void get_text(char *out, size_t size, sqlite3_stmt *q, int at)
{
    const unsigned char *text = sqlite3_column_text(q, at);

    snprintf(out, size, "%s", text ? (const char *)text : "");
}

/* Runs a statement that returns no rows. */
static cygnet_status finish(struct db *db, sqlite3_stmt *q, const char *what,
                            cygnet_error *err)
{
    cygnet_status st = CYGNET_OK;

    if (sqlite3_step(q) != SQLITE_DONE)
        st = broken(db, what, err);
    release(q);
    return st;
}

static cygnet_status read_version(int *out, struct db *db, cygnet_error *err)
{
    sqlite3_stmt *q = NULL;
    cygnet_status st = prepare(&q, db, "PRAGMA user_version", err);

    if (st == CYGNET_OK && sqlite3_step(q) != SQLITE_ROW)
        st = broken(db, "cannot read its version", err);
    if (st == CYGNET_OK)
        *out = sqlite3_column_int(q, 0);
    sqlite3_finalize(q);
    return st;
}

static cygnet_status migrate(struct db *db, cygnet_error *err)
{
    int version = 0;
    cygnet_status st = read_version(&version, db, err);

    if (st != CYGNET_OK)
        return st;
    if (version > SCHEMA_VERSION)
        return complain(err, CYGNET_EFORMAT, 0, "database: version %d is newer than %d",
                        version, SCHEMA_VERSION);
    if (version == SCHEMA_VERSION)
        return CYGNET_OK;
    st = run(db, "BEGIN IMMEDIATE", err);
    if (st == CYGNET_OK)
        st = run(db, schema, err);
    if (st == CYGNET_OK)
        st = run(db, "COMMIT", err);
    if (st != CYGNET_OK)
        (void)run(db, "ROLLBACK", NULL);
    return st;
}

cygnet_status db_open(struct db **out, const char *path, cygnet_error *err)
{
    struct db *db = calloc(1, sizeof *db);
    cygnet_status st;

    *out = NULL;
    if (!db)
        return complain(err, CYGNET_ENOMEM, 0, "out of memory for the database");
    if (sqlite3_open(path, &db->sql) != SQLITE_OK)
        st = broken(db, path, err);
    else
        st = run(db,
                 "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                 "PRAGMA foreign_keys=ON;",
                 err);
    if (st == CYGNET_OK)
        st = migrate(db, err);
    if (st == CYGNET_OK)
        st = prepare_all(db, err);
    if (st == CYGNET_OK)
        *out = db;
    else
        db_close(db);
    return st;
}

void db_close(struct db *db)
{
    if (!db)
        return;
    for (int i = 0; i < N_STATEMENTS; i++)
        sqlite3_finalize(db->statements[i]);
    sqlite3_close(db->sql);
    free(db);
}

cygnet_status db_begin(struct db *db, cygnet_error *err)
{
    return finish(db, db->statements[BEGIN], "cannot begin to write", err);
}

cygnet_status db_commit(struct db *db, cygnet_error *err)
{
    return finish(db, db->statements[COMMIT], "cannot finish writing", err);
}

void db_rollback(struct db *db)
{
    (void)finish(db, db->statements[ROLLBACK], "cannot undo", NULL);
}

cygnet_status db_get(struct db *db, const char *key, char *out, size_t size,
                     cygnet_error *err)
{
    sqlite3_stmt *q = db->statements[GET_META];
    cygnet_status st = CYGNET_OK;
    int code;

    *out = '\0';
    put_text(q, 1, key);
    code = sqlite3_step(q);
    if (code == SQLITE_ROW)
        get_text(out, size, q, 0);
    else if (code != SQLITE_DONE)
        st = broken(db, "cannot read a setting", err);
    release(q);
    return st;
}

cygnet_status db_put(struct db *db, const char *key, const char *value, cygnet_error *err)
{
    sqlite3_stmt *q = db->statements[PUT_META];

    put_text(q, 1, key);
    put_text(q, 2, value);
    return finish(db, q, "cannot keep a setting", err);
}

cygnet_status db_put_client(struct db *db, const char *id, cygnet_error *err)
{
    sqlite3_stmt *q = db->statements[PUT_CLIENT];

    put_text(q, 1, id);
    return finish(db, q, "cannot keep a client", err);
}

cygnet_status db_drop_client(struct db *db, const char *id, cygnet_error *err)
{
    sqlite3_stmt *q = db->statements[DROP_CLIENT];

    put_text(q, 1, id);
    return finish(db, q, "cannot forget a client", err);
}

cygnet_status db_load_clients(struct db *db, struct clients *clients, cygnet_error *err)
{
    sqlite3_stmt *q = db->statements[LOAD_CLIENTS];
    cygnet_status st = CYGNET_OK;
    int code = SQLITE_DONE;

    while (st == CYGNET_OK && (code = sqlite3_step(q)) == SQLITE_ROW) {
        char id[CLIENT_ID_MAX + 1];
        struct client *client;
        get_text(id, sizeof id, q, 0);
        st = clients_add(&client, clients, id, err);
    }
    if (st == CYGNET_OK && code != SQLITE_DONE)
        st = broken(db, "cannot read the clients", err);
    release(q);
    return st;
}

static void put_real(sqlite3_stmt *q, int at, double value)
{
    if (isnan(value))
        sqlite3_bind_null(q, at);
    else
        sqlite3_bind_double(q, at, value);
}

static double get_real(sqlite3_stmt *q, int at)
{
    if (sqlite3_column_type(q, at) == SQLITE_NULL)
        return (double)NAN;
    return sqlite3_column_double(q, at);
}

cygnet_status db_put_round(struct db *db, const struct round_row *row, cygnet_error *err)
{
    sqlite3_stmt *q = db->statements[PUT_ROUND];

    put_u64(q, 1, row->round);
    put_u64(q, 2, row->attempt);
    put_u64(q, 3, row->state);
    put_text(q, 4, row->base);
    put_text(q, 5, row->result);
    put_u64(q, 6, row->wanted);
    put_u64(q, 7, row->target);
    put_u64(q, 8, row->n_accepted);
    put_u64(q, 9, row->n_failed);
    put_u64(q, 10, row->bytes_up);
    put_u64(q, 11, row->bytes_down);
    sqlite3_bind_int64(q, 12, row->opened_wall_ms);
    put_real(q, 13, row->seconds);
    put_real(q, 14, row->loss);
    put_real(q, 15, row->accuracy);
    return finish(db, q, "cannot keep a round", err);
}

static void get_round(struct round_row *row, sqlite3_stmt *q)
{
    row->round = get_u64(q, 0);
    row->attempt = get_u64(q, 1);
    row->state = (enum round_state)get_u64(q, 2);
    get_text(row->base, sizeof row->base, q, 3);
    get_text(row->result, sizeof row->result, q, 4);
    row->wanted = (uint32_t)get_u64(q, 5);
    row->target = (uint32_t)get_u64(q, 6);
    row->n_accepted = (uint32_t)get_u64(q, 7);
    row->n_failed = (uint32_t)get_u64(q, 8);
    row->bytes_up = get_u64(q, 9);
    row->bytes_down = get_u64(q, 10);
    row->opened_wall_ms = sqlite3_column_int64(q, 11);
    row->seconds = sqlite3_column_double(q, 12);
    row->loss = get_real(q, 13);
    row->accuracy = get_real(q, 14);
}

cygnet_status db_load_rounds(struct db *db,
                             cygnet_status (*each)(const struct round_row *row,
                                                   void *user, cygnet_error *err),
                             void *user, cygnet_error *err)
{
    sqlite3_stmt *q = db->statements[LOAD_ROUNDS];
    cygnet_status st = CYGNET_OK;
    int code = SQLITE_DONE;

    while (st == CYGNET_OK && (code = sqlite3_step(q)) == SQLITE_ROW) {
        struct round_row row;
        get_round(&row, q);
        st = each(&row, user, err);
    }
    if (st == CYGNET_OK && code != SQLITE_DONE)
        st = broken(db, "cannot read the rounds", err);
    release(q);
    return st;
}

cygnet_status db_put_seat(struct db *db, const struct seat *seat, cygnet_error *err)
{
    sqlite3_stmt *q = db->statements[PUT_SEAT];

    put_u64(q, 1, seat->round);
    put_u64(q, 2, seat->attempt);
    put_text(q, 3, seat->client_id);
    if (seat->token[0])
        put_text(q, 4, seat->token);
    else
        sqlite3_bind_null(q, 4);
    put_u64(q, 5, seat->state);
    put_text(q, 6, seat->sha256);
    put_u64(q, 7, seat->examples);
    return finish(db, q, "cannot keep a participant", err);
}

static void get_seat(struct seat *seat, sqlite3_stmt *q)
{
    *seat = (struct seat){0};
    seat->round = get_u64(q, 0);
    seat->attempt = get_u64(q, 1);
    get_text(seat->client_id, sizeof seat->client_id, q, 2);
    get_text(seat->token, sizeof seat->token, q, 3);
    seat->state = (enum seat_state)get_u64(q, 4);
    get_text(seat->sha256, sizeof seat->sha256, q, 5);
    seat->examples = get_u64(q, 6);
}

cygnet_status db_load_seats(struct db *db, uint64_t round, uint64_t attempt,
                            cygnet_status (*each)(const struct seat *seat, void *user,
                                                  cygnet_error *err),
                            void *user, cygnet_error *err)
{
    sqlite3_stmt *q = db->statements[LOAD_SEATS];
    cygnet_status st = CYGNET_OK;
    int code = SQLITE_DONE;

    put_u64(q, 1, round);
    put_u64(q, 2, attempt);
    while (st == CYGNET_OK && (code = sqlite3_step(q)) == SQLITE_ROW) {
        struct seat seat;
        get_seat(&seat, q);
        st = each(&seat, user, err);
    }
    if (st == CYGNET_OK && code != SQLITE_DONE)
        st = broken(db, "cannot read the participants", err);
    release(q);
    return st;
}

cygnet_status db_find_token(struct seat *out, struct db *db, const char *token,
                            cygnet_error *err)
{
    sqlite3_stmt *q = db->statements[FIND_TOKEN];
    cygnet_status st = CYGNET_OK;
    int code;

    put_text(q, 1, token);
    code = sqlite3_step(q);
    if (code == SQLITE_ROW)
        get_seat(out, q);
    else if (code == SQLITE_DONE)
        st = complain(err, CYGNET_ENOTFOUND, 0, "the token is unknown");
    else
        st = broken(db, "cannot look a token up", err);
    release(q);
    return st;
}

cygnet_status db_put_report(struct db *db, const char *token, const char *json,
                            cygnet_error *err)
{
    sqlite3_stmt *q = db->statements[PUT_REPORT];

    put_text(q, 1, token);
    put_text(q, 2, json);
    return finish(db, q, "cannot keep a report", err);
}

cygnet_status db_forget(struct db *db, uint64_t round, uint64_t attempt,
                        cygnet_error *err)
{
    static const enum statement steps[] = {FORGET_REPORTS, FORGET_SEATS, FORGET_ROUNDS};
    cygnet_status st = db_begin(db, err);

    if (st != CYGNET_OK)
        return st;
    for (size_t i = 0; st == CYGNET_OK && i < sizeof steps / sizeof steps[0]; i++) {
        sqlite3_stmt *q = db->statements[steps[i]];
        put_u64(q, 1, round);
        put_u64(q, 2, attempt);
        put_u64(q, 3, DB_KEPT_ATTEMPTS);
        st = finish(db, q, "cannot forget old rounds", err);
    }
    if (st == CYGNET_OK)
        st = db_commit(db, err);
    if (st != CYGNET_OK)
        db_rollback(db);
    return st;
}
