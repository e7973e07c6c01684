#include "transport/pickle_machine.h"

#include "base/alloc.h"
#include "base/error.h"

#include <string.h>

#define SMALLEST_CAPACITY 8

cygnet_status machine_refuse(const struct machine *m, cygnet_status status,
                             const char *what, cygnet_error *err)
{
    return fail(err, status, 0, "pickle: byte %zu: %s: %s", m->op_at, m->op_name, what);
}

cygnet_status machine_bad(const struct machine *m, const char *what, cygnet_error *err)
{
    return machine_refuse(m, CYGNET_EFORMAT, what, err);
}

cygnet_status machine_no_memory(const struct machine *m, cygnet_error *err)
{
    return machine_refuse(m, CYGNET_ENOMEM, "out of memory", err);
}

const uint8_t *machine_take(struct machine *m, uint64_t len, cygnet_error *err)
{
    const uint8_t *p = m->data + m->at;

    if (len > m->len - m->at) {
        (void)machine_bad(m, "the text ends within", err);
        return NULL;
    }
    m->at += (size_t)len;
    return p;
}

cygnet_status machine_take_number(uint64_t *out, struct machine *m, size_t width,
                                  cygnet_error *err)
{
    const uint8_t *p = machine_take(m, width, err);
    uint64_t value = 0;

    for (size_t i = width; p && i-- > 0;)
        value = value << 8 | p[i];
    *out = value;
    return p ? CYGNET_OK : CYGNET_EFORMAT;
}

cygnet_status machine_grow(struct machine *m, struct pickle_value ***items, size_t *cap,
                           size_t needed, size_t max, cygnet_error *err)
{
    size_t larger = *cap ? *cap : SMALLEST_CAPACITY;
    struct pickle_value **room;

    if (needed <= *cap)
        return CYGNET_OK;
    if (needed > max)
        return machine_refuse(m, CYGNET_ELIMIT, "more than the reader's limit", err);
    while (larger < needed)
        larger *= 2;
    room = mem_resize(m->pickle->alloc, *items, larger * sizeof(struct pickle_value *));
    if (!room)
        return machine_no_memory(m, err);
    memset(room + *cap, 0, (larger - *cap) * sizeof(struct pickle_value *));
    *items = room;
    *cap = larger;
    return CYGNET_OK;
}

cygnet_status machine_push(struct machine *m, struct pickle_value *value,
                           cygnet_error *err)
{
    cygnet_status st =
        machine_grow(m, &m->stack, &m->stack_cap, m->n_stack + 1, PICKLE_MAX_STACK, err);

    if (st == CYGNET_OK)
        m->stack[m->n_stack++] = value;
    return st;
}

struct pickle_value *machine_push_new(struct machine *m, enum pickle_kind kind,
                                      cygnet_status *st, cygnet_error *err)
{
    struct pickle_value *value = arena_alloc(m->pickle->arena, sizeof(*value));

    if (!value) {
        *st = machine_no_memory(m, err);
        return NULL;
    }
    value->kind = kind;
    *st = machine_push(m, value, err);
    return *st == CYGNET_OK ? value : NULL;
}

/* Values above the last mark, or all of them. */
static size_t n_free(const struct machine *m)
{
    return m->n_stack - (m->n_marks > 0 ? m->marks[m->n_marks - 1] : 0);
}

cygnet_status machine_need(const struct machine *m, size_t n, cygnet_error *err)
{
    return n_free(m) >= n ? CYGNET_OK
                          : machine_bad(m, "the stack has too few values", err);
}

cygnet_status machine_pop_mark(size_t *n, struct machine *m, cygnet_error *err)
{
    *n = 0;
    if (m->n_marks == 0)
        return machine_bad(m, "there is no mark", err);
    *n = n_free(m);
    m->n_marks--;
    return CYGNET_OK;
}

/* Room for `n` more items. Those left behind stay in the arena: no more than are
 * in use. */
static bool make_room(struct machine *m, struct pickle_value *to, size_t n)
{
    size_t cap = to->cap ? to->cap : SMALLEST_CAPACITY;
    struct pickle_value **items;

    if (n <= to->cap - to->n)
        return true;
    if (to->kind != PICKLE_LIST && to->kind != PICKLE_DICT)
        cap = n; /* will not grow again */
    while (cap - to->n < n)
        cap *= 2;
    items = arena_alloc_array(m->pickle->arena, cap, sizeof(struct pickle_value *));
    if (!items)
        return false;
    if (to->n > 0)
        memcpy(items, to->as.items, to->n * sizeof(struct pickle_value *));
    to->as.items = items;
    to->cap = cap;
    return true;
}

cygnet_status machine_gather(struct machine *m, struct pickle_value *to, size_t n,
                             cygnet_error *err)
{
    if (n > 0 && !make_room(m, to, n))
        return machine_no_memory(m, err);
    for (size_t i = m->n_stack - n; i < m->n_stack; i++) {
        struct pickle_value *item = m->stack[i];

        item->sealed = true;
        if (item->depth + 1 > to->depth)
            to->depth = (uint8_t)(item->depth + 1);
        to->as.items[to->n++] = item;
    }
    m->n_stack -= n;
    if (to->sealed)
        return machine_bad(m, "a value changes after it was used", err);
    if (to->depth > PICKLE_MAX_DEPTH)
        return machine_refuse(m, CYGNET_ELIMIT, "values lie too deep in each other", err);
    return CYGNET_OK;
}

cygnet_status machine_wrap(struct machine *m, enum pickle_kind kind, uint16_t global,
                           size_t n, cygnet_error *err)
{
    struct pickle_value *value = arena_alloc(m->pickle->arena, sizeof(*value));
    cygnet_status st;

    if (!value)
        return machine_no_memory(m, err);
    value->kind = kind;
    value->global = global;
    value->depth = 1;
    st = machine_gather(m, value, n, err);
    return st == CYGNET_OK ? machine_push(m, value, err) : st;
}
