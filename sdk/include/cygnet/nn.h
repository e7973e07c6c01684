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

/* Formulas: docs/numerics.md. What each remembers of every trained number, and so has
 * to be planned before the first step: SGD one, Adam and AdamW two. PLAIN_SGD is SGD
 * without a momentum and remembers nothing. */
typedef enum cygnet_optimizer_kind {
    CYGNET_OPTIMIZER_SGD = 0,
    CYGNET_OPTIMIZER_PLAIN_SGD = 1,
    CYGNET_OPTIMIZER_ADAM = 2,
    CYGNET_OPTIMIZER_ADAMW = 3
} cygnet_optimizer_kind;

/* Learning rates of some parameters: those named `prefix`, or `prefix` and a dot and
 * more, are trained with `factor` (0 or more) times the step's. The longest prefix
 * that fits a name decides. */
typedef struct cygnet_lr_multiplier {
    const char *prefix;
    double factor;
} cygnet_lr_multiplier;

/* What to build. Set by cygnet_model_options_init, then changed by the caller.
 *
 * architecture  zoo name: "lenet5", "resnet18", "mobilenet_v2", ..., with
 *               optional arguments "name:key=value,key=value" (docs/models.md)
 * n_classes     outputs of the last layer (default 10)
 * input         shape of one example, without the batch: C, H, W (images) or N
 *               (vectors); n_input_dims 0 means what the architecture was
 *               published with
 * max_batch     largest batch that train and evaluate will be given (default 32)
 * n_threads     most threads to train with (default 1; at most 64), see
 *               cygnet_model_set_threads; ignored by those who supply their own
 *               executor
 * seed          of the initial weights (default 0)
 * max_bytes     limit on what cygnet_model_planned_bytes will say; 0 means no limit. A
 *               model that needs more does not keep all activations for the backward
 *               pass, but makes some of them again there: only as many as it takes.
 *               Steps take longer then; results are the same, bit by bit
 * frozen        parameters not to train, "prefix,prefix", each as in
 *               cygnet_lr_multiplier: no update, no memory of the optimiser, and
 *               no gradient unless a layer makes it together with another (running
 *               statistics of batch norms go on); NULL: none
 * lr_multipliers    n_lr_multipliers of them, read by cygnet_model_create only
 * label_smoothing   0 to 1, in training, as torch.nn.CrossEntropyLoss (default 0)
 * optimizer         what steps will be taken with: plans for its memory (default
 *                   SGD)
 * clip_gradients    1: steps may set max_grad_norm
 * proximal          1: steps may set prox_mu; plans for a copy of the weights
 * separate_update   0: weights are updated as soon as their gradient is there, which
 *                   saves a copy of their size. 1: all gradients first, so that a
 *                   step that fails or is stopped changes nothing; clip_gradients
 *                   has the same effect
 * micro_batch       0: a batch goes through the model at once. Else in pieces of so many
 *                   examples, one after the other, whose gradients add up before the
 *                   one update: memory is planned for a piece, and for all gradients
 *                   as with separate_update. Same bits as without, in models without
 *                   batch norms; it must be a multiple of 8 there. Batch norms see
 *                   pieces, not the batch (docs/models.md) */
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
    const char *frozen;
    const cygnet_lr_multiplier *lr_multipliers;
    uint32_t n_lr_multipliers;
    cygnet_optimizer_kind optimizer;
    double label_smoothing;
    int32_t clip_gradients;
    int32_t proximal;
    int32_t separate_update;
    uint32_t micro_batch;
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

/* One step of an optimiser, as torch.optim's of that name.
 *
 * kind           what the model was planned for, or SGD without momentum
 * lr             0 or more (default: SGD 0.01, Adam and AdamW 0.001)
 * momentum       SGD (default 0)
 * weight_decay   added to the gradient as weight_decay w; AdamW: w shrinks by
 *                lr weight_decay w instead (default 0; AdamW 0.01)
 * beta1, beta2   Adam and AdamW (default 0.9 and 0.999), 0 to less than 1
 * eps            Adam and AdamW (default 1e-8), more than 0
 * max_grad_norm  gradients are scaled down to this norm of all of them together, as
 *                torch.nn.utils.clip_grad_norm_; 0 (default): not
 * prox_mu        adds prox_mu/2 ||w - r||^2 to what is minimised, but not to the
 *                reported loss (FedProx); r are the weights at the last
 *                cygnet_model_set_weights or _set_reference (default 0)
 * nesterov       1: SGD's momentum is Nesterov's
 * decay_norms_and_biases  0: no weight decay for tensors of one dimension, which
 *                are biases and the weights of norms (default 1) */
