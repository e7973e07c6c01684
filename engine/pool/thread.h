/* Starting threads of the engine's own. */
#ifndef ENGINE_POOL_THREAD_H
#define ENGINE_POOL_THREAD_H

#include <pthread.h>

/* Of every thread, on every system: what the system gives by itself is 8 MiB here and
 * 128 KiB there (musl), and hooks of the host run on these threads. Variables of
 * threads (a sanitizer's too) are taken from it. */
#define THREAD_STACK_BYTES ((size_t)2048 * 1024)

/* A thread that takes none of the host's signals. 0, or an errno: it was refused. */
int thread_start(pthread_t *out, void *(*run)(void *arg), void *arg);

#endif
