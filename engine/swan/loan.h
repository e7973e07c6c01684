/* The loan ledger: training on the battery borrows against the next charge, and a
 * device whose loan is not paid back does not take part.
 * Source: Swan, arXiv 2206.04687 (energy loan). The rule of paying back is ours:
 *
 * A loan is paid back by charging alone, and whether it is told by levels of the
 * battery, never by time. While a battery is charged, or is seen fuller than before,
 *   1. a full battery owes nothing, and one that is not full no more than it lacks:
 *      without the training it would hold no more either;
 *   2. what has been charged since the borrowing, beyond what the user himself has
 *      drawn since then and beyond an allowance for his use of the day, pays.
 * Full is what the gauge calls full, or a charge limit that is reached (battery.h).
 * What happened while nobody looked is in the difference of the levels.
 *
 * Energy is booked before it is drawn: a process that is killed owes at most what it
 * has booked, never less than it has drawn. There is no clock in here: clocks that jump
 * can neither forgive nor invent debt. One thread at a time. */
#ifndef ENGINE_SWAN_LOAN_H
#define ENGINE_SWAN_LOAN_H

#include "base/store.h"
#include "engine/swan/battery.h"

#define LOAN_FILE "loan" /* the record in the store */
#define LOAN_WHY_BYTES 96

/* Fractions of the battery's capacity.
 *
 * limit      most that is borrowed from one charge to the next, above 0 to 1
 * allowance  of the rule's second part, 0 to 1; more than the gauge's step */
struct loan_options {
    double limit;
    double allowance;
};

/* limit 0.05, allowance 0.10. */
void loan_options_init(struct loan_options *options);

/* What is kept.
 *
 * debt_uj      owed
 * borrowed_uj  since there was no debt the last time: what the limit is for
 * surplus_uj   charged less drawn by the user himself since then; may be below 0
 * level        of the battery when seen last, 0 to 1; NaN: not seen yet
 * capacity_mj  NaN: not known */
struct loan_record {
    int64_t debt_uj;
    int64_t borrowed_uj;
    int64_t surplus_uj;
    double level;
    double capacity_mj;
};

/* seen         the battery was observed since loan_open
 * saved_level  the level in the store */
struct loan {
    struct loan_options options;
    struct store *store;
    const cygnet_allocator *alloc;
    struct loan_record record;
    bool seen;
    double saved_level;
};

/* Loads the ledger; none yet: nothing is owed.
 * store  borrowed; NULL: nothing is kept (simulations)
 * Errors: EINVAL (options), EFORMAT (the record is damaged; nothing is overwritten),
 * ESTORAGE, ENOMEM. After an error the loan must not be used. */
cygnet_status loan_open(struct loan *out, const struct loan_options *options,
                        struct store *store, const cygnet_allocator *alloc,
                        cygnet_error *err);

/* The battery now: before each borrowing and now and then otherwise. Writes only when
 * the debt or, in debt, the level has changed by a percent.
 * Errors: ESTORAGE, ENOSPC, ENOMEM: the ledger is as before; the next observation makes
 * up for it. */
cygnet_status loan_observe(struct loan *loan, const struct battery *battery,
                           cygnet_error *err);

/* Books energy that is about to be drawn; after OK it may be drawn.
 * Errors: EINVAL (below 0, or unknown), ESTATE (level or capacity of the battery are
 * not known), ELIMIT (beyond the limit), ESTORAGE, ENOSPC, ENOMEM. Nothing is booked
 * then. */
cygnet_status loan_borrow(struct loan *loan, double mj, cygnet_error *err);

/* Takes back what was booked and not drawn; at most what is owed.
 * Errors: EINVAL, ESTORAGE, ENOSPC, ENOMEM: it stays booked. */
cygnet_status loan_give_back(struct loan *loan, double mj, cygnet_error *err);

double loan_debt_mj(const struct loan *loan);

/* What may still be borrowed before the next charge; 0 where the capacity is not
 * known. */
double loan_left_mj(const struct loan *loan);

/* Whether something is owed; `why` then says how much. */
bool loan_in_debt(char why[LOAN_WHY_BYTES], const struct loan *loan);

#endif
