/* The executor that the training library is given: it runs numbered blocks,
 * whoever has time. nn knows no thread.
 *
 * Invariant: what a block computes depends on its number only, never on who runs
 * it or in which order; that is why results are bitwise the same for any number
 * of threads. */
#ifndef ENGINE_NN_EXECUTOR_H
#define ENGINE_NN_EXECUTOR_H

#include <stddef.h>

/* Runs one block. worker < n_workers names a scratch area no other block uses at
 * the same time. */
typedef void (*nn_block)(void *arg, size_t block, size_t worker);

struct nn_executor {
    /* Runs blocks [0, n_blocks) and returns when all are done. Cannot fail. */
    void (*run)(struct nn_executor *executor, nn_block block, void *arg, size_t n_blocks);
    /* Most workers that may ever run at once; fixed for the executor's life. */
    size_t n_workers;
};

/* Runs everything on the calling thread. */
extern struct nn_executor nn_serial_executor;

#endif
