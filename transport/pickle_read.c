/* The reader: one function for each kind of opcode, and the table of them. */
#include "base/alloc.h"
#include "base/error.h"
#include "transport/pickle_machine.h"

#include <assert.h>
#include <string.h>

#define NAME_SHOWN 80 /* bytes of a global's name in an error */

/* run    NULL: refused
 * width  bytes of the number behind it, or values that a tuple takes
 * kind   of the value it makes */
struct opcode {
    const char *name;
    cygnet_status (*run)(struct machine *m, const struct opcode *op, cygnet_error *err);
    uint8_t width;
    enum pickle_kind kind;
};

static cygnet_status run_proto(struct machine *m, const struct opcode *op,
                               cygnet_error *err)
{
    uint64_t version;
    cygnet_status st = machine_take_number(&version, m, 1, err);

    (void)op;
    if (st != CYGNET_OK)
        return st;
    if (m->op_at != 0)
        return machine_bad(m, "stands at the beginning only", err);
    if (version < 2 || version > 5)
        return fail(err, CYGNET_EUNSUPPORTED, 0, "pickle: protocol %u is not known",
                    (unsigned)version);
    return CYGNET_OK;
}

/* Frames only promise what follows; long strings lie outside of them. */
static cygnet_status run_frame(struct machine *m, const struct opcode *op,
                               cygnet_error *err)
{
    uint64_t len;
    cygnet_status st = machine_take_number(&len, m, 8, err);

    (void)op;
    if (st == CYGNET_OK && len > m->len - m->at)
        return machine_bad(m, "the text ends within", err);
    return st;
}

static cygnet_status run_stop(struct machine *m, const struct opcode *op,
                              cygnet_error *err)
{
    (void)op;
    if (m->n_stack != 1 || m->n_marks != 0)
        return machine_bad(m, "the stack does not hold one value", err);
    m->pickle->root = m->stack[0];
    m->stopped = true;
    return CYGNET_OK;
}

static cygnet_status run_mark(struct machine *m, const struct opcode *op,
                              cygnet_error *err)
{
    (void)op;
    if (m->n_marks == PICKLE_MAX_MARKS)
        return machine_refuse(m, CYGNET_ELIMIT, "too many marks", err);
    m->marks[m->n_marks++] = m->n_stack;
    return CYGNET_OK;
}

static cygnet_status run_none(struct machine *m, const struct opcode *op,
                              cygnet_error *err)
{
    cygnet_status st;

    (void)op;
    (void)machine_push_new(m, PICKLE_NONE, &st, err);
    return st;
}

static cygnet_status run_bool(struct machine *m, const struct opcode *op,
                              cygnet_error *err)
{
    cygnet_status st;
    struct pickle_value *value = machine_push_new(m, PICKLE_BOOL, &st, err);

    if (value)
        value->as.truth = op->width != 0;
    return st;
}

/* `bits` wide two's complement, or unsigned with `bits` 64 and room to spare. */
static cygnet_status push_int(struct machine *m, uint64_t raw, unsigned bits,
                              cygnet_error *err)
{
    cygnet_status st;
    struct pickle_value *value = machine_push_new(m, PICKLE_INT, &st, err);

    if (bits < 64 && raw >> (bits - 1) & 1)
        raw |= ~UINT64_C(0) << bits;
    if (value)
        memcpy(&value->as.integer, &raw, sizeof(raw));
    return st;
}

/* Only four bytes have a sign. */
static cygnet_status run_binint(struct machine *m, const struct opcode *op,
                                cygnet_error *err)
{
    uint64_t raw;
    cygnet_status st = machine_take_number(&raw, m, op->width, err);

    return st == CYGNET_OK ? push_int(m, raw, op->width == 4 ? 32 : 64, err) : st;
}

