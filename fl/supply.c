/* See supply.h. A stretch's end is told by the meter or, where that does not know, by
 * what its steps should have drawn at most: never by less than was drawn. */
#include "fl/supply.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

/* The ledger counts whole uJ and rounds up. */
#define ROUNDING_MJ 0.002

static bool refuse(struct supply *supply, const char *format, ...) CYGNET_PRINTF(2, 3);

static bool refuse(struct supply *supply, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(supply->why, sizeof(supply->why), format, args);
    va_end(args);
    return false;
}

/* ---- The ledger -------------------------------------------------------------- */

static double left_mj(const struct supply *supply)
{
    return fmax(loan_left_mj(supply->loan) - ROUNDING_MJ, 0);
}

/* What was drawn beyond the booking. More than the loan lends cannot be booked: then all
 * of it is. What cannot be written now is due later. */
static void book_due(struct supply *supply)
{
    double mj = fmin(supply->due_mj, left_mj(supply));

    if (supply->due_mj > 0 && loan_borrow(supply->loan, mj, NULL) == CYGNET_OK)
        supply->due_mj = 0;
}

static bool borrow(struct supply *supply, double mj)
{
    cygnet_error err;

    book_due(supply);
    if (loan_borrow(supply->loan, mj, &err) != CYGNET_OK)
        return refuse(supply, "energy loan: %s", err.message);
    supply->booked_mj += mj;
    return true;
}

static void new_stretch(struct supply *supply)
{
    supply->booked_mj = supply->spent_mj = 0;
    supply->n_steps = 0;
    supply->mark(supply->user);
}

/* The meter has spoken. */
static void settle(struct supply *supply, double drawn_mj)
{
    double rest_mj = supply->booked_mj - drawn_mj;

    if (rest_mj > 0)
        (void)loan_give_back(supply->loan, rest_mj, NULL);
    else
        supply->due_mj -= rest_mj;
    book_due(supply);
    if (supply->n_steps > 0)
        supply->step_mj = drawn_mj / (double)supply->n_steps;
}

/* In a trial nothing is known of what was spent: it stays booked. */
static void close_stretch(struct supply *supply)
{
    struct swan_draw draw;

    if (supply->booked_mj <= 0)
        return;
    supply->draw(&draw, supply->user);
    if (!isnan(draw.drawn_mj))
        settle(supply, draw.drawn_mj);
    else if (!isnan(supply->spent_mj))
        (void)loan_give_back(supply->loan, supply->booked_mj - supply->spent_mj, NULL);
    supply->booked_mj = 0;
}

/* ---- The device -------------------------------------------------------------- */

/* What the system does not tell of the battery, the host may know. */
static void complete(struct battery *battery, const struct supply *supply,
                     const cygnet_device_state *device)
{
    bool powered = device->charging == CYGNET_TRUE;

    if (supply->capacity_mj > 0)
        battery->capacity_mj = supply->capacity_mj;
    if (!isnan(battery->level) || device->battery_percent < 0)
        return;
    battery->level = device->battery_percent / 100.0;
    battery->charging |= powered;
    battery->full |= powered && device->battery_percent == 100;
}

void supply_see(struct supply *supply, const cygnet_device_state *device)
{
    struct battery battery;
    bool on_battery;

    if (!supply || !supply->loan)
        return;
    supply->battery(&battery, supply->user);
    on_battery = device->charging != CYGNET_TRUE || battery.discharging;
    if (supply->trains && supply->on_battery && !on_battery)
        close_stretch(supply);
    complete(&battery, supply, device);
    /* A ledger that cannot be written is as before; the next look makes up for it. */
    (void)loan_observe(supply->loan, &battery, NULL);
    book_due(supply);
    if (supply->trains && !supply->on_battery && on_battery)
        new_stretch(supply);
    supply->on_battery = on_battery;
}

bool supply_lends(const struct supply *supply)
{
    return supply && supply->loan && supply->on_battery;
}

