/* What cygnet-fleet live was asked to do: the command line, checked. */
#ifndef FLEET_OPTIONS_H
#define FLEET_OPTIONS_H

#include "partition.h"

#include <cygnet/nn.h>
#include <stdbool.h>

/* Texts are borrowed from argv.
 *
 * n_input_dims   0: what the model wants
 * participants   0: all clients
 * partition      how the clients are told to split; partition_text in words
 * seed           0 on the command line: drawn from the system by the parser
 * target_accuracy  above 1: none
 * policy         which tasks ask for; NULL: none
 * max_round_mj   of each client's training; 0: no limit
 * out            NULL: nothing is kept
 * bin_dir        NULL: beside this program
 * coordinator    of a FedScale job to join; NULL: one of our own is started
 * steps          of a round there; 0: by epochs
 * ca             trusted roots for it; NULL: the system's */
struct fleet_options {
    const char *data;
    uint32_t classes;
    uint32_t n_input_dims;
    uint32_t input[4];
    const char *model;
    uint32_t clients;
    uint32_t participants;
    uint32_t rounds;
    uint32_t epochs;
    uint32_t batch;
    double lr;
    double momentum;
    double alpha;
    const char *partition;
    char partition_text[64];
    struct partition_spec partition_spec;
    const char *codec;
    uint64_t seed;
    double target_accuracy;
    double over_commitment;
    uint32_t deadline_s;
    uint32_t lease_s;
    uint32_t threads;
    const char *policy;
    uint64_t max_round_mj;
    const char *out;
    const char *bin_dir;
    const char *coordinator;
    uint32_t steps;
    const char *ca;
    bool help;
};

extern const char FLEET_LIVE_HELP[];

/* argv[0] is the subcommand. Errors: EINVAL. */
cygnet_status fleet_options_parse(struct fleet_options *out, int argc, char **argv,
                                  cygnet_error *err);

#endif
