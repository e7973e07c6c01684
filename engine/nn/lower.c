/* Lowering: from a graph to buffers and flat lists of calls. */
#include "engine/nn/lower_parts.h"

#include "base/alloc.h"
#include "base/error.h"
#include "engine/nn/array.h"
#include "engine/nn/op.h"
#include "engine/nn/place.h"

#include <assert.h>
#include <string.h>

enum { ELEMENTS_PER_BLOCK = 16384, MAX_COLUMN_BLOCKS = 8, COLUMN_MULTIPLE = 16 };

const struct graph *lower_source(const struct lowering *l)
{
    return l->graph;
}

const struct kernels *lower_kernels(const struct lowering *l)
{
    return l->kernels;
}

size_t lower_max_batch(const struct lowering *l)
{
    return l->max_batch;
}

static int new_buffer(struct lowering *l, uint64_t size)
{
    struct program *p = l->program;

    if (l->out_of_memory || !array_grow(&p->buffers, &p->cap_buffers, p->n_buffers,
                                        sizeof(*p->buffers), p->alloc)) {
        l->out_of_memory = true;
        return -1;
    }
    p->buffers[p->n_buffers].size = size;
    return (int)p->n_buffers++;
}

int lower_persistent(struct lowering *l, uint64_t size)
{
    int buffer = new_buffer(l, size);

    if (buffer >= 0) {
        l->program->buffers[buffer].used = true;
        l->program->buffers[buffer].last = UINT32_MAX;
    }
    return buffer;
}

static int new_external(struct lowering *l)
{
    int buffer = new_buffer(l, 0);

    if (buffer >= 0)
        l->program->buffers[buffer].external = true;
    return buffer;
}

static const struct tensor *tensor_at(const struct lowering *l, int tensor)
{
    return &l->graph->tensors[tensor];
}

static uint64_t tensor_bytes(const struct lowering *l, int tensor)
{
    const struct tensor *t = tensor_at(l, tensor);
    uint64_t bytes = (uint64_t)shape_elements(&t->shape) * sizeof(real);

    if (t->kind == TENSOR_COUNTER)
        return sizeof(int64_t);
    return tensor_is_state(t) ? bytes : bytes * l->max_batch;
}

int lower_value(struct lowering *l, int tensor)
{
    return l->program->of[tensor].value;
}

/* True if nothing needs the tensor's value after its one consumer has read it. */
static bool may_overwrite(const struct lowering *l, int tensor)
{
    for (;;) {
        const struct tensor *t = tensor_at(l, tensor);
        const struct node *producer;

        if (t->kind != TENSOR_ACTIVATION || t->n_consumers != 1)
            return false;
        producer = &l->graph->nodes[t->producer];
        if (!op_of(producer)->view)
            return !op_of(producer)->reads_output;
        tensor = producer->in[0];
    }
}

/* Where a node writes its output. */
static void place_output(struct lowering *l, const struct node *node)
{
    const struct op *op = op_of(node);
    bool shares = op->view || (op->in_place && may_overwrite(l, node->in[0]));

    l->program->of[node->out].value =
        shares ? lower_value(l, node->in[0]) : new_buffer(l, tensor_bytes(l, node->out));
}

int lower_output_grad(struct lowering *l, const struct node *node)
{
    return l->program->of[node->out].grad;
}

int lower_input_grad(struct lowering *l, const struct node *node, uint32_t i)
{
    int tensor = node->in[i];
    const struct tensor *t = tensor_at(l, tensor);
    int *grad = &l->program->of[tensor].grad;
    const struct op *op = op_of(node);
    int aside;

    if (!t->needs_grad)
        return -1;
    if (*grad < 0) {
        bool shares = op->grad_in_place && i == 0 && t->n_consumers == 1;

        *grad =
            shares ? lower_output_grad(l, node) : new_buffer(l, tensor_bytes(l, tensor));
        return *grad;
    }
    aside = new_buffer(l, tensor_bytes(l, tensor));
    l->pending[l->n_pending++] = (struct pending_add){tensor, aside};
    return aside;
}

int lower_saved(struct lowering *l, const struct node *node, uint64_t bytes)
{
    int *saved = &l->saved[node - l->graph->nodes];

    if (*saved < 0)
        *saved = new_buffer(l, bytes);
    return *saved;
}

int lower_workspace(struct lowering *l, uint64_t bytes)
{
    return new_buffer(l, bytes);
}

