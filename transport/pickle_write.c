/* Pickles of protocol 2 without memo or frames: what every Python 3 reads. Byte
 * strings have opcodes of protocol 3, which no reader holds against the number. */
#include "transport/pickle.h"

#include "base/error.h"

#include <string.h>

static void put(struct pickle_writer *w, const void *data, size_t len)
{
    if (w->status == CYGNET_OK)
        w->status = bytes_append(w->out, data, len, w->err);
}

void pickle_write_begin(struct pickle_writer *w, struct bytes *out, cygnet_error *err)
{
    w->out = out;
    w->err = err;
    w->status = CYGNET_OK;
    put(w, "\x80\x02", 2);
}

void pickle_write_open_dict(struct pickle_writer *w)
{
    put(w, "}(", 2);
}

void pickle_write_close_dict(struct pickle_writer *w)
{
    put(w, "u", 1);
}

void pickle_write_open_list(struct pickle_writer *w)
{
    put(w, "](", 2);
}

void pickle_write_close_list(struct pickle_writer *w)
{
    put(w, "e", 1);
}

void pickle_write_open_tuple(struct pickle_writer *w)
{
    put(w, "(", 1);
}

void pickle_write_close_tuple(struct pickle_writer *w)
{
    put(w, "t", 1);
}

void pickle_write_text(struct pickle_writer *w, const char *text)
{
    size_t len = strlen(text);
    uint8_t head[5] = {'X'};

    if (len > UINT32_MAX) {
        if (w->status == CYGNET_OK)
            w->status = fail(w->err, CYGNET_ELIMIT, 0, "a text of %zu bytes", len);
        return;
    }
    store_u32le(head + 1, (uint32_t)len);
    put(w, head, sizeof(head));
    put(w, text, len);
}

void pickle_write_bytes(struct pickle_writer *w, const void *data, size_t len)
{
    uint8_t head[9];
    bool is_long = len > UINT32_MAX;

    head[0] = is_long ? 0x8e : 'B';
    store_u64le(head + 1, len);
    put(w, head, is_long ? 9 : 5);
    put(w, data, len);
}

void pickle_write_int(struct pickle_writer *w, int64_t value)
{
    uint8_t small[5] = {'J'};
    uint8_t large[10] = {0x8a, 8};

    if (value >= INT32_MIN && value <= INT32_MAX) {
        store_u32le(small + 1, (uint32_t)value);
        put(w, small, sizeof(small));
        return;
    }
    store_u64le(large + 2, (uint64_t)value);
    put(w, large, sizeof(large));
}

void pickle_write_float(struct pickle_writer *w, double value)
{
    uint8_t bytes[9] = {'G'};
    uint64_t bits;

    memcpy(&bits, &value, sizeof(bits));
    for (int i = 0; i < 8; i++)
        bytes[1 + i] = (uint8_t)(bits >> (56 - 8 * i));
    put(w, bytes, sizeof(bytes));
}

void pickle_write_bool(struct pickle_writer *w, bool value)
{
    put(w, value ? "\x88" : "\x89", 1);
}

void pickle_write_global(struct pickle_writer *w, const char *module, const char *name)
{
    put(w, "c", 1);
    put(w, module, strlen(module));
    put(w, "\n", 1);
    put(w, name, strlen(name));
    put(w, "\n", 1);
}

void pickle_write_call(struct pickle_writer *w)
{
    put(w, "R", 1);
}

cygnet_status pickle_write_finish(struct pickle_writer *w)
{
    put(w, ".", 1);
    return w->status;
}
