/* Lowering of moves of channels, backward: the gradient of what was gathered goes to
 * where each channel came from. */
#include "engine/nn/lower_channels.h"

#include <string.h>

enum { ROWS_PER_SLOT = 512, ROWS_AT_ONCE = 128 };

/* A channel that is read twice by one tensor gets its shares one after the other: in
 * layers. The lanes of `to` for one layer; false: there are none. */
static bool fill_lanes(struct lanes *lanes, const struct channel_list *from, int to,
                       size_t layer)
{
    bool any = false;

    for (size_t i = 0; i < lanes->n; i++)
        lanes->lane[i] = (struct lane){-1, 0};
    for (size_t c = 0; c < from->n; c++) {
        struct lane *lane;
        size_t before = 0;

        if (from->channel[c].tensor != to)
            continue;
        lane = &lanes->lane[from->channel[c].channel];
        for (size_t b = 0; layer > 0 && b < c; b++)
            before += from->channel[b].tensor == to &&
                              from->channel[b].channel == from->channel[c].channel
                          ? 1
                          : 0;
        if (before != layer || lane->source >= 0)
            continue;
        *lane = (struct lane){0, c};
        any = true;
    }
    return any;
}

static bool has_lanes(const struct lanes *lanes, size_t panel)
{
    for (size_t i = panel * PANEL; i < (panel + 1) * PANEL; i++) {
        if (lanes->lane[i].source >= 0)
            return true;
    }
    return false;
}

/* What to do with each layer of the gradient that `tensor` brings to `to`. */
typedef void (*layer_fn)(struct lowering *l, int tensor, int to,
                         const struct lanes *lanes);

static void each_layer(struct lowering *l, int tensor, int to, layer_fn visit)
{
    size_t channels = l->tensors[l->tensors[to].root].stored.channels;
    struct lanes lanes;

    if (!channels_begin_lanes(l, &lanes, channels))
        return;
    for (size_t i = 0; fill_lanes(&lanes, l->tensors[tensor].from, to, i); i++)
        visit(l, tensor, to, &lanes);
    channels_end_lanes(l, &lanes);
}

/* Every source of a tensor that wants a gradient, once. */
static void each_source(struct lowering *l, int tensor, layer_fn visit)
{
    const struct channel_list *from = l->tensors[tensor].from;

    for (size_t c = 0; c < from->n && !l->out_of_memory; c++) {
        int to = from->channel[c].tensor;
        size_t before = 0;

        while (from->channel[before].tensor != to)
            before++;
        if (before == c && l->graph->tensors[to].needs_grad)
            each_layer(l, tensor, to, visit);
    }
}

/* A source that others read too gets whole rows, as from everybody else. One whose
 * readers all move its channels is finished panel by panel. */
static void count_layer(struct lowering *l, int tensor, int to, const struct lanes *lanes)
{
    struct lowered_tensor *t = &l->tensors[to];

    (void)tensor;
    if (t->shares > 0) {
        t->shares++;
        return;
    }
    if (!t->panels)
        t->panels = lower_plan(l, lanes->n / PANEL * sizeof(*t->panels));
    for (size_t p = 0; t->panels && p < lanes->n / PANEL; p++)
        t->panels[p].shares += has_lanes(lanes, p) ? 1 : 0;
}

void lower_count_moves(struct lowering *l)
{
    for (size_t i = 0; i < l->graph->n_tensors && !l->out_of_memory; i++) {
        if (l->tensors[i].from && l->tensors[i].shares > 0)
            each_source(l, (int)i, count_layer);
    }
}

/* plan: of gradients of rows that go to some panels. */
struct scatter_plan {
    struct pieces pieces;
    struct operand x; /* where to */
    struct operand g;
    struct row_sums sums;
    struct scattered {
        bool is_there, add, finish;
    } * panel;
};

enum { TO, FROM, Z, NORM, SUMS, N_SCATTER };

static struct gradient_pass begin_pass(const struct call *call, const struct step *step,
                                       size_t slot, size_t panel, real *dy)
{
    const struct scatter_plan *p = call->plan;
    double *sums = step_data(step, call->buffer[SUMS]);
    const real *z = step_data(step, call->buffer[Z]);
    size_t c = panel * PANEL;
    struct gradient_pass pass = {.g = (real *)step_buffer(step, call, TO) + c,
                                 .dy = dy,
                                 .dy_pitch = PANEL,
                                 .more_pitch = p->x.channels,
                                 .z = z ? z + c : NULL,
                                 .z_pitch = p->x.channels,
                                 .reading = reading_of(step, &p->x),
                                 .finish = p->panel[panel].finish,
                                 .sums_pitch = p->x.channels};

    if (!pass.finish)
        pass.z = NULL;
    if (p->x.norm >= 0 && pass.finish)
        pass.mean = norm_of(step, p->x.norm, p->x.channels).mean + c;
    if (pass.reading.scale)
        pass.reading.scale += c, pass.reading.shift += c;
    if (sums && pass.finish) {
        pass.sums = sums + slot * 2 * p->x.channels + c;
        memset(pass.sums, 0, PANEL * sizeof(*sums));
        memset(pass.sums + p->x.channels, 0, PANEL * sizeof(*sums));
    }
    return pass;
}