static cygnet_status run_long1(struct machine *m, const struct opcode *op,
                               cygnet_error *err)
{
    uint64_t width;
    uint64_t raw = 0;
    cygnet_status st = machine_take_number(&width, m, 1, err);

    (void)op;
    if (st == CYGNET_OK && width > 8)
        return machine_refuse(m, CYGNET_ELIMIT, "a number of more than 64 bits", err);
    if (st == CYGNET_OK)
        st = machine_take_number(&raw, m, (size_t)width, err);
    if (st != CYGNET_OK)
        return st;
    return push_int(m, raw, width > 0 ? 8 * (unsigned)width : 64, err);
}

static cygnet_status run_binfloat(struct machine *m, const struct opcode *op,
                                  cygnet_error *err)
{
    const uint8_t *p = machine_take(m, 8, err);
    struct pickle_value *value;
    uint64_t bits = 0;
    cygnet_status st;

    (void)op;
    if (!p)
        return CYGNET_EFORMAT;
    for (size_t i = 0; i < 8; i++)
        bits = bits << 8 | p[i];
    value = machine_push_new(m, PICKLE_FLOAT, &st, err);
    if (value)
        memcpy(&value->as.real, &bits, sizeof(bits));
    return st;
}

/* A length and so many bytes behind it. */
static cygnet_status run_string(struct machine *m, const struct opcode *op,
                                cygnet_error *err)
{
    const uint8_t *p;
    uint64_t len;
    cygnet_status st = machine_take_number(&len, m, op->width, err);
    struct pickle_value *value;

    if (st != CYGNET_OK)
        return st;
    p = machine_take(m, len, err);
    if (!p)
        return CYGNET_EFORMAT;
    value = machine_push_new(m, op->kind, &st, err);
    if (value) {
        value->as.bytes = p;
        value->n = (size_t)len;
    }
    return st;
}

static cygnet_status run_container(struct machine *m, const struct opcode *op,
                                   cygnet_error *err)
{
    cygnet_status st = machine_need(m, op->width, err);

    return st == CYGNET_OK ? machine_wrap(m, op->kind, 0, op->width, err) : st;
}

static cygnet_status run_tuple(struct machine *m, const struct opcode *op,
                               cygnet_error *err)
{
    size_t n;
    cygnet_status st = machine_pop_mark(&n, m, err);

    (void)op;
    return st == CYGNET_OK ? machine_wrap(m, PICKLE_TUPLE, 0, n, err) : st;
}

/* The last `n` values go to the list below them. */
static cygnet_status append(struct machine *m, size_t n, cygnet_error *err)
{
    cygnet_status st = machine_need(m, n + 1, err);
    struct pickle_value *list;

    if (st != CYGNET_OK)
        return st;
    list = m->stack[m->n_stack - n - 1];
    if (list->kind != PICKLE_LIST)
        return machine_bad(m, "there is no list", err);
    return machine_gather(m, list, n, err);
}

static cygnet_status run_append(struct machine *m, const struct opcode *op,
                                cygnet_error *err)
{
    (void)op;
    return append(m, 1, err);
}

static cygnet_status run_appends(struct machine *m, const struct opcode *op,
                                 cygnet_error *err)
{
    size_t n;
    cygnet_status st = machine_pop_mark(&n, m, err);

    (void)op;
    return st == CYGNET_OK ? append(m, n, err) : st;
}

static bool same_bytes(const struct pickle_value *a, const struct pickle_value *b)
{
    return a->n == b->n && (a->n == 0 || memcmp(a->as.bytes, b->as.bytes, a->n) == 0);
}

/* Of the pairs from `first` on. */
static cygnet_status check_keys(const struct machine *m, const struct pickle_value *dict,
                                size_t first, cygnet_error *err)
{
    for (size_t i = first; i < dict->n; i += 2) {
        const struct pickle_value *key = dict->as.items[i];

        if (key->kind != PICKLE_STRING || key->n > PICKLE_MAX_KEY_BYTES)
            return machine_bad(m, "a key is not a short string", err);
        for (size_t j = 0; j < i; j += 2)
            if (same_bytes(key, dict->as.items[j]))
                return machine_bad(m, "a key is there twice", err);
    }
    return CYGNET_OK;
}

