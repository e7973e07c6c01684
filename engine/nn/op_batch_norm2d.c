/* Batch normalisation of images, as PyTorch's BatchNorm2d: statistics of the batch
 * while training, running ones in evaluation. The running ones change in the update
 * list only, with the weights. */
#include "base/error.h"
#include "engine/nn/op.h"

#include <assert.h>
#include <math.h>

enum { X, W, B, MEAN, VARIANCE, COUNT };

int graph_batch_norm2d(struct graph *graph, const char *name, int in)
{
    return graph_batch_norm2d_with(graph, name, in, 1e-5, 0.1);
}

int graph_batch_norm2d_with(struct graph *graph, const char *name, int in, double eps,
                            double momentum)
{
    union op_params params = {0};
    int inputs[6] = {in};
    struct shape channels = {1, {0}};
    const struct shape *x;

    assert(eps > 0 && momentum >= 0 && momentum <= 1);
    if (in == NO_TENSOR)
        return NO_TENSOR;
    x = &graph->tensors[in].shape;
    if (x->n_dims != 3)
        return graph_fail(graph, CYGNET_ESHAPE,
                          "%s: wants an image (channels, height, width), the input has "
                          "%u dimensions",
                          name, x->n_dims);
    channels.dim[0] = x->dim[0];
    params.batch_norm =
        (struct batch_norm_params){x->dim[0], x->dim[1] * x->dim[2], eps, momentum};
    inputs[W] = graph_parameter(graph, name, "weight", &channels, 1);
    graph_set_init(graph, inputs[W], INIT_CONSTANT, 1);
    inputs[B] = graph_parameter(graph, name, "bias", &channels, 1);
    graph_set_init(graph, inputs[B], INIT_CONSTANT, 0);
    inputs[MEAN] = graph_buffer(graph, TENSOR_BUFFER, name, "running_mean", &channels, 0);
    inputs[VARIANCE] =
        graph_buffer(graph, TENSOR_BUFFER, name, "running_var", &channels, 1);
    inputs[COUNT] = graph_buffer(graph, TENSOR_COUNTER, name, "num_batches_tracked",
                                 &(struct shape){0}, 0);
    return graph_node(graph, OP_BATCH_NORM2D, name, &params, inputs, 6);
}

static cygnet_status infer(struct shape *out, const struct graph *graph,
                           const struct node *node, cygnet_error *err)
{
    (void)err;
    *out = *node_input_shape(graph, node, X);
    return CYGNET_OK;
}

/* A channel of a single value has no variance. */
static size_t min_batch(const struct node *node)
{
    return node->params.batch_norm.plane > 1 ? 1 : 2;
}

/* The three saved vectors: mean, 1/deviation, and variance as forward took them. */
struct moments {
    double *mean;
    double *inv_std;
    double *variance;
};

static struct moments moments_of(const struct call *call, const struct step *step,
                                 int slot)
{
    double *first = step_buffer(step, call, slot);
    size_t channels = call->node->params.batch_norm.channels;

    return (struct moments){first, first + channels, first + 2 * channels};
}

static struct channel_block channels_of(const struct call *call, const struct step *step,
                                        size_t n_channels)
{
    const struct batch_norm_params *p = &call->node->params.batch_norm;

    return (struct channel_block){step->n, n_channels, p->plane, p->channels * p->plane};
}

/* Columns are channels; each goes over all examples. */
static void run_forward(const struct call *call, const struct step *step, size_t block,
                        size_t worker)
{
    struct span c = call_columns(call, block);
    struct channel_block k = channels_of(call, step, c.n);
    size_t at = c.first * k.plane;
    struct moments m = moments_of(call, step, 1);
    real *y = step_buffer(step, call, 0);
    const real *x = step_buffer(step, call, 2);
    const real *w = step_buffer(step, call, 3);
    const real *b = step_buffer(step, call, 4);
    const real *running_mean = step_buffer(step, call, 5);
    const real *running_variance = step_buffer(step, call, 6);

    (void)worker;
    if (step->mode != STEP_EVALUATE)
        step->kernels->channel_moments(m.mean + c.first, m.variance + c.first, x + at,
                                       &k);
    for (size_t i = c.first; i < c.first + c.n; i++) {
        if (step->mode == STEP_EVALUATE) {
            m.mean[i] = (double)running_mean[i];
            m.variance[i] = (double)running_variance[i];
        }
        m.inv_std[i] = 1 / sqrt(m.variance[i] + call->node->params.batch_norm.eps);
    }
    step->kernels->batch_norm_forward(y + at, x + at, m.mean + c.first,
                                      m.inv_std + c.first, w + c.first, b + c.first, &k);
}

