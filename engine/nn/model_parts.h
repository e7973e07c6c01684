/* The inside of a model: for the files of engine/nn and its tests only. */
#ifndef ENGINE_NN_MODEL_PARTS_H
#define ENGINE_NN_MODEL_PARTS_H

#include "engine/nn/model.h"
#include "engine/nn/program.h"

struct cygnet_model {
    const cygnet_allocator *alloc;
    struct graph graph;
    struct program program;
    struct kernels kernels;
    struct nn_executor *executor;
    void (*release)(struct nn_executor *executor); /* NULL: borrowed */
    uint64_t executor_bytes;
    const cygnet_stop *stop;
    uint64_t seed;
    uint64_t n_steps;   /* since the weights were set */
    uint64_t n_moments; /* of those, steps of Adam */
    uint32_t max_batch;
    uint32_t piece; /* examples that the program runs at once */
    uint32_t n_classes;
    real *input;     /* x as real; NULL when real is float */
    real *gradients; /* of what is updated as it comes; NULL until somebody asks */
    bool is_torn;    /* a step broke off while it changed weights */
    uint64_t input_bytes;
};

/* Makes a model of a finished graph with 1-d logits. Consumes the graph's
 * memory, also on failure. Weights are drawn from the seed.
 * Errors: EINVAL (options of the training), ENOMEM (max_bytes, if not 0, or the
 * allocator). */
cygnet_status model_assemble(cygnet_model **out, struct graph *graph,
                             const struct kernels *kernels, struct nn_executor *executor,
                             const cygnet_model_options *options, cygnet_error *err);

/* True for parameters that a step updates. */
bool model_is_trained(const cygnet_model *model, size_t tensor);

/* The weights as they are become the reference, if one is planned. */
void model_take_reference(cygnet_model *model);

/* Parameters and buffers, and gradients of parameters, in PyTorch's order. */
void model_read_state(real *out, const cygnet_model *model, size_t tensor);
void model_write_state(cygnet_model *model, size_t tensor, const real *in);
void model_read_gradient(real *out, const cygnet_model *model, size_t tensor);

/* n examples' rows of an activation as it lies in memory, to PyTorch's order. */
void model_read_rows(real *out, const cygnet_model *model, size_t tensor,
                     const real *rows, size_t n);

/* Room for the gradients of parameters that are updated as they come: allocated by the
 * first call, kept until the model's end. False: out of memory. */
bool model_bind_gradients(cygnet_model *model);

/* Errors: EINVAL (the weights are those of a step that broke off). */
cygnet_status model_check_whole(const cygnet_model *model, cygnet_error *err);

/* The buffer of a tensor, in its own layout. Only what is trained has a gradient. */
real *model_value(const cygnet_model *model, size_t tensor);
real *model_grad(const cygnet_model *model, size_t tensor);
int64_t *model_counter(const cygnet_model *model, size_t tensor);

/* Forward and backward passes on a checked batch, leaving gradients in place
 * and weights alone. Errors: as cygnet_model_gradients. */
cygnet_status model_backward(cygnet_model *model, cygnet_metrics *metrics, const float *x,
                             const int64_t *y, uint32_t n, cygnet_error *err);

#endif
