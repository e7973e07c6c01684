/* The record's form on disk: magic, version, length of the fields, the fields in
 * the order of the table, SHA-256 of all before it; numbers little-endian. Fields
 * are only ever added at the end: what an older record lacks reads as zero, what a
 * newer one has besides is ignored. */
#include "fl/journal.h"

#include "base/crypto.h"
#include "base/error.h"

#include <string.h>

#define MAGIC UINT32_C(0x4A524743) /* "CGRJ" */
#define VERSION 1
#define HEAD_BYTES 12
#define MAX_BYTES 16384

enum kind { BITS32, BITS64, TEXT };

struct field {
    enum kind kind;
    size_t offset;
    size_t size;
};

#define FIELD(kind, member)                                                              \
    {                                                                                    \
        kind, offsetof(struct round_record, member),                                     \
            sizeof(((struct round_record *)0)->member)                                   \
    }

static const struct field fields[] = {
    FIELD(BITS32, state),
    FIELD(BITS32, interrupted),
    FIELD(TEXT, client_id),
    FIELD(BITS64, generation),
    FIELD(BITS64, next_check_in_ms),
    FIELD(TEXT, task.id),
    FIELD(TEXT, task.token),
    FIELD(BITS64, task.round),
    FIELD(BITS32, task.lease_s),
    FIELD(BITS32, task.deadline_s),
    FIELD(TEXT, task.architecture),
    FIELD(BITS32, task.n_classes),
    FIELD(BITS32, task.n_input_dims),
    FIELD(BITS32, task.input[0]),
    FIELD(BITS32, task.input[1]),
    FIELD(BITS32, task.input[2]),
    FIELD(BITS32, task.input[3]),
    FIELD(TEXT, task.weights_url),
    FIELD(BITS64, task.weights_bytes),
    FIELD(TEXT, task.weights_sha256),
    FIELD(TEXT, task.collection),
    FIELD(TEXT, task.selector),
    FIELD(BITS32, task.epochs),
    FIELD(BITS32, task.steps),
    FIELD(BITS32, task.batch),
    FIELD(BITS64, task.max_examples),
    FIELD(BITS32, task.lr),
    FIELD(BITS32, task.momentum),
    FIELD(BITS32, task.weight_decay),
    FIELD(BITS64, task.seed),
    FIELD(TEXT, task.codec),
    FIELD(BITS64, task.max_update_bytes),
    FIELD(BITS32, task.charging),
    FIELD(BITS32, task.idle),
    FIELD(BITS32, task.unmetered),
    FIELD(BITS32, task.min_battery_percent),
    FIELD(TEXT, task.unsupported),
    FIELD(BITS64, assigned_wall_ms),
    FIELD(BITS64, assigned_mono_ms),
    FIELD(TEXT, snapshot_id),
    FIELD(BITS64, update_bytes),
    FIELD(TEXT, update_sha256),
    FIELD(BITS64, examples),
    FIELD(BITS64, steps),
    FIELD(BITS64, loss_first),
    FIELD(BITS64, loss_last),
    FIELD(BITS64, accuracy),
    FIELD(BITS64, utility),
    FIELD(BITS64, train_ms),
    FIELD(BITS64, bytes_down),
    FIELD(BITS64, samples_per_s),
    FIELD(BITS64, last_round),
    FIELD(BITS64, last_examples),
    FIELD(BITS64, last_utility),
    FIELD(BITS32, task.policy),
    FIELD(BITS32, task.n_threads),
    FIELD(BITS64, task.max_round_mj),
    FIELD(BITS32, task.kind),
    FIELD(BITS64, loss_sum),
    FIELD(BITS64, top_1),
    FIELD(BITS64, top_5),
    FIELD(BITS64, moving_loss),
    FIELD(BITS64, last_loss_squared),
    FIELD(BITS64, unique_examples),
};

#define N_FIELDS (sizeof(fields) / sizeof(fields[0]))

_Static_assert(sizeof(float) == 4 && sizeof(double) == 8 &&
                   sizeof(cygnet_requirement) == 4 && sizeof(cygnet_policy) == 4 &&
                   sizeof(cygnet_task_kind) == 4,
               "the kinds of the table");

static void put_field(uint8_t *to, const struct field *f, const void *value)
{
    uint32_t bits32;
    uint64_t bits64;

    if (f->kind == BITS32) {
        memcpy(&bits32, value, sizeof(bits32));
        store_u32le(to, bits32);
    } else if (f->kind == BITS64) {
        memcpy(&bits64, value, sizeof(bits64));
        store_u64le(to, bits64);
    } else {
        memcpy(to, value, f->size);
    }
}