void lower_scratch(struct lowering *l, uint64_t bytes)
{
    uint64_t aligned =
        (bytes + BUFFER_ALIGNMENT - 1) / BUFFER_ALIGNMENT * BUFFER_ALIGNMENT;

    if (aligned > l->program->scratch_bytes)
        l->program->scratch_bytes = aligned;
}

/* Extends the buffer's life to call `at`. */
static void use_buffer(struct buffer *buffer, uint32_t at)
{
    if (!buffer->used)
        buffer->first = buffer->last = at;
    buffer->used = true;
    if (at > buffer->last)
        buffer->last = at;
}

static struct call *add_call(struct lowering *l, call_fn run, const int *buffers,
                             size_t n_buffers)
{
    struct program *p = l->program;
    struct call *call;

    assert(n_buffers <= CALL_MAX_BUFFERS);
    if (l->out_of_memory ||
        !array_grow(&p->calls, &p->cap_calls, p->n_calls, sizeof(*p->calls), p->alloc)) {
        l->out_of_memory = true;
        return NULL;
    }
    call = &p->calls[p->n_calls];
    call->run = run;
    for (size_t i = 0; i < n_buffers; i++) {
        call->buffer[i] = buffers[i];
        if (buffers[i] >= 0)
            use_buffer(&p->buffers[buffers[i]], (uint32_t)p->n_calls);
    }
    p->n_calls++;
    return call;
}

void lower_call(struct lowering *l, call_fn run, const struct node *node,
                const struct partition *partition, const int *buffers, size_t n_buffers)
{
    struct call *call = add_call(l, run, buffers, n_buffers);

    if (!call)
        return;
    call->node = node;
    call->partition = *partition;
}

void lower_elementwise(struct lowering *l, call_fn run, size_t n, const int *buffers,
                       size_t n_buffers)
{
    struct partition columns = {.n_columns = n, .columns_per_block = ELEMENTS_PER_BLOCK};

    lower_call(l, run, NULL, &columns, buffers, n_buffers);
}

size_t lower_rows_for(size_t elements, size_t per_row)
{
    return (elements + per_row - 1) / per_row;
}

size_t lower_columns_for(size_t n)
{
    size_t width = (n + MAX_COLUMN_BLOCKS - 1) / MAX_COLUMN_BLOCKS;

    return (width + COLUMN_MULTIPLE - 1) / COLUMN_MULTIPLE * COLUMN_MULTIPLE;
}

/* ---- Calls that belong to no op ------------------------------------------ */

/* A parameter's gradient: columns. */
static void run_add_columns(const struct call *call, const struct step *step,
                            size_t block, size_t worker)
{
    struct span e = call_columns(call, block);
    real *y = step_buffer(step, call, 0);
    const real *x = step_buffer(step, call, 1);

    (void)worker;
    step->kernels->add(y + e.first, x + e.first, e.n);
}

/* An activation's gradient: rows of call->n elements. */
static void run_add_rows(const struct call *call, const struct step *step, size_t block,
                         size_t worker)
{
    struct span rows = call_rows(call, step, block);
    real *y = step_buffer(step, call, 0);
    const real *x = step_buffer(step, call, 1);

    (void)worker;
    step->kernels->add(y + rows.first * call->n, x + rows.first * call->n,
                       rows.n * call->n);
}

static void run_copy_rows(const struct call *call, const struct step *step, size_t block,
                          size_t worker)
{
    struct span rows = call_rows(call, step, block);
    real *y = step_buffer(step, call, 0);
    const real *x = step_buffer(step, call, 1);

    (void)worker;
    memcpy(y + rows.first * call->n, x + rows.first * call->n,
           rows.n * call->n * sizeof(*y));
}

void lower_pass_on(struct lowering *l, const struct node *node, int dx, int dy)
{
    size_t n = shape_elements(&tensor_at(l, node->out)->shape);
    struct partition rows = {.rows_per_block = lower_rows_for(ELEMENTS_PER_BLOCK, n)};

    if (dx < 0 || dx == dy)
        return;
    lower_call(l, run_copy_rows, node, &rows, (const int[]){dx, dy}, 2);
    if (!l->out_of_memory)
        l->program->calls[l->program->n_calls - 1].n = n;
}