/* The last `n` values go to the dict below them, as keys and values in turn. */
static cygnet_status set_items(struct machine *m, size_t n, cygnet_error *err)
{
    cygnet_status st = machine_need(m, n + 1, err);
    struct pickle_value *dict;

    if (st != CYGNET_OK)
        return st;
    dict = m->stack[m->n_stack - n - 1];
    if (dict->kind != PICKLE_DICT)
        return machine_bad(m, "there is no dict", err);
    if (n % 2 != 0)
        return machine_bad(m, "a key has no value", err);
    if (n > (size_t)2 * PICKLE_MAX_PAIRS - dict->n)
        return machine_refuse(m, CYGNET_ELIMIT, "a dict has too many pairs", err);
    st = machine_gather(m, dict, n, err);
    return st == CYGNET_OK ? check_keys(m, dict, dict->n - n, err) : st;
}

static cygnet_status run_setitem(struct machine *m, const struct opcode *op,
                                 cygnet_error *err)
{
    (void)op;
    return set_items(m, 2, err);
}

static cygnet_status run_setitems(struct machine *m, const struct opcode *op,
                                  cygnet_error *err)
{
    size_t n;
    cygnet_status st = machine_pop_mark(&n, m, err);

    (void)op;
    return st == CYGNET_OK ? set_items(m, n, err) : st;
}

static cygnet_status memo_put(struct machine *m, uint64_t number, cygnet_error *err)
{
    cygnet_status st = machine_need(m, 1, err);

    if (st == CYGNET_OK && number >= PICKLE_MAX_MEMO)
        return machine_refuse(m, CYGNET_ELIMIT, "a number beyond the memo", err);
    if (st == CYGNET_OK)
        st = machine_grow(m, &m->memo, &m->memo_cap, (size_t)number + 1, PICKLE_MAX_MEMO,
                          err);
    if (st != CYGNET_OK)
        return st;
    m->n_memo += m->memo[number] == NULL;
    m->memo[number] = m->stack[m->n_stack - 1];
    return CYGNET_OK;
}

static cygnet_status run_memoize(struct machine *m, const struct opcode *op,
                                 cygnet_error *err)
{
    (void)op;
    return memo_put(m, m->n_memo, err);
}

static cygnet_status run_put(struct machine *m, const struct opcode *op,
                             cygnet_error *err)
{
    uint64_t number;
    cygnet_status st = machine_take_number(&number, m, op->width, err);

    return st == CYGNET_OK ? memo_put(m, number, err) : st;
}

static cygnet_status run_get(struct machine *m, const struct opcode *op,
                             cygnet_error *err)
{
    uint64_t number;
    cygnet_status st = machine_take_number(&number, m, op->width, err);

    if (st == CYGNET_OK && (number >= m->memo_cap || !m->memo[number]))
        return machine_bad(m, "nothing has that number in the memo", err);
    return st == CYGNET_OK ? machine_push(m, m->memo[number], err) : st;
}

/* Copies what of the name can be shown. */
static void show(char out[NAME_SHOWN + 1], const struct pickle_value *text)
{
    size_t n = text->n < NAME_SHOWN ? text->n : NAME_SHOWN;

    for (size_t i = 0; i < n; i++)
        out[i] = (char)(text->as.bytes[i] > 0x20 && text->as.bytes[i] < 0x7f
                            ? text->as.bytes[i]
                            : '?');
    out[n] = '\0';
}

static cygnet_status push_global(struct machine *m, const struct pickle_value *module,
                                 const struct pickle_value *name, cygnet_error *err)
{
    char shown[2][NAME_SHOWN + 1];
    struct pickle_value *value;
    cygnet_status st;

    for (size_t i = 0; i < m->rules->n_globals; i++)
        if (pickle_is_text(module, m->rules->globals[i].module) &&
            pickle_is_text(name, m->rules->globals[i].name)) {
            value = machine_push_new(m, PICKLE_GLOBAL, &st, err);
            if (value)
                value->global = (uint16_t)i;
            return st;
        }
    show(shown[0], module);
    show(shown[1], name);
    return fail(err, CYGNET_EUNSUPPORTED, 0,
                "pickle: byte %zu: the global \"%s %s\" is not allowed", m->op_at,
                shown[0], shown[1]);
}

