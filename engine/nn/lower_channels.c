/* Lowering of moves of channels (concatenation, slices, shuffles). Their outputs are
 * not stored: who reads one has its channels gathered, and the gradient goes from
 * there to where each channel came from. lower.h says how it works. */
#include "engine/nn/lower_parts.h"
#include "engine/nn/op.h"

#include "base/alloc.h"

#include <string.h>

enum { ROWS_PER_SLOT = 512, ROWS_AT_ONCE = 128, ELEMENTS_PER_BLOCK = 4096, MANY = 8 };

/* ---- Pieces -------------------------------------------------------------- */

/* Lanes of a panel that come from one panel of one source. */
struct piece {
    uint32_t source;
    uint32_t panel;
    int8_t lane[PANEL];
};

/* Panel p is made of pieces [first[p], first[p + 1]). */
struct pieces {
    size_t n_panels;
    size_t *first;
    struct piece *piece;
};

/* Where each lane of some panels comes from: source -1: from nowhere. */
struct lanes {
    size_t n;
    struct lane {
        int source;
        size_t channel;
    } * lane;
};

static bool begin_lanes(struct lowering *l, struct lanes *lanes, size_t channels)
{
    lanes->n = padded(channels);
    lanes->lane = l->out_of_memory
                      ? NULL
                      : mem_alloc(l->program->alloc, lanes->n * sizeof(*lanes->lane));
    l->out_of_memory |= !lanes->lane;
    for (size_t i = 0; lanes->lane && i < lanes->n; i++)
        lanes->lane[i] = (struct lane){-1, 0};
    return lanes->lane != NULL;
}

static void end_lanes(struct lowering *l, struct lanes *lanes)
{
    mem_free(l->program->alloc, lanes->lane);
}

/* Sorts the lanes of one panel into pieces; their number. */
static size_t cut_panel(struct piece out[PANEL], const struct lane lanes[PANEL])
{
    size_t n = 0;

    for (size_t l = 0; l < PANEL; l++) {
        size_t i = 0;

        if (lanes[l].source < 0)
            continue;
        while (i < n && (out[i].source != (uint32_t)lanes[l].source ||
                         out[i].panel != lanes[l].channel / PANEL))
            i++;
        if (i == n) {
            out[n].source = (uint32_t)lanes[l].source;
            out[n].panel = (uint32_t)(lanes[l].channel / PANEL);
            memset(out[n++].lane, -1, PANEL);
        }
        out[i].lane[l] = (int8_t)(lanes[l].channel % PANEL);
    }
    return n;
}

static bool cut(struct lowering *l, struct pieces *out, const struct lanes *lanes)
{
    struct piece found[PANEL];
    size_t n = 0;

    out->n_panels = lanes->n / PANEL;
    for (size_t p = 0; p < out->n_panels; p++)
        n += cut_panel(found, lanes->lane + p * PANEL);
    out->first = lower_plan(l, (out->n_panels + 1) * sizeof(*out->first));
    out->piece = lower_plan(l, (n > 0 ? n : 1) * sizeof(*out->piece));
    if (!out->first || !out->piece)
        return false;
    for (size_t p = 0; p < out->n_panels; p++) {
        size_t in_panel = cut_panel(found, lanes->lane + p * PANEL);

        memcpy(out->piece + out->first[p], found, in_panel * sizeof(*found));
        out->first[p + 1] = out->first[p] + in_panel;
    }
    return true;
}

/* ---- Gathering ----------------------------------------------------------- */

/* plan: y, channel by channel, is what the sources are read as. */
struct gather_plan {
    struct pieces pieces;
    struct operand *source;
    size_t n_sources;
    enum activation act; /* of all of them */
};

/* Scale and shift of a panel's lanes. */
struct panel_reading {
    real scale[PANEL], shift[PANEL];
};

static struct reading reading_of_panel(struct panel_reading *out,
                                       const struct gather_plan *p, size_t panel,
                                       const struct step *step)
{
    struct reading reading = {NULL, NULL, p->act};

    memset(out, 0, sizeof(*out));
    for (size_t i = p->pieces.first[panel]; i < p->pieces.first[panel + 1]; i++) {
        const struct piece *piece = &p->pieces.piece[i];
        struct reading from = reading_of(step, &p->source[piece->source]);

        for (size_t l = 0; l < PANEL; l++) {
            size_t c = piece->panel * PANEL + (size_t)(piece->lane[l] & (PANEL - 1));

            if (piece->lane[l] < 0)
                continue;
            out->scale[l] = from.scale ? from.scale[c] : 1;
            out->shift[l] = from.scale ? from.shift[c] : 0;
        }
        if (from.scale)
            reading.scale = out->scale, reading.shift = out->shift;
    }
    return reading;
}

