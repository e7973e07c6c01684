/* Lowering of gradients: how the shares of a value's gradient come together, and
 * what its producer is given. lower.h says how it works. */
#include "engine/nn/lower_parts.h"
#include "engine/nn/op.h"

#include <string.h>

enum { ROWS_PER_SLOT = 512 };

/* ---- Gradients ----------------------------------------------------------- */

void lower_use_delivery(struct lowering *l, const struct delivery *d)
{
    lower_use(l, d->g);
    lower_use(l, d->more);
    lower_use(l, d->x.buffer);
    lower_use(l, d->x.norm);
    lower_use(l, d->sums.buffer);
}

/* z is the delivery's: the op may read a copy of its input that has been through the
 * norm and the activation already. */
struct gradient_pass lower_pass_of(const struct step *step, const struct delivery *d,
                                   size_t row, size_t column)
{
    size_t pitch = d->x.channels, at = row * pitch + column;
    const real *z = step_data(step, d->x.buffer);
    struct gradient_pass pass = {.g = (real *)step_data(step, d->g) + at,
                                 .more_pitch = pitch,
                                 .z_pitch = pitch,
                                 .sums_pitch = pitch};

    if (!d->settled)
        return pass;
    pass.finish = d->finish;
    pass.reading = reading_of(step, &d->x);
    if (z)
        pass.z = z + at;
    if (d->more >= 0)
        pass.more = pass.g;
    if (pass.reading.scale) {
        pass.reading.scale += column;
        pass.reading.shift += column;
    }
    if (d->means)
        pass.mean = norm_of(step, d->x.norm, pitch).mean + column;
    return pass;
}

double *lower_pass_sums(const struct step *step, const struct delivery *d, size_t slot,
                        size_t column)
{
    double *sums = d->settled ? step_data(step, d->sums.buffer) : NULL;

    return sums ? sums + slot * 2 * d->x.channels + column : NULL;
}

static void shift_pass(struct gradient_pass *p, size_t rows, size_t pitch)
{
    p->g += rows * pitch;
    p->dy += rows * p->dy_pitch;
    if (p->more)
        p->more += rows * p->more_pitch;
    if (p->z)
        p->z += rows * p->z_pitch;
}

void lower_pass_rows(const struct step *step, const struct delivery *d,
                     struct gradient_pass pass, const struct rows *rows, size_t row,
                     size_t column)
{
    struct rows part = *rows;

    if (!lower_pass_sums(step, d, 0, column)) {
        step->kernels->gradient_pass(&pass, rows);
        return;
    }
    for (size_t done = 0; done < rows->n; done += part.n) {
        size_t slot = lower_slot_of(&d->sums, row + done);
        size_t left = lower_slot_end(&d->sums, row + done) - row - done;

        part.n = rows->n - done < left ? rows->n - done : left;
        pass.sums = lower_pass_sums(step, d, slot, column);
        memset(pass.sums, 0, rows->channels * sizeof(*pass.sums));
        memset(pass.sums + pass.sums_pitch, 0, rows->channels * sizeof(*pass.sums));
        step->kernels->gradient_pass(&pass, &part);
        shift_pass(&pass, part.n, rows->pitch);
    }
}

/* Blocks of a generic pass. */
static struct partition pass_blocks(const struct lowering *l, int root)
{
    return lower_unit_blocks(l, l->tensors[root].stored.rows, ROWS_PER_SLOT);
}

/* One generic pass over dy, which is the call's buffer: plan is a delivery. */
static void run_pass(const struct call *call, const struct step *step, size_t block,
                     size_t worker)
{
    const struct delivery *d = call->plan;
    size_t pitch = d->x.channels;
    struct span rows = call_rows(call, step, block);
    struct rows k = {rows.n, pitch, pitch};
    struct gradient_pass pass = lower_pass_of(step, d, rows.first, 0);

    (void)worker;
    pass.dy = (const real *)step_buffer(step, call, 0) + rows.first * pitch;
    pass.dy_pitch = pitch;
    lower_pass_rows(step, d, pass, &k, rows.first, 0);
}

/* As rows of the root, which a flatten may show in another shape. */
static void add_pass(struct lowering *l, const struct delivery *d, int dy)
{
    struct delivery *plan = lower_plan(l, sizeof(*plan));
    int root = l->tensors[d->tensor].root;
    struct partition blocks = pass_blocks(l, root);

    if (!plan)
        return;
    *plan = *d;
    plan->settled = true;
    plan->g = l->program->of[root].grad;
    plan->x.rows = l->tensors[root].stored.rows;
    plan->x.channels = l->tensors[root].stored.channels;
    lower_planned_call(l, run_pass, &blocks, plan, (const int[]){dy}, 1);
    lower_use_delivery(l, plan);
}

