/* Where the energy of a training comes from: external power, or the battery by way of
 * the loan (engine/swan/loan.h); and the round's budget.
 *
 * On the battery each stretch of training is booked before it is drawn: as many steps as
 * take about half a minute, each for what the dearest one is known to draw. When the
 * stretch is over, the meter's word replaces what was booked. Where no step's energy is
 * known yet but there is a meter, all that the loan still lends is booked until the
 * meter has spoken, or for SUPPLY_TRIAL_MS at most. Energy that nothing measures is not
 * lent. */
#ifndef FL_SUPPLY_H
#define FL_SUPPLY_H

#include "engine/swan/loan.h"
#include "engine/swan/swan.h"

#include <cygnet/cygnet.h>
#include <stdbool.h>

#define SUPPLY_WHY_BYTES 160
#define SUPPLY_STRETCH_MS 30000
#define SUPPLY_TRIAL_MS 60000

/* NULL passes for a supply without loan and budget.
 *
 * The owner fills the first part and keeps the struct; zeroed: external power only, no
 * budget. The functions are called on the participant's thread.
 *
 * loan         NULL: no training on the battery is booked, none is allowed by a loan
 * capacity_mj  the battery's, in place of what the system tells; 0: as that tells
 * budget_mj    most energy that a round's training may take; 0: no limit
 * battery      reads the battery now; needed with a loan
 * mark         what is drawn is counted from here; needed with a loan
 * draw         what training draws; needed with a loan or a budget, a task's too */
struct supply {
    struct loan *loan;
    double capacity_mj;
    double budget_mj;
    void (*battery)(struct battery *out, void *user);
    void (*mark)(void *user);
    void (*draw)(struct swan_draw *out, void *user);
    void *user;

    /* Its own. task_mj: as supply_limit. Of the present stretch: booked_mj, spent_mj
     * (what its steps should have drawn at most) and n_steps; a step of an earlier one
     * drew step_mj. Steps below `granted` have their energy. due_mj is drawn and not
     * booked yet. */
    double task_mj;
    bool on_battery;
    bool trains;
    double booked_mj;
    double spent_mj;
    double step_mj;
    double due_mj;
    uint64_t n_steps;
    uint64_t granted;
    char why[SUPPLY_WHY_BYTES];
};

/* The device as it is now; the loan is told of the battery. A device that does not say
 * that it is on external power, or whose battery runs down, is on its battery. */
void supply_see(struct supply *supply, const cygnet_device_state *device);

/* Whether the loan stands for external power now: `charging` is not asked for then. */
bool supply_lends(const struct supply *supply);

/* Whether a round may begin: nothing is owed and, on the battery, something is lent. */
bool supply_allows(char why[SUPPLY_WHY_BYTES], const struct supply *supply);

/* What the task allows the next trainings to take; 0: no limit. It can make the budget
 * only stricter. */
void supply_limit(struct supply *supply, double task_mj);

/* The round's budget, the stricter of both; INFINITY: none. */
double supply_budget_mj(const struct supply *supply);

/* A training begins, or ends: what was booked and not drawn is given back. Errors of
 * the ledger leave it booked. */
void supply_begin(struct supply *supply);
void supply_end(struct supply *supply);

/* Before each step, counted from 0, as often as one likes. False: there is no energy for
 * it, and supply->why says why. */
bool supply_step(struct supply *supply, uint64_t step);

#endif
