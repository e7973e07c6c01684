/* The stop word, as the public interfaces see it. */
#include "base/stop.h"

int cygnet_stopped(const cygnet_stop *stop)
{
    if (!stop)
        return 0;
    if (atomic_load(&stop->word) != 0 || cygnet_stopped(stop->also))
        return 1;
    return stop->watch && pthread_equal(stop->owner, pthread_self()) &&
           stop->watch(stop->user);
}
