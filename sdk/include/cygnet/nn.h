/* The training library on its own: build a model of the zoo, train it on arrays,
 * evaluate it, save it. No rounds, files, clocks or networks are involved.
 *
 * A model is used by one thread at a time; different models are independent.
 * Numbers are bitwise the same for any number of threads on one machine.
 *
 * Stability: the engine's tier. It may change in a minor release.
 */
#ifndef CYGNET_NN_H
#define CYGNET_NN_H

#include <cygnet/tensors.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cygnet_model cygnet_model;

#define CYGNET_INPUT_MAX_DIMS 4

/* What to build. Set by cygnet_model_options_init, then changed by the caller.
 *
 * architecture  zoo name: "logistic", "mlp", "lenet5", "mcmahan_cnn", with
 *               optional arguments "name:key=value,key=value" (docs/models.md)
 * n_classes     outputs of the last layer (default 10)
 * input         shape of one example, without the batch: C, H, W (images) or N
 *               (vectors); n_input_dims 0 means what the architecture was
 *               published with
 * max_batch     largest batch that train and evaluate will be given (default 32)
 * n_threads     threads to train with (default 1; at most 64); ignored by
 *               those who supply their own executor
 * seed          of the initial weights (default 0)
 * max_bytes     limit on the planned memory; 0 means no limit */
typedef struct cygnet_model_options {
    uint32_t struct_size;
    const char *architecture;
    uint32_t n_classes;
    uint32_t n_input_dims;
    uint32_t input[CYGNET_INPUT_MAX_DIMS];
    uint32_t max_batch;
    uint32_t n_threads;
    uint64_t seed;
    uint64_t max_bytes;
    const cygnet_allocator *allocator;
} cygnet_model_options;

/* One step of stochastic gradient descent with momentum, as torch.optim.SGD:
 *   g = dL/dw + weight_decay * w;  v = momentum * v + g;  w = w - lr * v
 * where the very first v is g. */
typedef struct cygnet_sgd {
    uint32_t struct_size;
    float lr;
    float momentum;
    float weight_decay;
} cygnet_sgd;

/* What a step or an evaluation saw. Filled on success, else left alone.
 *
 * struct_size  set by the caller to sizeof(cygnet_metrics) before the call
 * loss         mean cross-entropy over the examples, in nats
 * correct      examples whose largest output is their label (ties: the first)
 * n            examples */
typedef struct cygnet_metrics {
    uint32_t struct_size;
    double loss;
    uint64_t correct;
    uint64_t n;
} cygnet_metrics;

/* Set struct_size and every default. */
CYGNET_API void cygnet_model_options_init(cygnet_model_options *options);
CYGNET_API void cygnet_sgd_init(cygnet_sgd *sgd);

/* Builds the model, plans its memory and draws PyTorch's initial distribution
 * from `seed`. Afterwards a step allocates nothing and cannot run out of memory.
 * out  receives the model; destroy with cygnet_model_destroy
 * Errors: EINVAL (unknown option value), ENOTFOUND (unknown architecture; the
 * message lists the known ones), ESHAPE (the input is too small for it), ENOMEM
 * (max_bytes or the allocator; the message says how much is needed). */
CYGNET_API cygnet_status cygnet_model_create(cygnet_model **out,
                                             const cygnet_model_options *options,
                                             cygnet_error *err);
/* Accepts NULL. */
CYGNET_API void cygnet_model_destroy(cygnet_model *model);

/* Shape of one example; returns the number of dimensions written (at most
 * CYGNET_INPUT_MAX_DIMS). */
CYGNET_API uint32_t cygnet_model_input_shape(const cygnet_model *model,
                                             uint32_t shape[CYGNET_INPUT_MAX_DIMS]);
CYGNET_API uint32_t cygnet_model_n_classes(const cygnet_model *model);

/* Peak bytes the model needs, known before the first step. */
CYGNET_API uint64_t cygnet_model_planned_bytes(const cygnet_model *model);

/* Trainable parameters, in elements. */
CYGNET_API uint64_t cygnet_model_n_parameters(const cygnet_model *model);

/* Copies the weights out, under PyTorch's state_dict names and in its order. They
 * include the buffers of normalisation layers: running statistics, and
 * num_batches_tracked, an I64 scalar.
 * Errors: ENOMEM. */
CYGNET_API cygnet_status cygnet_model_get_weights(cygnet_tensors **out,
                                                  const cygnet_model *model,
                                                  cygnet_error *err);

/* Replaces all weights and resets the optimiser's state. Order is free, the set
 * of names, each type and each shape must match; values must be finite, variances
 * and counts not negative.
 * Errors: ENOTFOUND (missing tensor), EINVAL (unknown tensor), ESHAPE, ENUMERIC;
 * the message names the tensor, what was expected and what was found. On
 * failure the model keeps the weights it had. */
CYGNET_API cygnet_status cygnet_model_set_weights(cygnet_model *model,
                                                  const cygnet_tensors *weights,
                                                  cygnet_error *err);

/* One optimiser step on a batch.
 * metrics  loss and accuracy on the batch before the step; may be NULL
 * x        (n, input...) float32, row-major NCHW for images
 * y        (n) class indices, 0 <= y < n_classes
 * n        1 <= n <= max_batch
 * Errors: EINVAL (n, sgd, struct_size), EDATA (label out of range: which row and value),
 * ENUMERIC (NaN or infinity in x, the loss or a gradient: which example, layer or
 * tensor). Layers that normalise by the batch refuse one with a single value a
 * channel (EINVAL). After any error the weights are as before the step. */
CYGNET_API cygnet_status cygnet_model_train_step(cygnet_model *model,
                                                 cygnet_metrics *metrics, const float *x,
                                                 const int64_t *y, uint32_t n,
                                                 const cygnet_sgd *sgd,
                                                 cygnet_error *err);

/* Loss and accuracy on any number of examples, in batches of max_batch; the
 * weights do not change. Same arguments and errors as train_step. */
CYGNET_API cygnet_status cygnet_model_evaluate(cygnet_model *model,
                                               cygnet_metrics *metrics, const float *x,
                                               const int64_t *y, uint64_t n,
                                               cygnet_error *err);

/* The outputs of the last layer before the softmax.
 * logits  (n, n_classes) written
 * n       1 <= n <= max_batch */
CYGNET_API cygnet_status cygnet_model_logits(cygnet_model *model, float *logits,
                                             const float *x, uint32_t n,
                                             cygnet_error *err);

/* The gradient of the mean loss on one batch for every trainable tensor, under
 * the names of the weights; the weights do not change. */
CYGNET_API cygnet_status cygnet_model_gradients(cygnet_tensors **out,
                                                cygnet_metrics *metrics,
                                                cygnet_model *model, const float *x,
                                                const int64_t *y, uint32_t n,
                                                cygnet_error *err);

/* Zoo names, for capability lists and help texts; NULL past the end. */
CYGNET_API const char *cygnet_architecture_name(uint32_t index);

#ifdef __cplusplus
}
#endif
#endif
