/* HTTP: the listening socket, limits, routes. What the routes do is in checkin.c,
 * updates.c, blobs.c and status.c. */
#ifndef COORDINATOR_SERVER_H
#define COORDINATOR_SERVER_H

#include "rounds.h"

struct server;

/* Starts to serve, on threads of its own.
 * port  receives the port that was bound
 * Errors: EINVAL (address, certificate, key), ENOTFOUND, ENETWORK (cannot bind),
 * ETLS, ENOMEM. */
cygnet_status server_create(struct server **out, uint16_t *port, struct rounds *rounds,
                            cygnet_error *err);

/* Ends connections that make no progress; call about once a second. */
void server_sweep(struct server *server);

/* Waits for the requests that are being answered. Accepts NULL. */
void server_destroy(struct server *server);

#endif
