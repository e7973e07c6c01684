/* What cygnet-client was asked to do: the command line, checked. */
#ifndef CLIENT_OPTIONS_H
#define CLIENT_OPTIONS_H

#include "partition.h"

#include <cygnet/cygnet.h>
#include <stdbool.h>

/* Texts are borrowed from argv.
 *
 * rounds          accepted updates after which to stop; 0: see until_done
 * n_input_dims    0: the task's own shape
 * model           of the job; NULL: there is none, the coordinator says it all
 * steps ...       of the job; 0 and below 0: as cygnet_job_init has it
 * power_model     a file
 * assumed         some condition was given by --assume; the others are unknown
 * assume_file     names the conditions instead, each time they are looked at */
struct client_options {
    const char *server;
    const char *population;
    const char *state_dir;
    const char *data;
    const char *ca_file;
    const char *token;
    const char *token_file;
    uint32_t classes;
    uint32_t n_input_dims;
    uint32_t input[4];
    uint32_t shard;
    uint32_t n_shards;
    struct partition_spec partition;
    uint64_t seed;
    const char *model;
    uint32_t steps;
    uint32_t epochs;
    uint32_t batch;
    double momentum;
    double weight_decay;
    uint32_t deadline_s;
    uint32_t rounds;
    uint32_t threads;
    cygnet_policy policy;
    cygnet_energy_mode energy;
    const char *power_model;
    uint64_t max_round_mj;
    uint32_t battery_mwh;
    bool full_priority;
    bool until_done;
    bool log_json;
    bool verbose;
    bool loopback_http;
    bool help;
    bool version;
    bool assumed;
    cygnet_device_state assume;
    const char *assume_file;
};

extern const char CLIENT_HELP[];

/* A list as --assume takes it: those listed are set in `state`. Errors: EINVAL. */
cygnet_status client_assume(cygnet_device_state *state, const char *name,
                            const char *text, cygnet_error *err);

/* Errors: EINVAL. */
cygnet_status client_options_parse(struct client_options *out, int argc, char **argv,
                                   cygnet_error *err);

#endif