static cygnet_status take_line(struct pickle_value *out, struct machine *m,
                               cygnet_error *err)
{
    const uint8_t *line = m->data + m->at;
    const uint8_t *end = memchr(line, '\n', m->len - m->at);

    if (!end)
        return machine_bad(m, "the text ends within", err);
    memset(out, 0, sizeof(*out));
    out->kind = PICKLE_STRING;
    out->as.bytes = line;
    out->n = (size_t)(end - line);
    m->at += out->n + 1;
    return CYGNET_OK;
}

static cygnet_status run_global(struct machine *m, const struct opcode *op,
                                cygnet_error *err)
{
    struct pickle_value module, name;
    cygnet_status st = take_line(&module, m, err);

    (void)op;
    if (st == CYGNET_OK)
        st = take_line(&name, m, err);
    return st == CYGNET_OK ? push_global(m, &module, &name, err) : st;
}

static cygnet_status run_stack_global(struct machine *m, const struct opcode *op,
                                      cygnet_error *err)
{
    cygnet_status st = machine_need(m, 2, err);
    const struct pickle_value *module, *name;

    (void)op;
    if (st != CYGNET_OK)
        return st;
    name = m->stack[--m->n_stack];
    module = m->stack[--m->n_stack];
    if (module->kind != PICKLE_STRING || name->kind != PICKLE_STRING)
        return machine_bad(m, "module and name are not strings", err);
    return push_global(m, module, name, err);
}

/* Nothing is called: the global and its arguments become a value. */
static cygnet_status run_reduce(struct machine *m, const struct opcode *op,
                                cygnet_error *err)
{
    cygnet_status st = machine_need(m, 2, err);
    const struct pickle_value *callee, *arguments;

    (void)op;
    if (st != CYGNET_OK)
        return st;
    arguments = m->stack[--m->n_stack];
    callee = m->stack[--m->n_stack];
    if (callee->kind != PICKLE_GLOBAL || arguments->kind != PICKLE_TUPLE)
        return machine_bad(m, "only a global is called, with a tuple", err);
    for (size_t i = 0; i < arguments->n && st == CYGNET_OK; i++)
        st = machine_push(m, arguments->as.items[i], err);
    if (st != CYGNET_OK)
        return st;
    return machine_wrap(m, PICKLE_CALL, callee->global, arguments->n, err);
}

static cygnet_status run_binpersid(struct machine *m, const struct opcode *op,
                                   cygnet_error *err)
{
    cygnet_status st = machine_need(m, 1, err);

    (void)op;
    if (st != CYGNET_OK)
        return st;
    if (!m->rules->persistent_ids)
        return machine_refuse(m, CYGNET_EUNSUPPORTED, "is not allowed here", err);
    return machine_wrap(m, PICKLE_PERSISTENT, 0, 1, err);
}