static void get_field(void *value, const struct field *f, const uint8_t *from)
{
    if (f->kind == BITS32) {
        uint32_t bits32 = load_u32le(from);

        memcpy(value, &bits32, sizeof(bits32));
    } else if (f->kind == BITS64) {
        uint64_t bits64 = load_u64le(from);

        memcpy(value, &bits64, sizeof(bits64));
    } else {
        memcpy(value, from, f->size);
        ((char *)value)[f->size - 1] = '\0';
    }
}

static size_t fields_bytes(void)
{
    size_t sum = 0;

    for (size_t i = 0; i < N_FIELDS; i++)
        sum += fields[i].size;
    return sum;
}

/* Appends head and fields. */
static cygnet_status put_record(struct bytes *out, const struct round_record *record,
                                cygnet_error *err)
{
    size_t len = fields_bytes();
    uint8_t *to;
    cygnet_status st = bytes_reserve(&to, out, HEAD_BYTES + len, err);

    if (st != CYGNET_OK)
        return st;
    store_u32le(to, MAGIC);
    store_u32le(to + 4, VERSION);
    store_u32le(to + 8, (uint32_t)len);
    out->len += HEAD_BYTES + len;
    to += HEAD_BYTES;
    for (size_t i = 0; i < N_FIELDS; i++) {
        put_field(to, &fields[i], (const uint8_t *)record + fields[i].offset);
        to += fields[i].size;
    }
    return CYGNET_OK;
}

cygnet_status journal_save(const struct round_record *record, struct store *store,
                           const cygnet_allocator *alloc, cygnet_error *err)
{
    uint8_t digest[SHA256_BYTES];
    struct bytes raw;
    cygnet_status st;

    bytes_init(&raw, MAX_BYTES, alloc);
    st = put_record(&raw, record, err);
    if (st == CYGNET_OK)
        st = sha256(digest, raw.data, raw.len, err);
    if (st == CYGNET_OK)
        st = bytes_append(&raw, digest, sizeof(digest), err);
    if (st == CYGNET_OK)
        st = store_replace(store, JOURNAL_FILE, raw.data, raw.len, err);
    bytes_clear(&raw);
    return st;
}

static cygnet_status damaged(cygnet_error *err, const char *what)
{
    return fail(err, CYGNET_EFORMAT, 0, "saved state \"%s\" is damaged: %s", JOURNAL_FILE,
                what);
}

static cygnet_status check_raw(const struct bytes *raw, cygnet_error *err)
{
    uint8_t digest[SHA256_BYTES];
    size_t body;
    cygnet_status st;

    if (raw->len < HEAD_BYTES + SHA256_BYTES)
        return damaged(err, "it is too short");
    body = raw->len - SHA256_BYTES;
    if (load_u32le(raw->data) != MAGIC)
        return damaged(err, "it is not a round record");
    st = sha256(digest, raw->data, body, err);
    if (st != CYGNET_OK)
        return st;
    if (memcmp(digest, raw->data + body, SHA256_BYTES) != 0)
        return damaged(err, "its checksum does not match");
    if (load_u32le(raw->data + 4) != VERSION)
        return damaged(err, "its version is not known");
    if (load_u32le(raw->data + 8) != body - HEAD_BYTES)
        return damaged(err, "its length does not match");
    return CYGNET_OK;
}

static void get_record(struct round_record *out, const uint8_t *from, size_t len)
{
    for (size_t i = 0; i < N_FIELDS && fields[i].size <= len; i++) {
        get_field((uint8_t *)out + fields[i].offset, &fields[i], from);
        from += fields[i].size;
        len -= fields[i].size;
    }
}

cygnet_status journal_load(struct round_record *out, struct store *store,
                           const cygnet_allocator *alloc, cygnet_error *err)
{
    struct bytes raw;
    cygnet_status st;

    memset(out, 0, sizeof(*out));
    bytes_init(&raw, MAX_BYTES, alloc);
    st = store_read(store, &raw, JOURNAL_FILE, err);
    if (st == CYGNET_ELIMIT)
        st = damaged(err, "it is too long");
    if (st == CYGNET_OK)
        st = check_raw(&raw, err);
    if (st == CYGNET_OK)
        get_record(out, raw.data + HEAD_BYTES, raw.len - HEAD_BYTES - SHA256_BYTES);
    if (st == CYGNET_OK && (out->state > CYGNET_PHASE_INTERRUPTED ||
                            out->interrupted > CYGNET_PHASE_INTERRUPTED ||
                            out->task.kind > CYGNET_TASK_EVALUATE ||
                            strlen(out->client_id) != CLIENT_ID_HEX))
        st = damaged(err, "a field is out of range");
    bytes_clear(&raw);
    return st;
}
