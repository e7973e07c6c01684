/* The intermediate representation: nodes (an op and its parameters) between
 * tensors (a shape each). Zoo models and importers build one; lowering turns it
 * into a program. Holds no numbers and no memory plan.
 *
 * Shapes are inferred as nodes are added. Building remembers its first failure:
 * calls after it do nothing and return NO_TENSOR, so only graph_finish needs a
 * check. */
#ifndef ENGINE_NN_GRAPH_H
#define ENGINE_NN_GRAPH_H

#include "engine/nn/kernels.h"

#include <cygnet/alloc.h>
#include <cygnet/status.h>
#include <stdbool.h>

#define GRAPH_MAX_DIMS 4
#define GRAPH_MAX_NAME 64
#define NODE_MAX_INPUTS 6

/* Elements of one tensor (of one example for activations). */
#define GRAPH_MAX_ELEMENTS ((size_t)1 << 30)

#define NO_TENSOR (-1)

/* Activations: one example, without the batch. n_dims 0 is one number. */
struct shape {
    uint32_t n_dims;
    size_t dim[GRAPH_MAX_DIMS];
};

/* Buffers are state that a training step changes but no gradient reaches, as
 * PyTorch's: TENSOR_BUFFER of reals, TENSOR_COUNTER one int64. They are weights to
 * those who save and load a model, and nothing to the optimiser. */
enum tensor_kind {
    TENSOR_ACTIVATION,
    TENSOR_INPUT,
    TENSOR_LABELS,
    TENSOR_PARAMETER,
    TENSOR_BUFFER,
    TENSOR_COUNTER
};

/* First values of a parameter or a buffer: uniform on +-value, normal with mean 0
 * and deviation value, or value itself. */
enum init_kind { INIT_UNIFORM, INIT_NORMAL, INIT_CONSTANT };

struct init {
    enum init_kind kind;
    double value;
};

/* needs_grad   a parameter, or computed from one
 * n_consumers  nodes that read it
 * producer     the node that writes it; -1: none
 * fan_in       parameters: inputs that meet in one output; otherwise 0
 * init         parameters and buffers
 * layout       parameters and buffers but for counters
 * frozen       parameters: not trained. One that still has needs_grad belongs to a
 *              node whose backward runs anyway: its gradient is written and dropped
 * lr_scale     parameters: factor of the learning rate, 1 at first */
struct tensor {
    char name[GRAPH_MAX_NAME];
    enum tensor_kind kind;
    bool needs_grad;
    struct shape shape;
    size_t n_consumers;
    int producer;
    size_t fan_in;
    struct init init;
    struct layout layout;
    bool frozen;
    double lr_scale;
};

/* What an optimiser remembers of each trained element: as many numbers. */
enum update_state { STATE_NONE, STATE_VELOCITY, STATE_MOMENTS };

/* What the updates of a model need planned.
 *
 * reference  a copy of the weights, for the proximal term
 * clips      all gradients must be there before the first update
 * separate   the same, for whatever reason: a step that fails changes nothing
 * piece      examples that go through the graph at once; 0: all of a batch */
struct update_plan {
    enum update_state state;
    bool reference;
    bool clips;
    bool separate;
    size_t piece;
};

/* Add a row in op_table.c for each. */
enum op_kind {
    OP_LINEAR,
    OP_CONV2D,
    OP_ACTIVATION,
    OP_MAX_POOL2D,
    OP_FLATTEN,
    OP_CROSS_ENTROPY,
    OP_BATCH_NORM2D,
    OP_ADD,
    OP_AVG_POOL2D,
    OP_DROPOUT,
    OP_CONCAT,
    OP_SLICE,
    OP_CHANNEL_SHUFFLE,
    OP_SCALE,
    OP_EMBEDDING,
    OP_LSTM,
    OP_GRU,
    OP_LAST,
    OP_N_KINDS
};

struct linear_params {
    size_t n_in;
    size_t n_out;
};

struct elementwise_params {
    size_t elements; /* of one example */
};

struct activation_params {
    size_t elements; /* of one example */
    enum activation kind;
};

/* momentum  share of a new batch in the running statistics */
struct batch_norm_params {
    size_t channels;
    size_t plane; /* elements of one channel of one example */
    double eps;
    double momentum;
};

