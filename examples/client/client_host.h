/* The hooks that cygnet-client gives to the library: data, device, token, and
 * what is printed. */
#ifndef CLIENT_HOST_H
#define CLIENT_HOST_H

#include "client_options.h"

/* dataset, rows  the own shard of the training rows
 * test           the own shard of the held-out rows; empty until they are asked for
 * last_phase     printed last, so that a step is not a line
 * why            what a data hook failed with; empty: nothing */
struct client_host {
    const struct client_options *options;
    struct dataset *dataset;
    struct rows rows;
    struct rows test;
    cygnet_phase last_phase;
    uint64_t last_round;
    char why[CYGNET_ERROR_MESSAGE_BYTES];
};

/* Loads the data and takes the shard. The hooks' user is the client_host.
 * Errors: as dataset_open and partition_shard. */
cygnet_status client_host_open(struct client_host *out, cygnet_host *hooks,
                               const struct client_options *options, cygnet_error *err);

/* Accepts a zeroed one. */
void client_host_close(struct client_host *host);

/* Prints one line for a report. */
void client_print(const struct client_options *options, const cygnet_report *report);

#endif
