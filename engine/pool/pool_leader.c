/* The leader: worker 0 as a thread of the pool's own. */
#include "engine/pool/pool_parts.h"

#include "engine/pool/timed.h"

void *pool_lead(void *worker)
{
    struct worker *self = worker;
    struct pool *pool = self->pool;

    pool_thread_begin(self);
    pthread_mutex_lock(&pool->mutex);
    while (!atomic_load(&pool->is_ending)) {
        if (!pool->call) {
            pthread_cond_wait(&pool->called, &pool->mutex);
            continue;
        }
        pthread_mutex_unlock(&pool->mutex);
        pool->call(pool->call_arg);
        pthread_mutex_lock(&pool->mutex);
        pool->call = NULL;
        pthread_cond_broadcast(&pool->answered);
    }
    pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

/* Called with the mutex, which is free while it watches. */
static void wait_watching(struct pool *pool, void (*watch)(void *user), void *user)
{
    struct timespec until = timed_from_now(POOL_WATCH_MS);

    while (pool->call) {
        if (timed_wait(&pool->answered, &pool->mutex, &until))
            continue;
        pthread_mutex_unlock(&pool->mutex);
        watch(user);
        until = timed_from_now(POOL_WATCH_MS);
        pthread_mutex_lock(&pool->mutex);
    }
}

void pool_call(struct pool *pool, void (*call)(void *arg), void *arg,
               void (*watch)(void *user), void *user)
{
    if (!pool->options.has_leader) {
        call(arg);
        return;
    }
    pthread_mutex_lock(&pool->mutex);
    pool->call_arg = arg;
    pool->call = call;
    pthread_cond_signal(&pool->called);
    if (watch)
        wait_watching(pool, watch, user);
    while (pool->call)
        pthread_cond_wait(&pool->answered, &pool->mutex);
    pthread_mutex_unlock(&pool->mutex);
}
