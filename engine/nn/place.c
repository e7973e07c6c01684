/* Placing buffers in the arena. */
#include "engine/nn/place.h"

static uint64_t aligned(uint64_t bytes)
{
    return (bytes + BUFFER_ALIGNMENT - 1) / BUFFER_ALIGNMENT * BUFFER_ALIGNMENT;
}

static bool wants_place(const struct buffer *b)
{
    return b->used && !b->external && !b->placed;
}

static struct buffer *largest_unplaced(struct buffer *buffers, size_t n)
{
    struct buffer *largest = NULL;

    for (size_t i = 0; i < n; i++) {
        if (wants_place(&buffers[i]) && (!largest || buffers[i].size > largest->size))
            largest = &buffers[i];
    }
    return largest;
}

/* True if the buffer holds something in one of the calls [first, last]. */
static bool lives_in(const struct buffer *b, uint32_t first, uint32_t last)
{
    if (b->resumed == 0)
        return b->first <= last && first <= b->last;
    return (b->first <= last && first < b->gap) ||
           (b->resumed <= last && first <= b->last);
}

static bool live_together(const struct buffer *a, const struct buffer *b)
{
    if (a->resumed == 0)
        return lives_in(b, a->first, a->last);
    return lives_in(b, a->first, a->gap - 1) || lives_in(b, a->resumed, a->last);
}

/* The lowest place that is free for as long as the buffer lives. `lowest` begins the
 * list of those that have a place, by offset. */
static void find_place(struct buffer *b, const struct buffer *buffers, int lowest)
{
    b->offset = 0;
    for (int i = lowest; i >= 0; i = buffers[i].next) {
        const struct buffer *other = &buffers[i];

        if (other->offset >= b->offset + aligned(b->size))
            return;
        if (live_together(other, b) && other->offset + aligned(other->size) > b->offset)
            b->offset = other->offset + aligned(other->size);
    }
}

/* Into the list. */
static void insert(struct buffer *b, struct buffer *buffers, int *lowest)
{
    int *at = lowest;

    while (*at >= 0 && buffers[*at].offset < b->offset)
        at = &buffers[*at].next;
    b->next = *at;
    *at = (int)(b - buffers);
    b->placed = true;
}

uint64_t place_buffers(struct buffer *buffers, size_t n)
{
    uint64_t end = 0;
    int lowest = -1;

    for (;;) {
        struct buffer *b = largest_unplaced(buffers, n);

        if (!b)
            return end;
        find_place(b, buffers, lowest);
        insert(b, buffers, &lowest);
        if (b->offset + aligned(b->size) > end)
            end = b->offset + aligned(b->size);
    }
}
