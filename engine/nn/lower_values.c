/* Lowering of values: where activations are stored and how they are read. lower.h
 * says how it works. */
#include "engine/nn/lower_parts.h"
#include "engine/nn/op.h"

#include <string.h>

enum { ELEMENTS_PER_BLOCK = 8192 };

struct partition lower_row_blocks(const struct operand *x)
{
    return (struct partition){.rows_per_block =
                                  lower_rows_for(ELEMENTS_PER_BLOCK, x->channels),
                              .rows_per_example = x->rows};
}

/* ---- Readers ------------------------------------------------------------- */

/* Nodes that lead to the loss. */
static void mark_useful(const struct lowering *l, bool *useful)
{
    const struct graph *g = l->graph;

    for (size_t i = g->n_nodes; i-- > 0;) {
        const struct node *node = &g->nodes[i];

        if (!useful[node->out] && node->out != g->loss)
            continue;
        for (uint32_t k = 0; k < node->n_in; k++)
            useful[node->in[k]] = true;
    }
}

void lower_readers(struct lowering *l)
{
    const struct graph *g = l->graph;
    bool *useful = lower_plan(l, g->n_tensors * sizeof(*useful));

    if (!useful)
        return;
    mark_useful(l, useful);
    for (size_t i = 0; i < g->n_tensors; i++) {
        struct lowered_tensor *t = &l->tensors[i];

        t->root = t->reader = t->plain = t->norm = -1;
        t->moments.buffer = t->sums.buffer = -1;
    }
    for (size_t i = 0; i < g->n_nodes; i++) {
        const struct node *node = &g->nodes[i];
        bool leads = node->out == g->loss || useful[node->out];

        for (uint32_t k = 0; k < node->n_in; k++) {
            l->tensors[node->in[k]].reader =
                g->tensors[node->in[k]].n_consumers == 1 ? (int)i : -1;
            l->tensors[node->in[k]].shares +=
                leads && g->tensors[node->out].needs_grad ? 1 : 0;
        }
    }
}

const struct node *lower_only_reader(const struct lowering *l, int tensor)
{
    int reader = l->tensors[tensor].reader;

    return reader < 0 ? NULL : &l->graph->nodes[reader];
}

/* ---- Activations --------------------------------------------------------- */

/* Channels that are no padding. */
static size_t width_of(const struct shape *shape)
{
    return shape->n_dims == 0 ? 1
                              : shape->dim[shape->n_dims == 3 ? 0 : shape->n_dims - 1];
}

struct operand lower_shape(const struct shape *shape)
{
    struct operand x = {-1, -1, ACT_NONE, 1, PANEL};

    if (shape->n_dims == 3)
        x.rows = shape->dim[1] * shape->dim[2], x.channels = padded(shape->dim[0]);
    else if (shape->n_dims == 2)
        x.rows = shape->dim[0], x.channels = padded(shape->dim[1]);
    else if (shape->n_dims == 1)
        x.channels = padded(shape->dim[0]);
    return x;
}

static struct operand new_root(struct lowering *l, int tensor, const struct operand *like)
{
    struct operand *at = &l->program->of[tensor].at;

    *at = *like;
    at->norm = -1;
    at->act = ACT_NONE;
    at->buffer =
        lower_buffer(l, (uint64_t)l->max_batch * at->rows * at->channels * sizeof(real));
    l->tensors[tensor].root = tensor;
    l->tensors[tensor].stored = *at;
    return *at;
}

struct operand lower_output_as(struct lowering *l, const struct node *node,
                               const struct shape *shape)
{
    struct operand like = lower_shape(shape);
    struct operand x;

    if (l->is_remaking)
        return l->tensors[node->out].stored;
    x = new_root(l, node->out, &like);
    l->program->of[node->out].value = x.buffer;
    return x;
}

struct operand lower_output(struct lowering *l, const struct node *node)
{
    return lower_output_as(l, node, &l->graph->tensors[node->out].shape);
}

int lower_loss(struct lowering *l, const struct node *node)
{
    int *value = &l->program->of[node->out].value;

    *value = lower_buffer(l, l->max_batch * sizeof(real));
    return *value;
}

/* PyTorch's image (or sequence) to rows; rows are examples. */
static void run_lay_out(const struct call *call, const struct step *step, size_t block,
                        size_t worker)
{
    const struct tensor *t = call->plan;
    struct operand like = lower_shape(&t->shape);
    bool is_image = t->shape.n_dims == 3;
    size_t width = width_of(&t->shape);
    struct span rows = call_rows(call, step, block);
    real *y = (real *)step_buffer(step, call, 0) + rows.first * like.rows * like.channels;
    const real *x =
        (const real *)step_buffer(step, call, 1) + rows.first * like.rows * width;

    (void)worker;
    for (size_t e = 0; e < rows.n; e++, x += like.rows * width) {
        for (size_t r = 0; r < like.rows; r++, y += like.channels) {
            for (size_t c = 0; c < width; c++)
                y[c] = is_image ? x[c * like.rows + r] : x[r * width + c];
            memset(y + width, 0, (like.channels - width) * sizeof(*y));
        }
    }
}