/* Those without a function are Python's too; they are named for the error. */
static const struct opcode opcodes[256] = {
    ['('] = {"MARK", run_mark, 0, PICKLE_NONE},
    ['.'] = {"STOP", run_stop, 0, PICKLE_NONE},
    [')'] = {"EMPTY_TUPLE", run_container, 0, PICKLE_TUPLE},
    ['B'] = {"BINBYTES", run_string, 4, PICKLE_BYTES},
    ['C'] = {"SHORT_BINBYTES", run_string, 1, PICKLE_BYTES},
    ['G'] = {"BINFLOAT", run_binfloat, 0, PICKLE_NONE},
    ['J'] = {"BININT", run_binint, 4, PICKLE_NONE},
    ['K'] = {"BININT1", run_binint, 1, PICKLE_NONE},
    ['M'] = {"BININT2", run_binint, 2, PICKLE_NONE},
    ['N'] = {"NONE", run_none, 0, PICKLE_NONE},
    ['Q'] = {"BINPERSID", run_binpersid, 0, PICKLE_NONE},
    ['R'] = {"REDUCE", run_reduce, 0, PICKLE_NONE},
    ['X'] = {"BINUNICODE", run_string, 4, PICKLE_STRING},
    [']'] = {"EMPTY_LIST", run_container, 0, PICKLE_LIST},
    ['a'] = {"APPEND", run_append, 0, PICKLE_NONE},
    ['c'] = {"GLOBAL", run_global, 0, PICKLE_NONE},
    ['e'] = {"APPENDS", run_appends, 0, PICKLE_NONE},
    ['h'] = {"BINGET", run_get, 1, PICKLE_NONE},
    ['j'] = {"LONG_BINGET", run_get, 4, PICKLE_NONE},
    ['q'] = {"BINPUT", run_put, 1, PICKLE_NONE},
    ['r'] = {"LONG_BINPUT", run_put, 4, PICKLE_NONE},
    ['s'] = {"SETITEM", run_setitem, 0, PICKLE_NONE},
    ['t'] = {"TUPLE", run_tuple, 0, PICKLE_NONE},
    ['u'] = {"SETITEMS", run_setitems, 0, PICKLE_NONE},
    ['}'] = {"EMPTY_DICT", run_container, 0, PICKLE_DICT},
    [0x80] = {"PROTO", run_proto, 0, PICKLE_NONE},
    [0x85] = {"TUPLE1", run_container, 1, PICKLE_TUPLE},
    [0x86] = {"TUPLE2", run_container, 2, PICKLE_TUPLE},
    [0x87] = {"TUPLE3", run_container, 3, PICKLE_TUPLE},
    [0x88] = {"NEWTRUE", run_bool, 1, PICKLE_NONE},
    [0x89] = {"NEWFALSE", run_bool, 0, PICKLE_NONE},
    [0x8a] = {"LONG1", run_long1, 0, PICKLE_NONE},
    [0x8c] = {"SHORT_BINUNICODE", run_string, 1, PICKLE_STRING},
    [0x8e] = {"BINBYTES8", run_string, 8, PICKLE_BYTES},
    [0x93] = {"STACK_GLOBAL", run_stack_global, 0, PICKLE_NONE},
    [0x94] = {"MEMOIZE", run_memoize, 0, PICKLE_NONE},
    [0x95] = {"FRAME", run_frame, 0, PICKLE_NONE},
    ['0'] = {"POP", NULL, 0, PICKLE_NONE},
    ['1'] = {"POP_MARK", NULL, 0, PICKLE_NONE},
    ['2'] = {"DUP", NULL, 0, PICKLE_NONE},
    ['F'] = {"FLOAT", NULL, 0, PICKLE_NONE},
    ['I'] = {"INT", NULL, 0, PICKLE_NONE},
    ['L'] = {"LONG", NULL, 0, PICKLE_NONE},
    ['P'] = {"PERSID", NULL, 0, PICKLE_NONE},
    ['S'] = {"STRING", NULL, 0, PICKLE_NONE},
    ['T'] = {"BINSTRING", NULL, 0, PICKLE_NONE},
    ['U'] = {"SHORT_BINSTRING", NULL, 0, PICKLE_NONE},
    ['V'] = {"UNICODE", NULL, 0, PICKLE_NONE},
    ['b'] = {"BUILD", NULL, 0, PICKLE_NONE},
    ['d'] = {"DICT", NULL, 0, PICKLE_NONE},
    ['g'] = {"GET", NULL, 0, PICKLE_NONE},
    ['i'] = {"INST", NULL, 0, PICKLE_NONE},
    ['l'] = {"LIST", NULL, 0, PICKLE_NONE},
    ['o'] = {"OBJ", NULL, 0, PICKLE_NONE},
    ['p'] = {"PUT", NULL, 0, PICKLE_NONE},
    [0x81] = {"NEWOBJ", NULL, 0, PICKLE_NONE},
    [0x82] = {"EXT1", NULL, 0, PICKLE_NONE},
    [0x83] = {"EXT2", NULL, 0, PICKLE_NONE},
    [0x84] = {"EXT4", NULL, 0, PICKLE_NONE},
    [0x8b] = {"LONG4", NULL, 0, PICKLE_NONE},
    [0x8d] = {"BINUNICODE8", NULL, 0, PICKLE_NONE},
    [0x8f] = {"EMPTY_SET", NULL, 0, PICKLE_NONE},
    [0x90] = {"ADDITEMS", NULL, 0, PICKLE_NONE},
    [0x91] = {"FROZENSET", NULL, 0, PICKLE_NONE},
    [0x92] = {"NEWOBJ_EX", NULL, 0, PICKLE_NONE},
    [0x96] = {"BYTEARRAY8", NULL, 0, PICKLE_NONE},
    [0x97] = {"NEXT_BUFFER", NULL, 0, PICKLE_NONE},
    [0x98] = {"READONLY_BUFFER", NULL, 0, PICKLE_NONE},
};

