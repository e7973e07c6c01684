/* Convolutions in groups that are neither one nor as many as there are channels: plain
 * loops over one example a block. No model of the zoo has them. Weights are stored in
 * PyTorch's order. */
#include "engine/nn/depthwise.h"
#include "engine/nn/op.h"
#include "engine/nn/sums.h"

#include <string.h>

/* plan of all calls of a layer. */
struct grouped_plan {
    struct conv2d_shape shape;
    size_t in_per_group, out_per_group;
    size_t c_in, c_out; /* padded */
    size_t n_weights;   /* as they are stored */
    struct parameter_share share;
};

/* The three arrays of one example: two are read, one is added to. */
struct arrays {
    const struct grouped_plan *plan;
    real *x, *w, *z;
};

enum target { TO_Z, TO_X, TO_W };

/* All products of one output position and tap that read position `at`. */
static void add_products(const struct arrays *a, size_t at, size_t o, size_t tap,
                         enum target target)
{
    const struct grouped_plan *p = a->plan;
    size_t n_taps = p->shape.k_h * p->shape.k_w;

    for (size_t c = 0; c < p->shape.c_out; c++) {
        real *x = a->x + at * p->c_in + c / p->out_per_group * p->in_per_group;
        real *w = a->w + c * p->in_per_group * n_taps + tap;
        real *z = a->z + o * p->c_out + c;

        for (size_t i = 0; i < p->in_per_group; i++) {
            if (target == TO_Z)
                *z += x[i] * w[i * n_taps];
            else if (target == TO_X)
                x[i] += *z * w[i * n_taps];
            else
                w[i * n_taps] += *z * x[i];
        }
    }
}

static void add_example(const struct arrays *a, enum target target)
{
    const struct conv2d_shape *s = &a->plan->shape;
    size_t n_taps = s->k_h * s->k_w;

    for (size_t i = 0; i < s->h_out * s->w_out * n_taps; i++) {
        size_t o = i / n_taps, tap = i % n_taps;
        size_t y = o / s->w_out * s->stride_h + tap / s->k_w * s->dilation_h;
        size_t x = o % s->w_out * s->stride_w + tap % s->k_w * s->dilation_w;

        if (y >= s->pad_h && y - s->pad_h < s->h_in && x >= s->pad_w &&
            x - s->pad_w < s->w_in)
            add_products(a, (y - s->pad_h) * s->w_in + x - s->pad_w, o, tap, target);
    }
}

static struct grouped_plan *new_plan(struct lowering *l, const struct node *node,
                                     const struct conv2d_shape *s)
{
    struct grouped_plan *p = lower_plan(l, sizeof(*p));
    const struct tensor *w = &lower_source(l)->tensors[node->in[1]];

    if (!p)
        return NULL;
    p->shape = *s;
    p->in_per_group = s->c_in / s->groups;
    p->out_per_group = s->c_out / s->groups;
    p->c_in = padded(s->c_in);
    p->c_out = padded(s->c_out);
    p->n_weights = layout_elements(&w->layout);
    return p;
}

enum { Z, X, W, B };

static struct arrays arrays_of(const struct call *call, const struct step *step,
                               size_t example)
{
    const struct grouped_plan *p = call->plan;
    const struct conv2d_shape *s = &p->shape;
    struct arrays a = {p, step_buffer(step, call, X), step_buffer(step, call, W),
                       step_buffer(step, call, Z)};

    a.x += example * s->h_in * s->w_in * p->c_in;
    a.z += example * s->h_out * s->w_out * p->c_out;
    return a;
}

static void run_forward(const struct call *call, const struct step *step, size_t block,
                        size_t worker)
{
    const struct grouped_plan *p = call->plan;
    struct arrays a = arrays_of(call, step, block);
    const real *bias = step_data(step, call->buffer[B]);
    size_t rows = p->shape.h_out * p->shape.w_out;

    (void)worker;
    memset(a.z, 0, rows * p->c_out * sizeof(*a.z));
    for (size_t r = 0; bias && r < rows; r++)
        memcpy(a.z + r * p->c_out, bias, p->c_out * sizeof(*bias));
    add_example(&a, TO_Z);
}

static void run_input(const struct call *call, const struct step *step, size_t block,
                      size_t worker)
{
    const struct grouped_plan *p = call->plan;
    struct arrays a = arrays_of(call, step, block);

    (void)worker;
    memset(a.x, 0, p->shape.h_in * p->shape.w_in * p->c_in * sizeof(*a.x));
    add_example(&a, TO_X);
}

/* One block: examples in their order. */
static void run_weight(const struct call *call, const struct step *step, size_t block,
                       size_t worker)
{
    const struct grouped_plan *p = call->plan;
    real *dw = step_buffer(step, call, W);
    bool goes_on;

    (void)block;
    (void)worker;
    goes_on = step_take_gradient(step, p->share.tensor, 0, dw, p->n_weights);
    if (!goes_on)
        memset(dw, 0, p->n_weights * sizeof(*dw));
    for (size_t e = 0; e < step->n; e++) {
        struct arrays a = arrays_of(call, step, e);

        add_example(&a, TO_W);
    }
    step_give_gradient(step, p->share.tensor, 0, dw, p->n_weights,
                       p->share.add && !goes_on);
}

void grouped_lower_forward(struct lowering *l, const struct node *node,
                           const struct conv2d_shape *shape)
{
    struct grouped_plan *p = new_plan(l, node, shape);
    struct partition examples = {.rows_per_block = 1};
    int x = lower_plain(l, node->in[0]).buffer, z = lower_output(l, node).buffer;
    int bias = node->n_in > 2 ? node->in[2] : -1;

    if (bias >= 0)
        lower_want_sums(l, node);
    lower_planned_call(l, run_forward, &examples, p,
                       (const int[]){z, x, lower_value(l, node->in[1]),
                                     bias >= 0 ? lower_value(l, bias) : -1},
                       4);
}

void grouped_lower_backward(struct lowering *l, const struct node *node,
                            const struct conv2d_shape *shape)
{
    struct grouped_plan *p = new_plan(l, node, shape);
    struct output_gradient g = lower_output_gradient(l, node);
    struct partition examples = {.rows_per_block = 1}, whole = {0};
    int x = lower_plain(l, node->in[0]).buffer, dz, dw;
    struct delivery d;

    if (!p)
        return;
    if (node->n_in > 2)
        lower_bias_gradient(l, node->in[2], &g);
    dz = lower_plain_gradient(l, node);
    if (lower_deliver(l, &d, node, 0, 0)) {
        lower_planned_call(l, run_input, &examples, p,
                           (const int[]){dz, d.g, lower_value(l, node->in[1])}, 3);
        lower_settle(l, &d);
    }
    p->share = lower_parameter(l, node->in[1]);
    dw = lower_workspace(l, (uint64_t)p->n_weights * sizeof(real));
    lower_planned_call(l, run_weight, &whole, p, (const int[]){dz, x, dw}, 3);
}
