/* Building the intermediate representation. */
#include "engine/nn/graph.h"

#include "base/alloc.h"
#include "base/error.h"
#include "engine/nn/array.h"
#include "engine/nn/op.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void graph_init(struct graph *graph, const cygnet_allocator *alloc)
{
    memset(graph, 0, sizeof(*graph));
    graph->alloc = alloc;
    graph->input = graph->labels = graph->logits = graph->loss = NO_TENSOR;
}

void graph_clear(struct graph *graph)
{
    mem_free(graph->alloc, graph->tensors);
    mem_free(graph->alloc, graph->nodes);
    graph_init(graph, graph->alloc);
}

cygnet_status graph_finish(const struct graph *graph, cygnet_error *err)
{
    if (graph->status != CYGNET_OK)
        return fail(err, graph->status, 0, "%s", graph->error.message);
    assert(graph->input >= 0 && graph->logits >= 0 && graph->loss >= 0);
    return CYGNET_OK;
}

int graph_fail(struct graph *graph, cygnet_status status, const char *format, ...)
{
    va_list args;

    if (graph->status != CYGNET_OK)
        return NO_TENSOR;
    graph->status = status;
    va_start(args, format);
    (void)vsnprintf(graph->error.message, sizeof(graph->error.message), format, args);
    va_end(args);
    return NO_TENSOR;
}

static bool is_too_large(const struct shape *shape)
{
    size_t elements = 1;

    for (uint32_t d = 0; d < shape->n_dims; d++) {
        if (shape->dim[d] > GRAPH_MAX_ELEMENTS / elements)
            return true;
        elements *= shape->dim[d];
    }
    return false;
}

static bool has_zero(const struct shape *shape)
{
    for (uint32_t d = 0; d < shape->n_dims; d++) {
        if (shape->dim[d] == 0)
            return true;
    }
    return false;
}

static struct layout rows_of(const struct shape *shape)
{
    size_t width = shape->n_dims > 0 ? shape->dim[shape->n_dims - 1] : 1;

    return (
        struct layout){LAYOUT_ROWS, shape_elements(shape) / width, width, 1, false, false,
                       false};
}

int graph_tensor(struct graph *graph, enum tensor_kind kind, const char *name,
                 const struct shape *shape)
{
    struct tensor *tensor;

    if (graph->status != CYGNET_OK)
        return NO_TENSOR;
    if (has_zero(shape))
        return graph_fail(graph, CYGNET_ESHAPE, "%s: a dimension is 0", name);
    if (is_too_large(shape))
        return graph_fail(graph, CYGNET_ESHAPE, "%s: more than %zu elements", name,
                          GRAPH_MAX_ELEMENTS);
    if (!array_grow(&graph->tensors, &graph->cap_tensors, graph->n_tensors,
                    sizeof(*graph->tensors), graph->alloc))
        return graph_fail(graph, CYGNET_ENOMEM, "out of memory for the model's graph");
    tensor = &graph->tensors[graph->n_tensors];
    (void)snprintf(tensor->name, sizeof(tensor->name), "%s", name);
    tensor->kind = kind;
    tensor->shape = *shape;
    tensor->layout = rows_of(shape);
    tensor->producer = -1;
    tensor->lr_scale = 1;
    tensor->needs_grad = kind == TENSOR_PARAMETER;
    return (int)graph->n_tensors++;
}

void graph_set_layout(struct graph *graph, int tensor, const struct layout *layout)
{
    if (tensor != NO_TENSOR)
        graph->tensors[tensor].layout = *layout;
}

int graph_input(struct graph *graph, const struct shape *shape)
{
    assert(graph->input == NO_TENSOR);
    graph->input = graph_tensor(graph, TENSOR_INPUT, "input", shape);
    return graph->input;
}

static const struct shape *want_dims(struct graph *graph, const char *name, int in,
                                     uint32_t n_dims, const char *what)
{
    const struct shape *x;

    if (in == NO_TENSOR)
        return NULL;
    x = &graph->tensors[in].shape;
    if (x->n_dims == n_dims)
        return x;
    (void)graph_fail(graph, CYGNET_ESHAPE, "%s: wants %s, the input has %u dimensions",
                     name, what, x->n_dims);
    return NULL;
}

const struct shape *graph_image(struct graph *graph, const char *name, int in)
{
    return want_dims(graph, name, in, 3, "an image (channels, height, width)");
}

const struct shape *graph_sequence(struct graph *graph, const char *name, int in)
{
    return want_dims(graph, name, in, 2, "a sequence (steps, values)");
}

/* A tensor "owner.suffix". */
static int add_state(struct graph *graph, enum tensor_kind kind, const char *owner,
                     const char *suffix, const struct shape *shape)
{
    char name[GRAPH_MAX_NAME];
    int length = snprintf(name, sizeof(name), "%s.%s", owner, suffix);

    assert(length > 0 && (size_t)length < sizeof(name));
    (void)length;
    return graph_tensor(graph, kind, name, shape);
}

