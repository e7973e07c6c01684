/* Batch normalisation of images, as PyTorch's BatchNorm2d: statistics of the batch
 * while training, running ones in evaluation. The running ones change in the update
 * list only, with the weights. */
#include "base/error.h"
#include "engine/nn/op.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum { X, W, B, MEAN, VARIANCE, COUNT };

enum { ROWS_PER_SLOT = 512 };

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

/* plan of all calls of a layer. */
struct norm_plan {
    const struct batch_norm_params *params;
    struct operand z;
    int norm;
    struct row_sums moments, sums;
    struct parameter_share weight, bias;
};

enum { NORM, SLOTS, WEIGHT, BIAS, R_MEAN, R_VARIANCE, N_BUFFERS };

/* Rows of slot s. */
static double rows_of_slot(const struct row_sums *sums, size_t s, size_t n_rows)
{
    size_t first = s * sums->rows_per_slot, left = n_rows - first;

    return (double)(left < sums->rows_per_slot ? left : sums->rows_per_slot);
}

/* Mean and variance of a panel of channels from the slots, which have means and sums
 * of squares around them. Source: Chan, Golub and LeVeque, "Updating formulae and a
 * pairwise algorithm for computing sample variances", 1979. */
static void merge_slots(double mean[PANEL], double variance[PANEL],
                        const struct norm_plan *p, const double *slots, size_t n_rows)
{
    size_t n_slots = lower_slots(&p->moments, n_rows), channels = p->z.channels;
    double sum[PANEL] = {0}, m2[PANEL] = {0};

    for (size_t s = 0; s < n_slots; s++) {
        double n = rows_of_slot(&p->moments, s, n_rows);

        for (size_t i = 0; i < PANEL; i++)
            sum[i] += n * slots[s * 2 * channels + i];
    }
    for (size_t i = 0; i < PANEL; i++)
        mean[i] = sum[i] / (double)n_rows;
    for (size_t s = 0; s < n_slots; s++) {
        double n = rows_of_slot(&p->moments, s, n_rows);
        const double *of_slot = slots + s * 2 * channels;

        for (size_t i = 0; i < PANEL; i++) {
            double off = of_slot[i] - mean[i];

            m2[i] += of_slot[channels + i] + n * off * off;
        }
    }
    for (size_t i = 0; i < PANEL; i++)
        variance[i] = m2[i] / (double)n_rows;
}

/* Scale and shift of a panel. What is computed lies on the stack, where it is nothing
 * else's: so that loops vectorise. */
static void read_with(const struct norm_vectors *v, size_t c, const real w[PANEL],
                      const real b[PANEL], double eps)
{
    real scale[PANEL], shift[PANEL], mean[PANEL];

    for (size_t i = 0; i < PANEL; i++) {
        double factor = (double)w[i] / sqrt(v->exact_variance[c + i] + eps);

        scale[i] = (real)factor;
        shift[i] = (real)((double)b[i] - v->exact_mean[c + i] * factor);
        mean[i] = (real)v->exact_mean[c + i];
    }
    memcpy(v->scale + c, scale, sizeof(scale));
    memcpy(v->shift + c, shift, sizeof(shift));
    memcpy(v->mean + c, mean, sizeof(mean));
}

/* Columns are channels. */
static void run_forward(const struct call *call, const struct step *step, size_t block,
                        size_t worker)
{
    const struct norm_plan *p = call->plan;
    struct span columns = call_columns(call, block);
    struct norm_vectors v = norm_of(step, p->norm, p->z.channels);
    const real *w = step_buffer(step, call, WEIGHT), *b = step_buffer(step, call, BIAS);
    const real *running_mean = step_buffer(step, call, R_MEAN);
    const real *running_variance = step_buffer(step, call, R_VARIANCE);
    const double *slots = step_buffer(step, call, SLOTS);
    size_t end = columns.first + columns.n;

    (void)worker;
    for (size_t c = columns.first; c < end && step->mode != STEP_EVALUATE; c += PANEL)
        merge_slots(v.exact_mean + c, v.exact_variance + c, p, slots + c,
                    step->n * p->z.rows);
    for (size_t c = columns.first; c < end && step->mode == STEP_EVALUATE; c++) {
        v.exact_mean[c] = (double)running_mean[c];
        v.exact_variance[c] = (double)running_variance[c];
    }
    for (size_t c = columns.first; c < end; c += PANEL)
        read_with(&v, c, w + c, b + c, p->params->eps);
}

/* Of a panel: the sums of the gradient, and of its products with z - mean. */
struct panel_sums {
    double g[PANEL], g_z[PANEL];
    double n_rows;
};

static void add_slots(struct panel_sums *to, const double *slots, size_t n_slots,
                      size_t channels)
{
    memset(to->g, 0, sizeof(to->g));
    memset(to->g_z, 0, sizeof(to->g_z));
    for (size_t s = 0; s < n_slots; s++, slots += 2 * channels) {
        for (size_t i = 0; i < PANEL; i++) {
            to->g[i] += slots[i];
            to->g_z[i] += slots[channels + i];
        }
    }
}

