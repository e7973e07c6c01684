/* The stop word's inside: an atomic flag. */
#ifndef BASE_STOP_H
#define BASE_STOP_H

#include <cygnet/sys/stop.h>
#include <stdatomic.h>

struct cygnet_stop {
    atomic_int word;
};

/* Async-signal-safe. */
static inline void stop_set(cygnet_stop *stop)
{
    atomic_store(&stop->word, 1);
}

static inline void stop_clear(cygnet_stop *stop)
{
    atomic_store(&stop->word, 0);
}

#endif
