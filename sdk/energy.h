/* The client's energy: the meter's options, the loan, and what fl/ sees of both. */
#ifndef SDK_ENERGY_H
#define SDK_ENERGY_H

#include "fl/supply.h"

/* Everything but `loan` and `supply` is borrowed; keep it where it is, its address is
 * handed on.
 *
 * swan  set by energy_join */
struct client_energy {
    const cygnet_options *options;
    const cygnet_host *host;
    struct swan *swan;
    struct energy_model model;
    struct loan loan;
    struct supply supply;
};

/* Fills the engine's options from the client's (host with its defaults in place). What
 * it points to lies in *energy.
 * Errors: EINVAL (power_model: what is wrong with it), as soc_read, ENOMEM. */
cygnet_status energy_prepare(struct client_energy *energy, struct energy_options *out,
                             const cygnet_options *options, const cygnet_host *host,
                             cygnet_error *err);

/* Opens the loan, if there is one, in the client's store, and joins it with the engine.
 * energy->supply is then ready for the participant.
 * Errors: as loan_open. */
cygnet_status energy_join(struct client_energy *energy, struct swan *swan,
                          struct store *state, cygnet_error *err);

#endif