/* The gradients of a panel of weights and biases. */
struct panel_gradients {
    real w[PANEL], b[PANEL];
};

/* What the gradient of a panel goes back through, and what it leaves there. */
static struct panel_gradients go_back_with(const struct norm_vectors *v, size_t c,
                                           const struct panel_sums *sums,
                                           const real w[PANEL], double eps)
{
    real factor[PANEL], mean_g[PANEL], slope[PANEL];
    double per_row = 1 / sums->n_rows;
    struct panel_gradients of;

    for (size_t i = 0; i < PANEL; i++) {
        double inv_std = 1 / sqrt(v->exact_variance[c + i] + eps);
        double of_weight = inv_std * sums->g_z[i];

        factor[i] = (real)((double)w[i] * inv_std);
        mean_g[i] = (real)(sums->g[i] * per_row);
        slope[i] = (real)(inv_std * of_weight * per_row);
        of.b[i] = (real)sums->g[i];
        of.w[i] = (real)of_weight;
    }
    memcpy(v->factor + c, factor, sizeof(factor));
    memcpy(v->mean_g + c, mean_g, sizeof(mean_g));
    memcpy(v->slope + c, slope, sizeof(slope));
    return of;
}

/* Columns are channels. */
static void run_backward(const struct call *call, const struct step *step, size_t block,
                         size_t worker)
{
    const struct norm_plan *p = call->plan;
    struct span columns = call_columns(call, block);
    size_t channels = p->z.channels, n_rows = step->n * p->z.rows;
    size_t n_slots = lower_slots(&p->sums, n_rows);
    struct norm_vectors v = norm_of(step, p->norm, channels);
    const double *slots = step_buffer(step, call, SLOTS);
    const real *w = step_buffer(step, call, WEIGHT);
    real *dw = step_scratch(step, worker), *db = dw + columns.n;

    for (size_t c = columns.first, at = 0; at < columns.n; c += PANEL, at += PANEL) {
        struct panel_sums sums = {.n_rows = (double)n_rows};
        struct panel_gradients of;

        add_slots(&sums, slots + c, n_slots, channels);
        of = go_back_with(&v, c, &sums, w + c, p->params->eps);
        memcpy(dw + at, of.w, sizeof(of.w));
        memcpy(db + at, of.b, sizeof(of.b));
    }
    step_give_gradient(step, p->weight.tensor, columns.first, dw, columns.n,
                       p->weight.add || step->first > 0);
    step_give_gradient(step, p->bias.tensor, columns.first, db, columns.n,
                       p->bias.add || step->first > 0);
}

/* (1 - momentum) old + momentum new, kept within the range of the type. */
static real mix(real old, double new, double momentum)
{
    double mixed = (1 - momentum) * (double)old + momentum * new;

    mixed = mixed > -(double)REAL_MAX ? mixed : -(double)REAL_MAX;
    return (real)(mixed < (double)REAL_MAX ? mixed : (double)REAL_MAX);
}

static void mix_panel(real *out, const real *old, const double *new, double momentum,
                      double factor)
{
    real mixed[PANEL];

    for (size_t i = 0; i < PANEL; i++)
        mixed[i] = mix(old[i], new[i] * factor, momentum);
    memcpy(out, mixed, sizeof(mixed));
}

enum { U_MEAN = 1, U_VARIANCE, U_COUNT, PENDING_MEAN, PENDING_VARIANCE, N_UPDATE };

/* Running statistics after this piece of the batch, the variance unbiased; those of
 * earlier pieces are pending. */
static void mix_in(const struct call *call, const struct step *step, real *mean,
                   real *variance)
{
    const struct norm_plan *p = call->plan;
    double values = (double)step->n * (double)p->z.rows, momentum = p->params->momentum;
    struct norm_vectors v = norm_of(step, p->norm, p->z.channels);
    bool goes_on = step->first > 0;
    const real *old_mean = step_buffer(step, call, goes_on ? PENDING_MEAN : U_MEAN);
    const real *old_variance =
        step_buffer(step, call, goes_on ? PENDING_VARIANCE : U_VARIANCE);

    for (size_t c = 0; c < p->z.channels; c += PANEL) {
        mix_panel(mean + c, old_mean + c, v.exact_mean + c, momentum, 1);
        mix_panel(variance + c, old_variance + c, v.exact_variance + c, momentum,
                  values / (values - 1));
    }
}

static void run_between(const struct call *call, const struct step *step, size_t block,
                        size_t worker)
{
    (void)block;
    (void)worker;
    mix_in(call, step, step_buffer(step, call, PENDING_MEAN),
           step_buffer(step, call, PENDING_VARIANCE));
}

