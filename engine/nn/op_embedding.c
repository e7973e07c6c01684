/* Rows of a table by their index, as PyTorch's Embedding: y[t] = w[x[t]]. Indices
 * come as reals, as the rest of a batch. */
#include "base/error.h"
#include "engine/nn/op.h"

#include <math.h>
#include <string.h>

enum { ELEMENTS_PER_BLOCK = 16384 };

int graph_embedding(struct graph *graph, const char *name, int in, size_t n_symbols,
                    size_t width)
{
    union op_params params = {0};
    int inputs[2] = {in, NO_TENSOR};
    const struct shape *x;

    if (in == NO_TENSOR)
        return NO_TENSOR;
    x = &graph->tensors[in].shape;
    if (x->n_dims != 1)
        return graph_fail(graph, CYGNET_ESHAPE,
                          "%s: wants a row of indices, the input has %u dimensions", name,
                          x->n_dims);
    params.embedding = (struct embedding_params){x->dim[0], n_symbols, width};
    inputs[1] =
        graph_parameter(graph, name, "weight", &(struct shape){2, {n_symbols, width}}, 1);
    graph_set_init(graph, inputs[1], INIT_NORMAL, 1);
    return graph_node(graph, OP_EMBEDDING, name, &params, inputs, 2);
}

static cygnet_status infer(struct shape *out, const struct graph *graph,
                           const struct node *node, cygnet_error *err)
{
    const struct embedding_params *p = &node->params.embedding;

    (void)graph;
    (void)err;
    *out = (struct shape){2, {p->steps, p->width}};
    return CYGNET_OK;
}

/* plan of all calls of a layer. */
struct embedding_plan {
    size_t steps, n_symbols;
    size_t x_pitch, width; /* padded */
    size_t per_block;      /* symbols */
    int x;
    struct parameter_share share;
};

static struct embedding_plan *new_plan(struct lowering *l, const struct node *node)
{
    const struct embedding_params *params = &node->params.embedding;
    struct embedding_plan *p = lower_plan(l, sizeof(*p));
    struct operand x = lower_plain(l, node->in[0]);

    if (!p)
        return NULL;
    p->steps = params->steps;
    p->n_symbols = params->n_symbols;
    p->x_pitch = x.channels;
    p->x = x.buffer;
    p->width = padded(params->width);
    p->per_block = lower_rows_for(ELEMENTS_PER_BLOCK, p->width);
    return p;
}

/* False: it is none. Fractions are cut off. */
static bool symbol_of(size_t *out, const struct embedding_plan *p, real x)
{
    if (!(x >= 0 && x < (real)p->n_symbols))
        return false;
    *out = (size_t)x;
    return *out < p->n_symbols;
}

static void fill_nan(real *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = (real)NAN;
}

/* What is no symbol becomes NaN, so that the step fails. Rows are steps. */
static void run_forward(const struct call *call, const struct step *step, size_t block,
                        size_t worker)
{
    const struct embedding_plan *p = call->plan;
    struct span rows = call_rows(call, step, block);
    real *y = step_buffer(step, call, 0);
    const real *x = step_buffer(step, call, 1), *w = step_buffer(step, call, 2);

    (void)worker;
    for (size_t r = rows.first; r < rows.first + rows.n; r++) {
        size_t symbol;

        if (symbol_of(&symbol, p, x[r / p->steps * p->x_pitch + r % p->steps]))
            memcpy(y + r * p->width, w + symbol * p->width, p->width * sizeof(*y));
        else
            fill_nan(y + r * p->width, call->node->params.embedding.width);
    }
}

/* Columns are symbols. */
static void run_backward(const struct call *call, const struct step *step, size_t block,
                         size_t worker)
{
    const struct embedding_plan *p = call->plan;
    struct span symbols = call_columns(call, block);
    real *dw = step_scratch(step, worker);
    const real *dy = step_buffer(step, call, 0), *x = step_buffer(step, call, 1);
    bool goes_on;

    goes_on = step_take_gradient(step, p->share.tensor, symbols.first * p->width, dw,
                                 symbols.n * p->width);
    if (!goes_on)
        memset(dw, 0, symbols.n * p->width * sizeof(*dw));
    for (size_t r = 0; r < step->n * p->steps; r++) {
        size_t symbol;

        if (symbol_of(&symbol, p, x[r / p->steps * p->x_pitch + r % p->steps]) &&
            symbol >= symbols.first && symbol < symbols.first + symbols.n)
            step->kernels->add(dw + (symbol - symbols.first) * p->width,
                               dy + r * p->width, p->width);
    }
    step_give_gradient(step, p->share.tensor, symbols.first * p->width, dw,
                       symbols.n * p->width, p->share.add && !goes_on);
}

static void forward(struct lowering *l, const struct node *node)
{
    struct embedding_plan *p = new_plan(l, node);
    struct operand y = lower_output(l, node);
    struct partition rows = lower_row_blocks(&y);

    if (p)
        lower_planned_call(l, run_forward, &rows, p,
                           (const int[]){y.buffer, p->x, lower_value(l, node->in[1])}, 3);
}

static void backward(struct lowering *l, const struct node *node)
{
    struct embedding_plan *p = new_plan(l, node);
    int dy = lower_plain_gradient(l, node);
    struct partition symbols = {0};

    if (!p)
        return;
    p->share = lower_parameter(l, node->in[1]);
    symbols.n_columns = p->n_symbols;
    symbols.columns_per_block = p->per_block;
    lower_scratch(l, p->per_block * p->width * sizeof(real));
    lower_planned_call(l, run_backward, &symbols, p, (const int[]){dy, p->x}, 2);
}

static void cost(struct op_cost *out, const struct graph *graph, const struct node *node)
{
    const struct embedding_params *p = &node->params.embedding;
    double n = (double)(p->steps * p->width), steps = (double)p->steps;

    (void)graph;
    out->backward_flops = n;
    out->forward_bytes = (steps + 2 * n) * sizeof(real);
    out->backward_bytes = (steps + 2 * n) * sizeof(real);
    out->weight_bytes = (double)p->n_symbols * (double)p->width * sizeof(real);
}

const struct op op_embedding = {
    .name = "embedding",
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .cost = cost,
};
