/* Lowering: from a graph to buffers and flat lists of calls. */
#include "engine/nn/lower.h"

#include "base/alloc.h"
#include "base/error.h"
#include "engine/nn/array.h"
#include "engine/nn/lower_parts.h"
#include "engine/nn/op.h"
#include "engine/nn/place.h"

#include <assert.h>
#include <string.h>

enum { ELEMENTS_PER_BLOCK = 16384, MAX_COLUMN_BLOCKS = 8, MAX_PLAN_BYTES = 1 << 26 };

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

size_t lower_unit(const struct lowering *l)
{
    return graph_unit(l->graph);
}

static size_t ceil_div(size_t a, size_t b)
{
    return (a + b - 1) / b;
}

struct partition lower_unit_blocks(const struct lowering *l, size_t rows_per_example,
                                   size_t rows)
{
    size_t unit = lower_unit(l) * rows_per_example;
    struct partition p = {.rows_per_block = rows, .rows_per_example = rows_per_example};

    if (unit == 0)
        return p;
    if (unit <= rows) {
        p.rows_per_block = rows / unit * unit;
        return p;
    }
    p.rows_per_block = ceil_div(unit, ceil_div(unit, rows));
    p.rows_per_unit = unit;
    return p;
}

size_t lower_unit_part(const struct lowering *l, size_t rows_per_example, size_t rows)
{
    size_t examples = lower_rows_for(rows, rows_per_example), part = lower_unit(l);

    if (part == 0)
        return examples;
    while (part / 2 >= examples)
        part /= 2;
    return part;
}

void *lower_plan(struct lowering *l, size_t size)
{
    void *plan = l->out_of_memory ? NULL : arena_alloc(l->program->plans, size);

    l->out_of_memory |= !plan;
    return plan;
}

/* ---- Memory -------------------------------------------------------------- */

int lower_buffer(struct lowering *l, uint64_t size)
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
    int buffer = lower_buffer(l, size);

    if (buffer >= 0) {
        l->program->buffers[buffer].used = true;
        l->program->buffers[buffer].last = UINT32_MAX;
    }
    return buffer;
}

int lower_external(struct lowering *l)
{
    int buffer = lower_buffer(l, 0);

    if (buffer >= 0)
        l->program->buffers[buffer].external = true;
    return buffer;
}

int lower_value(struct lowering *l, int tensor)
{
    return l->program->of[tensor].value;
}

int lower_pending(struct lowering *l, int tensor)
{
    return l->program->of[tensor].pending;
}

int lower_saved(struct lowering *l, const struct node *node, uint64_t bytes)
{
    int *saved = &l->saved[node - l->graph->nodes];

    if (*saved < 0)
        *saved = lower_buffer(l, bytes);
    return *saved;
}

int lower_workspace(struct lowering *l, uint64_t bytes)
{
    return lower_buffer(l, bytes);
}

void lower_scratch(struct lowering *l, uint64_t bytes)
{
    uint64_t aligned =
        (bytes + BUFFER_ALIGNMENT - 1) / BUFFER_ALIGNMENT * BUFFER_ALIGNMENT;

    if (aligned > l->program->scratch_bytes)
        l->program->scratch_bytes = aligned;
}

/* ---- Calls --------------------------------------------------------------- */

/* Extends the buffer's life to call `at`. */
static void use_buffer(struct buffer *buffer, uint32_t at)
{
    assert(!buffer->away);
    if (!buffer->used)
        buffer->first = buffer->last = at;
    if (buffer->gap > 0 && buffer->resumed == 0)
        buffer->resumed = at;
    buffer->used = true;
    if (at > buffer->last)
        buffer->last = at;
}

