/* Booking, paying back, and the record on disk: magic, version, the fields, SHA-256
 * of all before it; numbers little-endian. Amounts are whole uJ, so that what was
 * borrowed can be given back to the last one. */
#include "engine/swan/loan.h"

#include "base/crypto.h"
#include "base/error.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MAGIC UINT32_C(0x4E4C4743) /* "CGLN" */
#define VERSION 1
#define N_FIELDS 5
#define BODY_BYTES ((size_t)8 + (size_t)8 * N_FIELDS)
#define RECORD_BYTES (BODY_BYTES + SHA256_BYTES)

/* Beyond any battery, and within what doubles hold whole: 9e12 mJ. */
#define MAX_UJ ((INT64_C(1) << 53) - 1)

/* A level that rises by less while nothing charges is the gauge's mood. */
#define FLICKER 0.02

/* Less than what rounding levels leaves over is nothing. */
#define DUST_UJ 1000

/* A change of level that is worth a write. */
#define LEVEL_STEP 0.01

/* ---- The record ------------------------------------------------------------------ */

static void put_record(uint8_t *to, const struct loan_record *record)
{
    uint64_t fields[N_FIELDS] = {(uint64_t)record->debt_uj, (uint64_t)record->borrowed_uj,
                                 (uint64_t)record->surplus_uj};

    memcpy(&fields[3], &record->level, 8);
    memcpy(&fields[4], &record->capacity_mj, 8);
    store_u32le(to, MAGIC);
    store_u32le(to + 4, VERSION);
    for (size_t i = 0; i < N_FIELDS; i++)
        store_u64le(to + 8 + 8 * i, fields[i]);
}

static void get_record(struct loan_record *out, const uint8_t *from)
{
    uint64_t fields[N_FIELDS];

    for (size_t i = 0; i < N_FIELDS; i++)
        fields[i] = load_u64le(from + 8 + 8 * i);
    out->debt_uj = (int64_t)fields[0];
    out->borrowed_uj = (int64_t)fields[1];
    out->surplus_uj = (int64_t)fields[2];
    memcpy(&out->level, &fields[3], 8);
    memcpy(&out->capacity_mj, &fields[4], 8);
}

static cygnet_status damaged(cygnet_error *err, const char *what)
{
    return fail(err, CYGNET_EFORMAT, 0, "saved state \"%s\" is damaged: %s", LOAN_FILE,
                what);
}

static bool level_known(const struct loan_record *record)
{
    return record->level >= 0 && record->level <= 1 && record->capacity_mj > 0 &&
           record->capacity_mj * 1e3 < (double)MAX_UJ;
}

static bool in_range(const struct loan_record *record)
{
    return record->debt_uj >= 0 && record->debt_uj <= record->borrowed_uj &&
           record->borrowed_uj <= MAX_UJ && record->surplus_uj <= MAX_UJ &&
           record->surplus_uj >= -MAX_UJ && (record->debt_uj == 0 || level_known(record));
}

static cygnet_status parse(struct loan_record *out, const struct bytes *raw,
                           cygnet_error *err)
{
    uint8_t digest[SHA256_BYTES];
    cygnet_status st;

    if (raw->len != RECORD_BYTES)
        return damaged(err, "its length does not match");
    if (load_u32le(raw->data) != MAGIC)
        return damaged(err, "it is not a ledger");
    st = sha256(digest, raw->data, BODY_BYTES, err);
    if (st != CYGNET_OK)
        return st;
    if (memcmp(digest, raw->data + BODY_BYTES, SHA256_BYTES) != 0)
        return damaged(err, "its checksum does not match");
    if (load_u32le(raw->data + 4) != VERSION)
        return damaged(err, "its version is not known");
    get_record(out, raw->data);
    return in_range(out) ? CYGNET_OK : damaged(err, "a field is out of range");
}

static cygnet_status load(struct loan *loan, cygnet_error *err)
{
    struct bytes raw;
    cygnet_status st;

    bytes_init(&raw, RECORD_BYTES, loan->alloc);
    st = store_read(loan->store, &raw, LOAN_FILE, err);
    if (st == CYGNET_ELIMIT)
        st = damaged(err, "it is too long");
    else if (st == CYGNET_OK)
        st = parse(&loan->record, &raw, err);
    else if (st == CYGNET_ENOTFOUND)
        st = CYGNET_OK;
    bytes_clear(&raw);
    return st;
}

/* The store first: what memory knows is at most as new. */
static cygnet_status keep(struct loan *loan, const struct loan_record *record,
                          cygnet_error *err)
{
    uint8_t raw[RECORD_BYTES];
    cygnet_status st = CYGNET_OK;

    put_record(raw, record);
    if (loan->store)
        st = sha256(raw + BODY_BYTES, raw, BODY_BYTES, err);
    if (loan->store && st == CYGNET_OK)
        st = store_replace(loan->store, LOAN_FILE, raw, sizeof(raw), err);
    if (st != CYGNET_OK)
        return st;
    loan->record = *record;
    loan->saved_level = record->level;
    return CYGNET_OK;
}

/* ---- Opening --------------------------------------------------------------------- */

void loan_options_init(struct loan_options *options)
{
    *options = (struct loan_options){.limit = 0.05, .allowance = 0.10};
}

cygnet_status loan_open(struct loan *out, const struct loan_options *options,
                        struct store *store, const cygnet_allocator *alloc,
                        cygnet_error *err)
{
    memset(out, 0, sizeof(*out));
    out->options = *options;
    out->store = store;
    out->alloc = alloc;
    out->record.level = out->record.capacity_mj = NAN;
    if (!(options->limit > 0 && options->limit <= 1))
        return fail(err, CYGNET_EINVAL, 0, "a loan's limit is above 0 and at most 1");
    if (!(options->allowance >= 0 && options->allowance <= 1))
        return fail(err, CYGNET_EINVAL, 0, "a loan's allowance is from 0 to 1");
    if (store) {
        cygnet_status st = load(out, err);

        if (st != CYGNET_OK)
            return st;
    }
    out->saved_level = out->record.level;
    return CYGNET_OK;
}

