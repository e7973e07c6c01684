/* The clocks a room may read: never the system's own directly. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <cygnet/sys/stop.h>
#include <stdint.h>

/* wall_ms  since 1970 UTC, may jump
 * mono_ms  never goes back, counts suspends
 * wait_ms  waits at most so long, ends early when *stop becomes set or the
 *          owner is notified */
struct clock {
    int64_t (*wall_ms)(void *user);
    int64_t (*mono_ms)(void *user);
    void (*wait_ms)(int64_t ms, const cygnet_stop *stop, void *user);
    void *user;
};

#endif
