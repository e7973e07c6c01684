/* What to make again. The layers are cut into segments: what is read beyond its
 * segment's end is kept, the rest is made again when the backward pass comes to the
 * segment, all of it at once. How much a segment may make again is the one measure
 * that is varied: small segments are many choices, large ones keep less. Each try is
 * lowered, and its memory is what it is.
 * Source: Chen, Xu, Zhang and Guestrin, "Training deep nets with sublinear memory
 * cost", 2016, section 4. */
#include "engine/nn/remake.h"

#include "base/alloc.h"
#include "base/arena.h"
#include "base/error.h"
#include "engine/nn/op.h"

#include <string.h>

/* Room of a segment: at first this part of all candidates, then half as much again.
 * A byte costs about as much time as so many operations. */
enum { FIRST_PART = 64, MAX_TRIES = 10, FLOPS_PER_BYTE = 8, MAX_SEARCH_BYTES = 1 << 24 };

/* An output that can be made again, of a node. */
struct candidate {
    size_t node;
    size_t last_reader;
    uint64_t bytes;
    double cost;
};

/* Candidates [begin, end): those made again, together. */
struct segment {
    size_t begin, end;
    uint64_t saved;
    double cost;
};

/* kept   least bytes that are kept of the first so many candidates
 * begin  of the segment that ends there
 * reach  per tensor: the last node that reads it from memory */
struct search {
    const struct graph *graph;
    const struct kernels *kernels;
    size_t max_batch, n_workers;
    uint64_t max_bytes;
    struct arena *memory;
    struct candidate *candidates;
    struct segment *segments;
    size_t n_candidates, n_segments;
    uint64_t *kept;
    size_t *begin, *reach;
    bool *remade; /* [n_nodes] */
};

/* ---- Candidates ---------------------------------------------------------- */

/* False for outputs that are another's, read another way. */
static bool is_stored(const struct program *p, const struct graph *g,
                      const struct node *node)
{
    int at = p->of[node->out].at.buffer;

    return node->out == g->loss || (at >= 0 && at != p->of[node->in[0]].at.buffer);
}

static void find_readers(struct search *s, const struct program *p)
{
    for (size_t i = s->graph->n_nodes; i-- > 0;) {
        const struct node *node = &s->graph->nodes[i];
        size_t reader = is_stored(p, s->graph, node) ? i : s->reach[node->out];

        for (uint32_t k = 0; k < node->n_in; k++) {
            if (s->reach[node->in[k]] < reader)
                s->reach[node->in[k]] = reader;
        }
    }
}

/* Those that the backward pass wants. */
static void find_candidates(struct search *s, const struct program *p)
{
    for (size_t i = 0; i < s->graph->n_nodes; i++) {
        const struct node *node = &s->graph->nodes[i];
        int at = p->of[node->out].at.buffer;
        struct op_cost cost = {0};

        if (!op_of(node)->can_remake || !is_stored(p, s->graph, node) ||
            p->buffers[at].last < p->backward.begin)
            continue;
        op_of(node)->cost(&cost, s->graph, node);
        s->candidates[s->n_candidates++] =
            (struct candidate){.node = i,
                               .last_reader = s->reach[node->out],
                               .bytes = p->buffers[at].size,
                               .cost = cost.forward_flops +
                                       FLOPS_PER_BYTE * cost.forward_bytes};
    }
}

static bool begin_search(struct search *s, const struct program *p)
{
    size_t n = s->graph->n_nodes;

    s->memory = arena_create(MAX_SEARCH_BYTES, s->graph->alloc);
    if (!s->memory)
        return false;
    s->candidates = arena_alloc(s->memory, n * sizeof(*s->candidates));
    s->segments = arena_alloc(s->memory, n * sizeof(*s->segments));
    s->kept = arena_alloc(s->memory, (n + 1) * sizeof(*s->kept));
    s->begin = arena_alloc(s->memory, (n + 1) * sizeof(*s->begin));
    s->reach = arena_alloc(s->memory, s->graph->n_tensors * sizeof(*s->reach));
    s->remade = arena_alloc(s->memory, n * sizeof(*s->remade));
    if (!s->candidates || !s->segments || !s->kept || !s->begin || !s->reach ||
        !s->remade)
        return false;
    find_readers(s, p);
    find_candidates(s, p);
    return true;
}

/* ---- Segments ------------------------------------------------------------ */

/* True if a candidate of the segment that ends with `end` is read in later ones. */
static bool is_read_after(const struct search *s, size_t candidate, size_t end)
{
    return end < s->n_candidates &&
           s->candidates[candidate].last_reader >= s->candidates[end].node;
}

/* The best begin of a segment that ends with `end` and makes at most `room` again. */
static void end_segment(struct search *s, size_t end, uint64_t room)
{
    uint64_t kept = 0, remade = 0;

    s->kept[end] = UINT64_MAX;
    for (size_t i = end; i-- > 0;) {
        uint64_t bytes = s->candidates[i].bytes;

        *(is_read_after(s, i, end) ? &kept : &remade) += bytes;
        if (remade > room && i + 1 < end)
            return;
        if (s->kept[i] + kept >= s->kept[end])
            continue;
        s->kept[end] = s->kept[i] + kept;
        s->begin[end] = i;
    }
}

static void add_segment(struct search *s, size_t begin, size_t end)
{
    struct segment segment = {.begin = begin, .end = end};

    for (size_t i = begin; i < end; i++) {
        if (is_read_after(s, i, end))
            continue;
        segment.saved += s->candidates[i].bytes;
        segment.cost += s->candidates[i].cost;
    }
    if (segment.saved > 0)
        s->segments[s->n_segments++] = segment;
}