/* Channels of each input. */
struct concat_params {
    size_t channels[NODE_MAX_INPUTS];
    size_t plane;
};

/* channels [first, first + n) of `channels` */
struct slice_params {
    size_t first;
    size_t n;
    size_t channels;
    size_t plane;
};

struct shuffle_params {
    size_t groups;
    size_t channels;
    size_t plane;
};

struct scale_params {
    size_t channels;
    size_t plane;
};

struct embedding_params {
    size_t steps;
    size_t n_symbols;
    size_t width;
};

/* steps of n_in values each; hidden values of state */
struct recurrent_params {
    size_t steps;
    size_t n_in;
    size_t hidden;
};

struct last_params {
    size_t steps;
    size_t width;
};

struct loss_params {
    size_t n_classes;
    double smoothing; /* of the labels, in training */
};

struct dropout_params {
    size_t elements; /* of one example */
    double rate;
};

union op_params {
    struct elementwise_params elementwise;
    struct activation_params activation;
    struct linear_params linear;
    struct conv2d_shape conv2d;
    struct pool2d_shape pool2d;
    struct batch_norm_params batch_norm;
    struct dropout_params dropout;
    struct loss_params loss;
    struct concat_params concat;
    struct slice_params slice;
    struct shuffle_params shuffle;
    struct scale_params scale;
    struct embedding_params embedding;
    struct recurrent_params recurrent;
    struct last_params last;
};

struct node {
    char name[GRAPH_MAX_NAME];
    enum op_kind kind;
    union op_params params;
    uint32_t n_in;
    int in[NODE_MAX_INPUTS];
    int out;
};

struct graph {
    const cygnet_allocator *alloc;
    struct tensor *tensors;
    struct node *nodes;
    size_t n_tensors, cap_tensors;
    size_t n_nodes, cap_nodes;
    int input, labels, logits, loss;
    struct update_plan update;
    cygnet_status status; /* of the first failure */
    cygnet_error error;
};

void graph_init(struct graph *graph, const cygnet_allocator *alloc);
void graph_clear(struct graph *graph);

/* The first failure of the building, if any. */
cygnet_status graph_finish(const struct graph *graph, cygnet_error *err);

/* For builders: remembers the failure. Always NO_TENSOR. */
int graph_fail(struct graph *graph, cygnet_status status, const char *format, ...)
    CYGNET_PRINTF(3, 4);

/* For builders of ops. */
int graph_tensor(struct graph *graph, enum tensor_kind kind, const char *name,
                 const struct shape *shape);

/* The shape of `in`, for builders of ops on images (channels, height, width) or on
 * sequences (steps, values); NULL: it is something else, which is remembered. */
const struct shape *graph_image(struct graph *graph, const char *name, int in);
const struct shape *graph_sequence(struct graph *graph, const char *name, int in);

/* The image or sequence as which a vector lies: flattened, and perhaps gone through
 * element by element since. NULL: it lies as a vector. */
const struct shape *graph_flattened(const struct graph *graph, int in);

/* The model's one input. */
int graph_input(struct graph *graph, const struct shape *shape);

/* A trainable tensor "owner.suffix", at first uniform on +-1/sqrt(fan_in), which is
 * PyTorch's default. */
int graph_parameter(struct graph *graph, const char *owner, const char *suffix,
                    const struct shape *shape, size_t fan_in);

/* A buffer "owner.suffix", TENSOR_BUFFER or TENSOR_COUNTER, at first `value`. */
int graph_buffer(struct graph *graph, enum tensor_kind kind, const char *owner,
                 const char *suffix, const struct shape *shape, double value);

/* How the tensor is stored: at first in rows of its last dimension, padded.
 * NO_TENSOR is accepted. */
void graph_set_layout(struct graph *graph, int tensor, const struct layout *layout);

/* Other first values for a parameter. NO_TENSOR is accepted. */
void graph_set_init(struct graph *graph, int tensor, enum init_kind kind, double value);

/* True for parameters and buffers: what a state_dict holds. */
bool tensor_is_state(const struct tensor *tensor);

/* Adds a node and infers its output's shape. Inputs of NO_TENSOR are refused
 * quietly: the failure that made them is already remembered. */
