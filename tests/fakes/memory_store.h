/* A store in memory that can fail at, or die after, its k-th operation. */
#ifndef TESTS_MEMORY_STORE_H
#define TESTS_MEMORY_STORE_H

#include "base/store.h"

#define MEMORY_STORE_FILES 16

struct memory_file {
    char name[201];
    uint8_t *data;
    size_t len;
    int64_t used; /* turn of the last write or touch: its age */
};

/* n_ops       operations so far
 * fail_at     the operation that fails, counted from 1; 0: none
 * fail_with   what it answers
 * dies_after  operation after which every one fails: as if the process had been
 *             killed there; 0: never
 * n_turns     writes and touches so far, the fake's clock */
struct memory_store {
    struct store store;
    struct memory_file files[MEMORY_STORE_FILES];
    int n_ops;
    int fail_at;
    cygnet_status fail_with;
    int dies_after;
    int64_t n_turns;
};

void memory_store_init(struct memory_store *fake);
void memory_store_clear(struct memory_store *fake);

/* NULL when there is no such file. */
struct memory_file *memory_store_find(struct memory_store *fake, const char *name);

/* The files of `from`; the faults of `to` are cleared. */
void memory_store_copy(struct memory_store *to, const struct memory_store *from);

#endif
