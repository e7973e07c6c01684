/* Protobuf by hand: fields of wire type 0 and 2 written, all but groups read. */
#include "transport/fedscale_message.h"

#include "base/error.h"
#include "base/json_scan.h"

#include <string.h>

enum wire { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

#define MAX_VARINT_BYTES 10
#define MAX_FIELD 536870911u /* 2^29 - 1 */
#define LENGTH_ROOM 10       /* kept for the length of a result that is to come */

/* ---- Writing ------------------------------------------------------------- */

static size_t put_varint(uint8_t out[MAX_VARINT_BYTES], uint64_t value)
{
    size_t n = 0;

    for (; value >= 0x80; value >>= 7)
        out[n++] = (uint8_t)(value | 0x80);
    out[n++] = (uint8_t)value;
    return n;
}

/* Fields have numbers below 16 here, so that a tag is one byte. */
static cygnet_status write_bool(struct bytes *out, unsigned field, bool value,
                                cygnet_error *err)
{
    const uint8_t bytes[2] = {(uint8_t)(field << 3 | WIRE_VARINT), value};

    return bytes_append(out, bytes, sizeof(bytes), err);
}

static cygnet_status write_bytes(struct bytes *out, unsigned field, const void *data,
                                 size_t len, cygnet_error *err)
{
    uint8_t head[1 + MAX_VARINT_BYTES] = {(uint8_t)(field << 3 | WIRE_BYTES)};
    cygnet_status st = bytes_append(out, head, 1 + put_varint(head + 1, len), err);

    return st == CYGNET_OK ? bytes_append(out, data, len, err) : st;
}

static cygnet_status check_id(const char *id, cygnet_error *err)
{
    size_t len = strlen(id);

    if (len == 0 || len > FEDSCALE_ID_MAX || json_invalid_utf8(id) != len)
        return fail(err, CYGNET_EINVAL, 0,
                    "a client's name at FedScale is UTF-8 of 1 to %d bytes",
                    FEDSCALE_ID_MAX);
    return CYGNET_OK;
}

/* client_id and executor_id: the server tells clients apart by the second and echoes
 * the first. */
static cygnet_status write_ids(struct bytes *out, const char *id, cygnet_error *err)
{
    cygnet_status st = check_id(id, err);

    if (st == CYGNET_OK)
        st = write_bytes(out, 1, id, strlen(id), err);
    if (st == CYGNET_OK)
        st = write_bytes(out, 2, id, strlen(id), err);
    return st;
}

cygnet_status fedscale_register_write(struct bytes *out, const char *id,
                                      const struct bytes *info, cygnet_error *err)
{
    cygnet_status st = write_ids(out, id, err);

    return st == CYGNET_OK ? write_bytes(out, 3, info->data, info->len, err) : st;
}

cygnet_status fedscale_ping_write(struct bytes *out, const char *id, cygnet_error *err)
{
    return write_ids(out, id, err);
}

/* All up to the result: ids, event and status true. */
static cygnet_status write_completion(struct bytes *out, const char *id,
                                      const char *event, cygnet_error *err)
{
    cygnet_status st = write_ids(out, id, err);

    if (st == CYGNET_OK)
        st = write_bytes(out, 3, event, strlen(event), err);
    return st == CYGNET_OK ? write_bool(out, 4, true, err) : st;
}

cygnet_status fedscale_complete_write(struct bytes *out, const char *id,
                                      const char *event, const struct bytes *result,
                                      cygnet_error *err)
{
    cygnet_status st = write_completion(out, id, event, err);

    if (st == CYGNET_OK && result)
        st = write_bytes(out, 7, result->data, result->len, err);
    return st;
}

cygnet_status fedscale_complete_begin(size_t *mark, struct bytes *out, const char *id,
                                      const char *event, cygnet_error *err)
{
    static const uint8_t room[1 + LENGTH_ROOM] = {7 << 3 | WIRE_BYTES};
    cygnet_status st = write_completion(out, id, event, err);

    if (st == CYGNET_OK)
        st = bytes_append(out, room, sizeof(room), err);
    *mark = out->len;
    return st;
}

/* A length has as few bytes as it can: the room that is left over goes away. */
void fedscale_complete_end(struct bytes *out, size_t mark)
{
    uint8_t length[MAX_VARINT_BYTES];
    size_t len = out->len - mark;
    size_t n = put_varint(length, len);
    uint8_t *at = out->data + mark - LENGTH_ROOM;

    memcpy(at, length, n);
    memmove(at + n, out->data + mark, len);
    out->len -= LENGTH_ROOM - n;
}

/* ---- Reading ------------------------------------------------------------- */

struct reader {
    const uint8_t *at;
    const uint8_t *end;
    cygnet_error *err;
};

/* Value of a field: a number, or `len` bytes at `data`. */
struct field {
    uint32_t number;
    unsigned wire;
    const uint8_t *data;
    size_t len;
};

static cygnet_status damaged(const struct reader *r, const char *what)
{
    return fail(r->err, CYGNET_EPROTOCOL, 0, "the server's message is damaged: %s", what);
}

static cygnet_status read_varint(uint64_t *out, struct reader *r)
{
    uint64_t value = 0;

    for (unsigned shift = 0; shift < 7 * MAX_VARINT_BYTES; shift += 7) {
        uint8_t byte;

        if (r->at == r->end)
            return damaged(r, "a number is cut off");
        byte = *r->at++;
        if (shift == 63 && byte > 1)
            break;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out = value;
            return CYGNET_OK;
        }
    }
    return damaged(r, "a number is too large");
}

