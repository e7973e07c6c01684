/* Lowering of moves of channels (concatenation, slices, shuffles), forward: their
 * outputs are not stored, and who reads one has its channels gathered. lower.h says how
 * it works. */
#include "engine/nn/lower_channels.h"

#include "base/alloc.h"

#include <string.h>

enum { ELEMENTS_PER_BLOCK = 4096, MANY = 8 };

/* ---- Pieces -------------------------------------------------------------- */

bool channels_begin_lanes(struct lowering *l, struct lanes *lanes, size_t channels)
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

void channels_end_lanes(struct lowering *l, struct lanes *lanes)
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

bool channels_cut(struct lowering *l, struct pieces *out, const struct lanes *lanes)
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

struct span channels_panels(const struct call *call, size_t block)
{
    struct span columns = call_columns(call, block);

    return (struct span){columns.first / PANEL, columns.n / PANEL};
}

void channels_gather(const struct call *call, const struct step *step, size_t block,
                     size_t worker)
{
    const struct gather_plan *p = call->plan;
    struct span rows = call_rows(call, step, block);
    struct span panels = channels_panels(call, block);

    (void)worker;
    for (size_t i = 0; i < panels.n; i++)
        gather_panel(p, step, step_buffer(step, call, 0), panels.first + i, rows);
}

void channels_split_panels(const struct lowering *l, struct partition *blocks,
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
    if (!p->source || !channels_begin_lanes(l, &lanes, from->n))
        return false;
    for (size_t c = 0; c < from->n; c++) {
        int tensor = from->channel[c].tensor;
        struct operand x = as_one ? lower_operand(l, tensor) : lower_plain(l, tensor);

        lanes.lane[c] = (struct lane){source_of(p, x), from->channel[c].channel};
        p->act = x.act;
    }
    done = channels_cut(l, &p->pieces, &lanes);
    channels_end_lanes(l, &lanes);
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
    channels_split_panels(l, &blocks, &l->tensors[node->out].stored);
    lower_planned_call(l, channels_gather, &blocks, p, (const int[]){y}, 1);
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