void graph_set_init(struct graph *graph, int tensor, enum init_kind kind, double value)
{
    if (tensor != NO_TENSOR)
        graph->tensors[tensor].init = (struct init){kind, value};
}

int graph_parameter(struct graph *graph, const char *owner, const char *suffix,
                    const struct shape *shape, size_t fan_in)
{
    int tensor = add_state(graph, TENSOR_PARAMETER, owner, suffix, shape);

    if (tensor != NO_TENSOR)
        graph->tensors[tensor].fan_in = fan_in;
    graph_set_init(graph, tensor, INIT_UNIFORM, 1.0 / sqrt((double)fan_in));
    return tensor;
}

int graph_buffer(struct graph *graph, enum tensor_kind kind, const char *owner,
                 const char *suffix, const struct shape *shape, double value)
{
    int tensor = add_state(graph, kind, owner, suffix, shape);

    assert(kind == TENSOR_BUFFER || kind == TENSOR_COUNTER);
    graph_set_init(graph, tensor, INIT_CONSTANT, value);
    return tensor;
}

bool tensor_is_state(const struct tensor *tensor)
{
    return tensor->kind == TENSOR_PARAMETER || tensor->kind == TENSOR_BUFFER ||
           tensor->kind == TENSOR_COUNTER;
}

static struct node *add_node(struct graph *graph)
{
    if (!array_grow(&graph->nodes, &graph->cap_nodes, graph->n_nodes,
                    sizeof(*graph->nodes), graph->alloc)) {
        (void)graph_fail(graph, CYGNET_ENOMEM, "out of memory for the model's graph");
        return NULL;
    }
    return &graph->nodes[graph->n_nodes++];
}

/* The output tensor of a node whose inputs are set. */
static int add_output(struct graph *graph, const struct node *node)
{
    struct shape shape = {0};
    cygnet_error error = {0};
    cygnet_status st = op_of(node)->infer(&shape, graph, node, &error);
    int out;

    if (st != CYGNET_OK)
        return graph_fail(graph, st, "%s: %s", node->name, error.message);
    out = graph_tensor(graph, TENSOR_ACTIVATION, node->name, &shape);
    for (uint32_t i = 0; out != NO_TENSOR && i < node->n_in; i++)
        graph->tensors[out].needs_grad |= graph->tensors[node->in[i]].needs_grad;
    return out;
}

int graph_node(struct graph *graph, enum op_kind kind, const char *name,
               const union op_params *params, const int *in, uint32_t n_in)
{
    struct node *node;

    assert(n_in <= NODE_MAX_INPUTS);
    for (uint32_t i = 0; i < n_in; i++) {
        if (in[i] == NO_TENSOR)
            return NO_TENSOR;
    }
    node = graph->status == CYGNET_OK ? add_node(graph) : NULL;
    if (!node)
        return NO_TENSOR;
    (void)snprintf(node->name, sizeof(node->name), "%s", name);
    node->kind = kind;
    node->params = *params;
    node->n_in = n_in;
    memcpy(node->in, in, n_in * sizeof(*in));
    node->out = add_output(graph, node);
    if (node->out == NO_TENSOR)
        return NO_TENSOR;
    graph->tensors[node->out].producer = (int)(node - graph->nodes);
    for (uint32_t i = 0; i < n_in; i++)
        graph->tensors[in[i]].n_consumers++;
    return node->out;
}

static bool keeps_order(enum op_kind kind)
{
    return kind == OP_FLATTEN || kind == OP_ACTIVATION || kind == OP_DROPOUT;
}

const struct shape *graph_flattened(const struct graph *graph, int in)
{
    while (graph->tensors[in].producer >= 0) {
        const struct node *node = &graph->nodes[graph->tensors[in].producer];
        const struct tensor *before = &graph->tensors[node->in[0]];

        if (node->kind == OP_FLATTEN && before->shape.n_dims > 1)
            return before->kind == TENSOR_INPUT ? NULL : &before->shape;
        if (!keeps_order(node->kind))
            return NULL;
        in = node->in[0];
    }
    return NULL;
}

size_t graph_unit(const struct graph *graph)
{
    enum { UNIT = 8 };

    for (size_t i = 0; i < graph->n_nodes; i++) {
        if (graph->nodes[i].kind == OP_BATCH_NORM2D)
            return 0;
    }
    return UNIT;
}

size_t graph_piece(const struct graph *graph, size_t batch)
{
    size_t piece = graph->update.piece;

    return piece > 0 && piece < batch ? piece : batch;
}

size_t shape_elements(const struct shape *shape)
{
    size_t elements = 1;

    for (uint32_t d = 0; d < shape->n_dims; d++)
        elements *= shape->dim[d];
    return elements;
}

bool shape_equal(const struct shape *a, const struct shape *b)
{
    return a->n_dims == b->n_dims &&
           memcmp(a->dim, b->dim, a->n_dims * sizeof(a->dim[0])) == 0;
}