typedef struct cygnet_optimizer {
    uint32_t struct_size;
    cygnet_optimizer_kind kind;
    double lr;
    double momentum;
    double weight_decay;
    double beta1;
    double beta2;
    double eps;
    double max_grad_norm;
    double prox_mu;
    int32_t nesterov;
    int32_t decay_norms_and_biases;
} cygnet_optimizer;

typedef enum cygnet_schedule_kind {
    CYGNET_SCHEDULE_CONSTANT = 0,
    CYGNET_SCHEDULE_COSINE = 1,
    CYGNET_SCHEDULE_STEP = 2
} cygnet_schedule_kind;

/* Learning rates over the steps s = 0, 1, ... of a training. With W = warmup_steps,
 * step s < W has lr (s + 1) / (W + 1). After that, t = s - W:
 *   CONSTANT  lr
 *   COSINE    min_lr + (lr - min_lr) (1 + cos(pi t / (total_steps - W))) / 2, and
 *             min_lr from step total_steps on
 *   STEP      lr gamma^floor(t / step_size)
 * Defaults: CONSTANT, lr 0.01, step_size 1, gamma 0.1, the rest 0. */
typedef struct cygnet_schedule {
    uint32_t struct_size;
    cygnet_schedule_kind kind;
    double lr;
    double min_lr;
    double gamma;
    uint64_t warmup_steps;
    uint64_t total_steps;
    uint64_t step_size;
} cygnet_schedule;

/* What a step or an evaluation saw. Filled on success, else left alone.
 *
 * struct_size  set by the caller to sizeof(cygnet_metrics) before the call
 * loss         mean cross-entropy over the examples, in nats; of smoothed labels in
 *              a step of a model that smooths them
 * correct      examples whose largest output is their label (ties: the first)
 * n            examples
 * grad_norm    norm of all gradients before they were clipped; 0 unless the step
 *              had a max_grad_norm */
typedef struct cygnet_metrics {
    uint32_t struct_size;
    double loss;
    uint64_t correct;
    uint64_t n;
    double grad_norm;
} cygnet_metrics;

/* Set struct_size and every default. */
CYGNET_API void cygnet_model_options_init(cygnet_model_options *options);
CYGNET_API void cygnet_sgd_init(cygnet_sgd *sgd);
CYGNET_API void cygnet_optimizer_init(cygnet_optimizer *optimizer,
                                      cygnet_optimizer_kind kind);
CYGNET_API void cygnet_schedule_init(cygnet_schedule *schedule);

/* The learning rate of a step. A pure function: nothing is remembered. NaN, which
 * cygnet_model_step refuses, for settings that are no schedule: an unknown kind,
 * struct_size 0, a negative number, a step_size of 0. */
CYGNET_API double cygnet_schedule_lr(const cygnet_schedule *schedule, uint64_t step);

/* Builds the model, plans its memory and draws PyTorch's initial distribution
 * from `seed`. Afterwards a step allocates nothing and cannot run out of memory.
 * out  receives the model; destroy with cygnet_model_destroy
 * Errors: EINVAL (unknown option value; a prefix that no parameter has), ENOTFOUND
 * (unknown architecture; the message lists the known ones), ESHAPE (the input is too
 * small for it), ENOMEM (the allocator; or max_bytes, and the message says how much is
 * needed at least and by how much the limit misses it). */
CYGNET_API cygnet_status cygnet_model_create(cygnet_model **out,
                                             const cygnet_model_options *options,
                                             cygnet_error *err);
/* Accepts NULL. */
CYGNET_API void cygnet_model_destroy(cygnet_model *model);