static cygnet_status take_bytes(struct field *out, struct reader *r, uint64_t len)
{
    if (len > (uint64_t)(r->end - r->at))
        return damaged(r, "a field is longer than the message");
    out->data = r->at;
    out->len = (size_t)len;
    r->at += out->len;
    return CYGNET_OK;
}

static cygnet_status read_value(struct field *out, struct reader *r)
{
    uint64_t number = 0;
    cygnet_status st;

    switch (out->wire) {
    case WIRE_VARINT:
        return read_varint(&number, r);
    case WIRE_64:
        return take_bytes(out, r, 8);
    case WIRE_32:
        return take_bytes(out, r, 4);
    case WIRE_BYTES:
        st = read_varint(&number, r);
        return st == CYGNET_OK ? take_bytes(out, r, number) : st;
    default:
        return damaged(r, "a field is of no known kind");
    }
}

static cygnet_status read_field(struct field *out, struct reader *r)
{
    uint64_t tag = 0;
    cygnet_status st = read_varint(&tag, r);

    if (st != CYGNET_OK)
        return st;
    if (tag >> 3 == 0 || tag >> 3 > MAX_FIELD)
        return damaged(r, "a field has no valid number");
    memset(out, 0, sizeof(*out));
    out->number = (uint32_t)(tag >> 3);
    out->wire = (unsigned)(tag & 7);
    return read_value(out, r);
}

static enum fedscale_event event_of(const char *name)
{
    static const char *const names[] = {
        [FEDSCALE_DUMMY] = "dummy_event",
        [FEDSCALE_UPDATE_MODEL] = "update_model",
        [FEDSCALE_MODEL_TEST] = "model_test",
        [FEDSCALE_CLIENT_TRAIN] = "client_train",
        [FEDSCALE_TERMINATE] = "terminate_executor",
    };

    for (int i = 0; i < FEDSCALE_UNKNOWN; i++) {
        if (strcmp(names[i], name) == 0)
            return (enum fedscale_event)i;
    }
    return FEDSCALE_UNKNOWN;
}

static cygnet_status take_event(struct fedscale_response *out, const struct field *field,
                                const struct reader *r)
{
    if (field->len == 0 || field->len > FEDSCALE_EVENT_MAX ||
        memchr(field->data, '\0', field->len))
        return damaged(r, "the event has no usable name");
    memcpy(out->name, field->data, field->len);
    out->name[field->len] = '\0';
    if (json_invalid_utf8(out->name) != field->len)
        return damaged(r, "the event's name is no UTF-8");
    out->event = event_of(out->name);
    return CYGNET_OK;
}

/* Fields of a later version are skipped; of two with one number the last counts. */
static cygnet_status take_field(struct fedscale_response *out, const struct field *field,
                                const struct reader *r)
{
    if (field->number > 3)
        return CYGNET_OK;
    if (field->wire != WIRE_BYTES)
        return damaged(r, "a field is of another kind than agreed");
    if (field->number == 1)
        return take_event(out, field, r);
    if (field->number == 2) {
        out->meta = field->len ? field->data : NULL;
        out->meta_len = field->len;
    } else {
        out->data = field->len ? field->data : NULL;
        out->data_len = field->len;
    }
    return CYGNET_OK;
}

cygnet_status fedscale_response_read(struct fedscale_response *out, const void *data,
                                     size_t len, cygnet_error *err)
{
    const uint8_t *bytes = len > 0 ? data : (const uint8_t *)"";
    struct reader r = {bytes, bytes + len, err};
    struct field field = {0};
    cygnet_status st = CYGNET_OK;

    memset(out, 0, sizeof(*out));
    while (st == CYGNET_OK && r.at < r.end) {
        st = read_field(&field, &r);
        if (st == CYGNET_OK)
            st = take_field(out, &field, &r);
    }
    if (st == CYGNET_OK && !out->name[0])
        st = damaged(&r, "it has no event");
    if (st != CYGNET_OK)
        memset(out, 0, sizeof(*out));
    return st;
}