static void gather_panel(const struct gather_plan *p, const struct step *step, real *y,
                         size_t panel, struct span rows)
{
    size_t first = p->pieces.first[panel], n = p->pieces.first[panel + 1] - first;
    struct panel_reading vectors;
    struct reading reading = reading_of_panel(&vectors, p, panel, step);
    struct moved from[PANEL];
    size_t pitch = p->pieces.n_panels * PANEL;

    for (size_t i = 0; i < n; i++) {
        const struct piece *piece = &p->pieces.piece[first + i];
        const struct operand *x = &p->source[piece->source];
        const real *z = step_data(step, x->buffer);

        from[i] = (struct moved){z + rows.first * x->channels + piece->panel * PANEL,
                                 x->channels, piece->lane};
    }
    step->kernels->move(y + rows.first * pitch + panel * PANEL, pitch, from, n, &reading,
                        rows.n);
}

/* The panels of a block. */
static struct span panels_of_block(const struct call *call, size_t block)
{
    struct span columns = call_columns(call, block);

    return (struct span){columns.first / PANEL, columns.n / PANEL};
}

static void run_gather(const struct call *call, const struct step *step, size_t block,
                       size_t worker)
{
    const struct gather_plan *p = call->plan;
    struct span rows = call_rows(call, step, block);
    struct span panels = panels_of_block(call, block);

    (void)worker;
    for (size_t i = 0; i < panels.n; i++)
        gather_panel(p, step, step_buffer(step, call, 0), panels.first + i, rows);
}

/* Blocks of few rows are split by panels, of which each has its own lanes to look up. */
static void split_panels(const struct lowering *l, struct partition *blocks,
                         const struct operand *x)
{
    size_t rows = l->max_batch * x->rows, n = x->channels;

    blocks->n_columns = blocks->columns_per_block = n;
    if (rows >= MANY * blocks->rows_per_block)
        return;
    if (rows > blocks->rows_per_block)
        rows = blocks->rows_per_block;
    if (rows * n > ELEMENTS_PER_BLOCK)
        blocks->columns_per_block = padded(lower_rows_for(ELEMENTS_PER_BLOCK, rows));
}

/* The place of a tensor among the sources, which it joins. */
static int source_of(struct gather_plan *p, struct operand x)
{
    size_t i = 0;

    while (i < p->n_sources && p->source[i].buffer != x.buffer)
        i++;
    if (i == p->n_sources)
        p->source[p->n_sources++] = x;
    return (int)i;
}

/* True if one function reads all channels, and leaves the padding 0. */
static bool reads_as_one(struct lowering *l, const struct channel_list *from)
{
    enum activation act = lower_operand(l, from->channel[0].tensor).act;

    for (size_t c = 1; c < from->n; c++) {
        if (lower_operand(l, from->channel[c].tensor).act != act)
            return false;
    }
    return lower_keeps_zero(act);
}

/* True if all sources are stored, and read where they are. */
static bool is_lasting(struct lowering *l, const struct channel_list *from)
{
    for (size_t c = 0; c < from->n; c++) {
        if (l->tensors[from->channel[c].tensor].make)
            return false;
    }
    return reads_as_one(l, from);
}

static size_t count_sources(const struct channel_list *from)
{
    size_t n = 0;

    for (size_t c = 0; c < from->n; c++)
        n += c == 0 || from->channel[c].tensor != from->channel[c - 1].tensor ? 1 : 0;
    return n;
}

static bool plan_gather(struct lowering *l, struct gather_plan *p,
                        const struct channel_list *from)
{
    bool as_one = reads_as_one(l, from), done;
    struct lanes lanes;

    p->source = lower_plan(l, count_sources(from) * sizeof(*p->source));
    if (!p->source || !begin_lanes(l, &lanes, from->n))
        return false;
    for (size_t c = 0; c < from->n; c++) {
        int tensor = from->channel[c].tensor;
        struct operand x = as_one ? lower_operand(l, tensor) : lower_plain(l, tensor);

        lanes.lane[c] = (struct lane){source_of(p, x), from->channel[c].channel};
        p->act = x.act;
    }
    done = cut(l, &p->pieces, &lanes);
    end_lanes(l, &lanes);
    return done;
}

