/* What a server needs before it serves: a socket of our own, so that a failure has
 * its own words, and the texts of certificate and key. */
#ifndef COORDINATOR_LISTEN_H
#define COORDINATOR_LISTEN_H

#include "options.h"

/* out  receives the listening socket of --listen; close() it
 * Errors: EINVAL (no numeric address), ENETWORK. */
cygnet_status listen_on(int *out, const struct options *o, cygnet_error *err);

/* The port of a listening socket; 0: unknown. */
uint16_t bound_port(int fd);

/* The text of a PEM file that holds `mark`; free() it, also after a failure.
 * Errors: EINVAL (no such mark), ENOTFOUND, ELIMIT (1 MiB), ESTORAGE, ENOMEM. */
cygnet_status read_pem(char **out, const char *path, const char *mark, cygnet_error *err);

#endif
