/* The inside of lowering: for the lower*.c files only. */
#ifndef ENGINE_NN_LOWER_PARTS_H
#define ENGINE_NN_LOWER_PARTS_H

#include "engine/nn/lower.h"

/* Of one panel of a tensor's channels.
 *
 * shares  that are still to come
 * begun   some have come */
struct panel_gradient {
    size_t shares;
    bool begun;
};

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
 * delivered parameters: a reader has given a gradient already
 * make      of outputs that are not stored: makes one; such a root has no value
 * from      of outputs that are only moved channels: which; `gather` is the plan of
 *           that, if it holds for both passes
 * panels    of roots whose readers all move channels: their gradients */
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
    lower_make_fn make;
    const struct channel_list *from;
    const void *gather;
    struct panel_gradient *panels;
};

/* max_batch  examples of a piece: of what runs at once */
struct lowering {
    struct program *program;
    const struct graph *graph;
    const struct kernels *kernels;
    size_t max_batch;
    size_t n_workers;
    int *saved; /* [n_nodes] */
    struct lowered_tensor *tensors;
    const bool *remade; /* [n_nodes]; NULL: nothing is */
    size_t node;        /* that is being lowered */
    bool is_remaking;   /* the node's output, in the backward pass */
    bool out_of_memory;
};

/* A buffer that lives as long as it is used; -1: out of memory. */
int lower_buffer(struct lowering *l, uint64_t size);

/* Memory that nothing else uses for as long as the program lives; at first 0.
 * -1: out of memory. */
int lower_persistent(struct lowering *l, uint64_t size);

/* Memory that somebody else provides. */
int lower_external(struct lowering *l);

/* The call that was added last uses this buffer too. -1 is accepted. */
void lower_use(struct lowering *l, int buffer);

/* Before the backward pass: what is not kept for it is gone. */
void lower_forget(struct lowering *l);

/* What the root of an activation stores is there again. */
void lower_bring_back(struct lowering *l, int root);

/* Who reads what, and which of it leads to the loss. */
void lower_readers(struct lowering *l);

/* Before the backward pass: the shares of gradients that moves of channels bring. */
void lower_count_moves(struct lowering *l);

/* A buffer for the root's gradient. */
int lower_new_gradient(struct lowering *l, int root);

/* Buffer of the sums that are wanted of a tensor's gradient; -1: none. */
struct row_sums lower_gradient_sums(struct lowering *l, int tensor, size_t rows_per_slot);

/* lower_deliver to a tensor, which need not be an input. */
bool lower_deliver_to(struct lowering *l, struct delivery *d, int tensor,
                      size_t rows_per_slot);

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

/* The list between the pieces of a batch: what the ops change there. */
void lower_between(struct lowering *l);

#endif