/* ---- Paying back ----------------------------------------------------------------- */

/* Nothing owed, nothing counted. */
static void settle(struct loan_record *record)
{
    if (record->debt_uj == 0)
        record->borrowed_uj = record->surplus_uj = 0;
}

static void pay(struct loan_record *record, const struct loan_options *options, bool full)
{
    double capacity_uj = record->capacity_mj * 1e3;
    int64_t lacking = full ? 0 : (int64_t)ceil((1 - record->level) * capacity_uj);
    int64_t paid = record->surplus_uj - (int64_t)ceil(options->allowance * capacity_uj);

    if (paid > record->debt_uj)
        paid = record->debt_uj;
    if (paid > 0) {
        record->debt_uj -= paid;
        record->surplus_uj -= paid;
    }
    if (record->debt_uj > lacking)
        record->debt_uj = lacking;
    if (record->debt_uj < DUST_UJ)
        record->debt_uj = 0;
    settle(record);
}

static void clamp(int64_t *uj)
{
    if (*uj > MAX_UJ)
        *uj = MAX_UJ;
    if (*uj < -MAX_UJ)
        *uj = -MAX_UJ;
}

/* The record after an observation whose level is known. */
static void see(struct loan_record *record, const struct loan_options *options,
                const struct battery *battery)
{
    double rise = battery->level - record->level;
    bool pays = battery->charging || battery->full || rise > FLICKER;

    record->level = battery->level;
    if (record->debt_uj == 0)
        return;
    record->surplus_uj += llround(rise * record->capacity_mj * 1e3);
    clamp(&record->surplus_uj);
    if (pays)
        pay(record, options, battery->full);
}

cygnet_status loan_observe(struct loan *loan, const struct battery *battery,
                           cygnet_error *err)
{
    struct loan_record record = loan->record;
    bool moved;

    if (battery->capacity_mj > 0 && battery->capacity_mj * 1e3 < (double)MAX_UJ)
        record.capacity_mj = battery->capacity_mj;
    if (battery->level >= 0 && battery->level <= 1) {
        see(&record, &loan->options, battery);
        loan->seen = true;
    } else if (battery->full && record.debt_uj > 0) {
        pay(&record, &loan->options, true);
    }
    moved = !(fabs(record.level - loan->saved_level) < LEVEL_STEP);
    if (record.debt_uj != loan->record.debt_uj || (record.debt_uj > 0 && moved))
        return keep(loan, &record, err);
    loan->record = record;
    return CYGNET_OK;
}

/* ---- Borrowing ------------------------------------------------------------------- */

static int64_t limit_uj(const struct loan *loan)
{
    return level_known(&loan->record)
               ? (int64_t)(loan->options.limit * loan->record.capacity_mj * 1e3)
               : 0;
}

static cygnet_status check_amount(double mj, cygnet_error *err)
{
    if (mj >= 0 && mj * 1e3 < (double)MAX_UJ)
        return CYGNET_OK;
    return fail(err, CYGNET_EINVAL, 0, "%g mJ is no amount of energy for the loan", mj);
}

cygnet_status loan_borrow(struct loan *loan, double mj, cygnet_error *err)
{
    struct loan_record record = loan->record;
    cygnet_status st = check_amount(mj, err);
    int64_t uj;

    if (st != CYGNET_OK)
        return st;
    if (!loan->seen || !level_known(&record))
        return fail(err, CYGNET_ESTATE, 0,
                    "the battery's level or capacity is not known: nothing is lent");
    uj = (int64_t)ceil(mj * 1e3);
    if (uj > limit_uj(loan) - record.borrowed_uj)
        return fail(err, CYGNET_ELIMIT, 0, "%.1f J more are beyond the loan's %.1f J",
                    mj * 1e-3, (double)limit_uj(loan) * 1e-6);
    if (uj == 0)
        return CYGNET_OK;
    record.debt_uj += uj;
    record.borrowed_uj += uj;
    /* The level falls by it as well: the user has not drawn it. */
    record.surplus_uj += uj;
    clamp(&record.surplus_uj);
    return keep(loan, &record, err);
}

cygnet_status loan_give_back(struct loan *loan, double mj, cygnet_error *err)
{
    struct loan_record record = loan->record;
    cygnet_status st = check_amount(mj, err);
    int64_t uj;

    if (st != CYGNET_OK)
        return st;
    uj = (int64_t)floor(mj * 1e3);
    if (uj > record.debt_uj)
        uj = record.debt_uj;
    if (uj == 0)
        return CYGNET_OK;
    record.debt_uj -= uj;
    record.borrowed_uj -= uj;
    record.surplus_uj -= uj;
    settle(&record);
    return keep(loan, &record, err);
}

/* ---- Looking --------------------------------------------------------------------- */

double loan_debt_mj(const struct loan *loan)
{
    return (double)loan->record.debt_uj * 1e-3;
}

double loan_left_mj(const struct loan *loan)
{
    int64_t left = limit_uj(loan) - loan->record.borrowed_uj;

    return left > 0 ? (double)left * 1e-3 : 0;
}

bool loan_in_debt(char why[LOAN_WHY_BYTES], const struct loan *loan)
{
    why[0] = '\0';
    if (loan->record.debt_uj == 0)
        return false;
    (void)snprintf(why, LOAN_WHY_BYTES,
                   "the energy loan of %.3g J is not paid back by charging yet",
                   (double)loan->record.debt_uj * 1e-6);
    return true;
}
