/* Whether each option is within its documented range. */
#ifndef SDK_OPTIONS_CHECK_H
#define SDK_OPTIONS_CHECK_H

#include <cygnet/cygnet.h>

/* Looks at every option, not at the files they name. NULL directories pass.
 * Errors: EINVAL; the message begins with the option's name. */
cygnet_status options_check(const cygnet_options *options, cygnet_error *err);

/* Looks for the hooks that have no default. Errors: EINVAL. */
cygnet_status options_check_hooks(const cygnet_host *host, cygnet_error *err);

#endif