int graph_node(struct graph *graph, enum op_kind kind, const char *name,
               const union op_params *params, const int *in, uint32_t n_in);

/* The ops, each in its own file. Geometry that is not given (c_in, h_in, w_in,
 * h_out, w_out, channels) is filled in. Linear and conv2d make their parameters
 * name.weight and name.bias. */
int graph_linear(struct graph *graph, const char *name, int in, size_t n_out);
int graph_conv2d(struct graph *graph, const char *name, int in,
                 const struct conv2d_shape *settings);
/* Without a bias, for layers that a normalisation follows. */
int graph_conv2d_no_bias(struct graph *graph, const char *name, int in,
                         const struct conv2d_shape *settings);
/* ACT_NONE gives `in` itself. */
int graph_activate(struct graph *graph, const char *name, int in, enum activation kind);
int graph_relu(struct graph *graph, const char *name, int in);
int graph_relu6(struct graph *graph, const char *name, int in);
/* Two tensors of one shape. The sum may take `a`'s memory. */
int graph_add(struct graph *graph, const char *name, int a, int b);
/* In training, each value is 0 with probability `rate` and 1/(1 - rate) times
 * itself otherwise. The node's name names its random stream. */
int graph_dropout(struct graph *graph, const char *name, int in, double rate);
/* Means over h_out x w_out windows that cover the image, as PyTorch's adaptive
 * pooling; 1 x 1 is the global mean. */
int graph_avg_pool2d(struct graph *graph, const char *name, int in, size_t h_out,
                     size_t w_out);
/* Windows of at most 256 values. */
int graph_max_pool2d(struct graph *graph, const char *name, int in,
                     const struct pool2d_shape *settings);
/* The last window of an axis may begin inside the image and reach beyond it, as with
 * PyTorch's ceil_mode. */
int graph_max_pool2d_ceil(struct graph *graph, const char *name, int in,
                          const struct pool2d_shape *settings);
int graph_flatten(struct graph *graph, const char *name, int in);
/* Moves of channels of images: one after the other, [first, first + n), and output
 * j groups + g from input g (channels / groups) + j. */
int graph_concat(struct graph *graph, const char *name, const int *in, uint32_t n);
int graph_slice(struct graph *graph, const char *name, int in, size_t first, size_t n);
int graph_channel_shuffle(struct graph *graph, const char *name, int in, size_t groups);
/* Each channel of x (C, H, W) times its value of s (C, 1, 1). */
int graph_scale(struct graph *graph, const char *name, int x, int s);
/* Sequences. The input (T) is indices below n_symbols as reals; (T, width) are its
 * rows of name.weight. */
int graph_embedding(struct graph *graph, const char *name, int in, size_t n_symbols,
                    size_t width);
/* (T, D) to the states (T, hidden), from a state of 0. PyTorch's gates, and its
 * name.weight_ih_l0, .weight_hh_l0, .bias_ih_l0, .bias_hh_l0 with the layer's index. */
int graph_lstm(struct graph *graph, const char *name, int in, size_t hidden,
               unsigned layer_index);
int graph_gru(struct graph *graph, const char *name, int in, size_t hidden,
              unsigned layer_index);
/* (T, D) to the last step's (D). */
int graph_last(struct graph *graph, const char *name, int in);
/* Makes name.weight, .bias, .running_mean, .running_var, .num_batches_tracked. With
 * PyTorch's eps 1e-5 and momentum 0.1, or with others. */
int graph_batch_norm2d(struct graph *graph, const char *name, int in);
int graph_batch_norm2d_with(struct graph *graph, const char *name, int in, double eps,
                            double momentum);
/* Ends the model: mean cross-entropy of the logits against the labels. */
int graph_cross_entropy(struct graph *graph, int logits);

/* Examples of a unit: what sums over a batch are made of (lower_unit); 0 for graphs with
 * batch norms, for which a batch is more than its examples. */
size_t graph_unit(const struct graph *graph);

/* Examples that go through the graph at once, of a batch of so many. */
size_t graph_piece(const struct graph *graph, size_t batch);

/* Product of the dimensions. Shapes in a graph never exceed GRAPH_MAX_ELEMENTS. */
size_t shape_elements(const struct shape *shape);
bool shape_equal(const struct shape *a, const struct shape *b);

#endif