/* dy of a panel: what its pieces say, 0 elsewhere. */
static void collect(const struct call *call, const struct step *step, real *dy,
                    size_t panel, struct span rows)
{
    const struct scatter_plan *p = call->plan;
    size_t first = p->pieces.first[panel], n = p->pieces.first[panel + 1] - first;
    const real *g = step_buffer(step, call, FROM);
    struct reading as_it_is = {NULL, NULL, ACT_NONE};
    struct moved from[PANEL];

    for (size_t i = 0; i < n; i++) {
        const struct piece *piece = &p->pieces.piece[first + i];

        from[i] = (struct moved){g + rows.first * p->g.channels + piece->panel * PANEL,
                                 p->g.channels, piece->lane};
    }
    step->kernels->move(dy, PANEL, from, n, &as_it_is, rows.n);
}

static void scatter_panel(const struct call *call, const struct step *step, size_t block,
                          size_t panel, real *dy)
{
    const struct scatter_plan *p = call->plan;
    struct span all = call_rows(call, step, block), rows = {all.first, ROWS_AT_ONCE};
    struct gradient_pass pass =
        begin_pass(call, step, lower_slot_of(&p->sums, all.first), panel, dy);
    size_t pitch = p->x.channels;
    real *g = pass.g;
    const real *z = pass.z;

    for (; rows.first < all.first + all.n; rows.first += rows.n) {
        struct rows k = {rows.n, PANEL, pitch};

        if (rows.n > all.first + all.n - rows.first)
            rows.n = k.n = all.first + all.n - rows.first;
        collect(call, step, dy, panel, rows);
        pass.g = g + rows.first * pitch;
        pass.more = p->panel[panel].add ? pass.g : NULL;
        pass.z = z ? z + rows.first * pitch : NULL;
        step->kernels->gradient_pass(&pass, &k);
    }
}

static void run_scatter(const struct call *call, const struct step *step, size_t block,
                        size_t worker)
{
    const struct scatter_plan *p = call->plan;
    struct span panels = channels_panels(call, block);
    size_t end = panels.first + panels.n;

    for (size_t panel = panels.first; panel < end; panel++) {
        if (p->panel[panel].is_there)
            scatter_panel(call, step, block, panel, step_scratch(step, worker));
    }
}

/* The first call writes the panels too that nobody reads: with 0. */
static bool plan_panels(struct lowering *l, struct scatter_plan *plan, int to,
                        const struct lanes *lanes, bool is_first)
{
    struct panel_gradient *panels = l->tensors[to].panels;

    plan->panel = lower_plan(l, lanes->n / PANEL * sizeof(*plan->panel));
    for (size_t p = 0; plan->panel && p < lanes->n / PANEL; p++) {
        bool has_some = has_lanes(lanes, p);

        plan->panel[p].is_there = has_some || (is_first && panels[p].shares == 0);
        plan->panel[p].add = panels[p].begun;
        panels[p].begun |= has_some;
        panels[p].shares -= has_some ? 1 : 0;
        plan->panel[p].finish = panels[p].shares == 0;
    }
    return plan->panel != NULL;
}

static void scatter_panels(struct lowering *l, int tensor, int to,
                           const struct lanes *lanes)
{
    struct scatter_plan *plan = lower_plan(l, sizeof(*plan));
    int root = l->tensors[to].root, *grad = &l->program->of[root].grad;
    struct operand x = lower_operand(l, to);
    struct partition blocks = lower_unit_blocks(l, x.rows, ROWS_PER_SLOT);
    bool is_first = *grad < 0;

    if (!plan || !channels_cut(l, &plan->pieces, lanes) ||
        !plan_panels(l, plan, to, lanes, is_first))
        return;
    if (is_first) {
        *grad = lower_new_gradient(l, root);
        l->tensors[root].sums = lower_gradient_sums(l, to, blocks.rows_per_block);
    }
    if (l->tensors[root].sums.buffer >= 0) /* a block is a slot */
        blocks.rows_per_block = l->tensors[root].sums.rows_per_slot;
    channels_split_panels(l, &blocks, &x);
    plan->x = x;
    plan->g = l->tensors[tensor].stored;
    plan->sums = l->tensors[root].sums;
    lower_scratch(l, ROWS_AT_ONCE * PANEL * sizeof(real));
    lower_planned_call(l, run_scatter, &blocks, plan,
                       (const int[]){*grad, l->program->of[tensor].grad,
                                     x.act == ACT_NONE && x.norm < 0 ? -1 : x.buffer,
                                     x.norm, plan->sums.buffer},
                       N_SCATTER);
}

/* All channels of the source: rows as from any other reader. */
static void scatter_rows(struct lowering *l, int tensor, int to,
                         const struct lanes *lanes)
{
    struct gather_plan *p = lower_plan(l, sizeof(*p));
    struct operand *g = lower_plan(l, sizeof(*g));
    struct partition blocks = lower_row_blocks(&l->program->of[to].at);
    struct delivery d;

    if (!p || !g || !channels_cut(l, &p->pieces, lanes) ||
        !lower_deliver_to(l, &d, to, 0))
        return;
    blocks.rows_per_block *= 2;
    channels_split_panels(l, &blocks, &l->program->of[to].at);
    *g = l->tensors[tensor].stored;
    g->buffer = l->program->of[tensor].grad;
    p->source = g;
    p->n_sources = 1;
    lower_planned_call(l, channels_gather, &blocks, p, (const int[]){d.g, g->buffer}, 2);
    lower_settle(l, &d);
}

static void scatter_layer(struct lowering *l, int tensor, int to,
                          const struct lanes *lanes)
{
    if (l->tensors[to].panels)
        scatter_panels(l, tensor, to, lanes);
    else
        scatter_rows(l, tensor, to, lanes);
}

void lower_move_back(struct lowering *l, const struct node *node)
{
    each_source(l, node->out, scatter_layer);
}
