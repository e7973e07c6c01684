/* The host hooks' defaults on Linux: the clocks, and the device's sources joined. */
#include "sdk/host_linux.h"

#include <time.h>

static int64_t clock_ms(clockid_t clock)
{
    struct timespec now;

    (void)clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int64_t wall_ms(void *user)
{
    (void)user;
    return clock_ms(CLOCK_REALTIME);
}

static int64_t mono_ms(void *user)
{
    (void)user;
    return clock_ms(CLOCK_BOOTTIME);
}

static int device_state(cygnet_device_state *state, void *user)
{
    (void)user;
    linux_read_device(state, "/");
    return 0;
}

void linux_read_device(cygnet_device_state *state, const char *root)
{
    linux_read_power(state, root);
    linux_read_pressure(state, root);
}

void linux_fill_host(cygnet_host *host)
{
    if (!host->device_state)
        host->device_state = device_state;
    if (!host->wall_ms)
        host->wall_ms = wall_ms;
    if (!host->mono_ms)
        host->mono_ms = mono_ms;
}
