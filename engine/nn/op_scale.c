/* y[c] = s[c] x[c], plane by plane: what squeeze-and-excitation ends with.
 * Source: Hu et al., "Squeeze-and-excitation networks", CVPR 2018, equation 4. */
#include "base/error.h"
#include "engine/nn/op.h"

int graph_scale(struct graph *graph, const char *name, int x, int s)
{
    const struct shape *image = graph_image(graph, name, x);
    union op_params params = {0};

    if (!image || s == NO_TENSOR)
        return NO_TENSOR;
    params.scale = (struct scale_params){image->dim[0], image->dim[1] * image->dim[2]};
    return graph_node(graph, OP_SCALE, name, &params, (const int[]){x, s}, 2);
}

static cygnet_status infer(struct shape *out, const struct graph *graph,
                           const struct node *node, cygnet_error *err)
{
    size_t channels = node->params.scale.channels;

    if (!shape_equal(node_input_shape(graph, node, 1),
                     &(struct shape){3, {channels, 1, 1}}))
        return fail(err, CYGNET_ESHAPE, 0, "the factors are not (%zu, 1, 1)", channels);
    *out = *node_input_shape(graph, node, 0);
    return CYGNET_OK;
}

/* plan of all calls of a layer: how x is read. */
struct scale_plan {
    struct operand x;
    struct operand s;
};

static struct scale_plan *new_plan(struct lowering *l, const struct node *node)
{
    struct scale_plan *p = lower_plan(l, sizeof(*p));

    if (!p)
        return NULL;
    p->x = lower_operand(l, node->in[0]);
    if (!lower_keeps_zero(p->x.act))
        p->x = lower_plain(l, node->in[0]);
    p->s = lower_plain(l, node->in[1]);
    return p;
}

enum { EXAMPLES_OF_A_BLOCK = 1 };

enum { Y, X, NORM, S, N_FORWARD };

static void run_forward(const struct call *call, const struct step *step, size_t block,
                        size_t worker)
{
    const struct scale_plan *p = call->plan;
    size_t pitch = p->x.channels, at = block * p->x.rows * pitch;
    struct rows rows = {p->x.rows, pitch, pitch};
    struct reading reading = reading_of(step, &p->x);

    (void)worker;
    step->kernels->scale((real *)step_buffer(step, call, Y) + at,
                         (const real *)step_buffer(step, call, X) + at, pitch, &reading,
                         (const real *)step_buffer(step, call, S) + block * pitch, &rows);
}

static void make(struct lowering *l, const struct node *node, int y)
{
    struct partition examples = {.rows_per_block = EXAMPLES_OF_A_BLOCK};
    struct scale_plan *p = new_plan(l, node);

    if (p)
        lower_planned_call(l, run_forward, &examples, p,
                           (const int[]){y, p->x.buffer, p->x.norm, p->s.buffer},
                           N_FORWARD);
}

/* x and s are kept anyway. */
static void forward(struct lowering *l, const struct node *node)
{
    lower_remake(l, node, make);
}

enum { DX, DS, DY, IN, IN_NORM, FACTOR, N_BACKWARD };

static void run_backward(const struct call *call, const struct step *step, size_t block,
                         size_t worker)
{
    const struct scale_plan *p = call->plan;
    size_t pitch = p->x.channels, at = block * p->x.rows * pitch;
    struct rows rows = {p->x.rows, pitch, pitch};
    struct reading reading = reading_of(step, &p->x);
    real *dx = step_data(step, call->buffer[DX]), *ds = step_data(step, call->buffer[DS]);

    (void)worker;
    step->kernels->scale_backward(dx ? dx + at : NULL, ds ? ds + block * pitch : NULL,
                                  (const real *)step_buffer(step, call, DY) + at,
                                  (const real *)step_buffer(step, call, IN) + at,
                                  &reading,
                                  (const real *)step_buffer(step, call, FACTOR) +
                                      block * pitch,
                                  &rows);
}

static void backward(struct lowering *l, const struct node *node)
{
    struct partition examples = {.rows_per_block = EXAMPLES_OF_A_BLOCK};
    struct scale_plan *p = new_plan(l, node);
    int dy = lower_plain_gradient(l, node);
    struct delivery d[2] = {{.g = -1}, {.g = -1}};
    bool wanted[2];

    if (!p)
        return;
    for (uint32_t i = 0; i < 2; i++)
        wanted[i] = lower_deliver(l, &d[i], node, i, 0);
    lower_planned_call(l, run_backward, &examples, p,
                       (const int[]){d[0].g, d[1].g, dy, p->x.buffer, p->x.norm,
                                     p->s.buffer},
                       N_BACKWARD);
    for (uint32_t i = 0; i < 2; i++) {
        if (wanted[i])
            lower_settle(l, &d[i]);
    }
}

/* Backward: dx = s dy, and ds[c] = sum of x dy. */
static void cost(struct op_cost *out, const struct graph *graph, const struct node *node)
{
    double n = (double)shape_elements(node_input_shape(graph, node, 0));
    double channels = (double)node->params.scale.channels;

    out->forward_flops = n;
    out->backward_flops = 3 * n;
    out->forward_bytes = (2 * n + channels) * sizeof(real);
    out->backward_bytes = (3 * n + 2 * channels) * sizeof(real);
}

const struct op op_scale = {
    .name = "scale",
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .cost = cost,
};