/* The plan of the forward pass serves the backward pass too, if it reads the same
 * buffers. */
static const struct gather_plan *gather_of(struct lowering *l, int tensor)
{
    struct lowered_tensor *t = &l->tensors[tensor];
    struct gather_plan *p;

    for (size_t c = 0; c < t->from->n; c++) /* the plan itself may be there already */
        lower_bring_back(l, l->tensors[t->from->channel[c].tensor].root);
    if (t->gather)
        return t->gather;
    p = lower_plan(l, sizeof(*p));
    if (!p || !plan_gather(l, p, t->from))
        return NULL;
    if (is_lasting(l, t->from))
        t->gather = p;
    return p;
}

static void make(struct lowering *l, const struct node *node, int y)
{
    const struct gather_plan *p = gather_of(l, node->out);
    struct partition blocks = lower_row_blocks(&l->tensors[node->out].stored);

    if (!p)
        return;
    blocks.rows_per_block *= 2;
    split_panels(l, &blocks, &l->tensors[node->out].stored);
    lower_planned_call(l, run_gather, &blocks, p, (const int[]){y}, 1);
    for (size_t i = 0; i < p->n_sources; i++) {
        lower_use(l, p->source[i].buffer);
        lower_use(l, p->source[i].norm);
    }
}

/* ---- Values -------------------------------------------------------------- */

void lower_move(struct lowering *l, const struct node *node, struct channel_list *from)
{
    struct lowered_tensor *t = &l->tensors[node->out];

    for (size_t c = 0; c < from->n; c++) {
        struct channel *channel = &from->channel[c];
        const struct channel_list *further = l->tensors[channel->tensor].from;

        if (further)
            *channel = further->channel[channel->channel];
        else if (l->tensors[channel->tensor].root < 0)
            (void)lower_operand(l, channel->tensor); /* the input */
    }
    t->from = from;
    lower_remake(l, node, make);
    if (t->shares > 0 &&
        l->graph->tensors[node->out]
            .needs_grad) { /* not this node is a reader, but those of its output */
        for (uint32_t i = 0; i < node->n_in; i++)
            l->tensors[node->in[i]].shares--;
    }
}

struct channel_list *lower_channels(struct lowering *l, const struct node *node)
{
    size_t n = l->graph->tensors[node->out].shape.dim[0];
    struct channel_list *list = lower_plan(l, sizeof(*list));
    struct channel *channels = lower_plan(l, n * sizeof(*channels));

    if (!list || !channels)
        return NULL;
    *list = (struct channel_list){n, channels};
    return list;
}

/* ---- Gradients ----------------------------------------------------------- */

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

    if (!begin_lanes(l, &lanes, channels))
        return;
    for (size_t i = 0; fill_lanes(&lanes, l->tensors[tensor].from, to, i); i++)
        visit(l, tensor, to, &lanes);
    end_lanes(l, &lanes);
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
    struct span panels = panels_of_block(call, block);
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

    if (!plan || !cut(l, &plan->pieces, lanes) ||
        !plan_panels(l, plan, to, lanes, is_first))
        return;
    if (is_first) {
        *grad = lower_new_gradient(l, root);
        l->tensors[root].sums = lower_gradient_sums(l, to, blocks.rows_per_block);
    }
    if (l->tensors[root].sums.buffer >= 0) /* a block is a slot */
        blocks.rows_per_block = l->tensors[root].sums.rows_per_slot;
    split_panels(l, &blocks, &x);
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

    if (!p || !g || !cut(l, &p->pieces, lanes) || !lower_deliver_to(l, &d, to, 0))
        return;
    blocks.rows_per_block *= 2;
    split_panels(l, &blocks, &l->program->of[to].at);
    *g = l->tensors[tensor].stored;
    g->buffer = l->program->of[tensor].grad;
    p->source = g;
    p->n_sources = 1;
    lower_planned_call(l, run_gather, &blocks, p, (const int[]){d.g, g->buffer}, 2);
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
