/* What the coordinator was asked to do: the command line, checked. */
#ifndef COORDINATOR_OPTIONS_H
#define COORDINATOR_OPTIONS_H

#include <cygnet/nn.h>
#include <cygnet/status.h>
#include <stdbool.h>
#include <stdint.h>

/* Strings are borrowed from argv.
 *
 * participants     K: updates that close a round
 * over_commitment  F: ceil(K * F) clients are asked
 * min_clients      distinct clients that must be known before round 1
 * max_clients      ids that are remembered; then the one not seen for longest goes
 * min_fraction     of K: fewer updates at the deadline fail the round
 * grace_s          within which an asked client must check in
 * seed             0: drawn from the system once, kept in the state directory
 * max_examples_weight  an update that claims more examples weighs so many
 * target_accuracy  above 1: none
 * policy           which tasks ask for; NULL: none
 * policy_threads   with the policy "fixed"; 0: as many as the client's
 * max_round_mj     0: no limit */
struct options {
    char host[64];
    uint16_t port;
    const char *port_file;
    const char *tls_cert;
    const char *tls_key;
    bool plain_http;
    const char *state_dir;
    const char *population;
    const char *model;
    uint32_t classes;
    uint32_t n_input_dims;
    uint32_t input[CYGNET_INPUT_MAX_DIMS];
    uint32_t rounds;
    uint32_t participants;
    double over_commitment;
    uint32_t min_clients;
    uint32_t max_clients;
    double min_fraction;
    uint32_t deadline_s;
    uint32_t lease_s;
    uint32_t grace_s;
    uint32_t epochs;
    uint32_t steps;
    uint32_t batch;
    double lr;
    double momentum;
    double weight_decay;
    const char *codec;
    uint64_t seed;
    const char *eval;
    const char *initial_weights;
    double server_lr;
    uint32_t max_examples_weight;
    double target_accuracy;
    const char *charging;
    const char *idle;
    const char *unmetered;
    uint32_t min_battery_percent;
    const char *policy;
    uint32_t policy_threads;
    uint64_t max_round_mj;
    const char *out_model;
    bool log_json;
    bool exit_when_finished;
    uint32_t linger_s;
    uint32_t request_timeout_s;
    bool help;
};

/* Errors: EINVAL with the option and what is wrong with it. */
cygnet_status options_parse(struct options *o, int argc, char **argv, cygnet_error *err);

/* The help text. */
extern const char OPTIONS_HELP[];

#endif