static void run_update(const struct call *call, const struct step *step, size_t block,
                       size_t worker)
{
    int64_t *count = step_buffer(step, call, U_COUNT);
    int64_t pieces = (int64_t)step->piece + 1;

    (void)block;
    (void)worker;
    mix_in(call, step, step_buffer(step, call, U_MEAN),
           step_buffer(step, call, U_VARIANCE));
    *count = *count < INT64_MAX - pieces ? *count + pieces : INT64_MAX;
}

/* Moments of a value whose producer took none. */
static void run_moments(const struct call *call, const struct step *step, size_t block,
                        size_t worker)
{
    const struct norm_plan *p = call->plan;
    size_t channels = p->z.channels;
    struct span rows = call_rows(call, step, block);
    struct rows k = {rows.n, channels, channels};
    double *slot = (double *)step_buffer(step, call, 0) + block * 2 * channels;

    (void)worker;
    step->kernels->moments(slot, slot + channels,
                           (const real *)step_buffer(step, call, 1) +
                               rows.first * channels,
                           &k);
}

static void add_moments(struct lowering *l, struct norm_plan *p)
{
    struct partition blocks = {.rows_per_block = ROWS_PER_SLOT,
                               .rows_per_example = p->z.rows};

    p->moments = lower_sums(l, &p->z, ROWS_PER_SLOT);
    lower_planned_call(l, run_moments, &blocks, p,
                       (const int[]){p->moments.buffer, p->z.buffer}, 2);
}

/* Few channels are not worth a block. */
static struct partition channel_columns(const struct norm_plan *p)
{
    enum { MIN_COLUMNS = 256 };
    size_t columns = lower_columns_for(p->z.channels);

    return (struct partition){.n_columns = p->z.channels,
                              .columns_per_block =
                                  columns > MIN_COLUMNS ? columns : MIN_COLUMNS};
}

/* The norm is read with the value that it normalises, if nobody else reads that and
 * its gradient is wanted behind the norm only; else with a copy. */
static void forward(struct lowering *l, const struct node *node)
{
    struct norm_plan *p = lower_plan(l, sizeof(*p));
    size_t channels = padded(node->params.batch_norm.channels);
    int norm = lower_saved(l, node, NORM_BYTES(channels));
    struct partition columns;

    if (!p)
        return;
    p->params = &node->params.batch_norm;
    p->norm = norm;
    p->z = lower_read_through(l, node, norm, ACT_NONE);
    p->z.norm = -1;
    p->moments = *lower_moments(l, node->out);
    if (p->moments.buffer < 0)
        add_moments(l, p);
    columns = channel_columns(p);
    lower_planned_call(l, run_forward, &columns, p,
                       (const int[]){norm, p->moments.buffer, lower_value(l, node->in[W]),
                                     lower_value(l, node->in[B]),
                                     lower_value(l, node->in[MEAN]),
                                     lower_value(l, node->in[VARIANCE])},
                       N_BUFFERS);
}

static void backward(struct lowering *l, const struct node *node)
{
    struct norm_plan *p = lower_plan(l, sizeof(*p));
    struct output_gradient g = lower_output_gradient(l, node);
    struct partition columns;

    if (!p)
        return;
    p->params = &node->params.batch_norm;
    p->norm = g.norm;
    p->z = g.z;
    p->sums = g.sums;
    p->weight = lower_parameter(l, node->in[W]);
    p->bias = lower_parameter(l, node->in[B]);
    columns = channel_columns(p);
    lower_scratch(l, 2 * columns.columns_per_block * sizeof(real));
    lower_planned_call(l, run_backward, &columns, p,
                       (const int[]){p->norm, p->sums.buffer,
                                     lower_value(l, node->in[W])},
                       3);
    if (lower_is_copy(l, node)) {
        (void)lower_plain_gradient(l, node);
        lower_pass_on(l, node, 0);
    }
}

static void add_update(struct lowering *l, const struct node *node, call_fn run)
{
    struct norm_plan *p = lower_plan(l, sizeof(*p));
    struct partition whole = {0};

    if (!p)
        return;
    p->params = &node->params.batch_norm;
    p->norm = lower_saved(l, node, 0);
    p->z = lower_shape(&lower_source(l)->tensors[node->out].shape);
    lower_planned_call(l, run, &whole, p,
                       (const int[]){p->norm, lower_value(l, node->in[MEAN]),
                                     lower_value(l, node->in[VARIANCE]),
                                     lower_value(l, node->in[COUNT]),
                                     lower_pending(l, node->in[MEAN]),
                                     lower_pending(l, node->in[VARIANCE])},
                       N_UPDATE);
}

static void update(struct lowering *l, const struct node *node)
{
    add_update(l, node, run_update);
}

static void between(struct lowering *l, const struct node *node)
{
    add_update(l, node, run_between);
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
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .update = update,
    .between = between,
    .min_batch = min_batch,
    .cost = cost,
};
