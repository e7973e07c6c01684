/* Where a run's programs and files are. */
#ifndef FLEET_PLACES_H
#define FLEET_PLACES_H

#include "file.h"
#include "fleet_options.h"

/* work  temporary: states, certificates; gone at the end
 * keep  --out, or work: logs, the model, the summary */
struct places {
    char client[FILE_MAX_PATH];
    char coordinator[FILE_MAX_PATH];
    char work[FILE_MAX_PATH];
    char keep[FILE_MAX_PATH];
    char ca[FILE_MAX_PATH];
    char cert[FILE_MAX_PATH];
    char key[FILE_MAX_PATH];
    char port[FILE_MAX_PATH];
    char model[FILE_MAX_PATH];
    char summary[FILE_MAX_PATH];
    char log[FILE_MAX_PATH]; /* the coordinator's */
};

/* Finds the programs and makes the folders. On failure nothing is left in the
 * temporary folder. Errors: ENOTFOUND, ESTORAGE, ENOSPC, EINVAL. */
cygnet_status places_open(struct places *out, const struct fleet_options *options,
                          cygnet_error *err);

/* The log of client i. */
cygnet_status places_client_log(char out[FILE_MAX_PATH], const struct places *places,
                                uint32_t client, cygnet_error *err);

/* Removes the temporary folder. */
void places_close(struct places *places);

#endif
