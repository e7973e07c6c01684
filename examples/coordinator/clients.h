/* The clients that have checked in and are not forgotten, sorted by id, and the draw
 * among them. */
#ifndef COORDINATOR_CLIENTS_H
#define COORDINATOR_CLIENTS_H

#include <cygnet/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLIENT_ID_MAX 64
#define CLIENTS_MAX 200000 /* most ids that --max-clients allows */

/* present   may be selected: has not failed to show up since its last check-in
 * seated    takes part in the open round, or did
 * informed  has heard that training is over
 * draw      its lot in the open round
 * seen_ms   when it was last heard of; monotonic, 0 after a restart */
struct client {
    char id[CLIENT_ID_MAX + 1];
    bool present;
    bool seated;
    bool informed;
    uint64_t draw;
    int64_t seen_ms;
};

struct clients {
    struct client *items;
    size_t n;
    size_t cap;
};

bool client_id_is_valid(const char *id); /* 1..64 of [A-Za-z0-9._-] */

/* Borrowed until the next clients_add; NULL when unknown. */
struct client *clients_find(const struct clients *c, const char *id);

/* Adds an unknown id. Errors: ELIMIT (CLIENTS_MAX), ENOMEM. */
cygnet_status clients_add(struct client **out, struct clients *c, const char *id,
                          cygnet_error *err);

/* Who has not been heard of for longest and has no part in the open round; NULL
 * when there is none. */
struct client *clients_stalest(const struct clients *c);

/* Forgets one of c's items; the pointers to others are void. */
void clients_remove(struct clients *c, struct client *client);

size_t clients_present(const struct clients *c);
void clients_clear(struct clients *c);

/* A round's lots: hash(seed, round, attempt, id). They depend on the set of ids,
 * not on the order in which clients came. */
struct lottery {
    uint64_t seed;
    uint64_t round;
    uint64_t attempt;
};
uint64_t lottery_draw(const struct lottery *lottery, const char *id);

/* Gives every client its lot and makes all unseated. */
void clients_deal(struct clients *c, const struct lottery *lottery);

/* Of those present and not seated the one with the smallest lot; NULL when there
 * is none. */
struct client *clients_next(const struct clients *c);

#endif