/* The last segment is none to save anything: the backward pass begins with it. */
static void cut(struct search *s, uint64_t room)
{
    size_t end;

    s->n_segments = 0;
    s->kept[0] = 0;
    for (end = 1; end <= s->n_candidates; end++)
        end_segment(s, end, room);
    for (end = s->n_candidates > 0 ? s->begin[s->n_candidates] : 0; end > 0;
         end = s->begin[end])
        add_segment(s, s->begin[end], end);
}

/* Those first that save most for what they cost. */
static void sort_segments(struct search *s)
{
    for (size_t i = 1; i < s->n_segments; i++) {
        struct segment segment = s->segments[i];
        size_t at = i;

        for (; at > 0 && (double)segment.saved * s->segments[at - 1].cost >
                             (double)s->segments[at - 1].saved * segment.cost;
             at--)
            s->segments[at] = s->segments[at - 1];
        s->segments[at] = segment;
    }
}

/* ---- Plans --------------------------------------------------------------- */

/* The plan that makes the first n segments again. */
static cygnet_status lower_with(struct search *s, struct program *out, size_t n,
                                cygnet_error *err)
{
    memset(s->remade, 0, s->graph->n_nodes * sizeof(*s->remade));
    for (size_t k = 0; k < n; k++) {
        size_t end = s->segments[k].end;

        for (size_t i = s->segments[k].begin; i < end; i++)
            s->remade[s->candidates[i].node] = !is_read_after(s, i, end);
    }
    program_clear(out);
    return lower_graph(out, s->graph, s->kernels, s->max_batch, s->n_workers, s->remade,
                       err);
}

static bool fits(const struct search *s, const struct program *p)
{
    return program_bytes(p) <= s->max_bytes;
}

/* What it costs to save so many bytes with the segments, if each saves what it makes
 * again. Sorts them. */
static double cost_of_saving(struct search *s, uint64_t bytes)
{
    uint64_t saved = 0;
    double cost = 0;

    sort_segments(s);
    for (size_t i = 0; i < s->n_segments && saved < bytes; i++) {
        saved += s->segments[i].saved;
        cost += s->segments[i].cost;
    }
    return cost;
}

/* All segments fit, none of them does not. */
static cygnet_status use_few(struct search *s, struct program *out, cygnet_error *err)
{
    size_t too_few = 0, enough = s->n_segments;
    cygnet_status st = CYGNET_OK;

    sort_segments(s);
    while (st == CYGNET_OK && enough - too_few > 1) {
        size_t n = too_few + (enough - too_few) / 2;

        st = lower_with(s, out, n, err);
        if (st == CYGNET_OK)
            *(fits(s, out) ? &enough : &too_few) = n;
    }
    return st == CYGNET_OK ? lower_with(s, out, enough, err) : st;
}

/* Of all rooms that were tried. Room 0 makes nothing again.
 *
 * frugal  takes least memory
 * cheap   is expected to cost least of those that fit */
struct rooms {
    uint64_t frugal, least_bytes;
    uint64_t cheap;
    double least_cost;
    bool fits;
};

static void note_room(struct rooms *r, struct search *s, uint64_t room, uint64_t bytes,
                      uint64_t whole)
{
    double cost;

    if (bytes < r->least_bytes) {
        r->least_bytes = bytes;
        r->frugal = room;
    }
    if (bytes > s->max_bytes)
        return;
    cost = cost_of_saving(s, whole - s->max_bytes);
    if (r->fits && cost >= r->least_cost)
        return;
    r->fits = true;
    r->cheap = room;
    r->least_cost = cost;
}

/* *out is the plan that keeps all, and does not fit. */
static cygnet_status search(struct search *s, struct program *out, cygnet_error *err)
{
    uint64_t room = 0, whole = program_bytes(out);
    struct rooms rooms = {.least_bytes = whole};
    cygnet_status st = CYGNET_OK;

    for (size_t i = 0; i < s->n_candidates; i++)
        room += s->candidates[i].bytes;
    room /= FIRST_PART;
    for (size_t i = 0; st == CYGNET_OK && i < MAX_TRIES; i++, room += room / 2) {
        cut(s, room);
        st = lower_with(s, out, s->n_segments, err);
        if (st == CYGNET_OK)
            note_room(&rooms, s, room, program_bytes(out), whole);
    }
    if (st != CYGNET_OK)
        return st;
    cut(s, rooms.fits ? rooms.cheap : rooms.frugal);
    if (rooms.fits)
        return use_few(s, out, err);
    return lower_with(s, out, rooms.frugal > 0 ? s->n_segments : 0, err);
}

cygnet_status remake_lower(struct program *out, const struct graph *graph,
                           const struct kernels *kernels, size_t max_batch,
                           size_t n_workers, uint64_t max_bytes, cygnet_error *err)
{
    struct search s = {.graph = graph,
                       .kernels = kernels,
                       .max_batch = max_batch,
                       .n_workers = n_workers,
                       .max_bytes = max_bytes};
    cygnet_status st = lower_graph(out, graph, kernels, max_batch, n_workers, NULL, err);

    if (st != CYGNET_OK || fits(&s, out))
        return st;
    if (begin_search(&s, out)) {
        st = search(&s, out, err);
    } else {
        program_clear(out);
        st = fail(err, CYGNET_ENOMEM, 0, "out of memory while planning the model");
    }
    arena_destroy(s.memory);
    return st;
}
