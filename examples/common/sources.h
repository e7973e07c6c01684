/* Where a dataset's bytes come from: the formats behind dataset_open. */
#ifndef PROGRAMS_SOURCES_H
#define PROGRAMS_SOURCES_H

#include "dataset.h"

/* Which split the rows of a file belong to. */
enum split { SPLIT_TRAIN, SPLIT_TEST };

/* Each fills shape, pixels, labels, n_rows and, for the splits that have files
 * of their own, n_train and n_test (0: no such file). Rows of train come first. */
struct source_rows {
    struct image_shape shape;
    uint8_t *pixels;
    uint8_t *labels;
    uint32_t n[2]; /* by enum split */
};

cygnet_status source_digits(struct source_rows *out, cygnet_error *err);
cygnet_status source_idx(struct source_rows *out, const char *folder, cygnet_error *err);
cygnet_status source_cifar10(struct source_rows *out, const char *folder,
                             cygnet_error *err);

void source_rows_clear(struct source_rows *rows);

#endif
