/* The stop word's inside: an atomic flag. */
#ifndef BASE_STOP_H
#define BASE_STOP_H

#include <cygnet/sys/stop.h>
#include <pthread.h>
#include <stdatomic.h>

/* also   another word that stops as well; may be NULL
 * watch  called from cygnet_stopped on the thread `owner`, and no other, so that a
 *        call that blocks can look at more than a word; answers whether to stop; may
 *        be NULL. Changed by that thread only, while nobody else has the word. */
struct cygnet_stop {
    atomic_int word;
    const cygnet_stop *also;
    int (*watch)(void *user);
    void *user;
    pthread_t owner;
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
