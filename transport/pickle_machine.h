/* The stack machine under the reader of pickles: text, stack, marks and memory, and
 * what its opcodes do with them. For pickle_machine.c and pickle_read.c. */
#ifndef TRANSPORT_PICKLE_MACHINE_H
#define TRANSPORT_PICKLE_MACHINE_H

#include "base/arena.h"
#include "transport/pickle.h"

struct pickle {
    const cygnet_allocator *alloc;
    struct arena *arena;
    const struct pickle_value *root;
};

/* data, len, at  the text and the offset of the next byte
 * op_at, op_name of the opcode at work: its offset and name
 * stack          of values; marks are positions in it
 * memo           by number; NULL where nothing was put */
struct machine {
    struct pickle *pickle;
    const struct pickle_rules *rules;
    const uint8_t *data;
    size_t len;
    size_t at;
    size_t op_at;
    const char *op_name;
    struct pickle_value **stack;
    size_t n_stack;
    size_t stack_cap;
    size_t marks[PICKLE_MAX_MARKS];
    size_t n_marks;
    struct pickle_value **memo;
    size_t n_memo;
    size_t memo_cap;
    bool stopped;
};

/* A failure of the opcode at work; machine_bad is EFORMAT. */
cygnet_status machine_refuse(const struct machine *m, cygnet_status status,
                             const char *what, cygnet_error *err);
cygnet_status machine_bad(const struct machine *m, const char *what, cygnet_error *err);
cygnet_status machine_no_memory(const struct machine *m, cygnet_error *err);

/* The next `len` bytes of the text, which are passed. NULL: EFORMAT, it is shorter. */
const uint8_t *machine_take(struct machine *m, uint64_t len, cygnet_error *err);

/* A little-endian number of `width` bytes. Errors: EFORMAT. */
cygnet_status machine_take_number(uint64_t *out, struct machine *m, size_t width,
                                  cygnet_error *err);

/* Room for `needed` pointers, the new ones NULL. Errors: ELIMIT (max), ENOMEM. */
cygnet_status machine_grow(struct machine *m, struct pickle_value ***items, size_t *cap,
                           size_t needed, size_t max, cygnet_error *err);

cygnet_status machine_push(struct machine *m, struct pickle_value *value,
                           cygnet_error *err);

/* Pushes a new value of that kind and returns it for the rest to be filled in.
 * NULL: refused, with the status in *st. */
struct pickle_value *machine_push_new(struct machine *m, enum pickle_kind kind,
                                      cygnet_status *st, cygnet_error *err);

/* Whether `n` values lie above the last mark. Errors: EFORMAT. */
cygnet_status machine_need(const struct machine *m, size_t n, cygnet_error *err);

/* Removes the last mark; *n values lie above it. Errors: EFORMAT. */
cygnet_status machine_pop_mark(size_t *n, struct machine *m, cygnet_error *err);

/* Moves the last `n` values of the stack into the container. A value that lies in
 * another is sealed, so that none can come to hold itself. Errors: EFORMAT, ELIMIT,
 * ENOMEM. */
cygnet_status machine_gather(struct machine *m, struct pickle_value *to, size_t n,
                             cygnet_error *err);

/* Replaces the last `n` values by one that holds them. */
cygnet_status machine_wrap(struct machine *m, enum pickle_kind kind, uint16_t global,
                           size_t n, cygnet_error *err);

#endif
