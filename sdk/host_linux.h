/* The host hooks' defaults on Linux. Everything of the device is read below a root
 * folder, "/" but in tests. */
#ifndef SDK_HOST_LINUX_H
#define SDK_HOST_LINUX_H

#include <cygnet/cygnet.h>

/* Of the share of the last ten seconds in which some task waited for a CPU; from
 * here on the device counts as in use. */
#define PSI_BUSY_PERCENT 10.0

/* Fills what the kernel knows: charging, battery_percent, idle. */
void linux_read_device(cygnet_device_state *state, const char *root);

/* charging and battery_percent, from /sys/class/power_supply. */
void linux_read_power(cygnet_device_state *state, const char *root);

/* idle, from /proc/pressure/cpu. */
void linux_read_pressure(cygnet_device_state *state, const char *root);

/* Sets the hooks that are NULL and have a default to it. */
void linux_fill_host(cygnet_host *host);

#endif
