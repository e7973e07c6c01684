/* See thread.h. */
#include "engine/pool/thread.h"

#include <signal.h>

/* Threads inherit the mask: the host's signals stay with the host's threads. */
static int start_masked(pthread_t *out, const pthread_attr_t *attributes,
                        void *(*run)(void *arg), void *arg)
{
    sigset_t all, before;
    int error;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(out, attributes, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

int thread_start(pthread_t *out, void *(*run)(void *arg), void *arg)
{
    pthread_attr_t attributes;
    int error = pthread_attr_init(&attributes);

    if (error != 0)
        return error;
    error = pthread_attr_setstacksize(&attributes, THREAD_STACK_BYTES);
    if (error == 0)
        error = start_masked(out, &attributes, run, arg);
    pthread_attr_destroy(&attributes);
    return error;
}