int lower_new_gradient(struct lowering *l, int root)
{
    struct operand at = l->tensors[root].stored;

    return lower_buffer(l, (uint64_t)l->max_batch * at.rows * at.channels * sizeof(real));
}

static bool wants_sums(const struct lowering *l, int root, const struct operand *x)
{
    return x->norm >= 0 || l->tensors[root].wants_sums;
}

/* True if another tensor that shares the root's gradient has still to read it. */
static bool is_still_read(const struct lowering *l, int root)
{
    int grad = l->program->of[root].grad;

    for (size_t i = 0; i < l->graph->n_tensors; i++) {
        const struct tensor *t = &l->graph->tensors[i];

        if ((int)i != root && l->tensors[i].root == (int)i &&
            l->program->of[i].grad == grad && t->producer >= 0 &&
            (size_t)t->producer < l->node)
            return true;
    }
    return false;
}

static void run_copy(const struct call *call, const struct step *step, size_t block,
                     size_t worker)
{
    const struct operand *at = call->plan;
    struct span rows = call_rows(call, step, block);
    real *y = step_buffer(step, call, 0);
    const real *x = step_buffer(step, call, 1);

    (void)worker;
    memcpy(y + rows.first * at->channels, x + rows.first * at->channels,
           rows.n * at->channels * sizeof(*y));
}

/* Before a shared gradient is changed. */
static void make_own(struct lowering *l, int root)
{
    int *grad = &l->program->of[root].grad;
    struct operand *at;
    struct partition blocks;
    int own;

    if (!l->tensors[root].shared)
        return;
    l->tensors[root].shared = false;
    if (!is_still_read(l, root))
        return;
    own = lower_new_gradient(l, root);
    at = lower_plan(l, sizeof(*at));
    if (!at)
        return;
    *at = l->tensors[root].stored;
    blocks = lower_row_blocks(at);
    lower_planned_call(l, run_copy, &blocks, at, (const int[]){own, *grad}, 2);
    *grad = own;
}

struct row_sums lower_gradient_sums(struct lowering *l, int tensor, size_t rows_per_slot)
{
    int root = l->tensors[tensor].root;
    struct row_sums none = {-1, rows_per_slot, 0};

    if (!wants_sums(l, root, &l->program->of[tensor].at))
        return none;
    return lower_sums(l, &l->tensors[root].stored, rows_per_slot);
}

/* The part that every delivery has. */
static void begin_delivery(struct lowering *l, struct delivery *d, int tensor,
                           size_t rows_per_slot)
{
    struct lowered_tensor *t = &l->tensors[tensor];

    memset(d, 0, sizeof(*d));
    d->tensor = tensor;
    d->x = l->program->of[tensor].at;
    d->finish = --t->shares == 0;
    d->means = d->x.norm >= 0;
    d->more = d->sums.buffer = -1;
    if (d->finish)
        d->sums = lower_gradient_sums(l, tensor, rows_per_slot);
    if (d->finish)
        l->tensors[t->root].sums = d->sums;
}

static bool is_wanted(struct lowering *l, int tensor)
{
    if (!l->graph->tensors[tensor].needs_grad || l->tensors[tensor].shares == 0)
        return false;
    if (!l->tensors[tensor].make)
        (void)lower_operand(l, tensor); /* an input that nobody has laid out */
    return true;
}

bool lower_deliver_to(struct lowering *l, struct delivery *d, int tensor,
                      size_t rows_per_slot)
{
    int root, *grad;
    size_t own_rows;

    if (!is_wanted(l, tensor))
        return false;
    root = l->tensors[tensor].root;
    own_rows = l->tensors[root].stored.rows;
    if (own_rows != l->program->of[tensor].at.rows)
        rows_per_slot = 0; /* seen through a flatten */
    begin_delivery(l, d, tensor,
                   rows_per_slot > 0 ? rows_per_slot
                                     : pass_blocks(l, root).rows_per_block);
    grad = &l->program->of[root].grad;
    if (*grad < 0) {
        d->g = *grad = lower_new_gradient(l, root);
    } else {
        make_own(l, root);
        d->more = *grad;
        d->g = rows_per_slot > 0 ? *grad : lower_new_gradient(l, root);
    }
    d->settled = rows_per_slot > 0;
    return true;
}

bool lower_deliver(struct lowering *l, struct delivery *d, const struct node *node,
                   uint32_t i, size_t rows_per_slot)
{
    return lower_deliver_to(l, d, node->in[i], rows_per_slot);
}

