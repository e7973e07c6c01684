/* A lowered graph: buffers with places in one arena, and flat lists of calls.
 * Made once by lower_graph; running it allocates nothing and cannot fail. */
#ifndef ENGINE_NN_PROGRAM_H
#define ENGINE_NN_PROGRAM_H

#include "engine/nn/executor.h"
#include "engine/nn/graph.h"
#include "engine/nn/update.h"

#include "base/arena.h"
#include "base/stop.h"

#define CALL_MAX_BUFFERS 16
#define BUFFER_ALIGNMENT 64

/* Examples of one block of a matrix product. */
#define ROWS_PER_BLOCK 64

struct call;
struct step;

/* A range of rows or columns. */
struct span {
    size_t first;
    size_t n;
};

typedef void (*call_fn)(const struct call *call, const struct step *step, size_t block,
                        size_t worker);

/* How a call splits into blocks, fixed by sizes alone:
 * rows_per_block     examples of a block; 0: all of them
 * n_columns          independent columns, columns_per_block each; 0: not split
 * rows_per_example   rows are those of activations, of which an example has so many;
 *                    0: rows are examples
 * rows_per_unit      blocks end where so many rows of the batch do; 0: nowhere */
struct partition {
    size_t rows_per_block;
    size_t rows_per_unit;
    size_t n_columns;
    size_t columns_per_block;
    size_t rows_per_example;
};

/* One kernel over fixed blocks. buffer[] are indices into the program's. `plan` is
 * what the op worked out when it was lowered; it belongs to the program. */
struct call {
    call_fn run;
    const struct node *node;
    const void *plan;
    struct partition partition;
    size_t n; /* elements, for calls that are not an op's */
    int buffer[CALL_MAX_BUFFERS];
};

/* Where an activation lies and how it is read: y = act(scale z + shift), with scale
 * and shift of a norm. Rows are `channels` elements, one after the other.
 *
 * buffer    of z
 * norm      buffer of norm vectors (norm_of); -1: scale 1, shift 0
 * rows      of one example
 * channels  a multiple of PANEL, padding included; 0: not laid out (the input, the
 *           labels) */
struct operand {
    int buffer;
    int norm;
    enum activation act;
    size_t rows;
    size_t channels;
};

/* A piece of memory and the calls [first, last] between which it holds something; if
 * it is made again, all but those in [gap, resumed), which are others' to use.
 * External buffers belong to the caller of the step.
 *
 * resumed  0: it is not made again
 * away     while it is lowered: what it held is gone */
struct buffer {
    uint64_t size;
    uint64_t offset;
    uint32_t first, last;
    uint32_t gap, resumed;
    bool used, placed, away;
    bool external;
    int next; /* while places are found */
    void *data;
};

/* Calls [begin, end) of the list. */
struct call_list {
    size_t begin;
    size_t end;
};

/* Per tensor of the graph; -1: none.
 *
 * value      where it is, and `at` how it is read
 * grad       of what is stored: for z, the gradient behind its norm and activation
 * fused      the update happens as soon as the gradient is there
 * state      of the optimiser: velocity, or the two moments
 * reference  where the proximal term pulls to
 * pending    of an op's buffer: what it will be after the step, between pieces */
struct tensor_buffers {
    int value;
    struct operand at;
    int grad;
    bool fused;
    int state[2];
    int reference;
    int pending;
    struct update_group group;
};

/* True for what a step updates: parameters that the loss depends on, unless they
 * are frozen. */
bool tensor_is_trained(const struct tensor *tensor, const struct tensor_buffers *of);

struct program {
    const cygnet_allocator *alloc;
    struct buffer *buffers;
    struct call *calls;
    struct tensor_buffers *of; /* [n_tensors] */
    size_t n_buffers, cap_buffers;
    size_t n_calls, cap_calls;
    size_t n_tensors;
    struct call_list forward, backward, check, update;
    struct call_list norm;    /* empty unless the plan clips */
    struct call_list between; /* after each piece of a batch but the last */
    struct call_list predict; /* the forward list up to the logits */
    int scratch;              /* n_workers pieces of scratch_bytes */
    int flags;                /* one byte per tensor: its gradient is not finite */
    int losses;               /* float per example of the last batch */
    int logits;               /* rows of padded(n_classes) */
    int square_sums;          /* double per block of the norm list; -1: does not clip */
    size_t n_square_sums;
    struct arena *plans;
    uint64_t scratch_bytes;
    uint64_t arena_bytes;
    void *memory; /* as allocated; the arena is aligned within */
};

