/* See timed.h. */
#include "engine/pool/timed.h"

#include <errno.h>

#define NS_PER_S 1000000000L

void timed_init(pthread_cond_t *cond)
{
    pthread_condattr_t attributes;

    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attributes);
    pthread_condattr_destroy(&attributes);
}

struct timespec timed_from_now(int64_t ms)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += (time_t)(ms / 1000);
    t.tv_nsec += (long)(ms % 1000) * 1000000L;
    if (t.tv_nsec >= NS_PER_S) {
        t.tv_nsec -= NS_PER_S;
        t.tv_sec++;
    }
    return t;
}

bool timed_wait(pthread_cond_t *cond, pthread_mutex_t *mutex,
                const struct timespec *until)
{
    return pthread_cond_timedwait(cond, mutex, until) != ETIMEDOUT;
}
