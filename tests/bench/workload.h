/* What the benchmarks train: a model of the zoo on one fixed batch of random data. */
#ifndef TESTS_BENCH_WORKLOAD_H
#define TESTS_BENCH_WORKLOAD_H

#include "engine/nn/executor.h"

#include <cygnet/nn.h>

/* What to train. n_input_dims 0: as the model was published; classes 0: likewise;
 * allocator NULL: the system's. */
struct workload_options {
    const char *model;
    uint32_t input[CYGNET_INPUT_MAX_DIMS];
    uint32_t n_input_dims;
    uint32_t batch;
    uint32_t classes;
    uint32_t n_threads;
    uint64_t seed;
    double lr;
    const cygnet_allocator *allocator;
};

struct workload {
    const struct workload_options *options;
    uint32_t classes;
    cygnet_model *model;
    cygnet_sgd sgd;
    float *x;
    int64_t *y;
};

/* Batch 16, learning rate 0.01, the rest 0. */
void workload_options_init(struct workload_options *options);

/* Makes the model, on the executor or (NULL) on n_threads of its own, and the batch:
 * normal numbers, or symbols, with random labels. Options are borrowed.
 * Errors: as cygnet_model_create. After one, clear it all the same. */
cygnet_status workload_init(struct workload *w, const struct workload_options *options,
                            struct nn_executor *executor, cygnet_error *err);

void workload_clear(struct workload *w);

/* One step of SGD with momentum 0.9 and weight decay 0.0005. */
cygnet_status workload_step(struct workload *w, double *loss, cygnet_error *err);

#endif
