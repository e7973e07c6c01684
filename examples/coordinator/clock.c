/* See clock.h. */
#include "clock.h"

#include <time.h>

static int64_t read_ms(clockid_t id)
{
    struct timespec now;

    (void)clock_gettime(id, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int64_t mono_ms(void *user)
{
    (void)user;
    return read_ms(CLOCK_MONOTONIC);
}

static int64_t wall_ms(void *user)
{
    (void)user;
    return read_ms(CLOCK_REALTIME);
}

const struct clock clock_of_system = {mono_ms, wall_ms, NULL};
