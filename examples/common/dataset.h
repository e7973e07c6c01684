/* Labelled images for the programs: bundled digits, MNIST-style IDX directories,
 * CIFAR-10 binary batches. Pixels stay bytes as they came; training and held-out
 * rows are lists of indices into one pool, so that splits and shards copy
 * nothing. See docs/data.md. */
#ifndef PROGRAMS_DATASET_H
#define PROGRAMS_DATASET_H

#include "image.h"

#include <cygnet/status.h>
#include <stdint.h>

#define DATASET_MAX_CLASSES 256u                 /* labels are bytes */
#define DATASET_MAX_FILE_BYTES ((size_t)1 << 30) /* of one input file */

/* Indices of rows of a dataset. */
struct rows {
    uint32_t *index; /* owned */
    uint32_t n;
};

/* shape       of one image
 * n_classes   labels are 0..n_classes-1
 * pixels      (n_rows, C, H, W) bytes
 * labels      (n_rows)
 * train, test disjoint; together every row; the test rows are the same whatever
 *             the run's seed is, so no process trains on what another evaluates
 * fingerprint CRC-32 of pixels and labels: names this version of the data */
struct dataset {
    struct image_shape shape;
    uint32_t n_classes;
    uint32_t n_rows;
    uint8_t *pixels;
    uint8_t *labels;
    struct rows train;
    struct rows test;
    uint32_t fingerprint;
};

/* Opens "digits", "idx:DIR" or "cifar10:DIR".
 * out        receives the dataset; destroy with dataset_destroy
 * n_classes  labels must be below it; 0: 10
 * Errors: EINVAL (spec), ENOTFOUND, ESTORAGE, EFORMAT, ELIMIT, EDATA (label out
 * of range, too few rows), ENOMEM; the message names the file. */
cygnet_status dataset_open(struct dataset **out, const char *spec, uint32_t n_classes,
                           cygnet_error *err);

/* Accepts NULL. */
void dataset_destroy(struct dataset *dataset);

static inline const uint8_t *dataset_pixels(const struct dataset *dataset, uint32_t row)
{
    return dataset->pixels + (size_t)row * image_shape_size(dataset->shape);
}

/* Writes the given rows as a model wants them: x (rows.n, to.C, to.H, to.W)
 * float32 and y (rows.n); both are allocated and the caller's to free().
 * Errors: ESHAPE, ENOMEM. */
cygnet_status dataset_arrays(float **x, int64_t **y, const struct dataset *dataset,
                             const struct rows *rows, struct image_shape to,
                             cygnet_error *err);

void rows_clear(struct rows *rows);

#endif