/* From the next step or evaluation on n_threads threads work, the calling one
 * included; the model's other threads sleep. For a host that wants cores back in the
 * middle of training, or can give more. Takes microseconds, allocates nothing and
 * changes no bit of any result. As every call on a model: not during another one.
 * n_threads  1 to the n_threads that the model was created with, which is the most
 *            that its memory is planned for
 * Errors: EINVAL (n_threads), EUNSUPPORTED (the model does not own its threads). */
CYGNET_API cygnet_status cygnet_model_set_threads(cygnet_model *model, uint32_t n_threads,
                                                  cygnet_error *err);

/* Ties thread i of the model to the one CPU cpus[i mod n_cpus], for every thread that
 * it was created with, working or not. Thread 0 is the one that calls this: make it
 * the one that trains. No bit of any result changes. Where two models share a
 * calling thread, untie them in the reverse order.
 *
 * cpus    (n_cpus) numbers of the system, from 0 and below 1024, each at most once;
 *         copied; may be NULL if n_cpus is 0
 * n_cpus  0 unties: every thread may run again where it might before. So does
 *         cygnet_model_destroy for the thread that calls it
 *
 * Errors: EINVAL (a number out of range or listed twice), ENOTFOUND (no such CPU, or
 * one that the process may not use), EUNSUPPORTED (the system has no such call or
 * forbids it, or the model does not own its threads); errno in detail. After an error
 * every thread is where it was. */
CYGNET_API cygnet_status cygnet_model_pin(cygnet_model *model, const uint32_t *cpus,
                                          size_t n_cpus, cygnet_error *err);

/* Shape of one example; returns the number of dimensions written (at most
 * CYGNET_INPUT_MAX_DIMS). */
CYGNET_API uint32_t cygnet_model_input_shape(const cygnet_model *model,
                                             uint32_t shape[CYGNET_INPUT_MAX_DIMS]);
CYGNET_API uint32_t cygnet_model_n_classes(const cygnet_model *model);

/* Peak bytes the model needs, those of its threads' bookkeeping included (their stacks
 * are the system's); known before the first step. */
CYGNET_API uint64_t cygnet_model_planned_bytes(const cygnet_model *model);

/* Trainable parameters, in elements; those frozen do not count. */
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

/* Pulls of steps with a prox_mu go to the present weights from now on.
 * Errors: EINVAL (the model was not planned with `proximal`). */
CYGNET_API cygnet_status cygnet_model_set_reference(cygnet_model *model,
                                                    cygnet_error *err);

/* One optimiser step on a batch.
 * metrics  loss and accuracy on the batch before the step; may be NULL
 * x        (n, input...) float32, row-major NCHW for images
 * y        (n) class indices, 0 <= y < n_classes
 * n        1 <= n <= max_batch
 * Errors: EINVAL (n; the optimiser's settings, or one that the model was not planned
 * for; struct_size; a last piece of the batch with too few examples for a batch norm),
 * EDATA (label out of range: which row and value),
 * ENUMERIC (NaN or infinity in x, the loss or a gradient: which example, layer or
 * tensor). Layers that normalise by the batch refuse one with a single value a
 * channel (EINVAL). After an error that was found in the batch or in the loss, the
 * weights are as before the step. A step that breaks off later (ENUMERIC for a
 * gradient, ECANCELLED) leaves a model without separate_update with weights of no
 * use: until they are set again, every call that needs them fails with EINVAL. */
CYGNET_API cygnet_status cygnet_model_step(cygnet_model *model, cygnet_metrics *metrics,
                                           const float *x, const int64_t *y, uint32_t n,
                                           const cygnet_optimizer *optimizer,
                                           cygnet_error *err);

/* The same with SGD, of models planned for it. */
CYGNET_API cygnet_status cygnet_model_train_step(cygnet_model *model,
                                                 cygnet_metrics *metrics, const float *x,
                                                 const int64_t *y, uint32_t n,
                                                 const cygnet_sgd *sgd,
                                                 cygnet_error *err);

/* Loss and accuracy on any number of examples, in batches of max_batch; the
 * weights do not change. Same arguments and errors as cygnet_model_step. */
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
