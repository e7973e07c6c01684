/* What the files of the pool share: who may look in is pool*.c. */
#ifndef ENGINE_POOL_POOL_PARTS_H
#define ENGINE_POOL_POOL_PARTS_H

#include "engine/pool/affinity.h"
#include "engine/pool/pool.h"

#include <pthread.h>
#include <stdatomic.h>

enum { NO_CPU = -1 };

/* handle    of the pool's own threads
 * thread    the kernel's number; of worker 0 without a leader: of the thread that
 *           pinned itself
 * in_block  it runs a block
 * cpu       pinned to; NO_CPU: to none
 * home      where it may run without being confined */
struct worker {
    struct pool *pool;
    size_t index;
    pthread_t handle;
    int32_t thread;
    atomic_bool in_block;
    int32_t cpu;
    struct affinity home;
};

struct pool {
    struct nn_executor executor; /* first: the executor is the pool */
    struct pool_options options;
    const cygnet_allocator *alloc;
    size_t first_own;     /* worker: 0 with a leader, else 1 */
    size_t n_started;     /* threads that run */
    size_t n_ready;       /* threads that have said who they are */
    bool is_unyielding;   /* a thread could not be made to give way */
    atomic_size_t n_cpus; /* that the workers have between them */
    atomic_bool may_spin;
    atomic_size_t n_active; /* the first ones take blocks */

    _Atomic uint64_t ticket;
    _Atomic(nn_block) block;
    _Atomic(void *) arg;
    _Atomic uint32_t n_blocks;
    _Atomic uint32_t n_done;

    pthread_mutex_t mutex;
    pthread_cond_t work;      /* for the active: there is a job, or the end */
    pthread_cond_t wanted;    /* for the others: they may be active now, or the end */
    pthread_cond_t done;      /* the last block is done */
    pthread_cond_t answered;  /* a thread is ready, or a call has returned */
    pthread_cond_t called;    /* for the leader: there is a call, or the end */
    atomic_size_t n_sleeping; /* workers that wait for `work` or `wanted` */
    atomic_bool is_waiting;   /* who runs needs `done` */
    atomic_bool is_ending;

    void (*call)(void *arg); /* for the leader; NULL: none */
    void *call_arg;

    pthread_mutex_t place_mutex; /* where workers are; not taken with `mutex` held */
    struct worker workers[];
};

/* Once through, whoever was about to sleep does, or has seen what was written
 * before. Signals come after the gate, not inside: who wakes needs the mutex. */
void pool_pass_gate(struct pool *pool);

/* Sets how many take part, and wakes every sleeper to look anew at what it waits for. */
void pool_set_size(struct pool *pool, size_t n_active);

/* What each of the pool's threads begins with. */
void pool_thread_begin(struct worker *self);

/* The leader's life. */
void *pool_lead(void *worker);

#endif
