/* What outlives the process: one small record with a checksum, replaced whole. */
#ifndef FL_JOURNAL_H
#define FL_JOURNAL_H

#include "base/store.h"

#include <cygnet/sys/coordinator.h>

#define CLIENT_ID_HEX 32
#define JOURNAL_FILE "round"   /* the record */
#define UPDATE_FILE "update"   /* the container of an encoded round */
#define PROFILE_FILE "profile" /* what execution choices take, of the last model */
#define EVALUATE_PROFILE_FILE "profile_evaluate" /* the same, of evaluations */
#define EXPLAIN_FILE "explain"                   /* why the last choice was what it was */

/* state          phase of the round
 * interrupted    phase it was in when it became interrupted; IDLE: it is not
 * generation     how often the identity was drawn
 * next_check_in  wall ms before which the coordinator does not want us; 0: none
 * task           its token is empty when there is none; with it:
 * assigned_*     clocks at check-in, from which the deadline counts
 * update_*       the container in UPDATE_FILE
 * examples ...   metrics of the local training or the evaluation, once it has ended
 * last_*         of the last completed round, told at check-in */
struct round_record {
    uint32_t state;
    uint32_t interrupted;
    char client_id[CLIENT_ID_HEX + 1];
    uint64_t generation;
    int64_t next_check_in_ms;
    cygnet_task task;
    int64_t assigned_wall_ms;
    int64_t assigned_mono_ms;
    char snapshot_id[CYGNET_SNAPSHOT_ID_BYTES];
    uint64_t update_bytes;
    char update_sha256[CYGNET_SHA256_HEX + 1];
    uint64_t examples;
    uint64_t steps;
    double loss_first;
    double loss_last;
    double accuracy;
    double utility;
    int64_t train_ms;
    uint64_t bytes_down;
    double samples_per_s;
    uint64_t last_round;
    uint64_t last_examples;
    double last_utility;
    double loss_sum; /* this and the rest: as in cygnet_round_report */
    uint64_t top_1;
    uint64_t top_5;
    double moving_loss;
    double last_loss_squared;
    uint64_t unique_examples;
};

/* Errors: ENOTFOUND (no record yet), EFORMAT (damaged), ESTORAGE, ENOMEM. */
cygnet_status journal_load(struct round_record *out, struct store *store,
                           const cygnet_allocator *alloc, cygnet_error *err);

/* Errors: ESTORAGE, ENOSPC, ENOMEM; the old record then stays. */
cygnet_status journal_save(const struct round_record *record, struct store *store,
                           const cygnet_allocator *alloc, cygnet_error *err);

#endif
