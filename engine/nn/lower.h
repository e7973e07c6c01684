/* What an op's lowering may ask for. Every buffer that a call is given lives at
 * least for that call; live ranges follow from use, nobody states them.
 * Failures (out of memory) are remembered and reported by lower_graph.
 *
 * Values. An activation is stored once, in the buffer of its root, and read as its
 * operand says: batch norms and activations that follow a layer with no other reader
 * store nothing (lower_read_as). Moves of channels store nothing either (lower_move).
 * A root that is not to be kept for the backward pass is made again there, by its op's
 * `forward`, into the same buffer.
 * Gradients. Each root has one gradient buffer, for
 * what is stored but behind its norm and activation: whoever brings the last share
 * multiplies by act' and takes the sums that the norm or the bias wants. */
#ifndef ENGINE_NN_LOWER_H
#define ENGINE_NN_LOWER_H

#include "engine/nn/program.h"

struct lowering;

/* Sums over rows that a forward or backward pass leaves per slot, 2 doubles a channel.
 * A slot is so many rows of the batch, and ends with a unit. buffer -1: none.
 * rows_per_unit  of lower_unit; 0: no units */
struct row_sums {
    int buffer;
    size_t rows_per_slot;
    size_t rows_per_unit;
};

/* How to deliver the gradient of an input.
 *
 * g        where to write it
 * more     what others brought, to be added: g, or -1 for nothing
 * finish   multiply by act' of x, and take the sums if sums.buffer is there
 * means    the second sum is wanted too: around the norm's mean
 * settled  the op's call does all of this; false: it writes its plain share to g, and
 *          lower_settle does the rest
 * x        the input as it is read; x.buffer is the z of gradient_pass */
struct delivery {
    int g;
    int more;
    bool finish;
    bool means;
    bool settled;
    int tensor;
    struct operand x;
    struct row_sums sums;
};

const struct graph *lower_source(const struct lowering *l);
const struct kernels *lower_kernels(const struct lowering *l);
size_t lower_max_batch(const struct lowering *l);

/* Zeroed memory for a plan; NULL: out of memory, which is remembered. */
void *lower_plan(struct lowering *l, size_t size);

/* Buffer of a parameter, a buffer, the input or the labels. */
int lower_value(struct lowering *l, int tensor);

/* What a buffer will be when the step ends, kept between pieces of a batch; -1: steps
 * have one piece. */
int lower_pending(struct lowering *l, int tensor);

/* ---- Activations --------------------------------------------------------- */

/* Rows of an example and padded channels of a shape. */
struct operand lower_shape(const struct shape *shape);

/* How an activation is read. The input is laid out first if it has to be. */
struct operand lower_operand(struct lowering *l, int tensor);

/* The same with nothing to be done on reading: z as it is, its padding 0. */
struct operand lower_plain(struct lowering *l, int tensor);

/* A new buffer for the node's output; the one it had if it is made again. */
struct operand lower_output(struct lowering *l, const struct node *node);

/* The same, but what is stored has another shape: that of what alone reads it. */
struct operand lower_output_as(struct lowering *l, const struct node *node,
                               const struct shape *shape);

/* The same for the loss: a number per example, side by side. */
int lower_loss(struct lowering *l, const struct node *node);

/* A new buffer for the node's output, which is at first its input in[0] as it is
 * read. The gradient goes back by lower_pass_on. */
struct operand lower_copy(struct lowering *l, const struct node *node);

/* The output is the input in[0] read with a norm (-1: none) and an activation on top.
 * Nothing is stored if that can be; else the output is a copy of the input, whose
 * gradient goes back by lower_pass_on. The result is the output's operand. */
struct operand lower_read_through(struct lowering *l, const struct node *node, int norm,
                                  enum activation act);

/* Adds the calls that write the node's output to buffer y. */
typedef void (*lower_make_fn)(struct lowering *l, const struct node *node, int y);

/* The output is cheap to make from what is there: it is made whenever somebody reads
 * it, in both passes, and not stored. */
void lower_remake(struct lowering *l, const struct node *node, lower_make_fn make);

/* Channels of activations of the same rows. */
struct channel_list {
    size_t n;
    struct channel {
        int tensor;
        size_t channel;
    } * channel;
};

/* A list for all channels of the node's output. NULL: out of memory. */
struct channel_list *lower_channels(struct lowering *l, const struct node *node);

/* The node's output is these channels of its inputs. Nothing is stored, and no call is
 * made: who reads the output has it gathered into memory for as long as it takes.
 * `from` belongs to the lowering then. */
void lower_move(struct lowering *l, const struct node *node, struct channel_list *from);

/* The gradient of such an output, back to where each channel came from. */
void lower_move_back(struct lowering *l, const struct node *node);

/* True if the node's output is stored by itself: after lower_copy. */
bool lower_is_copy(const struct lowering *l, const struct node *node);

/* For ops that see their input another way: its output is so read, from the input's
 * buffer (is_free: only if lower_is_free says so) or its own copy. */
void lower_read_as(struct lowering *l, const struct node *node, bool is_free,
                   const struct operand *operand);

/* True if the node is the only reader of its input in[0], which is stored. */
bool lower_is_free(const struct lowering *l, const struct node *node);

/* False for functions that would fill the padding: read it with lower_plain. */
bool lower_keeps_zero(enum activation act);

/* The node that alone reads the tensor; NULL: none, or several. */
const struct node *lower_only_reader(const struct lowering *l, int tensor);