static void run_backward(const struct call *call, const struct step *step, size_t block,
                         size_t worker)
{
    struct span c = call_columns(call, block);
    struct channel_block k = channels_of(call, step, c.n);
    size_t at = c.first * k.plane;
    struct moments m = moments_of(call, step, 4);
    real *dx = call->buffer[0] >= 0 ? (real *)step_buffer(step, call, 0) + at : NULL;
    real *dw = step_buffer(step, call, 1);
    real *db = step_buffer(step, call, 2);
    const real *dy = step_buffer(step, call, 3);
    const real *x = step_buffer(step, call, 5);
    const real *w = step_buffer(step, call, 6);

    (void)worker;
    step->kernels->batch_norm_backward(dx, dw + c.first, db + c.first, dy + at, x + at,
                                       m.mean + c.first, m.inv_std + c.first, w + c.first,
                                       &k);
}

/* (1 - momentum) old + momentum new, kept within the range of the type. */
static real mix(real old, double new, double momentum)
{
    double mixed = (1 - momentum) * (double)old + momentum * new;

    return (real)fmin(fmax(mixed, -(double)REAL_MAX), (double)REAL_MAX);
}

/* Running statistics of the step's batch, the variance unbiased. */
static void run_update(const struct call *call, const struct step *step, size_t block,
                       size_t worker)
{
    const struct batch_norm_params *p = &call->node->params.batch_norm;
    double values = (double)step->n * (double)p->plane;
    struct moments m = moments_of(call, step, 3);
    real *mean = step_buffer(step, call, 0);
    real *variance = step_buffer(step, call, 1);
    int64_t *count = step_buffer(step, call, 2);

    (void)block;
    (void)worker;
    for (size_t c = 0; c < p->channels; c++) {
        mean[c] = mix(mean[c], m.mean[c], p->momentum);
        variance[c] =
            mix(variance[c], m.variance[c] * (values / (values - 1)), p->momentum);
    }
    if (*count < INT64_MAX)
        ++*count;
}

static struct partition channel_columns(const struct node *node)
{
    size_t channels = node->params.batch_norm.channels;

    return (struct partition){.n_columns = channels,
                              .columns_per_block = lower_columns_for(channels)};
}

static int saved(struct lowering *l, const struct node *node)
{
    return lower_saved(l, node, 3 * node->params.batch_norm.channels * sizeof(double));
}

static void forward(struct lowering *l, const struct node *node)
{
    struct partition columns = channel_columns(node);
    const int buffers[] = {lower_value(l, node->out),
                           saved(l, node),
                           lower_value(l, node->in[X]),
                           lower_value(l, node->in[W]),
                           lower_value(l, node->in[B]),
                           lower_value(l, node->in[MEAN]),
                           lower_value(l, node->in[VARIANCE])};

    lower_call(l, run_forward, node, &columns, buffers, 7);
}

static void backward(struct lowering *l, const struct node *node)
{
    struct partition columns = channel_columns(node);
    const int buffers[] = {lower_input_grad(l, node, X),
                           lower_input_grad(l, node, W),
                           lower_input_grad(l, node, B),
                           lower_output_grad(l, node),
                           saved(l, node),
                           lower_value(l, node->in[X]),
                           lower_value(l, node->in[W])};

    lower_call(l, run_backward, node, &columns, buffers, 7);
}

static void update(struct lowering *l, const struct node *node)
{
    struct partition whole = {0};

    lower_call(l, run_update, node, &whole,
               (const int[]){lower_value(l, node->in[MEAN]),
                             lower_value(l, node->in[VARIANCE]),
                             lower_value(l, node->in[COUNT]), saved(l, node)},
               4);
}

static void cost(struct op_cost *out, const struct graph *graph, const struct node *node)
{
    double n = (double)shape_elements(node_input_shape(graph, node, X));
    double channels = (double)node->params.batch_norm.channels;

    out->forward_flops = 7 * n;  /* mean 1, variance 3, normalise 3 */
    out->backward_flops = 9 * n; /* sums 4, gradient 5 */
    out->forward_bytes = 2 * n * sizeof(real);
    out->backward_bytes = 3 * n * sizeof(real);
    out->weight_bytes = 2 * channels * sizeof(real);
}

const struct op op_batch_norm2d = {
    .name = "batch_norm2d",
    .grad_in_place = true,
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .update = update,
    .min_batch = min_batch,
    .cost = cost,
};
