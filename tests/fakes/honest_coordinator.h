/* The other side of the native protocol (docs/protocol.md), as an honest coordinator
 * speaks it, without sockets: a request in, an answer out. It counts what it is told.
 * It holds no memory that grows, so that it can lie in memory shared with a client
 * process that is about to be killed. */
#ifndef TESTS_HONEST_COORDINATOR_H
#define TESTS_HONEST_COORDINATOR_H

#include "base/crypto.h"
#include "tests/fakes/fake_http.h"

#define HONEST_SEATS 16 /* tokens handed out at most */

/* One token.
 *
 * n_puts   times that an update arrived
 * counted  1 once one of them has been taken; any other bytes are wrong then */
struct honest_seat {
    int n_puts;
    int counted;
    int n_reports;
    char update_sha256[SHA256_HEX + 1];
};

/* The task's words may be changed before a client asks.
 *
 * input, epochs, steps  as they stand in the task's JSON
 * weights     global weights as safetensors; read only once a client asks
 * client_id   of the first check-in
 * n_strangers check-ins by another id
 * n_wrong     requests that an honest client never makes
 * n_different tokens whose update is not update_sha256, that of the first of all:
 *             the tasks are alike, so the updates are
 * kills_at    the request that the asking process does not survive; 0: none
 * declines    not NULL: the retry object that check-ins are answered with */
struct honest_coordinator {
    char architecture[64];
    char input[32];
    char codec[16];
    const char *declines;
    unsigned classes;
    unsigned batch;
    unsigned epochs;
    unsigned lease_s;
    void *weights;
    size_t weights_len;
    char weights_sha256[SHA256_HEX + 1];
    char client_id[33];
    int n_requests;
    int n_strangers;
    int n_wrong;
    int n_different;
    int kills_at;
    char update_sha256[SHA256_HEX + 1];
    unsigned n_seats;
    struct honest_seat seats[HONEST_SEATS];
};

struct honest_answer {
    int status;
    const void *body;
    size_t len;
    char text[2048]; /* what body points to, unless it is the weights */
};

/* A logistic model over two numbers, two classes, codec none. Returns 0 if done. */
int honest_init(struct honest_coordinator *c);

/* Draws the weights of another model. Returns 0 if done. */
int honest_draw_weights(struct honest_coordinator *c);

/* As if no client had been here, but for update_sha256. */
void honest_forget(struct honest_coordinator *c);
void honest_clear(struct honest_coordinator *c);

/* path  of the URL; body may be NULL when len is 0 */
void honest_answer(struct honest_answer *out, struct honest_coordinator *c,
                   const char *method, const char *path, const void *body, size_t len);

/* Lets `c` answer what arrives at `fake`. */
void honest_serve(struct fake_http *fake, struct honest_coordinator *c);

/* Updates that count, over all tokens. */
int honest_n_counted(const struct honest_coordinator *c);

#endif
