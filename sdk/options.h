/* The client's options and hooks, checked and made its own. */
#ifndef SDK_OPTIONS_H
#define SDK_OPTIONS_H

#include <cygnet/cygnet.h>

#define OPTIONS_POPULATION_MAX 128
#define OPTIONS_POWER_MODEL_MAX 65536
#define OPTIONS_PATH_MAX 3000 /* leaves room for the names of our files */

/* Copies `given` with its strings, fills what is left to a default, and checks all.
 * out   receives the copy, state_dir and cache_dir always set; free with
 *       options_clear, also after a failure
 * host  receives the hooks, with the defaults in place of NULL where there is one;
 *       out->host points to it
 * Errors: EINVAL "option: what is wrong with it", ENOMEM. */
cygnet_status options_adopt(cygnet_options *out, cygnet_host *host,
                            const cygnet_options *given, cygnet_error *err);

/* Frees the strings. Accepts a zeroed one. */
void options_clear(cygnet_options *options);

#endif