void lower_use(struct lowering *l, int buffer)
{
    if (buffer >= 0 && !l->out_of_memory)
        use_buffer(&l->program->buffers[buffer], (uint32_t)l->program->n_calls - 1);
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

void lower_planned_call(struct lowering *l, call_fn run,
                        const struct partition *partition, const void *plan,
                        const int *buffers, size_t n_buffers)
{
    struct call *call = add_call(l, run, buffers, n_buffers);

    if (!call)
        return;
    call->node = l->node < l->graph->n_nodes ? &l->graph->nodes[l->node] : NULL;
    call->partition = *partition;
    call->plan = plan;
}

void lower_call(struct lowering *l, call_fn run, const struct partition *partition,
                const int *buffers, size_t n_buffers)
{
    lower_planned_call(l, run, partition, NULL, buffers, n_buffers);
}

void lower_elementwise(struct lowering *l, call_fn run, size_t n, const int *buffers,
                       size_t n_buffers)
{
    struct partition columns = {.n_columns = n, .columns_per_block = ELEMENTS_PER_BLOCK};

    lower_call(l, run, &columns, buffers, n_buffers);
}

size_t lower_rows_for(size_t elements, size_t per_row)
{
    return (elements + per_row - 1) / per_row;
}

size_t lower_columns_for(size_t n)
{
    return padded((n + MAX_COLUMN_BLOCKS - 1) / MAX_COLUMN_BLOCKS);
}

/* ---- The lists ----------------------------------------------------------- */

static uint64_t state_bytes(const struct tensor *t)
{
    return t->kind == TENSOR_COUNTER
               ? sizeof(int64_t)
               : (uint64_t)layout_elements(&t->layout) * sizeof(real);
}

static void create_tensor_buffers(struct lowering *l)
{
    for (size_t i = 0; i < l->graph->n_tensors; i++) {
        struct tensor_buffers *of = &l->program->of[i];
        const struct tensor *t = &l->graph->tensors[i];

        of->value = of->grad = of->at.buffer = of->at.norm = -1;
        if (t->kind == TENSOR_LABELS || t->kind == TENSOR_INPUT)
            of->value = lower_external(l);
        if (tensor_is_state(t))
            of->value = lower_persistent(l, state_bytes(t));
        lower_update_buffers(l, i);
    }
}

static void lower_forward(struct lowering *l)
{
    struct call_list *list = &l->program->forward;

    list->begin = l->program->n_calls;
    for (l->node = 0; l->node < l->graph->n_nodes; l->node++) {
        const struct node *node = &l->graph->nodes[l->node];

        if (node->out == l->graph->loss) {
            l->program->logits = lower_plain(l, l->graph->logits).buffer;
            l->program->predict = (struct call_list){list->begin, l->program->n_calls};
        }
        op_of(node)->forward(l, node);
        if (l->out_of_memory)
            return;
    }
    list->end = l->program->n_calls;
}

static void lower_backward(struct lowering *l)
{
    struct call_list *list = &l->program->backward;

    list->begin = l->program->n_calls;
    for (size_t i = 0; i < l->graph->n_tensors; i++)
        l->tensors[i].plain = -1; /* read again, rather than kept */
    lower_forget(l);
    lower_count_moves(l);
    for (l->node = l->graph->n_nodes; l->node-- > 0 && !l->out_of_memory;) {
        const struct node *node = &l->graph->nodes[l->node];
        int root = l->tensors[node->out].root;
        bool reaches_loss =
            node->out == l->graph->loss || (root >= 0 && l->program->of[root].grad >= 0);

        if (reaches_loss && l->graph->tensors[node->out].needs_grad)
            op_of(node)->backward(l, node);
    }
    list->end = l->program->n_calls;
}

static void lower_lists(struct lowering *l, size_t whole_batch)
{
    struct program *p = l->program;
    static void (*const parts[])(
        struct lowering *) = {create_tensor_buffers, lower_readers, lower_forward,
                              lower_backward,        lower_check,   lower_norm,
                              lower_update,          lower_between};

    p->scratch = lower_persistent(l, 0);
    p->flags = lower_persistent(l, l->graph->n_tensors);
    p->losses = lower_persistent(l, whole_batch * sizeof(float));
    p->square_sums = l->graph->update.clips ? lower_persistent(l, 0) : -1;
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]) && !l->out_of_memory; i++)
        parts[i](l);
    if (l->out_of_memory)
        return;
    p->buffers[p->scratch].size = p->scratch_bytes * l->n_workers;
    if (p->square_sums >= 0)
        p->buffers[p->square_sums].size = p->n_square_sums * sizeof(double);
    p->arena_bytes = place_buffers(p->buffers, p->n_buffers);
}

static bool begin_lowering(struct lowering *l)
{
    struct program *p = l->program;

    p->n_tensors = l->graph->n_tensors;
    p->of = mem_calloc(p->alloc, p->n_tensors, sizeof(*p->of));
    p->plans = arena_create(MAX_PLAN_BYTES, p->alloc);
    l->saved = mem_alloc(p->alloc, l->graph->n_nodes * sizeof(*l->saved));
    l->tensors = mem_calloc(p->alloc, p->n_tensors, sizeof(*l->tensors));
    for (size_t i = 0; l->saved && i < l->graph->n_nodes; i++)
        l->saved[i] = -1;
    return p->of && p->plans && l->saved && l->tensors;
}

cygnet_status lower_graph(struct program *out, const struct graph *graph,
                          const struct kernels *kernels, size_t max_batch,
                          size_t n_workers, const bool *remade, cygnet_error *err)
{
    struct lowering l = {.program = out,
                         .graph = graph,
                         .kernels = kernels,
                         .max_batch = graph_piece(graph, max_batch),
                         .n_workers = n_workers,
                         .remade = remade};

    memset(out, 0, sizeof(*out));
    out->alloc = graph->alloc;
    l.out_of_memory = !begin_lowering(&l);
    if (!l.out_of_memory)
        lower_lists(&l, max_batch);
    mem_free(out->alloc, l.saved);
    mem_free(out->alloc, l.tensors);
    if (l.out_of_memory) {
        program_clear(out);
        return fail(err, CYGNET_ENOMEM, 0, "out of memory while planning the model");
    }
    return CYGNET_OK;
}
