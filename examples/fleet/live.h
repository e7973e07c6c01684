/* cygnet-fleet live: a coordinator and clients as real processes. */
#ifndef FLEET_LIVE_H
#define FLEET_LIVE_H

#include "fleet_options.h"

/* Runs to the end and tidies up whatever happens. ECANCELLED: by a signal. */
cygnet_status live_run(const struct fleet_options *options, cygnet_error *err);

#endif