static void add_pending(struct lowering *l)
{
    for (size_t i = 0; i < l->n_pending; i++) {
        int tensor = l->pending[i].tensor;
        size_t n = shape_elements(&tensor_at(l, tensor)->shape);
        const int buffers[2] = {l->program->of[tensor].grad, l->pending[i].buffer};
        struct call *call;

        if (tensor_at(l, tensor)->kind == TENSOR_PARAMETER) {
            lower_elementwise(l, run_add_columns, n, buffers, 2);
            continue;
        }
        call = add_call(l, run_add_rows, buffers, 2);
        if (!call)
            return;
        call->partition.rows_per_block = lower_rows_for(ELEMENTS_PER_BLOCK, n);
        call->n = n;
    }
    l->n_pending = 0;
}

/* ---- The lists ----------------------------------------------------------- */

static void create_tensor_buffers(struct lowering *l)
{
    for (size_t i = 0; i < l->graph->n_tensors; i++) {
        struct tensor_buffers *of = &l->program->of[i];
        enum tensor_kind kind = l->graph->tensors[i].kind;

        of->value = of->grad = -1;
        if (kind == TENSOR_LABELS || kind == TENSOR_INPUT)
            of->value = new_external(l);
        if (tensor_is_state(&l->graph->tensors[i]))
            of->value = lower_persistent(l, tensor_bytes(l, (int)i));
        lower_update_buffers(l, i);
    }
}

static void lower_forward(struct lowering *l)
{
    struct call_list *list = &l->program->forward;

    list->begin = l->program->n_calls;
    for (size_t i = 0; i < l->graph->n_nodes; i++) {
        const struct node *node = &l->graph->nodes[i];

        if (node->out == l->graph->loss)
            l->program->predict = (struct call_list){list->begin, l->program->n_calls};
        place_output(l, node);
        op_of(node)->forward(l, node);
    }
    list->end = l->program->n_calls;
}

static void lower_backward(struct lowering *l)
{
    struct call_list *list = &l->program->backward;

    list->begin = l->program->n_calls;
    for (size_t i = l->graph->n_nodes; i-- > 0;) {
        const struct node *node = &l->graph->nodes[i];
        bool reaches_loss =
            node->out == l->graph->loss || lower_output_grad(l, node) >= 0;

        if (!reaches_loss || !tensor_at(l, node->out)->needs_grad)
            continue;
        op_of(node)->backward(l, node);
        add_pending(l);
    }
    list->end = l->program->n_calls;
}

static void lower_lists(struct lowering *l)
{
    struct program *p = l->program;

    create_tensor_buffers(l);
    p->scratch = lower_persistent(l, 0);
    p->flags = lower_persistent(l, 0);
    p->square_sums = l->graph->update.clips ? lower_persistent(l, 0) : -1;
    p->losses = lower_persistent(l, l->max_batch * sizeof(float));
    if (!l->out_of_memory)
        lower_forward(l);
    if (!l->out_of_memory)
        lower_backward(l);
    if (!l->out_of_memory)
        lower_check(l);
    if (!l->out_of_memory)
        lower_norm(l);
    if (!l->out_of_memory)
        lower_update(l);
    if (l->out_of_memory)
        return;
    p->buffers[p->scratch].size = p->scratch_bytes * l->n_workers;
    p->buffers[p->flags].size = p->n_flags;
    if (p->square_sums >= 0)
        p->buffers[p->square_sums].size = p->n_square_sums * sizeof(double);
    p->arena_bytes = place_buffers(p->buffers, p->n_buffers);
}

cygnet_status lower_graph(struct program *out, const struct graph *graph,
                          const struct kernels *kernels, size_t max_batch,
                          size_t n_workers, cygnet_error *err)
{
    struct lowering l = {.program = out,
                         .graph = graph,
                         .kernels = kernels,
                         .max_batch = max_batch,
                         .n_workers = n_workers};

    memset(out, 0, sizeof(*out));
    out->alloc = graph->alloc;
    out->n_tensors = graph->n_tensors;
    out->of = mem_calloc(out->alloc, graph->n_tensors, sizeof(*out->of));
    l.saved = mem_alloc(out->alloc, graph->n_nodes * sizeof(*l.saved));
    l.out_of_memory = !out->of || !l.saved;
    for (size_t i = 0; l.saved && i < graph->n_nodes; i++)
        l.saved[i] = -1;
    if (!l.out_of_memory)
        lower_lists(&l);
    mem_free(out->alloc, l.saved);
    if (l.out_of_memory) {
        program_clear(out);
        return fail(err, CYGNET_ENOMEM, 0, "out of memory while planning the model");
    }
    return CYGNET_OK;
}
