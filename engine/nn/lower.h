/* What an op's lowering may ask for. Every buffer that a call is given lives at
 * least for that call; live ranges follow from use, nobody states them.
 * Failures (out of memory) are remembered and reported by lower_graph. */
#ifndef ENGINE_NN_LOWER_H
#define ENGINE_NN_LOWER_H

#include "engine/nn/program.h"

struct lowering;

const struct graph *lower_source(const struct lowering *l);
const struct kernels *lower_kernels(const struct lowering *l);
size_t lower_max_batch(const struct lowering *l);

/* Buffer of the tensor's value, (max_batch, shape...) or a parameter. */
int lower_value(struct lowering *l, int tensor);

/* Where to write the gradient of a node's input; -1: nobody wants it. Asked for
 * once per input and backward pass. */
int lower_input_grad(struct lowering *l, const struct node *node, uint32_t i);

/* The gradient of the node's output, complete. */
int lower_output_grad(struct lowering *l, const struct node *node);

/* Memory that the node's forward calls hand to its backward calls. The same
 * buffer for each call with the same node. */
int lower_saved(struct lowering *l, const struct node *node, uint64_t bytes);

/* Memory for the calls of this node and direction only. */
int lower_workspace(struct lowering *l, uint64_t bytes);

/* Each worker will have at least so much scratch. */
void lower_scratch(struct lowering *l, uint64_t bytes);

/* Appends a call over the buffers given (-1 stays -1: step_buffer must not be
 * asked for it). */
void lower_call(struct lowering *l, call_fn run, const struct node *node,
                const struct partition *partition, const int *buffers, size_t n_buffers);

/* As lower_call, elementwise over n elements (no node), columns of 16384. */
void lower_elementwise(struct lowering *l, call_fn run, size_t n, const int *buffers,
                       size_t n_buffers);

/* Appends dx = dy for an op that passes a gradient on. Nothing if dx is dy or -1. */
void lower_pass_on(struct lowering *l, const struct node *node, int dx, int dy);

/* Rows per block such that a block has at least `elements` elements. */
size_t lower_rows_for(size_t elements, size_t per_row);

/* Splits n columns into at most 8 blocks, each a multiple of 16 wide. */
size_t lower_columns_for(size_t n);

#endif
