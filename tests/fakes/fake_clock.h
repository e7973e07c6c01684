/* A clock that moves only when somebody waits or a test says so. */
#ifndef TESTS_FAKE_CLOCK_H
#define TESTS_FAKE_CLOCK_H

#include "base/clock.h"

/* waited_ms  sum of all waits
 * on_wait    called before each wait; may be NULL */
struct fake_clock {
    struct clock clock;
    int64_t wall_ms;
    int64_t mono_ms;
    int64_t waited_ms;
    void (*on_wait)(void *user);
    void *user;
};

void fake_clock_init(struct fake_clock *fake);

/* Both clocks go on. */
void fake_clock_advance(struct fake_clock *fake, int64_t ms);

#endif
