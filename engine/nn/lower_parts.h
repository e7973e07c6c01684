/* The inside of lowering: for the lower*.c files only. */
#ifndef ENGINE_NN_LOWER_PARTS_H
#define ENGINE_NN_LOWER_PARTS_H

#include "engine/nn/lower.h"

/* A gradient that a second consumer wrote aside, to be added. */
struct pending_add {
    int tensor;
    int buffer;
};

struct lowering {
    struct program *program;
    const struct graph *graph;
    const struct kernels *kernels;
    size_t max_batch;
    size_t n_workers;
    int *saved; /* [n_nodes] */
    struct pending_add pending[NODE_MAX_INPUTS];
    size_t n_pending;
    bool out_of_memory;
};

/* Memory that nothing else uses for as long as the program lives; at first 0.
 * -1: out of memory. */
int lower_persistent(struct lowering *l, uint64_t size);

/* The buffers that updates of the tensor need, and its group; -1 for those that are
 * not trained. */
void lower_update_buffers(struct lowering *l, size_t tensor);

/* The check list: the flags of gradients that are not finite. After the backward
 * list. */
void lower_check(struct lowering *l);

/* The norm list: sums of squares of the gradients, block by block. Empty unless the
 * plan clips. */
void lower_norm(struct lowering *l);

/* The update list: every trained parameter, then what the ops update. */
void lower_update(struct lowering *l);

#endif
