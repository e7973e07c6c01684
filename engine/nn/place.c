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

static bool collides(const struct buffer *a, const struct buffer *b)
{
    return a->placed && a->first <= b->last && b->first <= a->last &&
           a->offset < b->offset + aligned(b->size) &&
           b->offset < a->offset + aligned(a->size);
}

/* Pushes the buffer above the first one it collides with; false: none. */
static bool push_up(struct buffer *b, const struct buffer *buffers, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (collides(&buffers[i], b)) {
            b->offset = buffers[i].offset + aligned(buffers[i].size);
            return true;
        }
    }
    return false;
}

uint64_t place_buffers(struct buffer *buffers, size_t n)
{
    uint64_t end = 0;

    for (;;) {
        struct buffer *b = largest_unplaced(buffers, n);

        if (!b)
            return end;
        b->offset = 0;
        while (push_up(b, buffers, n))
            continue;
        b->placed = true;
        if (b->offset + aligned(b->size) > end)
            end = b->offset + aligned(b->size);
    }
}