/* True if a batch norm wants the moments of the node's output, and has not had them. */
bool lower_wants_moments(const struct lowering *l, const struct node *node);

/* Where the moments of a tensor's rows are; set by its producer. */
struct row_sums *lower_moments(struct lowering *l, int tensor);

/* A buffer for sums of so many rows a slot. */
struct row_sums lower_sums(struct lowering *l, const struct operand *x,
                           size_t rows_per_slot);
size_t lower_slots(const struct row_sums *sums, size_t rows);

/* The slot that begins with this row or has it, and where that slot ends. */
size_t lower_slot_of(const struct row_sums *sums, size_t row);
size_t lower_slot_end(const struct row_sums *sums, size_t row);

/* ---- Sums over a batch ---------------------------------------------------- */

/* Examples of a unit; 0: all of a batch. The gradient of a parameter is the sum of
 * those of the units, in their order, in real: so that a batch can be cut between units
 * and give the same bits, but for parameters of several readers. Only batch norms want
 * all examples at once. */
size_t lower_unit(const struct lowering *l);

/* Blocks of about so many rows, of an activation with so many rows an example: whole
 * units, or equal parts of one. */
struct partition lower_unit_blocks(const struct lowering *l, size_t rows_per_example,
                                   size_t rows);

/* Examples of a block of about so many rows: a unit or a part of it. */
size_t lower_unit_part(const struct lowering *l, size_t rows_per_example, size_t rows);

/* ---- Gradients ----------------------------------------------------------- */

/* The gradient of what the node's output root stores, complete: `g` behind the norm
 * `norm` (-1: none), to be read with norm_gradient.
 * sums  those of g: for the bias; buffer -1: nobody asked for them */
struct output_gradient {
    int g;
    int norm;
    bool is_shared; /* others read g too: it must not be overwritten */
    struct operand z;
    struct row_sums sums;
};

struct output_gradient lower_output_gradient(struct lowering *l, const struct node *node);

/* The same with the norm gone through: buffer of dz. */
int lower_plain_gradient(struct lowering *l, const struct node *node);

/* The same, to be changed in place. */
int lower_own_gradient(struct lowering *l, const struct node *node);

/* In the forward pass: the node, a producer, will want the sums of its output's
 * gradient (for a bias). */
void lower_want_sums(struct lowering *l, const struct node *node);
bool lower_wants_sums(const struct lowering *l, int tensor);

/* How to deliver the gradient of input i, asked for once per backward pass, in the
 * order of the calls. False: nobody wants it.
 * rows_per_slot  of the sums that the op's own call can take; 0: it writes plain
 *                shares only, and lower_settle does the rest */
bool lower_deliver(struct lowering *l, struct delivery *out, const struct node *node,
                   uint32_t i, size_t rows_per_slot);

/* The call that was added last delivers: it uses these buffers too. */
void lower_use_delivery(struct lowering *l, const struct delivery *d);

/* While it runs: what is asked of a delivery's rows from `row` and its channels from
 * `column` on. dy is the caller's, and so are the sums; not settled, all that there is
 * is where the plain share goes. */
struct gradient_pass lower_pass_of(const struct step *step, const struct delivery *d,
                                   size_t row, size_t column);

/* The sums of a slot, from a channel on; NULL: none are taken. */
double *lower_pass_sums(const struct step *step, const struct delivery *d, size_t slot,
                        size_t column);

/* That pass over some rows, with the sums of each slot, which begins with the first of
 * its rows and ends with the pass or later. */
void lower_pass_rows(const struct step *step, const struct delivery *d,
                     struct gradient_pass pass, const struct rows *rows, size_t row,
                     size_t column);

/* After the op's calls. */
void lower_settle(struct lowering *l, const struct delivery *d);

/* The gradient of input i is that of the output, as it is. */
void lower_pass_on(struct lowering *l, const struct node *node, uint32_t i);

/* Where a parameter's gradient goes, asked for once per reader: for
 * step_give_gradient. add: another reader was before. */
struct parameter_share {
    size_t tensor;
    bool add;
};
struct parameter_share lower_parameter(struct lowering *l, int tensor);

/* ---- Memory and calls ---------------------------------------------------- */

/* Memory that the node's forward calls hand to its backward calls. The same
 * buffer for each call with the same node. */
int lower_saved(struct lowering *l, const struct node *node, uint64_t bytes);

/* Memory for the calls that use it. */
int lower_workspace(struct lowering *l, uint64_t bytes);

/* Each worker will have at least so much scratch. */
void lower_scratch(struct lowering *l, uint64_t bytes);

/* Appends a call of the node that is being lowered, over the buffers given (-1 stays
 * -1). */
void lower_call(struct lowering *l, call_fn run, const struct partition *partition,
                const int *buffers, size_t n_buffers);

/* The same with a plan. NULL is accepted: out of memory, no call. */
void lower_planned_call(struct lowering *l, call_fn run,
                        const struct partition *partition, const void *plan,
                        const int *buffers, size_t n_buffers);

/* As lower_call, elementwise over n elements, columns of 16384. */
void lower_elementwise(struct lowering *l, call_fn run, size_t n, const int *buffers,
                       size_t n_buffers);

/* Blocks of rows of an activation. */
struct partition lower_row_blocks(const struct operand *x);

/* Rows per block such that a block has at least `elements` elements. */
size_t lower_rows_for(size_t elements, size_t per_row);

/* Splits n columns into at most 8 blocks, each a multiple of 16 wide. */
size_t lower_columns_for(size_t n);

#endif