/* The input, or a flattened one. */
static void lay_out_input(struct lowering *l, int tensor)
{
    const struct tensor *t = &l->graph->tensors[tensor];
    struct operand like = lower_shape(&t->shape);
    struct partition examples = {.rows_per_block = 1};
    struct operand x = new_root(l, tensor, &like);

    lower_planned_call(l, run_lay_out, &examples, t,
                       (const int[]){x.buffer, lower_value(l, l->graph->input)}, 2);
}

static int new_rows(struct lowering *l, const struct operand *x)
{
    return lower_buffer(l, (uint64_t)l->max_batch * x->rows * x->channels * sizeof(real));
}

static const struct node *producer_of(const struct lowering *l, int tensor)
{
    return &l->graph->nodes[l->graph->tensors[tensor].producer];
}

static struct operand made(struct lowering *l, int tensor)
{
    struct operand x = l->tensors[tensor].stored;
    int *plain = &l->tensors[tensor].plain;

    if (*plain < 0) {
        *plain = new_rows(l, &x);
        l->tensors[tensor].make(l, producer_of(l, tensor), *plain);
    }
    x.buffer = *plain;
    return x;
}

struct operand lower_operand(struct lowering *l, int tensor)
{
    if (l->tensors[tensor].make)
        return made(l, tensor);
    if (l->tensors[tensor].root < 0)
        lay_out_input(l, tensor);
    lower_bring_back(l, l->tensors[tensor].root);
    return l->program->of[tensor].at;
}

bool lower_is_free(const struct lowering *l, const struct node *node)
{
    int in = node->in[0];

    return l->tensors[in].reader == (int)(node - l->graph->nodes) &&
           l->tensors[in].root >= 0 && !l->tensors[in].make;
}

void lower_read_as(struct lowering *l, const struct node *node, bool is_free,
                   const struct operand *operand)
{
    int root = is_free ? l->tensors[node->in[0]].root : node->out;

    if (operand->norm >= 0)
        l->tensors[root].norm = operand->norm;
    l->tensors[node->out].root = root;
    l->program->of[node->out].at = *operand;
    l->program->of[node->out].value = operand->buffer;
}

struct operand lower_read_through(struct lowering *l, const struct node *node, int norm,
                                  enum activation act)
{
    struct operand x = l->program->of[node->in[0]].at;
    bool is_free = lower_is_free(l, node) && x.act == ACT_NONE;

    if (norm >= 0) /* a bias in front of a norm wants the gradient before it */
        is_free = is_free && x.norm < 0 && !lower_wants_sums(l, node->in[0]);
    if (!is_free)
        x = lower_copy(l, node);
    if (norm >= 0)
        x.norm = norm;
    x.act = act;
    lower_read_as(l, node, is_free, &x);
    return x;
}

void lower_remake(struct lowering *l, const struct node *node, lower_make_fn make)
{
    struct lowered_tensor *t = &l->tensors[node->out];

    t->make = make;
    t->root = node->out;
    t->stored = lower_shape(&l->graph->tensors[node->out].shape);
    l->program->of[node->out].at = t->stored;
}

bool lower_is_copy(const struct lowering *l, const struct node *node)
{
    return l->tensors[node->out].root == node->out;
}

bool lower_keeps_zero(enum activation act)
{
    return act != ACT_SIGMOID && act != ACT_HARDSIGMOID;
}

bool lower_wants_moments(const struct lowering *l, const struct node *node)
{
    const struct node *reader = lower_only_reader(l, node->out);

    return !l->is_remaking && reader && reader->kind == OP_BATCH_NORM2D;
}

struct row_sums *lower_moments(struct lowering *l, int tensor)
{
    return &l->tensors[l->tensors[tensor].root].moments;
}

static size_t slots_of(const struct row_sums *sums, size_t rows)
{
    return (rows + sums->rows_per_slot - 1) / sums->rows_per_slot;
}

size_t lower_slot_of(const struct row_sums *sums, size_t row)
{
    size_t unit = sums->rows_per_unit;

    if (unit == 0)
        return row / sums->rows_per_slot;
    return row / unit * slots_of(sums, unit) + row % unit / sums->rows_per_slot;
}

size_t lower_slot_end(const struct row_sums *sums, size_t row)
{
    size_t unit = sums->rows_per_unit, begin = unit > 0 ? row / unit * unit : 0;
    size_t end = ((row - begin) / sums->rows_per_slot + 1) * sums->rows_per_slot;

    return begin + (unit > 0 && end > unit ? unit : end);
}