/* What a forward list runs for. Gradients are those of a training step, but
 * nothing is random in them. */
enum step_mode { STEP_GRADIENTS, STEP_TRAIN, STEP_EVALUATE };

/* What a running list needs to know. */
struct step {
    const struct program *program;
    const struct kernels *kernels;
    enum step_mode mode;
    size_t n;       /* examples of this piece of the batch */
    size_t first;   /* examples of the batch before them */
    size_t total;   /* examples of the batch */
    size_t piece;   /* pieces before this one */
    uint64_t seed;  /* of what is random in a training step */
    uint64_t index; /* training steps since the weights were set */
    struct update_settings update;
};

/* Places the buffers and lists the calls; allocates everything but the arena.
 * remade  per node: its output is not kept for the backward pass, but made again when
 *         that needs it; only for nodes that can_remake. NULL: none
 * max_batch  examples of a batch, and of a piece if the graph's update is in pieces
 * Errors: ENOMEM. On failure *out is cleared. */
cygnet_status lower_graph(struct program *out, const struct graph *graph,
                          const struct kernels *kernels, size_t max_batch,
                          size_t n_workers, const bool *remade, cygnet_error *err);

/* Allocates the arena, zeroed. Errors: ENOMEM. */
cygnet_status program_allocate(struct program *program, cygnet_error *err);

/* Accepts a zeroed program. */
void program_clear(struct program *program);

/* Bytes asked of the allocator by lower_graph and program_allocate. */
uint64_t program_bytes(const struct program *program);

/* Runs a list; looks at `stop` before each call.
 * Errors: ECANCELLED, with the rest of the list not run. */
cygnet_status program_run(const struct step *step, const struct call_list *list,
                          struct nn_executor *executor, const cygnet_stop *stop,
                          cygnet_error *err);

/* ---- For the calls of an op ---------------------------------------------- */

static inline void *step_buffer(const struct step *step, const struct call *call,
                                int slot)
{
    return step->program->buffers[call->buffer[slot]].data;
}

static inline void *step_scratch(const struct step *step, size_t worker)
{
    const struct program *p = step->program;

    return (char *)p->buffers[p->scratch].data + worker * p->scratch_bytes;
}

static inline void *step_data(const struct step *step, int buffer)
{
    return buffer >= 0 ? step->program->buffers[buffer].data : NULL;
}

/* The vectors of a batch norm, `channels` each: those that read z, those that the
 * gradient goes back through, and the exact moments of the last forward pass. */
struct norm_vectors {
    real *scale, *shift;
    real *mean, *factor, *mean_g, *slope;
    double *exact_mean, *exact_variance;
};

#define NORM_BYTES(channels) ((channels) * (6 * sizeof(real) + 2 * sizeof(double)))

struct norm_vectors norm_of(const struct step *step, int norm, size_t channels);
struct reading reading_of(const struct step *step, const struct operand *x);
/* With factor NULL where norm is -1. */
struct norm_gradient norm_gradient_of(const struct step *step, int norm, size_t channels);

/* Copies what earlier pieces of the batch left of a gradient, for a sum to go on with;
 * the result is to be given without `add`. False: there is nothing yet. */
bool step_take_gradient(const struct step *step, size_t tensor, size_t offset, real *g,
                        size_t n);

/* Hands over n elements of a parameter's gradient, from `offset` on in its layout:
 * stored, added to what is there, or used up by the update. */
void step_give_gradient(const struct step *step, size_t tensor, size_t offset,
                        const real *g, size_t n, bool add);

/* `count` stretches of n elements of a parameter, `pitch` apart. */
struct stretches {
    size_t first, n, pitch, count;
};

/* The same for several stretches at once; in g they lie side by side. */
void step_give_stretches(const struct step *step, size_t tensor,
                         const struct stretches *at, const real *g, bool add);

/* The examples (or rows) and columns of a block. */
struct span call_rows(const struct call *call, const struct step *step, size_t block);
struct span call_columns(const struct call *call, size_t block);
size_t call_blocks(const struct call *call, size_t n);

#endif
