/* LSTM and GRU over a sequence from a state of 0, gates as PyTorch's:
 *
 *   LSTM  i, f, g, o = the four parts of w_ih x + b_ih + w_hh h + b_hh
 *         c = sigmoid(f) c + sigmoid(i) tanh(g);  h = sigmoid(o) tanh(c)
 *   GRU   r, z, n likewise, but n = tanh(n_x + r n_h);  h = (1 - z) n + z h */
#include "base/error.h"
#include "engine/nn/op.h"
#include "engine/nn/recurrent.h"

#include <stdio.h>

enum {
    X = RECURRENT_X,
    W_IH = RECURRENT_W_IH,
    W_HH = RECURRENT_W_HH,
    B_IH = RECURRENT_B_IH,
    B_HH = RECURRENT_B_HH,
    N_INPUTS
};

static size_t n_gates(enum op_kind kind)
{
    return kind == OP_LSTM ? 4 : 3;
}

/* Gate by gate. */
static struct layout layout_of(const struct shape *shape,
                               const struct recurrent_params *p)
{
    bool is_matrix = shape->n_dims == 2;
    size_t gates = shape->dim[0] / p->hidden;

    if (is_matrix)
        return (struct layout){.kind = LAYOUT_GATES,
                               .n_out = p->hidden,
                               .n_in = shape->dim[1],
                               .n_taps = gates};
    return (struct layout){.kind = LAYOUT_ROWS,
                           .n_out = gates,
                           .n_in = p->hidden,
                           .n_taps = 1};
}

/* The four parameters, at first uniform on +-1/sqrt(hidden). */
static void add_parameters(struct graph *graph, int *inputs, const char *name,
                           const struct recurrent_params *p, size_t rows, unsigned layer)
{
    const struct {
        const char *suffix;
        struct shape shape;
    } parameters[N_INPUTS] = {
        [W_IH] = {"weight_ih_l", {2, {rows, p->n_in}}},
        [W_HH] = {"weight_hh_l", {2, {rows, p->hidden}}},
        [B_IH] = {"bias_ih_l", {1, {rows}}},
        [B_HH] = {"bias_hh_l", {1, {rows}}},
    };

    for (size_t i = W_IH; i < N_INPUTS; i++) {
        struct layout layout = layout_of(&parameters[i].shape, p);
        char suffix[32];

        (void)snprintf(suffix, sizeof(suffix), "%s%u", parameters[i].suffix, layer);
        inputs[i] = graph_parameter(graph, name, suffix, &parameters[i].shape, p->hidden);
        graph_set_layout(graph, inputs[i], &layout);
    }
}

static int add_recurrent(struct graph *graph, enum op_kind kind, const char *name, int in,
                         size_t hidden, unsigned layer)
{
    const struct shape *x = graph_sequence(graph, name, in);
    union op_params params = {0};
    int inputs[N_INPUTS] = {in};
    char node[GRAPH_MAX_NAME];

    if (!x)
        return NO_TENSOR;
    if (hidden == 0 || hidden > GRAPH_MAX_ELEMENTS)
        return graph_fail(graph, CYGNET_ESHAPE, "%s: %zu hidden values: want 1 to %zu",
                          name, hidden, GRAPH_MAX_ELEMENTS);
    params.recurrent = (struct recurrent_params){x->dim[0], x->dim[1], hidden};
    add_parameters(graph, inputs, name, &params.recurrent, n_gates(kind) * hidden, layer);
    (void)snprintf(node, sizeof(node), "%s.l%u", name, layer);
    return graph_node(graph, kind, node, &params, inputs, N_INPUTS);
}

int graph_lstm(struct graph *graph, const char *name, int in, size_t hidden,
               unsigned layer_index)
{
    return add_recurrent(graph, OP_LSTM, name, in, hidden, layer_index);
}

int graph_gru(struct graph *graph, const char *name, int in, size_t hidden,
              unsigned layer_index)
{
    return add_recurrent(graph, OP_GRU, name, in, hidden, layer_index);
}

static cygnet_status infer(struct shape *out, const struct graph *graph,
                           const struct node *node, cygnet_error *err)
{
    const struct recurrent_params *p = &node->params.recurrent;

    (void)graph;
    (void)err;
    *out = (struct shape){2, {p->steps, p->hidden}};
    return CYGNET_OK;
}

/* Per step and hidden value: `gates` rows of both products, and elementwise work,
 * where a sigmoid is 3, a tanh 1, and each bias 1 a gate:
 *   LSTM  8 biases, 4 sums, 3 sigmoids, 2 tanh, 4: 27; backward 25
 *   GRU   6 biases, 2 sums, 2 sigmoids, 1 tanh, 5: 20; backward 20
 * Forward keeps the gates, and the cell (LSTM) or n_h (GRU), for backward. */
static void cost(struct op_cost *out, const struct graph *graph, const struct node *node)
{
    const struct recurrent_params *p = &node->params.recurrent;
    double gates = (double)n_gates(node->kind);
    double units = (double)p->steps * (double)p->hidden;
    double in = (double)p->steps * (double)p->n_in;
    double by_input = 2 * gates * units * (double)p->n_in;
    double by_state = 2 * gates * units * (double)p->hidden;
    double to_input = graph->tensors[node->in[X]].needs_grad ? 1 : 0;
    bool is_lstm = node->kind == OP_LSTM;

    out->forward_flops = by_input + by_state + (is_lstm ? 27 : 20) * units;
    out->backward_flops =
        by_input * (1 + to_input) + 2 * by_state + (is_lstm ? 25 : 20) * units;
    out->forward_bytes = (in + (gates + 2) * units) * sizeof(real);
    out->backward_bytes = (in * (1 + to_input) + (gates + 3) * units) * sizeof(real);
    out->weight_bytes =
        gates * (double)p->hidden * (double)(p->n_in + p->hidden + 2) * sizeof(real);
}

const struct op op_lstm = {
    .name = "lstm",
    .infer = infer,
    .forward = recurrent_lower_forward,
    .backward = recurrent_lower_backward,
    .cost = cost,
};
const struct op op_gru = {
    .name = "gru",
    .infer = infer,
    .forward = recurrent_lower_forward,
    .backward = recurrent_lower_backward,
    .cost = cost,
};
