/* Waking a waiting thread from another one, or from a signal handler. */
#ifndef SDK_WAKE_H
#define SDK_WAKE_H

#include <cygnet/status.h>
#include <cygnet/sys/stop.h>
#include <stdint.h>

/* fd  an eventfd; -1: none */
struct wake {
    int fd;
};

#define WAKE_INIT                                                                        \
    {                                                                                    \
        -1                                                                               \
    }

/* Errors: EHOST (no file descriptor is left). */
cygnet_status wake_init(struct wake *wake, cygnet_error *err);

/* Ends the wait in progress, or else the next one. Async-signal-safe; keeps errno. */
void wake_up(const struct wake *wake);

/* Waits at most `ms`; less when woken or when *stop is set. */
void wake_wait(const struct wake *wake, int64_t ms, const cygnet_stop *stop);

/* Accepts one that was never opened. */
void wake_clear(struct wake *wake);

#endif
