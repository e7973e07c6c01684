/* The leader: worker 0 as a thread of the pool's own. */
#include "engine/pool/pool_parts.h"

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

void pool_call(struct pool *pool, void (*call)(void *arg), void *arg)
{
    if (!pool->options.has_leader) {
        call(arg);
        return;
    }
    pthread_mutex_lock(&pool->mutex);
    pool->call_arg = arg;
    pool->call = call;
    pthread_cond_signal(&pool->called);
    while (pool->call)
        pthread_cond_wait(&pool->answered, &pool->mutex);
    pthread_mutex_unlock(&pool->mutex);
}
