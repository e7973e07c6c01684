/* Whether somebody uses the device, as CPU pressure (PSI) tells it.
 * Source: the kernel's Documentation/accounting/psi.rst. */
#include "base/sysfs.h"
#include "sdk/host_linux.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

/* "some avg10=1.23 avg60=..." in hundredths of a percent. Read with %u, since %lf
 * follows the locale. */
static bool parse_some_avg10(unsigned *hundredths, const char *line)
{
    unsigned whole;
    unsigned fraction;

    if (sscanf(line, "some avg10=%3u.%2u ", &whole, &fraction) != 2)
        return false;
    *hundredths = whole * 100 + fraction;
    return true;
}

void linux_read_pressure(cygnet_device_state *state, const char *root)
{
    char line[SYSFS_LINE_BYTES];
    unsigned hundredths;
    char path[PATH_MAX];
    int n = snprintf(path, sizeof(path), "%s/proc/pressure/cpu", root);

    if (n < 0 || (size_t)n >= sizeof(path))
        return;
    if (!sysfs_line(line, AT_FDCWD, path) || !parse_some_avg10(&hundredths, line))
        return;
    state->idle = hundredths < PSI_BUSY_PERCENT * 100.0 ? CYGNET_TRUE : CYGNET_FALSE;
}