void lower_settle(struct lowering *l, const struct delivery *d)
{
    bool is_as_it_should =
        d->more < 0 && (!d->finish || (d->x.act == ACT_NONE && d->sums.buffer < 0));

    if (!d->settled && !is_as_it_should)
        add_pass(l, d, d->g);
}

/* The first share is the output's own gradient, and no activation is in between. */
static bool can_share(const struct lowering *l, int tensor)
{
    const struct lowered_tensor *t = &l->tensors[tensor];

    return l->program->of[t->root].grad < 0 &&
           (t->shares > 1 || l->program->of[tensor].at.act == ACT_NONE);
}

void lower_pass_on(struct lowering *l, const struct node *node, uint32_t i)
{
    int tensor = node->in[i], from = l->tensors[node->out].root;
    struct delivery d;

    if (!is_wanted(l, tensor))
        return;
    if (can_share(l, tensor)) {
        int root = l->tensors[tensor].root;

        l->program->of[root].grad = l->program->of[from].grad;
        l->tensors[root].shared = l->tensors[from].shared = true;
        begin_delivery(l, &d, tensor, pass_blocks(l, root).rows_per_block);
        d.g = l->program->of[root].grad;
        lower_settle(l, &d);
        return;
    }
    (void)lower_deliver(l, &d, node, i,
                        pass_blocks(l, l->tensors[tensor].root).rows_per_block);
    add_pass(l, &d, l->program->of[from].grad);
}

/* ---- What the producer is given ------------------------------------------ */

void lower_want_sums(struct lowering *l, const struct node *node)
{
    l->tensors[node->out].wants_sums = true;
}

bool lower_wants_sums(const struct lowering *l, int tensor)
{
    return l->tensors[l->tensors[tensor].root].wants_sums;
}

struct output_gradient lower_output_gradient(struct lowering *l, const struct node *node)
{
    int root = l->tensors[node->out].root;
    const struct lowered_tensor *t = &l->tensors[root];
    struct output_gradient g;

    lower_bring_back(l, root);
    g.g = l->program->of[root].grad;
    g.norm = t->norm;
    g.is_shared = t->shared && is_still_read(l, root);
    g.z = t->stored;
    g.sums = t->sums;
    return g;
}

static void run_norm_gradient(const struct call *call, const struct step *step,
                              size_t block, size_t worker)
{
    const struct output_gradient *p = call->plan;
    size_t pitch = p->z.channels;
    struct span rows = call_rows(call, step, block);
    struct rows k = {rows.n, pitch, pitch};
    struct norm_gradient norm = norm_gradient_of(step, p->norm, pitch);
    size_t at = rows.first * pitch;

    (void)worker;
    step->kernels->norm_gradient((real *)step_buffer(step, call, 0) + at, pitch,
                                 (const real *)step_buffer(step, call, 1) + at, pitch,
                                 (const real *)step_buffer(step, call, 2) + at, &norm,
                                 &k);
}

int lower_plain_gradient(struct lowering *l, const struct node *node)
{
    struct output_gradient *g = lower_plan(l, sizeof(*g));
    int root = l->tensors[node->out].root, dz;
    struct partition blocks;

    if (!g)
        return -1;
    *g = lower_output_gradient(l, node);
    if (g->norm < 0)
        return g->g;
    dz = g->is_shared ? lower_new_gradient(l, root) : g->g;
    blocks = lower_row_blocks(&g->z);
    lower_planned_call(l, run_norm_gradient, &blocks, g,
                       (const int[]){dz, g->g, g->z.buffer, g->norm}, 4);
    l->program->of[root].grad = dz;
    l->tensors[root].norm = -1;
    return dz;
}

int lower_own_gradient(struct lowering *l, const struct node *node)
{
    int root = l->tensors[node->out].root;

    (void)lower_plain_gradient(l, node);
    make_own(l, root);
    return l->program->of[root].grad;
}

struct parameter_share lower_parameter(struct lowering *l, int tensor)
{
    struct parameter_share share = {(size_t)tensor, l->tensors[tensor].delivered};
    struct tensor_buffers *of = &l->program->of[tensor];
    const struct tensor *t = &l->graph->tensors[tensor];

    l->tensors[tensor].delivered = true;
    if (t->frozen || of->grad >= 0)
        return share;
    of->fused =
        !l->graph->update.clips && !l->graph->update.separate && t->n_consumers == 1;
    of->grad =
        of->fused
            ? lower_external(l)
            : lower_persistent(l, (uint64_t)layout_elements(&t->layout) * sizeof(real));
    return share;
}
