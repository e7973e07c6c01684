/* The coordinator's GET /v1/status (docs/protocol.md), as the fleet reads it. */
#ifndef FLEET_STATUS_H
#define FLEET_STATUS_H

#include <cygnet/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STATUS_MAX_BYTES ((size_t)8 << 20)

/* loss, accuracy  NaN when the coordinator has none */
struct round_row {
    uint32_t round;
    uint32_t participants;
    uint32_t failed;
    double loss;
    double accuracy;
    uint64_t bytes_up;
    uint64_t bytes_down;
    double seconds;
};

struct status {
    bool finished;
    uint32_t round;
    uint32_t participants;
    uint32_t accepted;
    uint32_t checked_in;
    struct round_row *rows; /* owned */
    uint32_t n_rows;
};

struct status_reader;

/* Errors: ENOMEM, ENETWORK. */
cygnet_status status_reader_create(struct status_reader **out, const char *url,
                                   const char *ca_file, cygnet_error *err);

/* Asks once, within two seconds. `out` is replaced on success only.
 * Errors: ENETWORK, EPROTOCOL, ENOMEM. */
cygnet_status status_read(struct status *out, struct status_reader *reader,
                          cygnet_error *err);

void status_clear(struct status *status);
void status_reader_destroy(struct status_reader *reader);

#endif