size_t lower_slots(const struct row_sums *sums, size_t rows)
{
    return rows > 0 ? lower_slot_of(sums, rows - 1) + 1 : 0;
}

struct row_sums lower_sums(struct lowering *l, const struct operand *x,
                           size_t rows_per_slot)
{
    size_t unit = lower_unit(l) * x->rows;
    struct row_sums sums = {-1, rows_per_slot, unit};
    uint64_t slots;

    if (unit > 0 && rows_per_slot > unit)
        sums.rows_per_slot = unit;
    slots = lower_slots(&sums, l->max_batch * x->rows);
    sums.buffer = lower_buffer(l, slots * 2 * x->channels * sizeof(double));
    return sums;
}

/* ---- Reading into memory ------------------------------------------------- */

/* plan: the operand that is read. width: channels that are no padding. */
struct read_plan {
    struct operand x;
    size_t width;
};

static void run_read(const struct call *call, const struct step *step, size_t block,
                     size_t worker)
{
    const struct read_plan *p = call->plan;
    size_t pitch = p->x.channels;
    struct span rows = call_rows(call, step, block);
    struct rows k = {rows.n, pitch, pitch};
    struct reading reading = reading_of(step, &p->x);
    real *y = (real *)step_buffer(step, call, 0) + rows.first * pitch;
    const real *z = (const real *)step_buffer(step, call, 1) + rows.first * pitch;

    (void)worker;
    step->kernels->read(y, pitch, z, &reading, &k);
    for (size_t r = 0; r < rows.n && p->width < pitch; r++)
        memset(y + r * pitch + p->width, 0, (pitch - p->width) * sizeof(*y));
}

/* y = the tensor as it is read. */
static void add_read(struct lowering *l, int tensor, int y)
{
    struct operand x = lower_operand(l, tensor);
    const struct shape *shape = &l->graph->tensors[tensor].shape;
    struct read_plan *plan = lower_plan(l, sizeof(*plan));
    struct partition blocks = lower_row_blocks(&x);

    if (!plan)
        return;
    plan->x = x;
    plan->width = padded(width_of(shape)) == x.channels ? width_of(shape) : x.channels;
    lower_planned_call(l, run_read, &blocks, plan, (const int[]){y, x.buffer, x.norm}, 3);
}

struct operand lower_plain(struct lowering *l, int tensor)
{
    struct operand x = lower_operand(l, tensor);
    int *plain = &l->tensors[tensor].plain;

    if (x.norm < 0 && x.act == ACT_NONE)
        return x;
    if (*plain < 0) {
        *plain = new_rows(l, &x);
        add_read(l, tensor, *plain);
    }
    x.norm = -1;
    x.act = ACT_NONE;
    x.buffer = *plain;
    return x;
}

struct operand lower_copy(struct lowering *l, const struct node *node)
{
    int in = node->in[0];
    bool is_made = l->tensors[in].make != NULL;
    struct operand like = is_made ? l->tensors[in].stored : lower_operand(l, in);
    struct operand x = new_root(l, node->out, &like);

    l->program->of[node->out].value = x.buffer;
    if (is_made)
        l->tensors[in].make(l, producer_of(l, in), x.buffer);
    else
        add_read(l, in, x.buffer);
    return x;
}

/* ---- Making again -------------------------------------------------------- */

void lower_forget(struct lowering *l)
{
    for (size_t i = 0; l->remade && i < l->graph->n_nodes; i++) {
        struct buffer *buffer;

        if (!l->remade[i])
            continue;
        buffer = &l->program->buffers[l->tensors[l->graph->nodes[i].out].stored.buffer];
        buffer->away = true;
        buffer->gap = buffer->last + 1;
    }
}

/* Read only to make something again, values would live for as long as that: whoever
 * comes next reads them once more. */
static void forget_plain(struct lowering *l, size_t first_buffer)
{
    for (size_t i = 0; i < l->graph->n_tensors; i++) {
        if (l->tensors[i].plain >= (int)first_buffer)
            l->tensors[i].plain = -1;
    }
}

/* Weights are still those of the forward pass: a layer's change in its own backward
 * calls, before which its output is there again; shared ones after the pass. */
void lower_bring_back(struct lowering *l, int root)
{
    int at = l->tensors[root].stored.buffer;
    size_t node = l->node, first_buffer = l->program->n_buffers;
    bool is_remaking = l->is_remaking;

    if (at < 0 || l->out_of_memory || !l->program->buffers[at].away)
        return;
    l->program->buffers[at].away = false;
    l->node = (size_t)(producer_of(l, root) - l->graph->nodes);
    l->is_remaking = true;
    op_of(producer_of(l, root))->forward(l, producer_of(l, root));
    forget_plain(l, first_buffer);
    l->is_remaking = is_remaking;
    l->node = node;
}