static cygnet_status step(struct machine *m, cygnet_error *err)
{
    const struct opcode *op;

    m->op_at = m->at;
    if (m->at == m->len)
        return fail(err, CYGNET_EFORMAT, 0, "pickle: the text ends after %zu bytes",
                    m->len);
    op = &opcodes[m->data[m->at++]];
    m->op_name = op->name;
    if (m->op_at == 0 && op->run != run_proto)
        return fail(err, CYGNET_EFORMAT, 0, "pickle: does not begin with PROTO");
    if (op->run)
        return op->run(m, op, err);
    return fail(err, CYGNET_EUNSUPPORTED, 0,
                "pickle: byte %zu: the opcode 0x%02x (%s) is not allowed", m->op_at,
                m->data[m->op_at], op->name ? op->name : "no opcode of Python's");
}

static cygnet_status run(struct machine *m, size_t *used, cygnet_error *err)
{
    cygnet_status st = CYGNET_OK;

    for (size_t n = 0; st == CYGNET_OK && !m->stopped; n++) {
        if (n == PICKLE_MAX_STEPS)
            return fail(err, CYGNET_ELIMIT, 0, "pickle: more than %d opcodes",
                        PICKLE_MAX_STEPS);
        st = step(m, err);
    }
    if (st == CYGNET_OK && !used && m->at < m->len)
        return fail(err, CYGNET_EFORMAT, 0, "pickle: %zu bytes follow its end",
                    m->len - m->at);
    if (st == CYGNET_OK && used)
        *used = m->at;
    return st;
}

cygnet_status pickle_load(struct pickle **out, const void *data, size_t len, size_t *used,
                          const struct pickle_rules *rules, const cygnet_allocator *alloc,
                          cygnet_error *err)
{
    static const struct pickle_rules nothing = {0};
    struct machine m = {.data = data, .len = len, .rules = rules ? rules : &nothing};
    struct pickle *pickle = mem_calloc(alloc, 1, sizeof(*pickle));
    cygnet_status st;

    assert(m.rules->n_globals <= UINT16_MAX);
    *out = NULL;
    if (!pickle)
        return fail(err, CYGNET_ENOMEM, 0, "out of memory for a pickle");
    pickle->alloc = alloc;
    pickle->arena = arena_create(PICKLE_MAX_ARENA_BYTES, alloc);
    m.pickle = pickle;
    st = pickle->arena ? run(&m, used, err)
                       : fail(err, CYGNET_ENOMEM, 0, "out of memory for a pickle");
    mem_free(alloc, m.stack);
    mem_free(alloc, m.memo);
    if (st != CYGNET_OK) {
        pickle_destroy(pickle);
        return st;
    }
    *out = pickle;
    return CYGNET_OK;
}

const struct pickle_value *pickle_root(const struct pickle *pickle)
{
    return pickle->root;
}

void pickle_destroy(struct pickle *pickle)
{
    if (!pickle)
        return;
    arena_destroy(pickle->arena);
    mem_free(pickle->alloc, pickle);
}
