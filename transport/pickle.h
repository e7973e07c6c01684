/* Python's pickle, as data: a reader that knows the opcodes which plain values,
 * byte strings and calls of a few named globals need, and a writer of protocol 2.
 * The reader runs nothing: a global is looked up in a table of the caller's, and a
 * call of one is handed over as a value with its arguments.
 * Source: CPython, Lib/pickletools.py (the opcodes) and PEP 3154 (protocol 4). */
#ifndef TRANSPORT_PICKLE_H
#define TRANSPORT_PICKLE_H

#include "base/bytes.h"

#include <stdbool.h>

/* What one pickle may hold, whatever its length. */
#define PICKLE_MAX_DEPTH 16             /* containers and calls within each other */
#define PICKLE_MAX_MARKS 32             /* tuples, lists and dicts begun at once */
#define PICKLE_MAX_PAIRS 64             /* of one dict; each key is held against all */
#define PICKLE_MAX_KEY_BYTES 255        /* of a dict's key */
#define PICKLE_MAX_STACK 131072         /* values not yet in a container */
#define PICKLE_MAX_MEMO 1048576         /* numbers of the memo */
#define PICKLE_MAX_STEPS 2097152        /* opcodes */
#define PICKLE_MAX_ARENA_BYTES 67108864 /* memory for the values */

enum pickle_kind {
    PICKLE_NONE,
    PICKLE_BOOL,
    PICKLE_INT,
    PICKLE_FLOAT,
    PICKLE_STRING, /* UTF-8 by promise of the sender; not checked */
    PICKLE_BYTES,
    PICKLE_LIST,
    PICKLE_TUPLE,
    PICKLE_DICT,       /* keys are strings, each there once */
    PICKLE_GLOBAL,     /* one of the caller's table */
    PICKLE_CALL,       /* of such a global: the items are the arguments */
    PICKLE_PERSISTENT, /* a persistent id: the only item is the id */
};

/* A value; everything it points at belongs to the pickle or, bytes and strings, to
 * the text that was read. Values form no cycles; one may be in several places.
 *
 * n       bytes of a string, items of a list, tuple or call, items of a dict (two
 *         for each pair: key, value)
 * global  GLOBAL and CALL: index into the caller's table
 * depth   containers and calls on the longest way down; sealed, cap: the reader's */
struct pickle_value {
    enum pickle_kind kind;
    uint16_t global;
    uint8_t depth;
    bool sealed;
    size_t n;
    size_t cap;
    union {
        bool truth;
        int64_t integer;
        double real;
        const uint8_t *bytes;
        struct pickle_value **items;
    } as;
};

struct pickle_global {
    const char *module;
    const char *name;
};

/* What a pickle may refer to beyond its own bytes.
 *
 * globals         the only ones that may be named; NULL with n_globals 0: none
 * persistent_ids  whether there may be any */
struct pickle_rules {
    const struct pickle_global *globals;
    size_t n_globals;
    bool persistent_ids;
};

struct pickle; /* a pickle that was read */

/* Reads one pickle of protocol 2 to 5.
 *
 * out    receives it; destroy it with pickle_destroy. Borrows `data` until then
 * used   receives its length, what follows is left alone; NULL: nothing may follow
 * rules  NULL: neither globals nor persistent ids
 * Errors: EFORMAT and EUNSUPPORTED (an opcode or global beyond those allowed) with
 * the offset and the name, ELIMIT, ENOMEM. On failure *out is NULL. */
cygnet_status pickle_load(struct pickle **out, const void *data, size_t len, size_t *used,
                          const struct pickle_rules *rules, const cygnet_allocator *alloc,
                          cygnet_error *err);
const struct pickle_value *pickle_root(const struct pickle *pickle);
void pickle_destroy(struct pickle *pickle); /* accepts NULL */

/* Each accepts NULL, which is of no kind. */
static inline bool pickle_is(const struct pickle_value *value, enum pickle_kind kind)
{
    return value && value->kind == kind;
}

bool pickle_is_text(const struct pickle_value *value, const char *text);
bool pickle_is_call(const struct pickle_value *value, size_t global, size_t n_arguments);
bool pickle_int(int64_t *out, const struct pickle_value *value);   /* no bool */
bool pickle_number(double *out, const struct pickle_value *value); /* int or float */

/* NULL when it is no dict or has no such key. */
const struct pickle_value *pickle_member(const struct pickle_value *dict,
                                         const char *key);

/* Writing. A writer remembers its first failure, so calls need no check until
 * pickle_write_finish. Opens and closes must match; a dict takes keys and values in
 * turn. Errors: those of bytes_append; ELIMIT for a string of 4 GiB or more. */
struct pickle_writer {
    struct bytes *out;
    cygnet_error *err;
    cygnet_status status;
};

void pickle_write_begin(struct pickle_writer *w, struct bytes *out, cygnet_error *err);
void pickle_write_open_dict(struct pickle_writer *w);
void pickle_write_close_dict(struct pickle_writer *w);
void pickle_write_open_list(struct pickle_writer *w);
void pickle_write_close_list(struct pickle_writer *w);
void pickle_write_open_tuple(struct pickle_writer *w);
void pickle_write_close_tuple(struct pickle_writer *w);
void pickle_write_text(struct pickle_writer *w, const char *text);
void pickle_write_bytes(struct pickle_writer *w, const void *data, size_t len);
void pickle_write_int(struct pickle_writer *w, int64_t value);
void pickle_write_float(struct pickle_writer *w, double value);
void pickle_write_bool(struct pickle_writer *w, bool value);

/* The global itself; pickle_write_call calls it with the tuple written since. */
void pickle_write_global(struct pickle_writer *w, const char *module, const char *name);
void pickle_write_call(struct pickle_writer *w);
cygnet_status pickle_write_finish(struct pickle_writer *w);

#endif
