/* The inside of lowering: for the lower*.c files only. */
#ifndef ENGINE_NN_LOWER_PARTS_H
#define ENGINE_NN_LOWER_PARTS_H

#include "engine/nn/lower.h"

/* Per tensor of the graph, while it is lowered.
 *
 * root      activations: the tensor that stores it; -1: not lowered yet
 * reader    the node that reads it, if there is one only; -1 otherwise
 * shares    gradients that are still to come, and lead to the loss
 * stored    of roots: how it lies in memory
 * plain     buffer of the value as it is read, if somebody wanted it; -1
 * norm      of roots: the norm behind it, as long as the gradient has to go through
 * shared    of roots: other tensors' gradients are in the same buffer
 * wants_sums of roots: its producer wants the sums of its gradient
 * delivered parameters: a reader has given a gradient already */
struct lowered_tensor {
    int root;
    struct operand stored;
    int reader;
    int plain;
    int norm;
    size_t shares;
    bool shared;
    bool wants_sums;
    bool delivered;
    struct row_sums moments;
    struct row_sums sums;
};

struct lowering {
    struct program *program;
    const struct graph *graph;
    const struct kernels *kernels;
    size_t max_batch;
    size_t n_workers;
    int *saved; /* [n_nodes] */
    struct lowered_tensor *tensors;
    size_t node; /* that is being lowered */
    bool out_of_memory;
};

/* A buffer that lives as long as it is used; -1: out of memory. */
int lower_buffer(struct lowering *l, uint64_t size);

/* Memory that nothing else uses for as long as the program lives; at first 0.
 * -1: out of memory. */
int lower_persistent(struct lowering *l, uint64_t size);

/* Memory that somebody else provides. */
int lower_external(struct lowering *l);

/* Who reads what, and which of it leads to the loss. */
void lower_readers(struct lowering *l);

/* The buffers that updates of the tensor need, and its group; -1 for those that are
 * not trained. */
void lower_update_buffers(struct lowering *l, size_t tensor);

/* The check list: the flags of gradients that are not finite. After the backward
 * list. */
void lower_check(struct lowering *l);

/* The norm list: sums of squares of the gradients, block by block. Empty unless the
 * plan clips. */
void lower_norm(struct lowering *l);

/* The update list: every trained parameter that is not fused, then what the ops
 * update. */
void lower_update(struct lowering *l);

#endif
