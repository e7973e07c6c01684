/* Waiting on a condition for a limited time, by the clock that nobody sets. */
#ifndef ENGINE_POOL_TIMED_H
#define ENGINE_POOL_TIMED_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/* For timed_wait. pthread_cond_destroy destroys it. */
void timed_init(pthread_cond_t *cond);

/* So many milliseconds from now. */
struct timespec timed_from_now(int64_t ms);

/* As pthread_cond_wait, but not beyond `until`. False: that is over. */
bool timed_wait(pthread_cond_t *cond, pthread_mutex_t *mutex,
                const struct timespec *until);

#endif
