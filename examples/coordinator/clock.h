/* Time as the rounds see it; a seam, so that tests can move it. */
#ifndef COORDINATOR_CLOCK_H
#define COORDINATOR_CLOCK_H

#include <stdint.h>

/* mono_ms  never goes back; its origin means nothing
 * wall_ms  since 1970 */
struct clock {
    int64_t (*mono_ms)(void *user);
    int64_t (*wall_ms)(void *user);
    void *user;
};

extern const struct clock clock_of_system;

#endif