bool supply_allows(char why[SUPPLY_WHY_BYTES], const struct supply *supply)
{
    struct swan_draw draw;

    why[0] = '\0';
    if (!supply || !supply->loan)
        return true;
    if (loan_in_debt(why, supply->loan))
        return false;
    if (!supply->on_battery)
        return true;
    if (left_mj(supply) <= 0) {
        (void)snprintf(why, SUPPLY_WHY_BYTES,
                       "on the battery, whose level or capacity is not known: "
                       "nothing is lent");
        return false;
    }
    supply->draw(&draw, supply->user);
    if (!draw.is_measured)
        (void)snprintf(why, SUPPLY_WHY_BYTES, "on the battery, and nothing is lent: %s",
                       draw.why);
    return draw.is_measured;
}

/* ---- A training -------------------------------------------------------------- */

static double limit_mj(double mj)
{
    return mj > 0 ? mj : (double)INFINITY;
}

void supply_limit(struct supply *supply, double task_mj)
{
    if (supply)
        supply->task_mj = task_mj;
}

double supply_budget_mj(const struct supply *supply)
{
    if (!supply)
        return (double)INFINITY;
    return fmin(limit_mj(supply->budget_mj), limit_mj(supply->task_mj));
}

void supply_begin(struct supply *supply)
{
    if (!supply)
        return;
    supply->trains = true;
    supply->granted = 0;
    supply->why[0] = '\0';
    supply->step_mj = (double)NAN;
    if (supply_lends(supply))
        new_stretch(supply);
}

void supply_end(struct supply *supply)
{
    if (!supply)
        return;
    if (supply_lends(supply))
        close_stretch(supply);
    supply->trains = false;
}

/* Books as many steps as the stretch has time for and the loan lends. */
static bool book_steps(struct supply *supply, const struct swan_draw *draw,
                       double step_mj)
{
    double n = floor(SUPPLY_STRETCH_MS / draw->step_ms);
    double mj;

    if (!isnan(draw->drawn_mj) && supply->n_steps > 0) {
        settle(supply, draw->drawn_mj);
        new_stretch(supply);
    }
    if (!(n >= 1))
        n = 1;
    mj = fmin(n * step_mj, left_mj(supply));
    if (mj < step_mj)
        mj = step_mj; /* the ledger says why not */
    return borrow(supply, mj);
}

static bool draw_known(struct supply *supply, const struct swan_draw *draw,
                       double step_mj)
{
    if (isnan(supply->spent_mj)) /* of a trial: from here on it counts as spent */
        supply->spent_mj = supply->booked_mj;
    if (supply->booked_mj - supply->spent_mj < step_mj &&
        !book_steps(supply, draw, step_mj))
        return false;
    supply->spent_mj += step_mj;
    supply->n_steps++;
    return true;
}

static bool draw_on_trial(struct supply *supply, const struct swan_draw *draw)
{
    if (!draw->is_measured)
        return refuse(supply, "energy loan: nothing is lent: %s", draw->why);
    if (draw->ms > SUPPLY_TRIAL_MS && supply->n_steps > 0)
        return refuse(supply, "energy loan: not known after %d s of training: %s",
                      SUPPLY_TRIAL_MS / 1000, draw->why);
    if (supply->booked_mj <= 0 && !borrow(supply, left_mj(supply)))
        return false;
    if (supply->booked_mj <= 0)
        return refuse(supply, "energy loan: nothing more is lent before charging");
    supply->spent_mj = (double)NAN;
    supply->n_steps++;
    return true;
}

static double known_step_mj(const struct supply *supply, const struct swan_draw *draw)
{
    if (draw->step_mj > 0)
        return draw->step_mj;
    if (supply->n_steps > 0 && draw->drawn_mj > 0)
        return draw->drawn_mj / (double)supply->n_steps;
    return supply->step_mj > 0 ? supply->step_mj : (double)NAN;
}

bool supply_step(struct supply *supply, uint64_t step)
{
    struct swan_draw draw;
    double step_mj;

    if (!supply || (isinf(supply_budget_mj(supply)) && !supply_lends(supply)))
        return true;
    supply->draw(&draw, supply->user);
    if (draw.is_spent)
        return refuse(supply, "the energy budget of the round is spent");
    if (!supply_lends(supply) || step < supply->granted)
        return true;
    step_mj = known_step_mj(supply, &draw);
    if (!(isnan(step_mj) ? draw_on_trial(supply, &draw)
                         : draw_known(supply, &draw, step_mj)))
        return false;
    supply->granted = step + 1;
    return true;
}
