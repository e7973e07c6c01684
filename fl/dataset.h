/* The host's training examples, opened for one round. */
#ifndef FL_DATASET_H
#define FL_DATASET_H

#include <cygnet/nn.h>
#include <cygnet/sys/coordinator.h>

struct dataset {
    const cygnet_host *host;
    void *cursor;
    uint64_t n_examples;
    char snapshot_id[CYGNET_SNAPSHOT_ID_BYTES];
    int opened;
};

/* Errors: EHOST (the hook's code in err->detail), EDATA (no examples, or more than
 * can be numbered). On failure there is nothing to close. */
cygnet_status dataset_open(struct dataset *out, const cygnet_host *host,
                           const cygnet_task *task, cygnet_error *err);

/* Elements of one example's x. */
size_t dataset_row_elements(const cygnet_model *model);

/* Fills x (n, shape...) and y (n) with the rows `indices`.
 * Errors: EHOST, EDATA (the hook left a label unwritten). */
cygnet_status dataset_read(struct dataset *data, float *x, int64_t *y,
                           const uint64_t *indices, uint32_t n, const cygnet_model *model,
                           cygnet_error *err);

void dataset_close(struct dataset *data); /* accepts a zeroed or closed one */

#endif
