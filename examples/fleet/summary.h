/* What a run leaves behind: summary.json and the closing lines. */
#ifndef FLEET_SUMMARY_H
#define FLEET_SUMMARY_H

#include "fleet_options.h"
#include "status.h"

/* clients_died  processes that ended early
 * model_sha256  of model.safetensors, 64 hex digits; empty: the model is elsewhere */
struct summary {
    const struct fleet_options *options;
    const struct status *status;
    uint64_t parameters;
    uint32_t clients_died;
    double seconds;
    char model_sha256[65];
};

/* SHA-256 of a file as hex. Errors: as file_read. */
cygnet_status summary_hash(char out[65], const char *path, cygnet_error *err);

/* Writes summary.json atomically. Errors: ESTORAGE, ENOSPC, ENOMEM. */
cygnet_status summary_write(const struct summary *summary, const char *path,
                            cygnet_error *err);

/* Prints the closing lines. */
void summary_print(const struct summary *summary);

#endif
